//! Who stands at the other end: TLS servers on loopback with certificates made here, TLSA records from a scripted
//! validating name server, and members' documents. CERT-T01 to CERT-T28 as far as they are the client's.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod alias;
mod hello;
mod hops;
mod inbound;
mod old_tls;
#[path = "../locate/server.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod server;
mod unbound;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, SanType,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use server::{Asked, SRV, Say, Server, TLSA, zone};
use sha2::{Digest as _, Sha256, Sha512};
use tandem_model::locate::{Client, Reach};
use tandem_model::node::{KeyHolder, KeyPin};
use tandem_model::{DomainName, SipUri};
use tandem_probe::{spki, spki_digest};
use tandem_resolver::{
    ConnectError, Connected, Connector, DnssecTrust, Member, MemberState, Members, NameServers, Resolver, Settings,
    Untrusted, VerifiedBy,
};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(Ia5String::try_from(text).unwrap())
}

fn uri(text: &str) -> SanType {
    SanType::URI(Ia5String::try_from(text).unwrap())
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(common_name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, common_name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn der(authority: &Authority) -> &CertificateDer<'static> {
    let certificate: &Certificate = authority.as_ref();
    certificate.der()
}

/// A certificate and its key, with the authority's behind it.
struct Shown {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Shown {
    fn new(issuer: &Authority, names: Vec<SanType>, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.distinguished_name.push(DnType::CommonName, "example.test");
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let signer: &Issuer<'_, KeyPair> = issuer;
        let leaf = params.signed_by(&key, signer).unwrap();
        let chain = vec![leaf.der().clone(), der(issuer).clone()];
        Self { chain, key: PrivateKeyDer::try_from(key.serialize_der()).unwrap() }
    }

    fn spki_sha256(&self) -> [u8; 32] {
        spki_digest(&self.chain[0]).unwrap()
    }
}

/// A TLS server; it notes the names that clients ask for.
struct Sip {
    address: SocketAddr,
    asked_for: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Noting {
    key: Arc<CertifiedKey>,
    asked_for: Arc<Mutex<Vec<String>>>,
}

impl ResolvesServerCert for Noting {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.asked_for.lock().unwrap().push(hello.server_name().unwrap_or_default().to_owned());
        Some(Arc::clone(&self.key))
    }
}

impl Sip {
    async fn start(shown: &Shown) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let key = provider.key_provider.load_private_key(shown.key.clone_key()).unwrap();
        let asked_for = Arc::new(Mutex::new(Vec::new()));
        let key = Arc::new(CertifiedKey::new(shown.chain.clone(), key));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Noting { key, asked_for: Arc::clone(&asked_for) }));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // A client that does not like the certificate goes away: that is its right.
                let _ = acceptor.accept(stream).await;
            }
        });
        Self { address, asked_for, _tasks: tasks }
    }
}

/// Two domains that live at one address and port.
const DOMAINS: [&str; 2] = ["example.test", "second.test"];

/// What DNS says of [`DOMAINS`], whose one target is `sip.provider.test` at the server's port.
#[derive(Default)]
struct World {
    tlsa: Vec<String>,
    /// Names or types whose answers are not proved: `SRV`, `A`, `TLSA`.
    insecure: Vec<u16>,
    tlsa_fails: bool,
}

impl World {
    async fn start(self, port: u16) -> Server {
        let mut lines: Vec<String> =
            DOMAINS.map(|domain| format!("_sips._tcp.{domain}. SRV 10 0 {port} sip.provider.test.")).into();
        lines.push("sip.provider.test. A 127.0.0.1".to_owned());
        lines.extend(self.tlsa.iter().map(|data| format!("_{port}._tcp.sip.provider.test. TLSA {data}")));
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let honest = zone(&lines);
        let Self { insecure, tlsa_fails, .. } = self;
        Server::start(move |asked: &Asked| {
            if asked.kind == TLSA && tlsa_fails {
                return Some(Say::rcode(2));
            }
            honest(asked).map(|say| Say { authentic: !insecure.contains(&asked.kind), ..say })
        })
        .await
    }
}

fn connector(server: &Server, authorities: &[&Authority]) -> Connector {
    let client = Client { reach: Reach::Any, ..Client::default() };
    let servers = NameServers::Only(vec![server.address]);
    let settings = Settings { servers, client, dnssec: DnssecTrust::Loopback, ..Settings::default() };
    let (connector, unreadable) =
        Connector::new(Resolver::new(settings).unwrap(), authorities.iter().map(|authority| der(authority).clone()));
    assert_eq!(unreadable, 0);
    connector
}

async fn connect(connector: &Connector) -> Result<Connected, ConnectError> {
    connect_to(connector, DOMAINS[0]).await
}

async fn connect_to(connector: &Connector, domain: &str) -> Result<Connected, ConnectError> {
    let uri: SipUri = format!("sip:alice@{domain}").parse().unwrap();
    let resolution = connector.resolver().locate(&uri).await;
    assert_eq!(resolution.next_hops().len(), 1, "{resolution:?}");
    connector.connect(&resolution).await
}

/// One word for what became of it.
fn word(result: &Result<Connected, ConnectError>) -> String {
    match result {
        Ok(connected) => format!("{:?}", connected.by),
        Err(ConnectError::Untrusted(Untrusted::Certificate(distrust))) => {
            format!("{distrust:?}").split('(').next().unwrap().to_owned()
        }
        Err(ConnectError::Untrusted(untrusted)) => format!("{untrusted:?}"),
        Err(ConnectError::TlsaLookup(_)) => "TlsaLookup".to_owned(),
        Err(other) => format!("{other:?}"),
    }
}

fn hex(octets: impl AsRef<[u8]>) -> String {
    octets.as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}

/// CERT-1 to CERT-21, over real handshakes: names as SIP has them, not as the web has.
#[tokio::test]
async fn names_of_rfc_5922() {
    let (ours, other) = (authority("ours"), authority("other"));
    let rows: Vec<(&str, Vec<SanType>, &str)> = vec![
        ("CERT-T01", vec![uri("sip:example.test")], "Authority"),
        ("CERT-T02", vec![dns("example.test")], "Authority"),
        ("CERT-T03", vec![dns("EXAMPLE.TEST")], "Authority"),
        ("CERT-T06", vec![uri("sips:example.test")], "NoIdentity"),
        ("CERT-T08", vec![uri("sip:other.test"), dns("example.test")], "OtherName"),
        ("CERT-T11", vec![dns("*.test")], "OtherName"),
        ("CERT-T12", vec![dns("sip.provider.test")], "OtherName"),
        ("CERT-T14", vec![], "NoIdentity"),
    ];
    for (id, names, expected) in rows {
        let shown = Shown::new(&ours, names, |_| ());
        let sip = Sip::start(&shown).await;
        let server = World::default().start(sip.address.port()).await;
        assert_eq!(word(&connect(&connector(&server, &[&ours])).await), expected, "{id}");
        assert_eq!(word(&connect(&connector(&server, &[&other])).await), "Chain", "{id}: another authority");
        assert_eq!(sip.asked_for.lock().unwrap()[0], "example.test", "CERT-22");
    }
    for (id, change) in [
        ("CERT-T16", (|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1)) as fn(&mut CertificateParams)),
        ("CERT-T26", |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning]),
    ] {
        let sip = Sip::start(&Shown::new(&ours, vec![dns("example.test")], change)).await;
        let server = World::default().start(sip.address.port()).await;
        assert_eq!(word(&connect(&connector(&server, &[&ours])).await), "Chain", "{id}");
    }
}

/// CERT-40 to CERT-53: what TLSA records do, and when they do nothing.
#[tokio::test]
async fn dane() {
    let (ours, private) = (authority("ours"), authority("private"));
    let public = Shown::new(&ours, vec![dns("example.test")], |_| ());
    // Known by nobody, with names and dates that fit nothing.
    let stranger = Shown::new(&private, vec![dns("x.invalid")], |params| {
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let by_private = Shown::new(&private, vec![dns("sip.provider.test")], |_| ());
    let key = |shown: &Shown| spki(&shown.chain[0]).unwrap();
    let ee = |shown: &Shown| format!("3 1 1 {}", hex(Sha256::digest(key(shown))));
    let ee_512 = |shown: &Shown| format!("3 1 2 {}", hex(Sha512::digest(key(shown))));
    let whole = |shown: &Shown| format!("3 0 0 {}", hex(&shown.chain[0]));
    let ta = format!("2 0 1 {}", hex(Sha256::digest(der(&private))));
    let wrong = format!("3 1 1 {}", "ab".repeat(32));
    let wrong_512 = format!("3 1 2 {}", "ab".repeat(64));
    let with = |tlsa: &[&String]| World { tlsa: tlsa.iter().map(|&data| data.clone()).collect(), ..World::default() };
    let not_proved = |world: World, kind: u16| World { insecure: vec![kind], ..world };
    let rows: Vec<(&str, &Shown, World, &str)> = vec![
        ("CERT-T17, CERT-49", &stranger, with(&[&ee(&stranger)]), "DaneKey"),
        ("whole certificate", &stranger, with(&[&whole(&stranger)]), "DaneKey"),
        ("CERT-T18, CERT-41", &public, not_proved(with(&[&wrong]), SRV), "Authority"),
        ("CERT-T18, a stranger", &stranger, not_proved(with(&[&ee(&stranger)]), SRV), "Chain"),
        ("CERT-43", &stranger, not_proved(with(&[&ee(&stranger)]), server::A), "Chain"),
        ("TLSA not signed", &stranger, not_proved(with(&[&ee(&stranger)]), TLSA), "Chain"),
        ("CERT-T19, CERT-44", &public, with(&[&wrong]), "NoTlsaFits"),
        ("CERT-T20", &public, with(&[&wrong, &ee(&public)]), "DaneKey"),
        ("CERT-T21, CERT-53", &public, with(&[&ee(&public), &wrong_512]), "NoTlsaFits"),
        ("CERT-53", &public, with(&[&wrong, &ee_512(&public)]), "DaneKey"),
        ("CERT-T22, CERT-45", &public, with(&[&format!("7 1 1 {}", "ab".repeat(32))]), "Authority"),
        ("CERT-T22, a short digest", &public, with(&[&format!("3 1 1 {}", "ab".repeat(31))]), "Authority"),
        ("CERT-51", &public, with(&[&format!("1 1 1 {}", "ab".repeat(32))]), "Authority"),
        ("CERT-T23, CERT-58", &public, World { tlsa_fails: true, ..World::default() }, "TlsaLookup"),
        ("CERT-50, CERT-47", &by_private, with(&[&ta]), "DaneAuthority"),
        ("CERT-50: dates count", &stranger, with(&[&ta]), "Chain"),
        ("none", &public, World::default(), "Authority"),
    ];
    for (id, shown, world, expected) in rows {
        let sip = Sip::start(shown).await;
        let used = expected.starts_with("Dane") || expected == "NoTlsaFits" || id.starts_with("CERT-50:");
        let server = world.start(sip.address.port()).await;
        assert_eq!(word(&connect(&connector(&server, &[&ours])).await), expected, "{id}");
        let sni = if used { "sip.provider.test" } else { "example.test" };
        let asked_for = sip.asked_for.lock().unwrap().clone();
        assert!(asked_for.iter().all(|name| name == sni), "{id}: CERT-46: {asked_for:?}");
    }
    // CERT-47: the target's name alone, without TLSA, only by setting and only where the way to it is proved.
    let target = Shown::new(&ours, vec![dns("sip.provider.test")], |_| ());
    let sip = Sip::start(&target).await;
    for (id, world, expected) in
        [("proved", World::default(), "Authority"), ("CERT-48", not_proved(World::default(), SRV), "OtherName")]
    {
        let server = world.start(sip.address.port()).await;
        let strict = connector(&server, &[&ours]);
        assert_eq!(word(&connect(&strict).await), "OtherName", "{id}");
        assert_eq!(word(&connect(&strict.accepting_target_names()).await), expected, "{id}");
    }
}

/// A member's signed document decides before DANE and the authorities, and alone.
#[tokio::test]
async fn pins_of_members() {
    let (ours, private) = (authority("ours"), authority("private"));
    let public = Shown::new(&ours, vec![dns("example.test")], |_| ());
    let own = Shown::new(&private, vec![dns("x.invalid")], |_| ());
    let by_private = Shown::new(&private, vec![dns("example.test")], |_| ());
    let pin = |holder, sha256| KeyPin { holder, sha256 };
    let node = |shown: &Shown| pin(KeyHolder::Node, shown.spki_sha256());
    let private_key = pin(KeyHolder::Authority, spki_digest(der(&private)).unwrap());
    let wrong = pin(KeyHolder::Node, [7; 32]);
    let wrong_tlsa = || World { tlsa: vec![format!("3 1 1 {}", "ab".repeat(32))], ..World::default() };
    for (id, shown, keys, state, world, expected) in [
        ("node key", &own, vec![wrong, node(&own)], MemberState::Active, World::default(), "PinnedKey"),
        ("authority", &by_private, vec![private_key], MemberState::Active, World::default(), "PinnedAuthority"),
        ("its name counts", &own, vec![private_key], MemberState::Active, World::default(), "OtherName"),
        ("web trust does not help", &public, vec![wrong], MemberState::Active, World::default(), "NoPinFits"),
        ("before DANE", &own, vec![node(&own)], MemberState::Away, wrong_tlsa(), "PinnedKey"),
        ("no pin: as for strangers", &public, vec![], MemberState::Active, World::default(), "Authority"),
    ] {
        let sip = Sip::start(shown).await;
        let server = world.start(sip.address.port()).await;
        let connector = connector(&server, &[&ours]);
        let domain = name("example.test");
        let member = Member { domain, targets: vec![], keys, sources: vec![], state, signed_by: None };
        connector.resolver().set_members(Members::new([member.clone()]));
        assert_eq!(word(&connect(&connector).await), expected, "{id}");
        // A result from before does not help against a mark that came since.
        let uri: SipUri = "sip:example.test".parse().unwrap();
        let before = connector.resolver().locate(&uri).await;
        let member = Member { state: MemberState::Compromised, ..member };
        connector.resolver().set_members(Members::new([member]));
        assert!(matches!(connector.connect(&before).await, Err(ConnectError::Compromised)), "{id}");
    }
}

/// The first target refuses the connection, the second has a stranger's certificate, the third is who was called.
#[tokio::test]
async fn the_next_hop_is_tried_and_the_failures_are_remembered() {
    let ours = authority("ours");
    let wrong = Sip::start(&Shown::new(&ours, vec![dns("other.test")], |_| ())).await;
    let right = Sip::start(&Shown::new(&ours, vec![dns("example.test")], |_| ())).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let lines: Vec<String> = [closed, wrong.address, right.address]
        .iter()
        .enumerate()
        .map(|(n, at)| format!("_sips._tcp.example.test. SRV {n} 0 {} sip.provider.test.", at.port()))
        .chain(["sip.provider.test. A 127.0.0.1".to_owned()])
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let server = Server::start(zone(&lines)).await;
    let connector = connector(&server, &[&ours]);
    let uri: SipUri = "sip:alice@example.test".parse().unwrap();
    let first = connector.resolver().locate(&uri).await;
    let connected = connector.connect(&first).await.unwrap();
    assert_eq!((connected.hop.address, connected.by), (right.address, VerifiedBy::Authority));
    let next = connector.resolver().locate(&uri).await;
    assert_eq!(next.next_hops()[0].address, right.address, "LOC-81: the next call begins with the one that works");
    assert_eq!(next.next_hops().len(), 3);
    let nothing = connector.resolver().locate(&"sip:nobody.test".parse().unwrap()).await;
    assert!(matches!(connector.connect(&nothing).await, Err(ConnectError::NotLocated)));
}
