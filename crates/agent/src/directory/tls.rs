//! Whom TLS believes: the system's authorities, or those of one file.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::error::DirectoryError;

pub(super) fn config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, DirectoryError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(file) => {
            let failed = |source| DirectoryError::Certificates { file: file.to_owned(), source };
            let text = std::fs::read(file).map_err(failed)?;
            for certificate in CertificateDer::pem_slice_iter(&text) {
                let certificate = certificate.map_err(|error| failed(io::Error::other(error)))?;
                roots.add(certificate).map_err(|error| failed(io::Error::other(error)))?;
            }
            if roots.is_empty() {
                return Err(failed(io::Error::other("it holds no certificate in PEM")));
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("the provider has TLS 1.2 and 1.3");
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
