//! What the fuzzer of the redirect server calls (fuzz/README.md), and what a test calls with its seeds: any octets in, what
//! must hold checked.
//!
//! Built for tests and with the feature `fuzzing` only.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use tandem_model::node::NumberClaim;
use tandem_model::{Host, Node, NodeParts, SipUri, Target};
use tandem_probe::sip::{MAX_MESSAGE, Message, Start};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use super::core::{Core, Framed, Next};
use super::udp;
use crate::check::Verdicts;
use crate::config::{Config, OwnNode};
use crate::member::{Member, MemberState};
use crate::route::Routes;
use crate::snapshot::Snapshot;
use crate::status::Board;

/// Where everything comes from.
const SOURCE: ([u8; 4], u16) = ([192, 0, 2, 9], 5099);

/// The members that calls are sent to.
const CALLABLE: [&str; 1] = ["a.test"];

/// The fields that an answer can have.
const FIELDS: [&str; 10] =
    ["via", "from", "to", "call-id", "cseq", "contact", "retry-after", "allow", "unsupported", "content-length"];

struct Server {
    /// Some of what is asked needs one at hand.
    runtime: Runtime,
    core: Arc<Core>,
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let core = {
        let _guard = runtime.enter();
        Arc::new(Core::new(routes()))
    };
    Server { runtime, core }
});

/// For a member, one whose host is somebody else's to name, one in wrong hands, and our own domain; strangers have no way.
fn routes() -> Routes {
    let mut snapshot = Snapshot::default();
    for (domain, state, host, address) in [
        ("a.test", MemberState::Active, "sip.a.test", Some([203, 0, 113, 7].into())),
        ("slow.test", MemberState::Active, "host.elsewhere.test", None),
        ("bad.test", MemberState::Compromised, "sip.bad.test", Some([203, 0, 113, 8].into())),
    ] {
        let target = Target {
            host: host.parse().expect("a name"),
            port: 5061.try_into().expect("not 0"),
            priority: 10,
            weight: 0,
            addresses: address.into_iter().collect(),
        };
        let mut parts = NodeParts::new(domain.parse().expect("a name"), vec![target]);
        if domain == "a.test" {
            let number = "+15550101".parse().expect("a number");
            parts.numbers = vec![NumberClaim::Number { number, uri: None }];
        }
        let node = state.is_served().then(|| Box::new(Node::new(parts).expect("a sound node")));
        let (domain, withheld) = (domain.parse().expect("a name"), Box::default());
        snapshot.members.insert(Arc::new(Member {
            domain,
            state,
            reason: None,
            lease_until: 0,
            node,
            key: None,
            withheld,
        }));
    }
    let mut config = Config::default();
    let domain = "own.test".parse().expect("a name");
    config.node = Some(OwnNode { domain, document: None, key_file: None, drain_on_stop: false });
    config.route.members_only = true;
    // Nobody is asked: what would wait for an answer is dropped.
    config.route.name_servers = vec![([127, 0, 0, 1], 9).into()];
    let board = Arc::new(Board::default());
    board.replica(|status| status.position = Some(1));
    let (_, snapshots) = watch::channel(Arc::new(snapshot));
    Routes::new(&config, snapshots, board, Verdicts::off()).expect("name servers are given")
}

/// Any octets, as one datagram and as what a connection brings.
///
/// # Panics
///
/// When an answer breaks a rule, or two readers would see different messages: that is a finding.
pub fn redirect(octets: &[u8]) {
    let octets = &octets[..octets.len().min(MAX_MESSAGE + 1024)];
    let server = &*SERVER;
    let _guard = server.runtime.enter();
    if let Some(framed) = Framed::datagram(octets) {
        let to = udp::destination(framed.message(), source());
        assert_eq!(to.ip(), source().ip(), "nobody but the sender gets an answer");
        judge(&server.core, &framed);
    }
    stream(&server.core, octets);
}

/// As the connection's reader takes messages off a stream.
fn stream(core: &Arc<Core>, mut octets: &[u8]) {
    loop {
        match Message::take(octets) {
            Ok(Some((message, used))) => {
                assert!(used > 0 && used <= octets.len(), "{used} of {}", octets.len());
                let alone = Message::take(&octets[..used]);
                assert_eq!(alone, Ok(Some((message.clone(), used))), "what follows changes nothing");
                assert_eq!(Message::take(&octets[..used - 1]), Ok(None), "no message before it is all there");
                judge(core, &Framed::Whole(message));
                octets = &octets[used..];
            }
            Ok(None) => return,
            Err(_) => {
                if let Ok(head) = Message::head(octets) {
                    judge(core, &Framed::Broken(head));
                }
                return;
            }
        }
    }
}

/// Whether the answer to a message is one, and the same when it comes again.
fn judge(core: &Arc<Core>, framed: &Framed) {
    let Next::Answer(text) = core.take(framed, source()) else { return };
    let again = core.take(framed, source());
    assert!(matches!(&again, Next::Answer(again) if *again == text), "RFC 3261 8.2.7: {text}\n{again:?}");
    let answer = Message::datagram(text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert!(matches!(answer.start, Start::Status { code: 200..700, .. }), "{text}");
    let names: BTreeSet<&str> = answer.headers.iter().map(|(name, _)| &**name).collect();
    assert!(names.iter().all(|name| FIELDS.contains(name)), "a field that we do not write: {text}");
    assert!(answer.body.is_empty() && answer.header("via").is_some(), "{text}");
    if let Some(contact) = answer.header("contact") {
        let uri = contact.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).expect("in angle brackets");
        let uri = SipUri::parse(uri).unwrap_or_else(|error| panic!("{error}: {text}"));
        let is_member = |domain: &&str| matches!(uri.host(), Host::Name(name) if name.to_string() == **domain);
        assert!(CALLABLE.iter().any(is_member), "no member: {text}");
    }
}

fn source() -> SocketAddr {
    SOURCE.into()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Mutations of each seed, unless TANDEM_MUTATIONS says how many of all.
    const MUTATIONS: u64 = 3000;

    /// Changes a few octets, always the same ones for the same `round`; mostly to what means something in SIP.
    fn mutate(seed: &[u8], round: u64) -> Vec<u8> {
        const MEANING: &[u8] = b"\r\n \t:;,<>\"\\@/[]=+%019aSZ\x00\x7f\xc3\xff";
        const WORDS: [&[u8]; 8] =
            [b"\r\n\r\n", b"\r\n ", b"v: ", b"Via: SIP/2.0/UDP x\r\n", b"l: 99\r\n", b";tag=", b"a.test", b"SIP/2.0"];
        let mut state = (0x7a6e_0032 + round).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut roll = |below: usize| {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below.max(1)
        };
        let mut octets = seed.to_vec();
        for _ in 0..=roll(4) {
            let at = roll(octets.len() + 1);
            match roll(9) {
                0 => octets.truncate(at),
                1 | 2 => octets.insert(at, MEANING[roll(MEANING.len())]),
                3 => {
                    let word = WORDS[roll(WORDS.len())];
                    octets.splice(at..at, word.iter().copied());
                }
                // A piece again, somewhere else.
                4 => {
                    let (from, len) = (roll(octets.len() + 1), roll(120));
                    let piece = octets[from..(from + len).min(octets.len())].to_vec();
                    octets.splice(at..at, piece);
                }
                5 if at < octets.len() => drop(octets.remove(at)),
                6 if at < octets.len() => octets[at] = roll(256) as u8,
                _ if at < octets.len() => octets[at] = MEANING[roll(MEANING.len())],
                _ => {}
            }
        }
        octets
    }

    fn seeds() -> Vec<(String, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/redirect");
        let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap());
        entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())).collect()
    }

    #[test]
    fn seeds_and_mutations_of_them() {
        let seeds = seeds();
        assert!(seeds.len() >= 8, "only {} seeds", seeds.len());
        let all: Option<u64> = std::env::var("TANDEM_MUTATIONS").ok().and_then(|n| n.parse().ok());
        let rounds = all.map_or(MUTATIONS, |all| all.div_ceil(seeds.len() as u64));
        for (_, seed) in seeds {
            redirect(&seed);
            (0..rounds).for_each(|round| redirect(&mutate(&seed, round)));
        }
    }

    /// The seeds lead to what they are called by: else only the first check would ever be tried.
    #[test]
    fn the_seeds_reach_what_they_are_for() {
        let server = &*SERVER;
        let _guard = server.runtime.enter();
        let seeds = seeds();
        let answer = |seed: &str| {
            let octets = &seeds.iter().find(|(name, _)| name == seed).unwrap().1;
            match server.core.take(&Framed::datagram(octets).unwrap(), source()) {
                Next::Nothing => "nothing".to_owned(),
                Next::Wait(_) => "wait".to_owned(),
                Next::Answer(text) => text.split(' ').nth(1).unwrap().to_owned(),
            }
        };
        for (seed, expected) in [
            ("invite", "302"),
            ("number", "302"),
            ("number-at-us", "302"),
            ("folded", "302"),
            ("options", "200"),
            ("cancel", "200"),
            ("vias", "420"),
            ("waits", "wait"),
            ("compromised", "403"),
            ("stream", "302"),
            ("length-twice", "400"),
            ("status", "nothing"),
        ] {
            assert_eq!(answer(seed), expected, "{seed}");
        }
    }
}
