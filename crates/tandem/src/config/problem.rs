//! What is wrong with a setting, and where it stands.

use std::fmt;
use std::path::{Path, PathBuf};

/// One fault in a file that an operator writes, or in a flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file; none for a flag.
    pub file: Option<PathBuf>,
    /// The line, from 1; 0 when the fault is of the whole file.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl Problem {
    /// A fault of a whole file.
    pub(crate) fn of_file(file: &Path, reason: impl Into<String>) -> Self {
        Self { file: Some(file.into()), line: 0, reason: reason.into() }
    }

    /// A fault of a flag.
    pub(crate) fn of_flag(flag: &str, reason: impl fmt::Display) -> Self {
        Self { file: None, line: 0, reason: format!("{flag}: {reason}") }
    }
}

/// `file:line: reason`, as editors jump to.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
            if self.line > 0 {
                write!(f, "{}:", self.line)?;
            }
            f.write_str(" ")?;
        }
        f.write_str(&self.reason)
    }
}

/// Everything that is wrong with the settings, one problem a line: the operator corrects them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
