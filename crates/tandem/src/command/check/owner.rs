//! What a domain's own zone has for SIP, and what of that trips known software.

use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Instant;

use tandem_model::DomainName;
use tandem_model::lint::{self, PLAIN_SERVICES, Quirk, Surroundings};
use tandem_model::locate::{Data, Failure, Found, Kind, Question, Reply};
use tandem_model::node::{MAX_ADDRESSES, Node, NodeParts, Target};
use tandem_model::publish::SIPS_TCP;
use tandem_model::record::{Naptr, Srv};
use tandem_resolver::Resolver;
use tokio::time::timeout_at;

use crate::diagnose::Fault;

/// Most hosts of SRV records that are looked up.
const MAX_HOSTS: usize = 16;
/// TTL of the records to paste, in seconds.
const PASTE_TTL: u32 = 300;

/// What was found.
#[derive(Debug)]
pub(super) struct Own {
    domain: DomainName,
    /// The owner of the service's SRV records.
    pub(super) service: Option<DomainName>,
    naptrs: Vec<Naptr>,
    /// The records at the service's name, a CNAME there too.
    pub(super) at_service: Vec<Found>,
    /// Each SRV record's host, with its addresses.
    hosts: Vec<(Srv, Vec<IpAddr>)>,
    at_domain: Vec<IpAddr>,
    /// Names of plain SIP that have SRV records.
    plain: Vec<DomainName>,
    /// SRV targets that are aliases (LOC-60).
    aliases: Vec<DomainName>,
    ttl: Option<u32>,
}

/// One question; failures are judged where the whole search is.
async fn ask(resolver: &Resolver, name: &DomainName, kind: Kind, until: Instant) -> Vec<Found> {
    let question = Question { name: name.clone(), kind };
    let reply = timeout_at(until.into(), resolver.ask(&question)).await;
    match reply.map_or(Reply::Failed(Failure::Timeout), |(reply, _)| reply) {
        Reply::Records(answer) => answer.records,
        Reply::NoData { .. } | Reply::NxDomain { .. } | Reply::Failed(_) => Vec::new(),
    }
}

async fn addresses(resolver: &Resolver, name: &DomainName, until: Instant) -> Vec<Found> {
    let (v6, v4) = tokio::join!(ask(resolver, name, Kind::Aaaa, until), ask(resolver, name, Kind::A, until));
    [v6, v4].concat()
}

impl Own {
    /// Asks for all that SIP software may ask for.
    pub(super) async fn look_up(resolver: &Resolver, domain: &DomainName, until: Instant) -> Self {
        let service = domain.prefixed(&SIPS_TCP).ok();
        let mut own = Self {
            domain: domain.clone(),
            service: service.clone(),
            naptrs: Vec::new(),
            at_service: Vec::new(),
            hosts: Vec::new(),
            at_domain: Vec::new(),
            plain: Vec::new(),
            aliases: Vec::new(),
            ttl: None,
        };
        let found = ask(resolver, domain, Kind::Naptr, until).await;
        own.naptrs.extend(found.into_iter().filter_map(|found| match found.data {
            Data::Naptr(naptr) if is_sip(&naptr) => Some(naptr),
            _ => None,
        }));
        if let Some(service) = &service {
            own.at_service = ask(resolver, service, Kind::Srv, until).await;
        }
        own.ttl = own.at_service.iter().map(|found| found.ttl).max();
        let srvs: Vec<Srv> = own.srvs().take(MAX_HOSTS).cloned().collect();
        for srv in srvs {
            let Some(host) = &srv.target else { continue };
            let found = addresses(resolver, host, until).await;
            if found.iter().any(|found| found.owner == *host && matches!(found.data, Data::Cname(_))) {
                own.aliases.push(host.clone());
            }
            let list = found.iter().filter_map(|found| found.data.address()).collect();
            own.hosts.push((srv, list));
        }
        let found = addresses(resolver, domain, until).await;
        own.at_domain = found.iter().filter_map(|found| found.data.address()).collect();
        for labels in PLAIN_SERVICES {
            let Ok(name) = domain.prefixed(&labels) else { continue };
            let found = ask(resolver, &name, Kind::Srv, until).await;
            let offered = |found: &Found| matches!(&found.data, Data::Srv(srv) if srv.target.is_some());
            if found.iter().any(offered) {
                own.plain.push(name);
            }
        }
        own
    }

    /// The service's SRV records that name a host.
    pub(super) fn srvs(&self) -> impl Iterator<Item = &Srv> {
        self.at_service.iter().filter_map(|found| match &found.data {
            Data::Srv(srv) if srv.target.is_some() => Some(srv),
            _ => None,
        })
    }

    /// What is wrong with it, as far as records alone show.
    pub(super) fn judge(&self, faults: &mut Vec<Fault>) {
        let (domain, service) = (&self.domain, SIPS_TCP.join("."));
        if self.srvs().next().is_none() {
            let text = format!("{domain} has no SRV record at {service}.{domain}");
            let mend = "Publish the records below: every SIP server that wants TLS asks for that name.".to_owned();
            faults.push(Fault::grave("no-sips-record", "PUB-4", text, mend));
        }
        let leads = |naptr: &Naptr| {
            naptr.services.eq_ignore_ascii_case("SIPS+D2T") && naptr.replacement.as_ref() == self.service.as_ref()
        };
        if self.naptrs.is_empty() {
            let text =
                format!("{domain} has no NAPTR record: servers that choose TLS by it (Asterisk, Kamailio) do not");
            let mend = format!("Publish `{domain}. NAPTR 10 10 \"s\" \"SIPS+D2T\" \"\" {service}.{domain}.`.");
            faults.push(Fault::doubt("no-naptr", "PUB-1", text, mend));
        } else if !self.naptrs.iter().any(leads) {
            let text = format!("no NAPTR record of {domain} is SIPS+D2T and leads to {service}.{domain}");
            let mend = "Let the NAPTR record lead to the domain's own SRV record: Kamailio gives others up.".to_owned();
            faults.push(Fault::doubt("naptr-leads-elsewhere", Quirk::ForeignDomain.id(), text, mend));
        }
        let plain_naptr = |naptr: &&Naptr| !naptr.services.to_ascii_uppercase().starts_with("SIPS");
        if let Some(naptr) = self.naptrs.iter().find(plain_naptr) {
            let text = format!("{domain} has a NAPTR record {}: Kamailio follows it in clear", naptr.services);
            let mend = "Remove every NAPTR record of SIP but SIPS+D2T.".to_owned();
            faults.push(Fault::doubt("plain-naptr", Quirk::PlainNaptr.id(), text, mend));
        }
        for host in &self.aliases {
            let text = format!("the SRV target {host} is an alias (CNAME): RFC 2782 forbids it, and some fail");
            let mend = format!("Give {host} A and AAAA records of its own, or name the real host in the SRV record.");
            faults.push(Fault::doubt("target-is-alias", "LOC-60", text, mend));
        }
        for (srv, _) in self.hosts.iter().filter(|(_, addresses)| addresses.is_empty()) {
            let host = srv.target.as_ref().map(ToString::to_string).unwrap_or_default();
            let text = format!("the SRV target {host} has no address");
            let mend = format!("Publish A and AAAA records for {host}, or take it out of the SRV records.");
            let grave = self.hosts.iter().all(|(_, addresses)| addresses.is_empty());
            faults.push(Fault { grave, ..Fault::grave("no-address", "PUB-5", text, mend) });
        }
        self.quirks(faults);
    }

    /// The quirk lint, on what DNS has.
    fn quirks(&self, faults: &mut Vec<Fault>) {
        let targets = self.hosts.iter().filter_map(|(srv, addresses)| {
            let (host, port) = (srv.target.clone()?, NonZeroU16::new(srv.port)?);
            let addresses = addresses.iter().copied().take(MAX_ADDRESSES).collect();
            Some(Target { host, port, priority: srv.priority, weight: srv.weight, addresses })
        });
        let targets: Vec<Target> = targets.collect();
        if targets.is_empty() {
            return;
        }
        let mut parts = NodeParts::new(self.domain.clone(), targets);
        parts.ttl = self.ttl;
        match Node::new(parts) {
            Ok(node) => faults.extend(lint::lint(&node, self).into_iter().map(|finding| {
                let id = finding.quirk.id();
                Fault::doubt("quirk", id, finding.text, format!("See {id} in docs/quirks.md for who trips over it."))
            })),
            Err(errors) => faults.extend(errors.iter().filter_map(Quirk::behind_node).map(|quirk| {
                let text = format!("{} has more SRV records than every SIP server can read", self.domain);
                Fault::doubt("quirk", quirk.id(), text, "Publish 8 targets at most.".to_owned())
            })),
        }
    }

    /// Lines for the zone that are missing in it.
    pub(super) fn missing(&self, paste: &mut Vec<String>) {
        let (domain, service) = (&self.domain, SIPS_TCP.join("."));
        let is_missing = self.srvs().next().is_none();
        let line = |owner: &str, rest: &str| format!("{owner}. {PASTE_TTL} IN {rest}");
        if is_missing {
            paste.push(line(&format!("{service}.{domain}"), &format!("SRV 10 0 5061 sip.{domain}.")));
            paste.push(format!("; and the server's addresses: sip.{domain}. {PASTE_TTL} IN A ..."));
        }
        if self.naptrs.is_empty() {
            let naptr = format!("NAPTR 10 10 \"s\" \"SIPS+D2T\" \"\" {service}.{domain}.");
            paste.push(line(&domain.to_string(), &naptr));
        }
    }
}

fn is_sip(naptr: &Naptr) -> bool {
    let service = naptr.services.to_ascii_uppercase();
    service.starts_with("SIP+") || service.starts_with("SIPS+")
}

/// The domain's own zone, as DNS shows it.
impl Surroundings for Own {
    fn peers_zone(&self) -> Option<&DomainName> {
        None
    }

    fn is_served(&self, name: &DomainName) -> bool {
        name.is_at_or_below(&self.domain)
    }

    fn has_srv(&self, name: &DomainName) -> bool {
        self.plain.contains(name)
    }

    fn has_address(&self, name: &DomainName) -> bool {
        *name == self.domain && !self.at_domain.is_empty()
    }
}
