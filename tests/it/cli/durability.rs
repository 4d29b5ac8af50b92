//! `kill -9` under a mixed load over HTTP: nothing that was acknowledged is lost, the file is whole, serials only go up.
//!
//! Each writer has names and tokens of its own and keeps book of what it was told, so that at a kill at most one request of
//! each writer is in doubt: that one may have happened, wholly or not at all (an import: by line).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use tandem_testkit::{Client, Response, Service};

use super::{dig, node};

/// How often the service is killed, unless `TANDEM_TEST_KILLS` says otherwise.
const KILLS: usize = 30;
/// Clients that write at the same time.
const WRITERS: u64 = 4;
/// Names of each of them.
const NAMES: u64 = 12;
/// Most acknowledged requests after which the kill comes.
const MOST_BEFORE_KILL: u64 = 120;
/// Lines of an import.
const LINES: u64 = 3;
/// Tokens that a writer keeps in force.
const TOKENS: usize = 4;

/// What is registered at a name: the last octet of its address, and its state; nothing when it is not registered.
type Known = Option<(u8, &'static str)>;

/// What one writer was told, over all rounds.
struct Book {
    writer: u64,
    random: u64,
    names: BTreeMap<String, Known>,
    /// What may have become of names whose request was not answered.
    doubts: BTreeMap<String, Known>,
    /// Secrets and ids of tokens in force.
    tokens: Vec<(String, String)>,
    /// One that may have been revoked.
    doubtful_token: Option<String>,
    /// Secrets of revoked tokens.
    revoked: Vec<String>,
    /// Serials of changes.
    serials: Vec<u64>,
    /// How many of each kind were acknowledged.
    counts: BTreeMap<&'static str, usize>,
}

impl Book {
    fn new(writer: u64) -> Self {
        let name = |index| format!("n{writer}-{index}.ostn.test");
        Self {
            writer,
            random: 0x9e37_79b9_7f4a_7c15 ^ writer,
            names: (0..NAMES).map(|index| (name(index), None)).collect(),
            doubts: BTreeMap::new(),
            tokens: Vec::new(),
            doubtful_token: None,
            revoked: Vec::new(),
            serials: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    fn name(&self, index: u64) -> String {
        format!("n{}-{index}.ostn.test", self.writer)
    }

    /// Sends one request of a kind drawn at random, and writes down its outcome; whether an answer came.
    fn step(&mut self, client: &Client) -> bool {
        let (index, octet) = (self.draw(NAMES), u8::try_from(1 + self.draw(250)).unwrap());
        match self.draw(20) {
            0..7 => self.put(client, index, octet),
            7..9 => self.remove(client, index),
            9..12 => self.request(client, "renew", &self.name(index), |known| known),
            12 => self.request(client, "suspend", &self.name(index), |known| known.map(|(o, _)| (o, "suspended"))),
            13 => self.request(client, "drain", &self.name(index), |known| known.map(|(o, _)| (o, "draining"))),
            14..16 => self.request(client, "restore", &self.name(index), |known| known.map(|(o, _)| (o, "active"))),
            16..18 => self.import(client, index, octet),
            18 => self.issue(client, index),
            _ => self.revoke(client),
        }
    }

    fn put(&mut self, client: &Client, index: u64, octet: u8) -> bool {
        let name = self.name(index);
        let after = Some((octet, self.names[&name].map_or("active", |(_, state)| state)));
        let document = node(&name, &format!("192.0.2.{octet}"));
        let answer = client.try_send("PUT", &format!("/v1/nodes/{name}"), &[], Some(&document)).ok();
        self.outcome("put", &name, after, answer)
    }

    fn remove(&mut self, client: &Client, index: u64) -> bool {
        let name = self.name(index);
        let answer = client.try_send("DELETE", &format!("/v1/nodes/{name}"), &[("if-match", "*")], None).ok();
        self.outcome("delete", &name, None, answer)
    }

    /// An action, or a renewal.
    fn request(&mut self, client: &Client, verb: &'static str, name: &str, after: fn(Known) -> Known) -> bool {
        let path = format!("/v1/nodes/{name}/{verb}");
        let answer = client.try_send("POST", &path, &[("if-match", "*")], None).ok();
        self.outcome(verb, name, after(self.names[name]), answer)
    }

    fn outcome(&mut self, kind: &'static str, name: &str, after: Known, answer: Option<Response>) -> bool {
        let Some(answer) = answer else {
            self.doubts.insert(name.to_owned(), after);
            return false;
        };
        assert!(answer.status < 500, "{kind} {name}: {}", answer.text);
        if answer.status < 300 {
            self.names.insert(name.to_owned(), after);
            *self.counts.entry(kind).or_default() += 1;
            // An unchanged PUT and an action that changed nothing name the serial of before.
            self.serials.extend(answer.json()["serial"].as_u64());
        }
        true
    }

    fn import(&mut self, client: &Client, index: u64, octet: u8) -> bool {
        let names: BTreeSet<String> = (0..LINES).map(|more| self.name((index + more) % NAMES)).collect();
        let after = |book: &Self, name: &str| Some((octet, book.names[name].map_or("active", |(_, state)| state)));
        let mut lines = String::new();
        for name in &names {
            let mut line = node(name, &format!("192.0.2.{octet}"));
            line["domain"] = name.as_str().into();
            lines += &format!("{line}\n");
        }
        let answer = client.try_send_lines("/v1/import?look_up=false", &lines).ok();
        if answer.as_ref().is_some_and(|answer| answer.status == 503) {
            // Another import runs.
            return true;
        }
        for name in &names {
            let after = after(self, name);
            match &answer {
                Some(answer) => {
                    assert_eq!((answer.status, &answer.json()["refused"]), (200, &json!([])), "{}", answer.text);
                    self.names.insert(name.clone(), after);
                }
                None => drop(self.doubts.insert(name.clone(), after)),
            }
        }
        if answer.is_some() {
            *self.counts.entry("import").or_default() += 1;
        }
        answer.is_some()
    }

    fn issue(&mut self, client: &Client, index: u64) -> bool {
        if self.tokens.len() >= TOKENS {
            return self.revoke(client);
        }
        let body = json!({"role": "node", "names": [self.name(index)]});
        let Ok(answer) = client.try_send("POST", "/v1/tokens", &[], Some(&body)) else { return false };
        assert_eq!(answer.status, 201, "{}", answer.text);
        let made = answer.json();
        let text = |member: &str| made[member].as_str().unwrap().to_owned();
        self.tokens.push((text("secret"), text("id")));
        *self.counts.entry("token").or_default() += 1;
        true
    }

    fn revoke(&mut self, client: &Client) -> bool {
        let Some((secret, id)) = self.tokens.pop() else { return true };
        let Ok(answer) = client.try_send("DELETE", &format!("/v1/tokens/{id}"), &[], None) else {
            self.doubtful_token = Some(secret);
            return false;
        };
        assert_eq!(answer.status, 204, "{}", answer.text);
        self.revoked.push(secret);
        *self.counts.entry("revoke").or_default() += 1;
        true
    }

    /// Whether the service, started again, has all of it; what was in doubt is taken as it has it.
    fn check(&mut self, service: &Service, round: usize) {
        for (name, known) in &mut self.names {
            let answer = service.get(&format!("/v1/nodes/{name}"));
            let found: Known = match answer.status {
                404 => None,
                200 => Some(read(&answer.json())),
                _ => panic!("round {round}: {name}: {}", answer.text),
            };
            let doubt = self.doubts.remove(name);
            assert!(
                found == *known || Some(found) == doubt,
                "round {round}: {name} is {found:?}, was acknowledged as {known:?}, in doubt {doubt:?}"
            );
            *known = found;
        }
        let mut client = service.client();
        let mut status = |secret: &str| {
            client.set_token(secret);
            client.try_send("GET", "/v1/nodes/n0-0.ostn.test", &[], None).unwrap().status
        };
        for (secret, id) in &self.tokens {
            assert_ne!(status(secret), 401, "round {round}: the token {id} was acknowledged");
        }
        for secret in &self.revoked {
            assert_eq!(status(secret), 401, "round {round}: a token was revoked");
        }
        self.doubtful_token = None;
        self.revoked.truncate(TOKENS);
    }
}

/// The last octet of the node's address, and its state.
fn read(shown: &Value) -> (u8, &'static str) {
    let address = shown["node"]["targets"][0]["addresses"][0].as_str().unwrap_or_else(|| panic!("{shown}"));
    let octet = address.rsplit('.').next().unwrap().parse().unwrap();
    let state = ["active", "draining", "suspended"].into_iter().find(|state| shown["state"] == *state);
    (octet, state.unwrap_or_else(|| panic!("{shown}")))
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let kills = std::env::var("TANDEM_TEST_KILLS").map_or(KILLS, |text| text.parse().expect("a number of kills"));
    let mut service = Service::start();
    let mut books: Vec<Book> = (0..WRITERS).map(Book::new).collect();
    let mut serials = zone_serials(&service);
    let mut random = Book::new(WRITERS);
    for round in 0..kills {
        let before_kill = 1 + usize::try_from(random.draw(MOST_BEFORE_KILL)).unwrap();
        books = write_until_killed(&mut service, books, before_kill);
        let written = check_file(&service, round);
        let lost = books.iter().flat_map(|book| &book.serials).find(|serial| !written.contains(serial));
        assert_eq!(lost, None, "round {round}: a serial that was acknowledged is not in the journal");
        service = service.restart();
        let now = zone_serials(&service);
        for (apex, old) in &serials {
            assert!(now[apex] >= *old, "round {round}: the serial of {apex} went from {old} to {}", now[apex]);
        }
        serials = now;
        for book in &mut books {
            book.check(&service, round);
        }
        // DNS shows what the API says.
        let (name, known) = books[round % books.len()].names.iter().nth(round % 7).unwrap();
        let address = dig(&service, &["A", &format!("sip.{name}"), "+short"]);
        let shown = known.filter(|(_, state)| *state != "suspended");
        assert_eq!(address, shown.map_or_else(String::new, |(octet, _)| format!("192.0.2.{octet}\n")), "round {round}");
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (kind, count) in books.iter().flat_map(|book| &book.counts) {
        *counts.entry(kind).or_default() += count;
    }
    writeln!(std::io::stderr(), "{kills} kills; acknowledged and kept: {counts:?}").unwrap();
    for kind in ["put", "delete", "renew", "suspend", "drain", "restore", "import", "token"] {
        assert!(counts.contains_key(kind), "no {kind} was acknowledged: {counts:?}");
    }
    assert!(!service.log().contains("panicked"), "{}", service.log());
}

/// Writes with all writers, and kills the service after so many acknowledged requests, in the middle of others.
fn write_until_killed(service: &mut Service, books: Vec<Book>, before_kill: usize) -> Vec<Book> {
    let (count, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
    let client = service.client();
    let failed = Mutex::new(None);
    thread::scope(|scope| {
        let writers: Vec<_> = books
            .into_iter()
            .map(|mut book| {
                let (client, count, ended) = (&client, &count, &ended);
                scope.spawn(move || {
                    while !ended.load(Ordering::Relaxed) && book.step(client) {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    book
                })
            })
            .collect();
        tandem_testkit::wait_until(Duration::from_secs(60), "acknowledged requests", || {
            count.load(Ordering::Relaxed) >= before_kill || writers.iter().any(|writer| writer.is_finished())
        });
        service.kill();
        ended.store(true, Ordering::Relaxed);
        let mut kept = Vec::new();
        for writer in writers {
            match writer.join() {
                Ok(book) => kept.push(book),
                Err(panic) => *failed.lock().unwrap() = Some(panic),
            }
        }
        if let Some(panic) = failed.lock().unwrap().take() {
            std::panic::resume_unwind(panic);
        }
        kept
    })
}

/// Whether the database that the killed service left is whole, before anybody mends it; the serials of its journal.
fn check_file(service: &Service, round: usize) -> BTreeSet<u64> {
    let database = service.data_dir().join("tandem.db");
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok", "round {round}");
    let dangling: i64 =
        connection.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0)).unwrap();
    assert_eq!(dangling, 0, "round {round}");
    // One serial, one change of a node: none is ever used twice.
    let twice = "SELECT count(*) FROM (SELECT serial FROM journal WHERE kind NOT IN ('serve-zone', 'drop-zone')
                 GROUP BY serial HAVING count(*) > 1)";
    let twice: i64 = connection.query_row(twice, [], |row| row.get(0)).unwrap();
    assert_eq!(twice, 0, "round {round}");
    let numbers = |sql: &str| -> BTreeSet<u64> {
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, i64>(0)).unwrap();
        rows.map(|serial| serial.unwrap().cast_unsigned()).collect()
    };
    let written = numbers("SELECT DISTINCT serial FROM journal");
    assert_eq!(numbers("SELECT serial FROM serial").last(), written.last(), "round {round}: the last serial taken");
    written
}

/// The serial of each zone.
fn zone_serials(service: &Service) -> BTreeMap<String, u64> {
    let zones = service.get("/v1/zones").json()["zones"].clone();
    let serial = |zone: &Value| (zone["apex"].as_str().unwrap().to_owned(), zone["serial"].as_u64().unwrap());
    zones.as_array().unwrap().iter().map(serial).collect()
}
