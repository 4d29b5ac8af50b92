//! The API's certificate: own files, or one made at first start (API-6; TLS as in the profile's CERT-60 to CERT-67).

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tandem_model::DomainName;
use tandem_probe::AnyClientCertificate;

/// Days that a certificate of our own making is good for: nobody is there to renew it, and clients pin it.
const SELF_SIGNED_DAYS: i64 = 3650;

/// Where a certificate chain and its key are, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, then its issuers.
    pub chain: PathBuf,
    /// The private key: PKCS #8, SEC1 or PKCS #1.
    pub key: PathBuf,
}

/// What is wrong with the certificate: the files stay as they are.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read or written.
    #[error("{file} cannot be read or written")]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file is no PEM text, or has not what it must have.
    #[error("{file} has no {what} in PEM")]
    Pem {
        /// The file.
        file: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
        /// What is wrong with the text.
        #[source]
        source: pem::Error,
    },
    /// The key is not the certificate's, or of a kind that is not supported.
    #[error("the certificate in {chain} and the key in {key} cannot be used together")]
    Unusable {
        /// The certificate.
        chain: PathBuf,
        /// The key.
        key: PathBuf,
        /// What the TLS library says.
        #[source]
        source: rustls::Error,
    },
    /// A certificate could not be made.
    #[error("no certificate could be made")]
    Make(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The certificate that handshakes use now, and where it came from.
#[derive(Debug)]
pub(crate) struct Certificate {
    files: CertificateFiles,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<CertifiedKey>,
}

impl Certificate {
    /// Loads `files`.
    pub(crate) fn load(files: CertificateFiles) -> Result<Arc<Self>, CertificateError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let current = ArcSwap::from_pointee(read(&files, &provider)?);
        Ok(Arc::new(Self { files, provider, current }))
    }

    /// Loads the files again; on any error the old certificate stays.
    pub(crate) fn reload(&self) -> Result<(), CertificateError> {
        self.current.store(Arc::new(read(&self.files, &self.provider)?));
        Ok(())
    }

    /// TLS 1.2 and 1.3 (CERT-60, CERT-61) with this certificate. The provider's suites are ECDHE with AEAD only
    /// (CERT-63); no early data (CERT-67).
    ///
    /// With `asks_clients` for their certificates; a client without one is nobody in particular (CERT-23).
    pub(crate) fn server_config(self: &Arc<Self>, asks_clients: bool) -> Result<ServerConfig, CertificateError> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| CertificateError::Make(Box::new(error)))?;
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Self>::clone(self);
        let builder = match asks_clients {
            true => builder.with_client_cert_verifier(AnyClientCertificate::new()),
            false => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn read(files: &CertificateFiles, provider: &CryptoProvider) -> Result<CertifiedKey, CertificateError> {
    let wrong = |file: &Path, what| {
        let file = file.to_owned();
        move |source| match source {
            pem::Error::Io(source) => CertificateError::Io { file, source },
            source => CertificateError::Pem { file, what, source },
        }
    };
    let chain = CertificateDer::pem_file_iter(&files.chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) })
        .map_err(wrong(&files.chain, "certificate"))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(wrong(&files.key, "private key"))?;
    // Also checks that the two belong together.
    CertifiedKey::from_der(chain, key, provider).map_err(|source| CertificateError::Unusable {
        chain: files.chain.clone(),
        key: files.key.clone(),
        source,
    })
}

/// The files `api.crt` and `api.key` in `data_dir`; makes them if `api.crt` is not there, for `addresses` and `names`.
///
/// # Errors
///
/// [`CertificateError`]: a file cannot be written, or no certificate can be made.
pub fn self_signed(
    data_dir: &Path,
    addresses: &[IpAddr],
    names: &[DomainName],
) -> Result<CertificateFiles, CertificateError> {
    let files = CertificateFiles { chain: data_dir.join("api.crt"), key: data_dir.join("api.key") };
    let there =
        files.chain.try_exists().map_err(|source| CertificateError::Io { file: files.chain.clone(), source })?;
    if there {
        return Ok(files);
    }
    let mut subjects: Vec<String> = names.iter().map(ToString::to_string).collect();
    subjects.extend(["localhost", "127.0.0.1", "::1"].map(Into::into));
    for address in addresses.iter().filter(|address| !address.is_unspecified() && !address.is_loopback()) {
        let subject = address.to_string();
        if !subjects.contains(&subject) {
            subjects.push(subject);
        }
    }
    let made = make(subjects).map_err(|error| CertificateError::Make(Box::new(error)))?;
    // The key first: a crash in between leaves a key without a certificate, and both are made anew.
    write(&files.key, 0o600, &made.1)?;
    write(&files.chain, 0o644, &made.0)?;
    tracing::info!(file = %files.chain.display(), "made a self-signed certificate: clients need it as their trust anchor");
    Ok(files)
}

/// A certificate for `subjects` and its key, in PEM.
fn make(subjects: Vec<String>) -> Result<(String, String), rcgen::Error> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = rcgen::CertificateParams::new(subjects)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Tandem API");
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    let now = time::OffsetDateTime::now_utc();
    // Clocks differ: a client's may be behind ours.
    params.not_before = now - time::Duration::days(1);
    params.not_after = now + time::Duration::days(SELF_SIGNED_DAYS);
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Writes a whole file or none: a new one beside it takes its place.
fn write(file: &Path, mode: u32, text: &str) -> Result<(), CertificateError> {
    let new = file.with_extension("new");
    let write = || {
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut out = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        fs::rename(&new, file)
    };
    write().map_err(|source| CertificateError::Io { file: file.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn address() -> [IpAddr; 1] {
        ["192.0.2.1".parse().unwrap()]
    }

    #[test]
    fn made_once_and_the_key_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["api.ostn.test".parse().unwrap()];
        let files = self_signed(dir.path(), &address(), &names).unwrap();
        assert_eq!(fs::metadata(&files.key).unwrap().permissions().mode() & 0o777, 0o600);
        let first = fs::read(&files.chain).unwrap();
        self_signed(dir.path(), &address(), &names).unwrap();
        assert_eq!(fs::read(&files.chain).unwrap(), first, "a second start keeps it");
        Certificate::load(files).unwrap().server_config(false).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn a_crash_between_the_two_files_is_mended() {
        let dir = tempfile::tempdir().unwrap();
        let files = self_signed(dir.path(), &address(), &[]).unwrap();
        fs::remove_file(&files.chain).unwrap();
        let files = self_signed(dir.path(), &address(), &[]).unwrap();
        Certificate::load(files).unwrap();
    }

    #[test]
    fn reload_keeps_the_old_one_on_errors() {
        let dir = tempfile::tempdir().unwrap();
        let certificate = Certificate::load(self_signed(dir.path(), &address(), &[]).unwrap()).unwrap();
        let before = certificate.current.load_full();
        let other = tempfile::tempdir().unwrap();
        let theirs = self_signed(other.path(), &address(), &[]).unwrap();

        fs::write(&certificate.files.chain, "no certificate").unwrap();
        assert!(matches!(certificate.reload(), Err(CertificateError::Pem { what: "certificate", .. })));
        fs::copy(&theirs.chain, &certificate.files.chain).unwrap();
        assert!(matches!(certificate.reload(), Err(CertificateError::Unusable { .. })), "key of another certificate");
        assert!(Arc::ptr_eq(&before, &certificate.current.load_full()));

        fs::copy(&theirs.key, &certificate.files.key).unwrap();
        certificate.reload().unwrap();
        assert!(!Arc::ptr_eq(&before, &certificate.current.load_full()));
        fs::remove_file(&certificate.files.key).unwrap();
        assert!(matches!(certificate.reload(), Err(CertificateError::Io { .. })));
    }
}
