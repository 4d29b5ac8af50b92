//! What is trusted, and with what: who listens at a URL, the token that goes there, the certificates that it may have.

use std::env::{self, VarError};
use std::io;
use std::net::IpAddr;
use std::path::Path;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use ureq::http::Uri;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts};

use super::ClientError;
use crate::runtime_file::Running;

/// What the URL says about who listens there.
pub(super) struct Place {
    /// The service of our data folder, or at least this machine.
    pub(super) is_local: bool,
    /// Others could read along.
    pub(super) is_clear_text: bool,
}

impl Place {
    /// Of the API at `base`.
    ///
    /// # Errors
    ///
    /// [`ClientError::Url`].
    pub(super) fn of(base: &str, running: Option<&Running>) -> Result<Self, ClientError> {
        let invalid = || ClientError::Url(base.to_owned());
        let uri: Uri = base.parse().map_err(|_| invalid())?;
        let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else { return Err(invalid()) };
        if !matches!(scheme, "http" | "https") || uri.path() != "/" && !uri.path().is_empty() {
            return Err(invalid());
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = bare == "localhost" || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        let is_ours = running.is_some_and(|running| running.api == base);
        Ok(Self { is_local: is_loopback || is_ours, is_clear_text: scheme == "http" && !is_loopback })
    }
}

/// The token in a file.
pub(super) fn read_token(file: &Path) -> Result<String, ClientError> {
    let failed = |source| ClientError::Token { file: file.to_owned(), source };
    let text = std::fs::read_to_string(file).map_err(failed)?;
    one_token(&text).map(str::to_owned).map_err(|what| failed(io::Error::new(io::ErrorKind::InvalidData, what)))
}

/// What `TANDEM_TOKEN` holds; empty is as if it were not set.
pub(super) fn token_variable() -> Result<Option<String>, ClientError> {
    match env::var("TANDEM_TOKEN") {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => one_token(&text).map(|token| Some(token.to_owned())).map_err(ClientError::TokenVariable),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(ClientError::TokenVariable("it holds octets that are not UTF-8")),
    }
}

/// The token without white space around it; what it must hold is what a header can carry (RFC 6750 2.1).
fn one_token(text: &str) -> Result<&str, &'static str> {
    let token = text.trim();
    if token.is_empty() {
        Err("it is empty")
    } else if token.contains(['\n', '\r']) {
        Err("it holds a line break: write one token, on one line")
    } else if token.bytes().all(|octet| octet.is_ascii_graphic()) {
        Ok(token)
    } else {
        Err("it holds a space or a character that is not visible ASCII: write the token as it was shown")
    }
}

/// The certificates to trust: `ca` alone if given; else the service's own one, if it made one, and the system's.
pub(super) fn roots(ca: Option<&Path>, own: &Path) -> Result<RootCerts, ClientError> {
    if let Some(ca) = ca {
        return Ok(read_certificates(ca)?.into());
    }
    let mut trusted: Vec<Certificate<'static>> = if own.exists() { read_certificates(own)? } else { Vec::new() };
    // A system without certificates is no fault as long as the API needs none.
    let system = rustls_native_certs::load_native_certs().certs;
    trusted.extend(system.iter().map(|der| Certificate::from_der(der).to_owned()));
    Ok(trusted.into())
}

/// What is shown to the API: a chain, the own certificate first, and its key, both in PEM.
pub(in crate::command) fn client_certificate(chain: &Path, key: &Path) -> Result<ClientCert, ClientError> {
    let failed = |source| ClientError::Key { file: key.to_owned(), source };
    let text = std::fs::read(key).map_err(failed)?;
    let chain = read_certificates(chain)?;
    // ureq takes it for granted that both can be used and belong together.
    let ders = chain.iter().map(|one| CertificateDer::from(one.der().to_vec())).collect();
    let der = PrivateKeyDer::from_pem_slice(&text).map_err(|error| failed(io::Error::other(error)))?;
    CertifiedKey::from_der(ders, der, &aws_lc_rs::default_provider())
        .map_err(|error| failed(io::Error::other(error)))?;
    let private = PrivateKey::from_pem(&text).map_err(|error| failed(io::Error::other(error)))?;
    Ok(ClientCert::new_with_certs(&chain, private))
}

fn read_certificates(file: &Path) -> Result<Vec<Certificate<'static>>, ClientError> {
    let failed = |source| ClientError::Ca { file: file.to_owned(), source };
    let text = std::fs::read(file).map_err(failed)?;
    let certificates: Vec<_> = ureq::tls::parse_pem(&text)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            Ok(_) | Err(_) => None,
        })
        .collect();
    if certificates.is_empty() {
        Err(failed(io::Error::other("it holds no certificate in PEM")))
    } else {
        Ok(certificates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word_that_a_header_can_carry() {
        assert_eq!(one_token(" \ttandem_x-1\r\n"), Ok("tandem_x-1"));
        for (text, words) in
            [("", "empty"), ("a\nb", "line break"), ("a b", "space"), ("a\u{7f}", "ASCII"), ("ü", "ASCII")]
        {
            assert!(one_token(text).unwrap_err().contains(words), "{text:?}");
        }
    }

    #[test]
    fn who_may_see_the_admin_token() {
        let ours = Running { pid: 1, dns: Vec::new(), api: "https://192.0.2.1:5380".into() };
        for (url, is_local, is_clear_text) in [
            ("http://127.0.0.1:5380", true, false),
            ("http://[::1]:5380", true, false),
            ("https://localhost", true, false),
            ("https://192.0.2.1:5380", true, false),
            ("https://192.0.2.2:5380", false, false),
            ("http://192.0.2.2:5380", false, true),
            ("http://localhost.example", false, true),
        ] {
            let place = Place::of(url, Some(&ours)).unwrap();
            assert_eq!((place.is_local, place.is_clear_text), (is_local, is_clear_text), "{url}");
        }
        for url in ["", "127.0.0.1:5380", "ftp://a", "http://a/v1"] {
            assert!(Place::of(url, None).is_err(), "{url}");
        }
    }
}
