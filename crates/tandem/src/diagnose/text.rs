//! Lines for a terminal: strangers' words made harmless, colours only where a person looks.

use std::borrow::Cow;
use std::env;
use std::io::{self, IsTerminal as _, Write as _};

use serde_json::Value;

/// Most characters of one line.
const MAX_LINE: usize = 600;

/// Text without anything that a terminal takes as an order or that hides what is there: control characters, marks of
/// direction, invisible characters. Each is shown as `\u{1b}`. Long text is cut.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if text.chars().count() <= MAX_LINE && !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len().min(4 * MAX_LINE));
    for (index, c) in text.chars().enumerate() {
        if index == MAX_LINE {
            safe.push('…');
            break;
        }
        if is_unsafe(c) { safe.extend(c.escape_unicode()) } else { safe.push(c) }
    }
    Cow::Owned(safe)
}

fn is_unsafe(c: char) -> bool {
    // `is_control`: C0, DEL and C1, which has an escape character of its own.
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The same for every string of a JSON value: it may be shown on a terminal, too.
pub(crate) fn plain_json(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(safe) = plain(text) {
                *text = safe;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(plain_json),
        Value::Object(members) => members.values_mut().for_each(plain_json),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// As it should be.
    Good,
    /// It works, but may not be meant.
    Doubtful,
    /// Calls fail because of it.
    Bad,
    /// Nothing to judge.
    None,
}

impl Mark {
    const fn word(self) -> &'static str {
        match self {
            Self::Good => "ok  ",
            Self::Doubtful => "warn",
            Self::Bad => "FAIL",
            Self::None => "    ",
        }
    }

    const fn colour(self) -> &'static str {
        match self {
            Self::Good => "\u{1b}[32m",
            Self::Doubtful => "\u{1b}[33m",
            Self::Bad => "\u{1b}[31m",
            Self::None => "",
        }
    }
}

/// A page of text, written line by line.
#[derive(Debug)]
pub(crate) struct Page {
    colours: bool,
}

impl Page {
    /// For standard output: with colours if that is a terminal and `NO_COLOR` is not set.
    pub(crate) fn new() -> Self {
        let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { colours: io::stdout().is_terminal() && !is_set("NO_COLOR") && !dumb }
    }

    /// One line.
    pub(crate) fn line(&self, text: &str) -> io::Result<()> {
        writeln!(io::stdout().lock(), "{}", plain(text).trim_end())
    }

    /// A line that stands out, with an empty one before it.
    pub(crate) fn heading(&self, text: &str) -> io::Result<()> {
        writeln!(io::stdout().lock(), "\n{}", self.styled("\u{1b}[1m", &plain(text)))
    }

    /// A step and how it went.
    pub(crate) fn step(&self, mark: Mark, what: &str, text: &str) -> io::Result<()> {
        let word = self.styled(mark.colour(), mark.word());
        writeln!(io::stdout().lock(), "    {word}  {what:11} {}", plain(text))
    }

    /// The last word.
    pub(crate) fn verdict(&self, mark: Mark, text: &str) -> io::Result<()> {
        writeln!(io::stdout().lock(), "\n{}", self.styled(mark.colour(), &plain(text)))
    }

    fn styled(&self, style: &str, text: &str) -> String {
        if self.colours && !style.is_empty() { format!("{style}{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_terminal_gets_no_orders() {
        for (id, text, shown) in [
            ("plain", "debug.ostn.test", "debug.ostn.test"),
            ("other scripts", "bücher 電話", "bücher 電話"),
            ("colour", "a\u{1b}[31mb", "a\\u{1b}[31mb"),
            ("title", "\u{1b}]0;x\u{7}", "\\u{1b}]0;x\\u{7}"),
            ("C1", "\u{9b}31m", "\\u{9b}31m"),
            ("new line", "a\nSIP OPTIONS ok\r", "a\\u{a}SIP OPTIONS ok\\u{d}"),
            ("direction", "a\u{202e}b\u{2066}", "a\\u{202e}b\\u{2066}"),
            ("invisible", "a\u{200b}\u{feff}b", "a\\u{200b}\\u{feff}b"),
            ("delete", "a\u{7f}", "a\\u{7f}"),
        ] {
            assert_eq!(plain(text), shown, "{id}");
            let mut value = json!({"a": [text]});
            plain_json(&mut value);
            assert_eq!(value["a"][0], shown, "{id}");
        }
        let long = "\u{1b}".repeat(10 * MAX_LINE);
        assert_eq!(plain(&long).chars().count(), MAX_LINE * "\\u{1b}".len() + 1);
    }

    #[test]
    fn colours_are_for_people() {
        let (with, without) = (Page { colours: true }, Page { colours: false });
        assert_eq!(with.styled(Mark::Bad.colour(), "x"), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(without.styled(Mark::Bad.colour(), "x"), "x");
        assert_eq!(with.styled(Mark::None.colour(), "x"), "x");
    }
}
