//! What the replies so far say, by name and type.

use std::collections::{HashMap, HashSet};

use super::question::{Answer, Data, Dnssec, Failure, Found, Kind, Question, Reply};
use super::{MAX_ADDITIONAL, MAX_ALIASES};
use crate::name::DomainName;

/// What is known about one name and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fact {
    /// These records; `ttl` is the least of theirs.
    Records { ttl: u32, data: Vec<Data> },
    /// The name is an alias.
    Alias { ttl: u32, target: DomainName },
    /// No such record; with `no_name`, no such name.
    Nothing { ttl: u32, no_name: bool },
    /// Nobody knows.
    Failed(Failure),
}

/// All that was learned for one URI.
#[derive(Debug, Default)]
pub(super) struct Facts(HashMap<Question, (Fact, Dnssec)>);

impl Facts {
    pub(super) fn get(&self, question: &Question) -> Option<(&Fact, Dnssec)> {
        self.0.get(question).map(|(fact, dnssec)| (fact, *dnssec))
    }

    /// Takes a reply in. Afterwards there is a fact for `question`, so nobody waits for it any more.
    ///
    /// An answer outranks additional data that came before it (RFC 2181 5.4.1), never the other way round.
    pub(super) fn learn(&mut self, question: &Question, reply: Reply, dnssec: Dnssec) {
        match reply {
            Reply::Records(answer) => self.learn_answer(question, answer, dnssec),
            Reply::NoData { ttl } => self.set(question.clone(), Fact::Nothing { ttl, no_name: false }, dnssec),
            Reply::NxDomain { ttl } => self.set(question.clone(), Fact::Nothing { ttl, no_name: true }, dnssec),
            // What additional data told already stays: a second question that failed takes nothing away.
            Reply::Failed(failure) => {
                let known = matches!(self.0.get(question), Some((fact, _)) if !matches!(fact, Fact::Failed(_)));
                if failure == Failure::Bogus || !known {
                    self.set(question.clone(), Fact::Failed(failure), dnssec);
                }
            }
        }
    }

    fn set(&mut self, question: Question, fact: Fact, dnssec: Dnssec) {
        self.0.insert(question, (fact, dnssec));
    }

    fn learn_answer(&mut self, question: &Question, answer: Answer, dnssec: Dnssec) {
        let srv_hosts = self.learn_chain(question, &answer.records, dnssec);
        // The AD bit is not about additional data (RFC 4035 3.2.3): a proved chain is asked for step by step.
        if !dnssec.is_secure() {
            self.learn_additional(question, srv_hosts, answer.additional, dnssec);
        }
    }

    /// Follows the aliases from the name asked for to the records, as far as this answer goes; what does not lie on
    /// that way is not taken. Gives the SRV targets seen.
    fn learn_chain(&mut self, question: &Question, records: &[Found], dnssec: Dnssec) -> HashSet<DomainName> {
        let mut hosts = HashSet::new();
        let mut name = question.name.clone();
        // One step past the limit, so that the procedure sees that it is passed.
        for step in 0..=MAX_ALIASES + 1 {
            let at = Question { name: name.clone(), kind: question.kind };
            let here = || records.iter().filter(|r| r.owner == name);
            let data: Vec<_> =
                here().filter(|r| r.data.kind() == Some(question.kind)).map(|r| r.data.clone()).collect();
            if !data.is_empty() {
                let ttl = here().map(|r| r.ttl).min().unwrap_or(0);
                hosts.extend(data.iter().filter_map(srv_host));
                self.set(at, Fact::Records { ttl, data }, dnssec);
                return hosts;
            }
            let alias = here().find_map(|r| match &r.data {
                Data::Cname(target) => Some((r.ttl, target.clone())),
                _ => None,
            });
            match alias {
                Some((ttl, target)) => {
                    self.set(at, Fact::Alias { ttl, target: target.clone() }, dnssec);
                    name = target;
                }
                // The alias leads out of this answer: its end is asked for next. An answer that is not about the
                // name asked for at all is none.
                None if step == 0 => {
                    self.set(at, Fact::Failed(Failure::Unreadable), dnssec);
                    return hosts;
                }
                None => return hosts,
            }
        }
        hosts
    }

    /// Takes additional data that may stand for what would be asked next: SRV and addresses, at or below the domain
    /// asked about, or at the targets of SRV records in this very reply. Anything else could be about anybody.
    fn learn_additional(
        &mut self,
        question: &Question,
        mut hosts: HashSet<DomainName>,
        additional: Vec<Found>,
        dnssec: Dnssec,
    ) {
        let domain = without_underscores(&question.name);
        let additional: Vec<_> = additional.into_iter().take(MAX_ADDITIONAL).collect();
        let inside = |record: &Found| domain.as_ref().is_some_and(|domain| record.owner.is_at_or_below(domain));
        hosts.extend(additional.iter().filter(|record| inside(record)).filter_map(|record| srv_host(&record.data)));
        let mut sets: HashMap<Question, (u32, Vec<Data>)> = HashMap::new();
        for record in additional {
            let wanted = match record.data {
                Data::Srv(_) => inside(&record),
                Data::A(_) | Data::Aaaa(_) => inside(&record) || hosts.contains(&record.owner),
                Data::Unusable(kind) => kind != Kind::Naptr && inside(&record),
                Data::Naptr(_) | Data::Cname(_) | Data::Tlsa(_) => false,
            };
            if let (true, Some(kind)) = (wanted, record.data.kind()) {
                let (ttl, data) = sets.entry(Question { name: record.owner, kind }).or_insert((record.ttl, Vec::new()));
                *ttl = record.ttl.min(*ttl);
                data.push(record.data);
            }
        }
        for (question, (ttl, data)) in sets {
            let known = self
                .0
                .get(&question)
                .is_some_and(|(fact, _)| !matches!(fact, Fact::Failed(failure) if *failure != Failure::Bogus));
            if !known {
                self.set(question, Fact::Records { ttl, data }, dnssec);
            }
        }
    }
}

fn srv_host(data: &Data) -> Option<DomainName> {
    match data {
        Data::Srv(srv) => srv.target.clone(),
        _ => None,
    }
}

/// `_sips._tcp.debug.ostel.me` gives `debug.ostel.me`: the domain that the question is about.
fn without_underscores(name: &DomainName) -> Option<DomainName> {
    let labels: Vec<_> = name.labels().skip_while(|label| label.starts_with(b"_")).collect();
    DomainName::from_labels(labels).ok()
}
