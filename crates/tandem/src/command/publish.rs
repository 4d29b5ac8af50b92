//! `tandem publish`: one command line becomes one whole node document; the API's answer is told in its words.

mod document;
mod signing;

use std::io;

use clap::Parser;
use serde::Deserialize;
use serde_json::Value;

use self::document::{KeyArg, NumberArg, Targets};
use self::signing::Signing;
use super::body::{Change, Warning};
use super::client::{self, ApiArgs, Client, ClientError};
use super::{Failure, life, output, problem};

/// Publish a node: register its domain, or replace what is registered
///
/// The command line is the whole document: what it leaves out is not published any more. Publishing the same again
/// changes nothing.
///
/// An --address belongs to the --target before it. Addresses before the first --target belong to every target whose
/// host is DOMAIN or below it. Hosts in other people's zones get no addresses: their own zone publishes them. With a key
/// the document is signed by it: once one signed, it has to.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  tandem publish debug.ostn.test --target sip.debug.ostn.test:5061 \\
                                 --address 203.0.113.7
  tandem publish ostel.me \\
      --target a.ostel.me:5061,10,0 --address 192.0.2.1 --address 2001:db8::1 \\
      --target b.ostel.me:5061,20,0 --address 192.0.2.2
  tandem publish debug.ostel.me --target sip.provider.example:5061 \\
      --number +15550101=sip:alice@debug.ostel.me --block +155502 --dry-run
  tandem publish example.org --target sip.example.org:5061 \\
      --token-file example.org.token --node-key example.org.key
  tandem publish example.org --target sip.example.org:5061 --lease 1d --probe")]
pub(super) struct Publish {
    // Before `domain`: clap's derived code takes fields out of the matches in this order, and this one looks at it.
    #[command(flatten)]
    targets: Targets,
    /// The SIP domain: the part after the @, and the name in the node's certificates
    #[arg(value_name = "DOMAIN", value_parser = client::parse_step)]
    domain: String,
    /// Telephone number that reaches the node, and the SIP URI it stands for (default: sip:E164@DOMAIN)
    #[arg(long = "number", value_name = "E164[=sip:URI]")]
    numbers: Vec<NumberArg>,
    /// Every number that begins with these digits
    #[arg(long = "block", value_name = "PREFIX")]
    blocks: Vec<String>,
    /// SHA-256 of a public key (SubjectPublicKeyInfo) in the node's certificate, or in its own CA's (ca:…)
    #[arg(long = "key", value_name = "[ca:]HEX")]
    keys: Vec<KeyArg>,
    /// Network that the node's calls come from
    #[arg(long = "source", value_name = "ADDRESS/LENGTH")]
    sources: Vec<String>,
    /// Seconds that others may keep the records [default: 60]
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<u64>,
    /// How to reach the operator; never public
    #[arg(long, value_name = "TEXT")]
    contact: Option<String>,
    /// Lease to ask for, until which it has to be renewed: 30m, 12h, 7d [default: the directory's, 7d]
    #[arg(long, value_name = "TIME", value_parser = life::parse)]
    lease: Option<u64>,
    /// Be looked at from outside, as callers would, if the directory does that: TLS, the certificate's name, SIP OPTIONS
    #[arg(long)]
    probe: bool,
    /// As --probe, without SIP OPTIONS
    #[arg(long)]
    probe_no_options: bool,
    /// As --probe, and have TLSA records made of the keys that are seen
    #[arg(long)]
    probe_tlsa: bool,
    #[command(flatten)]
    signing: Signing,
    /// Show the records that this would make, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the API's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl Publish {
    pub(super) fn run(self) -> Result<(), Failure> {
        let client = Client::open_for(&self.api, &self.domain)?;
        let query = if self.dry_run { "?dry_run=true" } else { "" };
        let path = format!("/v1/nodes/{}{query}", client::segment(&self.domain));
        let document = self.document();
        let signed = self.signing.sign(&client, &self.api, &self.domain, &document, self.dry_run)?;
        let answer = match &signed {
            Some(signed) => client.put_text::<Value>(&path, "application/jose+json", &signed.text),
            None => client.put::<Value>(&path, &document, &[]),
        };
        let answer = answer.map_err(|error| match error {
            ClientError::Problem(problem) => ClientError::Problem(problem.with_names(|path| self.name_of(path))),
            other => other,
        })?;
        if self.json {
            return output::json(&answer.body);
        }
        self.tell(&Change::deserialize(answer.body)?)?;
        if let Some(signed) = &signed {
            for file in &signed.made {
                output::line(format_args!("  new key: {}: keep a copy, only an admin can replace it", file.display()))?;
            }
            output::line(format_args!("  signed by {}", signed.key))?;
        }
        Ok(())
    }

    fn tell(&self, change: &Change) -> io::Result<()> {
        let name = |pointer: &str| {
            let path = problem::steps(pointer);
            self.name_of(&path.iter().map(String::as_str).collect::<Vec<_>>())
                .unwrap_or_else(|| problem::spoken(pointer))
        };
        let domain = &change.domain;
        match (change.serial, change.effect.as_str()) {
            (None, effect) => output::line(format_args!("{domain}: would be {effect}; nothing was changed"))?,
            (Some(serial), effect) => output::line(format_args!("{domain}: {effect}, serial {serial}"))?,
        }
        match change.state.as_deref() {
            None | Some("active") => {}
            Some("pending") => output::line("  pending: DNS shows it when an admin has approved it")?,
            Some(state) => output::line(format_args!("  {state}: `tandem nodes show {domain}` says why"))?,
        }
        for note in &change.normalised {
            output::line(format_args!("  note: {}: kept as {}", name(&note.pointer), note.to))?;
        }
        for warning in &change.warnings {
            output::line(format_args!("  warning: {}: {}{}", name(&warning.pointer), warning.detail, rule(warning)))?;
        }
        change.records.iter().try_for_each(|record| output::line(format_args!("  {record}")))
    }
}

/// The rule behind a warning, to be looked up in docs/quirks.md.
fn rule(warning: &Warning) -> String {
    warning.rule.as_ref().map(|rule| format!(" ({rule})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    fn parse(line: &str) -> Result<Publish, clap::Error> {
        Publish::try_parse_from(["publish"].into_iter().chain(line.split(' ')))
    }

    #[test]
    fn the_example_makes_its_document() {
        let publish = parse("debug.ostn.test --target sip.debug.ostn.test:5061 --address 203.0.113.7").unwrap();
        assert_eq!(
            publish.document(),
            json!({"targets": [{"host": "sip.debug.ostn.test", "port": 5061, "addresses": ["203.0.113.7"]}]})
        );
    }

    #[test]
    fn everything_at_once() {
        let key = "ab".repeat(32);
        let publish = parse(&format!(
            "o.me --target a.o.me:5061,10,5 --address 192.0.2.1 --address 2001:db8::1 --target b.o.me:5081 --address 192.0.2.2 \
             --number +15550101=sip:alice@o.me --number +15550102 --block +155502 --key {key} --key ca:{key} --ttl 30 \
             --contact me --source 192.0.2.0/24 --lease 1d --probe-tlsa --probe-no-options"
        ))
        .unwrap();
        assert_eq!(
            publish.document(),
            json!({
                "targets": [
                    {"host": "a.o.me", "port": 5061, "priority": 10, "weight": 5, "addresses": ["192.0.2.1", "2001:db8::1"]},
                    {"host": "b.o.me", "port": 5081, "addresses": ["192.0.2.2"]},
                ],
                "numbers": [{"e164": "+15550101", "uri": "sip:alice@o.me"}, {"e164": "+15550102"}, {"block": "+155502"}],
                "keys": [{"holder": "node", "sha256": key}, {"holder": "authority", "sha256": key}],
                "ttl": 30, "contact": "me", "sources": ["192.0.2.0/24"], "lease_seconds": 86400,
                "probe": {"options": false, "tlsa": true},
            })
        );
        let publish = parse("o.me --target a.o.me:5061 --address 192.0.2.1 --probe").unwrap();
        assert_eq!(publish.document()["probe"], json!({}));
    }

    #[test]
    fn addresses_before_the_first_target_belong_to_those_below_the_domain() {
        let publish =
            parse("O.me --address 192.0.2.1 --target a.o.me:1 --target o.ME:2 --target x.test:3 --target xo.me:4")
                .unwrap();
        let document = publish.document();
        let given: Vec<bool> = (0..4).map(|i| document["targets"][i].get("addresses").is_some()).collect();
        assert_eq!(given, [true, true, false, false]);
    }

    #[test]
    fn wrong_usage_is_told_before_anything_is_sent() {
        for (line, words) in [
            ("o.me", "--target"),
            ("o.me --target a.o.me", "HOST:PORT"),
            ("o.me --target a.o.me:x", "HOST:PORT"),
            ("o.me --target a.o.me:1,2", "priority,weight"),
            ("o.me --address 192.0.2.1 --target x.test:1", "at or below"),
            ("o.me --target a.o.me:1 --address x", "address"),
            ("o.me --target a.o.me:1 --key 00", "64 hexadecimal digits"),
            ("o.me --target a.o.me:1 --number +1=", "sip:"),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(words), "{line}: {error}");
        }
    }

    #[test]
    fn pointers_are_told_as_flags() {
        let publish = parse("o.me --target a.o.me:70000 --address 192.0.2.1 --number +1 --block +2").unwrap();
        let name = |path: &[&str]| publish.name_of(path).unwrap();
        assert_eq!(name(&["targets", "0", "port"]), "--target a.o.me:70000 (port)");
        assert_eq!(name(&["targets", "0", "addresses", "0"]), "--target a.o.me:70000 --address 192.0.2.1");
        assert_eq!(name(&["numbers", "0", "e164"]), "--number +1 (e164)");
        assert_eq!(name(&["numbers", "1"]), "--block +2");
        assert_eq!(name(&["ttl"]), "--ttl");
        assert_eq!(name(&["lease_seconds"]), "--lease");
        assert_eq!(name(&["domain"]), "o.me");
        assert_eq!(publish.name_of(&["other"]), None);
    }
}
