//! Looks at real servers on loopback, and what is said of them.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData as _};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use tandem_model::node::{KeyHolder, KeyPin};
use tandem_model::{DomainName, Node, NodeParts, Target};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::{CheckConfig, Config, OwnNode};
use crate::map::MemberMap;
use crate::member::{Member, MemberState};
use crate::snapshot::Snapshot;
use crate::status::Board;

/// An authority that the checker believes.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    key: [u8; 32],
    pem: String,
}

/// What a server shows.
#[derive(Clone)]
struct Shown {
    config: Arc<ServerConfig>,
    leaf: CertificateDer<'static>,
    key: [u8; 32],
}

fn sha256(key: &KeyPair) -> [u8; 32] {
    Sha256::digest(key.subject_public_key_info()).into()
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let (der, pem, hash) = (certificate.der().clone(), certificate.pem(), sha256(&key));
        Self { issuer: Issuer::new(parameters, key), der, key: hash, pem }
    }

    fn certify(&self, domain: &str) -> Shown {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new([domain.to_owned()]).unwrap();
        // Else it would have the name of its issuer.
        parameters.distinguished_name.push(DnType::CommonName, domain);
        let leaf = parameters.signed_by(&key, &self.issuer).unwrap();
        shown(&key, vec![leaf.der().clone(), self.der.clone()])
    }
}

fn self_signed(domain: &str) -> Shown {
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new([domain.to_owned()]).unwrap().self_signed(&key).unwrap();
    shown(&key, vec![leaf.der().clone()])
}

fn shown(key: &KeyPair, chain: Vec<CertificateDer<'static>>) -> Shown {
    let leaf = chain[0].clone();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    Shown { config: Arc::new(config), leaf, key: sha256(key) }
}

/// A server that shows a certificate, and closes.
struct Server {
    address: SocketAddr,
    shown: Arc<Mutex<Shown>>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(shown: Shown) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shown, connections) = (Arc::new(Mutex::new(shown)), Arc::new(AtomicUsize::new(0)));
        let (now, count) = (Arc::clone(&shown), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let config = Arc::clone(&now.lock().unwrap().config);
                // The other side may go as soon as it has seen the certificate.
                tokio::spawn(async move { TlsAcceptor::from(config).accept(stream).await.is_ok() });
            }
        });
        Self { address, shown, connections, task }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn name(domain: &str) -> DomainName {
    DomainName::parse(domain).unwrap()
}

/// A member at these addresses, of one port each.
fn member(domain: &str, addresses: &[SocketAddr], keys: &[(KeyHolder, [u8; 32])]) -> Member {
    let targets = addresses.iter().enumerate().map(|(index, address)| Target {
        host: name(&format!("sip{index}.{domain}")),
        port: NonZeroU16::new(address.port()).unwrap(),
        priority: 10,
        weight: 0,
        addresses: vec![address.ip()],
    });
    let mut parts = NodeParts::new(name(domain), targets.collect());
    parts.keys = keys.iter().map(|&(holder, sha256)| KeyPin { holder, sha256 }).collect();
    let node: Node = Node::new(parts).unwrap();
    Member {
        domain: name(domain),
        state: MemberState::Active,
        reason: None,
        lease_until: 0,
        node: Some(Box::new(node)),
        key: None,
        withheld: Box::default(),
    }
}

/// A checker, the members that it sees, and what it says.
struct Checking {
    verdicts: Verdicts,
    members: MemberMap,
    snapshots: watch::Sender<Arc<Snapshot>>,
    board: Arc<Board>,
    closing: watch::Sender<bool>,
    task: JoinHandle<()>,
    _folder: TempDir,
}

impl Checking {
    fn start(authority: &Authority, change: impl FnOnce(&mut Config, &Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, &authority.pem).unwrap();
        let check = CheckConfig {
            certificates: true,
            authorities: Some(file),
            allow_loopback_for_tests: true,
            ..CheckConfig::default()
        };
        let mut config = Config { check, ..Config::default() };
        change(&mut config, folder.path());
        let (snapshots, receiver) = watch::channel(Arc::new(Snapshot::default()));
        let (closing, closed) = watch::channel(false);
        let board = Arc::new(Board::default());
        let (checker, verdicts, _) = Checker::new(&config, receiver, Arc::clone(&board), closed).unwrap();
        let task = tokio::spawn(checker.run());
        Self { verdicts, members: MemberMap::default(), snapshots, board, closing, task, _folder: folder }
    }

    fn know(&mut self, members: impl IntoIterator<Item = Member>) {
        members.into_iter().for_each(|member| drop(self.members.insert(Arc::new(member))));
        let snapshot = Snapshot { members: self.members.clone(), version: 1, ..Snapshot::default() };
        self.snapshots.send_replace(Arc::new(snapshot));
    }

    async fn wait_for(&self, domain: &str, server: SocketAddr, expected: impl Fn(&Verdict) -> bool) {
        let mut changes = self.verdicts.changes();
        let begin = Instant::now();
        while !expected(&self.verdicts.allows(&name(domain), server)) {
            let found = self.verdicts.allows(&name(domain), server);
            assert!(begin.elapsed() < Duration::from_secs(20), "waited in vain: {domain} is {found:?}");
            let _ = tokio::time::timeout(Duration::from_millis(50), changes.changed()).await;
        }
    }

    async fn end(self) {
        self.closing.send_replace(true);
        self.task.await.unwrap();
    }
}

fn is_bad(words: &str) -> impl Fn(&Verdict) -> bool {
    move |verdict| matches!(verdict, Verdict::Bad(reason) if reason.contains(words))
}

#[tokio::test]
async fn members_are_looked_at_as_they_come_and_change() {
    let authority = Authority::new();
    let right = Server::start(authority.certify("a.test")).await;
    let wrong = Server::start(authority.certify("other.test")).await;
    let pinned = Server::start(self_signed("anything.test")).await;
    let strange = Server::start(Authority::new().certify("d.test")).await;
    let other_key = Server::start(authority.certify("e.test")).await;
    let key = pinned.shown.lock().unwrap().key;
    let own = Server::start(authority.certify("own.test")).await;
    let gone = {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        listener.local_addr().unwrap()
    };
    let mut checking = Checking::start(&authority, |config, _| {
        config.node = Some(OwnNode { domain: name("own.test"), document: None, key_file: None, drain_on_stop: false });
    });
    assert_eq!(checking.verdicts.allows(&name("a.test"), right.address), Verdict::Unknown);
    checking.know([
        member("a.test", &[right.address, gone], &[]),
        member("b.test", &[wrong.address], &[]),
        member("c.test", &[pinned.address], &[(KeyHolder::Node, key)]),
        member("d.test", &[strange.address], &[]),
        // An authority and the name do not help against a key that does not fit (CERT-44).
        member("e.test", &[other_key.address], &[(KeyHolder::Node, key)]),
        member("own.test", &[own.address], &[]),
    ]);
    checking.wait_for("a.test", right.address, Verdict::is_good).await;
    checking.wait_for("a.test", gone, is_bad("no connection")).await;
    checking.wait_for("b.test", wrong.address, is_bad("other domains")).await;
    checking.wait_for("c.test", pinned.address, Verdict::is_good).await;
    checking.wait_for("d.test", strange.address, is_bad("not trusted")).await;
    checking.wait_for("e.test", other_key.address, is_bad("none of the keys")).await;
    assert!(checking.verdicts.allows(&name("own.test"), own.address).is_good() && own.connections() == 0);
    let has_good = |checking: &Checking, domain: &str| {
        checking.verdicts.has_good(checking.members.get(&name(domain)).unwrap().node.as_deref().unwrap())
    };
    assert!(has_good(&checking, "a.test") && !has_good(&checking, "b.test") && has_good(&checking, "own.test"));
    let told = checking.board.read().check.unwrap();
    assert_eq!((told.members, told.good, told.bad, told.at_fault.len()), (5, 2, 4, 4), "{told:?}");

    // A verdict is of a domain at a place, not of a place.
    assert_eq!(checking.verdicts.allows(&name("b.test"), right.address), Verdict::Unknown);
    // What changes is looked at at once: b gets its certificate, c's document another key.
    *wrong.shown.lock().unwrap() = authority.certify("b.test");
    checking.know([
        member("b.test", &[wrong.address, gone], &[]),
        member("c.test", &[pinned.address], &[(KeyHolder::Node, [7; 32])]),
    ]);
    checking.wait_for("b.test", wrong.address, Verdict::is_good).await;
    checking.wait_for("c.test", pinned.address, is_bad("none of the keys")).await;
    // Who must not be called is forgotten, and not looked at for anybody.
    let before = right.connections();
    checking.know([Member { state: MemberState::Compromised, node: None, ..member("a.test", &[right.address], &[]) }]);
    checking.wait_for("a.test", right.address, |verdict| *verdict == Verdict::Unknown).await;
    assert!(is_bad("must not be called")(&checking.verdicts.look(&name("a.test"), right.address).await));
    assert_eq!(right.connections(), before);
    checking.end().await;
    own.task.abort();
}

#[tokio::test]
async fn a_call_has_its_target_looked_at() {
    let authority = Authority::new();
    let server = Server::start(authority.certify("stranger.test")).await;
    let checking = Checking::start(&authority, |_, _| {});
    let domain = name("stranger.test");
    // Many calls at once are one look.
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let (verdicts, domain, address) = (checking.verdicts.clone(), domain.clone(), server.address);
            tokio::spawn(async move { verdicts.look(&domain, address).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), Verdict::Good);
    }
    assert_eq!(server.connections(), 1);
    assert_eq!(checking.verdicts.allows(&domain, server.address), Verdict::Good);
    let other = name("victim.test");
    assert!(is_bad("other domains")(&checking.verdicts.look(&other, server.address).await));
    // A bad one counts for a while: calls to it do not wait.
    let before = server.connections();
    assert!(is_bad("other domains")(&checking.verdicts.look(&other, server.address).await));
    assert_eq!(server.connections(), before);
    let verdicts = checking.verdicts.clone();
    checking.end().await;
    assert_eq!(verdicts.look(&name("late.test"), server.address).await, Verdict::Unknown, "nobody looks any more");
    assert!(Verdicts::off().look(&other, server.address).await.is_good() && !Verdicts::off().is_on());
}

/// Threat 14: what a member publishes leads to no connection into this host or its network.
#[tokio::test]
async fn no_connection_inwards_threat_14() {
    let authority = Authority::new();
    let server = Server::start(authority.certify("a.test")).await;
    let mut checking = Checking::start(&authority, |config, _| config.check.allow_loopback_for_tests = false);
    let private = SocketAddr::from(([10, 0, 0, 1], 5061));
    checking.know([member("a.test", &[server.address, private], &[])]);
    checking.wait_for("a.test", server.address, is_bad("no global unicast address")).await;
    checking.wait_for("a.test", private, is_bad("no global unicast address")).await;
    assert!(is_bad("no global")(&checking.verdicts.look(&name("x.test"), server.address).await));
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn certificates_that_chains_end_at() {
    let authority = Authority::new();
    let own_authority = Authority::new();
    let by_own_authority = Server::start(own_authority.certify("a.test")).await;
    let alone = Server::start(self_signed("b.test")).await;
    let public = Server::start(authority.certify("c.test")).await;
    let of_public_key = Server::start(authority.certify("d.test")).await;
    let key = |server: &Server| server.shown.lock().unwrap().key;
    let (b, d) = (key(&alone), key(&of_public_key));
    // Only the bundle is wanted: everything may be given out.
    let mut checking = Checking::start(&authority, |config, folder| {
        config.check.certificates = false;
        config.files.ca_bundle = Some(folder.join("bundle.pem"));
    });
    checking.know([
        member("a.test", &[by_own_authority.address], &[(KeyHolder::Authority, own_authority.key)]),
        member("b.test", &[alone.address], &[(KeyHolder::Node, b)]),
        member("c.test", &[public.address], &[]),
        member("d.test", &[of_public_key.address], &[(KeyHolder::Node, d)]),
    ]);
    assert!(checking.verdicts.allows(&name("nobody.test"), public.address).is_good());
    let begin = Instant::now();
    while checking.board.read().check.is_none_or(|told| told.good < 4) {
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", checking.board.read().check);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let anchors = |domain: &str| -> Vec<Vec<u8>> {
        checking.verdicts.anchors(&name(domain)).iter().map(|certificate| certificate.to_vec()).collect()
    };
    assert_eq!(anchors("a.test"), [own_authority.der.to_vec()]);
    assert_eq!(anchors("b.test"), [alone.shown.lock().unwrap().leaf.to_vec()]);
    assert!(anchors("c.test").is_empty(), "it ends at an authority that is believed for everybody");
    assert!(anchors("d.test").is_empty(), "a leaf of another authority: no chain ends there");
}
