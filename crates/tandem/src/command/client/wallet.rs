//! The tokens that `tandem join` got, in a file of their owner's: `tandem/tokens.json` in `$XDG_CONFIG_HOME`, else in
//! `~/.config`. Nobody else may read it (mode 0600).

use std::env;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Only the owner may read the file.
const FILE_MODE: u32 = 0o600;
/// Only the owner may look into a folder that is made for it.
const FOLDER_MODE: u32 = 0o700;

/// What the file holds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::command) struct Wallet {
    #[serde(skip)]
    file: PathBuf,
    #[serde(default)]
    tokens: Vec<Entry>,
    /// Invitations whose answer has not come yet.
    #[serde(default)]
    asked: Vec<Asked>,
}

/// A token.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::command) struct Entry {
    /// The URL of the API.
    pub(in crate::command) api: String,
    /// The domain that it is about.
    pub(in crate::command) domain: String,
    /// Its secret.
    pub(in crate::command) token: String,
    /// The file of the key that signs for it; the first publication makes it if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::command) key: Option<PathBuf>,
    /// The file of the certificate by which the API was believed (`--ca`), if that was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::command) ca: Option<PathBuf>,
}

/// The redemption of an invitation, as it was sent: the same key again gets the same answer, if that got lost.
#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    /// SHA-256 of the code, in hexadecimal.
    code: String,
    /// The idempotency key.
    key: String,
}

/// The file of tokens cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the file of tokens {} cannot be used", file.display())]
pub(in crate::command) struct WalletError {
    file: PathBuf,
    #[source]
    source: io::Error,
}

/// Hides the secret.
impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("api", &self.api).field("domain", &self.domain).finish_non_exhaustive()
    }
}

impl Wallet {
    /// Reads the file of this user; empty if there is none.
    pub(in crate::command) fn open() -> Result<Self, WalletError> {
        let folder = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let config = folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")));
        config.map_or_else(|| Ok(Self::default()), |config| Self::read(&config.join("tandem").join("tokens.json")))
    }

    fn read(file: &Path) -> Result<Self, WalletError> {
        let failed = |source| WalletError { file: file.to_owned(), source };
        let text = match fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => b"{}".to_vec(),
            Err(error) => return Err(failed(error)),
        };
        let wallet: Self = serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
        Ok(Self { file: file.to_owned(), ..wallet })
    }

    /// Where the key of `domain` is kept if nothing else is said: beside the tokens.
    pub(in crate::command) fn key_file(&self, domain: &str) -> PathBuf {
        self.file.with_file_name(format!("{}.key", domain.to_ascii_lowercase()))
    }

    /// Makes the folder of the file, for its owner alone.
    pub(in crate::command) fn make_folder(&self) -> Result<(), WalletError> {
        let made = match self.file.parent() {
            Some(folder) => DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "neither XDG_CONFIG_HOME nor HOME is set")),
        };
        made.map_err(|source| WalletError { file: self.file.clone(), source })
    }

    /// Where it is kept.
    pub(in crate::command) fn file(&self) -> &Path {
        &self.file
    }

    /// The API that all tokens here are for, if it is one.
    pub(super) fn only_api(&self) -> Option<&str> {
        let first = &self.tokens.first()?.api;
        self.tokens.iter().all(|entry| entry.api == *first).then_some(first)
    }

    /// The token for `domain` at `api`: that of the nearest name at or above it. Without a domain the only one.
    pub(super) fn find(&self, api: &str, domain: Option<&str>) -> Option<&Entry> {
        let mut there = self.tokens.iter().filter(|entry| entry.api == api);
        let Some(domain) = domain else {
            return there.next().filter(|_| there.next().is_none());
        };
        let domain = domain.to_ascii_lowercase();
        let covers = |entry: &&Entry| {
            domain.strip_suffix(&entry.domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        there.filter(covers).max_by_key(|entry| entry.domain.len())
    }

    /// The file of the certificate that was named last when a token at `api` was got.
    pub(super) fn ca(&self, api: &str) -> Option<&Path> {
        self.tokens.iter().rev().filter(|entry| entry.api == api).find_map(|entry| entry.ca.as_deref())
    }

    /// The domains that tokens at `api` are for, for people.
    pub(super) fn domains(&self, api: &str) -> String {
        let there = self.tokens.iter().filter(|entry| entry.api == api);
        there.map(|entry| entry.domain.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Keeps a token in the place of another one for the same domain.
    pub(in crate::command) fn keep(&mut self, entry: Entry) -> Result<(), WalletError> {
        self.tokens.retain(|known| known.api != entry.api || known.domain != entry.domain);
        self.tokens.push(entry);
        self.write()
    }

    /// Puts another secret in the place of the one that is kept for `domain` at `api`; the rest stays.
    pub(in crate::command) fn change_secret(
        &mut self,
        api: &str,
        domain: &str,
        secret: &str,
    ) -> Result<(), WalletError> {
        for entry in self.tokens.iter_mut().filter(|entry| entry.api == api && entry.domain == domain) {
            secret.clone_into(&mut entry.token);
        }
        self.write()
    }

    /// The idempotency key with which this code is redeemed: written down before it is sent.
    pub(in crate::command) fn key_of(
        &mut self,
        code: &str,
        new: impl FnOnce() -> String,
    ) -> Result<String, WalletError> {
        let code = digest(code);
        if let Some(asked) = self.asked.iter().find(|asked| asked.code == code) {
            return Ok(asked.key.clone());
        }
        let key = new();
        self.asked.push(Asked { code, key: key.clone() });
        self.write()?;
        Ok(key)
    }

    /// The answer for this code has come, or never will. Written with the next change.
    pub(in crate::command) fn forget(&mut self, code: &str) {
        let code = digest(code);
        self.asked.retain(|asked| asked.code != code);
    }

    /// Writes the file anew: it is there whole or as it was, and nobody else can read it at any moment.
    pub(in crate::command) fn write(&self) -> Result<(), WalletError> {
        let text = serde_json::to_vec_pretty(self).expect("strings are JSON");
        self.make_folder()?;
        replace(&self.file, &text).map_err(|source| WalletError { file: self.file.clone(), source })
    }
}

/// Writes a file for its owner alone in the place of one that may be there.
pub(in crate::command) fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&unfinished)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

fn digest(code: &str) -> String {
    Sha256::digest(code.as_bytes()).iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn entry(api: &str, domain: &str, token: &str) -> Entry {
        Entry { api: api.into(), domain: domain.into(), token: token.into(), key: None, ca: None }
    }

    #[test]
    fn tokens_are_kept_for_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("deep").join("tokens.json");
        let mut wallet = Wallet::read(&file).unwrap();
        assert!(wallet.find("http://a", None).is_none());
        wallet.keep(entry("http://a", "o.me", "old")).unwrap();
        wallet.keep(entry("http://a", "o.me", "new")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        let wallet = Wallet::read(&file).unwrap();
        assert_eq!(wallet.find("http://a", None).unwrap().token, "new");
        assert_eq!(wallet.only_api(), Some("http://a"));
        fs::write(&file, "not JSON").unwrap();
        assert!(Wallet::read(&file).unwrap_err().to_string().contains("tokens.json"));
    }

    #[test]
    fn the_nearest_name_counts() {
        let dir = tempfile::tempdir().unwrap();
        let mut wallet = Wallet::read(&dir.path().join("tokens.json")).unwrap();
        for (api, domain) in [("http://a", "o.me"), ("http://a", "x.o.me"), ("http://b", "o.me")] {
            wallet.keep(entry(api, domain, &format!("{api} {domain}"))).unwrap();
        }
        for (api, domain, found) in [
            ("http://a", Some("o.me"), Some("http://a o.me")),
            ("http://a", Some("y.X.o.me"), Some("http://a x.o.me")),
            ("http://a", Some("xx.o.me"), Some("http://a o.me")),
            ("http://a", Some("foo.me"), None),
            ("http://a", None, None),
            ("http://b", None, Some("http://b o.me")),
            ("http://c", Some("o.me"), None),
        ] {
            assert_eq!(wallet.find(api, domain).map(|entry| entry.token.as_str()), found, "{api} {domain:?}");
        }
        assert_eq!(wallet.only_api(), None);
    }

    #[test]
    fn a_code_keeps_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tokens.json");
        let mut wallet = Wallet::read(&file).unwrap();
        assert_eq!(wallet.key_of("code", || "one".into()).unwrap(), "one");
        let mut wallet = Wallet::read(&file).unwrap();
        assert_eq!(wallet.key_of("code", || "two".into()).unwrap(), "one");
        assert!(!fs::read_to_string(&file).unwrap().contains("\"code\": \"code\""));
        wallet.forget("code");
        assert_eq!(wallet.key_of("code", || "two".into()).unwrap(), "two");
    }
}
