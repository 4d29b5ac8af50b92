//! The file with a node's key: made on first use, readable by its owner alone, never overwritten.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use tandem_identity::{KeyError, NodeKey};

/// Its name when it is beside a token.
pub const FILE: &str = "node.key";
/// Only the owner may read it.
const MODE: u32 = 0o600;

/// Where the key of the node with the token in `token_file` is: in the same folder.
pub fn beside(token_file: &Path) -> PathBuf {
    token_file.with_file_name(FILE)
}

/// The key in `file`; `None` if there is no such file.
///
/// # Errors
///
/// [`KeyFileError`]: what is there stays as it is.
pub fn load(file: &Path) -> Result<Option<NodeKey>, KeyFileError> {
    match fs::read(file) {
        Ok(text) => NodeKey::from_pem(&text).map(Some).map_err(|source| KeyFileError::key(file, source)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(KeyFileError::io(file, source)),
    }
}

/// The key in `file`, made if there is none; whether it was.
///
/// # Errors
///
/// [`KeyFileError`]: what is there stays as it is.
pub fn load_or_make(file: &Path) -> Result<(NodeKey, bool), KeyFileError> {
    if let Some(key) = load(file)? {
        return Ok((key, false));
    }
    let key = NodeKey::generate().map_err(|source| KeyFileError::key(file, source))?;
    let pem = key.to_pem().map_err(|source| KeyFileError::key(file, source))?;
    // It appears whole or not at all, beside the place first; a key that appeared meanwhile is not overwritten.
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(format!(".{}", std::process::id()));
    let written = write(Path::new(&unfinished), &pem).and_then(|()| fs::hard_link(&unfinished, file));
    let _ = fs::remove_file(&unfinished);
    if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists)
        && let Some(key) = load(file)?
    {
        return Ok((key, false));
    }
    written.map_err(|source| KeyFileError::io(file, source))?;
    // Whoever loses this key has to ask an admin: the folder's entry must be on disk, too.
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| KeyFileError::io(file, source))?;
    Ok((key, true))
}

fn write(file: &Path, pem: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(MODE).open(file)?;
    file.write_all(pem.as_bytes())?;
    file.sync_all()
}

/// What is wrong with a key's file: it is as it was.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read or made.
    #[error("the node's key {file} cannot be read or written")]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It holds no key.
    #[error("{file} is not a node's key")]
    Key {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        source: KeyError,
    },
}

impl KeyFileError {
    fn io(file: &Path, source: io::Error) -> Self {
        Self::Io { file: file.to_owned(), source }
    }

    fn key(file: &Path, source: KeyError) -> Self {
        Self::Key { file: file.to_owned(), source }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = beside(&folder.path().join("my.token"));
        assert!(load(&file).unwrap().is_none());
        let (key, made) = load_or_make(&file).unwrap();
        assert!(made);
        let (again, made) = load_or_make(&file).unwrap();
        assert_eq!((again.public_key(), made), (key.public_key(), false));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, MODE);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
        fs::write(&file, "garbage").unwrap();
        assert!(matches!(load_or_make(&file), Err(KeyFileError::Key { .. })));
        assert_eq!(fs::read(&file).unwrap(), b"garbage", "it is as it was");
        assert!(matches!(load_or_make(&folder.path().join("no/such/folder")), Err(KeyFileError::Io { .. })));
    }
}
