//! What README.md and docs/ tell people to type works, and the map of the code is that of the code.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;
use tandem_testkit::{Service, repository, run, tandem};

/// The threats that docs/security.md answers.
const THREATS: usize = 20;

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A fenced block: the line of its opening fence, what stands behind the fence, and its text.
struct Block {
    line: usize,
    info: String,
    text: String,
}

fn blocks(markdown: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in markdown.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(info), None) => {
                open = Some(Block { line: index + 1, info: info.trim().to_owned(), text: String::new() })
            }
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fence is not closed");
    found
}

/// One command of docs/http-api.md and what follows it.
struct Example {
    line: usize,
    command: String,
    /// The status that the page promises.
    status: String,
    /// `json` or `text`, and the answer that the page shows.
    answer: Option<(String, String)>,
}

/// The blocks of docs/http-api.md: `sh expect=201` with one call, then perhaps `json` or `text` with its answer.
fn examples() -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    for Block { line, info, text } in blocks(&read("docs/http-api.md")) {
        match info.split_once(' ') {
            Some(("sh", expect)) if text.starts_with("curl ") => {
                let status = expect.strip_prefix("expect=").expect("a call says which status it gives").to_owned();
                examples.push(Example { line, command: text, status, answer: None });
            }
            None if info == "json" || info == "text" => {
                examples.last_mut().expect("an answer follows a call").answer = Some((info, text));
            }
            _ => panic!("docs/http-api.md:{line}: neither a call by curl nor its answer: {info}"),
        }
    }
    examples
}

/// Hides what differs from run to run.
fn mask(value: &mut Value) {
    const CHANGING: [&str; 13] = [
        "created",
        "updated",
        "since",
        "lease_until",
        "expires",
        "previous_until",
        "id",
        "secret",
        "code",
        "instance",
        "etag",
        "serial",
        "current",
    ];
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if CHANGING.contains(&name.as_str()) {
                    *member = "…".into();
                } else {
                    mask(member);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Every call of docs/http-api.md runs, in order, against one fresh service, and answers what the page says: the status, all
/// of a JSON body (but for what changes from run to run), each line of a text but `…`.
#[test]
fn the_page_of_the_http_api_tells_the_truth() {
    let service = Service::start();
    let examples = examples();
    assert!(examples.len() > 15, "only {} calls are on the page", examples.len());
    for Example { line, command, status, answer } in examples {
        // The last line of output is the status; the rest of the command stays as people type it.
        let script = command.replacen("curl", "curl --noproxy '*' -w '\\n%{http_code}'", 1);
        let output = run(Command::new("sh")
            .args(["-ec", &script])
            .current_dir(service.home())
            .env("API", service.api_url())
            .env("TOKEN", service.admin_token()));
        let place = format!("docs/http-api.md:{line}");
        let (body, code) = output.stdout.rsplit_once('\n').unwrap_or_else(|| panic!("{place}: {output}"));
        assert!(output.status.success() && code == status, "{place}: {status} was promised\n{output}");
        match answer {
            None => {}
            Some((kind, text)) if kind == "text" => {
                for shown in text.lines().filter(|shown| *shown != "…") {
                    assert!(body.contains(shown), "{place}: no line `{shown}`\n{output}");
                }
            }
            Some((_, text)) => {
                let json = |text: &str| serde_json::from_str(text).unwrap_or_else(|e| panic!("{place}: {e}\n{output}"));
                let (mut shown, mut found): (Value, Value) = (json(&text), json(body));
                mask(&mut shown);
                mask(&mut found);
                assert_eq!(found, shown, "{place}");
            }
        }
    }
}

/// The table of crates in ARCHITECTURE.md has each folder of `crates/`, and nothing else.
#[test]
fn the_architecture_lists_every_crate() {
    let crates: BTreeSet<String> = fs::read_dir(repository().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let text = read("docs/ARCHITECTURE.md");
    let section = text.split("\n## ").find(|section| section.starts_with("Crates\n")).unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: BTreeSet<String> = rows.map(|row| row.split('`').next().unwrap().to_owned()).collect();
    assert_eq!(listed, crates);
}

/// Every `tandem` command in README.md and docs/ is one that exists, with flags that exist.
#[test]
fn commands_in_the_documents_exist() {
    let mut seen = BTreeSet::new();
    for file in documents() {
        for block in blocks(&read(&file)) {
            let joined = block.text.replace("\\\n", " ");
            for line in joined.lines() {
                let line = line.trim_start_matches("$ ").trim();
                let Some(rest) = line.strip_prefix("tandem ").or_else(|| line.strip_prefix("cargo run --release -- "))
                else {
                    continue;
                };
                let command: Vec<&str> =
                    rest.split_whitespace().take_while(|word| word.bytes().all(is_command_word)).collect();
                let sub = ["nodes", "zone", "token", "numbers"].contains(&command[0]);
                let path = &command[..if sub { 2 } else { 1 }];
                let help = run(Command::new(tandem()).args(path).arg("--help"));
                assert!(help.status.success(), "{file}: `{line}`: no such command\n{help}");
                let before_comment = rest.split(" #").next().unwrap();
                for flag in before_comment.split_whitespace().filter(|word| word.starts_with("--") && *word != "--") {
                    let name = flag.split('=').next().unwrap();
                    assert!(help.stdout.contains(name), "{file}: `{line}`: {name} is not a flag of {path:?}");
                }
                seen.insert(command[0].to_owned());
            }
        }
    }
    for command in ["serve", "publish", "resolve"] {
        assert!(seen.contains(command), "the documents never show `tandem {command}`");
    }
}

/// README.md, zones/README.md and everything below docs/.
fn documents() -> Vec<String> {
    let root = repository();
    let mut found = vec!["README.md".to_owned(), "zones/README.md".to_owned()];
    let mut open = vec![root.join("docs")];
    while let Some(folder) = open.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

const fn is_command_word(octet: u8) -> bool {
    octet.is_ascii_lowercase() || octet == b'-'
}

/// Every key of the settings file, and every environment variable, is in docs/configuration.md.
#[test]
fn the_table_of_quirks_is_that_of_the_code() {
    use tandem_model::lint::{Quirk, Severity};

    let page = read("docs/quirks.md");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| QUIRK-"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    assert!(rows.iter().all(|row| row.len() == 6 && row.iter().all(|cell| !cell.is_empty())), "{rows:?}");
    let told: Vec<(&str, &str)> = rows.iter().map(|row| (row[0], row[1])).collect();
    let word = |quirk: Quirk| match quirk.severity() {
        Severity::Refuse => "refuse",
        Severity::Warn => "warn",
    };
    assert_eq!(told, Quirk::ALL.map(|quirk| (quirk.id(), word(quirk))));
}

#[test]
fn every_setting_is_documented() {
    let folder = tempfile::tempdir().unwrap();
    let call = |args: &[&str]| run(Command::new(tandem()).args(args).current_dir(folder.path())).success();
    let text = read("docs/configuration.md");
    let mut section = String::new();
    for line in call(&["check-config", "--template"]).lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
        }
        let key = line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
        if let Some((key, _)) = key.and_then(|rest| rest.split_once(" = ")) {
            assert!(text.contains(&format!("`{section}{key}`")), "`{section}{key}` is not in docs/configuration.md");
        }
    }
    let helps = [call(&["serve", "--help"]), call(&["publish", "--help"])].concat();
    for name in helps.split("[env: ").skip(1).map(|rest| rest.split(['=', ']']).next().unwrap()) {
        assert!(text.contains(&format!("`{name}`")), "`{name}` is not in docs/configuration.md");
    }
}

/// docs/security.md has every threat, and each test that it names exists.
#[test]
fn the_tests_of_every_threat_exist() {
    let text = read("docs/security.md");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|line| line.split(" | ").collect::<Vec<_>>())
        .filter(|cells| cells[0].bytes().all(|octet| octet.is_ascii_digit()))
        .collect();
    let numbers: Vec<String> = rows.iter().map(|cells| cells[0].to_owned()).collect();
    assert_eq!(numbers, (1..=THREATS).map(|number| number.to_string()).collect::<Vec<_>>());
    for cells in rows {
        let [number, _, _, tests] = cells[..] else { panic!("four cells: {cells:?}") };
        let named: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "threat {number} has no test");
        for test in named {
            let (file, name) = test.split_once("::").unwrap_or_else(|| panic!("threat {number}: {test}"));
            let source = read(file);
            // The attribute of a plain, an asynchronous or a property test is a few lines above.
            let at = source.find(&format!("fn {name}(")).unwrap_or_else(|| panic!("threat {number}: no {test}"));
            let lines: Vec<&str> = source[..at].lines().rev().take(8).collect();
            assert!(
                lines.iter().any(|line| line.contains("test]") || line.contains("::test(")),
                "threat {number}: {test} is no test"
            );
        }
    }
}

/// Every key of the agent's settings file is in its guide.
#[test]
fn every_setting_of_the_agent_is_documented() {
    let template = run(Command::new(tandem()).args(["agent", "--template"])).success();
    let text = read("docs/guides/agent.md");
    let mut section = String::new();
    for line in template.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
        }
        let key = line.strip_prefix('#').unwrap_or(line);
        let key = key
            .split_once(" = ")
            .map(|(key, _)| key)
            .filter(|key| key.bytes().all(|o| o == b'_' || o.is_ascii_lowercase()));
        if let Some(key) = key {
            assert!(text.contains(&format!("`{section}{key}`")), "`{section}{key}` is not in docs/guides/agent.md");
        }
    }
    assert!(text.contains("`TANDEM_AGENT_CONFIG`") && section == "log.", "{section}");
}

/// Each fuzz target has what it needs: the entry that it calls, built into that crate, seeds, and its row in the table. The
/// fuzz crate itself takes minutes to compile, so it is no part of the workspace.
#[test]
fn every_fuzz_target_is_whole() {
    let (manifest, table) = (read("fuzz/Cargo.toml"), read("fuzz/README.md"));
    let targets: BTreeSet<String> = manifest
        .split("\n[[bin]]\n")
        .skip(1)
        .map(|section| section.split('"').nth(1).expect("name = \"…\"").to_owned())
        .collect();
    let expected = ["message", "options", "redirect", "tsig", "zone_file"].map(str::to_owned);
    assert_eq!(targets, BTreeSet::from(expected));
    for target in targets {
        let source = read(&format!("fuzz/fuzz_targets/{target}.rs"));
        let entry = format!("::harness::{target}(octets)");
        let (before, _) = source.split_once(&entry).unwrap_or_else(|| panic!("{target} does not call {entry}"));
        let library =
            before.rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap().replace('_', "-");
        let dependency = manifest.lines().find(|line| line.starts_with(&format!("{library} = ")));
        let dependency = dependency.unwrap_or_else(|| panic!("{target}: fuzz/Cargo.toml has no {library}"));
        assert!(dependency.contains("features = [\"fuzzing\"]"), "{target}: no entries without it: {dependency}");
        let seeds = fs::read_dir(repository().join("fuzz/corpus").join(&target)).unwrap().count();
        assert!(seeds >= 4, "{target}: {seeds} seeds");
        assert!(table.contains(&format!("| `{target}` |")), "{target} is not in fuzz/README.md");
    }
}
