//! A certification authority for one scenario, and domain certificates from it (RFC 5922 7).

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// An authority that a scenario's servers trust.
#[derive(Debug)]
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// Makes one with a fresh key.
    pub(super) fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a P-256 key");
        let certificate = parameters.self_signed(&key).expect("all parameters are set above");
        Self { pem: certificate.pem(), issuer: Issuer::new(parameters, key) }
    }

    /// Writes its certificate, for those who trust it.
    pub(super) fn write(&self, path: &Path) {
        std::fs::write(path, &self.pem).expect("the scratch folder is writable");
    }

    /// Writes `domain.pem` and `domain.key` for `domain` into `folder`: the SIP domain is the certificate's only name.
    pub(super) fn write_domain(&self, domain: &str, folder: &Path) -> (PathBuf, PathBuf) {
        self.write_names(&[domain], folder)
    }

    /// The same for a server with these names and addresses.
    pub(super) fn write_names(&self, names: &[&str], folder: &Path) -> (PathBuf, PathBuf) {
        let all = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut parameters = CertificateParams::new(all).expect("names and addresses");
        parameters.distinguished_name.push(DnType::CommonName, names[0]);
        parameters.use_authority_key_identifier_extension = true;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().expect("a P-256 key");
        let certificate = parameters.signed_by(&key, &self.issuer).expect("all parameters are set above");
        let paths = (folder.join("domain.pem"), folder.join("domain.key"));
        std::fs::write(&paths.0, certificate.pem()).expect("the scratch folder is writable");
        std::fs::write(&paths.1, key.serialize_pem()).expect("the scratch folder is writable");
        paths
    }
}
