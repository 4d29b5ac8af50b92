//! Between the DNS library's types and model's; nothing of the former passes.

use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::ProtoError;
use hickory_resolver::proto::op::{DnsResponse, Message, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType, rdata};
use tandem_model::DomainName;
use tandem_model::locate::{Answer, Data, Dnssec, Failure, Found, Kind, Question, Reply, TlsaData};
use tandem_model::record::{Naptr, Srv};

/// RRSIG's type number (RFC 4034 3).
const RRSIG: u16 = 46;

/// The question as a query; the name is absolute, so no search list can touch it.
pub(crate) fn query(question: &Question) -> Result<Query, ProtoError> {
    let mut name = Name::from_labels(question.name.labels())?;
    name.set_fqdn(true);
    Ok(Query::query(name, record_type(question.kind)))
}

const fn record_type(kind: Kind) -> RecordType {
    match kind {
        Kind::Naptr => RecordType::NAPTR,
        Kind::Srv => RecordType::SRV,
        Kind::A => RecordType::A,
        Kind::Aaaa => RecordType::AAAA,
        Kind::Tlsa => RecordType::TLSA,
    }
}

/// What a server whose validation we trust says of its answer: the AD bit (RFC 4035 3.2.3). The library keeps no such bit
/// of a negative answer or a failure.
pub(crate) fn dnssec(result: &Result<DnsResponse, NetError>) -> Dnssec {
    match result {
        Ok(response) if response.authentic_data => Dnssec::Secure,
        Ok(_) => Dnssec::Insecure,
        Err(_) => Dnssec::Indeterminate,
    }
}

/// What became of a query.
pub(crate) fn reply(result: Result<DnsResponse, NetError>) -> Reply {
    match result {
        Ok(response) => records(&response),
        Err(error) => no_records(&error),
    }
}

/// A response that has something in its answer section, or a code that the library does not know.
fn records(response: &DnsResponse) -> Reply {
    let message: &Message = response;
    let no_name = match message.response_code {
        ResponseCode::NoError => false,
        ResponseCode::NXDomain => true,
        _ => return Reply::Failed(Failure::ServerFailure),
    };
    // Signatures come along where DNSSEC is asked for: they are no answer.
    let is_signature = |record: &&Record| u16::from(record.record_type()) == RRSIG;
    let records: Vec<_> = message.answers.iter().filter_map(found).collect();
    if !records.is_empty() {
        // With NXDOMAIN these are aliases to a name that does not exist (RFC 6604 3): the machine asks for that name.
        return Reply::Records(Answer { records, additional: message.additionals.iter().filter_map(found).collect() });
    }
    // LOC-39: an answer that we cannot hold is not "no records".
    if !message.answers.iter().all(|record| is_signature(&record)) {
        return Reply::Failed(Failure::Unreadable);
    }
    let ttl = response.negative_ttl().map_or(0, sane_ttl);
    if no_name { Reply::NxDomain { ttl } } else { Reply::NoData { ttl } }
}

fn no_records(error: &NetError) -> Reply {
    let failure = match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            let ttl = none.negative_ttl.map_or(0, sane_ttl);
            match none.response_code {
                ResponseCode::NXDomain => return Reply::NxDomain { ttl },
                // RFC 2308 2.2: NS records without SOA are a referral, not "no data".
                _ if none.soa.is_none() && none.ns.is_some() => Failure::Referral,
                _ => return Reply::NoData { ttl },
            }
        }
        NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused | ResponseCode::NotAuth)) => Failure::Refused,
        NetError::Dns(DnsError::DnssecBogus) => Failure::Bogus,
        NetError::Dns(_) => Failure::ServerFailure,
        NetError::Timeout => Failure::Timeout,
        NetError::Io(_) | NetError::NoConnections | NetError::Busy => Failure::Unreachable,
        // A record that the library cannot read, as one that is cut short, spoils the whole response. Its domain is not
        // served, and no other one suffers.
        _ => Failure::Unreadable,
    };
    Reply::Failed(failure)
}

/// One record, if it is of a type that matters and its owner a name that a SIP domain can have.
fn found(record: &Record) -> Option<Found> {
    let owner = name(&record.name)?;
    let data = match &record.data {
        RData::A(a) => Data::A(a.0),
        RData::AAAA(aaaa) => Data::Aaaa(aaaa.0),
        // An alias to a name that we cannot hold is left out, and what led to it then ends nowhere: unreadable.
        RData::CNAME(target) => Data::Cname(name(&target.0)?),
        RData::SRV(srv) => srv_data(srv),
        RData::TLSA(tlsa) => Data::Tlsa(TlsaData {
            usage: tlsa.cert_usage.into(),
            selector: tlsa.selector.into(),
            matching: tlsa.matching.into(),
            data: tlsa.cert_data.as_slice().into(),
        }),
        RData::NAPTR(naptr) => naptr_data(naptr).map_or(Data::Unusable(Kind::Naptr), Data::Naptr),
        _ => return None,
    };
    Some(Found { owner, ttl: sane_ttl(record.ttl), data })
}

fn srv_data(srv: &rdata::SRV) -> Data {
    let target = target(&srv.target);
    let (priority, weight, port) = (srv.priority, srv.weight, srv.port);
    target.map_or(Data::Unusable(Kind::Srv), |target| Data::Srv(Srv { priority, weight, port, target }))
}

fn naptr_data(naptr: &rdata::NAPTR) -> Option<Naptr> {
    let text = |octets: &[u8]| std::str::from_utf8(octets).ok().map(Into::into);
    Some(Naptr {
        order: naptr.order,
        preference: naptr.preference,
        flags: text(&naptr.flags)?,
        services: text(&naptr.services)?,
        regexp: text(&naptr.regexp)?,
        replacement: target(&naptr.replacement)?,
    })
}

/// A name in data: `Some(None)` is the root, `None` a name that no SIP domain or host can have.
fn target(target: &Name) -> Option<Option<DomainName>> {
    if target.is_root() { Some(None) } else { name(target).map(Some) }
}

fn name(name: &Name) -> Option<DomainName> {
    DomainName::from_labels(name.iter()).ok()
}

/// RFC 2181 8: a TTL with its most significant bit set counts as zero.
const fn sane_ttl(ttl: u32) -> u32 {
    if ttl > i32::MAX.cast_unsigned() { 0 } else { ttl }
}
