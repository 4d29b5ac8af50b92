//! Which signed document to send: the one that the directory has if it says the same, else a new one.

use tandem_identity::{CanonicalJson, NodeKey, SignError, SignedDocument, Thumbprint};
use tandem_model::DomainName;

/// How long a document holds, in seconds: 90 days. Publishing again after half of it signs anew.
const VALIDITY: u64 = 90 * 86_400;

/// What a document must say.
#[derive(Debug)]
pub struct Wanted {
    /// The node's domain.
    pub domain: DomainName,
    /// The node document.
    pub document: CanonicalJson,
    /// The key that may sign from now on too.
    pub next_key: Option<Thumbprint>,
    /// Milliseconds since 1970.
    pub now: u64,
}

impl Wanted {
    /// The document that is `there` if it will do: the directory then sees that nothing has changed. Else a new one.
    ///
    /// # Errors
    ///
    /// [`SignError`]: a reader would refuse it.
    pub fn text(self, there: Option<String>, key: &NodeKey) -> Result<String, SignError> {
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
        document.sign(key)
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
