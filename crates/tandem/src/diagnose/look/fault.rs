//! What is wrong at one address, and what mends it.

use std::io;

use tandem_model::DomainName;
use tandem_probe::Distrust;
use tandem_probe::sip::{Life, SipError};
use tandem_resolver::{ConnectError, Untrusted};

use super::{Fault, Look, day, hex};

/// A certificate that ends within so many days should have been renewed.
const SOON: i64 = 14;

impl Look {
    /// Fills in what is wrong.
    pub(super) fn judge(&mut self) {
        if let Err(ConnectError::Tcp(error)) = &self.seen.verdict
            && is_no_route(error)
        {
            self.no_route = true;
            let text = format!("this machine has no route to {}", self.hop.address.ip());
            let mend = "Nothing at the server's side: run this where that address family is available.".to_owned();
            self.faults.push(Fault::doubt("no-route", "LOC-62", text, mend));
            return;
        }
        if self.hurried && matches!(self.seen.verdict, Err(ConnectError::Timeout)) {
            let text = format!("there was no time left for {}", self.place());
            self.faults.push(Fault::doubt("no-time", "LOC-90", text, "Give it more with --timeout.".to_owned()));
            return;
        }
        let mut faults = Vec::new();
        if let Err(error) = &self.seen.verdict {
            self.of_connection(error, &mut faults);
        }
        match &self.seen.options {
            Some(Err(error)) => faults.push(self.of_silence(error)),
            Some(Ok(Life::Busy { retry_after })) => {
                let after = retry_after.map(|seconds| format!(" for {seconds} s")).unwrap_or_default();
                let text = format!("{} answers 503: it asks for no calls{after}", self.place());
                let mend = "Look into the server's log why it takes no calls now.".to_owned();
                faults.push(Fault::grave("busy", "LOC-83", text, mend));
            }
            Some(Ok(Life::Alive { .. })) | None => {}
        }
        self.of_tlsa(&mut faults);
        let ends_soon = self.days_left().filter(|days| (0..SOON).contains(days));
        if let (Some(days), Some(leaf)) = (ends_soon, &self.leaf) {
            let text = format!("the certificate of {} ends on {}, in {days} days", self.place(), day(leaf.not_after));
            let mend = "Renew the certificate, and have that done by a program from now on.".to_owned();
            faults.push(Fault::doubt("certificate-ends-soon", "CERT-1", text, mend));
        }
        self.faults = faults;
    }

    fn of_connection(&self, error: &ConnectError, faults: &mut Vec<Fault>) {
        let (place, address) = (self.place(), self.hop.address);
        let (code, rule, text, mend) = match error {
            ConnectError::Timeout if self.seen.connected.is_none() => (
                "no-answer",
                "LOC-81",
                format!("{place} does not answer at all"),
                format!(
                    "Let TCP port {} of {} through the firewall, or take the address out of DNS.",
                    address.port(),
                    address.ip()
                ),
            ),
            ConnectError::Timeout => (
                "silent",
                "LOC-81",
                format!("{place} takes the connection, and says nothing"),
                format!(
                    "See that what listens on port {} is the SIP server, that it speaks TLS, and that it is not stuck.",
                    address.port()
                ),
            ),
            ConnectError::Tcp(error) if error.kind() == io::ErrorKind::ConnectionRefused => (
                "refused",
                "LOC-81",
                format!("{place} refuses the connection: nothing listens there"),
                format!(
                    "Start the SIP server with TLS on port {} of {}, or correct the SRV record.",
                    address.port(),
                    address.ip()
                ),
            ),
            ConnectError::Tcp(error) => (
                "no-connection",
                "LOC-81",
                format!("{place} cannot be reached: {error}"),
                format!("See that {} is the server's address and is routed.", address.ip()),
            ),
            ConnectError::Tls(error) => self.of_handshake(error),
            ConnectError::Untrusted(untrusted) => return self.of_certificate(untrusted, faults),
            ConnectError::TlsaLookup(failure) => (
                "tlsa-lookup-failed",
                "CERT-43",
                format!("the lookup of the TLSA records of {place} failed: {failure}"),
                "See that the zone's name servers answer for TLSA; while they do not, nobody may call.".to_owned(),
            ),
            ConnectError::Compromised => (
                "compromised",
                "CERT-20",
                format!("the directory says that {place} is compromised"),
                "Do not call; ask the domain's operator by another way.".to_owned(),
            ),
            _ => (
                "not-tls",
                "LOC-67",
                format!("{place} cannot be looked at: {error}"),
                "Call a domain, by TLS: there is no name to verify otherwise.".to_owned(),
            ),
        };
        faults.push(Fault::grave(code, rule, text, mend));
    }

    fn of_handshake(&self, error: &io::Error) -> (&'static str, &'static str, String, String) {
        let (place, port) = (self.place(), self.hop.address.port());
        let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match cause {
            Some(rustls::Error::InvalidMessage(_)) => (
                "not-tls",
                "CERT-60",
                format!("what listens at {place} does not speak TLS"),
                format!("Let the SIP server speak TLS on port {port}, or let the SRV record name its TLS port."),
            ),
            Some(rustls::Error::PeerIncompatible(_)) => (
                "tls-incompatible",
                "CERT-61",
                format!("{place} has no TLS that is still safe: {error}"),
                "Allow TLS 1.2 and 1.3 with ECDHE and AES-GCM in the SIP server (Kamailio: tls_method=TLSv1.2+).".to_owned(),
            ),
            Some(rustls::Error::AlertReceived(alert)) => (
                "tls-refused",
                "CERT-60",
                format!("{place} refuses the TLS handshake: {alert:?}"),
                "Look into the server's log: it wants a client certificate, knows no certificate for this domain, or has only \
                 old ciphers."
                    .to_owned(),
            ),
            _ => (
                "no-tls",
                "CERT-60",
                format!("{place} ends the TLS handshake: {error}"),
                format!("See that what listens on port {port} is the SIP server, with TLS, and has a certificate and key."),
            ),
        }
    }

    fn of_certificate(&self, untrusted: &Untrusted, faults: &mut Vec<Fault>) {
        let place = self.place();
        let domain = self.hop.tls_name.as_ref().map(ToString::to_string).unwrap_or_default();
        let names =
            || self.leaf.as_ref().map(|leaf| leaf.identities.iter().take(4).map(|name| &**name).collect::<Vec<_>>());
        let other_name = |names: Option<Vec<&str>>| {
            let names = names.unwrap_or_default().join(", ");
            Fault::grave(
                "certificate-other-name",
                "CERT-20",
                format!("the certificate of {place} is for {names}, not for {domain}"),
                format!("Get a certificate with the subjectAltName DNS:{domain}: the SIP domain, not the host's name."),
            )
        };
        let no_name = || {
            Fault::grave(
                "certificate-without-name",
                "CERT-6",
                format!("the certificate of {place} has no name that counts in SIP"),
                format!(
                    "Get a certificate with the subjectAltName DNS:{domain} or URI:sip:{domain}; the subject does not count."
                ),
            )
        };
        let fault = match untrusted {
            Untrusted::Certificate(Distrust::OtherName) => other_name(names()),
            Untrusted::Certificate(Distrust::NoIdentity) => no_name(),
            Untrusted::Certificate(Distrust::Chain(why)) => self.of_chain(why),
            Untrusted::Certificate(Distrust::NoPinFits) => Fault::grave(
                "key-not-published",
                "CERT-44",
                format!("{place} has none of the keys that the member published"),
                "Publish the new key with `tandem publish --key` beside the old one, or give the server its old key back.".to_owned(),
            ),
            Untrusted::NoTlsaFits => Fault::grave(
                "tlsa-does-not-fit",
                "CERT-44",
                format!("none of the TLSA records, which DNSSEC proves, fits the certificate of {place}"),
                self.tlsa_line(),
            ),
            _ => Fault::grave(
                "certificate-unreadable",
                "CERT-1",
                format!("the certificate of {place} cannot be read"),
                "Replace the certificate by one that `openssl x509 -text` reads.".to_owned(),
            ),
        };
        let by_chain = matches!(untrusted, Untrusted::Certificate(Distrust::Chain(_)));
        faults.push(fault);
        // A chain is judged before the name: both faults at once save a turn.
        if let (true, Some(leaf), Some(name)) = (by_chain, &self.leaf, &self.hop.tls_name)
            && !leaf.names(name)
        {
            faults.push(if leaf.identities.is_empty() { no_name() } else { other_name(names()) });
        }
    }

    fn of_chain(&self, why: &str) -> Fault {
        let place = self.place();
        match &self.leaf {
            Some(leaf) if leaf.not_after < self.now => Fault::grave(
                "certificate-expired",
                "CERT-1",
                format!("the certificate of {place} ended on {}", day(leaf.not_after)),
                "Renew the certificate, reload the SIP server, and have both done by a program from now on.".to_owned(),
            ),
            Some(leaf) if leaf.not_before > self.now => Fault::grave(
                "certificate-not-yet-valid",
                "CERT-1",
                format!("the certificate of {place} begins on {} only", day(leaf.not_before)),
                "Set the clocks of the server and of this machine right, or wait for that day.".to_owned(),
            ),
            _ => {
                let issuer = self.portrait.as_ref().map(|portrait| portrait.issuer.to_string()).unwrap_or_default();
                Fault::grave(
                    "certificate-untrusted",
                    "CERT-1",
                    format!("the certificate of {place}, given out by \"{issuer}\", is not trusted here: {why}"),
                    "Get a certificate from an authority that callers trust, and have the server send the whole chain; or \
                     give callers the authority's certificate (here: --ca FILE)."
                        .to_owned(),
                )
            }
        }
    }

    fn of_silence(&self, error: &SipError) -> Fault {
        let place = self.place();
        let mend = match error {
            SipError::Closed | SipError::Io(_) => {
                "Look into the server's log why it ends the connection; it may want a client certificate from callers."
            }
            SipError::Malformed(_) => "See that what listens there is a SIP server and not, for example, a web server.",
            SipError::Timeout | SipError::TooMuchElse => {
                "Let the server answer SIP OPTIONS, with any status; one that is silent takes no calls either."
            }
        };
        Fault::grave("no-sip", "LOC-81", format!("{place}: {error}"), mend.to_owned())
    }

    /// Records that do not fit break no call while nobody proves them, and every call once somebody does.
    fn of_tlsa(&self, faults: &mut Vec<Fault>) {
        let Some(tlsa) = &self.seen.tlsa else { return };
        let usable = tlsa.records.iter().filter(|(_, usable, _)| *usable);
        let fits = usable.clone().any(|(.., fits)| *fits);
        let whole = usable.clone().all(|(record, ..)| record.usage == 2 && record.matching == 0);
        if self.seen.session.is_some() && !tlsa.dnssec.is_secure() && usable.count() > 0 && !fits && !whole {
            let text = format!("none of the TLSA records fits the certificate of {}", self.place());
            faults.push(Fault::doubt("tlsa-does-not-fit", "CERT-54", text, self.tlsa_line()));
        }
    }

    /// The record that would fit.
    fn tlsa_line(&self) -> String {
        let (Some(leaf), Some(tlsa)) = (&self.leaf, &self.seen.tlsa) else {
            return "Remove the TLSA records, or publish one for the key in use.".to_owned();
        };
        let owner = owner(self.hop.address.port(), &tlsa.host);
        format!("Publish `{owner} TLSA 3 1 1 {}`, or give the server its old key back.", hex(&leaf.spki_sha256))
    }
}

fn owner(port: u16, target: &DomainName) -> String {
    format!("_{port}._tcp.{target}.")
}

fn is_no_route(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, NetworkDown, NetworkUnreachable};
    matches!(error.kind(), NetworkUnreachable | AddrNotAvailable | NetworkDown)
}
