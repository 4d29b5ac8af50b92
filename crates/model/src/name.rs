//! Domain names as Tandem accepts them: canonical once, compared as octets afterwards.
//!
//! [`DomainName`] is the only way a name enters `model`. It is held in wire form (RFC 1035 3.1), lower case,
//! so that a map can hash it, the zone can pack it and nobody has to fold case again. Start at
//! [`DomainName::parse`].

use std::fmt;
use std::str::FromStr;

/// Most octets of a name in wire form, the root's length octet included (RFC 1035 3.1).
pub const MAX_WIRE_LEN: usize = 255;
/// Most octets of one label (RFC 1035 3.1).
pub const MAX_LABEL_LEN: usize = 63;

/// An absolute domain name below the root, in lower case: `debug.ostel.me`, `_sips._tcp.debug.ostel.me`.
///
/// Every label is made of letters, digits, hyphens and underscores (RFC 2782 and RFC 8552 use the underscore);
/// never a wildcard, never the root. [`is_host`](Self::is_host) tells names a machine may have.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DomainName(Box<[u8]>);

impl DomainName {
    /// Reads a name as a person writes it, without a trailing dot: `Debug.Ostel.ME`, `bücher.example`.
    ///
    /// Upper case becomes lower case and U-labels become A-labels (RFC 5891, by UTS 46).
    ///
    /// # Errors
    ///
    /// [`InvalidName`] says which rule the text breaks; the caller shows it to whoever wrote the name.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        if text.is_empty() {
            return Err(InvalidName::Empty);
        }
        if text.ends_with('.') {
            return Err(InvalidName::TrailingDot);
        }
        if text.split('.').any(str::is_empty) {
            return Err(InvalidName::EmptyLabel);
        }
        let is_a_label = |label: &str| label.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("xn--"));
        if text.is_ascii() && !text.split('.').any(is_a_label) {
            return Self::from_labels(text.split('.').map(str::as_bytes));
        }
        // UTS 46 maps full-width dots too, so the checks of labels run on what it gives. A label that claims to be an
        // A-label must be one (RFC 5891 5.4): it comes back to people as the name that it stands for.
        let ascii = idna::domain_to_ascii(text).map_err(|_| InvalidName::BadIdn)?;
        Self::from_labels(ascii.split('.').map(str::as_bytes))
    }

    /// Puts labels together, leftmost first.
    ///
    /// # Errors
    ///
    /// [`InvalidName`] when a label or the whole breaks a rule.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, InvalidName> {
        let mut wire = [0; MAX_WIRE_LEN];
        // The root's octet is there already.
        let mut len = 0;
        let mut is_too_long = false;
        for label in labels {
            check_label(label)?;
            let end = len + 1 + label.len();
            // Later labels may be wrong in a way that is easier to understand.
            is_too_long |= end >= MAX_WIRE_LEN;
            if !is_too_long {
                wire[len] = u8::try_from(label.len()).map_err(|_| InvalidName::LabelTooLong)?;
                for (to, from) in wire[len + 1..end].iter_mut().zip(label) {
                    *to = from.to_ascii_lowercase();
                }
                len = end;
            }
        }
        if is_too_long {
            return Err(InvalidName::TooLong);
        }
        if len == 0 {
            return Err(InvalidName::Empty);
        }
        Ok(Self(wire[..=len].into()))
    }

    /// Takes a name in uncompressed wire form, as a DNS message or a packed node holds it; folds case.
    ///
    /// # Errors
    ///
    /// [`InvalidName`] when the octets are no such name; a wildcard or a label with other octets is refused too.
    pub fn from_wire(wire: &[u8]) -> Result<Self, InvalidName> {
        let mut labels = Vec::with_capacity(8);
        let mut rest = wire;
        loop {
            let (&len, tail) = rest.split_first().ok_or(InvalidName::Empty)?;
            if len == 0 {
                break;
            }
            let (label, tail) = tail.split_at_checked(usize::from(len)).ok_or(InvalidName::Empty)?;
            labels.push(label);
            rest = tail;
        }
        Self::from_labels(labels)
    }

    /// The name with `labels` put in front, leftmost first: `["_sips", "_tcp"]` gives `_sips._tcp.<self>`.
    ///
    /// # Errors
    ///
    /// [`InvalidName::TooLong`] when no room is left; other variants when a label is wrong.
    pub fn prefixed(&self, labels: &[&str]) -> Result<Self, InvalidName> {
        Self::from_labels(labels.iter().map(|label| label.as_bytes()).chain(self.labels()))
    }

    /// The name with `suffix` behind it: `example.org` under `peers.ostn.test` gives `example.org.peers.ostn.test`.
    ///
    /// # Errors
    ///
    /// [`InvalidName::TooLong`] when both together pass 255 octets.
    pub fn under(&self, suffix: &Self) -> Result<Self, InvalidName> {
        Self::from_labels(self.labels().chain(suffix.labels()))
    }

    /// The labels, leftmost first, without the root.
    #[must_use]
    pub fn labels(&self) -> Labels<'_> {
        Labels(&self.0)
    }

    /// How many labels there are, the root not counted.
    #[must_use]
    pub fn label_count(&self) -> usize {
        self.labels().count()
    }

    /// The wire form: length octets and labels, lower case, the root's zero at the end.
    #[must_use]
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// The name one label up; `None` for a top-level name.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let rest = &self.0[usize::from(self.0[0]) + 1..];
        (rest.len() > 1).then(|| Self(rest.into()))
    }

    /// Whether this is `other` itself or a name below it.
    #[must_use]
    pub fn is_at_or_below(&self, other: &Self) -> bool {
        self.strip_suffix_len(other).is_some()
    }

    /// Whether this is a name below `other`, and not `other` itself.
    #[must_use]
    pub fn is_below(&self, other: &Self) -> bool {
        self.strip_suffix_len(other).is_some_and(|len| len > 0)
    }

    /// The octets of wire form in front of `suffix` (label boundaries kept); `None` if `suffix` is no suffix.
    #[must_use]
    pub fn strip_suffix_len(&self, suffix: &Self) -> Option<usize> {
        let at = self.0.len().checked_sub(suffix.0.len())?;
        if self.0[at..] != *suffix.0 {
            return None;
        }
        let mut pos = 0;
        while pos < at {
            pos += usize::from(self.0[pos]) + 1;
        }
        (pos == at).then_some(at)
    }

    /// Whether every label is one a host may have: letters, digits and hyphens (RFC 1123 2.1).
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.labels().all(|label| !label.contains(&b'_'))
    }
}

fn check_label(label: &[u8]) -> Result<(), InvalidName> {
    if label.is_empty() {
        return Err(InvalidName::EmptyLabel);
    }
    if label.len() > MAX_LABEL_LEN {
        return Err(InvalidName::LabelTooLong);
    }
    if label.contains(&b'*') {
        return Err(InvalidName::Wildcard);
    }
    if let Some(&octet) = label.iter().find(|o| !(o.is_ascii_alphanumeric() || matches!(o, b'-' | b'_'))) {
        return Err(InvalidName::BadOctet(octet));
    }
    if label.starts_with(b"-") || label.ends_with(b"-") {
        return Err(InvalidName::Hyphen);
    }
    Ok(())
}

/// The labels of a [`DomainName`], leftmost first.
#[derive(Debug, Clone)]
pub struct Labels<'a>(&'a [u8]);

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&len, rest) = self.0.split_first()?;
        if len == 0 {
            return None;
        }
        let (label, rest) = rest.split_at(usize::from(len));
        self.0 = rest;
        Some(label)
    }
}

impl FromStr for DomainName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::parse(text)
    }
}

/// As people write it: lower case, no trailing dot.
impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In one piece: whoever makes a string of it gets its room at once.
        let mut text = [0; MAX_WIRE_LEN];
        let mut end = 0;
        for label in self.labels() {
            if end > 0 {
                text[end] = b'.';
                end += 1;
            }
            text[end..end + label.len()].copy_from_slice(label);
            end += label.len();
        }
        f.write_str(std::str::from_utf8(&text[..end]).expect("labels are ASCII: check_label looks at each octet"))
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl PartialOrd for DomainName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Canonical order (RFC 4034 6.1): by labels from the right, so that a name stands right before those below it.
impl Ord for DomainName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let ours: Vec<_> = self.labels().collect();
        let theirs: Vec<_> = other.labels().collect();
        ours.iter().rev().cmp(theirs.iter().rev())
    }
}

/// Why a text is no [`DomainName`]: the writer of the name has to change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing there, or only the root.
    #[error("a domain name must have at least one label")]
    Empty,
    /// `ostel.me.`: absolute already, the dot is not part of what we store.
    #[error("a domain name is written without a trailing dot here")]
    TrailingDot,
    /// `a..b` or `.b`.
    #[error("a domain name must not have an empty label (two dots in a row, or a dot in front)")]
    EmptyLabel,
    /// A label of 64 octets or more.
    #[error("a label must not have more than 63 octets")]
    LabelTooLong,
    /// More than 253 characters.
    #[error("a domain name must not have more than 253 characters")]
    TooLong,
    /// `*` anywhere: a node never publishes a wildcard.
    #[error("a domain name must not contain '*'")]
    Wildcard,
    /// A label that begins or ends with a hyphen.
    #[error("a label must not begin or end with a hyphen")]
    Hyphen,
    /// An octet that is no letter, digit, hyphen or underscore.
    #[error("a domain name must be letters, digits, hyphens and dots; {:?} is none of them", char::from(*.0))]
    BadOctet(u8),
    /// A U-label that IDNA does not allow.
    #[error("not a valid internationalised domain name (IDNA, UTS 46)")]
    BadIdn,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_form() {
        for (id, text, shown) in [
            ("as is", "debug.ostel.me", "debug.ostel.me"),
            ("RFC 4343", "DeBug.OSTEL.me", "debug.ostel.me"),
            ("RFC 5891", "bücher.example", "xn--bcher-kva.example"),
            ("an A-label", "XN--bcher-KVA.example", "xn--bcher-kva.example"),
            ("beside an underscore", "_sips._tcp.xn--bcher-kva.example", "_sips._tcp.xn--bcher-kva.example"),
            ("RFC 2782", "_sips._tcp.ostel.me", "_sips._tcp.ostel.me"),
            ("63 octets", &format!("{}.test", "a".repeat(63)), &format!("{}.test", "a".repeat(63))),
        ] {
            assert_eq!(DomainName::parse(text).unwrap().to_string(), shown, "{id}");
        }
    }

    #[test]
    fn refused() {
        let long = format!("{}.{}.{}.{}", "a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(62));
        for (text, why) in [
            ("", InvalidName::Empty),
            (".", InvalidName::TrailingDot),
            ("ostel.me.", InvalidName::TrailingDot),
            ("a..b", InvalidName::EmptyLabel),
            (".b", InvalidName::EmptyLabel),
            (&"a".repeat(64), InvalidName::LabelTooLong),
            (&long, InvalidName::TooLong),
            ("*.ostel.me", InvalidName::Wildcard),
            ("a b.test", InvalidName::BadOctet(b' ')),
            ("a\u{ff0e}\u{ff0e}b", InvalidName::EmptyLabel),
            ("-a.test", InvalidName::Hyphen),
            ("xn--a.test", InvalidName::BadIdn),
            ("XN--zzzzzz99999999.test", InvalidName::BadIdn),
        ] {
            assert_eq!(DomainName::parse(text), Err(why), "{text:?}");
        }
    }

    #[test]
    fn ancestry() {
        let zone = DomainName::parse("ostel.me").unwrap();
        let node = DomainName::parse("debug.ostel.me").unwrap();
        assert!(node.is_below(&zone) && node.is_at_or_below(&zone) && zone.is_at_or_below(&zone));
        assert!(!zone.is_below(&zone) && !zone.is_at_or_below(&node));
        assert!(!DomainName::parse("xostel.me").unwrap().is_at_or_below(&zone));
        assert_eq!(node.parent(), Some(zone));
        assert_eq!(DomainName::from_wire(node.as_wire()), Ok(node));
    }

    #[test]
    fn canonical_order() {
        let mut names: Vec<_> =
            ["z.example", "example", "a.example", "yljkjljk.a.example"].map(|n| DomainName::parse(n).unwrap()).into();
        names.sort();
        let shown: Vec<_> = names.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["example", "a.example", "yljkjljk.a.example", "z.example"]);
    }
}
