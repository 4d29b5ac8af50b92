//! What no server on loopback shows.

use std::net::SocketAddr;
use std::time::Duration;

use tandem_model::locate::{Dnssec, Failure, HopDnssec, Service, TlsaData};
use tandem_probe::sip::SipError;
use tandem_resolver::{ConnectError, Session, Untrusted};

use super::*;

fn hop(address: &str) -> NextHop {
    NextHop {
        service: Service::Tls,
        address: address.parse::<SocketAddr>().unwrap(),
        tls_name: Some(DomainName::parse("a.test").unwrap()),
        srv_target: Some(DomainName::parse("sip.a.test").unwrap()),
        canonical: None,
        rank: None,
        dnssec: HopDnssec::default(),
        ttl: None,
    }
}

fn seen(verdict: Result<VerifiedBy, ConnectError>) -> Examination {
    let (proof, server_name, tlsa, connected, session, options) = (None, None, None, None, None, None);
    Examination { proof, server_name, tlsa, connected, session, verdict, options }
}

fn codes(look: &Look) -> Vec<&'static str> {
    look.faults.iter().map(|fault| fault.code).collect()
}

#[test]
fn each_failure_has_its_name_and_its_remedy() {
    let io = |kind: io::ErrorKind| ConnectError::Tcp(kind.into());
    let tls = |error: rustls::Error| ConnectError::Tls(io::Error::other(error));
    for (error, code) in [
        (ConnectError::Timeout, "no-answer"),
        (io(io::ErrorKind::ConnectionRefused), "refused"),
        (io(io::ErrorKind::HostUnreachable), "no-connection"),
        (tls(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)), "not-tls"),
        (tls(rustls::Error::AlertReceived(rustls::AlertDescription::HandshakeFailure)), "tls-refused"),
        (
            tls(rustls::Error::PeerIncompatible(rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13)),
            "tls-incompatible",
        ),
        (ConnectError::Tls(io::ErrorKind::UnexpectedEof.into()), "no-tls"),
        (ConnectError::TlsaLookup(Failure::Timeout), "tlsa-lookup-failed"),
        (ConnectError::Compromised, "compromised"),
        (ConnectError::Untrusted(Untrusted::Unreadable), "certificate-unreadable"),
        (ConnectError::Untrusted(Untrusted::NoTlsaFits), "tlsa-does-not-fit"),
    ] {
        let look = Look::new(hop("192.0.2.1:5061"), seen(Err(error)), false, 0);
        assert_eq!((codes(&look), look.takes_calls(), look.no_route), (vec![code], false, false));
        assert!(look.faults[0].mend.ends_with('.'), "{:?}", look.faults);
        assert_eq!(look.to_json()["result"], code);
    }
}

/// A machine without IPv6 says nothing of a server that has it.
#[test]
fn what_this_machine_lacks_is_no_fault_of_the_server() {
    let error = ConnectError::Tcp(io::ErrorKind::NetworkUnreachable.into());
    let look = Look::new(hop("[2001:db8::1]:5061"), seen(Err(error)), false, 0);
    assert!(look.no_route && !look.faults[0].grave);
    assert_eq!((&look.to_json()["result"], &look.to_json()["family"]), (&json!("no-route"), &json!("ipv6")));
    let look = Look::new(hop("192.0.2.1:5061"), seen(Err(ConnectError::Timeout)), true, 0);
    assert_eq!((codes(&look), look.takes_calls()), (vec!["no-time"], false));
}

#[test]
fn sip_answers_count() {
    for (options, codes_expected) in [
        (Ok(Life::Alive { code: 404 }), vec![]),
        (Ok(Life::Busy { retry_after: Some(30) }), vec!["busy"]),
        (Err(SipError::Closed), vec!["no-sip"]),
    ] {
        let mut seen = seen(Ok(VerifiedBy::Authority));
        seen.options = Some(options);
        let look = Look::new(hop("192.0.2.1:5061"), seen, false, 0);
        assert_eq!((codes(&look), look.takes_calls()), (codes_expected.clone(), codes_expected.is_empty()));
    }
}

/// CERT-54, CERT-43: records that do not fit are told before anybody proves them; a certificate that ends soon is, too.
#[test]
fn doubts_break_no_call() {
    let key = certificate();
    let now = Leaf::read(&key).unwrap().not_after - 3 * DAY - 10;
    let mut seen = seen(Ok(VerifiedBy::Authority));
    let record = TlsaData { usage: 3, selector: 1, matching: 1, data: vec![7; 32].into() };
    seen.tlsa = Some(TlsaLook {
        host: DomainName::parse("sip.a.test").unwrap(),
        records: vec![(record, true, false)],
        dnssec: Dnssec::Insecure,
        failure: None,
    });
    let took = Duration::from_millis(1);
    seen.session = Some(Session { took, version: "TLS 1.3", suite: "X".into(), chain: vec![key.into()] });
    let look = Look::new(hop("192.0.2.1:5061"), seen, false, now);
    assert_eq!(codes(&look), ["tlsa-does-not-fit", "certificate-ends-soon"]);
    assert!(look.takes_calls());
    assert!(look.faults[0].mend.contains("_5061._tcp.sip.a.test. TLSA 3 1 1 "), "{:?}", look.faults[0]);
    assert_eq!(look.to_json()["certificate"]["days_left"], 3);
}

/// A certificate in DER.
fn certificate() -> Vec<u8> {
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    made.cert.der().to_vec()
}
