//! What answers carry beyond what was asked: the rest of the SIP chain, and glue.
//!
//! A NAPTR answer so brings SRV, A, AAAA and TLSA along, and a resolver needs one round trip.

use crate::lookup::Lookup;
use crate::name::{MAX_WIRE, QueryName};
use crate::packed::{HostView, SERVICE};
use crate::rrset::{NodeAt, RdataSink, RrType, Rrset, Source, static_rdatas};
use crate::statics::{Link, Links, StaticName};
use crate::zones::{Zone, Zones};

/// Most hosts whose addresses one answer brings along.
const MAX_HOSTS: usize = 16;

/// The owner of additional records.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The name in uncompressed wire form.
    pub name: &'a [u8],
    /// Octets of labels at its front that stand before the name which [`of`](Self::of) tells of.
    pub prefix: usize,
    /// Where the rest of the name stands already, if it does.
    pub of: Target,
}

/// A record visited before whose data ends with a name, by its index in its set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// None.
    None,
    /// Of the NAPTR set that is being followed.
    Naptr(usize),
    /// Of the SRV set that was visited last, or is being followed.
    Srv(usize),
}

impl<'a> Owner<'a> {
    /// A name of which no record told.
    const fn new(name: &'a [u8]) -> Self {
        Self { name, prefix: 0, of: Target::None }
    }

    /// The name that a record ends with.
    const fn target(name: &'a [u8], of: Target) -> Self {
        Self { name, prefix: 0, of }
    }
}

/// Where an SRV record's port stands in its data, and where its target (RFC 2782).
const SRV_PORT: usize = 4;
/// See [`SRV_PORT`].
const SRV_TARGET: usize = 6;

/// What a link leads to in one version.
enum Followed<'z> {
    /// A name of the same master file.
    To(StaticName<'z>),
    /// Nothing at all.
    Nothing,
    /// A look-up will tell.
    Unknown,
}

/// Which names came before, of the first [`MAX_HOSTS`]; further ones count as known.
#[derive(Default)]
struct Seen<'z> {
    names: [&'z [u8]; MAX_HOSTS],
    count: usize,
}

impl<'z> Seen<'z> {
    /// Whether `name` is new; it is not the next time.
    fn is_new(&mut self, name: &'z [u8]) -> bool {
        if self.count == MAX_HOSTS || self.names[..self.count].iter().any(|there| is_same(there, name)) {
            return false;
        }
        self.names[self.count] = name;
        self.count += 1;
        true
    }
}

/// Whether two names are the same. Most differ in their first octets.
#[inline]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    // Letters of both cases differ in that bit, and some other octets, too.
    let beginning =
        |name: &[u8]| name.first_chunk().map_or(0, |octets| u64::from_ne_bytes(*octets) & !0x2020_2020_2020_2020);
    beginning(one) == beginning(other) && one.eq_ignore_ascii_case(other)
}

/// A name being put together on the stack.
pub(crate) struct NameBuf {
    octets: [u8; MAX_WIRE],
    len: usize,
}

impl NameBuf {
    pub(crate) const fn new() -> Self {
        Self { octets: [0; MAX_WIRE], len: 0 }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
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
    /// Visits what should follow `rrset` of `zone` as additional data, best first: for NAPTR the SRV set at its replacement
    /// and what follows that; for SRV, MX, NS the A, AAAA and TLSA sets of their hosts, as far as we serve them.
    ///
    /// `visit` returns `false` to stop. Nothing is visited twice.
    pub fn additional<'z>(
        &'z self,
        zone: &'z Zone,
        rrset: &Rrset<'z>,
        mut visit: impl FnMut(Owner<'_>, Rrset<'z>) -> bool,
    ) {
        // Nothing stops a visit but the visitor: whether it went on does not matter here.
        let _ = self.chain(zone, rrset, &mut visit);
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

    fn chain<'z>(
        &'z self,
        zone: &'z Zone,
        rrset: &Rrset<'z>,
        visit: &mut impl FnMut(Owner<'_>, Rrset<'z>) -> bool,
    ) -> Option<()> {
        match rrset.source {
            Source::Static { rdatas, links, .. } => match rrset.kind {
                RrType::NAPTR => self.static_naptrs(zone, rdatas, links, visit),
                RrType::SRV => self.static_srvs(zone, rdatas, links, visit),
                RrType::MX => self.hosts(rdatas, 2, visit),
                RrType::NS => self.hosts(rdatas, 0, visit),
                _ => Some(()),
            },
            _ => self.node_chain(rrset, visit),
        }
    }

    /// What follows a set that a node made.
    pub(crate) fn node_chain<'z>(
        &'z self,
        rrset: &Rrset<'z>,
        visit: &mut impl FnMut(Owner<'_>, Rrset<'z>) -> bool,
    ) -> Option<()> {
        match rrset.source {
            Source::Naptr(at) => {
                let mut owner = NameBuf::new();
                at.write_owner(SERVICE, at.suffix, &mut owner);
                go_on(visit(Owner::target(owner.as_slice(), Target::Naptr(0)), at.srv()))?;
                self.node_hosts(&at, visit)
            }
            Source::Srv(at) => self.node_hosts(&at, visit),
            _ => Some(()),
        }
    }

    /// A node's hosts: addresses of all, then keys of all. Its own ones are read from the node.
    fn node_hosts<'z>(&'z self, at: &NodeAt<'z>, visit: &mut impl FnMut(Owner<'_>, Rrset<'z>) -> bool) -> Option<()> {
        let targets = || (0..at.node.target_count()).map(|index| at.node.target(index));
        let mut owner = NameBuf::new();
        for (index, host) in at.node.hosts().enumerate() {
            // Every host is some target's.
            let of = targets().position(|(host, _)| host == index).map_or(Target::None, Target::Srv);
            if host.own {
                owner.len = 0;
                at.write_owner(host.name, at.host_suffix, &mut owner);
                for kind in [RrType::A, RrType::AAAA] {
                    if let Some(set) = at.addresses(kind, host.v4, host.v6) {
                        go_on(visit(Owner::target(owner.as_slice(), of), set))?;
                    }
                }
            } else {
                self.host_addresses(host.name, of, visit)?;
            }
        }
        for (index, (host, &[high, low, ..])) in targets().enumerate() {
            let Some(host) = at.node.hosts().nth(host) else { continue };
            if host.own && at.node.key_count() == 0 {
                continue;
            }
            owner.len = 0;
            put_port(&mut owner, u16::from_be_bytes([high, low]));
            let prefix = owner.len;
            at.node.write_host(&host, at.host_suffix, &mut owner);
            let found = || self.find(owner.as_slice(), RrType::TLSA).map(|(_, set)| set);
            let set = if host.own { at.tlsa() } else { found() };
            if let Some(set) = set {
                let owner = Owner { name: owner.as_slice(), prefix, of: Target::Srv(index) };
                go_on(visit(owner, set))?;
            }
        }
        Some(())
    }

    fn static_naptrs<'z>(
        &'z self,
        zone: &'z Zone,
        rdatas: &'z [u8],
        links: Links<'z>,
        visit: &mut impl FnMut(Owner<'_>, Rrset<'z>) -> bool,
    ) -> Option<()> {
        let mut seen = Seen::default();
        for (index, rdata) in static_rdatas(rdatas).enumerate() {
            let Some((flags, name)) = naptr_replacement(rdata) else { continue };
            if !seen.is_new(name) {
                continue;
            }
            let link = links.get(index, name.len());
            match flags {
                b"s" | b"S" => {
                    let (zone, set) = match self.follow(zone, link) {
                        Followed::To(there) => (zone, there.set(RrType::SRV)),
                        Followed::Nothing => continue,
                        Followed::Unknown => match self.find(name, RrType::SRV) {
                            Some((zone, set)) => (zone, Some(set)),
                            None => continue,
                        },
                    };
                    if let Some(set) = set {
                        go_on(visit(Owner::target(name, Target::Naptr(index)), set))?;
                        self.chain(zone, &set, visit)?;
                    }
                }
                b"a" | b"A" => self.linked_addresses(zone, Owner::target(name, Target::Naptr(index)), link, visit)?,
                _ => {}
            }
        }
        Some(())
    }

    /// The targets of SRV records: addresses of all, then keys of all.
    fn static_srvs<'z>(
        &'z self,
        zone: &'z Zone,
        rdatas: &'z [u8],
        links: Links<'z>,
        visit: &mut impl FnMut(Owner<'_>, Rrset<'z>) -> bool,
    ) -> Option<()> {
        let mut seen = Seen::default();
        for (index, rdata) in static_rdatas(rdatas).enumerate() {
            if let Some(name) = rdata.get(SRV_TARGET..)
                && seen.is_new(name)
            {
                let owner = Owner::target(name, Target::Srv(index));
                self.linked_addresses(zone, owner, links.get(2 * index, name.len()), visit)?;
            }
        }
        // Port and target together say where the keys are.
        let mut seen = Seen::default();
        for (index, rdata) in static_rdatas(rdatas).enumerate() {
            let Some((&[high, low], name)) = rdata.get(SRV_PORT..).and_then(<[u8]>::split_first_chunk) else {
                continue;
            };
            let port = u16::from_be_bytes([high, low]);
            let prefix = port_labels_len(port);
            let link = self.follow(zone, links.get(2 * index + 1, prefix + name.len()));
            if matches!(link, Followed::Nothing) || !seen.is_new(&rdata[SRV_PORT..]) {
                continue;
            }
            let of = Target::Srv(index);
            if let Followed::To(there) = link {
                if let Some(set) = there.set(RrType::TLSA) {
                    go_on(visit(Owner { name: there.owner, prefix, of }, set))?;
                }
                continue;
            }
            let mut owner = NameBuf::new();
            put_port(&mut owner, port);
            owner.put(name);
            if let Some((_, set)) = self.find(owner.as_slice(), RrType::TLSA) {
                go_on(visit(Owner { name: owner.as_slice(), prefix, of }, set))?;
            }
        }
        Some(())
    }

    /// The addresses of the hosts named `skip` octets into each record.
    fn hosts<'z>(
        &'z self,
        rdatas: &'z [u8],
        skip: usize,
        visit: &mut impl FnMut(Owner<'_>, Rrset<'z>) -> bool,
    ) -> Option<()> {
        let mut seen = Seen::default();
        for name in static_rdatas(rdatas).filter_map(|rdata| rdata.get(skip..)) {
            if seen.is_new(name) {
                self.host_addresses(name, Target::None, visit)?;
            }
        }
        Some(())
    }

    /// What a link of `zone` leads to in this version.
    #[inline]
    fn follow<'z>(&'z self, zone: &Zone, link: Link<'z>) -> Followed<'z> {
        match link {
            // Another zone has names that this one's file has, too, or might have.
            _ if !zone.links_hold() => Followed::Unknown,
            Link::To(there) => Followed::To(there),
            Link::Nothing if self.has_no_nodes() => Followed::Nothing,
            Link::Nothing | Link::Unknown => Followed::Unknown,
        }
    }

    fn linked_addresses<'z>(
        &'z self,
        zone: &'z Zone,
        owner: Owner<'_>,
        link: Link<'z>,
        visit: &mut impl FnMut(Owner<'_>, Rrset<'z>) -> bool,
    ) -> Option<()> {
        match self.follow(zone, link) {
            Followed::To(there) => {
                for set in there.sets().filter(|set| matches!(set.kind, RrType::A | RrType::AAAA)) {
                    go_on(visit(owner, set))?;
                }
                Some(())
            }
            Followed::Nothing => Some(()),
            Followed::Unknown => self.host_addresses(owner.name, owner.of, visit),
        }
    }

    fn host_addresses<'z>(
        &'z self,
        name: &[u8],
        of: Target,
        visit: &mut impl FnMut(Owner<'_>, Rrset<'z>) -> bool,
    ) -> Option<()> {
        let Some(query) = QueryName::parse(name) else { return Some(()) };
        for set in self.addresses_of(&query).into_iter().flatten() {
            go_on(visit(Owner { of, ..Owner::new(name) }, set))?;
        }
        Some(())
    }

    fn find(&self, name: &[u8], kind: RrType) -> Option<(&Zone, Rrset<'_>)> {
        match self.lookup(&QueryName::parse(name)?, kind) {
            Lookup::Records(zone, set) => Some((zone, set)),
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
pub(crate) fn naptr_replacement(rdata: &[u8]) -> Option<(&[u8], &[u8])> {
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

/// Octets of `_<port>._tcp` in wire form, without a root.
#[inline]
const fn port_labels_len(port: u16) -> usize {
    let digits = match port {
        0..10 => 1,
        10..100 => 2,
        100..1000 => 3,
        1000..10_000 => 4,
        10_000.. => 5,
    };
    digits + 2 + crate::packed::TCP.len()
}

/// Writes `_<port>._tcp` (RFC 6698 3).
pub(crate) fn put_port(sink: &mut NameBuf, port: u16) {
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
