//! Lists in pages: `?limit=` and `?cursor=`, the `Link` header (API-40 to API-42; RFC 8288).
//!
//! A cursor names the last entry that was shown, by its sort key, so that changes in between neither repeat nor lose
//! another entry. It carries a digest: one that was cut or mistyped is refused, not misread.

use axum::http::Uri;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::problem::{Kind, Problem};
use crate::request::query;

/// Entries in a page when nothing is said (API-40).
const DEFAULT_LIMIT: usize = 50;
/// Most entries in a page (API-40).
const MAX_LIMIT: usize = 200;
/// Octets of the digest in a cursor: enough to tell accidents.
const DIGEST_LEN: usize = 6;

/// Which entries of a list are wanted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// The path of the list: cursors of one list do not fit another.
    list: &'static str,
    /// Most entries to show.
    pub(crate) limit: usize,
    /// The sort key of the last entry shown before; `None` for the first page.
    pub(crate) after: Option<String>,
    /// The name of the parameter that chooses entries, where the list has one.
    parameter: Option<&'static str>,
    /// What it says.
    pub(crate) filter: Option<String>,
}

impl Page {
    /// Checks the query of the list at `list`.
    ///
    /// # Errors
    ///
    /// 400 for an unknown parameter, for a limit out of range and for a cursor that this list did not give (API-42).
    pub(crate) fn new(list: &'static str, uri: &Uri) -> Result<Self, Problem> {
        Self::filtered(list, uri, None)
    }

    /// [`new`](Self::new) of a list from which the parameter `parameter` chooses; what it may say is the caller's to check.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub(crate) fn filtered(list: &'static str, uri: &Uri, parameter: Option<&'static str>) -> Result<Self, Problem> {
        let known: Vec<&str> = ["limit", "cursor"].into_iter().chain(parameter).collect();
        let query = query(uri, &known)?;
        let limit = query.find("limit").map_or(Some(DEFAULT_LIMIT), |text| text.parse().ok());
        let limit = limit.filter(|limit| (1..=MAX_LIMIT).contains(limit)).ok_or_else(|| {
            Problem::new(Kind::Malformed, format!("limit must be a whole number from 1 to {MAX_LIMIT}."))
        })?;
        let after = match query.find("cursor") {
            None => None,
            Some(cursor) => Some(decode(list, cursor).ok_or_else(|| {
                Problem::new(Kind::Malformed, "The cursor is not one that this list gave: begin again without it.")
            })?),
        };
        let filter = parameter.and_then(|name| query.find(name)).map(str::to_owned);
        Ok(Self { list, limit, after, parameter, filter })
    }

    /// The `Link` field (RFC 8288 3, API-41): `first` always, `next` behind the entry with sort key `last` unless the list ends there.
    pub(crate) fn link(&self, origin: &str, last: Option<&str>) -> String {
        let Self { list, limit, .. } = self;
        // The caller has checked it: a word, which needs no escape.
        let chosen = self.parameter.zip(self.filter.as_ref()).map(|(name, word)| format!("&{name}={word}"));
        let chosen = chosen.unwrap_or_default();
        let mut link = format!("<{origin}{list}?limit={limit}{chosen}>; rel=\"first\"");
        if let Some(last) = last {
            let cursor = encode(list, last);
            link.push_str(&format!(", <{origin}{list}?limit={limit}{chosen}&cursor={cursor}>; rel=\"next\""));
        }
        link
    }

    /// Cuts sorted `entries`, of which one more than [`limit`](Self::limit) may be there, to this page. Gives the
    /// sort key to go on from, if there is more.
    pub(crate) fn cut<T>(&self, entries: &mut Vec<T>, key: impl Fn(&T) -> String) -> Option<String> {
        if entries.len() <= self.limit {
            return None;
        }
        entries.truncate(self.limit);
        entries.last().map(key)
    }
}

fn digest(list: &str, key: &str) -> [u8; DIGEST_LEN] {
    let hash = Sha256::new().chain_update(list).chain_update([0]).chain_update(key).finalize();
    let mut digest = [0; DIGEST_LEN];
    digest.copy_from_slice(&hash[..DIGEST_LEN]);
    digest
}

fn encode(list: &str, key: &str) -> String {
    let mut octets = digest(list, key).to_vec();
    octets.extend_from_slice(key.as_bytes());
    URL_SAFE_NO_PAD.encode(octets)
}

fn decode(list: &str, cursor: &str) -> Option<String> {
    let octets = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (found, key) = octets.split_at_checked(DIGEST_LEN)?;
    let key = String::from_utf8(key.to_vec()).ok()?;
    (found == digest(list, &key)).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_t22_a_cursor_changed_by_one_character() {
        let cursor = encode("/v1/nodes", "debug.ostn.test");
        assert_eq!(decode("/v1/nodes", &cursor).as_deref(), Some("debug.ostn.test"));
        assert_eq!(decode("/v1/tokens", &cursor), None, "another list");
        for at in 0..cursor.len() {
            for other in ["A", "B", "-", "="] {
                let mut changed = cursor.clone();
                changed.replace_range(at..=at, other);
                assert!(changed == cursor || decode("/v1/nodes", &changed).is_none(), "{changed}");
            }
            assert_eq!(decode("/v1/nodes", &cursor[..at]), None);
        }
    }

    #[test]
    fn pages() {
        let page = |query: &str| Page::new("/x", &format!("/x?{query}").parse().unwrap());
        for query in ["limit=0", "limit=201", "limit=-1", "limit=", "limit=1.5", "limit=1&limit=1", "cursor=x"] {
            assert_eq!(page(query).unwrap_err().kind(), Kind::Malformed, "{query}");
        }
        let page = page("limit=2").unwrap();
        let mut entries = vec!["a", "b", "c"];
        let next = page.cut(&mut entries, |entry| (*entry).into());
        assert_eq!((entries.as_slice(), next.as_deref()), (&["a", "b"][..], Some("b")));
        let link = page.link("http://h", next.as_deref());
        let (_, next) = link.split_once(", <").unwrap();
        assert!(link.starts_with("<http://h/x?limit=2>; rel=\"first\"") && next.ends_with(">; rel=\"next\""), "{link}");
        assert_eq!(page.cut(&mut entries, |entry| (*entry).into()), None, "the end");
    }
}
