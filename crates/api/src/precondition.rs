//! Conditional requests: entity tags, `If-Match`, `If-None-Match` (RFC 9110 8.8.3, 13.1, 13.2; API-10 to API-18).
//!
//! An entity tag is a registration's revision in quotes. We send no `Last-Modified`, so `If-Unmodified-Since` and
//! `If-Modified-Since` are ignored, as RFC 9110 13.1.3 and 13.1.4 have it for resources without a date.

use axum::http::{HeaderMap, HeaderName, header};
use tandem_store::Precondition;

use crate::problem::{Kind, Problem};

/// The strong entity tag of a revision: `"5"`.
pub(crate) fn etag(revision: u64) -> String {
    format!("\"{revision}\"")
}

/// What a request demands of the state before it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Conditions {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

/// `*`, or a list of tags: the revisions among them that could match.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    Any,
    Revisions(Vec<u64>),
}

/// How the conditions stand to a state (RFC 9110 13.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Go on.
    True,
    /// `If-Match` is false: 412.
    MatchFalse,
    /// `If-None-Match` is false: 304 for GET and HEAD, 412 for the rest.
    NoneMatchFalse,
}

impl Conditions {
    /// Reads the two header fields.
    ///
    /// # Errors
    ///
    /// 400 when one is no `*` and no list of entity tags.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        Ok(Self {
            // API-11: If-Match compares strongly, so a weak tag there matches nothing.
            if_match: field(headers, &header::IF_MATCH, false)?,
            if_none_match: field(headers, &header::IF_NONE_MATCH, true)?,
        })
    }

    /// Whether any was sent.
    pub(crate) const fn is_empty(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }

    /// Whether `If-Match` was sent.
    pub(crate) const fn has_if_match(&self) -> bool {
        self.if_match.is_some()
    }

    /// Compares with the revision that is there now, if any; API-16 gives the order.
    pub(crate) fn evaluate(&self, current: Option<u64>) -> Outcome {
        let matches = |tags: &Tags| match (tags, current) {
            (_, None) => false,
            (Tags::Any, Some(_)) => true,
            (Tags::Revisions(list), Some(revision)) => list.contains(&revision),
        };
        if self.if_match.as_ref().is_some_and(|tags| !matches(tags)) {
            return Outcome::MatchFalse;
        }
        if self.if_none_match.as_ref().is_some_and(matches) {
            return Outcome::NoneMatchFalse;
        }
        Outcome::True
    }

    /// The same as the store checks it together with the change; `current` is what [`evaluate`](Self::evaluate) saw.
    pub(crate) fn into_precondition(self, current: Option<u64>) -> Precondition {
        match (self.if_match, self.if_none_match) {
            (None, None) => Precondition::None,
            (Some(Tags::Any), None) => Precondition::Exists,
            (Some(Tags::Revisions(list)), None) => Precondition::Revision(list),
            (None, Some(Tags::Any)) => Precondition::Absent,
            (None, Some(Tags::Revisions(list))) => Precondition::NotRevision(list),
            // Both held for what was there a moment ago; it must still be that.
            (Some(_), Some(_)) => Precondition::Revision(current.into_iter().collect()),
        }
    }
}

fn field(headers: &HeaderMap, name: &HeaderName, weak_matches: bool) -> Result<Option<Tags>, Problem> {
    let mut tags: Option<Tags> = None;
    for value in headers.get_all(name) {
        let malformed = || {
            Problem::new(
                Kind::Malformed,
                format!(
                    "{name} must be `*` or entity tags in double quotes: `\"5\"`, as the member `etag` gives them."
                ),
            )
        };
        let found = tag_list(value.as_bytes(), weak_matches).ok_or_else(malformed)?;
        tags = Some(match (tags, found) {
            (None, found) => found,
            (Some(Tags::Revisions(mut all)), Tags::Revisions(more)) => {
                all.extend(more);
                Tags::Revisions(all)
            }
            // `*` stands alone (RFC 9110 13.1.1).
            (Some(Tags::Any), _) | (Some(_), Tags::Any) => return Err(malformed()),
        });
    }
    Ok(tags)
}

/// `*` or `1#entity-tag`; `None` when it is neither (RFC 9110 8.8.3, 5.6.1.2).
fn tag_list(text: &[u8], weak_matches: bool) -> Option<Tags> {
    let mut rest = text.trim_ascii();
    if rest == b"*" {
        return Some(Tags::Any);
    }
    let mut revisions = Vec::new();
    let mut any = false;
    loop {
        rest = rest.trim_ascii_start();
        if let Some(after) = rest.strip_prefix(b",") {
            rest = after;
            continue;
        }
        if rest.is_empty() {
            return any.then_some(Tags::Revisions(revisions));
        }
        let (weak, after) = rest.strip_prefix(b"W/").map_or((false, rest), |after| (true, after));
        let quoted = after.strip_prefix(b"\"")?;
        let end = quoted.iter().position(|&octet| octet == b'"')?;
        let (tag, after) = (&quoted[..end], &quoted[end + 1..]);
        if tag.iter().any(|&octet| octet <= 0x20 || octet == 0x7f) {
            return None;
        }
        any = true;
        if !weak || weak_matches {
            revisions.extend(revision(tag));
        }
        rest = after.trim_ascii_start();
        if !rest.is_empty() && !rest.starts_with(b",") {
            return None;
        }
    }
}

/// The revision that `tag` is the tag of; tags compare as octets, so `"07"` is none.
fn revision(tag: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(tag).ok()?;
    let revision: u64 = text.parse().ok()?;
    (revision.to_string() == text).then_some(revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(fields: &[(&'static str, &str)]) -> Result<Conditions, Problem> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        Conditions::read(&headers)
    }

    #[test]
    fn outcomes() {
        use Outcome::{MatchFalse, NoneMatchFalse, True};
        for (id, fields, current, outcome) in [
            ("none", &[][..], Some(5), True),
            ("API-T01", &[("if-match", "\"5\"")], Some(5), True),
            ("API-T02", &[("if-match", "\"4\"")], Some(5), MatchFalse),
            ("API-T03", &[("if-match", "W/\"5\"")], Some(5), MatchFalse),
            ("list", &[("if-match", "\"1\" ,, W/\"5\", \"5\"")], Some(5), True),
            ("two fields", &[("if-match", "\"1\""), ("if-match", "\"5\"")], Some(5), True),
            ("other tag", &[("if-match", "\"a,b\"")], Some(5), MatchFalse),
            ("not the octets", &[("if-match", "\"05\", \"+5\"")], Some(5), MatchFalse),
            ("API-13", &[("if-match", "*")], None, MatchFalse),
            ("API-13 there", &[("if-match", "*")], Some(5), True),
            ("API-13 tag", &[("if-match", "\"5\"")], None, MatchFalse),
            ("API-T05", &[("if-none-match", "*")], None, True),
            ("API-T05 again", &[("if-none-match", "*")], Some(5), NoneMatchFalse),
            ("API-T07", &[("if-none-match", "\"a\", W/\"5\"")], Some(5), NoneMatchFalse),
            ("API-T07 other", &[("if-none-match", "\"a\", W/\"6\"")], Some(5), True),
            ("API-16", &[("if-match", "\"4\""), ("if-none-match", "\"5\"")], Some(5), MatchFalse),
            ("API-16 second", &[("if-match", "\"5\""), ("if-none-match", "\"5\"")], Some(5), NoneMatchFalse),
        ] {
            assert_eq!(conditions(fields).unwrap().evaluate(current), outcome, "{id}");
        }
    }

    #[test]
    fn malformed() {
        for value in ["5", "", ",", "\"5", "\"5\" \"6\"", "w/\"5\"", "*, \"5\"", "\"a b\"", "W/5"] {
            assert_eq!(conditions(&[("if-match", value)]).unwrap_err().kind(), Kind::Malformed, "{value:?}");
        }
        let fields = [("if-none-match", "*"), ("if-none-match", "\"5\"")];
        assert_eq!(conditions(&fields).unwrap_err().kind(), Kind::Malformed);
    }

    #[test]
    fn preconditions() {
        for (fields, precondition) in [
            (&[][..], Precondition::None),
            (&[("if-match", "*")], Precondition::Exists),
            (&[("if-match", "\"5\", \"7\"")], Precondition::Revision(vec![5, 7])),
            (&[("if-none-match", "*")], Precondition::Absent),
            (&[("if-none-match", "W/\"5\"")], Precondition::NotRevision(vec![5])),
            (&[("if-match", "*"), ("if-none-match", "\"4\"")], Precondition::Revision(vec![9])),
        ] {
            assert_eq!(conditions(fields).unwrap().into_precondition(Some(9)), precondition, "{fields:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_field(text in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40), weak: bool) {
            if let Some(Tags::Revisions(list)) = tag_list(&text, weak) {
                let quotes = text.iter().filter(|octet| **octet == b'"').count();
                proptest::prop_assert!(quotes >= 2 && list.len() <= quotes / 2);
            }
        }
    }
}
