//! The key that puts names in canonical order in any store that sorts octets.

use tandem_model::DomainName;

/// Stands between labels: below every octet that a label may have.
const SEPARATOR: u8 = 0;

/// A key whose order by octets is canonical name order (RFC 4034 6.1): the labels from the right, a zero between.
///
/// `debug.ostel.me` gives `me\0ostel\0debug`. Two names never have the same key.
pub(crate) fn sort_key(domain: &DomainName) -> Vec<u8> {
    let mut key = Vec::with_capacity(domain.as_wire().len());
    let labels: Vec<&[u8]> = domain.labels().collect();
    for (index, label) in labels.iter().rev().enumerate() {
        if index > 0 {
            key.push(SEPARATOR);
        }
        key.extend_from_slice(label);
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = DomainName> {
        // Few octets, so that common prefixes and suffixes are common; all kinds of octets are there.
        let label = prop::collection::vec(prop::sample::select(b"-09_abz".to_vec()), 1..4)
            .prop_filter("no hyphen at an end", |label| !label.starts_with(b"-") && !label.ends_with(b"-"));
        prop::collection::vec(label, 1..5)
            .prop_map(|labels| DomainName::from_labels(labels.iter().map(Vec::as_slice)).unwrap())
    }

    proptest! {
        #[test]
        fn rfc4034_6_1_order(a in name(), b in name()) {
            prop_assert_eq!(sort_key(&a).cmp(&sort_key(&b)), a.cmp(&b), "{} {}", a, b);
        }
    }

    #[test]
    fn rfc4034_6_1_example() {
        let names = ["example", "a.example", "yljkjljk.a.example", "z.a.example", "a-b.example", "z.example"];
        let keys: Vec<_> = names.iter().map(|text| sort_key(&DomainName::parse(text).unwrap())).collect();
        assert!(keys.is_sorted(), "{keys:?}");
        assert_eq!(keys[2], b"example\0a\0yljkjljk");
    }
}
