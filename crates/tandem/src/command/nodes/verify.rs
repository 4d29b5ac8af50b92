//! `tandem nodes verify`: checks what a node's key has signed, without believing the directory.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::{Value, json};
use tandem_identity::{SignedDocument, Thumbprint};
use tandem_model::DomainName;

use super::super::client::{self, ApiArgs, Client};
use super::super::{Failure, output};

/// Check the document that a node has signed: signature, domain, time, and with --key the key
///
/// The directory keeps and shows the signed octets, but cannot make them. The key's thumbprint must come from elsewhere:
/// from the node's operator, or from the TXT record "tandem-key=…" at _tandem.DOMAIN.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tandem nodes verify debug.ostn.test
  tandem nodes verify example.org \\
      --key kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k
  tandem nodes verify example.org --file example.org.jws")]
pub(super) struct Verify {
    /// The node's SIP domain
    #[arg(value_parser = client::parse_step)]
    domain: String,
    /// Thumbprint of the key that must have signed it (RFC 7638)
    #[arg(long, value_name = "THUMBPRINT", allow_hyphen_values = true)]
    key: Option<Thumbprint>,
    /// Check the signed document in this file, and ask nobody
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print what was signed as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

impl Verify {
    pub(super) fn run(self) -> Result<(), Failure> {
        let text = match &self.file {
            Some(file) => std::fs::read(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))?,
            None => {
                let path = format!("{}/document", super::path(&self.domain));
                let text = Client::open_for(&self.api, &self.domain)?.get_optional(&path, "application/jose+json")?;
                text.ok_or("there is no such node, or it has no signed document")?.into_bytes()
            }
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let read = SignedDocument::verify(&text)?;
        read.check_domain(&DomainName::parse(self.domain.trim())?)?;
        read.check_time(now)?;
        if let Some(key) = self.key {
            read.check_key(key)?;
        }
        let document = read.document();
        if self.json {
            return output::json(&json!({
                "domain": document.domain.to_string(),
                "key": read.key().thumbprint().to_string(),
                "key_compared": self.key.is_some(),
                "serial": document.serial,
                "issued": document.issued,
                "expires": document.expires,
                "next_key": document.next_key.as_ref().map(ToString::to_string),
                "document": serde_json::from_str::<Value>(&document.document.to_string())?,
            }));
        }
        let line = |name: &str, value: &dyn std::fmt::Display| output::line(format_args!("{name:10}{value}"));
        line("domain", &document.domain)?;
        line("signed by", &read.key().thumbprint())?;
        line("key", &if self.key.is_some() { "as expected" } else { "not compared: give it with --key" })?;
        line("serial", &document.serial)?;
        line("holds for", &format_args!("{} more days", (document.expires - now) / 86_400))?;
        document.next_key.iter().try_for_each(|next| line("next key", next))?;
        Ok(line("document", &document.document)?)
    }
}
