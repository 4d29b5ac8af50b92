//! Which signed document to send: the one that the directory has if it says the same, else a new one.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tandem_identity::{CanonicalJson, NodeKey, SignedDocument, Thumbprint};
use tandem_model::DomainName;

use super::super::client::{ApiArgs, Client, segment};
use super::super::{Failure, node_key};

/// How long a document holds, in seconds: 90 days. Publishing again after half of it signs anew.
const VALIDITY: u64 = 90 * 86_400;

/// With which key a document is signed.
#[derive(Debug, clap::Args)]
pub(super) struct Signing {
    /// The node's key, which signs the document; made if there is none [default: node.key beside --token-file, or the key
    /// with which `tandem register` got the token; without either nothing is signed]
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

/// What a document must say.
struct Wanted {
    domain: DomainName,
    document: CanonicalJson,
    next_key: Option<Thumbprint>,
    /// Milliseconds since 1970.
    now: u64,
}

impl Wanted {
    /// The document that is `there` if it will do: the directory then sees that nothing has changed. Else a new one.
    fn text(self, there: Option<String>, key: &NodeKey) -> Result<String, Failure> {
        let issued = self.now / 1000;
        let read = there.as_ref().and_then(|text| SignedDocument::verify(text.as_bytes()).ok());
        let mut last = None;
        if let (Some(text), Some(read)) = (there, read) {
            let known = read.document();
            let is_same = read.key() == key.public_key()
                && known.domain == self.domain
                && known.document == self.document
                && known.next_key == self.next_key;
            if is_same && read.check_time(issued).is_ok() && known.expires - issued > VALIDITY / 2 {
                return Ok(text);
            }
            last = Some(known.serial);
        }
        let document = SignedDocument {
            domain: self.domain,
            // Grows by itself, without anything to remember; above the last one even where a clock went back.
            serial: self.now.max(last.map_or(0, |last| last.saturating_add(1))),
            issued,
            expires: issued + VALIDITY,
            document: self.document,
            next_key: self.next_key,
        };
        Ok(document.sign(key)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_790_000_000_000;

    fn wanted(document: &str, now: u64, next_key: Option<Thumbprint>) -> Wanted {
        let document = CanonicalJson::parse_object(document.as_bytes()).unwrap();
        Wanted { domain: DomainName::parse("a.test").unwrap(), document, next_key, now }
    }

    #[test]
    fn the_same_again_is_not_signed_anew() {
        let (key, other) = (NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
        let next = Some(other.public_key().thumbprint());
        let first = wanted(r#"{"a":1}"#, NOW, None).text(None, &key).unwrap();
        let half = VALIDITY * 500;
        for (id, document, now, next_key, key, is_new) in [
            ("the same", r#"{ "a": 1 }"#, NOW + 1000, None, &key, false),
            ("nearly half over", r#"{"a":1}"#, NOW + half - 1000, None, &key, false),
            ("half over", r#"{"a":1}"#, NOW + half, None, &key, true),
            ("expired", r#"{"a":1}"#, NOW + 3 * half, None, &key, true),
            ("another document", r#"{"a":2}"#, NOW + 1000, None, &key, true),
            ("a successor", r#"{"a":1}"#, NOW + 1000, next, &key, true),
            ("another key", r#"{"a":1}"#, NOW + 1000, None, &other, true),
            ("the clock went back", r#"{"a":2}"#, NOW - 1000, None, &key, true),
        ] {
            let again = wanted(document, now, next_key).text(Some(first.clone()), key).unwrap();
            assert_eq!(again != first, is_new, "{id}");
            let read = SignedDocument::verify(again.as_bytes()).unwrap();
            assert!(!is_new || read.document().serial > NOW, "{id}: the serial grows");
            assert_eq!(read.key(), key.public_key(), "{id}");
        }
        // What somebody else has put there does not count, nor stop us.
        assert!(wanted(r#"{"a":1}"#, NOW, None).text(Some("garbage".into()), &key).is_ok());
    }
}
