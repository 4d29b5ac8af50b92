//! What differs between two readings of one master file: what an admin sees before and after a reload.

use std::collections::BTreeSet;
use std::fmt;

use crate::diff::{Difference, RecordChange};
use crate::master::StaticZone;
use crate::print::{write_record, write_set};
use crate::rrset::RrType;
use crate::zones::{Zone, Zones};

/// Where the serial stands, counted from the end of a SOA record's data (RFC 1035 3.3.13).
const SERIAL_FROM_END: usize = 20;

impl StaticZone {
    /// What leads from these records to those of `newer`. The SOA's serial, which is ours, counts for nothing; a SOA that
    /// differs otherwise is among the records.
    #[must_use]
    pub fn difference(&self, newer: &Self) -> Difference {
        let (mut before, mut after) = (self.all(), newer.all());
        if without_serial(&self.soa) != without_serial(&newer.soa) || self.soa_ttl != newer.soa_ttl {
            before.insert(self.soa_record());
            after.insert(newer.soa_record());
        }
        Difference {
            removed: before.difference(&after).cloned().collect(),
            added: after.difference(&before).cloned().collect(),
        }
    }

    /// How many records there are, the SOA among them.
    #[must_use]
    pub fn record_count(&self) -> usize {
        let sets = self.statics.iter().flat_map(|name| name.sets());
        1 + sets.filter(|set| set.kind() != RrType::SOA).map(|set| set.len()).sum::<usize>()
    }

    /// All records but the SOA.
    fn all(&self) -> BTreeSet<RecordChange> {
        let mut records = BTreeSet::new();
        for name in self.statics.iter() {
            for set in name.sets().filter(|set| set.kind() != RrType::SOA) {
                for data in set.rdatas() {
                    let mut rdata = Vec::new();
                    data.write(&mut rdata);
                    records.insert(RecordChange {
                        owner: name.owner.into(),
                        kind: set.kind(),
                        ttl: set.ttl(),
                        rdata: rdata.into(),
                    });
                }
            }
        }
        records
    }

    fn soa_record(&self) -> RecordChange {
        let owner = self.apex().as_wire().into();
        RecordChange { owner, kind: RrType::SOA, ttl: self.soa_ttl, rdata: self.soa.clone() }
    }
}

fn without_serial(soa: &[u8]) -> (&[u8], &[u8]) {
    let (names, numbers) = soa.split_at(soa.len().saturating_sub(SERIAL_FROM_END));
    (names, numbers.get(4..).unwrap_or_default())
}

impl Zones {
    /// [`print`](Self::print) without the nodes' records: the SOA as it is served, and what the master file says.
    ///
    /// # Errors
    ///
    /// What `out` reports.
    pub fn print_static(&self, zone: &Zone, out: &mut dyn fmt::Write) -> fmt::Result {
        write_set(out, zone.apex().as_wire(), &zone.soa())?;
        for name in zone.statics().statics.iter() {
            for set in name.sets().filter(|set| set.kind() != RrType::SOA) {
                write_set(out, name.owner, &set)?;
            }
        }
        Ok(())
    }
}

/// The record as a line of a master file.
impl fmt::Display for RecordChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_record(f, &self.owner, self.ttl, self.kind, &self.rdata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> StaticZone {
        let apex = "ostn.test".parse().unwrap();
        StaticZone::read(&apex, "ostn.test.zone", text.as_bytes(), &mut |_| Err("no includes".into())).unwrap()
    }

    fn lines(changes: &[RecordChange]) -> Vec<String> {
        changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn records_that_came_and_went() {
        let old = read("$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\nx TXT \"a b\"\ny TYPE65280 \\# 1 ff\n");
        let new = read("$TTL 60\n@ SOA ns h 9 2 3 4 5\n@ NS ns\nns 30 A 192.0.2.1\nx TXT \"a b\"\nx TXT \"c\"\n");
        let difference = old.difference(&new);
        assert_eq!(
            lines(&difference.removed),
            ["y.ostn.test. 60 IN TYPE65280 \\# 1 ff", "ns.ostn.test. 60 IN A 192.0.2.1"]
        );
        assert_eq!(lines(&difference.added), ["x.ostn.test. 60 IN TXT \"c\"", "ns.ostn.test. 30 IN A 192.0.2.1"]);
        assert_eq!(old.difference(&old), Difference::default());
    }

    #[test]
    fn a_soa_differs_by_more_than_its_serial() {
        let old = read("$TTL 60\n@ SOA ns h 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n");
        let same = read("$TTL 60\n@ SOA ns h 2 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n");
        assert_eq!(old.difference(&same), Difference::default(), "DNS-70: the serial is ours");
        let other = read("$TTL 60\n@ SOA ns h 2 2 3 4 6\n@ NS ns\nns A 192.0.2.1\n");
        let difference = old.difference(&other);
        assert_eq!(lines(&difference.added), ["ostn.test. 60 IN SOA ns.ostn.test. h.ostn.test. 2 2 3 4 6"]);
        assert_eq!(difference.removed.len(), 1);
    }
}
