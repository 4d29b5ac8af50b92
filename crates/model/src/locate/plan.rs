//! What the URI and the settings decide before DNS is asked (RFC 3263 4.1, 4.2).

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use super::client::{Client, Mode, Request, SentBy};
use super::outcome::{LocateError, Reason, Refusal};
use super::service::Service;
use crate::name::DomainName;
use crate::uri::{Host, InvalidUri, SipUri};

/// The part of the procedure that needs no DNS.
#[derive(Debug)]
pub(super) struct Plan {
    /// Where to begin, or why there is no use.
    pub(super) route: Result<Route, LocateError>,
    /// Only services over TLS count.
    pub(super) secure: bool,
    /// Services that may be used, best first: of the client's, those that the URI and the request allow.
    pub(super) services: Vec<Service>,
    /// The URI's host.
    pub(super) host: Host,
    /// The reference identity (LOC-66).
    pub(super) tls_name: Option<DomainName>,
    /// Why.
    pub(super) reasons: Vec<Reason>,
}

/// Where the procedure begins.
#[derive(Debug, Clone)]
pub(super) enum Route {
    /// TARGET is an address (LOC-50).
    Numeric { service: Service, address: SocketAddr },
    /// A name with a port (LOC-51).
    Address { target: DomainName, service: Service, port: u16 },
    /// The transport is given (LOC-20, LOC-52).
    Srv { target: DomainName, service: Service },
    /// Everything is open (LOC-23). `fallback` is what LOC-37 gives.
    Naptr { target: DomainName, fallback: Service },
}

impl Plan {
    pub(super) fn new(uri: &SipUri, request: Request, client: &Client) -> Self {
        let mut reasons = Vec::new();
        let mut because = |rule, text: String| reasons.push(Reason::new(rule, text));
        let as_sips = uri.is_sips() || request.request_uri_is_sips;
        let secure = as_sips || client.mode == Mode::Secure;
        if uri.is_sips() {
            because("LOC-24", "the URI is sips: only TLS counts".to_owned());
        } else if as_sips {
            because("LOC-3", "the Request-URI is sips: located as a sips: URI".to_owned());
        } else if secure {
            because("LOC-36", "secure mode: only TLS counts".to_owned());
        }
        let mut services: Vec<_> = client.services.iter().copied().filter(|s| !secure || s.is_secure()).collect();
        if request.is_large() && !secure {
            because("LOC-38", "the request is large: UDP does not count".to_owned());
            services.retain(|&service| service != Service::Udp);
        }
        let route =
            Decide { uri, client, as_sips, secure, large: request.is_large(), services: &services }.route(&mut because);
        let host = uri.host().clone();
        Self { route, secure, services, tls_name: host.as_name().cloned(), host, reasons }
    }
}

impl Plan {
    /// RFC 3263 5: the transport is Via's, so NAPTR is never asked for (LOC-102 to LOC-104).
    pub(super) fn for_response(sent_by: &SentBy, client: &Client) -> Self {
        let service = sent_by.service;
        let port = sent_by.port.map(NonZeroU16::get);
        let (rule, text, route) = match &sent_by.host {
            Host::Ip(ip) => {
                let address = SocketAddr::new(*ip, port.unwrap_or_else(|| service.default_port()));
                ("LOC-102", format!("sent-by is {ip}: no DNS; {service}"), Route::Numeric { service, address })
            }
            Host::Name(target) => {
                let target = target.clone();
                match port {
                    Some(port) => {
                        let text = format!("sent-by names port {port}: {service} to the addresses of {target}");
                        ("LOC-103", text, Route::Address { target, service, port })
                    }
                    None => {
                        ("LOC-104", format!("Via decides: {service}, SRV of {target}"), Route::Srv { target, service })
                    }
                }
            }
        };
        let secure_mode = client.mode == Mode::Secure;
        let route = match &sent_by.host {
            Host::Ip(ip) if ip.is_multicast() => Err(LocateError::PolicyRefused(Refusal::Multicast(*ip))),
            _ if secure_mode && !service.is_secure() => Err(LocateError::PolicyRefused(Refusal::Plaintext)),
            Host::Ip(_) if secure_mode && !client.pins_numeric_hosts => {
                Err(LocateError::PolicyRefused(Refusal::NumericHost))
            }
            _ if !client.services.contains(&service) => {
                Err(LocateError::UnsupportedTransport(service.via().to_ascii_lowercase()))
            }
            _ => Ok(route),
        };
        let (host, tls_name) = (sent_by.host.clone(), sent_by.host.as_name().cloned());
        let reasons = vec![Reason::new(rule, text)];
        Self { route, secure: service.is_secure(), services: vec![service], host, tls_name, reasons }
    }
}

struct Decide<'a> {
    uri: &'a SipUri,
    client: &'a Client,
    as_sips: bool,
    secure: bool,
    large: bool,
    services: &'a [Service],
}

impl Decide<'_> {
    fn route(&self, because: &mut impl FnMut(&'static str, String)) -> Result<Route, LocateError> {
        let explicit = self.explicit(because)?;
        let target = self.target(because)?;
        let host_is_numeric = self.uri.host().as_name().is_none();
        if host_is_numeric && self.client.mode == Mode::Secure && !self.client.pins_numeric_hosts {
            return Err(LocateError::PolicyRefused(Refusal::NumericHost)); // LOC-67
        }
        let port = self.uri.port().map(NonZeroU16::get);
        match (target, port, explicit) {
            (Host::Ip(ip), ..) if ip.is_multicast() => Err(LocateError::PolicyRefused(Refusal::Multicast(ip))), // LOC-11
            (Host::Ip(ip), ..) => {
                let service = explicit.map_or_else(|| self.default_service(), Ok)?;
                because("LOC-50", format!("{ip} is an address: no DNS; {service}"));
                let address = SocketAddr::new(ip, port.unwrap_or_else(|| service.default_port()));
                Ok(Route::Numeric { service, address })
            }
            (Host::Name(target), Some(port), _) => {
                let service = explicit.map_or_else(|| self.default_service(), Ok)?;
                because(
                    "LOC-22",
                    format!("port {port} is given: no NAPTR, no SRV; {service} to the addresses of {target}"),
                );
                Ok(Route::Address { target, service, port })
            }
            (Host::Name(target), None, Some(service)) => {
                because("LOC-20", format!("the URI's transport decides: {service}, no NAPTR"));
                Ok(Route::Srv { target, service })
            }
            (Host::Name(target), None, None) => Ok(Route::Naptr { target, fallback: self.default_service()? }),
        }
    }

    /// The service that `transport=` names.
    fn explicit(&self, because: &mut impl FnMut(&'static str, String)) -> Result<Option<Service>, LocateError> {
        let Some(value) = self.uri.parameter("transport") else { return Ok(None) };
        let value = value.ok_or(LocateError::InvalidUri(InvalidUri::Parameter))?;
        let unsupported = || LocateError::UnsupportedTransport(value.to_ascii_lowercase());
        let mut service = Service::from_transport(value, self.secure).ok_or_else(unsupported)?;
        if service == Service::Udp {
            if self.as_sips {
                return Err(LocateError::InvalidUri(InvalidUri::UnreliableTransport)); // LOC-4
            }
            if self.secure {
                return Err(LocateError::PolicyRefused(Refusal::Plaintext));
            }
            if self.large {
                because("LOC-38", "transport=udp, but the request is large: TCP".to_owned());
                service = Service::Tcp;
            }
        }
        if value.eq_ignore_ascii_case("tls") {
            because("LOC-6", "transport=tls is deprecated, and taken as TLS".to_owned());
        }
        if self.secure && !value.eq_ignore_ascii_case("tls") {
            because("LOC-53", format!("transport={} means {service} here", value.to_ascii_lowercase()));
        }
        if self.services.contains(&service) { Ok(Some(service)) } else { Err(unsupported()) }
    }

    /// TARGET: the `maddr` value if there is one, else the host (LOC-10).
    fn target(&self, because: &mut impl FnMut(&'static str, String)) -> Result<Host, LocateError> {
        let Some(maddr) = self.uri.parameter("maddr") else { return Ok(self.uri.host().clone()) };
        let maddr = maddr.ok_or(LocateError::InvalidUri(InvalidUri::Parameter))?;
        // People write IPv6 without brackets here, though RFC 3261 25.1 wants them.
        let bare: Option<IpAddr> = maddr.parse().ok();
        let target = bare.map_or_else(|| Host::parse(maddr), |ip| Ok(Host::Ip(ip))).map_err(LocateError::InvalidUri)?;
        because("LOC-10", format!("maddr routes to {target}; the identity stays {}", self.uri.host()));
        Ok(target)
    }

    /// What is used when neither URI nor DNS says (LOC-21, LOC-22, LOC-37).
    fn default_service(&self) -> Result<Service, LocateError> {
        let order: &[Service] = if self.secure { &[Service::Tls] } else { &[Service::Udp, Service::Tcp] };
        order
            .iter()
            .copied()
            .find(|service| self.services.contains(service))
            .ok_or_else(|| LocateError::NoCommonTransport(self.uri.host().clone()))
    }
}
