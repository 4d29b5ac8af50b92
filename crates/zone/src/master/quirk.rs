//! Records of a master file that known SIP software follows into trouble: the part of the quirk lint that no node trips,
//! because no node makes such records.

use tandem_model::lint::{PLAIN_SERVICES, Quirk};

use crate::name::labels_of;
use crate::print::Presented;
use crate::records::SortedRecords;
use crate::rrset::RrType;

/// What `records` have of it, as warnings with the rule's id.
pub(super) fn warnings(records: &SortedRecords) -> Vec<String> {
    let mut found = Vec::new();
    for name in records.names() {
        let owner = Presented(name.owner());
        for set in name.sets() {
            match set.kind {
                // A lone "." says that the service is not offered (RFC 2782): as it should be.
                RrType::SRV
                    if is_plain(name.owner()) && set.rdatas.iter().any(|rdata| rdata.get(6..) != Some(&[0])) =>
                {
                    found.push(format!(
                        "{owner} SRV: a service of SIP without TLS: programs that prefer it call in clear ({})",
                        Quirk::PlainService.id()
                    ));
                }
                RrType::NAPTR => {
                    found.extend(
                        set.rdatas
                            .iter()
                            .filter_map(|rdata| naptr(rdata))
                            .map(|(quirk, text)| format!("{owner} NAPTR: {text} ({})", quirk.id())),
                    );
                }
                _ => {}
            }
        }
    }
    found
}

/// Whether a name begins with the labels of a plain service.
fn is_plain(owner: &[u8]) -> bool {
    let mut labels = labels_of(owner).map(|label| &label[1..]);
    let first = [labels.next(), labels.next()];
    PLAIN_SERVICES.iter().any(|service| first == [Some(service[0].as_bytes()), Some(service[1].as_bytes())])
}

/// What is odd about the service of a NAPTR record.
fn naptr(rdata: &[u8]) -> Option<(Quirk, &'static str)> {
    // ORDER, PREFERENCE, then flags and services, each with its length.
    let rest = rdata.get(4..)?;
    let services = rest.get(1 + usize::from(*rest.first()?)..)?;
    let services = services.get(1..1 + usize::from(*services.first()?))?.to_ascii_lowercase();
    if services.starts_with(b"sip+d2") {
        let text = "a service of SIP without TLS: Kamailio takes UDP before TLS whatever the order says";
        return Some((Quirk::PlainNaptr, text));
    }
    // RFC 2916 wrote the service first.
    services.ends_with(b"+e2u").then_some((Quirk::OldEnum, "the old order of the service: write `E2U+sip`"))
}
