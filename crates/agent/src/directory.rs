//! The directory's API as an agent asks it: HTTP/1.1 over TLS (plain only on loopback), one kept connection each user, the
//! change feed as a stream. Several URLs are tried in order; the one that answered last is asked first.

mod body;
mod error;
mod events;
mod link;
mod tls;
mod url;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ClientConfig;

pub(crate) use self::body::{
    ChangeBody, Changes, Lease, MemberBody, Members, Moved, RegistrationBody, parse as parse_body,
};
pub use self::error::DirectoryError;
pub(crate) use self::events::{Event, Signal};
pub(crate) use self::link::{Answer, Link, Method};
pub use self::url::{DirectoryUrl, InvalidUrl};

/// How to reach the directory. Cheap to share.
#[derive(Debug)]
pub struct Directory {
    urls: Vec<DirectoryUrl>,
    /// The file of the certificates to trust; `None`: those of the system.
    ca_file: Option<PathBuf>,
    /// Whom TLS believes; `None` if no URL needs it. Read again when a certificate is refused.
    tls: RwLock<Option<Arc<ClientConfig>>>,
    /// Which URL answered last.
    preferred: AtomicUsize,
}

impl Directory {
    /// Reads what TLS needs; asks nobody yet.
    ///
    /// # Errors
    ///
    /// [`DirectoryError::Certificates`]: the file is not what it should be.
    pub fn new(urls: Vec<DirectoryUrl>, ca_file: Option<&Path>) -> Result<Self, DirectoryError> {
        let tls = if urls.iter().any(|url| url.is_tls) { Some(tls::config(ca_file)?) } else { None };
        let ca_file = ca_file.map(Path::to_owned);
        Ok(Self { urls, ca_file, tls: RwLock::new(tls), preferred: AtomicUsize::new(0) })
    }

    /// Whom TLS believes now.
    pub(crate) fn trust(&self) -> Option<Arc<ClientConfig>> {
        self.tls.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the certificates to trust again: a directory that got another certificate is believed once the file has it,
    /// without a restart. A file that cannot be read changes nothing.
    pub(crate) fn renew_trust(&self) {
        if let Ok(tls) = tls::config(self.ca_file.as_deref()) {
            *self.tls.write().unwrap_or_else(PoisonError::into_inner) = Some(tls);
        }
    }

    /// The first URL: the directory's name in what is written down.
    pub(crate) fn name(&self) -> String {
        self.urls.first().map(ToString::to_string).unwrap_or_default()
    }

    /// The URL that is asked first now.
    pub(crate) fn current(&self) -> String {
        let at = self.preferred.load(std::sync::atomic::Ordering::Relaxed);
        self.urls.get(at).map(ToString::to_string).unwrap_or_default()
    }

    /// A way to it with the token in `token_file`, which is read anew for each connection.
    pub(crate) fn link(self: &Arc<Self>, token_file: Option<PathBuf>) -> Link {
        Link::new(Arc::clone(self), token_file)
    }
}
