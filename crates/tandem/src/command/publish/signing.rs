//! With which key `tandem publish` signs, if with any.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tandem_agent::node_key;
use tandem_agent::signing::Wanted;
use tandem_identity::{CanonicalJson, NodeKey, Thumbprint};
use tandem_model::DomainName;

use super::super::Failure;
use super::super::client::{ApiArgs, Client, segment};

/// With which key a document is signed.
#[derive(Debug, clap::Args)]
pub(super) struct Signing {
    /// The node's key, which signs the document; made if there is none [default: node.key beside --token-file, or
    /// DOMAIN.key beside the token that `tandem join` or `tandem register` kept; without either nothing is signed]
    #[arg(long, value_name = "FILE", env = "TANDEM_NODE_KEY", conflicts_with = "unsigned")]
    node_key: Option<PathBuf>,
    /// Name the key in this file as the one that may sign from now on too; made if there is none
    #[arg(long, value_name = "FILE", conflicts_with = "unsigned")]
    next_key: Option<PathBuf>,
    /// Do not sign, although there is a token file
    #[arg(long)]
    unsigned: bool,
}

/// What is sent instead of the plain document.
pub(super) struct Signed {
    /// The text of the JWS.
    pub(super) text: String,
    /// The key that signed it.
    pub(super) key: Thumbprint,
    /// The file of a key that was made for this.
    pub(super) made: Vec<PathBuf>,
}

impl Signing {
    /// Signs `document` for `domain`; `None` if nothing is to be signed. A rehearsal makes no file.
    pub(super) fn sign(
        &self,
        client: &Client,
        api: &ApiArgs,
        domain: &str,
        document: &Value,
        dry_run: bool,
    ) -> Result<Option<Signed>, Failure> {
        let beside = || api.token_file().map(node_key::beside).or_else(|| client.kept_key());
        let Some(file) = self.node_key.clone().or_else(beside).filter(|_| !self.unsigned) else {
            return match &self.next_key {
                Some(_) => Err("--next-key needs a key that names it: add --node-key".into()),
                None => Ok(None),
            };
        };
        let mut made = Vec::new();
        let mut key_of = |file: &PathBuf| -> Result<NodeKey, Failure> {
            if dry_run {
                return Ok(match node_key::load(file)? {
                    Some(key) => key,
                    None => NodeKey::generate()?,
                });
            }
            let (key, is_new) = node_key::load_or_make(file)?;
            if is_new {
                made.push(file.clone());
            }
            Ok(key)
        };
        let key = key_of(&file)?;
        let next_key = self.next_key.as_ref().map(&mut key_of).transpose()?;
        let next_key = next_key.map(|next| next.public_key().thumbprint());
        let wanted = Wanted {
            domain: DomainName::parse(domain.trim())?,
            document: CanonicalJson::parse_object(document.to_string().as_bytes())?,
            next_key,
            now: SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis().try_into()?,
        };
        let there = client.get_optional(&format!("/v1/nodes/{}/document", segment(domain)), "application/jose+json")?;
        let text = wanted.text(there, &key)?;
        Ok(Some(Signed { text, key: key.public_key().thumbprint(), made }))
    }
}
