//! The XML files of a FreeSWITCH, with its variables; within bounds of number and size.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use roxmltree::{Document, Node, ParsingOptions};

/// Most files that are read.
const MAX_FILES: usize = 10_000;
/// Largest file, in octets.
const MAX_SIZE: u64 = 4 << 20;
/// Deepest folder below the one that was named.
const MAX_DEPTH: usize = 12;
/// Most elements of a file.
const MAX_NODES: u32 = 1_000_000;
/// Most variables inside the values of variables.
const MAX_STEPS: usize = 8;
/// Longest value with its variables filled in, in octets.
const MAX_VALUE: usize = 64 << 10;

/// All texts of a folder, by path below it.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Path and text, in order of the paths.
    pub(super) texts: BTreeMap<PathBuf, String>,
    /// What was left out, and why.
    pub(super) notes: Vec<String>,
}

impl Files {
    /// Reads all `*.xml` below `folder`.
    ///
    /// # Errors
    ///
    /// What the system says of the folder itself; a file that cannot be read is a note.
    pub(super) fn read(folder: &Path) -> io::Result<Self> {
        let mut files = Self::default();
        fs::read_dir(folder)?;
        files.walk(folder, Path::new(""), 0);
        Ok(files)
    }

    fn walk(&mut self, folder: &Path, below: &Path, depth: usize) {
        let entries = match fs::read_dir(folder.join(below)) {
            Ok(entries) => entries,
            Err(error) => return self.notes.push(format!("{}: not read: {error}", below.display())),
        };
        for entry in entries.flatten() {
            let path = below.join(entry.file_name());
            // A link is read as what it leads to; the limits hold for loops too.
            let Ok(kind) = fs::metadata(entry.path()) else { continue };
            if kind.is_dir() && depth < MAX_DEPTH {
                self.walk(folder, &path, depth + 1);
            } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "xml") {
                if self.texts.len() == MAX_FILES {
                    let note = format!("only the first {MAX_FILES} files were read");
                    if self.notes.last() != Some(&note) {
                        self.notes.push(note);
                    }
                    return;
                }
                match read_text(&folder.join(&path)) {
                    Ok(text) => drop(self.texts.insert(path, text)),
                    Err(error) => self.notes.push(format!("{}: not read: {error}", path.display())),
                }
            }
        }
    }

    /// Hands each file that is XML to `see`; what is not is a note.
    pub(super) fn each(&mut self, mut see: impl FnMut(&Path, &Document<'_>)) {
        for (path, text) in &self.texts {
            let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
            match Document::parse_with_options(text, options) {
                Ok(document) => see(path, &document),
                Err(error) => {
                    let note = format!("{}: not read: {error}", path.display());
                    if !self.notes.contains(&note) {
                        self.notes.push(note);
                    }
                }
            }
        }
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_SIZE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_SIZE {
        return Err(io::Error::other(format!("it has more than {MAX_SIZE} octets")));
    }
    Ok(text)
}

/// Global variables: `<X-PRE-PROCESS cmd="set" data="name=value"/>`, used as `$${name}`.
#[derive(Debug, Default)]
pub(super) struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Takes those that a file sets; the first setting of a name counts.
    pub(super) fn learn(&mut self, document: &Document<'_>) {
        for node in document.descendants().filter(|node| node.tag_name().name().eq_ignore_ascii_case("X-PRE-PROCESS")) {
            let sets = matches!(node.attribute("cmd"), Some("set" | "stun-set" | "exec-set"));
            if let (true, Some((name, value))) = (sets, node.attribute("data").and_then(|data| data.split_once('='))) {
                self.0.entry(name.trim().to_owned()).or_insert_with(|| value.trim().to_owned());
            }
        }
    }

    /// `text` with its variables filled in; unknown ones stay as they are.
    pub(super) fn fill(&self, text: &str) -> String {
        let mut filled = text.to_owned();
        for _ in 0..MAX_STEPS {
            let mut next = String::with_capacity(filled.len());
            let mut rest = filled.as_str();
            while let Some((before, after)) = rest.split_once("$${") {
                next.push_str(before);
                match after.split_once('}') {
                    Some((name, behind)) => {
                        match self.0.get(name) {
                            Some(value) => next.push_str(value),
                            None => next.extend(["$${", name, "}"]),
                        }
                        rest = behind;
                    }
                    None => {
                        next.push_str("$${");
                        rest = after;
                    }
                }
            }
            next.push_str(rest);
            if next == filled || next.len() > MAX_VALUE {
                break;
            }
            filled = next;
        }
        filled
    }
}

/// The line of an element, counted from 1.
pub(super) fn line(node: Node<'_, '_>) -> u32 {
    node.document().text_pos_at(node.range().start).row
}
