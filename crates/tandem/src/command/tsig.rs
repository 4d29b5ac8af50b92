//! `tandem tsig`: keys that we share with secondaries, and the lines by which both sides know them.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Parser, Subcommand};
use serde_json::json;
use tandem_dns::TsigAlgorithm;
use tandem_model::DomainName;

use super::{Failure, output};

/// Make a key for a secondary (TSIG), with the lines for both sides
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLES)]
pub(super) struct Tsig {
    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "\
Examples:
  tandem tsig new ns2-key
  tandem tsig new ns2-key --algorithm hmac-sha512";

#[derive(Debug, Subcommand)]
enum Action {
    New(New),
}

/// Make a key: the secret goes to a file of mode 0600, the lines to standard output
///
/// The lines for BIND, NSD and Knot hold the secret: hand them over in confidence.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem tsig new ns2-key
  tandem tsig new ns2-key --secret-file /etc/tandem/ns2-key.secret
  tandem tsig new ns2-key --json | jq -r .secret")]
struct New {
    /// The key's name, the same on both sides: one for each secondary is best
    #[arg(value_name = "NAME")]
    name: DomainName,
    /// hmac-sha256, hmac-sha384 or hmac-sha512; hmac-sha1 only for servers that have no other
    #[arg(long, value_name = "ALGORITHM", default_value = "hmac-sha256", value_parser = parse_algorithm)]
    algorithm: TsigAlgorithm,
    /// Where the secret is written; the file must not exist yet [default: NAME.secret]
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Print the key as JSON
    #[arg(long)]
    json: bool,
}

impl Tsig {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::New(new) => new.run(),
        }
    }
}

impl New {
    fn run(self) -> Result<(), Failure> {
        let Self { name, algorithm, secret_file, json } = self;
        // RFC 8945 8: a secret as long as the hash.
        let mut octets = vec![0; algorithm.mac_len()];
        getrandom::fill(&mut octets).map_err(|error| format!("the system gives no random numbers: {error}"))?;
        let secret = STANDARD.encode(octets);
        let file = secret_file.unwrap_or_else(|| format!("{name}.secret").into());
        write_secret(&file, &secret).map_err(|source| NotWritten { file: file.clone(), source })?;
        let algorithm = algorithm.name();
        if json {
            return output::json(
                &json!({ "name": name.to_string(), "algorithm": algorithm, "secret": secret, "secret_file": file }),
            );
        }
        Ok(output::line(snippets(&name, algorithm, &secret, &file).trim_end())?)
    }
}

fn snippets(name: &DomainName, algorithm: &str, secret: &str, file: &Path) -> String {
    // TOML's basic strings take what JSON's do.
    let file = serde_json::Value::from(file.to_string_lossy()).to_string();
    format!(
        "\
# tandem.toml: the key, who may transfer with it, and whom to tell of changes.
[[dns.tsig]]
name = \"{name}\"
algorithm = \"{algorithm}\"
secret_file = {file}

[[dns.transfer]]
zone = \"*\"
keys = [\"{name}\"]

[[dns.secondary]]
address = \"ADDRESS OF THE SECONDARY\"
key = \"{name}\"

# BIND, named.conf
key \"{name}\" {{
    algorithm {algorithm};
    secret \"{secret}\";
}};

# NSD, nsd.conf
key:
    name: \"{name}\"
    algorithm: {algorithm}
    secret: \"{secret}\"

# Knot, knot.conf
key:
  - id: {name}
    algorithm: {algorithm}
    secret: {secret}
"
    )
}

/// Writes a new file that its owner alone can read; one that exists is not touched: a secondary may rely on it.
fn write_secret(file: &Path, secret: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    writeln!(file, "{secret}")?;
    file.sync_all()
}

fn parse_algorithm(text: &str) -> Result<TsigAlgorithm, String> {
    let names = TsigAlgorithm::ALL.map(TsigAlgorithm::name).join(", ");
    TsigAlgorithm::from_name(text).ok_or_else(|| format!("write one of {names}"))
}

/// The secret's file was not made.
#[derive(Debug, thiserror::Error)]
#[error("the secret cannot be written to {}: choose a new file with --secret-file", file.display())]
struct NotWritten {
    file: PathBuf,
    #[source]
    source: io::Error,
}
