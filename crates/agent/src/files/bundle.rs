//! The certificates that members' TLS connections lead to, as one file for programs that check chains by such a list.
//!
//! A member's certificate is in it if somebody showed it here and the member's document names its key: so nothing is believed
//! that the file had before, but it outlives a start. Only certificates that are their own issuers are in it, since OpenSSL
//! ends a chain at no other.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tandem_model::node::KeyHolder;
use tandem_probe::{Leaf, is_self_issued};

use super::Sight;
use super::render::{NOTICE, each};

/// Characters of a line of PEM (RFC 7468 2).
const LINE: usize = 64;

/// A certificate that may be in the file, with the hash of its key.
type Candidates = HashMap<[u8; 32], Vec<CertificateDer<'static>>>;

/// The file's text.
pub(super) fn text(sight: &Sight<'_>) -> String {
    let mut text = format!("# {NOTICE}\n");
    let mut written = BTreeSet::new();
    let before = before(sight);
    each(sight.members, |member, node| {
        let seen = sight.verdicts.anchors(&member.domain);
        for pin in &node.keys {
            let whose = match pin.holder {
                KeyHolder::Node => "its own certificate",
                KeyHolder::Authority => "its authority",
            };
            let seen = seen
                .iter()
                .map(|certificate| &**certificate)
                .filter(|certificate| usable(certificate, sight.now).is_some_and(|sha256| sha256 == pin.sha256));
            for certificate in seen.chain(before.get(&pin.sha256).into_iter().flatten()) {
                if written.insert(certificate.to_vec()) {
                    let _ = writeln!(text, "# {}: {whose}", member.domain);
                    pem(&mut text, certificate);
                }
            }
        }
    });
    if !sight.authorities.is_empty() {
        text.push_str("# authorities that are believed for every domain\n");
    }
    for certificate in sight.authorities {
        if written.insert(certificate.to_vec()) {
            pem(&mut text, certificate);
        }
    }
    text
}

/// What the file has now.
fn before(sight: &Sight<'_>) -> Candidates {
    let mut found = Candidates::new();
    // One that cannot be read is not kept.
    for certificate in CertificateDer::pem_slice_iter(sight.old.as_bytes()).filter_map(Result::ok) {
        if let Some(sha256) = usable(&certificate, sight.now) {
            found.entry(sha256).or_default().push(certificate);
        }
    }
    found
}

/// The hash of its key, if a chain can end at it now.
fn usable(certificate: &CertificateDer<'_>, now: u64) -> Option<[u8; 32]> {
    let leaf = Leaf::read(certificate).ok()?;
    let is_over = u64::try_from(leaf.not_after).is_ok_and(|end| end < now);
    (!is_over && is_self_issued(certificate).ok()?).then_some(leaf.spki_sha256)
}

fn pem(text: &mut String, certificate: &[u8]) {
    let encoded = BASE64_STANDARD.encode(certificate);
    text.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, behind) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = behind;
    }
    text.push_str("-----END CERTIFICATE-----\n");
}
