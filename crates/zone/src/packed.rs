//! A node as one packed value: what lookups make its records from.
//!
//! ```text
//! ttl u32 | targets u8 | hosts u8 | keys u8 | claims u8 | at_targets u16 | at_keys u16 | at_claims u16 |
//! domain: wire form
//! hosts:   own u8 | len u8 | labels (own: in front of the domain, no root; else: wire form) | v4 u8 | v6 u8 | addresses
//! targets: host u8 | port u16 | priority u16 | weight u16
//! keys:    usage u8 | sha256
//! claims:  block u8 | digits u8 | digit values | uri u8 | uri text (empty: sip:<number>@<domain>)
//! ```
//! Integers are big-endian, as DNS sends them, so most rdata is copied and not made.

use std::net::IpAddr;
use std::sync::Arc;

use tandem_model::number::Digits;
use tandem_model::publish::{ENUM_NAPTR_RANK, SIP_NAPTR_RANK};
use tandem_model::{Node, NumberClaim};

use crate::hamt::Keyed;
use crate::name::hash_name;
use crate::prefetch::prefetch_lines;
use crate::rrset::RdataSink;

const HEADER: usize = 14;
const TARGET: usize = 7;
const KEY: usize = 33;

/// Cache lines that most nodes fit into.
const NODE_LINES: usize = 4;

/// `_sips._tcp` in wire form, without the root.
pub(crate) const SERVICE: &[u8] = b"\x05_sips\x04_tcp";
/// `_tcp` in wire form, without the root.
pub(crate) const TCP: &[u8] = b"\x04_tcp";

/// One node, shared by every version that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackedNode(Arc<[u8]>);

impl PackedNode {
    /// Packs what is served of `node`.
    pub(crate) fn pack(node: &Node) -> Self {
        let domain = node.domain().as_wire();
        let mut hosts: Vec<&tandem_model::Target> = Vec::with_capacity(node.targets().len());
        for target in node.targets() {
            if hosts.iter().all(|host| host.host != target.host) {
                hosts.push(target);
            }
        }
        let mut out = Vec::with_capacity(192);
        out.extend(node.ttl.to_be_bytes());
        out.extend([count(node.targets()), count(&hosts), count(&node.keys), count(&node.numbers)]);
        out.extend([0; HEADER - 8]);
        out.extend(domain);
        for host in &hosts {
            pack_host(&mut out, host, node.domain());
        }
        let at_targets = out.len();
        for target in node.targets() {
            let index = hosts.iter().position(|host| host.host == target.host).expect("every target's host is there");
            out.push(u8::try_from(index).expect("at most MAX_TARGETS hosts"));
            out.extend(target.port.get().to_be_bytes());
            out.extend(target.priority.to_be_bytes());
            out.extend(target.weight.to_be_bytes());
        }
        let at_keys = out.len();
        for key in &node.keys {
            out.push(key.holder.tlsa_usage());
            out.extend(key.sha256);
        }
        let at_claims = out.len();
        for claim in &node.numbers {
            let (block, digits, uri) = match claim {
                NumberClaim::Number { number, uri } => (0, number.digits(), uri.as_ref().map(ToString::to_string)),
                NumberClaim::Block(block) => (1, block.digits(), None),
            };
            let uri = uri.unwrap_or_default();
            out.extend([block, count(digits.as_slice())]);
            out.extend(digits.as_slice());
            out.push(u8::try_from(uri.len()).expect("publish::records refuses a regexp over 255 octets"));
            out.extend(uri.as_bytes());
        }
        for (place, offset) in [(8, at_targets), (10, at_keys), (12, at_claims)] {
            let offset = u16::try_from(offset).expect("8 hosts of 8 addresses take less than 64 KiB");
            out[place..place + 2].copy_from_slice(&offset.to_be_bytes());
        }
        Self(out.into())
    }

    /// What is in it.
    pub(crate) fn view(&self) -> NodeView<'_> {
        NodeView(&self.0)
    }
}

impl Keyed for PackedNode {
    fn key_hash(&self) -> u64 {
        hash_name(self.view().domain())
    }

    fn same_key(&self, other: &Self) -> bool {
        self.view().domain() == other.view().domain()
    }

    fn prefetch(&self) {
        prefetch_lines(&self.0, 0, NODE_LINES);
    }
}

fn count<T>(items: &[T]) -> u8 {
    u8::try_from(items.len()).expect("Node::new keeps every list below 256")
}

fn pack_host(out: &mut Vec<u8>, target: &tandem_model::Target, domain: &tandem_model::DomainName) {
    let own = if target.addresses.is_empty() { None } else { target.host.strip_suffix_len(domain) };
    let name = own.map_or(target.host.as_wire(), |len| &target.host.as_wire()[..len]);
    out.extend([u8::from(own.is_some()), count(name)]);
    out.extend(name);
    let v4: Vec<_> = target.addresses.iter().filter(|a| a.is_ipv4()).collect();
    let v6: Vec<_> = target.addresses.iter().filter(|a| a.is_ipv6()).collect();
    out.extend([count(&v4), count(&v6)]);
    for address in v4.into_iter().chain(v6) {
        match address {
            IpAddr::V4(v4) => out.extend(v4.octets()),
            IpAddr::V6(v6) => out.extend(v6.octets()),
        }
    }
}

/// A packed node being read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NodeView<'z>(&'z [u8]);

/// One host of a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostView<'z> {
    /// Whether the node gives its addresses: the name is then relative to the node's domain.
    pub(crate) own: bool,
    /// Labels in front of the domain without a root if `own`, else the whole name.
    pub(crate) name: &'z [u8],
    /// IPv4 addresses, four octets each.
    pub(crate) v4: &'z [u8],
    /// IPv6 addresses, sixteen octets each.
    pub(crate) v6: &'z [u8],
}

/// One claim of a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClaimView<'z> {
    /// Whether it is a block.
    pub(crate) block: bool,
    /// Digit values, most significant first.
    pub(crate) digits: &'z [u8],
    uri: &'z [u8],
}

impl<'z> NodeView<'z> {
    fn u16_at(self, at: usize) -> usize {
        usize::from(u16::from_be_bytes([self.0[at], self.0[at + 1]]))
    }

    /// Seconds.
    pub(crate) fn ttl(self) -> u32 {
        u32::from_be_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }

    /// The domain in wire form.
    pub(crate) fn domain(self) -> &'z [u8] {
        let rest = &self.0[HEADER..];
        &rest[..=labels_len(rest)]
    }

    /// How many targets there are.
    pub(crate) fn target_count(self) -> usize {
        usize::from(self.0[4])
    }

    /// How many keys there are.
    pub(crate) fn key_count(self) -> usize {
        usize::from(self.0[6])
    }

    /// The hosts, in the order of their first targets.
    pub(crate) fn hosts(self) -> impl Iterator<Item = HostView<'z>> {
        let mut rest = &self.0[HEADER + self.domain().len()..self.u16_at(8)];
        std::iter::from_fn(move || {
            let (&[own, len], tail) = rest.split_first_chunk::<2>()?;
            let (name, tail) = tail.split_at(usize::from(len));
            let (&[v4_count, v6_count], tail) = tail.split_first_chunk::<2>()?;
            let (v4, tail) = tail.split_at(usize::from(v4_count) * 4);
            let (v6, tail) = tail.split_at(usize::from(v6_count) * 16);
            rest = tail;
            Some(HostView { own: own == 1, name, v4, v6 })
        })
    }

    /// Target `index`: its host's index, and port, priority and weight as they stand (2 octets each).
    pub(crate) fn target(self, index: usize) -> (usize, &'z [u8; 6]) {
        let at = self.u16_at(8) + index * TARGET;
        let rest = self.0[at + 1..].first_chunk().expect("a packed target has seven octets");
        (usize::from(self.0[at]), rest)
    }

    /// Key `index`: usage and SHA-256.
    pub(crate) fn key(self, index: usize) -> (u8, &'z [u8]) {
        let at = self.u16_at(10) + index * KEY;
        (self.0[at], &self.0[at + 1..at + KEY])
    }

    /// The claims, in order.
    pub(crate) fn claims(self) -> impl Iterator<Item = ClaimView<'z>> {
        let mut rest = &self.0[self.u16_at(12)..];
        std::iter::from_fn(move || {
            let (&[block, len], tail) = rest.split_first_chunk::<2>()?;
            let (digits, tail) = tail.split_at(usize::from(len));
            let (uri, tail) = tail[1..].split_at(usize::from(tail[0]));
            rest = tail;
            Some(ClaimView { block: block == 1, digits, uri })
        })
    }

    /// Writes the SIP NAPTR's data; `suffix` is the peers zone's apex in wire form, or the root.
    pub(crate) fn write_naptr(self, suffix: &[u8], sink: &mut impl RdataSink) {
        sink.put(&SIP_NAPTR_RANK.0.to_be_bytes());
        sink.put(&SIP_NAPTR_RANK.1.to_be_bytes());
        sink.put(b"\x01s\x08SIPS+D2T\x00");
        sink.put(SERVICE);
        self.write_domain(suffix, sink);
    }

    /// Writes SRV record `index`; hosts of the node itself stand below `host_suffix`.
    pub(crate) fn write_srv(self, index: usize, host_suffix: &[u8], sink: &mut impl RdataSink) {
        let (host, &[p0, p1, r0, r1, w0, w1]) = self.target(index);
        sink.put(&[r0, r1, w0, w1, p0, p1]);
        if let Some(host) = self.hosts().nth(host) {
            self.write_host(&host, host_suffix, sink);
        }
    }

    /// Writes a host's name; hosts of the node itself stand below `host_suffix`.
    pub(crate) fn write_host(self, host: &HostView<'_>, host_suffix: &[u8], sink: &mut impl RdataSink) {
        sink.put(host.name);
        if host.own {
            self.write_domain(host_suffix, sink);
        }
    }

    fn write_domain(self, suffix: &[u8], sink: &mut impl RdataSink) {
        let domain = self.domain();
        sink.put(&domain[..domain.len() - 1]);
        sink.put(suffix);
    }

    /// Writes the ENUM NAPTR's data of one claim (the text is [`tandem_model::publish::number_naptr`]'s).
    pub(crate) fn write_claim(self, claim: &ClaimView<'_>, sink: &mut impl RdataSink) {
        sink.put(&ENUM_NAPTR_RANK.0.to_be_bytes());
        sink.put(&ENUM_NAPTR_RANK.1.to_be_bytes());
        sink.put(b"\x01u\x07E2U+sip");
        let mut length = Length(0);
        self.write_regexp(claim, &mut length);
        sink.put(&[u8::try_from(length.0).expect("publish::records refuses a regexp over 255 octets")]);
        self.write_regexp(claim, sink);
        sink.put(&[0]);
    }

    fn write_regexp(self, claim: &ClaimView<'_>, sink: &mut impl RdataSink) {
        if !claim.uri.is_empty() {
            sink.put(b"!^.*$!");
            sink.put(claim.uri);
        } else {
            if claim.block {
                sink.put(br"!^(.*)$!sip:\1@");
            } else {
                sink.put(b"!^.*$!sip:+");
                for digit in claim.digits {
                    sink.put(&[b'0' + digit]);
                }
                sink.put(b"@");
            }
            for (index, label) in crate::name::labels_of(self.domain()).enumerate() {
                if index > 0 {
                    sink.put(b".");
                }
                sink.put(&label[1..]);
            }
        }
        sink.put(b"!");
    }
}

impl ClaimView<'_> {
    /// The digits as a value.
    pub(crate) fn to_digits(self) -> Digits {
        Digits::new(self.digits).expect("packed from Digits")
    }
}

/// Counts what would be written.
struct Length(usize);

impl RdataSink for Length {
    fn put(&mut self, octets: &[u8]) {
        self.0 += octets.len();
    }
}

/// Octets of the labels at the front, without the root.
pub(crate) fn labels_len(wire: &[u8]) -> usize {
    crate::name::labels_of(wire).map(<[u8]>::len).sum()
}
