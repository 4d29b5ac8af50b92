//! What is wrong, which rule says so, and one sentence on what mends it.

use serde_json::{Value, json};
use tandem_model::locate::{Failure, LocateError, Question, Refusal};
use tandem_model::numbering::EnumError;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// A word for programs.
    pub(crate) code: &'static str,
    /// The rule: a requirement's id, a quirk's, or an RFC's section.
    pub(crate) rule: &'static str,
    /// What it is.
    pub(crate) text: String,
    /// What to do about it.
    pub(crate) mend: String,
    /// Calls fail because of it.
    pub(crate) grave: bool,
}

impl Fault {
    /// Something because of which calls fail.
    pub(crate) const fn grave(code: &'static str, rule: &'static str, text: String, mend: String) -> Self {
        Self { code, rule, text, mend, grave: true }
    }

    /// Something that works, but may not be meant, or not for long.
    pub(crate) const fn doubt(code: &'static str, rule: &'static str, text: String, mend: String) -> Self {
        Self { code, rule, text, mend, grave: false }
    }

    pub(crate) fn to_json(&self) -> Value {
        let severity = if self.grave { "error" } else { "warning" };
        json!({"code": self.code, "rule": self.rule, "severity": severity, "text": self.text, "mend": self.mend})
    }

    /// Why there is no next hop.
    pub(crate) fn of_search(error: &LocateError) -> Self {
        let text = error.to_string();
        let (code, rule, mend) = match error {
            LocateError::InvalidUri(invalid) => ("invalid-uri", "LOC-7", format!("Correct the address: {invalid}.")),
            LocateError::UnsupportedTransport(_) => {
                ("transport-unknown", "LOC-11", "Leave `transport=` out of the address.".to_owned())
            }
            LocateError::NoCommonTransport(host) => (
                "plaintext-only",
                "LOC-34",
                format!("Publish `_sips._tcp.{host}. SRV` and a NAPTR record SIPS+D2T, and listen with TLS there."),
            ),
            LocateError::ServiceNotAvailable(name) => (
                "service-denied",
                "LOC-55",
                format!("Replace the SRV record with target `.` of {name} by one that names its server."),
            ),
            LocateError::NoSuchDomain(name) => (
                "no-such-domain",
                "LOC-33",
                format!("Check the spelling of {name}; if it is right, its operator has to publish it."),
            ),
            LocateError::NoUsableAddress(name) => (
                "no-address",
                "LOC-65",
                format!("Publish A or AAAA records for the hosts that the SRV records of {name} name."),
            ),
            LocateError::TemporaryFailure { question, failure } => return Self::of_lookup(question, *failure),
            LocateError::Ourselves(host) => ("ourselves", "LOC-80", format!("Deliver calls to {host} here.")),
            LocateError::SipsVanished(name) => (
                "sips-vanished",
                "LOC-89",
                format!("Publish the SIPS records of {name} again, or tell its callers that TLS was given up."),
            ),
            LocateError::Busy { seconds, .. } => ("busy", "LOC-83", format!("Call again in {seconds} s.")),
            LocateError::Number(error) => return Self::of_number(error),
            LocateError::PolicyRefused(refusal) => return Self::of_refusal(*refusal),
        };
        Self::grave(code, rule, text, mend)
    }

    /// A question without an answer.
    pub(crate) fn of_lookup(question: &Question, failure: Failure) -> Self {
        let name = &question.name;
        let (code, mend) = match failure {
            Failure::Timeout | Failure::Unreachable => (
                "dns-unreachable",
                format!("See that a name server answers here (`dig {question}`), or name another one with --server."),
            ),
            Failure::ServerFailure => (
                "dns-failed",
                format!(
                    "Look for the cause with `dig +trace {question}`: the zone of {name} is broken or its servers are down."
                ),
            ),
            Failure::Refused | Failure::Referral => {
                ("dns-refused", format!("Ask a name server that looks {name} up for you: name it with --server."))
            }
            Failure::Bogus => (
                "dns-bogus",
                format!("Mend the DNSSEC signatures of the zone of {name}, or its DS record at the parent."),
            ),
            Failure::Unreadable => (
                "dns-unreadable",
                format!("Look at the records with `dig {question}`: one of them breaks its own format; correct it."),
            ),
            Failure::Aliases => {
                ("dns-aliases", format!("Shorten the chain of CNAME records at {name}; it has no end."))
            }
        };
        // LOC-39: nobody knows, so nothing weaker is tried.
        Self::grave(code, "LOC-39", format!("the lookup of {question} failed: {failure}"), mend)
    }

    fn of_number(error: &EnumError) -> Self {
        let (code, rule, mend) = match error {
            EnumError::TemporaryFailure { question, failure } => return Self::of_lookup(question, *failure),
            EnumError::NoSuchNumber => (
                "no-such-number",
                "ENUM-35",
                "Name the tree that has the number with --enum-suffix, or have the number's holder publish it.",
            ),
            EnumError::NoRecords | EnumError::NoUsableRecord => (
                "number-without-uri",
                "ENUM-30",
                "Publish a NAPTR record `\"u\" \"E2U+sip\" \"!^.*$!sip:user@domain!\" .` for the number.",
            ),
            EnumError::Loop => {
                ("number-loop", "ENUM-42", "Let one of the number's NAPTR records end with a URI (flag u).")
            }
        };
        Self::grave(code, rule, error.to_string(), mend.to_owned())
    }

    fn of_refusal(refusal: Refusal) -> Self {
        let (code, rule, mend) = match refusal {
            Refusal::Plaintext => ("plaintext-asked", "LOC-53", "Leave `transport=udp` out of the address.".to_owned()),
            Refusal::NumericHost => (
                "address-for-domain",
                "LOC-67",
                "Call the domain, not the address: a certificate names domains.".to_owned(),
            ),
            Refusal::Multicast(_) => ("multicast", "LOC-11", "Leave `maddr=` out of the address.".to_owned()),
            Refusal::Compromised => {
                ("compromised", "CERT-20", "Do not call; ask the domain's operator by another way.".to_owned())
            }
            Refusal::Address(address) => (
                "private-address",
                "LOC-65",
                format!(
                    "Publish a public address instead of {address}, or use --allow-private if it is in your own network."
                ),
            ),
        };
        Self::grave(code, rule, refusal.to_string(), mend)
    }
}

#[cfg(test)]
mod tests {
    use tandem_model::DomainName;
    use tandem_model::locate::Kind;

    use super::*;

    #[test]
    fn every_fault_says_what_mends_it() {
        let name = || DomainName::parse("a.test").unwrap();
        let question = || Question { name: name(), kind: Kind::Srv };
        let failure = |failure| LocateError::TemporaryFailure { question: question(), failure };
        for (error, code) in [
            (LocateError::NoSuchDomain(name()), "no-such-domain"),
            (LocateError::ServiceNotAvailable(name()), "service-denied"),
            (LocateError::NoUsableAddress(name()), "no-address"),
            (LocateError::NoCommonTransport(tandem_model::Host::Name(name())), "plaintext-only"),
            (LocateError::PolicyRefused(Refusal::Address([10, 0, 0, 1].into())), "private-address"),
            (LocateError::PolicyRefused(Refusal::NumericHost), "address-for-domain"),
            (LocateError::Number(EnumError::NoSuchNumber), "no-such-number"),
            (LocateError::Number(EnumError::Loop), "number-loop"),
            (failure(Failure::Timeout), "dns-unreachable"),
            (failure(Failure::ServerFailure), "dns-failed"),
            (failure(Failure::Bogus), "dns-bogus"),
            (failure(Failure::Refused), "dns-refused"),
            (failure(Failure::Unreadable), "dns-unreadable"),
            (failure(Failure::Aliases), "dns-aliases"),
        ] {
            let fault = Fault::of_search(&error);
            assert_eq!((fault.code, fault.grave), (code, true));
            assert!(fault.mend.ends_with('.') && fault.mend.len() > 20, "{fault:?}");
            assert!(fault.rule.contains('-') && !fault.text.is_empty(), "{fault:?}");
        }
    }
}
