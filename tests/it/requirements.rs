//! docs/requirements.md is true: each rule once, and each that is done has its test and its place in the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use tandem_testkit::repository;

/// A row of the page.
struct Row {
    id: String,
    test: String,
    status: String,
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(repository().join("docs/requirements.md")).unwrap();
    let is_id = |text: &str| cited(text).first().is_some_and(|id| id == text);
    let row = |line: &str| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        if !is_id(cells[0]) {
            return None;
        }
        let [id, rule, source, test, status] = cells[..] else { panic!("five cells: {line}") };
        assert!(!rule.is_empty() && !source.is_empty(), "{line}");
        Some(Row { id: id.into(), test: test.into(), status: status.into() })
    };
    text.lines().filter_map(row).collect()
}

/// The ids in `text`, also as parts of a test's name: `dns_t45` for `DNS-T45`.
fn cited(text: &str) -> Vec<String> {
    const KINDS: [&str; 6] = ["DNS", "PUB", "ENUM", "API", "LOC", "CERT"];
    let mut found = Vec::new();
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
    for word in words.filter(|word| word.len() > 4) {
        let upper = word.to_ascii_uppercase();
        let parts: Vec<&str> = upper.split(['-', '_']).collect();
        for pair in parts.windows(2) {
            let number = pair[1].strip_prefix('T').unwrap_or(pair[1]);
            let is_number = !number.is_empty() && number.bytes().all(|octet| octet.is_ascii_digit());
            if KINDS.contains(&pair[0]) && is_number {
                found.push(format!("{}-{}", pair[0], pair[1]));
            }
        }
    }
    found
}

/// What a source file cites, in code that ships and in tests.
#[derive(Default)]
struct Citations {
    code: BTreeSet<String>,
    tests: BTreeSet<String>,
}

fn citations() -> BTreeMap<PathBuf, Citations> {
    let root = repository();
    let mut open = vec![root.join("crates"), root.join("tests")];
    let mut all = BTreeMap::new();
    while let Some(folder) = open.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path.strip_prefix(&root).unwrap().to_owned();
                let citations = of_file(&inside, &fs::read_to_string(&path).unwrap());
                all.insert(inside, citations);
            }
        }
    }
    all
}

fn of_file(path: &Path, text: &str) -> Citations {
    let only_tests = path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
    let end = if only_tests { 0 } else { text.find("\nmod tests {").unwrap_or(text.len()) };
    let (code, tests) = text.split_at(end);
    Citations { code: cited(code).into_iter().collect(), tests: cited(tests).into_iter().collect() }
}

#[test]
fn every_rule_stands_once() {
    let rows = rows();
    assert!(rows.len() >= 150, "only {} rules", rows.len());
    let mut seen = BTreeSet::new();
    for row in rows {
        let right = row.status == "done" || row.status.starts_with("partly: ") || row.status.starts_with("later");
        assert!(right, "{}: status `{}`", row.id, row.status);
        assert!(seen.insert(row.id.clone()), "{} stands twice", row.id);
    }
}

#[test]
fn what_is_done_has_a_test_and_a_place() {
    let citations = citations();
    // This page's own checks cite nothing.
    let mut faults = Vec::new();
    for Row { id, test, status } in rows() {
        let Some((named, cases)) = test.strip_prefix('`').and_then(|rest| rest.split_once('`')) else {
            if status == "done" {
                faults.push(format!("{id} is done and names no test"));
            }
            continue;
        };
        let (file, function) = named.split_once("::").expect("file::function");
        let Some(found) = citations.get(Path::new(file)) else {
            faults.push(format!("{id}: there is no {file}"));
            continue;
        };
        let source = fs::read_to_string(repository().join(file)).unwrap();
        if !source.contains(&format!("fn {function}(")) {
            faults.push(format!("{id}: {file} has no {function}"));
        }
        let cases = cited(cases);
        if !found.tests.contains(&id) && (cases.is_empty() || !cases.iter().all(|case| found.tests.contains(case))) {
            faults.push(format!("{id}: {file} cites neither it nor the cases {cases:?}"));
        }
        if status == "done" && !citations.values().any(|citations| citations.code.contains(&id)) {
            faults.push(format!("{id}: no code that ships cites it"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A rule that the code cites and nobody knows is a misspelt one.
#[test]
fn every_rule_that_the_code_cites_is_listed() {
    let listed: BTreeSet<String> = rows().into_iter().map(|row| row.id).collect();
    let mut unknown = BTreeSet::new();
    for (path, citations) in citations() {
        // Ids with a T are cases; the digests of the rules list them.
        let rules = citations.code.iter().filter(|id| !id.contains("-T"));
        unknown.extend(rules.filter(|id| !listed.contains(*id)).map(|id| format!("{id} in {}", path.display())));
    }
    assert!(unknown.is_empty(), "not in docs/requirements.md: {unknown:?}");
}

#[test]
fn ids_are_found() {
    let text = "// DNS-45, DNS-T60: x\nfn loc_58_distribution() {} // API-84; ENUM-81 (PUB-5)";
    assert_eq!(cited(text), ["DNS-45", "DNS-T60", "LOC-58", "API-84", "ENUM-81", "PUB-5"]);
    assert_eq!(cited("pub fn dns_tls(), RFC-1035, DNS-x, dns-over-1"), [""; 0]);
}
