//! The copy on disk: a log of what changed, one record a line, each with a checksum; made short again now and then.
//!
//! Every prefix of the log is the copy as it was at some moment, with the place in the journal that belongs to it, so a file
//! that was cut anywhere costs the newest changes, which the directory tells again. A record that was altered is left out,
//! and then the whole list is read again when the directory is in reach. It holds what was believed, not what was signed:
//! whoever can write to the folder is the agent's operator (decision 38).

mod reader;
mod record;
mod writer;

pub(crate) use self::reader::{Loaded, StateError, load};
pub(crate) use self::record::Record;
pub(crate) use self::writer::StateWriter;

/// The log's name in the state folder.
const FILE: &str = "members.log";
/// The first line.
const HEADER: &str = "tandem-agent members 1\n";
/// Longest line: a record has one node document, which is at most 64 KiB where it comes from.
const MAX_LINE: usize = 256 * 1024;
