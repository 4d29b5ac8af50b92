//! The files' texts. Members come in the order of their names, so that equal members make equal texts.
//!
//! Every value is typed (a name, an address, a number), so none can end a line or an element.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use tandem_model::{Network, Node, Target};

use super::Sight;
use crate::check::Verdict;
use crate::map::MemberMap;
use crate::member::Member;

/// Kamailio's group, and its set of dispatchers.
const GROUP: u8 = 1;
/// What each file begins with.
pub(super) const NOTICE: &str = "written by tandem agent, and overwritten by it";

/// Kamailio's module permissions (`address_file`): where members' calls come from.
pub(super) fn kamailio_addresses(members: &MemberMap) -> String {
    let mut text = format!("# {NOTICE}\n# group address mask port domain\n");
    each(members, |member, node| {
        for source in sources(node) {
            let source = source.to_string();
            if let Some((address, length)) = source.split_once('/') {
                let _ = writeln!(text, "{GROUP} {address} {length} 0 {}", member.domain);
            }
        }
    });
    text
}

/// Kamailio's module dispatcher (`list_file`): members' targets. Its higher priority is tried first, SRV's lower.
///
/// A target is left out if the last look at it was bad. One that was not looked at since the start is in if it was in before:
/// a start must not empty the list.
pub(super) fn kamailio_dispatchers(sight: &Sight<'_>) -> String {
    let before: HashSet<(&str, &str)> = sight.old.lines().filter_map(destination).collect();
    let mut text = format!("# {NOTICE}\n# set destination flags priority attributes\n");
    each(sight.members, |member, node| {
        let domain = &member.domain;
        for target in node.targets() {
            let places: Vec<(String, Verdict)> = match target.addresses.as_slice() {
                [] => {
                    let verdict = sight.verdicts.allows_host(domain, &target.host, target.port.get());
                    vec![(target.host.to_string(), verdict)]
                }
                addresses => {
                    let place = |address: &IpAddr| (*address, target.port.get()).into();
                    let known = |address| (in_uri(address), sight.verdicts.allows(domain, place(address)));
                    addresses.iter().map(known).collect()
                }
            };
            for (place, verdict) in places {
                let line = format!(
                    "{GROUP} sip:{place}:{};transport=tls 0 {} domain={domain};weight={}\n",
                    target.port,
                    u16::MAX - target.priority,
                    weight(target, node)
                );
                match verdict {
                    Verdict::Good => text.push_str(&line),
                    Verdict::Unknown if destination(&line).is_some_and(|it| before.contains(&it)) => {
                        text.push_str(&line);
                    }
                    Verdict::Unknown | Verdict::Bad(_) => {}
                }
            }
        }
    });
    text
}

/// The target's weight as Kamailio takes it, 1 to 100: it ignores a destination with any other.
fn weight(target: &Target, node: &Node) -> u32 {
    let heaviest = node.targets().iter().map(|target| u32::from(target.weight)).max().unwrap_or_default();
    (u32::from(target.weight) * 100 / heaviest.max(100)).max(1)
}

/// The destination of a line of that file, and whose it is.
fn destination(line: &str) -> Option<(&str, &str)> {
    let mut fields = line.split(' ');
    let destination = fields.nth(1)?;
    let domain = fields.nth(2)?.strip_prefix("domain=")?.split(';').next()?;
    Some((destination, domain))
}

/// FreeSWITCH's `acl.conf.xml`: the list `federation`.
pub(super) fn freeswitch_acl(members: &MemberMap) -> String {
    let mut text = format!(
        "<!-- {NOTICE} -->\n<configuration name=\"acl.conf\" description=\"Network Lists\">\n  <network-lists>\n    \
         <list name=\"federation\" default=\"deny\">\n"
    );
    each(members, |member, node| {
        for source in sources(node) {
            let _ = writeln!(text, "      <node type=\"allow\" cidr=\"{source}\"/> <!-- {} -->", comment(member));
        }
    });
    text.push_str("    </list>\n  </network-lists>\n</configuration>\n");
    text
}

/// Sets `members4` and `members6` of the table `inet tandem`, for `nft -f`: one transaction, whatever was there before.
pub(super) fn nftables(members: &MemberMap) -> String {
    let (mut four, mut six) = (BTreeSet::new(), BTreeSet::new());
    each(members, |_, node| {
        for source in sources(node) {
            let text = source.to_string();
            if text.contains(':') {
                six.insert(text)
            } else {
                four.insert(text)
            };
        }
    });
    let mut text = format!("# {NOTICE}\nadd table inet tandem\n");
    for (name, kind, elements) in [("members4", "ipv4_addr", four), ("members6", "ipv6_addr", six)] {
        let _ = writeln!(text, "add set inet tandem {name} {{ type {kind}; flags interval; auto-merge; }}");
        let _ = writeln!(text, "flush set inet tandem {name}");
        if !elements.is_empty() {
            let elements: Vec<String> = elements.into_iter().collect();
            let _ = writeln!(text, "add element inet tandem {name} {{ {} }}", elements.join(", "));
        }
    }
    text
}

/// Hands over each member that may be called.
pub(super) fn each(members: &MemberMap, mut see: impl FnMut(&Member, &Node)) {
    let mut all: Vec<&Arc<Member>> = members.iter().collect();
    all.sort_unstable_by(|a, b| a.domain.as_wire().cmp(b.domain.as_wire()));
    for member in all {
        if let Some(node) = member.shown() {
            see(member, &node);
        }
    }
}

/// Where a node's calls come from: what it says, else its targets' addresses.
fn sources(node: &Node) -> Vec<Network> {
    if !node.sources.is_empty() {
        return node.sources.clone();
    }
    let addresses: BTreeSet<IpAddr> =
        node.targets().iter().flat_map(|target| target.addresses.iter().copied()).collect();
    addresses.into_iter().filter_map(|address| Network::parse(&address.to_string()).ok()).collect()
}

fn in_uri(address: &IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// The domain for a comment of XML, in which `--` must not stand.
fn comment(member: &Member) -> String {
    member.domain.to_string().replace("--", "-\u{2010}")
}
