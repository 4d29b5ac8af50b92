//! The procedure itself (RFC 3263 4.1, 4.2), run over the facts known so far.
//!
//! [`Run::procedure`] reads from top to bottom as if DNS answered at once. Where a fact is missing it stops with the
//! questions that would tell, and is run again from the start when more is known. So there is no state to get wrong
//! between two questions; only what chance decided is kept ([`Memo`]).

use std::collections::{BTreeSet, HashSet};
use std::net::SocketAddr;

use super::client::Client;
use super::facts::{Fact, Facts};
use super::outcome::{HopDnssec, LocateError, Located, NextHop, Rank, Reason, Refusal};
use super::plan::{Plan, Route};
use super::question::{Data, Dnssec, Failure, Kind, Question};
use super::service::Service;
use super::{MAX_ALIASES, MAX_NAPTRS, MAX_NEXT_HOPS, MAX_SRV_QUESTIONS, MAX_SRVS};
use crate::name::DomainName;
use crate::record::{Naptr, Srv};
use crate::select::try_order;

/// Why the procedure cannot go on.
#[derive(Debug)]
pub(super) enum Stop {
    /// These facts are missing.
    Missing(Vec<Question>),
    /// There is no next hop.
    Failed(LocateError),
}

impl From<LocateError> for Stop {
    fn from(error: LocateError) -> Self {
        Self::Failed(error)
    }
}

/// The order that chance gave to an SRV set: a second run must not draw again.
#[derive(Debug)]
pub(super) struct Memo {
    name: DomainName,
    srvs: Vec<Srv>,
}

/// One run of the procedure.
#[derive(Debug)]
pub(super) struct Run<'a, D> {
    client: &'a Client,
    facts: &'a Facts,
    memo: &'a mut Option<Memo>,
    draw: &'a mut D,
    reasons: Vec<Reason>,
    ttl: Option<u32>,
    aliases: BTreeSet<DomainName>,
    naptr_offered_sips: Option<bool>,
    /// Status of the chain so far; addresses come on top.
    chain: Option<Dnssec>,
    /// Status of the last look-up, until a reason takes it.
    noted: Option<Dnssec>,
}

/// What one lookup gave, aliases followed.
enum Looked<'a> {
    Records(&'a [Data]),
    Nothing { no_name: bool },
    Failed(Failure),
}

/// The name whose addresses are wanted, and the port that belongs to it.
struct Host {
    name: DomainName,
    port: u16,
    /// The SRV record that named it, if one did.
    rank: Option<Rank>,
}

impl Host {
    const fn is_from_srv(&self) -> bool {
        self.rank.is_some()
    }
}

impl<'a, D: FnMut(u32) -> u32> Run<'a, D> {
    pub(super) const fn new(client: &'a Client, facts: &'a Facts, memo: &'a mut Option<Memo>, draw: &'a mut D) -> Self {
        Self {
            client,
            facts,
            memo,
            draw,
            reasons: Vec::new(),
            ttl: None,
            aliases: BTreeSet::new(),
            naptr_offered_sips: None,
            chain: None,
            noted: None,
        }
    }

    /// Everything from the URI to the next hops.
    pub(super) fn procedure(&mut self, plan: &Plan) -> Result<Vec<NextHop>, Stop> {
        self.reasons.clone_from(&plan.reasons);
        match plan.route.clone()? {
            Route::Numeric { service, address } => {
                let (tls_name, dnssec) = (tls_name(plan, service), HopDnssec::default());
                let (srv_target, canonical, rank, ttl) = (None, None, None, None);
                Ok(vec![NextHop { service, address, tls_name, srv_target, canonical, rank, dnssec, ttl }])
            }
            Route::Address { target, service, port } => {
                self.addresses(plan, &target, service, vec![Host { name: target.clone(), port, rank: None }])
            }
            Route::Srv { target, service } => match srv_name(service, &target) {
                Some(name) => self.srv(plan, &target, service, &name),
                None => {
                    self.because("LOC-69", format!("{service} has no SRV name: addresses of {target}"));
                    self.target_addresses(plan, &target, service)
                }
            },
            Route::Naptr { target, fallback } => self.naptr(plan, &target, fallback),
        }
    }

    /// The whole outcome, with what this run noted.
    pub(super) fn finish(self, outcome: Result<Vec<NextHop>, LocateError>) -> Located {
        let Self { ttl, naptr_offered_sips, reasons, .. } = self;
        let ttl = if matches!(outcome, Err(LocateError::TemporaryFailure { .. })) { Some(0) } else { ttl };
        Located { outcome, ttl, naptr_offered_sips, reasons }
    }

    /// RFC 3263 4.1: the domain's own choice of transport.
    fn naptr(&mut self, plan: &Plan, target: &DomainName, fallback: Service) -> Result<Vec<NextHop>, Stop> {
        let question = Question { name: target.clone(), kind: Kind::Naptr };
        let looked = match self.look_up(&question) {
            Err(Stop::Missing(mut questions)) => {
                if self.client.asks_ahead {
                    questions.extend(self.probes(plan, target).into_iter().map(|(_, question)| question));
                }
                return Err(Stop::Missing(questions));
            }
            looked => looked?,
        };
        let records = match looked.0 {
            Looked::Records(records) => {
                // CERT-42: what chose the SRV name belongs to the chain.
                self.chain = Some(looked.2);
                records
            }
            Looked::Nothing { no_name } => {
                self.naptr_offered_sips = Some(false);
                let what = if no_name { "no such name" } else { "no records" };
                self.because("LOC-33", format!("{question}: {what}"));
                return self.probe(plan, target, fallback);
            }
            Looked::Failed(failure) => return Err(self.temporary(question, failure)),
        };
        let is_sip = |data: &&Data| match data {
            Data::Naptr(naptr) => starts_with(&naptr.services, "SIP+") || starts_with(&naptr.services, "SIPS+"),
            _ => true, // It could not be read, so it may have been one.
        };
        let sip_count = records.iter().filter(is_sip).count();
        let sips = |data: &Data| matches!(data, Data::Naptr(naptr) if starts_with(&naptr.services, "SIPS+"));
        self.naptr_offered_sips = Some(records.iter().any(sips));
        if let Some((service, replacement)) = best_naptr(records, &plan.services) {
            self.because(
                "LOC-27",
                format!("{question}: {sip_count} for SIP; {} leads to SRV at {replacement}", service.naptr()),
            );
            return self.srv(plan, target, service, replacement);
        }
        if sip_count > 0 && !plan.secure {
            self.because("LOC-34", format!("{question}: {sip_count} for SIP, none that can be used here"));
            return Err(LocateError::NoCommonTransport(plan.host.clone()).into());
        }
        let rule = if sip_count > 0 { "LOC-34" } else { "LOC-33" };
        self.because(rule, format!("{question}: {sip_count} for SIP, none that can be used: on to SRV"));
        self.probe(plan, target, fallback)
    }

    /// RFC 3263 4.1, without NAPTR: one SRV question a service, the client's liking decides (LOC-35).
    fn probe(&mut self, plan: &Plan, target: &DomainName, fallback: Service) -> Result<Vec<NextHop>, Stop> {
        // What NAPTR says counts only if it names something: otherwise the SRV name follows from the domain alone.
        self.chain = None;
        let probes = self.probes(plan, target);
        let mut missing = Vec::new();
        let mut refused = false;
        for (service, question) in probes {
            match self.look_up(&question) {
                Err(Stop::Missing(questions)) => missing.extend(questions),
                Err(stop) => return Err(stop),
                // What comes later counts only when everything before it is known.
                Ok(_) if !missing.is_empty() => {}
                Ok((Looked::Failed(failure), ..)) => return Err(self.temporary(question, failure)),
                Ok((Looked::Nothing { .. }, ..)) => self.because("LOC-35", format!("{question}: none")),
                Ok((Looked::Records(records), ..)) if is_root_only(records) => {
                    self.because("LOC-56", format!("{question}: the root as target, {service} is not offered"));
                    refused = true;
                }
                Ok((Looked::Records(records), _, dnssec)) => {
                    self.chain = Some(dnssec);
                    self.because("LOC-35", format!("{question}: {} records, {service} it is", records.len()));
                    return self.sort(plan, target, service, &question.name, records);
                }
            }
        }
        if !missing.is_empty() {
            return Err(Stop::Missing(missing));
        }
        if refused {
            return Err(LocateError::ServiceNotAvailable(target.clone()).into());
        }
        self.because("LOC-37", format!("neither NAPTR nor SRV: {fallback} to the addresses of {target}"));
        self.target_addresses(plan, target, fallback)
    }

    /// One SRV question a service. For sip: URIs the plain prefixes only, as RFC 3263 has it; in secure mode `_sips`
    /// only (LOC-36).
    fn probes(&self, plan: &Plan, target: &DomainName) -> Vec<(Service, Question)> {
        let mut probes: Vec<(Service, Question)> = Vec::new();
        for &service in plan.services.iter().filter(|s| s.is_secure() == plan.secure) {
            match srv_name(service, target) {
                Some(name) if !probes.iter().any(|(_, question)| question.name == name) => {
                    probes.push((service, Question { name, kind: Kind::Srv }));
                }
                _ => {}
            }
        }
        probes.truncate(MAX_SRV_QUESTIONS); // LOC-90
        probes
    }

    /// RFC 3263 4.2: the SRV set of a service that is already chosen.
    fn srv(
        &mut self,
        plan: &Plan,
        target: &DomainName,
        service: Service,
        name: &DomainName,
    ) -> Result<Vec<NextHop>, Stop> {
        let question = Question { name: name.clone(), kind: Kind::Srv };
        let (looked, _, dnssec) = self.look_up(&question)?;
        match looked {
            Looked::Failed(failure) => Err(self.temporary(question, failure)),
            Looked::Nothing { .. } => {
                self.because("LOC-54", format!("{question}: none; {service} to the addresses of {target}"));
                self.target_addresses(plan, target, service)
            }
            // RFC 2782 "Target": a lone "." says that the service is decidedly not available at this domain.
            Looked::Records(records) if is_root_only(records) => {
                self.because("LOC-55", format!("{question}: the root as target, {service} is not offered"));
                Err(LocateError::ServiceNotAvailable(target.clone()).into())
            }
            Looked::Records(records) => {
                self.chain = Some(self.chain.unwrap_or(Dnssec::Secure).and(dnssec));
                self.sort(plan, target, service, name, records)
            }
        }
    }

    /// Puts the SRV records in order and goes on to their addresses (RFC 2782, LOC-57, LOC-58).
    fn sort(
        &mut self,
        plan: &Plan,
        target: &DomainName,
        service: Service,
        name: &DomainName,
        records: &[Data],
    ) -> Result<Vec<NextHop>, Stop> {
        if self.memo.as_ref().is_none_or(|memo| memo.name != *name) {
            let mut srvs: Vec<Srv> = records.iter().filter_map(usable_srv).cloned().collect();
            srvs.sort_by_key(|srv| srv.priority);
            srvs.truncate(MAX_SRVS); // LOC-90
            let srvs = try_order(srvs, |srv| srv, self.client.order, &mut *self.draw);
            *self.memo = Some(Memo { name: name.clone(), srvs });
        }
        let srvs = self.memo.as_ref().map_or(&[][..], |memo| &memo.srvs);
        let hosts: Vec<_> = srvs
            .iter()
            .filter_map(|srv| {
                let rank = Some(Rank { priority: srv.priority, weight: srv.weight });
                Some(Host { name: srv.target.clone()?, port: srv.port, rank })
            })
            .collect();
        let shown: Vec<_> = hosts.iter().map(|host| format!("{}:{}", host.name, host.port)).collect();
        self.because("LOC-58", format!("{name} SRV, in order: {}", shown.join(", ")));
        if hosts.len() < records.len() {
            let skipped = records.len() - hosts.len();
            self.because("LOC-56", format!("{name} SRV: {skipped} records skipped (root, port 0, or past {MAX_SRVS})"));
        }
        self.addresses(plan, target, service, hosts)
    }

    fn target_addresses(&mut self, plan: &Plan, target: &DomainName, service: Service) -> Result<Vec<NextHop>, Stop> {
        // CERT-41: no SRV set, no DANE.
        self.chain = None;
        let host = Host { name: target.clone(), port: service.default_port(), rank: None };
        self.addresses(plan, target, service, vec![host])
    }

    /// The addresses of each host in turn, all families (LOC-59 to LOC-65). All are asked for at once.
    fn addresses(
        &mut self,
        plan: &Plan,
        target: &DomainName,
        service: Service,
        hosts: Vec<Host>,
    ) -> Result<Vec<NextHop>, Stop> {
        let (chain_ttl, chain) = (self.ttl, self.chain.unwrap_or_default());
        let (mut hops, mut seen) = (Vec::new(), HashSet::new());
        let (mut missing, mut failed, mut forbidden) = (Vec::new(), None, None);
        // Only the domain's own addresses tell whether it exists.
        let mut no_name = hosts.iter().any(|host| !host.is_from_srv());
        for host in hosts {
            let before = hops.len();
            // LOC-63: addresses are never mixed across hosts. The family preferred here comes first.
            for &kind in self.client.families.kinds() {
                let question = Question { name: host.name.clone(), kind };
                match self.look_up(&question) {
                    Err(Stop::Missing(questions)) => missing.extend(questions),
                    Err(stop) => return Err(stop),
                    Ok((Looked::Nothing { no_name: none_here }, ..)) => no_name &= none_here,
                    Ok((Looked::Failed(failure), ..)) => {
                        self.because("LOC-39", format!("{question}: {failure}"));
                        failed = failed.or(Some((question, failure)));
                    }
                    Ok((Looked::Records(records), ttl, address_dnssec)) => {
                        no_name = false;
                        let dnssec = HopDnssec { chain, address: address_dnssec };
                        let ttl = least(chain_ttl, ttl);
                        for ip in records.iter().filter_map(Data::address) {
                            if !self.client.reach.allows(ip) {
                                self.because("LOC-65", format!("{}: {ip} is not public, skipped", host.name));
                                forbidden = forbidden.or(Some(ip));
                            } else if hops.len() < MAX_NEXT_HOPS && seen.insert((ip, host.port)) {
                                let srv_target = host.is_from_srv().then(|| host.name.clone());
                                let canonical = srv_target.as_ref().and_then(|_| self.alias_end(&question));
                                let address = SocketAddr::new(ip, host.port);
                                let tls_name = tls_name(plan, service);
                                let rank = host.rank;
                                hops.push(NextHop {
                                    service,
                                    address,
                                    tls_name,
                                    srv_target,
                                    canonical,
                                    rank,
                                    dnssec,
                                    ttl,
                                });
                            }
                        }
                    }
                }
            }
            if missing.is_empty() {
                self.note_host(&host, service, &hops[before..]);
            }
        }
        if !missing.is_empty() {
            return Err(Stop::Missing(missing));
        }
        match (hops.is_empty(), failed, forbidden) {
            (false, failed, _) => {
                // With a target missing this is not the whole truth, so nobody keeps it.
                self.ttl = if failed.is_some() { Some(0) } else { self.ttl };
                Ok(hops)
            }
            (true, Some((question, failure)), _) => Err(self.temporary(question, failure)),
            (true, None, Some(ip)) => Err(LocateError::PolicyRefused(Refusal::Address(ip)).into()),
            (true, None, None) if no_name => Err(LocateError::NoSuchDomain(target.clone()).into()),
            (true, None, None) => Err(LocateError::NoUsableAddress(target.clone()).into()),
        }
    }
    /// One lookup, aliases followed, with the least TTL of what it went through. Notes that TTL for the whole, too.
    fn look_up(&mut self, question: &Question) -> Result<(Looked<'a>, Option<u32>, Dnssec), Stop> {
        let facts = self.facts;
        let mut at = question.clone();
        let (mut hops, mut least_ttl, mut status) = (0, None, Dnssec::Secure);
        let looked = loop {
            let Some((fact, dnssec)) = facts.get(&at) else { return Err(Stop::Missing(vec![at])) };
            // CERT-58: one insecure step makes the rest insecure.
            status = status.and(dnssec);
            match fact {
                Fact::Alias { ttl, target } => {
                    self.aliases.insert(at.name.clone());
                    hops += 1;
                    // LOC-60, LOC-90: followed up to a limit, which ends circles too.
                    if hops > MAX_ALIASES || self.aliases.len() > MAX_ALIASES {
                        self.because("LOC-60", format!("{question}: the aliases do not end"));
                        break Looked::Failed(Failure::Aliases);
                    }
                    self.because("LOC-60", format!("{} is an alias of {target}: followed", at.name));
                    least_ttl = least(least_ttl, Some(*ttl));
                    at.name = target.clone();
                }
                Fact::Records { ttl, data } => {
                    least_ttl = least(least_ttl, Some(*ttl));
                    break Looked::Records(data);
                }
                Fact::Nothing { ttl, no_name } => {
                    least_ttl = least(least_ttl, Some(*ttl));
                    break Looked::Nothing { no_name: *no_name };
                }
                Fact::Failed(failure) => break Looked::Failed(*failure),
            }
        };
        self.ttl = least(self.ttl, least_ttl);
        self.noted = Some(status);
        Ok((looked, least_ttl, status))
    }

    /// Where the aliases of a name that was looked up end; `None` if it is no alias.
    fn alias_end(&self, question: &Question) -> Option<DomainName> {
        let mut end: Option<DomainName> = None;
        // The look-up has followed them already, within this limit (LOC-90).
        for _ in 0..MAX_ALIASES {
            let fact = match &end {
                None => self.facts.get(question),
                Some(name) => self.facts.get(&Question { name: name.clone(), kind: question.kind }),
            };
            let Some((Fact::Alias { target, .. }, _)) = fact else { break };
            end = Some(target.clone());
        }
        end
    }

    fn note_host(&mut self, host: &Host, service: Service, hops: &[NextHop]) {
        let rule = if host.is_from_srv() { "LOC-59" } else { "LOC-51" };
        let shown: Vec<_> = hops.iter().map(|hop| hop.address.to_string()).collect();
        let what = if shown.is_empty() { "no new address, skipped".to_owned() } else { shown.join(", ") };
        self.because(rule, format!("{service} at {}: {what}", host.name));
    }

    fn temporary(&mut self, question: Question, failure: Failure) -> Stop {
        self.because("LOC-39", format!("{question}: {failure}; nothing weaker is tried"));
        LocateError::TemporaryFailure { question, failure }.into()
    }

    fn because(&mut self, rule: &'static str, text: String) {
        let dnssec = self.noted.take();
        self.reasons.push(Reason { rule, text, dnssec });
    }
}

/// The usable record that comes first by ORDER, then PREFERENCE (RFC 3403 4.1; LOC-24 to LOC-29). For sip
/// SIPS services stay (LOC-25); the replacement may be any name (LOC-31); regexps are never applied (LOC-32).
///
/// Usable: flag `s`, a service we can use, no regexp, a replacement. LOC-30: no record of another ORDER is tried later.
fn best_naptr<'a>(records: &'a [Data], services: &[Service]) -> Option<(Service, &'a DomainName)> {
    let mut naptrs: Vec<&Naptr> = records
        .iter()
        .filter_map(|data| match data {
            Data::Naptr(naptr) => Some(naptr),
            _ => None,
        })
        .filter(|naptr| starts_with(&naptr.services, "SIP+") || starts_with(&naptr.services, "SIPS+"))
        .collect();
    naptrs.sort_by_key(|naptr| (naptr.order, naptr.preference));
    naptrs.truncate(MAX_NAPTRS); // LOC-90
    naptrs.into_iter().find_map(|naptr| {
        let service = Service::from_naptr(&naptr.services).filter(|service| services.contains(service))?;
        let plain = naptr.flags.eq_ignore_ascii_case("s") && naptr.regexp.is_empty();
        Some((service, naptr.replacement.as_ref().filter(|_| plain)?))
    })
}

/// RFC 2782 "Target": the root alone. With company it is only skipped (LOC-56); several roots say the same as one.
fn is_root_only(records: &[Data]) -> bool {
    records.iter().all(|data| matches!(data, Data::Srv(Srv { target: None, .. })))
}

/// An SRV record that leads somewhere: a target that is not the root, and a port that exists.
fn usable_srv(data: &Data) -> Option<&Srv> {
    match data {
        Data::Srv(srv) => Some(srv).filter(|srv| srv.target.is_some() && srv.port != 0),
        _ => None,
    }
}

/// The SRV name; none for WebSocket (LOC-69), or when the domain leaves no room for the labels.
fn srv_name(service: Service, domain: &DomainName) -> Option<DomainName> {
    service.srv_name(domain).ok().flatten()
}

/// LOC-66: the URI's domain for every service over TLS.
fn tls_name(plan: &Plan, service: Service) -> Option<DomainName> {
    plan.tls_name.clone().filter(|_| service.is_secure())
}

fn starts_with(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
}

/// The lesser of two TTLs, as far as there are any (LOC-88).
fn least(one: Option<u32>, other: Option<u32>) -> Option<u32> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
