//! `kill -9` at any moment loses nothing that was acknowledged, and no serial is used twice.
//!
//! The parent starts this very program again as the child, 50 times or more over one directory, reads what it acknowledges,
//! and kills it at some moment: while it opens the store, or after some acknowledgements, with others under way.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use tandem_store::Backend as _;
use tandem_store::backend::JournalKind;

use super::*;

/// The data directory, for the child.
const DIR: &str = "TANDEM_TEST_KILL_DIR";
/// Which child this is: its nodes' names have it.
const ROUND: &str = "TANDEM_TEST_KILL_ROUND";
/// How often the child is killed, unless `TANDEM_TEST_KILLS` says more.
const ROUNDS: u64 = 50;
/// Callers at a time in the child.
const WORKERS: usize = 8;

/// What a line says of a domain: the last octet of its address, or nothing once it is withdrawn.
type State = Option<u8>;

#[test]
fn fifty_kills() {
    let asked = std::env::var("TANDEM_TEST_KILLS").map_or(0, |text| text.parse().expect("a number of kills"));
    let dir = tempfile::tempdir().unwrap();
    let mut states: BTreeMap<String, State> = BTreeMap::new();
    let mut serials: HashMap<u64, String> = HashMap::new();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..ROUNDS.max(asked) {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Every eighth is killed while it opens; the others after 1 to 200 acknowledgements.
        let kill_after = if round % 8 == 7 { 0 } else { 1 + (random >> 33) % 200 };
        let lines = run_child(dir.path(), round, kill_after);

        // What was asked for, but not acknowledged: it may have happened.
        let mut open: HashMap<String, State> = HashMap::new();
        let highest = serials.keys().copied().max().unwrap_or(0);
        for line in &lines {
            let words: Vec<_> = line.split(' ').collect();
            let state = |text: &str| text.parse::<u8>().ok();
            match words[..] {
                ["TRY", domain, address] => drop(open.insert(domain.into(), state(address))),
                ["ACK", domain, address, serial] => {
                    open.remove(domain);
                    states.insert(domain.into(), state(address));
                    let serial: u64 = serial.parse().unwrap();
                    assert!(serial > highest, "round {round}: {serial} is not above those before");
                    assert_eq!(serials.insert(serial, domain.into()), None, "round {round}: {serial} twice");
                }
                _ => panic!("round {round}: {line:?}"),
            }
        }
        check(dir.path(), round, &mut states, &open, &serials);
    }
    assert!(serials.len() > 500, "only {} changes were acknowledged", serials.len());
    let directory = Directory::open(dir.path(), settings(), statics()).unwrap();
    let kept = states.values().filter(|state| state.is_some()).count();
    assert_eq!(directory.live().load().node_count(), kept, "all of it is served");
}

/// Runs a child until it has acknowledged so much; returns its lines, those included that it wrote while dying.
fn run_child(dir: &Path, round: u64, kill_after: u64) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["kill_nine::child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = Vec::new();
    let mut acknowledged = 0;
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut killed = false;
    let mut line = String::new();
    while output.read_line(&mut line).unwrap() > 0 {
        // The test runner's own words are in front of the first line.
        let begins = line.contains("BEGIN");
        // A line that was cut off says nothing.
        if line.ends_with('\n') && (line.starts_with("TRY ") || line.starts_with("ACK ")) {
            acknowledged += u64::from(line.starts_with("ACK "));
            lines.push(line.trim_end().to_owned());
        }
        if !killed && (acknowledged >= kill_after && (begins || acknowledged > 0)) {
            child.kill().unwrap();
            killed = true;
        }
        line.clear();
    }
    let status = child.wait().unwrap();
    assert!(killed, "round {round}: the child ended by itself, {status}");
    lines
}

/// Whether the store holds what was acknowledged; what was under way is taken as the store has it.
fn check(
    dir: &Path,
    round: u64,
    states: &mut BTreeMap<String, State>,
    open: &HashMap<String, State>,
    serials: &HashMap<u64, String>,
) {
    let backend = SqliteBackend::open(dir).unwrap_or_else(|error| panic!("round {round}: {error:?}"));
    let mut kept: BTreeMap<String, State> = BTreeMap::new();
    backend
        .load_nodes(&mut |registered| {
            let domain = registered.node.domain().to_string();
            let std::net::IpAddr::V4(address) = registered.node.targets()[0].addresses[0] else { panic!("{domain}") };
            let state = Some(address.octets()[3]);
            assert_eq!(registered.node, node(&domain, &address.to_string()), "round {round}: whole content");
            kept.insert(domain, state);
        })
        .unwrap();
    for (domain, tried) in open {
        let before = states.get(domain).copied().flatten();
        let now = kept.get(domain).copied().flatten();
        assert!(now == before || now == *tried, "round {round}: {domain} is {now:?}, was {before:?}, tried {tried:?}");
        states.insert(domain.clone(), now);
    }
    let expected: BTreeMap<_, _> = states.iter().filter(|(_, s)| s.is_some()).map(|(d, s)| (d.clone(), *s)).collect();
    assert_eq!(kept, expected, "round {round}");

    let mut seen = HashSet::new();
    let mut entries = 0;
    for entry in backend.journal(0, usize::MAX).unwrap() {
        if matches!(entry.kind, JournalKind::Register | JournalKind::Deregister) {
            assert!(seen.insert(entry.serial), "round {round}: serial {} twice", entry.serial);
            if let Some(domain) = serials.get(&entry.serial) {
                assert_eq!(*domain, entry.subject, "round {round}");
                entries += 1;
            }
        }
    }
    assert_eq!(entries, serials.len(), "round {round}: all that was acknowledged is in the journal");
    let last = backend.load().unwrap().serial.unwrap_or(0);
    assert!(seen.iter().all(|serial| *serial <= last), "round {round}");
}

#[test]
#[ignore = "the parent runs it"]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let round = std::env::var(ROUND).unwrap();
    say("BEGIN");
    let directory = Directory::open(Path::new(&dir), settings(), statics()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut workers = tokio::task::JoinSet::new();
        for worker in 0..WORKERS {
            workers.spawn(work(directory.clone(), format!("r{round}w{worker}")));
        }
        workers.join_all().await;
    });
}

/// Registers, replaces and withdraws for ever, and tells of each before and after.
async fn work(directory: Directory, prefix: String) {
    for i in 0_u64.. {
        let domain = format!("{prefix}n{i}.ostel.me");
        change(&directory, &domain, Some(1)).await;
        if i % 3 == 1 {
            change(&directory, &domain, Some(2)).await;
        }
        if i % 5 == 2 {
            change(&directory, &domain, None).await;
        }
    }
}

async fn change(directory: &Directory, domain: &str, state: State) {
    let word = state.map_or_else(|| "-".to_owned(), |octet| octet.to_string());
    say(&format!("TRY {domain} {word}"));
    let receipt = match state {
        Some(octet) => put(directory, domain, &format!("192.0.2.{octet}")).await,
        None => directory.deregister(&name(domain), Precondition::None, &admin()).await.unwrap(),
    };
    let serial = match state {
        Some(_) => receipt.registered.revision,
        // The receipt has the registration as it was; few changes here, so the SOA's 32 bits are the whole serial.
        None => receipt.serial.value().into(),
    };
    say(&format!("ACK {domain} {word} {serial}"));
}

/// Writes a line at once, and in one piece.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}
