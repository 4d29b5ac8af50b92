//! `dig`, `kdig` and `drill`: one question in, what they read out of the answer.

use std::net::SocketAddr;

use super::process;

/// Words with which the tools complain about an answer that they print all the same.
const COMPLAINTS: [&str; 5] = ["WARNING", "Warning", "malformed", "mismatch", "rror:"];

/// A program that asks one question and prints the answer in sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tool {
    /// BIND's.
    Dig,
    /// Knot's.
    Kdig,
    /// NSD's and Unbound's (ldns).
    Drill,
}

/// What a tool read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    /// `NOERROR`, `NXDOMAIN`, …
    pub(super) status: String,
    /// Whether the AA flag was set.
    pub(super) authoritative: bool,
    /// Records as `owner ttl class type data` with single spaces, sorted.
    pub(super) answer: Vec<String>,
    /// The same of the authority section.
    pub(super) authority: Vec<String>,
    /// The same of the additional section, without the OPT record.
    pub(super) additional: Vec<String>,
}

impl Tool {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Dig, Self::Kdig, Self::Drill];

    /// The program's name.
    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::Dig => "dig",
            Self::Kdig => "kdig",
            Self::Drill => "drill",
        }
    }

    /// Asks `server` for records of `kind` at `name`, with the tool's own defaults but for RD when `recurse` is false.
    ///
    /// # Panics
    ///
    /// When no answer comes, or when the tool finds fault with it.
    pub(super) fn ask(self, server: SocketAddr, recurse: bool, name: &str, kind: &str) -> Reply {
        let (at, port) = (format!("@{}", server.ip()), server.port().to_string());
        let flag = match (self, recurse) {
            (Self::Drill, true) => "-oRD",
            (Self::Drill, false) => "-ord",
            (_, true) => "+recurse",
            (_, false) => "+norecurse",
        };
        let output = match self {
            // The options of dig and kdig come after the server, drill's before.
            Self::Dig | Self::Kdig => process::read(self.program(), &[&at, "-p", &port, name, kind, flag]),
            Self::Drill => process::read(self.program(), &["-p", &port, flag, name, &at, kind]),
        };
        for complaint in COMPLAINTS {
            assert!(!output.contains(complaint), "{} about {name} {kind}:\n{output}", self.program());
        }
        Reply::parse(&output)
    }
}

impl Reply {
    /// The three tools print alike: a header line, a line of flags, then sections that end at an empty line.
    fn parse(output: &str) -> Self {
        let after = |marker: &str| output.split_once(marker).map(|(_, after)| after);
        let word = |text: &str| text.split([',', ';', '\n']).next().unwrap_or_default().trim().to_owned();
        let status = after("status: ").or_else(|| after("rcode: ")).map(word).unwrap_or_default();
        let flags = after("flags: ").or_else(|| after("Flags: ")).map(word).unwrap_or_default();
        let section = |name: &str| {
            let text = after(&format!(";; {name} SECTION:\n")).unwrap_or_default();
            let lines = text.lines().take_while(|line| !line.is_empty() && !line.starts_with(";;"));
            let mut records: Vec<String> = lines.filter(|line| !line.starts_with(';')).map(single_spaced).collect();
            records.sort();
            records
        };
        Self {
            status,
            authoritative: flags.split_whitespace().any(|flag| flag == "aa"),
            answer: section("ANSWER"),
            authority: section("AUTHORITY"),
            additional: section("ADDITIONAL"),
        }
    }
}

fn single_spaced(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
