//! Which types are counted by themselves: those that clients of a directory ask for; the rest together.

use tandem_zone::RrType;

/// How many counters there are.
pub(crate) const KINDS: usize = 14;

/// The counters' names, in their order: types as dig writes them, and `other`.
const NAMES: [&str; KINDS] =
    ["A", "NS", "CNAME", "SOA", "PTR", "MX", "TXT", "AAAA", "SRV", "NAPTR", "DS", "TLSA", "ANY", "other"];

/// Answers by the type that was asked for. What had no question that could be read is not among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KindCounts(pub(crate) [u64; KINDS]);

impl KindCounts {
    /// The numbers, each with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        NAMES.into_iter().zip(self.0)
    }

    /// Counts a question for the type with this number.
    pub(crate) const fn count(&mut self, kind: u16) {
        let slot = match RrType(kind) {
            RrType::A => 0,
            RrType::NS => 1,
            RrType::CNAME => 2,
            RrType::SOA => 3,
            RrType::PTR => 4,
            RrType::MX => 5,
            RrType::TXT => 6,
            RrType::AAAA => 7,
            RrType::SRV => 8,
            RrType::NAPTR => 9,
            RrType::DS => 10,
            RrType::TLSA => 11,
            RrType::ANY => 12,
            _ => 13,
        };
        self.0[slot] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::type_number;

    #[test]
    fn each_name_counts_its_type() {
        for (index, name) in NAMES.iter().enumerate().take(KINDS - 1) {
            let number = if *name == "PTR" { 12 } else { type_number(name) };
            let mut counts = KindCounts::default();
            counts.count(number);
            assert_eq!(counts.0[index], 1, "{name}");
        }
        let mut counts = KindCounts::default();
        counts.count(65280);
        assert_eq!(counts.iter().last(), Some(("other", 1)));
    }
}
