//! Why the directory gave no answer, or not the one that was wanted.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// What went wrong between an agent and its directory.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The token's file cannot be used.
    #[error("the token file {} cannot be used", file.display())]
    Token {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The certificates to trust cannot be used.
    #[error("the certificates in {} cannot be used", file.display())]
    Certificates {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// No connection, or it broke off, or took too long: try again.
    #[error("the directory {url} cannot be reached: {what}")]
    Unreachable {
        /// Its URL.
        url: String,
        /// What happened.
        what: String,
    },
    /// It refused: its words.
    #[error("the directory refused ({status}): {words}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Title and faults of its problem.
        words: String,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// An answer that makes no sense here.
    #[error("the directory's answer cannot be understood: {0}")]
    Answer(String),
}

impl DirectoryError {
    /// The HTTP status of a refusal.
    pub(crate) const fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Token { .. } | Self::Certificates { .. } | Self::Unreachable { .. } | Self::Answer(_) => None,
        }
    }

    /// How long the directory wants to be left alone.
    pub(crate) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Token { .. } | Self::Certificates { .. } | Self::Unreachable { .. } | Self::Answer(_) => None,
        }
    }

    /// The message with its causes, in one line.
    #[must_use]
    pub fn in_words(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

/// A problem body (RFC 9457), as far as an operator needs it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
    errors: Vec<Fault>,
}

#[derive(Debug, Deserialize)]
struct Fault {
    detail: String,
    #[serde(default)]
    pointer: String,
}

/// A problem body in one line of words.
pub(super) fn words(body: &[u8]) -> String {
    /// Faults that are repeated.
    const MOST: usize = 5;
    let Ok(problem) = serde_json::from_slice::<Problem>(body) else {
        return "the answer is not from a Tandem API: check the URL".into();
    };
    let mut text = problem.title.unwrap_or_else(|| "the request failed".into());
    if problem.errors.is_empty()
        && let Some(detail) = problem.detail
    {
        text.push_str(": ");
        text.push_str(&detail);
    }
    for fault in problem.errors.iter().take(MOST) {
        text.push_str(&format!("; {} {}", fault.pointer, fault.detail));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_in_words() {
        assert_eq!(words(br#"{"title":"No","detail":"why"}"#), "No: why");
        let faults = br##"{"title":"No","detail":"x","errors":[{"detail":"must","pointer":"#/a"}]}"##;
        assert_eq!(words(faults), "No; #/a must");
        assert!(words(b"<html>").contains("check the URL"));
    }
}
