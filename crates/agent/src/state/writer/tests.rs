use tandem_model::{DomainName, Found, Node, NodeParts, NumberClaim, Target};

use super::super::reader::{StateError, load};
use super::*;
use crate::judge::Newcomer;
use crate::member::{KnownKey, Member, MemberState};

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn key(serial: u64) -> KnownKey {
    let thumbprint = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k".parse().unwrap();
    KnownKey { thumbprint, serial, next: Some(thumbprint), digest: [7; 32], reset_at: Some(9) }
}

fn member(at: usize, lease_until: u64) -> Member {
    let domain = name(&format!("m{at}.test"));
    let target = Target {
        host: name(&format!("sip.m{at}.test")),
        port: 5061.try_into().unwrap(),
        priority: 10,
        weight: 0,
        addresses: vec!["192.0.2.1".parse().unwrap()],
    };
    let mut node = Node::new(NodeParts::new(domain.clone(), vec![target])).unwrap();
    node.found = Found::new((at == 1).then_some(0), Vec::new());
    let key = at.is_multiple_of(2).then(|| Box::new(key(at as u64)));
    let reason = at.is_multiple_of(3).then(|| "because".into());
    Member {
        domain,
        state: MemberState::Active,
        reason,
        lease_until,
        node: Some(Box::new(node)),
        withheld: Box::default(),
        key,
    }
}

fn place(id: u64) -> Record {
    Record::Place { id: Some(id), directory: "https://d".into(), at: 5 }
}

fn write(folder: &Path, records: &[Record]) -> Log {
    let mut log = Log::open(folder, &load(folder).unwrap()).unwrap();
    for record in records {
        log.append(&record.line(), 1, &Board::default());
    }
    assert!(!log.is_broken);
    log
}

/// As much as the end of a test needs to compare.
fn shown(loaded: &Loaded) -> (usize, Option<u64>, usize, usize) {
    (loaded.members.len(), loaded.position, loaded.former.len(), loaded.held.len())
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(shown(&load(folder.path()).unwrap()), (0, None, 0, 0));
    let mut all: Vec<Member> = (0..10).map(|at| member(at, 1)).collect();
    let number =
        NumberClaim::Number { number: "+15550101".parse().unwrap(), uri: Some("sip:a@m7.test".parse().unwrap()) };
    let withheld = [number, NumberClaim::Block("+155502".parse().unwrap())].into();
    all[7] = Member { state: MemberState::Compromised, node: None, withheld, ..all[7].clone() };
    let mut records: Vec<Record> = all.iter().map(Record::from).collect();
    records.push(Record::gone(&name("m4.test"), Some(&key(3)), clock::now()));
    records.push(Record::gone(&name("m5.test"), None, clock::now()));
    records.push(Record::held(&name("x.test"), Newcomer::Unsigned, 5));
    records.push(Record::held(&name("y.test"), Newcomer::Key(key(1).thumbprint), 6));
    records.push(Record::Released { domain: "y.test".into() });
    records.push(place(12));
    drop(write(folder.path(), &records));
    let loaded = load(folder.path()).unwrap();
    assert_eq!(shown(&loaded), (8, Some(12), 1, 1));
    assert_eq!((loaded.directory.as_str(), loaded.heard), ("https://d", 5));
    for member in all.iter().filter(|member| loaded.members.get(&member.domain).is_some()) {
        assert_eq!(**loaded.members.get(&member.domain).unwrap(), *member);
    }
    assert_eq!(loaded.former[&name("m4.test")].0, key(3));
    assert_eq!(loaded.held[&name("x.test")], (Newcomer::Unsigned, 5));
}

#[test]
fn a_log_cut_anywhere_is_an_older_copy() {
    let folder = tempfile::tempdir().unwrap();
    let mut records = Vec::new();
    for at in 0..3 {
        records.push(Record::from(&member(at, 1)));
        records.push(place(at as u64));
    }
    drop(write(folder.path(), &records));
    let file = folder.path().join(FILE);
    let whole = fs::read(&file).unwrap();
    for cut in 0..whole.len() {
        fs::write(&file, &whole[..cut]).unwrap();
        let loaded = load(folder.path()).unwrap();
        let lines = whole[..cut].iter().filter(|octet| **octet == b'\n').count();
        let records = lines.saturating_sub(1);
        let position = (records >= 2).then(|| records as u64 / 2 - 1);
        assert_eq!((loaded.members.len(), loaded.position), (records.div_ceil(2), position), "cut at {cut}");
        // And it can be gone on with; each step waits for the disk.
        if cut % 37 > 0 && cut > HEADER.len() {
            continue;
        }
        drop(write(folder.path(), &[Record::from(&member(99, 1)), place(77)]));
        let loaded = load(folder.path()).unwrap();
        let expected = (records.div_ceil(2) + 1, Some(77), 0);
        assert_eq!((loaded.members.len(), loaded.position, loaded.damaged), expected, "cut at {cut}");
    }
}

#[test]
fn an_altered_record_costs_itself_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut records: Vec<Record> = (0..6).map(|at| Record::from(&member(at, 1))).collect();
    records.push(place(12));
    drop(write(folder.path(), &records));
    let file = folder.path().join(FILE);
    let whole = fs::read(&file).unwrap();
    for at in (HEADER.len()..whole.len()).step_by(31) {
        let mut altered = whole.clone();
        altered[at] ^= 0x10;
        fs::write(&file, &altered).unwrap();
        let loaded = load(folder.path()).unwrap();
        assert!(loaded.members.len() >= 4, "altered at {at}: {} members", loaded.members.len());
        assert_eq!(loaded.position, None, "altered at {at}: all is asked again");
        drop(Log::open(folder.path(), &loaded).unwrap());
        let mended = load(folder.path()).unwrap();
        assert_eq!((mended.members.len(), mended.damaged), (loaded.members.len(), 0), "altered at {at}");
    }
    // A head that was altered says nothing about the rest.
    let mut altered = whole.clone();
    altered[0] = b'X';
    fs::write(&file, &altered).unwrap();
    assert_eq!(load(folder.path()).unwrap().members.len(), 6);
    fs::write(&file, "tandem-agent members 2\n").unwrap();
    assert!(matches!(load(folder.path()), Err(StateError::Newer { .. })));
    fs::write(&file, vec![b'x'; 3 * super::super::MAX_LINE]).unwrap();
    assert_eq!(shown(&load(folder.path()).unwrap()), (0, None, 0, 0));
}

#[test]
fn the_log_stays_short() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = Log::open(folder.path(), &load(folder.path()).unwrap()).unwrap();
    let board = Board::default();
    let rounds: Vec<u64> = (0..5 * LEAST_VOID as u64).collect();
    for group in rounds.chunks(512) {
        let records =
            group.iter().flat_map(|round| [Record::from(&member((round % 10) as usize, *round)), place(*round)]);
        let text: String = records.map(|record| record.line()).collect();
        log.append(&text, 2 * group.len(), &board);
    }
    assert!(log.records <= 2 * LEAST_VOID + 1024, "{} records", log.records);
    drop(log);
    let loaded = load(folder.path()).unwrap();
    assert_eq!(shown(&loaded), (10, Some(5 * LEAST_VOID as u64 - 1), 0, 0));
    assert!(loaded.members.iter().all(|member| member.lease_until >= 5 * LEAST_VOID as u64 - 10));
}
