//! Master files (RFC 1035 5): reading one into a static zone. The text is an argument; so is what `$INCLUDE` names.
//!
//! The `domain` crate reads entries, once `extra` has written what that does not know in a form that it does. What a
//! zone must be (one SOA, NS at the apex, a CNAME alone) is checked here.

mod data;
mod extra;
mod historic;
mod kind;
mod loc;
mod odd;
mod quirk;
mod token;

use std::hash::Hasher;
use std::sync::Arc;

use bytes::Bytes;
use domain::base::iana::{Class, Rtype};
use domain::base::rdata::ComposeRecordData;
use domain::base::{Name, ToName};
use domain::rdata::ZoneRecordData;
use domain::zonefile::inplace::{Entry, ScannedRecord, Zonefile};
use siphasher::sip::SipHasher13;
use tandem_model::DomainName;

use self::extra::{Inherited, rewrite};
use self::kind::is_known;
use crate::name::{QueryName, labels_of};
use crate::print::{Presented, parsed};
use crate::records::{NameRecords, Records, SortedRecords, sort_key};
use crate::rrset::RrType;
use crate::statics::Statics;

/// How deep `$INCLUDE` may nest.
const MAX_INCLUDE_DEPTH: usize = 8;

/// The records of one master file, checked and packed: what an admin wrote, to which nodes are added.
#[derive(Debug, Clone)]
pub struct StaticZone {
    apex: DomainName,
    digest: u64,
    file_serial: u32,
    warnings: Vec<String>,
    pub(crate) takes_nodes: bool,
    pub(crate) soa_ttl: u32,
    pub(crate) soa: Box<[u8]>,
    pub(crate) statics: Arc<Statics>,
}

impl StaticZone {
    /// Reads a master file.
    ///
    /// `origin` is the zone's name (from the file's name, `ostel.me.zone`); `file` names it in errors. `include` gives
    /// the text of a file that `$INCLUDE` names, or says why not.
    ///
    /// # Errors
    ///
    /// [`MasterFileError`]: file, line and reason, for the admin who wrote it.
    pub fn read(
        origin: &DomainName,
        file: &str,
        text: &[u8],
        include: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
    ) -> Result<Self, MasterFileError> {
        let mut reader = Reader { records: Records::default(), soa: None, include };
        let origin_name = Name::from_octets(Bytes::copy_from_slice(origin.as_wire())).map_err(|_| MasterFileError {
            file: file.into(),
            line: 0,
            reason: "the file's name is no zone name".into(),
        })?;
        reader.file(file, text, origin_name, Inherited::default(), 0)?;
        reader.finish(origin, file)
    }

    /// The same zone, in which nobody can register: its records mean something to other programs, and a node's names among
    /// them would, too (a catalog, RFC 9432).
    #[must_use]
    pub fn without_nodes(self) -> Self {
        Self { takes_nodes: false, ..self }
    }

    /// The zone's name: the owner of its SOA.
    #[must_use]
    pub const fn apex(&self) -> &DomainName {
        &self.apex
    }

    /// The serial in the file's SOA record; the served one is ours (DNS-70).
    #[must_use]
    pub const fn file_serial(&self) -> u32 {
        self.file_serial
    }

    /// A digest of the records (the SOA's serial left out), the same in every process: tells whether a reload changed them.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// What loads but is probably wrong, a sentence each: an MX or SRV record whose target is an alias (DNS-11), or a name
    /// server in this zone without addresses.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// What is wrong with a master file, and where: shown to the admin as `file:line: reason`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {reason}")]
pub struct MasterFileError {
    /// The file, as the caller named it or as `$INCLUDE` did.
    pub file: String,
    /// The line, from 1; 0 when the fault is of the whole file.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub reason: String,
}

struct Reader<'i> {
    records: Records,
    soa: Option<DomainName>,
    include: &'i mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
}

impl Reader<'_> {
    fn file(
        &mut self,
        file: &str,
        text: &[u8],
        origin: Name<Bytes>,
        inherited: Inherited,
        depth: usize,
    ) -> Result<(), MasterFileError> {
        let at_line = |line, reason: String| MasterFileError { file: file.into(), line, reason };
        let mut rewritten = rewrite(text, origin.as_slice(), inherited);
        let text = &*rewritten.text;
        // A last line without a line feed is read as if it had one.
        let mut source = Zonefile::with_capacity(text.len() + 1);
        source.extend_from_slice(text);
        if !text.ends_with(b"\n") {
            source.extend_from_slice(b"\n");
        }
        source.set_origin(origin);
        source.set_default_class(Class::IN);
        let mut line = Lines { text, counted: 0, line: 0 };
        loop {
            let entry = match source.next_entry() {
                Ok(Some(entry)) => entry,
                Ok(None) => return rewritten.fault.map_or(Ok(()), |(line, reason)| Err(at_line(line, reason))),
                Err(error) => {
                    let (line, reason) = split_error(&error.to_string());
                    return Err(at_line(line, reason));
                }
            };
            let line = line.of(source.current_offset());
            match entry {
                Entry::Record(record) => self.record(&record).map_err(|reason| at_line(line, reason))?,
                Entry::Include { path, origin: given } => {
                    // The reader leaves the closing quote of a quoted name.
                    let path = path.trim_end_matches('"');
                    if depth == MAX_INCLUDE_DEPTH {
                        return Err(at_line(line, format!("$INCLUDE nests deeper than {MAX_INCLUDE_DEPTH}: a loop?")));
                    }
                    let text =
                        (self.include)(path).map_err(|reason| at_line(line, format!("$INCLUDE {path}: {reason}")))?;
                    let current = source.origin().map_err(|error| at_line(line, error.to_string()))?;
                    let inherited = rewritten.includes.pop_front().unwrap_or_default();
                    self.file(path, &text, given.unwrap_or(current), inherited, depth + 1)?;
                }
            }
        }
    }

    fn record(&mut self, record: &ScannedRecord) -> Result<(), String> {
        if record.class() != Class::IN {
            return Err(format!("class {}: only IN is served", record.class()));
        }
        let owner: Name<Vec<u8>> = record.owner().to_name();
        let owner = owner.as_slice();
        let kind = RrType(record.rtype().to_int());
        if (128..=255).contains(&kind.0) || kind == RrType::OPT || kind.0 == 0 {
            return Err(format!("type {} is for questions, not for zones", record.rtype()));
        }
        // RFC 2181 8: a TTL with the top bit set counts as 0.
        let ttl = Some(record.ttl().as_secs()).filter(|ttl| *ttl <= 0x7fff_ffff).unwrap_or(0);
        let mut rdata = Vec::with_capacity(64);
        let Ok(()) = record.data().compose_rdata(&mut rdata);
        if u16::try_from(rdata.len()).is_err() {
            return Err("the record's data is over 65535 octets".into());
        }
        // RFC 3597 5: octets given for a type that we know must be such as that type has. The reader takes two dots in a row
        // for a label of no octets, which would end the name.
        if !is_well_formed(kind, &rdata) {
            return Err(match record.data() {
                ZoneRecordData::Unknown(_) => format!("the octets are no data of type {}", record.rtype()),
                _ => format!("the data is none of type {}: an empty label (`..`) in a name?", record.rtype()),
            });
        }
        if QueryName::parse(owner).is_none_or(|name| name.wire_len() != owner.len()) {
            return Err("the owner has an empty label (`..`)".into());
        }
        if kind == RrType::SOA {
            let name = DomainName::from_wire(owner).map_err(|error| error.to_string())?;
            if self.soa.replace(name).is_some() {
                return Err("a second SOA record: a zone has exactly one".into());
            }
        }
        // The SOA comes first by custom: then the line can be named. `finish` looks at the rest.
        match &self.soa {
            Some(apex) if !is_inside(owner, apex) => Err(format!("{} is outside the zone {apex}", Presented(owner))),
            _ => self.records.add(owner, kind, ttl, &rdata).map_err(|_| "the record is too long".to_owned()),
        }
    }

    fn finish(self, origin: &DomainName, file: &str) -> Result<StaticZone, MasterFileError> {
        let whole = |reason: String| MasterFileError { file: file.into(), line: 0, reason };
        let apex = self.soa.ok_or_else(|| {
            whole(format!("no SOA record: the zone {origin} needs one (its name comes from the file's name)"))
        })?;
        let records = self.records.sorted();
        let Some(set) = records.set(apex.as_wire(), RrType::SOA) else {
            return Err(whole("no SOA record at the zone's name".into()));
        };
        let (soa_ttl, soa) = (set.ttl, set.rdatas[0]);
        let Some(serial_at) = soa.len().checked_sub(20) else {
            return Err(whole("the SOA record's data is too short".into()));
        };
        if records.set(apex.as_wire(), RrType::NS).is_none() {
            return Err(whole(format!("no NS record at {apex}: name at least one server of the zone")));
        }
        let apex_key = sort_key(apex.as_wire());
        check_delegations(&records).map_err(whole)?;
        check_redirections(&records).map_err(whole)?;
        for name in records.names() {
            check_name(&apex, &apex_key, &name).map_err(whole)?;
        }
        let file_serial =
            u32::from_be_bytes([soa[serial_at], soa[serial_at + 1], soa[serial_at + 2], soa[serial_at + 3]]);
        let digest = digest(&records, serial_at);
        let warnings = warnings(&records, &apex);
        let statics = Statics::pack(&records, &apex).map_err(|_| whole("the zone needs 4 GiB or more".into()))?;
        let soa = soa.into();
        Ok(StaticZone {
            apex,
            digest,
            file_serial,
            warnings,
            takes_nodes: true,
            soa_ttl,
            soa,
            statics: Arc::new(statics),
        })
    }
}

/// Whether octets are data of their type, names uncompressed; any are for a type that only has octets.
fn is_well_formed(kind: RrType, rdata: &[u8]) -> bool {
    if !is_known(kind) {
        return true;
    }
    let mut composed = Vec::with_capacity(rdata.len());
    match parsed(Rtype::from_int(kind.0), rdata) {
        Ok(Some(data)) => {
            let Ok(()) = data.compose_rdata(&mut composed);
            composed == rdata
        }
        Ok(None) | Err(_) => false,
    }
}

/// Keys end each label, so that a prefix is an ancestor.
fn is_inside(owner: &[u8], apex: &DomainName) -> bool {
    sort_key(owner).starts_with(&sort_key(apex.as_wire()))
}

/// What a name must not be (RFC 1034 3.6.2, 2181 10.1, 6672 2.4).
fn check_name(apex: &DomainName, apex_key: &[u8], name: &NameRecords<'_>) -> Result<(), String> {
    let shown = Presented(name.owner());
    if !name.key().starts_with(apex_key) {
        return Err(format!("{shown} is outside the zone {apex}"));
    }
    let (mut alias, mut others) = (false, false);
    let has = |kind| name.sets().any(|set| set.kind == kind);
    if has(RrType::DNAME) && has(RrType::NS) && !name.owner().eq_ignore_ascii_case(apex.as_wire()) {
        return Err(format!("{shown} has a DNAME and NS records: it is redirected or delegated, not both"));
    }
    for set in name.sets() {
        if matches!(set.kind, RrType::CNAME | RrType::DNAME) && set.rdatas.len() > 1 {
            let word = if set.kind == RrType::CNAME { "CNAME" } else { "DNAME" };
            return Err(format!("{shown} has more than one {word} record"));
        }
        if set.rdatas.len() > usize::from(u16::MAX) {
            return Err(format!("{shown} has more than 65535 records of one type"));
        }
        alias |= set.kind == RrType::CNAME;
        // DNSSEC's own types may stand beside a CNAME (RFC 4035 2.5).
        others |= !matches!(set.kind, RrType::CNAME | RrType::RRSIG | RrType::NSEC);
    }
    if alias && others {
        return Err(format!("{shown} has a CNAME and other records: a CNAME stands alone"));
    }
    Ok(())
}

/// NS targets are not aliases (DNS-11), and a wildcard is not delegated (RFC 4592 4.2).
fn check_delegations(records: &SortedRecords) -> Result<(), String> {
    for name in records.names() {
        for target in name.sets().filter(|set| set.kind == RrType::NS).flat_map(|set| set.rdatas) {
            let owner = Presented(name.owner());
            if name.owner().starts_with(b"\x01*") {
                return Err(format!("{owner} is a wildcard and has NS records: delegate names one by one"));
            }
            if let Some(word) = alias_of(records, target) {
                let target = Presented(target);
                return Err(format!(
                    "{owner} NS {target}: the server's name is an alias ({word}); name the server itself"
                ));
            }
        }
    }
    Ok(())
}

/// Nothing exists below a DNAME (RFC 6672 2.4), and a wildcard has none: what it then means is not defined (RFC 6672 3.3).
fn check_redirections(records: &SortedRecords) -> Result<(), String> {
    let mut redirected: Option<NameRecords<'_>> = None;
    for name in records.names() {
        // In canonical order the names below another follow it.
        if let Some(above) = redirected.as_ref().filter(|above| name.key().starts_with(above.key())) {
            let (shown, above) = (Presented(name.owner()), Presented(above.owner()));
            return Err(format!("{shown} lies below {above}, which has a DNAME record: nothing can be there"));
        }
        if name.sets().any(|set| set.kind == RrType::DNAME) {
            if name.owner().starts_with(b"\x01*") {
                let owner = Presented(name.owner());
                return Err(format!("{owner} is a wildcard and has a DNAME record: redirect names one by one"));
            }
            redirected = Some(name);
        }
    }
    Ok(())
}

/// What makes `name` an alias, if it is one: a CNAME there, or a DNAME above.
fn alias_of(records: &SortedRecords, name: &[u8]) -> Option<&'static str> {
    if records.set(name, RrType::CNAME).is_some() {
        return Some("CNAME");
    }
    let mut rest = name;
    for label in labels_of(name) {
        rest = &rest[label.len()..];
        if records.set(rest, RrType::DNAME).is_some() {
            return Some("DNAME");
        }
    }
    None
}

fn warnings(records: &SortedRecords, apex: &DomainName) -> Vec<String> {
    let mut found = Vec::new();
    for name in records.names() {
        for set in name.sets() {
            let (skip, word) = match set.kind {
                RrType::NS => (0, "NS"),
                RrType::MX => (2, "MX"),
                RrType::SRV => (6, "SRV"),
                _ => continue,
            };
            for target in set.rdatas.iter().filter_map(|rdata| rdata.get(skip..)) {
                let (owner, shown) = (Presented(name.owner()), Presented(target));
                if let Some(alias) = alias_of(records, target) {
                    found.push(format!(
                        "{owner} {word} {shown}: the target is an alias ({alias}); name the host itself"
                    ));
                } else if set.kind == RrType::NS && is_inside(target, apex) && !has_address(records, target) {
                    found.push(format!("{owner} {word} {shown}: the server has no A or AAAA record in this zone"));
                }
            }
        }
    }
    found.extend(quirk::warnings(records));
    found
}

fn has_address(records: &SortedRecords, name: &[u8]) -> bool {
    [RrType::A, RrType::AAAA].iter().any(|kind| records.set(name, *kind).is_some())
}

/// SipHash with a fixed key over every record in canonical order; the SOA's serial is left out.
fn digest(records: &SortedRecords, serial_at: usize) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    for name in records.names() {
        hasher.write(name.owner());
        for set in name.sets() {
            hasher.write(&set.kind.0.to_be_bytes());
            hasher.write(&set.ttl.to_be_bytes());
            for rdata in set.rdatas {
                hasher.write(&u32::try_from(rdata.len()).unwrap_or(u32::MAX).to_be_bytes());
                if set.kind == RrType::SOA {
                    hasher.write(&rdata[..serial_at]);
                    hasher.write(&rdata[serial_at + 4..]);
                } else {
                    hasher.write(rdata);
                }
            }
        }
    }
    hasher.finish()
}

/// `line:column: message`, as the `domain` crate writes it; its place is behind what it could not read, so that column 1
/// means the end of the line before.
fn split_error(text: &str) -> (usize, String) {
    let mut parts = text.splitn(3, ':');
    let mut number = || parts.next().and_then(|part| part.parse::<usize>().ok());
    match (number(), number(), parts.next()) {
        (Some(line), Some(column), Some(message)) => {
            (if column <= 1 { line.saturating_sub(1).max(1) } else { line }, message.trim().to_owned())
        }
        _ => (0, text.to_owned()),
    }
}

/// Counts lines as the reader moves on, each octet once.
struct Lines<'t> {
    text: &'t [u8],
    counted: usize,
    line: usize,
}

impl Lines<'_> {
    /// The line of the entry that ends before `offset`.
    fn of(&mut self, offset: usize) -> usize {
        let end = offset.min(self.text.len());
        let between = self.text.get(self.counted..end).unwrap_or_default();
        self.line += between.iter().filter(|octet| **octet == b'\n').count();
        self.counted = end;
        let inside_line = end > 0 && self.text[end - 1] != b'\n';
        self.line + usize::from(inside_line)
    }
}
