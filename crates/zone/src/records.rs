//! The records of a master file as they are read, and in canonical order: flat, since a zone may have millions.

use std::collections::HashSet;

use crate::name::labels_of;
use crate::rrset::RrType;

/// Records in the order of the file.
#[derive(Debug, Default)]
pub(crate) struct Records {
    octets: Vec<u8>,
    list: Vec<Entry>,
}

/// Where one record lies in `octets`: its sort key, its owner, its data.
#[derive(Debug, Clone, Copy)]
struct Entry {
    at: usize,
    ttl: u32,
    kind: RrType,
    key: u16,
    rdata: u16,
    owner: u8,
}

/// A record that no message could carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Records {
    /// Adds a record; `owner` is a name in wire form.
    ///
    /// # Errors
    ///
    /// [`TooLong`] if the owner passes 255 octets or the data 65535.
    pub(crate) fn add(&mut self, owner: &[u8], kind: RrType, ttl: u32, rdata: &[u8]) -> Result<(), TooLong> {
        let at = self.octets.len();
        let owner_len = u8::try_from(owner.len()).map_err(|_| TooLong)?;
        let rdata_len = u16::try_from(rdata.len()).map_err(|_| TooLong)?;
        push_sort_key(owner, &mut self.octets);
        let key = u16::try_from(self.octets.len() - at).map_err(|_| TooLong)?;
        self.octets.extend_from_slice(owner);
        self.octets.extend_from_slice(rdata);
        self.list.push(Entry { at, ttl, kind, key, rdata: rdata_len, owner: owner_len });
        Ok(())
    }

    /// The records by name in canonical order (RFC 4034 6.1), then by type.
    pub(crate) fn sorted(self) -> SortedRecords {
        let Self { octets, mut list } = self;
        list.sort_by(|a, b| a.key(&octets).cmp(b.key(&octets)).then(a.kind.cmp(&b.kind)));
        SortedRecords { octets, list }
    }
}

impl Entry {
    fn key<'o>(&self, octets: &'o [u8]) -> &'o [u8] {
        &octets[self.at..self.at + usize::from(self.key)]
    }

    fn owner<'o>(&self, octets: &'o [u8]) -> &'o [u8] {
        let at = self.at + usize::from(self.key);
        &octets[at..at + usize::from(self.owner)]
    }

    fn rdata<'o>(&self, octets: &'o [u8]) -> &'o [u8] {
        let at = self.at + usize::from(self.key) + usize::from(self.owner);
        &octets[at..at + usize::from(self.rdata)]
    }
}

/// Records by name in canonical order, then by type; those of one set in the order of the file.
#[derive(Debug)]
pub(crate) struct SortedRecords {
    octets: Vec<u8>,
    list: Vec<Entry>,
}

/// The records of one name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NameRecords<'r> {
    octets: &'r [u8],
    list: &'r [Entry],
}

/// One RRset: duplicates dropped (DNS-11), of differing TTLs the least (DNS-10).
#[derive(Debug)]
pub(crate) struct SetRecords<'r> {
    pub(crate) kind: RrType,
    pub(crate) ttl: u32,
    pub(crate) rdatas: Vec<&'r [u8]>,
}

impl SortedRecords {
    /// The names in canonical order.
    pub(crate) fn names(&self) -> impl Iterator<Item = NameRecords<'_>> {
        let octets = &self.octets[..];
        self.list.chunk_by(|a, b| a.key(octets) == b.key(octets)).map(move |list| NameRecords { octets, list })
    }

    /// The set of one type at a name in wire form.
    pub(crate) fn set(&self, owner: &[u8], kind: RrType) -> Option<SetRecords<'_>> {
        let key = sort_key(owner);
        let order = |entry: &Entry| entry.key(&self.octets).cmp(&key).then(entry.kind.cmp(&kind));
        let start = self.list.partition_point(|entry| order(entry).is_lt());
        let end = self.list.partition_point(|entry| order(entry).is_le());
        (start < end).then(|| SetRecords::new(&self.octets, &self.list[start..end]))
    }
}

impl<'r> NameRecords<'r> {
    /// The name in wire form, in the case of one of its records.
    pub(crate) fn owner(&self) -> &'r [u8] {
        self.list[0].owner(self.octets)
    }

    /// The name's sort key.
    pub(crate) fn key(&self) -> &'r [u8] {
        self.list[0].key(self.octets)
    }

    /// Its sets by type.
    pub(crate) fn sets(&self) -> impl Iterator<Item = SetRecords<'r>> + use<'r> {
        let octets = self.octets;
        self.list.chunk_by(|a, b| a.kind == b.kind).map(move |list| SetRecords::new(octets, list))
    }
}

impl<'r> SetRecords<'r> {
    fn new(octets: &'r [u8], list: &[Entry]) -> Self {
        let mut rdatas: Vec<&[u8]> = list.iter().map(|entry| entry.rdata(octets)).collect();
        if rdatas.len() > 1 {
            let mut seen = HashSet::with_capacity(rdatas.len());
            rdatas.retain(|rdata| seen.insert(*rdata));
        }
        let ttl = list.iter().map(|entry| entry.ttl).min().unwrap_or(0);
        Self { kind: list[0].kind, ttl, rdatas }
    }
}

/// Octets whose order is the canonical order of names (RFC 4034 6.1): labels from the right, folded, each ended by 0.
///
/// Octets 0 and 1 inside a label become two, so that none is mistaken for an end. A key that begins with another's is
/// that of a name below it.
pub(crate) fn sort_key(wire: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(wire.len() + 1);
    push_sort_key(wire, &mut key);
    key
}

fn push_sort_key(wire: &[u8], key: &mut Vec<u8>) {
    let mut labels: [&[u8]; 128] = [&[]; 128];
    let mut count = 0;
    for label in labels_of(wire).take(labels.len()) {
        labels[count] = &label[1..];
        count += 1;
    }
    for label in labels[..count].iter().rev() {
        for octet in label.iter().map(u8::to_ascii_lowercase) {
            if octet < 2 {
                key.extend([1, octet + 1]);
            } else {
                key.push(octet);
            }
        }
        key.push(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_4034_6_1_order() {
        let names: [&[u8]; 8] = [
            b"\x07example\x00",
            b"\x01a\x07example\x00",
            b"\x08yljkjljk\x01a\x07example\x00",
            b"\x01Z\x01a\x07example\x00",
            b"\x04zABC\x01a\x07EXAMPLE\x00",
            b"\x01z\x07example\x00",
            b"\x01\x01\x01z\x07example\x00",
            b"\x01*\x01z\x07example\x00",
        ];
        assert!(names.windows(2).all(|pair| sort_key(pair[0]) < sort_key(pair[1])));
        assert!(sort_key(b"\x01\x00\x00") < sort_key(b"\x01\x01\x00"));
        assert!(sort_key(b"\x01\x01\x00") < sort_key(b"\x01\x02\x00"));
    }

    #[test]
    fn sets_are_found_by_name_and_type() {
        let mut records = Records::default();
        for (owner, kind, ttl, rdata) in [
            (&b"\x01b\x04test\x00"[..], RrType::TXT, 9, &b"x"[..]),
            (b"\x01A\x04test\x00", RrType::A, 60, &[1, 2, 3, 4]),
            (b"\x01a\x04test\x00", RrType::A, 50, &[1, 2, 3, 4]),
            (b"\x01a\x04test\x00", RrType::A, 70, &[1, 2, 3, 3]),
        ] {
            records.add(owner, kind, ttl, rdata).unwrap();
        }
        assert_eq!(records.add(&[0; 256], RrType::A, 0, &[]), Err(TooLong));
        let sorted = records.sorted();
        assert_eq!(sorted.names().map(|name| name.sets().count()).collect::<Vec<_>>(), [1, 1]);
        let set = sorted.set(b"\x01a\x04TEST\x00", RrType::A).unwrap();
        assert_eq!((set.ttl, &set.rdatas[..]), (50, &[&[1, 2, 3, 4][..], &[1, 2, 3, 3]][..]), "DNS-10, DNS-11");
        assert!(sorted.set(b"\x01a\x04test\x00", RrType::TXT).is_none());
    }
}
