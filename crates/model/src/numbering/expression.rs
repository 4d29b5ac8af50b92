//! A NAPTR's substitution expression (RFC 3402 3.2): a strict subset of POSIX extended regular expressions, matched in
//! linear time.
//!
//! The expression is a stranger's. It is read octet by octet and written anew for the `regex` crate, so that nothing
//! of that crate's own syntax (`\d`, `(?…)`, set operations) can come through; what POSIX leaves undefined is refused
//! rather than guessed. The engine has no back-references and no look-around, and the compiled size is bounded (ENUM-60).

use regex::bytes::{Regex, RegexBuilder};

use super::Discard;

/// Most octets of a result (ENUM-58).
pub const MAX_RESULT: usize = 2048;
/// Most octets of a whole expression: what one character-string holds (RFC 1035 3.3).
const MAX_EXPRESSION: usize = 255;
/// Most memory of one compiled expression, in octets: far above what 255 octets without nested counts need.
const MAX_COMPILED: usize = 256 << 10;
/// Deepest nesting of parentheses.
const MAX_NESTING: u32 = 32;
/// Largest count in braces (POSIX `RE_DUP_MAX`).
const MAX_COUNT: u16 = 255;

/// A substitution expression, ready to be applied.
#[derive(Debug)]
pub struct Substitution {
    pattern: Regex,
    parts: Vec<Part>,
}

/// A piece of the replacement.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Literal(Vec<u8>),
    /// What the N-th opening parenthesis captured, 1 to 9.
    Group(usize),
}

impl Substitution {
    /// Reads `delim ere delim repl delim flags`.
    ///
    /// ```
    /// use tandem_model::numbering::Substitution;
    ///
    /// let rule = Substitution::parse(r"!^\+44(.*)$!sip:0\1@example.com!")?;
    /// assert_eq!(rule.apply("+441632960083")?, "sip:01632960083@example.com");
    /// # Ok::<(), tandem_model::numbering::Discard>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Discard::BadRegexp`], [`Discard::BadBackReference`] or [`Discard::NonAscii`].
    pub fn parse(text: &str) -> Result<Self, Discard> {
        if !text.is_ascii() {
            return Err(Discard::NonAscii);
        }
        let bytes = text.as_bytes();
        let (&delimiter, rest) = bytes.split_first().ok_or(Discard::BadRegexp)?;
        // ENUM-50, ENUM-52: whatever comes first delimits, but for digits, the flag letter and the backslash.
        let forbidden = delimiter.is_ascii_digit() || delimiter.eq_ignore_ascii_case(&b'i') || delimiter == b'\\';
        if forbidden || bytes.len() > MAX_EXPRESSION {
            return Err(Discard::BadRegexp);
        }
        let [ere, replacement, flags] = split(rest, delimiter).ok_or(Discard::BadRegexp)?;
        // ENUM-53: only the flag may follow the last delimiter. ENUM-24: in either case.
        if !flags.iter().all(|flag| flag.eq_ignore_ascii_case(&b'i')) {
            return Err(Discard::BadRegexp);
        }
        let translated = Translation::of(ere, delimiter).ok_or(Discard::BadRegexp)?;
        let pattern = RegexBuilder::new(&translated)
            .unicode(false)
            .dot_matches_new_line(true)
            .case_insensitive(!flags.is_empty())
            .size_limit(MAX_COMPILED)
            .nest_limit(MAX_NESTING)
            .build()
            .map_err(|_| Discard::BadRegexp)?;
        let parts = parts(replacement, delimiter, pattern.captures_len() - 1)?;
        Ok(Self { pattern, parts })
    }

    /// The replacement, filled from where the expression matches `aus`; text outside the match is not kept (ENUM-56).
    ///
    /// # Errors
    ///
    /// [`Discard::NoMatch`], [`Discard::EmptyResult`] (ENUM-57), or [`Discard::BadUri`] for a result above
    /// [`MAX_RESULT`] octets.
    pub fn apply(&self, aus: &str) -> Result<String, Discard> {
        let found = self.pattern.captures(aus.as_bytes()).ok_or(Discard::NoMatch)?;
        let mut result = Vec::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => result.extend_from_slice(text),
                // ENUM-55: a group that took no part inserts nothing.
                Part::Group(number) => {
                    result.extend_from_slice(found.get(*number).map_or(&[], |group| group.as_bytes()))
                }
            }
            if result.len() > MAX_RESULT {
                return Err(Discard::BadUri);
            }
        }
        let result = String::from_utf8(result).map_err(|_| Discard::NonAscii)?;
        if result.is_empty() { Err(Discard::EmptyResult) } else { Ok(result) }
    }
}

/// Cuts at the two delimiters that are left; a third one is in the flags, where it is none (ENUM-51).
fn split(rest: &[u8], delimiter: u8) -> Option<[&[u8]; 3]> {
    let mut cuts = Vec::with_capacity(2);
    let mut at = 0;
    while at < rest.len() && cuts.len() < 2 {
        match rest[at] {
            b'\\' => at += 1,
            octet if octet == delimiter => cuts.push(at),
            _ => {}
        }
        at += 1;
    }
    let [ere, replacement] = cuts[..] else { return None };
    Some([&rest[..ere], &rest[ere + 1..replacement], &rest[replacement + 1..]])
}

/// The replacement in pieces. ENUM-54, ENUM-55: behind a backslash stands the delimiter or a digit from 1 to 9.
fn parts(replacement: &[u8], delimiter: u8, groups: usize) -> Result<Vec<Part>, Discard> {
    let mut parts = Vec::new();
    let mut literal = Vec::new();
    let mut octets = replacement.iter();
    while let Some(&octet) = octets.next() {
        if octet != b'\\' {
            literal.push(octet);
            continue;
        }
        match octets.next() {
            Some(&escaped) if escaped == delimiter => literal.push(delimiter),
            Some(&digit @ b'1'..=b'9') => {
                let number = usize::from(digit - b'0');
                if number > groups {
                    return Err(Discard::BadBackReference);
                }
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                parts.push(Part::Group(number));
            }
            Some(b'0') => return Err(Discard::BadBackReference),
            _ => return Err(Discard::BadRegexp),
        }
    }
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    Ok(parts)
}

/// One pass over an extended regular expression (POSIX.1 XBD 9.4).
struct Translation<'a> {
    rest: &'a [u8],
    out: String,
    /// Whether something stands before that can be repeated.
    repeatable: bool,
    /// Whether the branch at hand has anything in it: POSIX leaves empty ones undefined.
    in_branch: bool,
    depth: u32,
}

impl<'a> Translation<'a> {
    /// The same expression for the `regex` crate; `None` for what POSIX does not define.
    fn of(ere: &'a [u8], delimiter: u8) -> Option<String> {
        let mut this = Self { rest: ere, out: String::new(), repeatable: false, in_branch: false, depth: 0 };
        while let Some((&octet, rest)) = this.rest.split_first() {
            this.rest = rest;
            this.token(octet, delimiter)?;
        }
        (this.depth == 0 && this.in_branch).then_some(this.out)
    }

    fn token(&mut self, octet: u8, delimiter: u8) -> Option<()> {
        match octet {
            b'^' | b'$' => {
                self.out.push(char::from(octet));
                (self.repeatable, self.in_branch) = (false, true);
            }
            b'(' => {
                self.depth += 1;
                self.out.push('(');
                (self.repeatable, self.in_branch) = (false, false);
            }
            b')' => {
                self.depth = self.depth.checked_sub(1).filter(|_| self.in_branch)?;
                self.atom(")");
            }
            b'|' => {
                if !self.in_branch {
                    return None;
                }
                self.out.push('|');
                (self.repeatable, self.in_branch) = (false, false);
            }
            // ENUM-59: a plus behind nothing is no plus; nor is a second repetition defined.
            b'*' | b'+' | b'?' => {
                self.repeat()?;
                self.out.push(char::from(octet));
            }
            b'{' => {
                self.repeat()?;
                self.count()?;
            }
            b'[' => self.bracket()?,
            b'.' => self.atom("."),
            b'\\' => {
                let (&escaped, rest) = self.rest.split_first()?;
                self.rest = rest;
                // ENUM-60: before a letter or digit POSIX defines nothing.
                if escaped != delimiter && !b"^.[$()|*+?{\\".contains(&escaped) {
                    return None;
                }
                self.literal(escaped);
            }
            _ if octet.is_ascii_control() => return None,
            _ => self.literal(octet),
        }
        Some(())
    }

    fn repeat(&mut self) -> Option<()> {
        let before = std::mem::replace(&mut self.repeatable, false);
        before.then_some(())
    }

    fn atom(&mut self, text: &str) {
        self.out.push_str(text);
        (self.repeatable, self.in_branch) = (true, true);
    }

    fn literal(&mut self, octet: u8) {
        let octet = char::from(octet);
        if octet.is_ascii_punctuation() {
            self.out.push('\\');
        }
        self.out.push(octet);
        (self.repeatable, self.in_branch) = (true, true);
    }

    /// `{m}`, `{m,}` or `{m,n}`, its brace read.
    fn count(&mut self) -> Option<()> {
        let end = self.rest.iter().position(|&octet| octet == b'}')?;
        let (inside, rest) = (&self.rest[..end], &self.rest[end + 1..]);
        self.rest = rest;
        let inside = std::str::from_utf8(inside).ok()?;
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
            text.parse::<u16>().ok().filter(|&count| digits && count <= MAX_COUNT)
        };
        let (least, most) = inside.split_once(',').map_or((inside, None), |(least, most)| (least, Some(most)));
        let least = number(least)?;
        let most = match most {
            None => Some(least),
            Some("") => None,
            Some(most) => Some(number(most).filter(|&most| most >= least)?),
        };
        let most = most.map_or_else(String::new, |most| most.to_string());
        self.out.push_str(&format!("{{{least},{most}}}"));
        Some(())
    }

    /// A bracket expression, its `[` read. A backslash in it is a character; classes are allowed, collation is not.
    fn bracket(&mut self) -> Option<()> {
        self.out.push('[');
        if let Some(rest) = self.rest.strip_prefix(b"^") {
            self.rest = rest;
            self.out.push('^');
        }
        let mut first = true;
        loop {
            match self.rest {
                [b']', rest @ ..] if !first => {
                    self.rest = rest;
                    break;
                }
                [b'[', b':', rest @ ..] => {
                    let end = rest.windows(2).position(|pair| pair == b":]")?;
                    let class = std::str::from_utf8(&rest[..end]).ok()?;
                    if !CLASSES.contains(&class) {
                        return None;
                    }
                    self.out.push_str(&format!("[:{class}:]"));
                    self.rest = &rest[end + 2..];
                }
                [b'[', b'.' | b'=', ..] => return None,
                [from, b'-', to, rest @ ..] if *to != b']' => {
                    if from > to || *to == b'[' || from.is_ascii_control() || to.is_ascii_control() {
                        return None;
                    }
                    self.out.push_str(&format!("\\x{from:02x}-\\x{to:02x}"));
                    self.rest = rest;
                }
                [octet, rest @ ..] if !octet.is_ascii_control() => {
                    self.out.push_str(&format!("\\x{octet:02x}"));
                    self.rest = rest;
                }
                _ => return None,
            }
            first = false;
        }
        self.atom("]");
        Some(())
    }
}

/// POSIX.1 XBD 9.3.5: the classes that every locale has.
const CLASSES: [&str; 12] =
    ["alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "xdigit"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const AUS: &str = "+441632960083";

    fn run(text: &str, aus: &str) -> Result<String, Discard> {
        Substitution::parse(text)?.apply(aus)
    }

    #[test]
    fn worked_cases() {
        for (id, text, expected) in [
            ("ENUM-T06", r"!^(\+441632960083)$!sip:\1@example.com!", "sip:+441632960083@example.com"),
            ("ENUM-T08", r"!^\+44(.*)$!sip:0\1@example.com!", "sip:01632960083@example.com"),
            ("ENUM-T09", r"!^\+44(1632)960(...)$!sips:\2@\1.example.net!i", "sips:083@1632.example.net"),
            ("ENUM-T10, ENUM-50", "/^.*$/sip:a@example.com/", "sip:a@example.com"),
            ("ENUM-T11", r"#^\+44(.*)$#sip:\1@example.com;x=y!#", "sip:1632960083@example.com;x=y!"),
            ("ENUM-T12, ENUM-54", r"!^.*$!sip:a\!b@example.com!", "sip:a!b@example.com"),
            (
                "ENUM-T13",
                r"!^\+(4)(4)(1)(6)(3)(2)(9)(6)(0)083$!sip:\9\8\7\6\5\4\3\2\1@example.com!",
                "sip:069236144@example.com",
            ),
            ("ENUM-T24, ENUM-56", r"!(960)!sip:\1@example.com!", "sip:960@example.com"),
            ("ENUM-55 a group without part", r"!^\+44(9)?(.*)$!sip:\1\2@a.test!", "sip:1632960083@a.test"),
            ("ENUM-53", "!^.*$!sip:a@a.test!i", "sip:a@a.test"),
            ("bracket", r"!^\+([0-9]{2})([[:digit:]]+)$!sip:\2.\1@a.test!", "sip:1632960083.44@a.test"),
            ("bracket, literal backslash and ]", r"!^\+44[]\1]6.*$!sip:a@a.test!", "sip:a@a.test"),
            ("negated", r"!^\+[^5-9](.*)$!sip:\1@a.test!", "sip:41632960083@a.test"),
            ("alternatives", r"!^\+(44|1)(.*)$!sip:\2@a.test!", "sip:1632960083@a.test"),
            ("delimiter inside the ERE", r"|^\+44(1\|.*)$|sip:a@a.test|", ""),
        ] {
            match run(text, AUS) {
                Ok(result) => assert_eq!(result, expected, "{id}"),
                Err(why) => assert!(expected.is_empty() && why == Discard::NoMatch, "{id}: {why}"),
            }
        }
        let nested = |repl: &str| run(&format!("!(A(B(C)DE)(F)G)!{repl}!"), "ABCDEFG");
        let all = [r"\1", r"\2", r"\3", r"\4"].map(|repl| nested(repl).unwrap());
        assert_eq!(all, ["ABCDEFG", "BCDE", "C", "F"], "ENUM-T14");
        assert_eq!(nested(r"\5"), Err(Discard::BadBackReference), "ENUM-T14, ENUM-55");
    }

    #[test]
    fn refused() {
        for (id, text, why) in [
            ("ENUM-T15, ENUM-51", "!^.*$!sip:a@example.com", Discard::BadRegexp),
            ("ENUM-T16", "!^.*$!sip:a!b@example.com!", Discard::BadRegexp),
            ("ENUM-T17, ENUM-52", "1^.*$1sip:x@example.com1", Discard::BadRegexp),
            ("ENUM-T17", "i^.*$isip:x@example.comi", Discard::BadRegexp),
            ("ENUM-T18, ENUM-59", "!^+441632960083$!sip:x@example.com!", Discard::BadRegexp),
            ("ENUM-T19", r"!^\+44(.*)$!sip:\2@example.com!", Discard::BadBackReference),
            ("ENUM-T20", "!^.*$!sip:x@example.com!g", Discard::BadRegexp),
            ("ENUM-T21", "", Discard::BadRegexp),
            ("ENUM-T22", r"!^\+1(.*)$!sip:\1@us.example!", Discard::NoMatch),
            ("ENUM-T23, ENUM-57", "!^.*$!!", Discard::EmptyResult),
            ("ENUM-55", r"!^(.*)$!sip:\0@a.test!", Discard::BadBackReference),
            ("ENUM-60 escapes", r"!^\+\d+$!sip:a@a.test!", Discard::BadRegexp),
            ("ENUM-60 look-ahead", r"!^(?=.)(.*)$!sip:\1@a.test!", Discard::BadRegexp),
            ("ENUM-60 flags of the engine", "!(?i)a!sip:a@a.test!", Discard::BadRegexp),
            ("ENUM-60 back-reference", r"!^\+(4)\1.*$!sip:a@a.test!", Discard::BadRegexp),
            ("twice repeated", "!^.**$!sip:a@a.test!", Discard::BadRegexp),
            ("lazy", "!^.+?$!sip:a@a.test!", Discard::BadRegexp),
            ("empty branch", "!^(|4)$!sip:a@a.test!", Discard::BadRegexp),
            ("empty", "!!sip:a@a.test!", Discard::BadRegexp),
            ("open", "!^(.*$!sip:a@a.test!", Discard::BadRegexp),
            ("open bracket", "!^[0-9$!sip:a@a.test!", Discard::BadRegexp),
            ("range reversed", "!^[9-0]$!sip:a@a.test!", Discard::BadRegexp),
            ("collation", "!^[[.a.]]$!sip:a@a.test!", Discard::BadRegexp),
            ("counts that grow", "!^((((.{99}){99}){99}){99})$!sip:a@a.test!", Discard::BadRegexp),
            ("count too large", "!^.{256}$!sip:a@a.test!", Discard::BadRegexp),
            ("ENUM-31", "!^.*$!sip:é@a.test!", Discard::NonAscii),
        ] {
            assert_eq!(run(text, AUS), Err(why), "{id}");
        }
        let deep = format!("!{}.{}!sip:a@a.test!", "(".repeat(100), ")".repeat(100));
        assert_eq!(run(&deep, AUS), Err(Discard::BadRegexp), "depth");
    }

    #[test]
    fn enum_58_long_results() {
        // 123 references to 16 characters stay below the limit, and cost nothing more than their copies.
        let many = format!("!^(.*)$!{}!", r"\1".repeat(120));
        assert_eq!(run(&many, "+123456789012345").map(|text| text.len()), Ok(120 * 16));
        assert_eq!(run(&many, &"9".repeat(18)), Err(Discard::BadUri));
    }

    proptest! {
        /// Never a panic, never more than the limit, whatever stands in the record.
        #[test]
        fn any_text(text in "[!/^$.()|*+?{},0-9a-z\\\\\\[\\]:@-]{0,80}", any in "\\PC{0,40}") {
            for text in [text, format!("!{any}!sip:\\1@a.test!")] {
                if let Ok(result) = run(&text, AUS) {
                    prop_assert!(!result.is_empty() && result.len() <= MAX_RESULT);
                }
            }
        }
    }
}
