//! The file with the first admin token: how the command line on the same machine gets in.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::error::OpenError;
use crate::sqlite::{io_error, remove, sync_directory};
use crate::token::{NewToken, Scope, TokenError, TokenInfo, TokenSecret};

/// The file in the data directory.
const FILE: &str = "admin.token";
/// The file while it is being written.
const UNFINISHED: &str = "admin.token.new";
/// What lists say about the token.
const LABEL: &str = "admin.token";
/// Most octets that are read of the file: a secret has 50.
const MAX_LEN: u64 = 1024;
/// Only the owner may read it.
const MODE: u32 = 0o600;

/// Sees to it that the file holds the secret of a valid admin token; returns whether a new one was made.
pub(crate) fn ensure(
    data_dir: &Path,
    is_valid: impl Fn(&str) -> bool,
    issue: impl FnOnce(NewToken) -> Result<(TokenInfo, TokenSecret), TokenError>,
) -> Result<bool, OpenError> {
    let path = data_dir.join(FILE);
    let failed = |error| io_error(&path, error);
    match File::open(&path) {
        Ok(file) => {
            let mut text = Vec::new();
            (&file).take(MAX_LEN).read_to_end(&mut text).map_err(failed)?;
            if str::from_utf8(&text).is_ok_and(|text| is_valid(text.trim())) {
                if file.metadata().map_err(failed)?.permissions().mode() & 0o077 != 0 {
                    tracing::warn!(file = FILE, "others could read the admin token: revoke it if they are not trusted");
                    file.set_permissions(Permissions::from_mode(MODE)).map_err(failed)?;
                }
                return Ok(false);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }

    // The file appears whole or not at all, and nobody else can read it at any moment.
    let unfinished = data_dir.join(UNFINISHED);
    remove(&unfinished)?;
    let mut file = OpenOptions::new().create_new(true).write(true).mode(MODE).open(&unfinished).map_err(failed)?;
    let new = NewToken { label: Some(LABEL.into()), ..NewToken::new(Scope::Admin) };
    let (_, secret) = issue(new).map_err(|error| OpenError::Io { file: path.clone(), source: Box::new(error) })?;
    writeln!(file, "{}", secret.expose()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(&unfinished, &path).map_err(failed)?;
    sync_directory(data_dir)?;
    Ok(true)
}
