//! What answers carry beyond what was asked: the rest of the SIP chain, and glue.
//!
//! A NAPTR answer so brings SRV, A, AAAA and TLSA along, and a resolver needs one round trip.

use crate::lookup::Lookup;
use crate::name::{MAX_WIRE, QueryName};
use crate::packed::{HostView, SERVICE};
use crate::rrset::{NodeAt, RdataSink, RrType, Rrset, Source, static_rdatas};
use crate::zones::{Zone, Zones};

/// Most hosts whose addresses one answer brings along.
const MAX_HOSTS: usize = 16;

/// A name being put together on the stack.
struct NameBuf {
    octets: [u8; MAX_WIRE],
    len: usize,
}

impl NameBuf {
    const fn new() -> Self {
        Self { octets: [0; MAX_WIRE], len: 0 }
    }

    fn as_slice(&self) -> &[u8] {
        &self.octets[..self.len]
    }
}

impl RdataSink for NameBuf {
    /// What does not fit is left out: the name then fails to parse, and nothing is found under it.
    fn put(&mut self, octets: &[u8]) {
        if let Some(to) = self.octets.get_mut(self.len..self.len + octets.len()) {
            to.copy_from_slice(octets);
            self.len += octets.len();
        }
    }
}

impl Zones {
    /// Visits what should follow `rrset` as additional data, best first: for NAPTR the SRV set at its replacement and
    /// what follows that; for SRV, MX, NS the A, AAAA and TLSA sets of their hosts, as far as we serve them.
    ///
    /// `visit` gets the owner in uncompressed wire form; it returns `false` to stop. Nothing is visited twice.
    pub fn additional<'z>(&'z self, rrset: &Rrset<'z>, mut visit: impl FnMut(&[u8], Rrset<'z>) -> bool) {
        // Nothing stops a visit but the visitor: whether it went on does not matter here.
        let _ = self.chain(rrset, &mut visit);
    }

    /// Visits the addresses at or below the cut that the NS records of a referral need (RFC 9471 3.1).
    pub fn glue<'z>(&'z self, zone: &'z Zone, ns: &Rrset<'z>, mut visit: impl FnMut(&[u8], Rrset<'z>) -> bool) {
        let Source::Static { rdatas, .. } = ns.source else { return };
        for server in static_rdatas(rdatas) {
            let Some(name) = QueryName::parse(server) else { continue };
            // Records below a cut are not authoritative, so no look-up finds them: they are read where they stand.
            let below_a_cut = (0..name.label_count()).any(|index| zone.statics.statics.cut(&name, index).is_some());
            let Some(there) = zone.statics.statics.get(&name, 0).filter(|_| below_a_cut) else { continue };
            for kind in [RrType::A, RrType::AAAA] {
                if let Some(set) = there.set(kind)
                    && !visit(server, set)
                {
                    return;
                }
            }
        }
    }

    fn chain<'z>(&'z self, rrset: &Rrset<'z>, visit: &mut impl FnMut(&[u8], Rrset<'z>) -> bool) -> Option<()> {
        match rrset.source {
            Source::Naptr(at) => {
                let mut owner = NameBuf::new();
                at.write_owner(SERVICE, at.suffix, &mut owner);
                go_on(visit(owner.as_slice(), at.srv()))?;
                self.node_hosts(&at, visit)
            }
            Source::Srv(at) => self.node_hosts(&at, visit),
            Source::Static { rdatas, .. } => match rrset.kind {
                RrType::NAPTR => self.static_naptrs(rdatas, visit),
                RrType::SRV => self.hosts(rdatas, 6, visit),
                RrType::MX => self.hosts(rdatas, 2, visit),
                RrType::NS => self.hosts(rdatas, 0, visit),
                _ => Some(()),
            },
            Source::One(_) | Source::Addresses { .. } | Source::Tlsa(_) | Source::Claim { .. } => Some(()),
        }
    }

    /// A node's hosts: addresses of all, then keys of all. Its own ones are read from the node.
    fn node_hosts<'z>(&'z self, at: &NodeAt<'z>, visit: &mut impl FnMut(&[u8], Rrset<'z>) -> bool) -> Option<()> {
        for host in at.node.hosts() {
            if host.own {
                let mut owner = NameBuf::new();
                at.write_owner(host.name, at.host_suffix, &mut owner);
                for kind in [RrType::A, RrType::AAAA] {
                    if let Some(set) = at.addresses(kind, host.v4, host.v6) {
                        go_on(visit(owner.as_slice(), set))?;
                    }
                }
            } else {
                self.host_addresses(host.name, visit)?;
            }
        }
        for index in 0..at.node.target_count() {
            let (host, &[high, low, ..]) = at.node.target(index);
            let Some(host) = at.node.hosts().nth(host) else { continue };
            let mut owner = NameBuf::new();
            put_port(&mut owner, u16::from_be_bytes([high, low]));
            at.node.write_host(&host, at.host_suffix, &mut owner);
            let set = if host.own { at.tlsa() } else { self.find(owner.as_slice(), RrType::TLSA) };
            if let Some(set) = set {
                go_on(visit(owner.as_slice(), set))?;
            }
        }
        Some(())
    }

    fn static_naptrs<'z>(&'z self, rdatas: &'z [u8], visit: &mut impl FnMut(&[u8], Rrset<'z>) -> bool) -> Option<()> {
        let mut seen: [&[u8]; MAX_HOSTS] = [&[]; MAX_HOSTS];
        let mut count = 0;
        for (flags, name) in static_rdatas(rdatas).filter_map(naptr_replacement) {
            if count == MAX_HOSTS || seen[..count].iter().any(|there| there.eq_ignore_ascii_case(name)) {
                continue;
            }
            seen[count] = name;
            count += 1;
            match flags {
                b"s" | b"S" => {
                    if let Some(set) = self.find(name, RrType::SRV) {
                        go_on(visit(name, set))?;
                        self.chain(&set, visit)?;
                    }
                }
                b"a" | b"A" => self.host_addresses(name, visit)?,
                _ => {}
            }
        }
        Some(())
    }

    /// The hosts named `skip` octets into each record: addresses of all, then, for SRV, keys of all.
    fn hosts<'z>(
        &'z self,
        rdatas: &'z [u8],
        skip: usize,
        visit: &mut impl FnMut(&[u8], Rrset<'z>) -> bool,
    ) -> Option<()> {
        let mut seen: [&[u8]; MAX_HOSTS] = [&[]; MAX_HOSTS];
        let mut count = 0;
        for name in static_rdatas(rdatas).filter_map(|rdata| rdata.get(skip..)) {
            if count < MAX_HOSTS && seen[..count].iter().all(|there| !there.eq_ignore_ascii_case(name)) {
                seen[count] = name;
                count += 1;
                self.host_addresses(name, visit)?;
            }
        }
        if skip != 6 {
            return Some(());
        }
        for rdata in static_rdatas(rdatas).take(MAX_HOSTS) {
            let Some((&[_, _, _, _, high, low], name)) = rdata.split_first_chunk() else { continue };
            let mut owner = NameBuf::new();
            put_port(&mut owner, u16::from_be_bytes([high, low]));
            owner.put(name);
            if let Some(set) = self.find(owner.as_slice(), RrType::TLSA) {
                go_on(visit(owner.as_slice(), set))?;
            }
        }
        Some(())
    }

    fn host_addresses<'z>(&'z self, name: &[u8], visit: &mut impl FnMut(&[u8], Rrset<'z>) -> bool) -> Option<()> {
        let Some(query) = QueryName::parse(name) else { return Some(()) };
        for set in self.addresses_of(&query).into_iter().flatten() {
            go_on(visit(name, set))?;
        }
        Some(())
    }

    fn find(&self, name: &[u8], kind: RrType) -> Option<Rrset<'_>> {
        match self.lookup(&QueryName::parse(name)?, kind) {
            Lookup::Records(_, set) => Some(set),
            _ => None,
        }
    }
}

impl<'z> NodeAt<'z> {
    /// Writes `labels` in front of the node's domain and what stands behind it.
    fn write_owner(&self, labels: &[u8], suffix: &[u8], sink: &mut impl RdataSink) {
        self.node.write_host(&HostView { own: true, name: labels, v4: &[], v6: &[] }, suffix, sink);
    }

    /// The name of `labels` in front of the node's domain in this zone.
    pub(crate) fn owner(&self, labels: &[u8]) -> QueryName {
        let mut owner = NameBuf::new();
        self.write_owner(labels, self.suffix, &mut owner);
        QueryName::parse(owner.as_slice()).expect("publish::records has refused names over 255 octets")
    }

    /// Visits every set that the node has in this zone, with its owner.
    pub(crate) fn visit_sets(&self, mut visit: impl FnMut(&[u8], Rrset<'z>) -> std::fmt::Result) -> std::fmt::Result {
        let mut owner = NameBuf::new();
        if !self.service_only {
            self.write_owner(&[], self.suffix, &mut owner);
            visit(owner.as_slice(), self.naptr())?;
            owner.len = 0;
        }
        self.write_owner(SERVICE, self.suffix, &mut owner);
        visit(owner.as_slice(), self.srv())?;
        if !self.shows_hosts() {
            return Ok(());
        }
        for host in self.node.hosts().filter(|host| host.own) {
            owner.len = 0;
            self.write_owner(host.name, self.host_suffix, &mut owner);
            for kind in [RrType::A, RrType::AAAA] {
                if let Some(set) = self.addresses(kind, host.v4, host.v6) {
                    visit(owner.as_slice(), set)?;
                }
            }
        }
        let Some(keys) = self.tlsa() else { return Ok(()) };
        for index in 0..self.node.target_count() {
            let (host, &[high, low, ..]) = self.node.target(index);
            let Some(host) = self.node.hosts().nth(host).filter(|host| host.own) else { continue };
            owner.len = 0;
            put_port(&mut owner, u16::from_be_bytes([high, low]));
            self.node.write_host(&host, self.host_suffix, &mut owner);
            visit(owner.as_slice(), keys)?;
        }
        Ok(())
    }
}

/// The visitor's answer as something that `?` obeys.
fn go_on(more: bool) -> Option<()> {
    more.then_some(())
}

/// Flags and replacement of a NAPTR record (RFC 3403 4.1).
fn naptr_replacement(rdata: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = rdata.get(4..)?;
    let mut flags: Option<&[u8]> = None;
    for _ in 0..3 {
        let (&len, tail) = rest.split_first()?;
        let (text, tail) = tail.split_at_checked(usize::from(len))?;
        flags = flags.or(Some(text));
        rest = tail;
    }
    Some((flags?, rest))
}

/// Writes `_<port>._tcp` (RFC 6698 3).
fn put_port(sink: &mut NameBuf, port: u16) {
    let mut digits = [0; 5];
    let mut at = digits.len();
    let mut rest = port;
    loop {
        at -= 1;
        // A remainder of ten fits an octet.
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let digits = &digits[at..];
    sink.put(&[u8::try_from(digits.len() + 1).unwrap_or(0), b'_']);
    sink.put(digits);
    sink.put(crate::packed::TCP);
}
