//! `tandem migrate`: what of a configuration made by hand the directory replaces.

mod gateway;
mod xml;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};
use tandem_model::SipUri;
use tandem_resolver::{Outcome, Resolver};

use self::gateway::{Found, Gateway, Peer};
use super::resolve::Asking;
use super::{Failure, output};

/// Say which parts of a configuration made by hand the directory makes superfluous
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  tandem migrate freeswitch /etc/freeswitch
  tandem migrate freeswitch /etc/freeswitch --json")]
pub(super) struct Migrate {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Freeswitch(Freeswitch),
}

/// Read the gateways of a FreeSWITCH and say which can go; nothing is changed
///
/// A gateway can go when it names a domain that is found by DNS with SIP over TLS, and does not register there. The lines
/// of the dialplan that use it are listed, with what to write instead.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem migrate freeswitch /etc/freeswitch
  tandem migrate freeswitch /etc/freeswitch --server 203.0.113.53
  tandem migrate freeswitch . --json | jq -r '.gateways[]|select(.can_go).name'

Exit status: 0 when the files could be read, whatever was found.")]
struct Freeswitch {
    /// The configuration's folder: the one with sip_profiles
    folder: PathBuf,
    #[command(flatten)]
    asking: Asking,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What becomes of one gateway.
#[derive(Debug)]
struct Verdict {
    can_go: bool,
    /// Why, and what to do.
    text: String,
}

impl Migrate {
    pub(super) fn run(self) -> Result<(), Failure> {
        let What::Freeswitch(freeswitch) = self.what;
        freeswitch.run()
    }
}

impl Freeswitch {
    fn run(self) -> Result<(), Failure> {
        let found = gateway::read(&self.folder)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let resolver = self.asking.resolver()?;
        let verdicts: Vec<Verdict> =
            found.gateways.iter().map(|gateway| runtime.block_on(judge(gateway, &resolver))).collect();
        if self.json { output::json(&to_json(&found, &verdicts)) } else { Ok(tell(&found, &verdicts)?) }
    }
}

/// Whether calls find the gateway's peer without it.
async fn judge(gateway: &Gateway, resolver: &Resolver) -> Verdict {
    let stays = |text: String| Verdict { can_go: false, text };
    let domain = match &gateway.peer {
        Peer::Domain(domain) => domain,
        Peer::Address(address) => {
            return stays(format!("stays: {address} is an address; ask its operator for a domain that is published"));
        }
        Peer::Unclear(text) => return stays(format!("stays: \"{text}\" cannot be read as a domain")),
    };
    if gateway.registers {
        return stays(format!(
            "stays: it registers at {domain} with a password; a member takes calls without, so ask whether you still need it"
        ));
    }
    let uri = match SipUri::parse_typed(&domain.to_string()) {
        Ok(uri) => uri,
        Err(error) => return stays(format!("stays: {error}")),
    };
    match &resolver.locate(&uri).await.outcome {
        Outcome::Found(hops) => {
            let first = hops.first().map(|hop| hop.address.to_string()).unwrap_or_default();
            Verdict { can_go: true, text: format!("can go: {domain} is found by DNS, first at {first} over TLS") }
        }
        Outcome::TryLater(error) => stays(format!("not known: try again later ({})", super::with_sources(error))),
        other => {
            let why = other.error().map(|error| super::with_sources(error)).unwrap_or_default();
            stays(format!("stays: {domain} is not to be found yet ({why}); its operator has to publish it"))
        }
    }
}

fn tell(found: &Found, verdicts: &[Verdict]) -> std::io::Result<()> {
    if found.gateways.is_empty() {
        output::line("There is no gateway here.")?;
    }
    for (gateway, verdict) in found.gateways.iter().zip(verdicts) {
        output::line(format_args!("{}  ({}:{})", gateway.name, gateway.file.display(), gateway.line))?;
        output::line(format_args!("  {}", verdict.text))?;
        for using in &gateway.uses {
            output::line(format_args!("  used in {}:{}: {}", using.file.display(), using.line, using.text))?;
            if let (true, Some(instead)) = (verdict.can_go, &using.instead) {
                output::line(format_args!("    write instead: {instead}"))?;
            }
        }
    }
    for note in &found.notes {
        output::line(format_args!("note: {note}"))?;
    }
    let can_go = verdicts.iter().filter(|verdict| verdict.can_go).count();
    output::line(format_args!("{can_go} of {} gateways can go.", verdicts.len()))
}

fn to_json(found: &Found, verdicts: &[Verdict]) -> Value {
    let uses = |gateway: &Gateway| -> Vec<Value> {
        let each = |using: &gateway::Using| json!({ "file": using.file, "line": using.line, "text": using.text, "instead": using.instead });
        gateway.uses.iter().map(each).collect()
    };
    let gateways: Vec<Value> = found
        .gateways
        .iter()
        .zip(verdicts)
        .map(|(gateway, verdict)| {
            json!({
                "name": gateway.name, "file": gateway.file, "line": gateway.line, "profile": gateway.profile,
                "peer": gateway.peer.to_string(), "registers": gateway.registers,
                "can_go": verdict.can_go, "why": verdict.text, "uses": uses(gateway),
            })
        })
        .collect();
    json!({ "gateways": gateways, "notes": found.notes })
}
