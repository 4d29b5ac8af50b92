//! From a sound question to its answer: the lookup, the CNAME chain, and which sections carry what. HOT PATH.
//!
//! Start at [`answer`]. Required records (answer, authority, glue) go in whole or the answer is truncated; additional
//! records go in as far as there is room (DNS-45).

use tandem_zone::{Lookup, QueryName, RdataSink, RrType, Rrset, Zone, Zones};

use crate::client::Client;
use crate::cookie::Standing;
use crate::options::Opt;
use crate::redirect::Redirects;
use crate::request::Request;
use crate::wire::{EDE, HEADER, MAX_MESSAGE, PLAIN_UDP, Rcode};
use crate::writer::{DoesNotFit, Head, Owner, Section, Writer, bare};

/// Most aliases in one answer (DNS-25, PROFILE).
pub(crate) const MAX_ALIASES: usize = 8;

/// Octets of a record before its data when the owner is a pointer (RFC 1035 4.1.3).
pub(crate) const RECORD_HEAD: usize = 2 + 10;

/// No record is shorter than this: below it, additional records are not tried.
const SHORTEST_RECORD: usize = RECORD_HEAD + 4;

/// Extended errors (RFC 8914 4, DNS-48).
pub(crate) mod extended {
    /// Prohibited: an access rule says so.
    pub(crate) const PROHIBITED: u16 = 18;
    /// Not authoritative: the name is not ours.
    pub(crate) const NOT_AUTHORITATIVE: u16 = 20;
    /// Invalid query type (RFC 9824 3.5).
    pub(crate) const INVALID_TYPE: u16 = 30;
}

/// How a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// By UDP; our limit for answers, in octets.
    Udp { limit: u16 },
    /// By TCP, or by TLS inside it.
    Tcp,
    /// By DoH or DoQ: encrypted, and one answer to a query. No transfers, and no keepalive (RFC 9250 5.5.2).
    Exchange,
}

/// The answer that now stands in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Its length in octets.
    pub(crate) len: usize,
    /// Its response code.
    pub(crate) rcode: Rcode,
    /// Whether TC is set.
    pub(crate) truncated: bool,
    /// What the rate limiter has to know.
    pub(crate) cut: Cut,
}

/// How an answer can be cut short when its source is over its rate (DNS-67). By default: not at all, because who asked
/// is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Where the question ends.
    pub(crate) question_end: usize,
    /// Octets of the OPT record, which ends the answer.
    pub(crate) opt_len: usize,
    /// What the client's cookie proves.
    pub(crate) standing: Standing,
}

impl Default for Cut {
    fn default() -> Self {
        Self { question_end: HEADER, opt_len: 0, standing: Standing::Signed }
    }
}

/// How a lookup and its chain ended.
struct Ending {
    rcode: Rcode,
    authoritative: bool,
}

/// Something that must be in the answer has no room.
struct Truncated {
    authoritative: bool,
}

impl From<DoesNotFit> for Truncated {
    fn from(DoesNotFit: DoesNotFit) -> Self {
        Self { authoritative: true }
    }
}

/// Answers `request`, which stands in `buffer` with `query_len` octets, in the same buffer.
pub(crate) fn answer(
    zones: &Zones,
    request: &Request,
    client: &Client<'_>,
    buffer: &mut [u8],
    query_len: usize,
) -> Reply {
    let limit = match client.transport {
        Transport::Udp { limit } => {
            usize::from(request.edns.map_or(PLAIN_UDP, |edns| edns.size.min(limit).max(PLAIN_UDP)))
        }
        Transport::Tcp | Transport::Exchange => MAX_MESSAGE,
    };
    let (opt, standing) = client.opt_for(request.edns.as_ref());
    let mut writer = Writer::new(buffer, request.question_end, limit, opt.as_ref());
    let ending = if request.kind == RrType::ANY {
        any(zones, request, client.transport, &mut writer)
    } else {
        follow(zones, request, &mut writer)
    };
    let head = |rcode, authoritative, truncated| Head { rcode, authoritative, truncated, opt, error: None };
    let cut = Cut { question_end: request.question_end, opt_len: opt.map_or(0, |opt| opt.len()), standing };
    match ending {
        Ok(Some(Ending { rcode, authoritative })) => {
            Reply { len: writer.finish(head(rcode, authoritative, false)), rcode, truncated: false, cut }
        }
        Ok(None) => refuse(request, client.transport, (opt, standing), buffer, query_len),
        Err(Truncated { authoritative }) => {
            // DNS-45: TC with nothing but the question and OPT; the client asks again over TCP.
            writer.clear();
            let len = writer.finish(head(Rcode::NoError, authoritative, true));
            Reply { len, rcode: Rcode::NoError, truncated: true, cut }
        }
    }
}

/// REFUSED for what is not ours (DNS-6), numbers included (ENUM-9). Over UDP the extended error goes in only where it leaves the answer no longer
/// than the query: nobody gets more than was sent for a name that we do not serve (DNS-46, threat 2).
pub(crate) fn refuse(
    request: &Request,
    transport: Transport,
    (opt, standing): (Option<Opt<'_>>, Standing),
    buffer: &mut [u8],
    query_len: usize,
) -> Reply {
    let head = Head { rcode: Rcode::Refused, authoritative: false, truncated: false, opt, error: None };
    let head = head.with_error(extended::NOT_AUTHORITATIVE, transport, request.question_end, query_len);
    let len = bare(buffer, request.question_end, 1, head);
    let cut = Cut { question_end: request.question_end, opt_len: len - request.question_end, standing };
    Reply { len, rcode: Rcode::Refused, truncated: false, cut }
}

impl Head<'_> {
    /// Adds an extended error where it costs nothing: over TCP, or where the answer, whose question ends at `at`, stays
    /// no longer than the query.
    pub(crate) fn with_error(mut self, code: u16, transport: Transport, at: usize, query_len: usize) -> Self {
        let fits = |opt: Opt<'_>| !matches!(transport, Transport::Udp { .. }) || at + opt.len() + EDE <= query_len;
        self.error = self.opt.is_some_and(fits).then_some(code);
        self
    }
}

/// Looks up, and follows aliases inside our zones (RFC 1034 4.3.2, DNS-25). `None`: the name is not ours.
fn follow(zones: &Zones, request: &Request, writer: &mut Writer<'_>) -> Result<Option<Ending>, Truncated> {
    let first = zones.lookup(&request.name, request.kind);
    match first {
        // AA is that of the first name, the rcode that of the last (RFC 6604 2, 3). Who asks for a CNAME has it with the one
        // that a DNAME makes.
        Lookup::Cname(..) | Lookup::Redirect { .. } if request.kind != RrType::CNAME => {
            let last = aliases(zones, request, first, writer).map_err(|_| DoesNotFit)?;
            let last = last.map_or(Rcode::NoError, |ending| ending.rcode);
            Ok(Some(Ending { rcode: last, authoritative: true }))
        }
        _ => conclude(zones, &first, &request.name, HEADER, writer),
    }
}

/// Writes the chain that begins with the alias `first` and what its last name gives; `None` if that is not ours, or the
/// chain is cut off or a loop (DNS-T38, DNS-T39).
#[cold]
fn aliases<'z>(
    zones: &'z Zones,
    request: &Request,
    first: Lookup<'z>,
    writer: &mut Writer<'_>,
) -> Result<Option<Ending>, Truncated> {
    let mut found = first;
    let mut owner_at = HEADER;
    let mut targets: [Option<QueryName>; MAX_ALIASES] = [const { None }; MAX_ALIASES];
    let mut redirects = Redirects::default();
    for link in 0..=MAX_ALIASES {
        let name = link.checked_sub(1).and_then(|last| targets[last].as_ref()).unwrap_or(&request.name);
        let data_at = match found {
            Lookup::Cname(..) | Lookup::Redirect { .. } if link == MAX_ALIASES => return Ok(None),
            Lookup::Cname(_, alias) => {
                let data_at = writer.position() + RECORD_HEAD;
                writer.rrset(Section::Answer, Owner::At(owner_at), &alias)?;
                data_at
            }
            Lookup::Redirect { owner_len, dname, .. } => {
                match redirects.write(&dname, owner_len, (name, owner_at), writer)? {
                    Some(data_at) => data_at,
                    None => return Ok(Some(Ending { rcode: Rcode::YxDomain, authoritative: true })),
                }
            }
            _ => return conclude(zones, &found, name, owner_at, writer),
        };
        let Some(target) = QueryName::parse(writer.written_from(data_at)) else { return Ok(None) };
        let seen = |name: &QueryName| name.as_wire() == target.as_wire();
        if seen(&request.name) || targets[..link].iter().flatten().any(seen) {
            return Ok(None);
        }
        found = zones.lookup(&target, request.kind);
        targets[link] = Some(target);
        owner_at = data_at;
    }
    Ok(None)
}

/// Writes what the last lookup gave; `name` stands at `at` in the message. `None`: the name is not ours.
fn conclude(
    zones: &Zones,
    outcome: &Lookup<'_>,
    name: &QueryName,
    at: usize,
    writer: &mut Writer<'_>,
) -> Result<Option<Ending>, Truncated> {
    let authoritative = |rcode| Ok(Some(Ending { rcode, authoritative: true }));
    match *outcome {
        Lookup::NotOurs => Ok(None),
        // An alias that nobody follows is its own answer.
        Lookup::Records(zone, rrset) | Lookup::Cname(zone, rrset) => {
            writer.rrset(Section::Answer, Owner::At(at), &rrset)?;
            additional(zones, zone, &rrset, writer);
            authoritative(Rcode::NoError)
        }
        // As is a redirection.
        Lookup::Redirect { owner_len, dname, .. } => {
            let made = Redirects::default().write(&dname, owner_len, (name, at), writer)?;
            authoritative(made.map_or(Rcode::YxDomain, |_| Rcode::NoError))
        }
        Lookup::NoData(zone) => {
            negative(zone, name, at, writer)?;
            authoritative(Rcode::NoError)
        }
        Lookup::NxDomain(zone) => {
            negative(zone, name, at, writer)?;
            authoritative(Rcode::NxDomain)
        }
        Lookup::Referral { zone, owner_len, ns } => {
            let owner = Owner::At(at + name.wire_len() - owner_len);
            let mut fits = writer.rrset(Section::Authority, owner, &ns);
            if fits.is_err() {
                return Err(Truncated { authoritative: false });
            }
            zones.glue(zone, &ns, |owner, glue| {
                fits = writer.rrset(Section::Additional, Owner::Name(owner), &glue);
                fits.is_ok()
            });
            // RFC 9471 3.1: glue is not optional.
            fits.map_err(|DoesNotFit| Truncated { authoritative: false })?;
            Ok(Some(Ending { rcode: Rcode::NoError, authoritative: false }))
        }
    }
}

/// The zone's SOA with its negative TTL (DNS-23).
fn negative(zone: &Zone, name: &QueryName, at: usize, writer: &mut Writer<'_>) -> Result<(), DoesNotFit> {
    let owner = Owner::At(at + name.wire_len() - zone.apex().as_wire().len());
    writer.rrset(Section::Authority, owner, &zone.negative_soa())
}

/// What the client would ask for next, as far as there is room (DNS-12, RFC 2782, RFC 3403 4.1).
fn additional(zones: &Zones, zone: &Zone, rrset: &Rrset<'_>, writer: &mut Writer<'_>) {
    if !matches!(rrset.kind(), RrType::NAPTR | RrType::SRV | RrType::MX | RrType::NS) {
        return;
    }
    zones.additional(zone, rrset, |owner, more| {
        // What does not fit is left out whole; something shorter behind it may still fit.
        let _left_out = writer.rrset(Section::Additional, Owner::Further(owner), &more);
        writer.room() >= SHORTEST_RECORD
    });
}

/// ANY: over TCP everything at the name, over UDP its smallest RRset (RFC 8482 4.1, DNS-13).
#[cold]
fn any(
    zones: &Zones,
    request: &Request,
    transport: Transport,
    writer: &mut Writer<'_>,
) -> Result<Option<Ending>, Truncated> {
    let owner = Owner::At(HEADER);
    let (mut written, mut smallest, mut any) = (Ok(()), None, false);
    let room = writer.room();
    let outcome = zones.lookup_any(&request.name, &mut |rrset| {
        any = true;
        match transport {
            Transport::Udp { .. } => {
                let size = size(&rrset, room);
                if smallest.is_none_or(|(least, _)| size < least) {
                    smallest = Some((size, rrset));
                }
            }
            Transport::Tcp | Transport::Exchange => {
                if written.is_ok() {
                    written = writer.rrset(Section::Answer, owner, &rrset);
                }
            }
        }
    });
    if !any {
        return conclude(zones, &outcome, &request.name, HEADER, writer);
    }
    written?;
    if let Some((_, rrset)) = smallest {
        writer.rrset(Section::Answer, owner, &rrset)?;
    }
    Ok(Some(Ending { rcode: Rcode::NoError, authoritative: true }))
}

/// Octets of an RRset in a message, before compression of its data; above `enough` it is not counted to its end.
fn size(rrset: &Rrset<'_>, enough: usize) -> usize {
    struct Count(usize);
    impl RdataSink for Count {
        fn put(&mut self, octets: &[u8]) {
            self.0 += octets.len();
        }
    }
    let mut count = Count(rrset.len() * RECORD_HEAD);
    for rdata in rrset.rdatas() {
        if count.0 > enough {
            break;
        }
        rdata.write(&mut count);
    }
    count.0
}
