//! Whether a server's chain fits the TLSA records of its target (RFC 6698, 7671, 7673; CERT-44 to CERT-53).
//!
//! Only records that DNSSEC proved come here. Usages 2 and 3 count; 0 and 1 protect nobody from who can forge a record,
//! for he could write 2 or 3 instead (CERT-51).

use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest as _, Sha256, Sha512};
use tandem_model::DomainName;
use tandem_model::locate::TlsaData;
use tandem_probe::{Leaf, MAX_CHAIN, Role, Trust, spki};

use super::{Untrusted, VerifiedBy};

/// Most TLSA records of one target that are looked at.
const MAX_RECORDS: usize = 32;

const DANE_TA: u8 = 2;
const DANE_EE: u8 = 3;
const WHOLE: u8 = 0;
const SHA_256: u8 = 1;
const SHA_512: u8 = 2;

/// The records that can be used (CERT-45), of each usage and selector those with the strongest digest alone (CERT-53).
/// None: it is as if there were no record.
pub(super) fn usable(records: impl IntoIterator<Item = TlsaData>) -> Vec<TlsaData> {
    let records: Vec<_> = records.into_iter().filter(is_usable).take(MAX_RECORDS).collect();
    let stronger = |record: &TlsaData| {
        record.matching == SHA_256
            && records
                .iter()
                .any(|other| (other.usage, other.selector, other.matching) == (record.usage, record.selector, SHA_512))
    };
    records.iter().filter(|record| !stronger(record)).cloned().collect()
}

pub(super) fn is_usable(record: &TlsaData) -> bool {
    let length_fits = match record.matching {
        WHOLE => !record.data.is_empty(),
        SHA_256 => record.data.len() == 32,
        SHA_512 => record.data.len() == 64,
        _ => false,
    };
    matches!(record.usage, DANE_TA | DANE_EE) && record.selector <= 1 && length_fits
}

/// Judges a chain, leaf first, by usable records: one of them must fit (CERT-44).
pub(super) fn judge(
    records: &[TlsaData],
    chain: &[CertificateDer<'_>],
    names: &[DomainName],
    trust: &Trust,
    now: UnixTime,
) -> Result<VerifiedBy, Untrusted> {
    let (end, rest) = chain.split_first().ok_or(Untrusted::Unreadable)?;
    // CERT-49: the key alone counts; names, chain and dates do not.
    if records.iter().any(|record| record.usage == DANE_EE && fits(record, end)) {
        return Ok(VerifiedBy::DaneKey);
    }
    let mut anchors: Vec<CertificateDer<'_>> = rest
        .iter()
        .filter(|certificate| records.iter().any(|record| record.usage == DANE_TA && fits(record, certificate)))
        .cloned()
        .collect();
    let whole = |record: &&TlsaData| (record.usage, record.selector, record.matching) == (DANE_TA, 0, WHOLE);
    anchors.extend(records.iter().filter(whole).map(|record| CertificateDer::from(record.data.to_vec())));
    if anchors.is_empty() {
        return Err(Untrusted::NoTlsaFits);
    }
    // CERT-50: dates and names count.
    trust.leads_to(chain, Some(&anchors), Role::Server, now).map_err(Untrusted::Certificate)?;
    super::named(&Leaf::read(end).map_err(|_| Untrusted::Unreadable)?, names)?;
    Ok(VerifiedBy::DaneAuthority)
}

/// Whether a record fits the leaf (usages 1 and 3) or an authority (0 and 2) of a chain; nothing else is looked at.
pub(super) fn fits_chain(record: &TlsaData, chain: &[CertificateDer<'_>]) -> bool {
    let Some((end, rest)) = chain.split_first() else { return false };
    let is_leaf = matches!(record.usage, 1 | DANE_EE);
    if is_leaf { fits(record, end) } else { rest.iter().take(MAX_CHAIN).any(|certificate| fits(record, certificate)) }
}

/// Whether a record's data is this certificate's, by its selector and matching type (RFC 6698 2.1).
fn fits(record: &TlsaData, certificate: &CertificateDer<'_>) -> bool {
    let selected = match record.selector {
        0 => certificate.to_vec(),
        _ => match spki(certificate) {
            Ok(spki) => spki,
            Err(_) => return false,
        },
    };
    match record.matching {
        WHOLE => *record.data == *selected,
        SHA_256 => *record.data == *Sha256::digest(&selected),
        SHA_512 => *record.data == *Sha512::digest(&selected),
        _ => false,
    }
}
