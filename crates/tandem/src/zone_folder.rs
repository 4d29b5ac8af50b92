//! The folder of master files: every `*.zone` in it is a zone, `$INCLUDE` stays below it, and one reading reports
//! every faulty file at once. Reading is whole or not at all: a broken file never makes half a directory.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use tandem_model::DomainName;
use tandem_zone::Settings;
use tandem_zone::master::StaticZone;
use tracing::warn;

use crate::config::{Config, GeneratedZone, Problem};

/// What a zone's file name ends in.
const EXTENSION: &str = "zone";
/// Most zones in one folder: more would be a mistake, such as the root of a file system.
const MAX_ZONES: usize = 10_000;
/// Largest file, in octets: about two million records.
const MAX_FILE: u64 = 128 << 20;
/// Most `$INCLUDE` lines that one zone follows, nested ones too: a file that includes itself ends here.
const MAX_INCLUDES: usize = 64;
/// Most warnings of one zone that are logged; a count stands for the rest.
const MAX_LOGGED: usize = 20;

/// One zone and the file that it stands in.
#[derive(Debug)]
pub struct ZoneFile {
    /// The master file.
    pub path: PathBuf,
    /// What is in it.
    pub zone: StaticZone,
}

impl ZoneFile {
    /// What loads but is probably wrong.
    pub fn warnings(&self) -> impl Iterator<Item = Problem> + '_ {
        self.zone.warnings().iter().map(|warning| Problem::of_file(&self.path, format!("warning: {warning}")))
    }
}

/// Logs what loads but is probably wrong: each warning once, of one zone no more than 20.
pub fn log_warnings(files: &[ZoneFile]) {
    for ZoneFile { path, zone } in files {
        let (file, warnings) = (path.display(), zone.warnings());
        for warning in warnings.iter().take(MAX_LOGGED) {
            warn!(zone = %zone.apex(), %file, "{warning}");
        }
        if let Some(more) = warnings.len().checked_sub(MAX_LOGGED).filter(|more| *more > 0) {
            warn!(zone = %zone.apex(), %file, more, "and more warnings: `tandem zone check` shows all of them");
        }
    }
}

/// The zones without their files.
#[must_use]
pub fn zones(files: Vec<ZoneFile>) -> Vec<StaticZone> {
    files.into_iter().map(|file| file.zone).collect()
}

/// Reads every zone of `folder`, in canonical order of their names.
///
/// # Errors
///
/// [`ZoneFolderError`] with a problem for each file that cannot be served; the admin corrects them.
pub fn read(folder: &Path) -> Result<Vec<ZoneFile>, ZoneFolderError> {
    let mut problems = Vec::new();
    let mut zones = Vec::new();
    let files = files(folder, &mut problems);
    // `A.test.zone` and `a.test.zone`; in canonical order they are neighbours.
    for [(first, kept), (second, other)] in files.array_windows() {
        if first == second {
            let what = format!("the zone {first} has another file, {}: remove one", kept.display());
            problems.push(Problem::of_file(other, what));
        }
    }
    for (origin, path) in files {
        match read_file(folder, &origin, &path) {
            Ok(zone) => zones.push(ZoneFile { path, zone }),
            Err(problem) => problems.push(problem),
        }
    }
    if zones.is_empty() && problems.is_empty() {
        problems.push(Problem::of_file(folder, "has no *.zone file: add one for each zone, such as ostel.me.zone"));
    }
    if problems.is_empty() { Ok(zones) } else { Err(ZoneFolderError { problems }) }
}

/// Reads one master file; its name says the zone's, and its folder is the one that `$INCLUDE` stays in.
///
/// # Errors
///
/// The first problem in the file.
pub fn read_one(path: &Path) -> Result<ZoneFile, Problem> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    Ok(ZoneFile { path: path.to_owned(), zone: read_file(folder, &origin_of(path)?, path)? })
}

/// Which of the zones are made from nodes, as `config` says and the zones allow.
#[must_use]
pub fn settings(config: &Config, files: &[ZoneFile]) -> Settings {
    let choose = |zone: &GeneratedZone, label| zone.choose(label, files.iter().map(|file| file.zone.apex()));
    Settings {
        peers_zone: choose(&config.peers_zone, "peers"),
        policy_zone: choose(&config.policy_zone, "policy"),
        number_zone: choose(&config.number_zone, "e164"),
    }
}

/// The zone files and their zones' names, in canonical order.
fn files(folder: &Path, problems: &mut Vec<Problem>) -> Vec<(DomainName, PathBuf)> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            let what = format!("the zones folder cannot be read ({error}): create it, or name another with --zones");
            problems.push(Problem::of_file(folder, what));
            return found;
        }
    };
    for entry in entries {
        let path = match entry {
            Ok(entry) => entry.path(),
            Err(error) => {
                problems.push(Problem::of_file(folder, format!("cannot be listed: {error}")));
                break;
            }
        };
        // `*.zone` as a shell reads it: what begins with a dot is an editor's.
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden || path.extension().is_none_or(|extension| extension != EXTENSION) {
            continue;
        }
        match origin_of(&path) {
            Ok(origin) => found.push((origin, path)),
            Err(problem) => problems.push(problem),
        }
        if found.len() > MAX_ZONES {
            problems.push(Problem::of_file(folder, format!("has more than {MAX_ZONES} zone files")));
            break;
        }
    }
    found.sort();
    found
}

/// `zones/ostel.me.zone` holds `ostel.me`.
fn origin_of(path: &Path) -> Result<DomainName, Problem> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.parse().map_err(|error| {
        Problem::of_file(path, format!("the file's name must be the zone's name, such as ostel.me.zone: {error}"))
    })
}

fn read_file(folder: &Path, origin: &DomainName, path: &Path) -> Result<StaticZone, Problem> {
    let text = read_limited(path).map_err(|reason| Problem::of_file(path, reason))?;
    let mut included = 0;
    let mut include = |name: &str| {
        included += 1;
        if included > MAX_INCLUDES {
            return Err(format!("more than {MAX_INCLUDES} $INCLUDE lines in one zone: does a file include itself?"));
        }
        read_limited(&included_file(folder, name)?)
    };
    StaticZone::read(origin, &path.to_string_lossy(), &text, &mut include).map_err(|error| {
        let file = if Path::new(&error.file) == path { path.to_owned() } else { folder.join(&error.file) };
        Problem { file: Some(file), line: error.line, reason: error.reason }
    })
}

/// The file that an `$INCLUDE` names, from the zones folder; never outside it, symbolic links followed. The reader of
/// the master file puts the `$INCLUDE` before a reason.
fn included_file(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let relative = Path::new(name);
    if !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err("only files below the zones folder, named from that folder without `..`".to_owned());
    }
    let cannot = |error: std::io::Error| format!("the file cannot be read from the zones folder: {error}");
    let file = folder.join(relative).canonicalize().map_err(cannot)?;
    if !file.starts_with(folder.canonicalize().map_err(cannot)?) {
        return Err("the link leads out of the zones folder".to_owned());
    }
    Ok(file)
}

/// The file's text, unless it is too large or no plain file (a pipe would never end).
fn read_limited(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    if !fs::metadata(path).map_err(cannot)?.is_file() {
        return Err("is not a plain file".to_owned());
    }
    let mut text = Vec::new();
    File::open(path).map_err(cannot)?.take(MAX_FILE + 1).read_to_end(&mut text).map_err(cannot)?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("is larger than {} MiB", MAX_FILE >> 20));
    }
    Ok(text)
}

/// Why a zones folder cannot be served: one problem a line, each with file and line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneFolderError {
    /// Never empty; in the order of the zones' names.
    pub problems: Vec<Problem>,
}

impl std::fmt::Display for ZoneFolderError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the zone files are not right")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for ZoneFolderError {}

#[cfg(test)]
mod tests {
    use super::*;

    const SOA: &str = "$TTL 60\n@ IN SOA ns h 1 2 3 4 5\n@ IN NS ns\nns IN A 192.0.2.1\n";

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn problems(dir: &tempfile::TempDir) -> Vec<String> {
        let prefix = format!("{}/", dir.path().display());
        let error = read(dir.path()).unwrap_err();
        error.problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
    }

    #[test]
    fn zones_are_read_in_canonical_order_and_other_files_ignored() {
        let dir = folder(&[
            ("z.a.test.zone", SOA),
            ("b.test.zone", SOA),
            ("a.test.zone", SOA),
            ("README.md", "# no zone"),
            ("common.inc", "not a zone either"),
            (".#a.test.zone", "an editor's lock"),
        ]);
        let names: Vec<String> = read(dir.path()).unwrap().iter().map(|file| file.zone.apex().to_string()).collect();
        assert_eq!(names, ["a.test", "z.a.test", "b.test"]);
    }

    #[test]
    fn origin_in_the_file_and_absolute_names_work() {
        let text = "$ORIGIN a.test.\n$TTL 60\na.test. IN SOA ns.a.test. h.a.test. 1 2 3 4 5\na.test. IN NS ns.a.test.\nns IN A 192.0.2.1\n";
        assert_eq!(read(folder(&[("a.test.zone", text)]).path()).unwrap().len(), 1);
    }

    #[test]
    fn all_problems_of_all_files_at_once() {
        let dir = folder(&[
            ("a.test.zone", &format!("{SOA}x IN A 999.0.0.1\n")),
            ("b.test.zone", SOA),
            ("c.test.zone", &format!("{SOA}\nx IN NOSUCH 1\n")),
            ("a b.zone", SOA),
        ]);
        let problems = problems(&dir);
        assert_eq!(problems.len(), 3, "{problems:#?}");
        assert!(problems[0].starts_with("a b.zone: "), "{problems:#?}");
        assert!(problems[1].starts_with("a.test.zone:5: "), "{problems:#?}");
        assert!(problems[2].starts_with("c.test.zone:6: "), "{problems:#?}");
    }

    #[test]
    fn two_files_of_one_zone_are_both_named() {
        let dir = folder(&[("ttl.test.zone", SOA), ("TTL.TEST.zone", SOA), ("b.test.zone", SOA)]);
        let problems = problems(&dir);
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(problems[0].contains("ttl.test.zone") && problems[0].contains("TTL.TEST.zone"), "{problems:#?}");
    }

    #[test]
    fn include_stays_below_the_folder() {
        let outside = folder(&[("secret", "x IN A 192.0.2.9\n")]);
        let include = |name: &str| {
            folder(&[("a.test.zone", &format!("{SOA}$INCLUDE {name}\n")), ("sub/hosts", "x IN A 192.0.2.9\n")])
        };
        assert!(read(include("sub/hosts").path()).is_ok());
        assert!(read(include("./sub/hosts").path()).is_ok());
        let secret = outside.path().join("secret").display().to_string();
        for name in ["../secret", "sub/../../secret", secret.as_str(), "missing", "sub"] {
            let dir = include(name);
            let problems = problems(&dir);
            assert!(problems[0].starts_with(&format!("a.test.zone:5: $INCLUDE {name}: ")), "{name}: {problems:#?}");
            assert_eq!(problems[0].matches("$INCLUDE").count(), 1, "{name}: {problems:#?}");
        }
        let dir = include("link");
        std::os::unix::fs::symlink(outside.path().join("secret"), dir.path().join("link")).unwrap();
        assert!(problems(&dir)[0].contains("leads out"), "{:?}", problems(&dir));
    }

    #[test]
    fn an_include_of_itself_ends() {
        let dir = folder(&[("a.test.zone", &format!("{SOA}$INCLUDE loop\n")), ("loop", "$INCLUDE loop\n")]);
        assert_eq!(problems(&dir).len(), 1);
    }

    #[test]
    fn an_error_in_an_included_file_names_that_file() {
        let dir = folder(&[("a.test.zone", &format!("{SOA}$INCLUDE hosts\n")), ("hosts", "\nx IN A bad\n")]);
        assert!(problems(&dir)[0].starts_with("hosts:2: "), "{:?}", problems(&dir));
    }

    #[test]
    fn an_empty_or_missing_folder_says_what_to_do() {
        assert!(problems(&folder(&[]))[0].contains("add one for each zone"));
        let missing = folder(&[]).path().join("none");
        assert!(read(&missing).unwrap_err().to_string().contains("--zones"));
    }
}
