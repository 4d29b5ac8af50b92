//! The questions: names at, above, beside and below those of the zones, with types that are there and that are not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::Dice;
use super::asker::PAYLOAD;
use super::data::LABELS;

/// Types that are asked for. Not ANY, where servers may choose (RFC 8482), and no meta type.
const TYPES: &[(&str, u16)] = &[
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("SRV", 33),
    ("NAPTR", 35),
    ("DNAME", 39),
    ("DS", 43),
    ("TLSA", 52),
    ("TYPE65280", 65280),
];

/// A question of class IN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// As presented, without escapes and without the final dot.
    pub(super) name: String,
    /// QTYPE.
    pub(super) kind: u16,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = TYPES.iter().find(|(_, number)| *number == self.kind);
        write!(f, "{} {}", self.name, kind.map_or("?", |(name, _)| name))
    }
}

impl Question {
    /// `count` questions about `zones` (apex and master file), always the same ones.
    pub(super) fn generate(zones: &BTreeMap<&str, String>, count: usize) -> Vec<Self> {
        let owners: BTreeSet<(&str, &str)> = owners(zones).collect();
        let owners: Vec<(&str, &str)> = owners.into_iter().collect();
        let redirects: Vec<&str> =
            owners.iter().filter(|(_, kind)| *kind == "DNAME").map(|(owner, _)| *owner).collect();
        let mut dice = Dice(0x7a6e_0003);
        (0..count)
            .map(|_| {
                let (owner, present) = dice.pick(&owners);
                // DNAMEs are few, and what is below them is what they are about.
                let name = match dice.roll(16) {
                    0 => format!("{}.{}", dice.pick(LABELS), vary(dice.pick(&redirects), &mut dice)),
                    _ => vary(owner, &mut dice),
                };
                // Every other question asks for a type that stands at the name it began with.
                let there = TYPES.iter().find(|(name, _)| *name == present).filter(|_| dice.roll(2) == 0);
                let (_, kind) = there.copied().unwrap_or_else(|| dice.pick(TYPES));
                Self { name, kind }
            })
            .collect()
    }

    /// The query, with EDNS.
    pub(super) fn to_wire(&self, id: u16) -> Vec<u8> {
        let mut wire = id.to_be_bytes().to_vec();
        wire.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
        wire.extend(self.to_wire_question());
        wire.extend([0, 0, 41]);
        wire.extend(PAYLOAD.to_be_bytes());
        wire.extend([0; 6]);
        wire
    }

    /// Whether `answer` echoes this question.
    pub(super) fn is_in(&self, answer: &[u8]) -> bool {
        answer.get(12..).is_some_and(|rest| rest.starts_with(&self.to_wire_question()))
    }

    fn to_wire_question(&self) -> Vec<u8> {
        let mut wire = Vec::new();
        for label in self.name.split('.').filter(|label| !label.is_empty()) {
            wire.push(u8::try_from(label.len()).expect("made of short labels"));
            wire.extend(label.as_bytes());
        }
        wire.push(0);
        wire.extend(self.kind.to_be_bytes());
        wire.extend([0, 1]);
        wire
    }
}

/// Owner and type of every record in `zones`.
pub(super) fn owners<'z>(zones: &'z BTreeMap<&str, String>) -> impl Iterator<Item = (&'z str, &'z str)> {
    zones.values().flat_map(|text| text.lines()).filter_map(owner)
}

/// The owner and the type of a line of an export.
fn owner(line: &str) -> Option<(&str, &str)> {
    let mut words = line.split(' ');
    let owner = words.next()?.strip_suffix('.')?;
    Some((owner, words.nth(2)?))
}

/// A name near `owner`.
fn vary(owner: &str, dice: &mut Dice) -> String {
    let mut labels: Vec<&str> = owner.split('.').collect();
    match dice.roll(10) {
        // As it stands.
        0..=3 => {}
        // Below it.
        4 | 5 => {
            for _ in 0..=dice.roll(2) {
                labels.insert(0, dice.pick(LABELS));
            }
        }
        // Above it.
        6 => drop(labels.drain(..1 + dice.roll(labels.len().min(3)))),
        // Beside it.
        7 | 8 => {
            let at = dice.roll(labels.len().min(3));
            labels[at] = dice.pick(LABELS);
        }
        // Between it and what is above.
        _ => labels.insert(1 + dice.roll(labels.len()), dice.pick(LABELS)),
    }
    // What a wildcard stands for is asked more often than the wildcard itself.
    if let Some(wildcard) = labels.iter().position(|label| *label == "*").filter(|_| dice.roll(3) > 0) {
        labels[wildcard] = dice.pick(LABELS);
    }
    let name = labels.join(".");
    // DNS-7: case says nothing.
    if dice.roll(4) > 0 {
        return name;
    }
    name.chars().map(|c| if dice.roll(2) == 0 { c.to_ascii_uppercase() } else { c }).collect()
}
