//! Issue B 6: Knot serves our export, and both are asked the same questions: rcode, AA, answer and authority must agree.
//!
//! `data` makes the zones and nodes, `question` the questions, `asker` asks; `verdict` has the differences that the RFCs
//! allow, one by one. Everything comes from fixed seeds, so a failure repeats.

mod asker;
mod data;
mod knot;
mod question;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;

use tandem_testkit::{Service, Setup};
use tempfile::TempDir;

use self::asker::Asker;
use self::knot::Knot;
use self::question::Question;
use self::verdict::Outcome;
use super::{process, require};

/// Questions that are asked; the issue wants 20,000 or more.
const QUESTIONS: usize = 24_000;
/// Differences that a failed run prints.
const SHOWN: usize = 12;

/// xorshift64*, seeded: a failure repeats.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())]
    }
}

/// The directory under test: the zones and nodes of `data`, in a folder that lives as long.
struct Subject {
    folder: TempDir,
    service: Service,
    apexes: Vec<String>,
}

impl Subject {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let zones = folder.path().join("zones");
        let apexes = data::write_zones(&zones);
        let service = Setup::new().zones(&zones).start();
        for (domain, document) in data::nodes() {
            let response = service.put_node(&domain, &document);
            assert_eq!(response.status, 201, "PUT {domain}: {}", response.text);
        }
        Self { folder, service, apexes }
    }

    /// Every zone as a master file.
    fn exports(&self) -> BTreeMap<&str, String> {
        let export = |apex: &String| {
            let response = self.service.get(&format!("/v1/zones/{apex}"));
            assert_eq!(response.status, 200, "export of {apex}: {}", response.text);
            response.text
        };
        self.apexes.iter().map(|apex| (apex.as_str(), export(apex))).collect()
    }
}

/// What other programs' readers say about our exports. `ldns-verify-zone` wants signatures: that there are none must be all
/// that it has to say.
#[test]
fn other_programs_read_every_export() {
    if !require(&["named-checkzone", "ldns-read-zone", "ldns-verify-zone"]) {
        return;
    }
    let subject = Subject::start();
    for (apex, text) in subject.exports() {
        let file = subject.folder.path().join(format!("{apex}.txt"));
        std::fs::write(&file, text).expect("the folder is writable");
        // Records and their form; that targets have addresses is not the point of made-up zones.
        let strict = ["-k", "ignore", "-n", "ignore", "-m", "ignore", "-r", "fail", "-i", "none", apex];
        let mut arguments: Vec<&OsStr> = strict.iter().map(AsRef::as_ref).collect();
        arguments.push(file.as_os_str());
        assert!(process::read("named-checkzone", &arguments).trim_end().ends_with("OK"), "{apex}");
        let records = process::read("ldns-read-zone", &[OsStr::new("-c"), file.as_os_str()]);
        assert!(records.lines().count() >= 3, "{apex}: {records}");
        let output = process::run("ldns-verify-zone", &[&file]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let faults: Vec<&str> = said.lines().filter(|line| !line.starts_with("There were errors")).collect();
        assert_eq!(faults, ["Error: No DNSKEY records at zone apex"], "{apex}: {output:?}");
    }
}

/// DNS-20 to DNS-28 and their like, seen by another implementation.
#[test]
fn knot_answers_alike() {
    if !require(&["knotd", "kdig"]) {
        return;
    }
    let subject = Subject::start();
    let (exports, apexes) = (subject.exports(), &subject.apexes);
    let knot = Knot::start(&exports, &subject.folder.path().join("knot"));

    let questions = Question::generate(&exports, QUESTIONS);
    let ours = Asker::new(subject.service.dns_addr());
    let theirs = Asker::new(knot.address());
    let our_answers = ours.ask_all(&questions);
    let their_answers = theirs.ask_all(&questions);

    let owners: BTreeSet<String> = question::owners(&exports).map(|(owner, _)| owner.to_ascii_lowercase()).collect();
    let mut outcomes: BTreeMap<Outcome, usize> = BTreeMap::new();
    let mut differences = Vec::new();
    for ((question, ours), theirs_now) in questions.iter().zip(&our_answers).zip(&their_answers) {
        let expected = verdict::expected(question, theirs_now, apexes, &theirs);
        *outcomes.entry(verdict::outcome(question, &expected, &owners)).or_default() += 1;
        let found = verdict::Seen::of(ours);
        if found != expected {
            differences.push(format!("{question}\n  ours: {found:?}\n  Knot: {expected:?}"));
        }
    }
    let count = differences.len();
    differences.truncate(SHOWN);
    assert!(count == 0, "{count} of {QUESTIONS} answers differ; {outcomes:?}\n{}", differences.join("\n"));
    // A run that met only easy names would prove little.
    for outcome in Outcome::ALL {
        let met = outcomes.get(&outcome).copied().unwrap_or_default();
        assert!(met >= QUESTIONS / 100, "only {met} answers were {outcome:?}: {outcomes:?}");
    }
}
