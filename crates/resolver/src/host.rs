//! Whether a foreign name can be an SRV target: it exists, has addresses, and is no alias (RFC 2782; LOC-60, PUB-5).

use std::net::IpAddr;

use tandem_model::DomainName;
use tandem_model::locate::{Data, Failure, Kind, Question, Reach, Reply};

/// What a name is, as a host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostAnswer {
    /// It has these addresses of its own, IPv6 first, in the order of the reply.
    Addresses(Vec<IpAddr>),
    /// It is an alias of this name: name the real host instead (RFC 2782 "Target").
    Alias(DomainName),
    /// It exists, and has no address.
    NoAddress,
    /// It has addresses, but none that is public; this is the first. Settings may allow such.
    NotPublic(IpAddr),
    /// There is no such name.
    NoSuchName,
    /// DNS gave no answer: nothing is known, try again later.
    Failed(Failure),
}

pub(crate) fn questions(name: &DomainName) -> [Question; 2] {
    [Kind::Aaaa, Kind::A].map(|kind| Question { name: name.clone(), kind })
}

impl HostAnswer {
    /// Puts the replies to both questions together. A failure counts only where the other reply does not decide.
    pub(crate) fn new(name: &DomainName, replies: Vec<Reply>, reach: Reach) -> Self {
        let (mut addresses, mut failed, mut no_name) = (Vec::new(), None, false);
        for reply in replies {
            match reply {
                Reply::Records(answer) => {
                    for record in answer.records.into_iter().filter(|record| record.owner == *name) {
                        match record.data {
                            Data::Cname(target) => return Self::Alias(target),
                            data => addresses.extend(data.address()),
                        }
                    }
                }
                Reply::NoData { .. } => {}
                Reply::NxDomain { .. } => no_name = true,
                Reply::Failed(failure) => failed = Some(failure),
            }
        }
        addresses.sort_by_key(IpAddr::is_ipv4);
        let first = addresses.first().copied();
        addresses.retain(|&address| reach.allows(address));
        match (first, failed) {
            (Some(_), _) if !addresses.is_empty() => Self::Addresses(addresses),
            (_, Some(failure)) => Self::Failed(failure),
            (Some(first), None) => Self::NotPublic(first),
            (None, None) if no_name => Self::NoSuchName,
            (None, None) => Self::NoAddress,
        }
    }
}

#[cfg(test)]
mod tests {
    use tandem_model::locate::{Answer, Found};

    use super::*;

    #[test]
    fn replies_put_together() {
        let name = DomainName::parse("h.test").unwrap();
        let other = DomainName::parse("x.test").unwrap();
        let records = |data: Data| {
            let records = vec![Found { owner: name.clone(), ttl: 60, data }];
            Reply::Records(Answer { records, additional: vec![] })
        };
        let v4 = || records(Data::A([203, 0, 113, 1].into()));
        let (nothing, no_name) = (|| Reply::NoData { ttl: 30 }, || Reply::NxDomain { ttl: 30 });
        let failed = || Reply::Failed(Failure::Timeout);
        for (id, replies, answer) in [
            ("one family", vec![nothing(), v4()], HostAnswer::Addresses(vec![[203, 0, 113, 1].into()])),
            ("one failed", vec![failed(), v4()], HostAnswer::Addresses(vec![[203, 0, 113, 1].into()])),
            ("LOC-60", vec![records(Data::Cname(other.clone())), nothing()], HostAnswer::Alias(other)),
            ("nothing", vec![nothing(), nothing()], HostAnswer::NoAddress),
            ("no name", vec![no_name(), no_name()], HostAnswer::NoSuchName),
            ("LOC-39", vec![nothing(), failed()], HostAnswer::Failed(Failure::Timeout)),
            ("threat 14", vec![records(Data::A([10, 0, 0, 1].into()))], HostAnswer::NotPublic([10, 0, 0, 1].into())),
        ] {
            assert_eq!(HostAnswer::new(&name, replies, Reach::Public), answer, "{id}");
        }
        let private = vec![records(Data::A([10, 0, 0, 1].into()))];
        assert_eq!(HostAnswer::new(&name, private, Reach::Any), HostAnswer::Addresses(vec![[10, 0, 0, 1].into()]));
    }
}
