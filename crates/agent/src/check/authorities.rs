//! The authorities that are believed where a member's document names no key.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// Their certificates. Cheap to clone.
pub(crate) type Authorities = Arc<[CertificateDer<'static>]>;

/// Why they cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the authorities in {} cannot be used", file.display())]
pub struct UnusableAuthorities {
    file: PathBuf,
    #[source]
    source: io::Error,
}

/// Those in `file` (PEM), or those of the system.
pub(super) fn load(file: Option<&Path>) -> Result<Authorities, UnusableAuthorities> {
    let Some(file) = file else { return Ok(rustls_native_certs::load_native_certs().certs.into()) };
    let failed = |source| UnusableAuthorities { file: file.to_owned(), source };
    let text = std::fs::read(file).map_err(failed)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(|error| failed(io::Error::other(error)))?;
    match certificates.is_empty() {
        true => Err(failed(io::Error::other("it holds no certificate in PEM"))),
        false => Ok(certificates.into()),
    }
}
