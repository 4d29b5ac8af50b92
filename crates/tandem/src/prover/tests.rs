//! Proofs over real DNS: the domains' zones are served by our own server on loopback, which plays their recursor too. The
//! directory's clock is moved by hand.

use std::num::{NonZeroU16, NonZeroUsize};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tandem_dns::DnsServer;
use tandem_identity::{ChallengeToken, KeyAuthorization, NodeKey, Thumbprint};
use tandem_model::{DomainName, Node, NodeParts, Serial, Target};
use tandem_probe::Responder;
use tandem_store::backend::JournalKind;
use tandem_store::{
    Actor, Clock, NodeState, Precondition, ProofMethod, Receipt, RegisterError, Signature, SqliteBackend,
};
use tandem_zone::master::StaticZone;
use tandem_zone::{Live, Settings, Zones};

use super::lapse::REASON;
use super::schedule::{DAY, MAX_TRIES};
use super::*;

const DOMAIN: &str = "example.ostn-members.org";
const BEGIN: u64 = 1_790_000_000;

fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}

fn zone(apex: &str, more: &str) -> StaticZone {
    let text = format!(
        "@ 60 IN SOA ns1 hostmaster 1 3600 600 604800 30\n@ 60 IN NS ns1\nns1 60 IN A 127.0.0.1\nsip 60 IN A 127.0.0.1\n{more}"
    );
    StaticZone::read(&name(apex), apex, text.as_bytes(), &mut |_| Err("no includes".into())).unwrap()
}

/// The domain's own name server.
struct Owner {
    live: Live,
    server: DnsServer,
}

impl Owner {
    fn start(records: &str) -> Self {
        let live = Live::new(Self::zones(records));
        let mut config = tandem_dns::Config::new(vec!["127.0.0.1:0".parse().unwrap()]);
        config.udp_threads = NonZeroUsize::new(1);
        let server = DnsServer::start(&config, &live).unwrap();
        Self { live, server }
    }

    fn zones(records: &str) -> Zones {
        let settings = Settings { peers_zone: None, policy_zone: None, number_zone: None };
        Zones::new(settings, vec![zone(DOMAIN, records)], Serial::new(1)).unwrap()
    }

    /// Its zone has these records from now on.
    fn publish(&self, records: &str) {
        self.live.publish(Self::zones(records));
    }

    fn config(&self) -> Config {
        let mut config = Config { name_servers: self.server.local_addrs().to_vec(), ..Config::default() };
        config.proofs.allow_loopback = true;
        config.proofs.authority_port = self.server.local_addrs()[0].port();
        config
    }
}

/// A directory that serves another zone, and its prover; both end with it.
struct House {
    prover: Prover,
    now: Arc<AtomicU64>,
}

impl House {
    fn open(dir: &Path, config: &Config, now: &Arc<AtomicU64>) -> Self {
        let backend = Arc::new(SqliteBackend::open(dir).unwrap());
        let settings = Settings { peers_zone: Some(name("peers.test")), policy_zone: None, number_zone: None };
        let clock: Clock = {
            let now = Arc::clone(now);
            Arc::new(move || now.load(Ordering::Relaxed))
        };
        let directory = Directory::open_with(backend, dir, settings, vec![zone("peers.test", "")], clock).unwrap();
        let prover = Prover::new(directory, Looker::new(config), ProofRule::Strangers);
        Self { prover, now: Arc::clone(now) }
    }

    fn directory(&self) -> &Directory {
        &self.prover.directory
    }

    /// Moves the clock; leases are renewed meanwhile, as their nodes would.
    async fn pass(&mut self, seconds: u64) {
        self.now.fetch_add(seconds, Ordering::Relaxed);
        self.settle().await;
    }

    /// Turns until nothing is due.
    async fn settle(&mut self) {
        loop {
            self.prover.turn().await;
            let Some(looked) = self.prover.looks.join_next().await else { break };
            self.prover.settle(looked.unwrap()).await;
        }
        // What a look led to may have made something else due.
        self.prover.turn().await;
    }

    async fn begin(&mut self, key: Thumbprint, method: ProofMethod) -> ProofId {
        let id = ProofId { domain: name(DOMAIN), key: key.to_string().into(), method };
        self.directory().begin_proof(id.clone(), None).await.unwrap();
        self.settle().await;
        id
    }

    fn state(&self, id: &ProofId) -> Option<(ProofState, ProofProgress)> {
        let found = self.directory().proofs_of(&id.domain, &id.key);
        found.into_iter().find(|(proof, _)| proof.id == *id).map(|(proof, progress)| (proof.state, progress))
    }

    fn failure(&self, id: &ProofId) -> String {
        let found = self.directory().proofs_of(&id.domain, &id.key);
        let (proof, progress) = found.into_iter().find(|(proof, _)| proof.id == *id).unwrap();
        progress.failure.or(proof.failure).unwrap_or_default().into()
    }

    async fn kinds(&self) -> Vec<JournalKind> {
        let entries = self.directory().journal(0, 1000).await.unwrap();
        entries.into_iter().filter(|entry| entry.subject == DOMAIN).map(|entry| entry.kind).collect()
    }

    async fn node(&self) -> (NodeState, Option<String>) {
        let standing = self.directory().node(&name(DOMAIN)).await.unwrap().unwrap().standing;
        (standing.state, standing.reason.map(Into::into))
    }
}

async fn register(directory: &Directory, key: Thumbprint, by: &Actor) -> Result<Receipt, RegisterError> {
    register_signed(directory, DOMAIN, key, (1, None), by).await
}

/// Signed with `key`, which names `next`.
async fn register_signed(
    directory: &Directory,
    domain: &str,
    key: Thumbprint,
    (serial, next): (u64, Option<Thumbprint>),
    by: &Actor,
) -> Result<Receipt, RegisterError> {
    let target = Target {
        host: name(&format!("sip.{domain}")),
        port: NonZeroU16::new(5061).unwrap(),
        priority: 0,
        weight: 0,
        addresses: vec!["203.0.113.7".parse().unwrap()],
    };
    let parts = NodeParts { lease_seconds: Some(30 * 86_400), ..NodeParts::new(name(domain), vec![target]) };
    let next = next.map(|next| next.to_string().into());
    let signature =
        Signature { thumbprint: key.to_string().into(), serial, next, signed: serial.to_string().into_bytes().into() };
    directory.register_in(NodeState::Active, Node::new(parts).unwrap(), Some(signature), Precondition::None, by).await
}

fn keys() -> (Thumbprint, Thumbprint) {
    let key = || NodeKey::generate().unwrap().public_key().thumbprint();
    (key(), key())
}

/// API-T23; two different keys are an error (decision 14), not one right of two.
#[tokio::test(flavor = "multi_thread")]
async fn records_api_t23() {
    let (key, other) = keys();
    let owner = Owner::start("");
    let now = Arc::new(AtomicU64::new(BEGIN));
    let text = key.to_string();
    let (front, back) = text.split_at(20);
    for (id, records, state, tries) in [
        ("right", format!("_tandem 60 IN TXT \"tandem-key={key}\"\n"), ProofState::Valid, 0),
        ("wrong", format!("_tandem 60 IN TXT \"tandem-key={other}\"\n"), ProofState::Invalid, 0),
        ("missing", String::new(), ProofState::Pending, 1),
        (
            "two keys",
            format!("_tandem 60 IN TXT \"tandem-key={key}\"\n_tandem 60 IN TXT \"tandem-key={other}\"\n"),
            ProofState::Invalid,
            0,
        ),
        ("split", format!("_tandem 60 IN TXT \"tandem-\" \"key={front}\" \"{back}\"\n"), ProofState::Valid, 0),
        (
            "beside others",
            format!("_tandem 60 IN TXT \"x=1\"\n_tandem 60 IN TXT \"tandem-key={key}\"\n"),
            ProofState::Valid,
            0,
        ),
        (
            "an alias",
            format!("_tandem 60 IN CNAME there\nthere 60 IN TXT \"tandem-key={key}\"\n"),
            ProofState::Valid,
            0,
        ),
    ] {
        owner.publish(&records);
        let dir = tempfile::tempdir().unwrap();
        let mut house = House::open(dir.path(), &owner.config(), &now);
        let proof = house.begin(key, ProofMethod::Dns).await;
        let (found, progress) = house.state(&proof).unwrap();
        assert_eq!((found, progress.tries), (state, tries), "{id}: {}", house.failure(&proof));
        assert_eq!(house.directory().is_proved(&name(DOMAIN), &text), state == ProofState::Valid, "{id}");
        assert!(!house.directory().is_proved(&name(DOMAIN), &other.to_string()), "{id}");
    }
}

/// API-66 and API-T23: what is missing is looked for again, over a restart too, then given up, then forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_record_is_looked_for_again_api_66() {
    let (key, _) = keys();
    let (owner, dir) = (Owner::start(""), tempfile::tempdir().unwrap());
    let now = Arc::new(AtomicU64::new(BEGIN));
    let mut house = House::open(dir.path(), &owner.config(), &now);
    let proof = house.begin(key, ProofMethod::Dns).await;
    house.pass(9).await;
    assert_eq!(house.state(&proof).unwrap().1.tries, 1, "not before 10 s are over");
    house.pass(1).await;
    assert_eq!(house.state(&proof).unwrap().1.tries, 2);
    assert!(house.failure(&proof).contains("no TXT record"), "{}", house.failure(&proof));
    // A restart in the middle: the same challenge is looked for, at once.
    let token = house.directory().proofs_of(&proof.domain, &proof.key)[0].0.token.clone();
    house.directory().shutdown().await;
    drop(house);
    let mut house = House::open(dir.path(), &owner.config(), &now);
    house.settle().await;
    assert_eq!(house.state(&proof).unwrap().1.tries, 1);
    assert_eq!(house.directory().proofs_of(&proof.domain, &proof.key)[0].0.token, token);
    for _ in 1..MAX_TRIES {
        assert_eq!(house.state(&proof).unwrap().0, ProofState::Pending);
        house.pass(900).await;
    }
    assert_eq!(house.state(&proof).unwrap().0, ProofState::Invalid);
    // Corrected, and asked for again.
    owner.publish(&format!("_tandem 60 IN TXT \"tandem-key={key}\"\n"));
    house.begin(key, ProofMethod::Dns).await;
    assert_eq!(house.state(&proof).unwrap().0, ProofState::Valid);
    // Somebody else's attempt takes nothing away, and goes after a week.
    let (other, _) = keys();
    let attempt = house.begin(other, ProofMethod::Dns).await;
    assert_eq!(house.state(&attempt).unwrap().0, ProofState::Invalid);
    house.pass(8 * DAY).await;
    assert_eq!((house.state(&attempt), house.state(&proof).unwrap().0), (None, ProofState::Valid));
}

/// API-68: seen again before the end while the record is there; without it, warned, then no changes, then demoted, then taken
/// out; and back when it returns. The directory restarts in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn a_proof_lapses_by_steps_api_68() {
    let (key, _) = keys();
    let record = format!("_tandem 60 IN TXT \"tandem-key={key}\"\n");
    let (owner, dir) = (Owner::start(&record), tempfile::tempdir().unwrap());
    let now = Arc::new(AtomicU64::new(BEGIN));
    let mut house = House::open(dir.path(), &owner.config(), &now);
    let proof = house.begin(key, ProofMethod::Dns).await;
    let (info, _) = house.directory().apply_with_proof(name(DOMAIN), &key.to_string(), false, None).await.unwrap();
    let holder = Actor { origin: info.origin, ..Actor::new(info.id, info.scope) };
    register(house.directory(), key, &holder).await.unwrap();
    let until = |house: &House| house.directory().proofs_of(&name(DOMAIN), &key.to_string())[0].0.valid_until.unwrap();
    assert_eq!(until(&house), BEGIN + 90 * DAY);
    house.pass(58 * DAY).await;
    assert_eq!(until(&house), BEGIN + 90 * DAY, "nothing is due");
    house.pass(2 * DAY).await;
    assert_eq!(until(&house), BEGIN + 150 * DAY, "seen again");

    owner.publish("");
    let begun = house.kinds().await.len();
    // Days after it was seen last: state of the proof, state of the node.
    let mut passed = 0;
    for (day, state, node) in [
        (61, ProofState::Valid, NodeState::Active),
        (75, ProofState::Valid, NodeState::Active),
        (77, ProofState::Valid, NodeState::Active),
        (88, ProofState::Valid, NodeState::Active),
        (91, ProofState::Expired, NodeState::Active),
        (97, ProofState::Expired, NodeState::Active),
        (99, ProofState::Expired, NodeState::Draining),
        (120, ProofState::Expired, NodeState::Draining),
        (122, ProofState::Expired, NodeState::Suspended),
    ] {
        // As the node itself does; the lease has nothing to do with it.
        let _ = house.directory().renew(&name(DOMAIN), &holder).await;
        house.pass((day - passed) * DAY).await;
        passed = day;
        assert_eq!((house.state(&proof).unwrap().0, house.node().await.0), (state, node), "day {day}");
        let is_proved = house.directory().is_proved(&name(DOMAIN), &key.to_string());
        assert_eq!(is_proved, state == ProofState::Valid, "day {day}");
        if day == 99 {
            house.directory().shutdown().await;
            drop(house);
            house = House::open(dir.path(), &owner.config(), &now);
            house.settle().await;
            assert_eq!(house.node().await, (NodeState::Draining, Some(REASON.into())));
            let (domain, restore) = (name(DOMAIN), tandem_store::Action::Restore);
            let held = house.directory().act(&domain, restore, None, Precondition::None, &holder).await;
            assert!(held.is_err(), "only the proof brings it back");
        }
    }
    let kinds = house.kinds().await.split_off(begun);
    use JournalKind::{ChangeState, ProofExpired, ProofLapsing};
    assert_eq!(kinds, [ProofLapsing, ProofLapsing, ProofExpired, ChangeState, ChangeState], "events before each step");
    assert_eq!(house.directory().live().load().node_count(), 0);

    owner.publish(&record);
    house.pass(DAY + 3600).await;
    assert_eq!(house.state(&proof).unwrap().0, ProofState::Valid);
    assert_eq!(house.node().await, (NodeState::Active, None));
    assert_eq!(house.directory().live().load().node_count(), 1);
}

/// Nobody is warned of the end of a proof by a key that another one has followed; of one that is still wanted, everybody.
#[tokio::test(flavor = "multi_thread")]
async fn the_proof_of_a_replaced_key_ends_without_a_word() {
    let (old, new) = keys();
    let record = |key: Thumbprint| format!("_tandem 60 IN TXT \"tandem-key={key}\"\n");
    let (owner, dir) = (Owner::start(&record(old)), tempfile::tempdir().unwrap());
    let now = Arc::new(AtomicU64::new(BEGIN));
    let mut house = House::open(dir.path(), &owner.config(), &now);
    let first = house.begin(old, ProofMethod::Dns).await;
    let admin = Actor::directory();
    register_signed(house.directory(), DOMAIN, old, (1, Some(new)), &admin).await.unwrap();
    house.pass(DAY).await;
    owner.publish(&record(new));
    let second = house.begin(new, ProofMethod::Dns).await;
    assert_eq!(house.state(&second).unwrap().0, ProofState::Valid);

    // While the old key is the node's, its owner is warned.
    house.pass(61 * DAY).await;
    house.pass(15 * DAY).await;
    let count = |kinds: &[JournalKind], kind| kinds.iter().filter(|one| **one == kind).count();
    assert_eq!(count(&house.kinds().await, JournalKind::ProofLapsing), 1);
    let signed = register_signed(house.directory(), DOMAIN, new, (2, None), &admin).await;
    assert!(signed.is_ok(), "{signed:?}");
    house.pass(10 * DAY).await;
    assert_eq!(house.state(&first), None, "forgotten where the second warning was due");
    house.pass(5 * DAY).await;
    let kinds = house.kinds().await;
    assert_eq!((count(&kinds, JournalKind::ProofLapsing), count(&kinds, JournalKind::ProofExpired)), (1, 0));
    assert_eq!(house.state(&second).unwrap().0, ProofState::Valid, "the new one stays");
}

/// A node below that still has the old key, or a node that names it as its next, needs its proof.
#[tokio::test(flavor = "multi_thread")]
async fn the_proof_of_a_key_that_is_wanted_below_is_warned_of() {
    let (old, new) = keys();
    let record = format!("_tandem 60 IN TXT \"tandem-key={old}\"\n");
    let below = format!("lab.{DOMAIN}");
    let admin = Actor::directory();
    for (others, warnings) in [
        (None, 0),
        (Some((below.as_str(), new, None)), 0),
        (Some((below.as_str(), old, None)), 1),
        (Some((below.as_str(), new, Some(old))), 1),
    ] {
        let (owner, dir) = (Owner::start(&record), tempfile::tempdir().unwrap());
        let now = Arc::new(AtomicU64::new(BEGIN));
        let mut house = House::open(dir.path(), &owner.config(), &now);
        house.begin(old, ProofMethod::Dns).await;
        register(house.directory(), new, &admin).await.unwrap();
        if let Some((domain, key, next)) = others {
            register_signed(house.directory(), domain, key, (1, next), &admin).await.unwrap();
        }
        owner.publish("");
        house.pass(77 * DAY).await;
        let kinds = house.kinds().await;
        let found = kinds.iter().filter(|kind| **kind == JournalKind::ProofLapsing).count();
        assert_eq!(found, warnings, "{others:?}");
    }
}

/// An admin's word counts more than a proof: whose node was invited keeps it without one.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_vouched_for_needs_no_proof() {
    let (key, _) = keys();
    let (owner, dir) =
        (Owner::start(&format!("_tandem 60 IN TXT \"tandem-key={key}\"\n")), tempfile::tempdir().unwrap());
    let now = Arc::new(AtomicU64::new(BEGIN));
    let mut house = House::open(dir.path(), &owner.config(), &now);
    let proof = house.begin(key, ProofMethod::Dns).await;
    let admin = Actor::directory();
    let scope = tandem_store::Scope::Nodes(vec![name(DOMAIN)]);
    house.directory().issue_token(tandem_store::NewToken::new(scope), &admin, None).await.unwrap();
    register(house.directory(), key, &admin).await.unwrap();
    house.directory().settle_proof(&proof, ProofOutcome::Revoked(None), None).await.unwrap();
    let _ = house.directory().renew(&name(DOMAIN), &admin).await;
    house.pass(29 * DAY).await;
    let _ = house.directory().renew(&name(DOMAIN), &admin).await;
    house.pass(3 * DAY).await;
    assert_eq!((house.state(&proof).unwrap().0, house.node().await.0), (ProofState::Revoked, NodeState::Active));
    assert!(!house.directory().is_proved(&name(DOMAIN), &key.to_string()));
}

/// API-64 end to end: where the domain's own SRV records lead, a responder shows the challenge's certificate.
#[tokio::test(flavor = "multi_thread")]
async fn a_target_answers_the_challenge_api_64() {
    let (key, other) = keys();
    let (owner, dir) = (Owner::start(""), tempfile::tempdir().unwrap());
    let now = Arc::new(AtomicU64::new(BEGIN));
    let mut house = House::open(dir.path(), &owner.config(), &now);
    let id = ProofId { domain: name(DOMAIN), key: key.to_string().into(), method: ProofMethod::Tls };
    let token: ChallengeToken = house.directory().begin_proof(id.clone(), None).await.unwrap().token.parse().unwrap();
    let free = "127.0.0.1:0".parse().unwrap();
    let wrong = Responder::start(free, &name(DOMAIN), &KeyAuthorization::new(&token, other)).await.unwrap();
    let srv = |port: u16| format!("_sips._tcp 60 IN SRV 0 0 {port} sip\n");
    owner.publish(&srv(wrong.address().port()));
    house.settle().await;
    assert_eq!(house.state(&id).unwrap().0, ProofState::Pending);
    assert!(house.failure(&id).contains("another challenge"), "{}", house.failure(&id));
    let right = Responder::start(free, &name(DOMAIN), &KeyAuthorization::new(&token, key)).await.unwrap();
    owner.publish(&srv(right.address().port()));
    house.pass(60).await;
    assert_eq!(house.state(&id).unwrap().0, ProofState::Valid, "{}", house.failure(&id));
}

/// API-T25, with the setting of production: a zone whose server is inside our network is not asked.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_inside_is_asked_api_t25() {
    let (key, _) = keys();
    let record = format!("_tandem 60 IN TXT \"tandem-key={key}\"\n_sips._tcp 60 IN SRV 0 0 5061 sip\n");
    let (owner, dir) = (Owner::start(&record), tempfile::tempdir().unwrap());
    let now = Arc::new(AtomicU64::new(BEGIN));
    let mut config = owner.config();
    config.proofs.allow_loopback = false;
    let mut house = House::open(dir.path(), &config, &now);
    for method in [ProofMethod::Dns, ProofMethod::Tls] {
        let proof = house.begin(key, method).await;
        assert!(house.failure(&proof).contains("is no global unicast address"), "{}", house.failure(&proof));
        for _ in 0..MAX_TRIES {
            house.pass(900).await;
        }
        assert_eq!(house.state(&proof).unwrap().0, ProofState::Invalid);
    }
}
