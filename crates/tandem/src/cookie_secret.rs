//! The file of the cookie secrets: made on first start, shared by replicas, read again on SIGHUP (RFC 9018 5).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tandem_dns::{CookieSecrets, InvalidSecrets};
use tracing::{info, warn};

use crate::config::Config;

/// The file in the data folder, if the settings name no other.
pub const FILE: &str = "cookie.secret";
/// Only the owner may read it.
const MODE: u32 = 0o600;
/// Mode bits of others, who could make cookies if they could read it.
const OTHERS: u32 = 0o007;
/// Most octets that are read: two secrets have 66.
const MAX_LEN: u64 = 4096;

/// Where the secrets of `config` are.
fn path(config: &Config) -> PathBuf {
    config.dns.policy.cookie_secret.clone().unwrap_or_else(|| config.data_dir.join(FILE))
}

/// Reads the secrets; makes the file in the data folder if there is none.
///
/// # Errors
///
/// [`CookieSecretError`]; a file that the settings name must be there, for it is shared.
pub(crate) fn load_or_make(config: &Config) -> Result<CookieSecrets, CookieSecretError> {
    let path = path(config);
    match read(&path) {
        Err(CookieSecretError::Io { source, .. })
            if source.kind() == io::ErrorKind::NotFound && config.dns.policy.cookie_secret.is_none() =>
        {
            make(&path).map_err(|source| CookieSecretError::Io { file: path.clone(), source })?;
            info!(file = %path.display(), "a secret for DNS cookies was made");
            read(&path)
        }
        result => result,
    }
}

/// Reads the secrets again.
///
/// # Errors
///
/// [`CookieSecretError`].
pub(crate) fn load(config: &Config) -> Result<CookieSecrets, CookieSecretError> {
    read(&path(config))
}

fn read(path: &Path) -> Result<CookieSecrets, CookieSecretError> {
    let failed = |source| CookieSecretError::Io { file: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.permissions().mode() & OTHERS != 0 {
        warn!(file = %path.display(), "others can read the secret of DNS cookies: take that right away from them");
    }
    let mut text = String::new();
    file.take(MAX_LEN).read_to_string(&mut text).map_err(failed)?;
    CookieSecrets::parse(&text).map_err(|source| CookieSecretError::Content { file: path.into(), source })
}

/// Makes a file with one random secret. It appears whole or not at all, and nobody else can read it at any moment.
fn make(path: &Path) -> io::Result<()> {
    let mut secret = [0; 16];
    getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
    let unfinished = path.with_extension("secret.new");
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().create_new(true).write(true).mode(MODE).open(&unfinished)?;
    writeln!(file, "{:032x}", u128::from_be_bytes(secret))?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)
}

/// Why there are no cookie secrets.
#[derive(Debug, thiserror::Error)]
pub enum CookieSecretError {
    /// The file cannot be read, or not be made.
    #[error("the file of the cookie secrets, {file}, cannot be used")]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// What stands in it is wrong: the operator corrects it.
    #[error("the file of the cookie secrets, {file}, is not right")]
    Content {
        /// The file.
        file: PathBuf,
        /// The line.
        #[source]
        source: InvalidSecrets,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(dir: &Path) -> Config {
        Config { data_dir: dir.into(), ..Config::default() }
    }

    #[test]
    fn made_once_for_the_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        assert!(load(&config).is_err());
        let first = load_or_make(&config).unwrap();
        assert_eq!(load_or_make(&config).unwrap(), first, "kept");
        assert_eq!(load(&config).unwrap(), first);
        let file = dir.path().join(FILE);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::remove_file(&file).unwrap();
        assert_ne!(load_or_make(&config).unwrap(), first, "random");
    }

    #[test]
    fn a_file_that_is_named_must_be_there_and_right() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("shared");
        let mut config = config(dir.path());
        config.dns.policy.cookie_secret = Some(file.clone());
        assert!(matches!(load_or_make(&config), Err(CookieSecretError::Io { .. })));
        std::fs::write(&file, "e5e973e5a6b2a43f48e7dc849e37bfcf\n").unwrap();
        assert!(load_or_make(&config).is_ok());
        std::fs::write(&file, "secret\n").unwrap();
        let error = load_or_make(&config).unwrap_err();
        assert!(matches!(error, CookieSecretError::Content { .. }), "{error:?}");
        assert!(!format!("{error:?}").contains("\"secret\\n\""), "what stands there is not shown");
        // The folder's own is not made instead.
        assert!(!dir.path().join(FILE).exists());
    }
}
