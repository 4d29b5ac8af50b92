//! `tandem configure`: what to type into a SIP server or a resolver, with this node's own values.
//!
//! The text is the guides' (`docs/guides/`), so that page, command and the servers of the tests cannot differ.

mod facts;
mod piece;
mod snippet;

use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use serde_json::json;
use tandem_model::DomainName;

use self::facts::{Facts, NameServer};
use super::client::ApiArgs;
use super::{Failure, output};

/// Print a configuration for a SIP server or a resolver that makes it reach every member of the directory
///
/// Values that are not given are read from the directory: the node's address from its registration, the zones from the list
/// of zones. What comes out stands in the guides too, with the reasons.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  tandem configure kamailio --domain debug.ostn.test
  tandem configure kamailio --domain debug.ostn.test --output ./kamailio
  tandem configure kamailio --domain debug.ostn.test --agent=http
  tandem configure freeswitch --domain debug.ostn.test --address 203.0.113.7
  tandem configure unbound --directory 203.0.113.53 --zone ostn.test
  tandem configure bind --policy --json")]
pub(super) struct Configure {
    /// What is to be configured
    #[arg(value_enum)]
    server: Server,
    /// Your SIP domain; the SIP servers need it
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<DomainName>,
    /// Address that your SIP server listens on [default: the first one that the node is registered with]
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// The directory's name server [default: the service running with --data-dir]
    #[arg(long, value_name = "IP[:PORT]")]
    directory: Option<NameServer>,
    /// Zone of the directory; may be given several times [default: all that it serves]
    #[arg(long = "zone", value_name = "ZONE")]
    zones: Vec<DomainName>,
    /// Kamailio: members only, by the peers zone
    #[arg(long)]
    members_only: bool,
    /// An agent on this host tells where members are (docs/guides/agent.md): Kamailio has it as its name server, asks it
    /// for routes, or follows its redirects; FreeSWITCH asks it for its dialplan [default: Kamailio dns, FreeSWITCH http]
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, require_equals = true)]
    agent: Option<Option<AgentWay>>,
    /// unbound, BIND: all members for all clients, by the policy zone
    #[arg(long)]
    policy: bool,
    /// Write one file a piece into this new folder instead of printing
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print the pieces as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

/// What can be configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Server {
    /// FreeSWITCH 1.10
    Freeswitch,
    /// Kamailio 5.6
    Kamailio,
    /// Asterisk 18, chan_pjsip
    Asterisk,
    /// OpenSIPS 3.2
    Opensips,
    /// unbound 1.17
    Unbound,
    /// BIND 9.18
    Bind,
}

/// How a SIP server uses an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AgentWay {
    /// As its name server
    Dns,
    /// By HTTP
    Http,
    /// By following its redirects
    Redirect,
}

/// Which of a server's ways to find members is wanted.
#[derive(Debug, Clone, Copy, Default)]
struct Ways {
    members_only: bool,
    agent: Option<AgentWay>,
    policy: bool,
}

/// A text that goes to one place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    /// The name of its file under `--output`.
    file: &'static str,
    /// Where it belongs.
    place: &'static str,
    /// What begins a comment there, and what ends it.
    comment: (&'static str, &'static str),
    text: String,
}

impl Configure {
    pub(super) fn run(self) -> Result<(), Failure> {
        let facts = self.facts()?;
        let pieces = piece::pieces(self.server, self.ways(), &facts)?;
        if let Some(folder) = &self.output {
            fs::create_dir(folder).map_err(|error| format!("cannot make the folder {}: {error}", folder.display()))?;
            for piece in &pieces {
                fs::write(folder.join(piece.file), format!("{}{}", heading(piece), piece.text))?;
            }
        }
        if self.json {
            let shown: Vec<_> = pieces
                .iter()
                .map(|piece| json!({ "file": piece.file, "place": piece.place, "text": piece.text }))
                .collect();
            return output::json(&json!({ "pieces": shown }));
        }
        let mut out = io::stdout().lock();
        for (index, piece) in pieces.iter().enumerate() {
            if let Some(folder) = &self.output {
                writeln!(out, "{}: {}", folder.join(piece.file).display(), piece.place)?;
            } else {
                let gap = if index == 0 { "" } else { "\n" };
                write!(out, "{gap}{}{}", heading(piece), piece.text)?;
            }
        }
        Ok(())
    }

    fn ways(&self) -> Ways {
        let usual = if self.server == Server::Freeswitch { AgentWay::Http } else { AgentWay::Dns };
        let agent = self.agent.map(|way| way.unwrap_or(usual));
        Ways { members_only: self.members_only, agent, policy: self.policy }
    }

    fn facts(&self) -> Result<Facts, Failure> {
        let is_resolver = matches!(self.server, Server::Unbound | Server::Bind);
        let domain = match (&self.domain, is_resolver) {
            (Some(domain), _) => Some(domain.clone()),
            (None, true) => None,
            (None, false) => return Err("a SIP server needs its domain: --domain example.org".into()),
        };
        let needs = facts::Needs { address: !is_resolver, directory: is_resolver };
        facts::gather(domain, self.address, self.directory, &self.zones, needs, &self.api)
    }
}

/// The line that says where a piece belongs.
fn heading(piece: &Piece) -> String {
    let (begin, end) = piece.comment;
    format!("{begin} ==== {}{end}\n", piece.place)
}
