//! `tandem import`: many nodes from lines of JSON, through the running service.
//!
//! The file goes out in parts, each acknowledged when it is durable. Lines are decided in order; those that are refused
//! are sent once more at the end, because a target may name a host that a later line brings.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use clap::Parser;
use serde::{Deserialize, Serialize};

use super::client::{ApiArgs, Client, ClientError};
use super::problem::spoken;
use super::progress::Progress;
use super::{Failure, output};

/// Octets of one part: about a second of work for the service, and all that is held in memory.
const PART: usize = 32 << 20;
/// Refused lines after which the rest of the file is left alone: it is most likely the wrong one.
const MAX_REFUSED: usize = 10_000;

/// Register the nodes of a file: one JSON document with its `domain` on each line (NDJSON)
#[derive(Debug, Parser)]
#[command(after_help = "\
A line is the document of `tandem publish` and the API, with the domain in it:
  {\"domain\": \"debug.ostn.test\", \"targets\": [{\"host\": \"sip.debug.ostn.test\", \"port\": 5061, \"addresses\": [\"203.0.113.7\"]}]}
Lines that are refused are listed with what is wrong, and the others stand. The same file again changes nothing, so an
import that broke off is simply started again. A dry run looks at each 32 MiB of the file by themselves.

Examples:
  tandem import nodes.ndjson
  tandem import --dry-run nodes.ndjson
  tandem export --api https://other.example:5380 | tandem import")]
pub(super) struct Import {
    /// The file; `-` is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// Check and count only; change nothing
    #[arg(long)]
    dry_run: bool,
    /// Take targets outside the directory's zones without looking up their addresses
    #[arg(long)]
    no_lookup: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

/// What became of the whole file.
#[derive(Debug, Default, Serialize)]
struct Total {
    dry_run: bool,
    lines: u64,
    created: u64,
    replaced: u64,
    unchanged: u64,
    refused: Vec<Refused>,
    serial: Option<u32>,
}

/// The answer to one part.
#[derive(Debug, Deserialize)]
struct PartAnswer {
    lines: u64,
    complete: bool,
    created: u64,
    replaced: u64,
    unchanged: u64,
    refused: Vec<Refused>,
    serial: Option<u32>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Refused {
    line: u64,
    domain: Option<String>,
    errors: Vec<Fault>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Fault {
    detail: String,
    pointer: String,
}

/// Why an import did not do all that it was to do.
#[derive(Debug, thiserror::Error)]
enum ImportError {
    #[error("{0} cannot be read")]
    File(String, #[source] io::Error),
    #[error("{0}: more than {MAX_REFUSED} lines were refused, the rest was left alone: is it the right file?")]
    WrongFile(String),
    #[error("{refused} of {lines} lines were refused")]
    Refused { refused: usize, lines: u64 },
    #[error("the service did not take any of the lines that were sent")]
    Stuck,
}

impl Import {
    pub(super) fn run(self) -> Result<(), Failure> {
        let client = Client::open(&self.api)?;
        let name = if self.is_stdin() { "standard input".to_owned() } else { self.file.display().to_string() };
        let failed = |error| ImportError::File(name.clone(), error);
        let (source, size) = self.open().map_err(failed)?;
        let mut run = Run {
            client: &client,
            path: self.path(),
            total: Total { dry_run: self.dry_run, ..Total::default() },
            texts: Vec::new(),
        };
        let mut progress = Progress::start(self.json, size, "lines");
        let mut parts = Parts { source, rest: Vec::new() };
        let mut wrong_file = false;
        while let Some(part) = parts.next().map_err(failed)? {
            run.send(&part, &mut progress)?;
            if run.total.refused.len() > MAX_REFUSED {
                wrong_file = true;
                break;
            }
        }
        if !self.dry_run && !wrong_file {
            run.send_refused_again()?;
        }
        progress.end();
        let total = run.total;
        let (refused, lines) = (total.refused.len(), total.lines);
        self.tell(&name, &total)?;
        if wrong_file {
            return Err(ImportError::WrongFile(name).into());
        }
        if refused > 0 { Err(ImportError::Refused { refused, lines }.into()) } else { Ok(()) }
    }

    fn is_stdin(&self) -> bool {
        self.file == Path::new("-")
    }

    /// The lines, and how many octets they have if that is known.
    fn open(&self) -> io::Result<(Box<dyn BufRead>, Option<u64>)> {
        if self.is_stdin() {
            return Ok((Box::new(io::stdin().lock()), None));
        }
        let file = File::open(&self.file)?;
        let data = file.metadata()?;
        let size = data.is_file().then_some(data.len());
        Ok((Box::new(BufReader::with_capacity(1 << 20, file)), size))
    }

    fn path(&self) -> String {
        format!("/v1/import?dry_run={}&look_up={}", self.dry_run, !self.no_lookup)
    }

    fn tell(&self, name: &str, total: &Total) -> Result<(), Failure> {
        if self.json {
            return output::json(total);
        }
        let mut errors = io::stderr().lock();
        for refused in &total.refused {
            let domain = refused.domain.as_deref().unwrap_or("no domain");
            for Fault { detail, pointer } in &refused.errors {
                let place = match spoken(pointer) {
                    place if place.is_empty() => String::new(),
                    place => format!("{place}: "),
                };
                writeln!(errors, "{name}:{}: {domain}: {place}{detail}", refused.line)?;
            }
        }
        let Total { lines, created, replaced, unchanged, .. } = total;
        let refused = total.refused.len();
        let tense = if total.dry_run { " would be" } else { "" };
        output::line(format_args!(
            "{lines} lines:{tense} {created} created, {replaced} replaced, {unchanged} unchanged, {refused} refused"
        ))?;
        Ok(total.serial.map_or(Ok(()), |serial| output::line(format_args!("serial {serial}")))?)
    }
}

/// A source cut into parts of whole lines.
struct Parts {
    source: Box<dyn BufRead>,
    /// The beginning of a line whose end has not been read.
    rest: Vec<u8>,
}

impl Parts {
    /// The next part; `None` at the end.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut part = std::mem::take(&mut self.rest);
        let room = PART.saturating_sub(part.len()) as u64;
        let read = self.source.by_ref().take(room).read_to_end(&mut part)?;
        if (read as u64) < room {
            return Ok((!part.is_empty()).then_some(part));
        }
        match part.iter().rposition(|octet| *octet == b'\n') {
            Some(at) => self.rest = part.split_off(at + 1),
            // A line as long as a part is no node: the service says so.
            None => _ = self.source.read_until(b'\n', &mut part)?,
        }
        Ok(Some(part))
    }
}

/// An import on its way.
struct Run<'a> {
    client: &'a Client,
    path: String,
    total: Total,
    /// The texts of the lines refused, in the order of `total.refused`.
    texts: Vec<Vec<u8>>,
}

impl Run<'_> {
    /// Sends a part until the service has dealt with all of it.
    fn send(&mut self, part: &[u8], progress: &mut Progress) -> Result<(), Failure> {
        let mut rest = part;
        while !rest.is_empty() {
            let answer = self.post(rest)?;
            let before = self.total.lines;
            self.total.lines += answer.lines;
            let mut ends = LineEnds::new(rest);
            for refused in answer.refused {
                self.texts.push(ends.line(refused.line).to_vec());
                self.total.refused.push(Refused { line: before + refused.line, ..refused });
            }
            let done = if answer.complete { rest.len() } else { ends.end_of(answer.lines) };
            if done == 0 {
                return Err(ImportError::Stuck.into());
            }
            rest = &rest[done..];
            progress.advance(done as u64, self.total.lines);
            if self.total.refused.len() > MAX_REFUSED {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Sends the lines refused once more, as long as that gets some of them in: they may have named hosts of nodes that
    /// came later.
    fn send_refused_again(&mut self) -> Result<(), Failure> {
        while !self.total.refused.is_empty() {
            let mut body = Vec::new();
            let mut sent = 0;
            for text in &self.texts {
                if body.len() + text.len() > PART {
                    break;
                }
                body.extend_from_slice(text.strip_suffix(b"\n").unwrap_or(text));
                body.push(b'\n');
                sent += 1;
            }
            let answer = self.post(&body)?;
            let looked_at = usize::try_from(answer.lines).unwrap_or(sent).min(sent);
            let still: std::collections::BTreeMap<usize, Refused> = answer
                .refused
                .into_iter()
                .map(|refused| (usize::try_from(refused.line).unwrap_or(0), refused))
                .collect();
            if still.len() >= looked_at {
                return Ok(());
            }
            let old = std::mem::take(&mut self.total.refused);
            let texts = std::mem::take(&mut self.texts);
            for (index, (refused, text)) in old.into_iter().zip(texts).enumerate() {
                match still.get(&(index + 1)) {
                    None if index < looked_at => {}
                    Some(now) => {
                        self.total.refused.push(Refused { line: refused.line, ..now.clone() });
                        self.texts.push(text);
                    }
                    None => {
                        self.total.refused.push(refused);
                        self.texts.push(text);
                    }
                }
            }
        }
        Ok(())
    }

    fn post(&mut self, lines: &[u8]) -> Result<PartAnswer, ClientError> {
        let answer: PartAnswer = self.client.post_lines(&self.path, lines)?.body;
        self.total.created += answer.created;
        self.total.replaced += answer.replaced;
        self.total.unchanged += answer.unchanged;
        self.total.serial = answer.serial.or(self.total.serial);
        Ok(answer)
    }
}

/// Finds lines of a text by number, from the first on.
struct LineEnds<'a> {
    text: &'a [u8],
    at: usize,
    line: u64,
}

impl<'a> LineEnds<'a> {
    const fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, line: 0 }
    }

    /// Line `number`, from 1; numbers may only grow.
    fn line(&mut self, number: u64) -> &'a [u8] {
        let begin = self.end_of(number - 1);
        let end = self.end_of(number);
        &self.text[begin..end]
    }

    /// Where line `number` ends.
    fn end_of(&mut self, number: u64) -> usize {
        while self.line < number && self.at < self.text.len() {
            let rest = &self.text[self.at..];
            self.at += rest.iter().position(|octet| *octet == b'\n').map_or(rest.len(), |at| at + 1);
            self.line += 1;
        }
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_lines() {
        let line = [vec![b'x'; 1 << 20], b"\n".to_vec()].concat();
        let text = line.repeat(70);
        let mut parts = Parts { source: Box::new(io::Cursor::new(text.clone())), rest: Vec::new() };
        let mut joined = Vec::new();
        let mut count = 0;
        while let Some(part) = parts.next().unwrap() {
            assert!(part.len() <= PART && part.ends_with(b"\n"));
            joined.extend(part);
            count += 1;
        }
        assert_eq!((count, joined == text), (3, true));
        let mut short = Parts { source: Box::new(&b"a\nb"[..]), rest: Vec::new() };
        assert_eq!((short.next().unwrap().unwrap(), short.next().unwrap()), (b"a\nb".to_vec(), None));
    }

    #[test]
    fn lines_by_number() {
        let mut ends = LineEnds::new(b"a\n\nbcd");
        assert_eq!((ends.line(1), ends.line(3)), (&b"a\n"[..], &b"bcd"[..]));
        assert_eq!((ends.end_of(3), LineEnds::new(b"a\nb\n").end_of(1)), (6, 2));
    }
}
