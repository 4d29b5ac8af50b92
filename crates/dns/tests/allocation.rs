//! The UDP threads of a running server allocate nothing for queries (design 5): the allocator of this binary counts.
//!
//! A binary of its own, for a program has one allocator. Only threads that serve UDP are counted, so that clients, TCP
//! and the writer of new versions may do as they like.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::UdpSocket;
use std::num::{NonZeroU16, NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tandem_dns::{Config, CookieSecrets, Cookies, DnsServer, Identity, RateLimit};
use tandem_model::node::{KeyHolder, KeyPin};
use tandem_model::{DomainName, Node, NodeParts, NumberClaim, Serial, Target};
use tandem_zone::master::StaticZone;
use tandem_zone::{Change, Live, Settings, Zones};

/// Queries of each round.
const QUERIES: usize = 100_000;

/// Queries on their way at a time: less than a socket's buffer holds.
const WINDOW: usize = 50;

/// A new version is published after so many queries.
const PUBLISH_EVERY: usize = 1000;

/// Longest wait for the server to have seen what was sent.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the names of the threads that serve UDP begin with.
const COUNTED: &[u8] = b"dns-udp-";

/// Allocations of those threads, and the octets of the last one.
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static LAST: AtomicUsize = AtomicUsize::new(0);

/// Counts, then has the system do it.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(unsafe_code, reason = "an allocator is unsafe by its nature; this one hands everything on as it came")]
// SAFETY: every method gives the system's allocator what it was given, and returns what that returns.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the promises of this method, which are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

fn count(size: usize) {
    if serves_udp() {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        LAST.store(size, Ordering::Relaxed);
    }
}

/// Whether this thread is one of those that count. Allocates nothing itself.
fn serves_udp() -> bool {
    thread_local! { static KNOWN: Cell<bool> = const { Cell::new(false) }; }
    if KNOWN.get() {
        return true;
    }
    let mut name = [0_u8; 16];
    #[expect(unsafe_code, reason = "std tells a thread's name only by allocating")]
    // SAFETY: PR_GET_NAME writes at most 16 octets where it is told to.
    let result = unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    KNOWN.set(result == 0 && name.starts_with(COUNTED));
    KNOWN.get()
}

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn zones() -> Zones {
    let head = "$TTL 3600\n@ SOA ns1.ostn.test. h.ostn.test. 7 3600 600 604800 30\n@ NS ns1.ostn.test.\n";
    let statics = [
        ("ostn.test", "ns1 A 192.0.2.53\nwww CNAME ns1\nsub NS ns.sub\nns.sub A 192.0.2.54\n*.wild TXT any\n"),
        ("ostel.me", "mail A 192.0.2.25\n@ MX 10 mail\n"),
        ("peers.ostn.test", ""),
        ("e164.ostn.test", ""),
    ]
    .map(|(apex, text)| {
        let text = format!("{head}{text}");
        StaticZone::read(&name(apex), apex, text.as_bytes(), &mut |_| Err("no includes here".into())).unwrap()
    });
    let settings = Settings {
        peers_zone: Some(name("peers.ostn.test")),
        number_zone: Some(name("e164.ostn.test")),
        ..Settings::default()
    };
    Zones::new(settings, statics.to_vec(), Serial::new(7)).unwrap().with(&[Change::Put(node(60))], Serial::new(8))
}

/// `debug.ostel.me` with everything that a node can have.
fn node(ttl: u32) -> Box<Node> {
    let target = |host: &str, priority, addresses: [&str; 2]| Target {
        host: name(host),
        port: NonZeroU16::new(5061).unwrap(),
        priority,
        weight: 10,
        addresses: addresses.map(|address| address.parse().unwrap()).to_vec(),
    };
    let targets = vec![
        target("sip1.debug.ostel.me", 10, ["192.0.2.11", "2001:db8::11"]),
        target("sip2.debug.ostel.me", 20, ["192.0.2.12", "2001:db8::12"]),
    ];
    let mut parts = NodeParts::new(name("debug.ostel.me"), targets);
    parts.ttl = Some(ttl);
    parts.keys = vec![KeyPin { holder: KeyHolder::Node, sha256: [0x5a; 32] }];
    parts.numbers = vec![
        NumberClaim::Number {
            number: "+15550101".parse().unwrap(),
            uri: Some("sip:alice@debug.ostel.me".parse().unwrap()),
        },
        NumberClaim::Block("+155502".parse().unwrap()),
    ];
    Box::new(Node::new(parts).unwrap())
}

/// Name, type, the code of the answer.
const QUESTIONS: &[(&str, u16, u8)] = &[
    ("debug.ostel.me", 35, 0),
    ("DEBUG.Ostel.me", 35, 0),
    ("_sips._tcp.debug.ostel.me", 33, 0),
    ("sip1.debug.ostel.me", 1, 0),
    ("sip2.debug.ostel.me", 28, 0),
    ("_5061._tcp.sip1.debug.ostel.me", 52, 0),
    ("_tcp.debug.ostel.me", 33, 0),
    ("debug.ostel.me", 255, 0),
    ("debug.ostel.me.peers.ostn.test", 35, 0),
    ("_sips._tcp.debug.ostel.me.peers.ostn.test", 33, 0),
    ("1.0.1.0.5.5.5.1.e164.ostn.test", 35, 0),
    ("4.3.2.0.5.5.5.1.e164.ostn.test", 35, 0),
    ("9.9.9.9.5.5.5.1.e164.ostn.test", 35, 3),
    ("nobody.ostel.me", 35, 3),
    ("_sip._tcp.debug.ostel.me", 33, 3),
    ("www.ostn.test", 1, 0),
    ("a.b.wild.ostn.test", 16, 0),
    ("host.sub.ostn.test", 1, 0),
    ("ostel.me", 15, 0),
    ("ostn.test", 6, 0),
    ("ostn.test", 2, 0),
    ("www.elsewhere.example", 1, 5),
];

/// One query; with `options`, it has an OPT record with them.
fn query(name: &str, kind: u16, options: Option<&[u8]>) -> Vec<u8> {
    let mut query = vec![0x42, 0x42, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(options.is_some())];
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend(label.as_bytes());
    }
    query.extend([0, (kind >> 8) as u8, kind as u8, 0, 1]);
    if let Some(options) = options {
        query.extend([0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, options.len() as u8]);
        query.extend(options);
    }
    query
}

/// A server and a client of it.
struct Scene {
    server: DnsServer,
    live: Live,
    socket: UdpSocket,
    sent: u64,
    answers: [usize; 16],
}

impl Scene {
    fn start(per_second: u32) -> Self {
        let mut config = Config::new(vec!["127.0.0.1:0".parse().unwrap()]);
        config.udp_threads = NonZeroUsize::new(1);
        config.cookies = Some(Cookies::new(CookieSecrets::new([7; 16], None)));
        config.identity = Identity::new("ams-1", "Tandem").unwrap();
        let per_second = NonZeroU32::new(per_second).unwrap();
        config.rate_limit = Some(RateLimit { per_second, slip: 2, exempt: Vec::new() });
        let live = Live::new(zones());
        let server = DnsServer::start(&config, &live).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server.local_addrs()[0]).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { server, live, socket, sent: 0, answers: [0; 16] }
    }

    /// Queries of every kind, and the code of each answer: without EDNS, with it, with a new, a good and a bad cookie.
    fn queries(&mut self) -> Vec<(Vec<u8>, u8)> {
        let mut buffer = [0; 2048];
        self.socket.send(&query("ostn.test", 6, Some(&[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]))).unwrap();
        self.sent += 1;
        let len = self.socket.recv(&mut buffer).unwrap();
        let good = [&[0, 10, 0, 24][..], &buffer[len - 24..len]].concat();
        let bad = [&[0, 10, 0, 24, 1, 2, 3, 4, 5, 6, 7, 8][..], &[9; 16]].concat();
        let asking = [0, 3, 0, 0, 0, 12, 0, 4, 0, 0, 0, 0, 0xfd, 0xe9, 0, 1, 7];
        let forms: [Option<&[u8]>; 6] =
            [None, Some(&[]), Some(&[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]), Some(&good), Some(&bad), Some(&asking)];
        let all = |form| QUESTIONS.iter().map(move |&(name, kind, rcode)| (query(name, kind, form), rcode));
        forms.into_iter().flat_map(all).collect()
    }

    /// Sends `count` of `queries`, publishing now and then, and counts the answers by their codes.
    fn ask(&mut self, queries: &[(Vec<u8>, u8)], count: usize) {
        let mut serial = 8;
        for start in (0..count).step_by(WINDOW) {
            for index in start..count.min(start + WINDOW) {
                self.socket.send(&queries[index % queries.len()].0).unwrap();
                self.sent += 1;
                if index.is_multiple_of(PUBLISH_EVERY) {
                    serial += 1;
                    let next = self.live.load().with(&[Change::Put(node(60 + serial % 60))], Serial::new(serial));
                    self.live.publish(next);
                }
            }
            self.settle();
        }
    }

    /// Waits until the server has seen everything, and takes the answers.
    fn settle(&mut self) {
        let start = Instant::now();
        while self.server.stats().udp.queries() < self.sent {
            assert!(start.elapsed() < PATIENCE, "{:?} of {}", self.server.stats().udp, self.sent);
            std::thread::yield_now();
        }
        let mut buffer = [0; 2048];
        self.socket.set_nonblocking(true).unwrap();
        while let Ok(len) = self.socket.recv(&mut buffer) {
            assert!(len >= 12 && buffer[2] & 0x80 != 0);
            self.answers[usize::from(buffer[3] & 15)] += 1;
        }
        self.socket.set_nonblocking(false).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_udp_threads_allocate_nothing_for_a_query() {
    for (round, per_second) in [("nobody is limited", RateLimit::MAX_RATE), ("most are limited", 10)] {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        let mut scene = Scene::start(per_second);
        let queries = scene.queries();
        // What a thread makes once: its buffers, the table of the limit.
        scene.ask(&queries, queries.len());
        let made = ALLOCATIONS.load(Ordering::Relaxed);
        assert!(made > before, "the thread that serves is one that is counted");
        scene.answers = [0; 16];

        scene.ask(&queries, QUERIES);
        let allocations = ALLOCATIONS.load(Ordering::Relaxed) - made;
        let octets = LAST.load(Ordering::Relaxed);
        assert_eq!(allocations, 0, "{round}: allocations for {QUERIES} queries, the last one of {octets} octets");
        let stats = scene.server.stats().udp;
        if per_second == RateLimit::MAX_RATE {
            let mut expected = [0; 16];
            (0..QUERIES).for_each(|index| expected[usize::from(queries[index % queries.len()].1)] += 1);
            assert_eq!(scene.answers, expected, "answers by response code");
        } else {
            assert!(stats.slipped > 0 && stats.limited > stats.slipped && stats.bad_cookie > 0, "{stats:?}");
            assert!(stats.cookies_good as usize > QUERIES / 7, "{stats:?}");
        }
        scene.server.shutdown().await;
    }
}
