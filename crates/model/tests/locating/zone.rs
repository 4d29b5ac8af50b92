//! A DNS server without a network: the fixed format of `data/locating.zone`, looked up by name and type.

use std::collections::HashMap;

use tandem_model::DomainName;
use tandem_model::locate::{Answer, Data, Failure, Found, Kind, Question, Reply};
use tandem_model::record::{Naptr, Srv};

/// What every record of these zones may be kept, in seconds.
pub(crate) const TTL: u32 = 300;
/// What a negative answer may be kept.
pub(crate) const NEGATIVE_TTL: u32 = 30;

/// All records of a file, and the questions that fail.
#[derive(Debug, Default)]
pub(crate) struct ZoneFile {
    records: HashMap<DomainName, Vec<Data>>,
    failing: Vec<Question>,
}

impl ZoneFile {
    /// Reads lines of `owner TYPE data`, one record a line, strings without spaces; `;` begins a remark. One remark is
    /// read: `lookups that fail with SERVFAIL: NAME TYPE, …`.
    pub(crate) fn parse(text: &str) -> Self {
        let mut zone = Self::default();
        for line in text.lines() {
            if let Some(failing) = line.strip_prefix("; lookups that fail with SERVFAIL:") {
                zone.failing = failing.split(',').map(question).collect();
            } else if !line.starts_with(';') && !line.trim().is_empty() {
                let mut fields = line.split_whitespace();
                let owner = name(fields.next().unwrap()).unwrap();
                zone.add(owner, data(&fields.collect::<Vec<_>>()));
            }
        }
        zone
    }

    /// Adds one record.
    pub(crate) fn add(&mut self, owner: DomainName, data: Data) {
        self.records.entry(owner).or_default().push(data);
    }

    /// Every record.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&DomainName, &Data)> {
        self.records.iter().flat_map(|(owner, all)| all.iter().map(move |data| (owner, data)))
    }

    /// What a recursor would say: aliases are followed as far as this file goes, no additional data.
    pub(crate) fn reply(&self, question: &Question) -> Reply {
        if self.failing.contains(question) {
            return Reply::Failed(Failure::ServerFailure);
        }
        let (mut at, mut records) = (question.name.clone(), Vec::new());
        for _ in 0..20 {
            let here = self.records.get(&at).map_or(&[][..], Vec::as_slice);
            let wanted: Vec<_> = here.iter().filter(|data| data.kind() == Some(question.kind)).collect();
            if !wanted.is_empty() {
                records.extend(wanted.into_iter().map(|data| found(&at, data)));
                return Reply::Records(Answer { records, additional: Vec::new() });
            }
            let Some(alias @ Data::Cname(target)) = here.iter().find(|data| matches!(data, Data::Cname(_))) else {
                break;
            };
            records.push(found(&at, alias));
            at = target.clone();
        }
        if !records.is_empty() {
            return Reply::Records(Answer { records, additional: Vec::new() });
        }
        // RFC 8020: a name exists if something stands at it or below it.
        if self.records.keys().any(|owner| owner.is_at_or_below(&at)) {
            Reply::NoData { ttl: NEGATIVE_TTL }
        } else {
            Reply::NxDomain { ttl: NEGATIVE_TTL }
        }
    }
}

pub(crate) fn found(owner: &DomainName, data: &Data) -> Found {
    Found { owner: owner.clone(), ttl: TTL, data: data.clone() }
}

fn question(text: &str) -> Question {
    let (owner, kind) = text.trim().split_once(' ').unwrap();
    let kind = match kind {
        "SRV" => Kind::Srv,
        "NAPTR" => Kind::Naptr,
        _ => panic!("no such type here: {kind}"),
    };
    Question { name: DomainName::parse(owner).unwrap(), kind }
}

/// `None` is the root.
fn name(text: &str) -> Option<DomainName> {
    let text = text.strip_suffix('.').expect("names here are absolute");
    (!text.is_empty()).then(|| DomainName::parse(text).unwrap())
}

fn data(fields: &[&str]) -> Data {
    let number = |text: &str| text.parse::<u16>().unwrap();
    let string = |text: &str| text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap().into();
    match *fields {
        ["A", address] => Data::A(address.parse().unwrap()),
        ["AAAA", address] => Data::Aaaa(address.parse().unwrap()),
        ["CNAME", target] => Data::Cname(name(target).unwrap()),
        ["SRV", priority, weight, port, target] => Data::Srv(Srv {
            priority: number(priority),
            weight: number(weight),
            port: number(port),
            target: name(target),
        }),
        ["NAPTR", order, preference, flags, services, regexp, replacement] => Data::Naptr(Naptr {
            order: number(order),
            preference: number(preference),
            flags: string(flags),
            services: string(services),
            regexp: string(regexp),
            replacement: name(replacement),
        }),
        _ => panic!("no such record here: {fields:?}"),
    }
}
