//! A node that should be tried last: what the directory shows in DNS of one that wants no new calls, and what everybody
//! who keeps a copy of the members shows alike.

use std::borrow::Cow;

use crate::node::{Node, NodeParts, Target};

/// What is added to the SRV priority of a target that should be tried last.
pub const DEMOTION: u16 = 10_000;

/// `node` with the targets that `is_down` names tried after all others.
///
/// The order among those moved stays. When every target is down nothing is gained by moving one behind the other: then
/// all move alike, and so the last live target is never demoted away. No target ever leaves.
///
/// # Panics
///
/// Never: only priorities differ from those of a node.
#[must_use]
pub fn demoted(node: &Node, is_down: impl Fn(usize) -> bool) -> Node {
    let priorities = || node.targets().iter().enumerate().filter(|(at, _)| is_down(*at)).map(|(_, t)| t.priority);
    // A step that would pass the end is shorter, for all alike: the order among them is worth more.
    let step = priorities().max().map_or(0, |most| DEMOTION.min(u16::MAX - most));
    let targets = node.targets().iter().enumerate().map(|(at, target)| {
        let priority = if is_down(at) { target.priority + step } else { target.priority };
        Target { priority, ..target.clone() }
    });
    let parts = NodeParts {
        domain: node.domain().clone(),
        targets: targets.collect(),
        numbers: node.numbers.clone(),
        ttl: Some(node.ttl),
        keys: node.keys.clone(),
        sources: node.sources.clone(),
        contact: node.contact.clone(),
        lease_seconds: node.lease_seconds,
        probe: node.probe,
    };
    Node::new(parts).expect("only priorities differ from those of a node")
}

/// `node` as the directory found it: what does not answer is tried last, and keys that were seen are published.
///
/// Of a node whose targets are all down none is moved: nothing would be gained, and the fault may be the prober's.
#[must_use]
pub fn as_found(node: &Node) -> Cow<'_, Node> {
    let found = &node.found;
    if found.is_empty() {
        return Cow::Borrowed(node);
    }
    let all_down = (0..node.targets().len()).all(|at| found.is_down(at));
    let mut shown = demoted(node, |at| !all_down && found.is_down(at));
    shown.keys = found.pins(&node.keys);
    Cow::Owned(shown)
}
