//! CERT-T01 to CERT-T26 as far as they need no DNS, with certificates made here.

use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, SanType,
};

use super::*;

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn uri(text: &str) -> SanType {
    SanType::URI(Ia5String::try_from(text).unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(Ia5String::try_from(text).unwrap())
}

fn email(text: &str) -> SanType {
    SanType::Rfc822Name(Ia5String::try_from(text).unwrap())
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority");
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn leaf(alternative: Vec<SanType>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = alternative;
    params.distinguished_name.push(DnType::CommonName, "example.com");
    params
}

fn signed(params: &CertificateParams, issuer: &Issuer<'_, KeyPair>) -> Certificate {
    params.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap()
}

fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(1_790_000_000))
}

fn trusting(issuer: &Certificate) -> Trust {
    let (trust, unreadable) = Trust::new([issuer.der().clone()]);
    assert_eq!(unreadable, 0);
    trust
}

#[test]
fn worked_cases() {
    use Trusted::Authority;
    let authority = authority();
    let trust = trusting(authority.as_ref());
    let own = |text| dns(text);
    let ip = |text: &str| SanType::IpAddress(text.parse::<IpAddr>().unwrap());
    type Case = (&'static str, Vec<SanType>, &'static str, Result<Trusted, Distrust>);
    let cases: Vec<Case> = vec![
        ("CERT-T01", vec![uri("sip:example.com")], "example.com", Ok(Authority)),
        ("CERT-T02", vec![own("example.com")], "example.com", Ok(Authority)),
        ("CERT-T03", vec![own("EXAMPLE.COM")], "example.com", Ok(Authority)),
        ("CERT-T04", vec![uri("SIP:example.com")], "example.com", Ok(Authority)),
        ("CERT-T05", vec![uri("sip:example.com:5061;transport=tcp")], "example.com", Ok(Authority)),
        ("CERT-T06", vec![uri("sips:example.com")], "example.com", Err(Distrust::NoIdentity)),
        ("CERT-T07", vec![uri("sip:bob@example.com")], "example.com", Err(Distrust::NoIdentity)),
        ("CERT-T08", vec![uri("sip:other.example"), own("example.com")], "example.com", Err(Distrust::OtherName)),
        (
            "CERT-T08, the other order",
            vec![own("example.com"), uri("sip:other.example")],
            "example.com",
            Err(Distrust::OtherName),
        ),
        ("CERT-T09", vec![uri("https://example.com/"), own("example.com")], "example.com", Ok(Authority)),
        ("CERT-T10", vec![uri("sip:bob@example.com"), own("example.com")], "example.com", Ok(Authority)),
        ("CERT-T11", vec![own("*.example.com")], "a.example.com", Err(Distrust::OtherName)),
        ("CERT-T11, as a URI", vec![uri("sip:*.example.com")], "a.example.com", Err(Distrust::OtherName)),
        ("CERT-T12", vec![own("sip.example.com")], "example.com", Err(Distrust::OtherName)),
        ("CERT-T13", vec![own("example.com")], "sip.example.com", Err(Distrust::OtherName)),
        ("CERT-T13, the reverse", vec![own("sip.example.com")], "example.com", Err(Distrust::OtherName)),
        ("CERT-T14", vec![], "example.com", Err(Distrust::NoIdentity)),
        ("CERT-T15", vec![email("bob@example.com")], "example.com", Err(Distrust::NoIdentity)),
        ("CERT-T24", vec![ip("192.0.2.9")], "192.0.2.9", Err(Distrust::NoIdentity)),
        ("CERT-T24, as a URI", vec![uri("sip:192.0.2.9")], "192.0.2.9", Err(Distrust::NoIdentity)),
        ("CERT-T25", vec![own("XN--BCHER-kva.example")], "xn--bcher-kva.example", Ok(Authority)),
        (
            "CERT-7: an address switches DNS names off",
            vec![uri("sip:[2001:db8::1]"), own("example.com")],
            "example.com",
            Err(Distrust::NoIdentity),
        ),
        ("CERT-11: the second of two", vec![own("example.org"), own("example.com")], "example.com", Ok(Authority)),
        ("CERT-13", vec![own("example.com.")], "example.com", Ok(Authority)),
        ("an @ in a parameter", vec![uri("sip:example.com;x=a@b")], "example.com", Err(Distrust::NoIdentity)),
        ("headers", vec![uri("sip:example.com?subject=x")], "example.com", Ok(Authority)),
        ("a NUL in the name", vec![own("example.com\0.evil.test")], "example.com", Err(Distrust::OtherName)),
        ("a name in front", vec![own("evil-example.com")], "example.com", Err(Distrust::OtherName)),
        ("no scheme", vec![uri("example.com")], "example.com", Err(Distrust::NoIdentity)),
    ];
    for (id, alternative, domain, verdict) in cases {
        let certificate = signed(&leaf(alternative), &authority);
        let chain = [certificate.der().clone()];
        assert_eq!(trust.judge(&chain, &name(domain), &[], now()).unwrap().verdict, verdict, "{id}");
    }
}

#[test]
fn chains_dates_and_usage() {
    let authority = authority();
    let trust = trusting(authority.as_ref());
    let good = || leaf(vec![dns("example.com")]);
    let chain_fault = |params: CertificateParams, issuer: &Issuer<'_, KeyPair>, at: UnixTime| {
        let chain = [signed(&params, issuer).der().clone()];
        match trust.judge(&chain, &name("example.com"), &[], at).unwrap().verdict {
            Err(Distrust::Chain(why)) => Some(why),
            _ => None,
        }
    };
    let date = |year| rcgen::date_time_ymd(year, 1, 1);
    // CERT-T16, and one that does not hold yet.
    let dated = |from, to| {
        let mut params = good();
        (params.not_before, params.not_after) = (date(from), date(to));
        params
    };
    assert!(chain_fault(dated(2020, 2021), &authority, now()).unwrap().contains("xpired"));
    assert!(chain_fault(dated(2030, 2031), &authority, now()).is_some());
    assert_eq!(chain_fault(dated(2020, 2031), &authority, now()), None);
    // CERT-T26: usage is limited, and not to servers. Without a limit, and with ours, it is fine.
    for (purposes, fault) in [
        (vec![ExtendedKeyUsagePurpose::CodeSigning], true),
        (vec![ExtendedKeyUsagePurpose::ClientAuth], true),
        (vec![ExtendedKeyUsagePurpose::ServerAuth], false),
        (vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth], false),
        (vec![], false),
    ] {
        let mut params = good();
        params.extended_key_usages = purposes.clone();
        assert_eq!(chain_fault(params, &authority, now()).is_some(), fault, "{purposes:?}");
    }
    // A stranger's authority, and one that only looks like ours.
    let fault = chain_fault(good(), &self::authority(), now()).unwrap();
    assert!(["nobody who is trusted here signed it", "a signature in it is wrong"].contains(&&*fault), "{fault}");
    // As `openssl req -x509` makes it.
    let mut authoritys = good();
    authoritys.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    assert_eq!(&*chain_fault(authoritys, &authority, now()).unwrap(), "it is an authority's (CA:TRUE), not a server's");
    let self_signed = good().self_signed(&KeyPair::generate().unwrap()).unwrap();
    let verdict = trust.judge(&[self_signed.der().clone()], &name("example.com"), &[], now()).unwrap().verdict;
    assert!(matches!(verdict, Err(Distrust::Chain(_))));
    // A leaf must not sign.
    let key = KeyPair::generate().unwrap();
    let middle = good().signed_by(&key, &authority).unwrap();
    let below = signed(&good(), &Issuer::from_params(&good(), key));
    let chain = [below.der().clone(), middle.der().clone()];
    assert!(matches!(trust.judge(&chain, &name("example.com"), &[], now()).unwrap().verdict, Err(Distrust::Chain(_))));
}

#[test]
fn pinned_keys() {
    let authority = authority();
    let anchor: &Certificate = authority.as_ref();
    let (nobody, _) = Trust::new([]);
    let pin = |holder, certificate: &Certificate| KeyPin { holder, sha256: spki_digest(certificate.der()).unwrap() };
    let judge = |trust: &Trust, chain: &[&Certificate], domain: &str, keys: &[KeyPin]| {
        let chain: Vec<_> = chain.iter().map(|certificate| certificate.der().clone()).collect();
        trust.judge(&chain, &name(domain), keys, now()).unwrap().verdict
    };
    let own = leaf(vec![dns("x.invalid")]).self_signed(&KeyPair::generate().unwrap()).unwrap();
    let mut past = leaf(vec![dns("example.com")]);
    past.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let expired = signed(&past, &authority);
    let good = signed(&leaf(vec![dns("example.com")]), &authority);
    let other_name = signed(&leaf(vec![dns("other.example")]), &authority);
    let node = |certificate: &Certificate| pin(KeyHolder::Node, certificate);
    let signer = pin(KeyHolder::Authority, anchor);
    let trusted = trusting(anchor);
    let d = "example.com";
    assert_eq!(judge(&nobody, &[&own], d, &[node(&own)]), Ok(Trusted::NodeKey), "CERT-T17");
    assert_eq!(judge(&nobody, &[&expired], d, &[node(&expired)]), Ok(Trusted::NodeKey), "CERT-T16");
    assert_eq!(judge(&trusted, &[&good], d, &[node(&own)]), Err(Distrust::NoPinFits), "CERT-T19");
    assert_eq!(judge(&nobody, &[&own], d, &[node(&good), node(&own)]), Ok(Trusted::NodeKey), "CERT-T20");
    assert_eq!(judge(&nobody, &[&good, anchor], d, &[signer]), Ok(Trusted::PinnedAuthority), "CERT-50");
    assert_eq!(judge(&nobody, &[&other_name, anchor], d, &[signer]), Err(Distrust::OtherName), "CERT-50");
    assert!(matches!(judge(&nobody, &[&expired, anchor], d, &[signer]), Err(Distrust::Chain(_))), "CERT-50");
    assert_eq!(judge(&nobody, &[&good], d, &[signer]), Err(Distrust::NoPinFits), "CERT-50: the anchor is sent along");
    // The anchor is in the chain, and has signed nothing in it.
    assert!(matches!(judge(&nobody, &[&own, anchor], d, &[signer]), Err(Distrust::Chain(_))));
    // A key published as an authority's is no node's, and the reverse.
    assert_eq!(judge(&nobody, &[&own], d, &[pin(KeyHolder::Authority, &own)]), Err(Distrust::NoPinFits));
    assert_eq!(judge(&nobody, &[&good, anchor], d, &[node(anchor)]), Err(Distrust::NoPinFits));
}

#[test]
fn what_a_leaf_says() {
    let key = KeyPair::generate().unwrap();
    let mut params = leaf(vec![uri("sip:Example.COM:5061"), dns("ignored.example"), uri("sip:b.example")]);
    params.not_before = rcgen::date_time_ymd(2025, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    let leaf = Leaf::read(certificate.der()).unwrap();
    assert_eq!(leaf.identities, ["example.com".into(), "b.example".into()]);
    assert_eq!((leaf.not_before, leaf.not_after), (1_735_689_600, 1_798_761_600));
    use sha2::Digest as _;
    let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
    assert_eq!(leaf.spki_sha256, <[u8; 32]>::from(sha2::Sha256::digest(spki)));
}

#[test]
fn no_certificate() {
    let (trust, _) = Trust::new([]);
    let good = leaf(vec![dns("example.com")]).self_signed(&KeyPair::generate().unwrap()).unwrap();
    let longer = [good.der().as_ref(), &[0]].concat();
    for der in [vec![], vec![0x30], longer, b"-----BEGIN CERTIFICATE-----".to_vec()] {
        let chain = [CertificateDer::from(der)];
        assert_eq!(trust.judge(&chain, &name("example.com"), &[], now()), Err(UnreadableCertificate));
    }
    assert_eq!(trust.judge(&[], &name("example.com"), &[], now()), Err(UnreadableCertificate));
}

proptest! {
    /// A stranger's certificate may have any octets.
    #[test]
    fn mutated_certificates_do_not_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        static GOOD: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
            let params = leaf(vec![uri("sip:example.com"), dns("example.com"), email("a@example.com")]);
            params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
        });
        let mut der = GOOD.clone();
        for (at, octet) in changes {
            let at = at.index(der.len());
            der[at] = octet;
        }
        let (trust, _) = Trust::new([]);
        // Nobody is trusted here, whatever the certificate became.
        if let Ok(judgement) = trust.judge(&[der.into()], &name("example.com"), &[], now()) {
            prop_assert!(judgement.verdict.is_err());
        }
    }
}
