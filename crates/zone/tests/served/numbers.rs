//! ENUM's zone: blocks, overlaps, and what every record of a number has.

use super::*;

#[test]
fn enum_blocks() {
    let zones = published(vec![numbered("a.ostn.test", &["+4420794601*", "+442079460148"])]);
    let naptr = |digits: &str| outcome(&zones, &query(&format!("{digits}.e164.ostn.test")), RrType::NAPTR);
    let reversed = |digits: &str| digits.chars().rev().map(String::from).collect::<Vec<_>>().join(".");
    for (id, digits, found) in [
        ("ENUM-T47", "442079460199", true),
        ("ENUM-T48 by ENUM-81", "442079460149", true),
        ("ENUM-T49", "44207946011", true),
        ("ENUM-82", "4420794601481", true),
        ("ENUM-T50", "4420794601", false),
        ("ENUM-80", "4420794602", false),
    ] {
        assert_eq!(naptr(&reversed(digits)).contains("RrType"), found, "{id}: {}", naptr(&reversed(digits)));
    }
    assert_eq!(naptr(&reversed("4420794601")), "e164.ostn.test NODATA");
    assert_eq!(naptr("*.1.0.6.4.9.7.0.2.4.4"), naptr(&reversed("44207946011")));
    assert_eq!(naptr("x.*.1.0.6.4.9.7.0.2.4.4"), "e164.ostn.test NXDOMAIN");
}

proptest! {
    /// ENUM-61: no record of any number or block has a flag behind its expression, as it is served.
    #[test]
    fn enum_61_no_flag(node in any_node(), user in "[a-z!i%+]{1,8}") {
        let mut zones = directory();
        if zones.check(&node).is_empty() {
            zones = zones.with(&[Change::Put(Box::new(node))], Serial::new(98));
        }
        let uri = format!("sip:{user}@c.ostn.test").parse().ok();
        let claim = NumberClaim::Number { number: E164Number::parse("+499").unwrap(), uri };
        let mut parts = NodeParts::new(name("c.ostn.test"), vec![target("c.ostn.test", &["192.0.2.7"])]);
        parts.numbers = vec![claim];
        let own = Node::new(parts);
        if let Ok(node) = &own {
            zones = zones.with(&[Change::Put(Box::new(node.clone()))], Serial::new(99));
        }
        let text = export(&zones, "e164.ostn.test");
        prop_assert_eq!(text.contains("9.9.4"), own.is_ok());
        let records: Vec<_> = text.lines().filter(|line| line.contains(" NAPTR ")).collect();
        for record in records {
            let fields: Vec<_> = record.split('"').collect();
            let (flags, regexp) = (fields[1], fields[5]);
            prop_assert!(flags == "u" && regexp.ends_with('!') && regexp.len() > 3, "ENUM-61: {record}");
            prop_assert_eq!(regexp.replace("\\\\!", "").matches('!').count(), 3, "ENUM-51: {}", record);
        }
    }
}

/// ENUM-77: who may claim what, with the longest delegation or block deciding.
#[test]
fn enum_77_overlaps() {
    let holders = Holders::default();
    let mut zones = directory().with_holders(holders.clone());
    let give = |range: &str, domain: &str| holders.set(range.parse().unwrap(), name(domain));
    let put = |zones: &mut Zones, node: Node| {
        let found: Vec<_> = zones.check(&node).into_iter().map(|conflict| conflict.kind).collect();
        if found.is_empty() {
            *zones = zones.with(&[Change::Put(Box::new(node))], Serial::new(9));
        }
        found
    };
    let overlap = |domain: &str| vec![ConflictKind::NumberOverlap(name(domain))];
    let held = |domain: &str| vec![ConflictKind::NumberHeld(name(domain))];
    assert_eq!(put(&mut zones, numbered("a.ostn.test", &["+1555*"])), []);
    // Inside a foreign block: only with a delegation, and not by one around it.
    for claim in ["+15550101", "+155502*", "+155"] {
        let found = put(&mut zones, numbered("b.ostn.test", &[claim]));
        assert_eq!(found, if claim == "+155" { vec![] } else { overlap("a.ostn.test") }, "{claim}");
    }
    give("+155502*", "b.ostn.test");
    assert_eq!(put(&mut zones, numbered("b.ostn.test", &["+15550101"])), overlap("a.ostn.test"));
    assert_eq!(put(&mut zones, numbered("c.ostn.test", &["+15550201"])), overlap("a.ostn.test"));
    assert_eq!(put(&mut zones, numbered("x.b.ostn.test", &["+15550201"])), [], "names below, too");
    // What is inside was agreed to: neither node is held up by the other when it comes again.
    assert_eq!(put(&mut zones, numbered("a.ostn.test", &["+1555*", "+15550101"])), []);
    assert_eq!(put(&mut zones, numbered("x.b.ostn.test", &["+15550201", "+15550202"])), []);
    // The holder of the block around it has given the part away.
    assert_eq!(put(&mut zones, numbered("a.ostn.test", &["+1555*", "+15550203"])), held("b.ostn.test"));
    let naptr = |zones: &Zones, digits: &str| {
        let reversed: Vec<_> = digits.chars().rev().map(String::from).collect();
        outcome(zones, &query(&format!("{}.e164.ostn.test", reversed.join("."))), RrType::NAPTR)
    };
    assert_eq!(naptr(&zones, "15550203"), naptr(&zones, "15550204"), "ENUM-81: the copies are those of the block");
    assert_ne!(naptr(&zones, "15550203"), naptr(&zones, "15550201"), "ENUM-T48");
    assert_eq!(naptr(&zones, "15550203"), naptr(&zones, "1555999"), "ENUM-T49");
    // A block is not laid over foreign numbers, registered or only delegated.
    assert_eq!(put(&mut zones, numbered("c.ostn.test", &["+1*"])), overlap("b.ostn.test"));
    give("+44*", "d.ostn.test");
    assert_eq!(put(&mut zones, numbered("c.ostn.test", &["+44*"])), held("d.ostn.test"));
    give("+4*", "c.ostn.test");
    assert_eq!(put(&mut zones, numbered("c.ostn.test", &["+4*"])), [], "who holds it knows what was given of it");
    assert_eq!(put(&mut zones, numbered("d.ostn.test", &["+44*", "+4420"])), []);
    // A number is never two nodes'.
    let taken = vec![ConflictKind::NumberTaken(name("x.b.ostn.test"))];
    assert_eq!(put(&mut zones, numbered("b.ostn.test", &["+15550201"])), taken);
    // Other static zones do not change any of this.
    let statics: Vec<_> = zones.iter().map(|zone| zone.statics().clone()).collect();
    assert_eq!(zones.with_statics(statics, Serial::new(10)).unwrap().node_count(), 5);
}
