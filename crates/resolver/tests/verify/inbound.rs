//! Which member calls: by key, by authority, by network.

use std::net::IpAddr;

use tandem_model::Network;
use tandem_resolver::{InboundBy, NotVerified};

use super::*;

fn member(domain: &str, keys: Vec<KeyPin>, sources: &[&str], state: MemberState) -> Member {
    let sources = sources.iter().map(|text| Network::parse(text).unwrap()).collect();
    Member { domain: name(domain), targets: vec![], keys, sources, state, signed_by: Some([1; 32]) }
}

/// The case, what is shown, where from, who it says it is, and what comes of it.
type Row<'c> = (&'c str, &'c [CertificateDer<'static>], &'c str, Option<&'c str>, &'c str);

#[tokio::test]
async fn who_calls() {
    let server = World::default().start(5061).await;
    let (ours, private) = (authority("ours"), authority("private"));
    let connector = connector(&server, &[&ours]);
    let only = |usage| move |params: &mut CertificateParams| params.extended_key_usages = vec![usage];
    // CERT-31: what public authorities give out today.
    let server_only = Shown::new(&ours, vec![dns("web.test")], only(ExtendedKeyUsagePurpose::ServerAuth));
    let client_only = Shown::new(&ours, vec![dns("web.test")], only(ExtendedKeyUsagePurpose::ClientAuth));
    let code_only = Shown::new(&ours, vec![dns("web.test")], only(ExtendedKeyUsagePurpose::CodeSigning));
    let pinned = Shown::new(&private, vec![dns("x.invalid")], |_| ());
    let by_private = Shown::new(&private, vec![dns("ca.test")], |_| ());
    let private_for_web = Shown::new(&private, vec![dns("web.test")], |_| ());
    let public_for_pinned = Shown::new(&ours, vec![dns("pin.test")], |_| ());
    let two_names = Shown::new(&ours, vec![dns("b.test"), dns("web.test")], |_| ());
    let stolen = Shown::new(&private, vec![dns("stolen.test")], |_| ());
    let pin = |shown: &Shown| KeyPin { holder: KeyHolder::Node, sha256: shown.spki_sha256() };
    let authority_pin = KeyPin { holder: KeyHolder::Authority, sha256: spki_digest(der(&private)).unwrap() };
    connector.resolver().set_members(Members::new([
        member("web.test", vec![], &["192.0.2.0/24", "2001:db8::/32"], MemberState::Active),
        member("b.test", vec![], &["192.0.2.128/25"], MemberState::Away),
        member("pin.test", vec![pin(&pinned)], &["0.0.0.0/0"], MemberState::Active),
        member("ca.test", vec![authority_pin], &[], MemberState::Active),
        member("stolen.test", vec![pin(&stolen)], &["203.0.113.66"], MemberState::Compromised),
    ]));
    let nobody: &[CertificateDer<'static>] = &[];
    let (far, v6): (&str, &str) = ("2001:db9::1", "2001:db8::5");
    let rows: Vec<Row<'_>> = vec![
        ("own key", &pinned.chain, far, None, "pin.test Key true"),
        ("own key, other From", &pinned.chain, far, Some("b.test"), "pin.test Key false"),
        ("own authority", &by_private.chain, far, Some("ca.test"), "ca.test PinnedAuthority true"),
        ("another's authority", &private_for_web.chain, far, None, "Unknown"),
        ("CERT-31", &server_only.chain, far, Some("web.test"), "web.test Authority true"),
        ("CERT-T27, CERT-25", &server_only.chain, far, Some("b.test"), "web.test Authority false"),
        ("clientAuth", &client_only.chain, far, None, "web.test Authority true"),
        ("CERT-T26", &code_only.chain, far, None, "Unknown"),
        ("who pins is not believed without", &public_for_pinned.chain, far, None, "Unknown"),
        ("CERT-30, CERT-24", &two_names.chain, far, Some("web.test"), "web.test Authority true"),
        ("its first name", &two_names.chain, far, None, "b.test Authority true"),
        ("CERT-23", nobody, far, None, "Unknown"),
        ("network", nobody, "192.0.2.5", None, "web.test Network true"),
        ("closest network", nobody, "192.0.2.200", None, "b.test Network true"),
        ("asserted among networks", nobody, "192.0.2.200", Some("web.test"), "web.test Network true"),
        ("IPv6", nobody, v6, None, "web.test Network true"),
        ("IPv4 in IPv6", nobody, "::ffff:192.0.2.5", None, "web.test Network true"),
        ("widest network", nobody, "198.51.100.1", None, "pin.test Network true"),
        ("a key before a network", &pinned.chain, "192.0.2.5", None, "pin.test Key true"),
        ("compromised key", &stolen.chain, "192.0.2.5", None, "Compromised"),
        ("compromised network", nobody, "203.0.113.66", None, "Compromised"),
    ];
    for (id, chain, source, domain, expected) in rows {
        let source: IpAddr = source.parse().unwrap();
        let got = match connector.verify(domain.map(name).as_ref(), chain, source) {
            Ok(inbound) => format!("{} {:?} {}", inbound.member.domain, inbound.by, inbound.asserts_itself),
            Err(NotVerified::Compromised(_)) => "Compromised".to_owned(),
            Err(NotVerified::Unknown) => "Unknown".to_owned(),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(got, expected, "{id}");
    }
    assert_eq!(connector.verify(None, nobody, "192.0.2.5".parse().unwrap()).unwrap().by, InboundBy::Network);
}
