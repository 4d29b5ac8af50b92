//! What a proof of a domain covers: that name and those below, never a parent, never a public suffix (API-69).

use tandem_model::DomainName;

/// Whether anybody may register names right below `domain`, as under `com`, `co.uk` or `github.io`: nobody can prove
/// such a name. By the public suffix list (publicsuffix.org), both parts of it; an unknown top-level name is one too.
#[must_use]
pub fn is_public_suffix(domain: &DomainName) -> bool {
    let text = domain.to_string();
    psl::suffix_str(&text).is_none_or(|suffix| suffix.len() >= text.len())
}

/// Whether a proof of `proved` is one for `domain`.
#[must_use]
pub fn covers(proved: &DomainName, domain: &DomainName) -> bool {
    domain.is_at_or_below(proved) && !is_public_suffix(proved)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    #[test]
    fn public_suffixes_api_69() {
        for (text, public) in [
            ("com", true),
            ("test", true),
            ("co.uk", true),
            ("github.io", true),
            ("xn--p1ai", true),
            ("foo.ck", true),
            ("www.ck", false),
            ("example.com", false),
            ("example.co.uk", false),
            ("ostn.test", false),
            ("someone.github.io", false),
        ] {
            assert_eq!(is_public_suffix(&name(text)), public, "{text}");
        }
    }

    /// API-T24, and the edges of API-69.
    #[test]
    fn a_proof_covers_names_below_api_t24() {
        for (proved, domain, covered) in [
            ("example.com", "example.com", true),
            ("example.com", "a.example.com", true),
            ("example.com", "b.a.example.com", true),
            ("example.com", "com", false),
            ("example.com", "example.org", false),
            ("example.com", "notexample.com", false),
            ("a.example.com", "example.com", false),
            ("a.example.com", "b.example.com", false),
            ("com", "example.com", false),
            ("co.uk", "example.co.uk", false),
            ("example.co.uk", "sip.example.co.uk", true),
        ] {
            assert_eq!(covers(&name(proved), &name(domain)), covered, "{proved} {domain}");
        }
    }
}
