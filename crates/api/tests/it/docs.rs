//! docs/http-api.md: every curl line runs, in order, against one fresh service, and answers what the page says.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::service::Service;

/// One command of the page and what follows it.
struct Example {
    command: String,
    status: String,
    answer: Option<(String, String)>,
}

/// The fenced blocks of a page: their info string and text.
fn blocks(page: &str) -> Vec<(&str, String)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let text: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push((info, text.join("\n")));
        }
    }
    blocks
}

fn examples(page: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    for (info, text) in blocks(page) {
        match info.split_once(' ') {
            Some(("sh", expect)) if text.starts_with("curl") => {
                let status = expect.strip_prefix("expect=").unwrap().to_owned();
                examples.push(Example { command: text, status, answer: None });
            }
            None if info == "json" || info == "text" => {
                examples.last_mut().unwrap().answer = Some((info.to_owned(), text));
            }
            _ => panic!("a block that is neither a curl line nor an answer: {info}"),
        }
    }
    examples
}

/// Hides what differs from run to run.
fn mask(value: &mut Value) {
    const CHANGING: [&str; 8] = ["created", "updated", "expires", "id", "secret", "instance", "etag", "serial"];
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if CHANGING.contains(&name.as_str()) || name == "current" {
                    *member = Value::from("…")
                } else {
                    mask(member)
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_page_tells_the_truth() {
    let service = Service::start();
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/http-api.md")).unwrap();
    let examples = examples(&page);
    assert!(examples.len() > 15, "{}", examples.len());
    for Example { command, status, answer } in examples {
        let script = command.replacen("curl", "curl -w '\\n%{http_code}'", 1);
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).env("API", &service.url).env("TOKEN", &service.admin);
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, code) = text.rsplit_once('\n').unwrap();
        assert_eq!(code, status, "{command}\n{body}");
        let Some((kind, answer)) = answer else { continue };
        if kind == "text" {
            answer
                .lines()
                .filter(|line| *line != "…")
                .for_each(|line| assert!(body.contains(line), "{command}: {line}\n{body}"));
            continue;
        }
        let mut shown: Value = serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{command}: {error}"));
        let mut found: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{command}: {error}\n{body}"));
        mask(&mut shown);
        mask(&mut found);
        assert_eq!(shown, found, "{command}");
    }
}
