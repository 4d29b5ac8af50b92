//! RRsets as a lookup finds them: packed static ones, and those made from a node when asked for.

use crate::packed::{ClaimView, NodeView};
use crate::statics::Links;

/// A record type by number (RFC 1035 3.2.2 and later).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RrType(pub u16);

#[expect(missing_docs, reason = "the names are the registry's")]
impl RrType {
    pub const A: Self = Self(1);
    pub const NS: Self = Self(2);
    pub const CNAME: Self = Self(5);
    pub const SOA: Self = Self(6);
    pub const PTR: Self = Self(12);
    pub const MX: Self = Self(15);
    pub const TXT: Self = Self(16);
    pub const AAAA: Self = Self(28);
    pub const SRV: Self = Self(33);
    pub const NAPTR: Self = Self(35);
    pub const DNAME: Self = Self(39);
    pub const OPT: Self = Self(41);
    pub const DS: Self = Self(43);
    pub const RRSIG: Self = Self(46);
    pub const NSEC: Self = Self(47);
    pub const DNSKEY: Self = Self(48);
    pub const TLSA: Self = Self(52);
    pub const ANY: Self = Self(255);
}

/// Takes the octets of one record's data, piece by piece.
pub trait RdataSink {
    /// Appends octets.
    fn put(&mut self, octets: &[u8]);
}

impl RdataSink for Vec<u8> {
    fn put(&mut self, octets: &[u8]) {
        self.extend_from_slice(octets);
    }
}

/// All records of one owner and type, in one version of the zones.
///
/// The owner is what the caller asked for; the class is IN. Cheap to copy; refers to the version it came from.
#[derive(Debug, Clone, Copy)]
pub struct Rrset<'z> {
    pub(crate) kind: RrType,
    pub(crate) ttl: u32,
    pub(crate) source: Source<'z>,
}

/// Where the data comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'z> {
    /// One record's data as it is: the SOA with our serial.
    One(&'z [u8]),
    /// Data from a master file: for each record two octets of length, then the data; and where records lead to.
    Static { count: u16, rdatas: &'z [u8], links: Links<'z> },
    /// A node's NAPTR or SRV set, in a place.
    Naptr(NodeAt<'z>),
    /// See [`Source::Naptr`].
    Srv(NodeAt<'z>),
    /// Addresses of one host, of `size` octets each.
    Addresses { octets: &'z [u8], size: usize },
    /// The node's keys.
    Tlsa(NodeView<'z>),
    /// A number or block.
    Claim { node: NodeView<'z>, claim: ClaimView<'z> },
}

/// A node as one zone shows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NodeAt<'z> {
    pub(crate) node: NodeView<'z>,
    /// What stands behind the node's domain in this zone, in wire form: the root, or the peers zone's apex.
    pub(crate) suffix: &'z [u8],
    /// What stands behind the names of the node's own hosts.
    pub(crate) host_suffix: &'z [u8],
    /// Whether the zone shows the SRV records alone (decisions 10).
    pub(crate) service_only: bool,
}

#[expect(clippy::len_without_is_empty, reason = "an RRset has at least one record")]
impl<'z> Rrset<'z> {
    /// The type.
    #[must_use]
    pub const fn kind(&self) -> RrType {
        self.kind
    }

    /// Seconds; for a SOA in a negative answer already lowered to the negative TTL (RFC 2308 3).
    #[must_use]
    pub const fn ttl(&self) -> u32 {
        self.ttl
    }

    /// The CNAME record that this DNAME set makes for a name below it; `target` is what the DNAME makes of that name, in
    /// wire form. Its TTL is the DNAME's (RFC 6672 3.1).
    #[must_use]
    pub const fn redirected<'t>(&self, target: &'t [u8]) -> Rrset<'t> {
        Rrset { kind: RrType::CNAME, ttl: self.ttl, source: Source::One(target) }
    }

    /// How many records; never 0.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.source {
            Source::One(_) | Source::Naptr(_) | Source::Claim { .. } => 1,
            Source::Static { count, .. } => usize::from(count),
            Source::Srv(at) => at.node.target_count(),
            Source::Addresses { octets, size } => octets.len() / size,
            Source::Tlsa(node) => node.key_count(),
        }
    }

    /// The data of all records where it lies ready: for each two octets of length, then the data. Only records of master
    /// files lie so.
    #[must_use]
    #[inline]
    pub const fn as_packed(&self) -> Option<&'z [u8]> {
        match self.source {
            Source::Static { rdatas, .. } => Some(rdatas),
            _ => None,
        }
    }

    /// The data of all records where it lies side by side, and the octets of each. Only addresses of nodes lie so.
    #[must_use]
    #[inline]
    pub const fn as_equal(&self) -> Option<(&'z [u8], usize)> {
        match self.source {
            Source::Addresses { octets, size } => Some((octets, size)),
            _ => None,
        }
    }

    /// The data of each record, in order.
    pub fn rdatas(&self) -> impl Iterator<Item = Rdata<'z>> + use<'z> {
        let (source, count) = (self.source, self.len());
        let mut packed = match source {
            Source::Static { rdatas, .. } => rdatas,
            _ => &[],
        };
        (0..count).map_while(move |index| match source {
            Source::Static { .. } => {
                let (rdata, rest) = first_rdata(packed)?;
                packed = rest;
                Some(Rdata { source: Source::One(rdata), index: 0 })
            }
            _ => Some(Rdata { source, index }),
        })
    }
}

/// The data of one record.
#[derive(Debug, Clone, Copy)]
pub struct Rdata<'z> {
    source: Source<'z>,
    index: usize,
}

impl Rdata<'_> {
    /// Writes the data, names uncompressed. Allocates nothing.
    pub fn write(&self, sink: &mut impl RdataSink) {
        let index = self.index;
        match self.source {
            Source::One(octets) => sink.put(octets),
            // `rdatas` hands static records out one by one.
            Source::Static { .. } => {}
            Source::Naptr(at) => at.node.write_naptr(at.suffix, sink),
            Source::Srv(at) => at.node.write_srv(index, at.host_suffix, sink),
            Source::Addresses { octets, size } => sink.put(&octets[index * size..(index + 1) * size]),
            Source::Tlsa(node) => {
                let (usage, sha256) = node.key(index);
                // Selector 1, the public key; matching type 1, SHA-256 (RFC 6698 2.1).
                sink.put(&[usage, 1, 1]);
                sink.put(sha256);
            }
            Source::Claim { node, claim } => node.write_claim(&claim, sink),
        }
    }
}

/// The records of [`Source::Static`].
pub(crate) fn static_rdatas(packed: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = packed;
    std::iter::from_fn(move || {
        let (rdata, tail) = first_rdata(rest)?;
        rest = tail;
        Some(rdata)
    })
}

fn first_rdata(packed: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, tail) = packed.split_first_chunk::<2>()?;
    tail.split_at_checked(usize::from(u16::from_be_bytes(length)))
}
