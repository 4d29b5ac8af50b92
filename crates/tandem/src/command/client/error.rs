//! Why a request was not answered well, and what its caller can do.

use std::io;
use std::path::PathBuf;

use rustls::CertificateError;

use super::wallet::WalletError;
use crate::command::problem::Problem;
use crate::config::ConfigError;

/// Why a request was not answered well.
#[derive(Debug, thiserror::Error)]
pub(in crate::command) enum ClientError {
    /// The API refused.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// Nobody there.
    #[error(
        "cannot reach the API at {api}: is `tandem serve` running there? Name another with --api URL or TANDEM_API"
    )]
    Unreachable {
        /// Its URL.
        api: String,
        /// What went wrong.
        #[source]
        source: Box<ureq::Error>,
    },
    /// Somebody is there whose certificate does not prove who it is.
    #[error("the API at {api} has a certificate that is not accepted: {advice}")]
    Certificate {
        /// Its URL.
        api: String,
        /// What the caller can do.
        advice: &'static str,
        /// What is wrong with it.
        #[source]
        source: Box<ureq::Error>,
    },
    /// A good status with something else inside.
    #[error("the answer of {api} cannot be read: is it a Tandem API of this version?")]
    Answer {
        /// Its URL.
        api: String,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No URL of an API.
    #[error("`{0}` is not the URL of an API: write http://127.0.0.1:5380 or https://directory.example")]
    Url(String),
    /// The token would be readable on its way (API-6).
    #[error("the token will not be sent to {0} in clear text: use https")]
    ClearText(String),
    /// The token file cannot be used.
    #[error("the token cannot be read from {file}")]
    Token {
        /// The file.
        file: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file of tokens that `tandem join` made cannot be used.
    #[error(transparent)]
    Wallet(#[from] WalletError),
    /// Tokens are kept, and which one is meant is not clear.
    #[error("tokens of several domains are kept for {api}: say --as DOMAIN for one of them ({domains})")]
    SeveralFit {
        /// The API's URL.
        api: String,
        /// The domains that they are for.
        domains: String,
    },
    /// The variable holds something else.
    #[error("TANDEM_TOKEN is not a token: {0}")]
    TokenVariable(&'static str),
    /// The settings file was named and is not right.
    #[error(transparent)]
    Settings(#[from] ConfigError),
    /// The file of the certificate's private key cannot be used.
    #[error("the private key in {file} cannot be used")]
    Key {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// A client certificate is shown in TLS alone.
    #[error("{0} has no TLS: nobody there sees a certificate; name the API's https URL")]
    NoTls(String),
    /// The certificate file cannot be used.
    #[error("no certificate can be read from {file}")]
    Ca {
        /// The file.
        file: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl ClientError {
    /// What it means that no answer came from `api`.
    pub(super) fn no_answer(api: &str, error: ureq::Error) -> Self {
        let (api, source) = (api.to_owned(), Box::new(error));
        match certificate_fault(&source).map(advice) {
            Some(advice) => Self::Certificate { api, advice, source },
            None => Self::Unreachable { api, source },
        }
    }
}

/// What rustls found wrong with the certificate, if that is what went wrong.
fn certificate_fault(error: &ureq::Error) -> Option<&CertificateError> {
    let error = match error {
        ureq::Error::Rustls(error) => error,
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref()?,
        _ => return None,
    };
    match error {
        rustls::Error::InvalidCertificate(fault) => Some(fault),
        _ => None,
    }
}

const fn advice(fault: &CertificateError) -> &'static str {
    match fault {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "nobody who is trusted here vouches for it. Name the certificate to trust with --ca FILE \
             (`check` and `explain`: --api-ca FILE): for one that `tandem serve` made, api.crt of its data folder"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for another name. Name the API as its certificate does, with --api URL"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired. The API's operator renews it; see that this machine's clock is right"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet. See that this machine's clock is right"
        }
        _ => {
            "trust another with --ca FILE (`check` and `explain`: --api-ca FILE), or ask the API's operator for a right one"
        }
    }
}
