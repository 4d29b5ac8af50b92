//! `Idempotency-Key` on POST (API-32 to API-34): the same request again gets the answer of the first time.
//!
//! Kept are answers to requests that had an effect, in the same transaction as that effect. A request that was refused
//! had none and is judged anew. The store never sees an answer: it is sealed with a key made of the caller's own secret
//! and the idempotency key, because it may hold a token's secret, and of those only hashes are kept.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tandem_store::Keep;

use crate::handler::JSON;
use crate::json::Value;
use crate::problem::{Kind, Problem};
use crate::state::Api;

/// The field.
pub(crate) const FIELD: &str = "idempotency-key";
/// Most characters of a key (API-32).
const MAX_KEY: usize = 128;
/// Fewest characters of a key where nothing else tells callers apart: 128 random bits in base64.
const MIN_LONE_KEY: usize = 22;

/// Keys whose requests are being answered.
#[derive(Debug, Default)]
pub(crate) struct Running(Mutex<HashSet<[u8; 32]>>);

/// Who asks: answers are kept for each apart, and only who knows the secret can have one again.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asker<'a> {
    /// The holder of a token, by its id; the secret is the field `Authorization`.
    Token(&'a str),
    /// The holder of an invitation's code.
    Code(&'a str),
    /// Somebody whom only the key itself tells from others.
    Anybody,
}

/// What is to be done with a request.
pub(crate) enum Begun {
    /// It is new, or has no key.
    First(First),
    /// It was answered before: so.
    Again(Response),
}

/// A request that is being answered for the first time.
pub(crate) struct First {
    api: Arc<Api>,
    key: Option<Key>,
}

/// What a key stands for.
#[derive(Clone)]
struct Key {
    lookup: [u8; 32],
    fingerprint: [u8; 32],
    seal: [u8; 32],
}

/// An answer as it is sealed.
#[derive(Serialize, Deserialize)]
struct Kept {
    status: u16,
    location: Option<String>,
    body: serde_json::Value,
}

/// Begins to answer the POST to `path` with this body, or finds its answer.
///
/// # Errors
///
/// 400 for a malformed key, 409 while the same request runs, 422 when the key was used for another request.
pub(crate) async fn begin(
    api: &Arc<Api>,
    headers: &HeaderMap,
    asker: Asker<'_>,
    path: &str,
    body: &Value<'_>,
) -> Result<Begun, Problem> {
    let Some(text) = read(headers)? else { return Ok(Begun::First(First { api: Arc::clone(api), key: None })) };
    let (account, secret) = match asker {
        Asker::Token(id) => (id.as_bytes(), headers.get(header::AUTHORIZATION).map_or(&[][..], HeaderValue::as_bytes)),
        Asker::Code(code) => (code.as_bytes(), code.as_bytes()),
        Asker::Anybody if text.len() < MIN_LONE_KEY => {
            return Err(malformed(&format!("has {MIN_LONE_KEY} characters or more here, and is random")));
        }
        Asker::Anybody => (&[][..], text.as_bytes()),
    };
    let key = Key {
        // API-32: account, method and path.
        lookup: digest(&[b"tandem kept answer", account, b"POST", path.as_bytes(), text.as_bytes()]),
        fingerprint: fingerprint(body),
        seal: digest(&[b"tandem seal of an answer", secret, text.as_bytes()]),
    };
    if !api.running.set().insert(key.lookup) {
        return Err(Problem::new(
            Kind::RequestInProgress,
            "The first request with this Idempotency-Key is still being answered: send it again in a moment.",
        ));
    }
    // From here on the drop of `first` takes the key out again.
    let first = First { api: Arc::clone(api), key: Some(key) };
    Ok(match first.find().await? {
        Some(answer) => Begun::Again(answer),
        None => Begun::First(first),
    })
}

/// Refuses a malformed key where no answers are kept, because what is done twice there is as if done once.
///
/// # Errors
///
/// 400.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), Problem> {
    read(headers).map(drop)
}

impl First {
    /// How the store keeps the answer that `answer` makes of what it made: status, `Location`, body.
    pub(crate) fn keep<T, B: Serialize>(
        &self,
        status: StatusCode,
        answer: impl FnOnce(&T) -> (Option<String>, B) + Send + 'static,
    ) -> Option<Keep<T>> {
        let key = self.key.clone()?;
        let seal = move |made: &T| {
            let (location, body) = answer(made);
            // What cannot be sealed is not kept: a repetition is told so.
            serde_json::to_value(body)
                .ok()
                .and_then(|body| serde_json::to_vec(&Kept { status: status.as_u16(), location, body }).ok())
                .and_then(|text| seal(&key.seal, text))
                .unwrap_or_default()
        };
        Some(Keep { lookup: key.lookup, fingerprint: key.fingerprint, seal: Box::new(seal) })
    }

    /// The answer that is kept, if there is one.
    ///
    /// # Errors
    ///
    /// 422 when it is another request's.
    pub(crate) async fn find(&self) -> Result<Option<Response>, Problem> {
        let Some(key) = &self.key else { return Ok(None) };
        let Some(kept) = self.api.directory.kept_answer(key.lookup).await? else { return Ok(None) };
        if kept.fingerprint != key.fingerprint {
            return Err(Problem::new(
                Kind::KeyReused,
                "This Idempotency-Key was used for another request: take a new key for each.",
            ));
        }
        let text = open(&key.seal, &kept.sealed).ok_or_else(|| {
            Problem::new(
                Kind::KeyReused,
                "This request was made before, with another secret of the token: its answer cannot be shown again.",
            )
        })?;
        let Kept { status, location, body } = serde_json::from_slice(&text).map_err(Problem::internal)?;
        let status = StatusCode::from_u16(status).map_err(Problem::internal)?;
        let mut response = (status, body.to_string()).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
        if let Some(location) = location {
            let location = HeaderValue::from_str(&location).map_err(Problem::internal)?;
            response.headers_mut().insert(header::LOCATION, location);
        }
        Ok(Some(response))
    }
}

impl Drop for First {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            self.api.running.set().remove(&key.lookup);
        }
    }
}

impl Running {
    fn set(&self) -> std::sync::MutexGuard<'_, HashSet<[u8; 32]>> {
        // At most one entry a request in progress, so no more than there are connections.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the field: a string of structured fields (RFC 8941 3.3.3), 1 to 128 characters.
fn read(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut fields = headers.get_all(FIELD).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    if fields.next().is_some() {
        return Err(malformed("is sent once"));
    }
    let text = field.to_str().ok().and_then(|text| text.trim_matches(' ').strip_prefix('"')?.strip_suffix('"'));
    let key = text.and_then(unescape).ok_or_else(|| malformed("is a string in double quotes"))?;
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(malformed("has 1 to 128 characters"));
    }
    Ok(Some(key))
}

fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.push(characters.next().filter(|next| matches!(next, '"' | '\\'))?),
            '"' => return None,
            ' '..='~' => plain.push(character),
            _ => return None,
        }
    }
    Some(plain)
}

fn malformed(rule: &str) -> Problem {
    let example = "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"";
    Problem::new(Kind::Malformed, format!("Idempotency-Key {rule}, such as {example}."))
}

/// SHA-256 over the parts, each with its length before it.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// SHA-256 over the body's canonical form: the order of members and white space do not count (API-34).
fn fingerprint(body: &Value<'_>) -> [u8; 32] {
    digest(&[canonical(body).to_string().as_bytes()])
}

/// The body with its members in order.
fn canonical(body: &Value<'_>) -> serde_json::Value {
    match body {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Whole(value) => (*value).into(),
        Value::Other(value) => serde_json::Value::Number(value.clone()),
        Value::Text(text) => (**text).into(),
        Value::List(items) => items.iter().map(canonical).collect(),
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
            sorted.into_iter().map(|(name, value)| (name.clone(), canonical(value))).collect()
        }
    }
}

/// The text under a random nonce, which stands before it.
fn seal(key: &[u8; 32], mut text: Vec<u8>) -> Option<Vec<u8>> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).ok()?;
    let nonce = key.seal_in_place_append_tag(Aad::empty(), &mut text).ok()?;
    Some([&nonce.as_ref()[..], &text].concat())
}

fn open(key: &[u8; 32], sealed: &[u8]) -> Option<Vec<u8>> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).ok()?;
    let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut text = text.to_vec();
    let len = key.open_in_place(nonce, Aad::empty(), &mut text).ok()?.len();
    text.truncate(len);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_t14_keys() {
        for (field, key) in [
            ("\"8e03978e-40d5-43dd-bc93-6894a57f9324\"", Some("8e03978e-40d5-43dd-bc93-6894a57f9324")),
            (r#""a \"b\" \\c""#, Some(r#"a "b" \c"#)),
            (" \"a\" ", Some("a")),
            ("a", None),
            ("", None),
            ("\"", None),
            ("\"\"", None),
            ("\"a", None),
            ("\"a\"b\"", None),
            (r#""a\x""#, None),
            (r#""a\""#, None),
            ("\"a\";b=1", None),
            (&format!("\"{}\"", "a".repeat(129)), None),
            ("\"\u{e9}\"", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(FIELD, HeaderValue::from_bytes(field.as_bytes()).unwrap());
            match key {
                Some(key) => assert_eq!(read(&headers).unwrap().as_deref(), Some(key), "{field}"),
                None => assert_eq!(read(&headers).unwrap_err().kind(), Kind::Malformed, "{field}"),
            }
        }
        let mut twice = HeaderMap::new();
        twice.append(FIELD, HeaderValue::from_static("\"a\""));
        twice.append(FIELD, HeaderValue::from_static("\"a\""));
        assert!(read(&twice).is_err());
        assert!(read(&HeaderMap::new()).unwrap().is_none());
    }

    #[test]
    fn api_34_the_fingerprint_is_of_what_is_said() {
        let of = |text: &str| fingerprint(&crate::json::parse(text.as_bytes()).unwrap());
        assert_eq!(of(r#"{"a":1,"b":[{"c":1,"d":2}]}"#), of(r#" { "b" : [{"d":2,"c":1}], "a" : 1 } "#));
        for other in [r#"{"a":2,"b":[]}"#, r#"{"a":1,"b":[2,1]}"#, r#"{"a":"1","b":[1,2]}"#, r#"{"a":1}"#] {
            assert_ne!(of(other), of(r#"{"a":1,"b":[1,2]}"#), "{other}");
        }
    }

    #[test]
    fn sealed_answers_open_with_their_key_only() {
        let sealed = seal(&[1; 32], b"secret".to_vec()).unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        assert_ne!(sealed, seal(&[1; 32], b"secret".to_vec()).unwrap(), "a nonce is used once");
        assert_eq!(open(&[1; 32], &sealed).unwrap(), b"secret");
        assert_eq!(open(&[2; 32], &sealed), None);
        let mut changed = sealed;
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(open(&[1; 32], &changed), None);
        assert_eq!(open(&[1; 32], &[]), None);
    }
}
