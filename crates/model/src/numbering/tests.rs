//! The worked cases of the ENUM rules, over a scripted DNS.

use super::*;
use crate::locate::Found;

const NUMBER: &str = "+441632960083";
const HERE: &str = "3.8.0.0.6.9.2.3.6.1.4.4.e164.arpa";
const ANY: &str = "!^.*$!sip:a@example.com!";

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

/// `order preference flags services regexp replacement`
type Rr = (u16, u16, &'static str, &'static str, &'static str, &'static str);

fn found(owner: &str, (order, preference, flags, services, regexp, replacement): Rr) -> Found {
    let replacement = (replacement != ".").then(|| name(replacement));
    let naptr =
        Naptr { order, preference, flags: flags.into(), services: services.into(), regexp: regexp.into(), replacement };
    Found { owner: name(owner), ttl: 60, data: Data::Naptr(naptr) }
}

fn alias(owner: &str, target: &str) -> Found {
    Found { owner: name(owner), ttl: 30, data: Data::Cname(name(target)) }
}

/// Runs a search to its end; gives the names asked for, too.
fn search(
    number: &str,
    suffixes: &[&str],
    wanted: Wanted,
    dns: impl Fn(&DomainName) -> Reply,
) -> (Enumerated, Vec<String>) {
    let suffixes = suffixes.iter().map(|suffix| name(suffix)).collect();
    let (mut search, mut step) = Enumerate::start(E164Number::parse(number).unwrap(), suffixes, wanted);
    let mut asked = Vec::new();
    loop {
        match step {
            Step::Done(enumerated) => return (enumerated, asked),
            Step::Ask(question) => {
                assert_eq!(question.kind, Kind::Naptr);
                asked.push(question.name.to_string());
                assert!(asked.len() <= MAX_QUESTIONS + MAX_SUFFIXES, "{asked:?}");
                step = search.answer(dns(&question.name), Dnssec::Secure);
            }
        }
    }
}

/// A DNS of these records; `DOWN` fails, all else does not exist.
fn zone(records: Vec<Found>) -> impl Fn(&DomainName) -> Reply {
    move |asked| {
        let here: Vec<_> = records.iter().filter(|found| found.owner == *asked).cloned().collect();
        match here.is_empty() {
            _ if *asked == name("down.example") => Reply::Failed(Failure::ServerFailure),
            _ if *asked == name("nodata.example") => Reply::NoData { ttl: 20 },
            true => Reply::NxDomain { ttl: 20 },
            false => Reply::Records(Answer { records: here, additional: vec![] }),
        }
    }
}

fn wants(services: &[&str]) -> Wanted {
    Wanted { services: services.iter().map(|&service| service.into()).collect(), ..Wanted::default() }
}

fn with(rules: &[Rr], wanted: Wanted) -> Enumerated {
    let records = rules.iter().map(|&rule| found(HERE, rule)).collect();
    search(NUMBER, &["e164.arpa"], wanted, zone(records)).0
}

fn uri(enumerated: &Enumerated) -> &str {
    enumerated.outcome.as_ref().map_or_else(|error| panic!("{error}: {:?}", enumerated.discarded), |rule| &rule.uri)
}

fn discards(enumerated: &Enumerated) -> Vec<Discard> {
    enumerated.discarded.iter().map(|(_, why)| *why).collect()
}

const MAIL: Rr = (100, 52, "u", "E2U+email:mailto", "!^.*$!mailto:info@example.com!", ".");

#[test]
fn enum_t07_the_set_of_rfc_6116() {
    let set = [
        MAIL,
        (100, 51, "u", "E2U+h323", "!^.*$!h323:info@example.com!", "."),
        (100, 50, "u", "E2U+sip", r"!^(\+441632960083)$!sip:\1@example.com!", "."),
    ];
    let sip = with(&set, wants(&["sip"]));
    assert_eq!(uri(&sip), "sip:+441632960083@example.com", "ENUM-20, ENUM-T06, ENUM-33, ENUM-35");
    assert_eq!(sip.outcome.as_ref().unwrap().sip, Some("sip:+441632960083@example.com".parse().unwrap()), "ENUM-T52");
    assert_eq!((sip.ttl, sip.dnssec), (60, Dnssec::Secure));
    assert_eq!(uri(&with(&set, wants(&["email:mailto"]))), "mailto:info@example.com");
}

#[test]
fn one_record_decides() {
    let pstn = "!^.*$!tel:+1-215-555-0123;npdi;rn=+1-215-555-0199!";
    let rows: &[(&str, Rr, &[&str], &str)] = &[
        ("ENUM-T27, ENUM-24", (1, 1, "U", "e2u+SIP", ANY, "."), &["sip"], "sip:a@example.com"),
        ("ENUM-T28, ENUM-26", (1, 1, "u", "sip+E2U", ANY, "."), &["sip"], "sip:a@example.com"),
        ("ENUM-T32", (1, 1, "u", "E2U+sip+voice:tel", ANY, "."), &["sip"], "sip:a@example.com"),
        ("ENUM-T34, ENUM-28", (1, 1, "u", "E2U+foo+sip", ANY, "."), &["sip"], "sip:a@example.com"),
        ("ENUM-32, ENUM-37 sips", (1, 1, "u", "E2U+sip", "!.*!SIPS:a@b.test!", "."), &["sip"], "SIPS:a@b.test"),
        ("ENUM-32 pstn:sip", (1, 1, "u", "E2U+pstn:sip", ANY, "."), &["pstn:sip"], "sip:a@example.com"),
        (
            "ENUM-T53",
            (1, 1, "u", "E2U+pstn:tel", pstn, "."),
            &["pstn:tel"],
            "tel:+1-215-555-0123;npdi;rn=+1-215-555-0199",
        ),
    ];
    for (id, rule, wanted, expected) in rows {
        assert_eq!(uri(&with(&[*rule], wants(wanted))), *expected, "{id}");
    }
    let both =
        with(&[(1, 1, "u", "E2U+voice:tel+sms:tel", "!.*!tel:+441632960083!", ".")], wants(&["sms:tel", "voice:tel"]));
    assert_eq!(&*both.outcome.unwrap().service, "voice:tel", "ENUM-T33");
    let private = Wanted { private: true, ..wants(&["p-fed:sip"]) };
    assert_eq!(uri(&with(&[(1, 1, "u", "E2U+P-fed:sip", ANY, ".")], private)), "sip:a@example.com", "ENUM-T35");

    let long = "E2U+abcdefghijklmnopqrstuvwxyzabcdefg";
    let rows: &[(&str, Rr, &[&str], Discard)] = &[
        ("ENUM-T32", (1, 1, "u", "E2U+sip+voice:tel", ANY, "."), &["voice:tel"], Discard::WrongScheme),
        ("ENUM-T35, ENUM-29", (1, 1, "u", "E2U+P-fed:sip", ANY, "."), &["sip"], Discard::PrivateService),
        ("ENUM-29 X-", (1, 1, "u", "E2U+X-sip", ANY, "."), &["x-sip"], Discard::PrivateService),
        ("ENUM-T36", (1, 1, "u", "E2U", ANY, "."), &["sip"], Discard::BadService),
        ("ENUM-T36", (1, 1, "u", "E2U+", ANY, "."), &["sip"], Discard::BadService),
        ("ENUM-T36, ENUM-25", (1, 1, "u", long, ANY, "."), &["sip"], Discard::BadService),
        ("ENUM-T37, ENUM-27", (1, 1, "u", "SIPS+D2T", "", "."), &["sip"], Discard::OtherApplication),
        ("ENUM-T21", (1, 1, "u", "E2U+sip", "", "."), &["sip"], Discard::BadRegexp),
        ("ENUM-T25", (1, 1, "u", "E2U+sip", "!^.*$!not a uri!", "."), &["sip"], Discard::BadUri),
        ("ENUM-T25, a SIP URI that is none", (1, 1, "u", "E2U+sip", "!^.*$!sip:@!", "."), &["sip"], Discard::BadUri),
        ("ENUM-T26, ENUM-32", (1, 1, "u", "E2U+sip", "!^.*$!mailto:a@b.test!", "."), &["sip"], Discard::WrongScheme),
        ("ENUM-T44, ENUM-36", (1, 1, "u", "E2U+sip", ANY, "x.example"), &["sip"], Discard::BothFields),
        ("ENUM-T40, ENUM-41", (1, 1, "", "", "", "."), &["sip"], Discard::BadReplacement),
        ("ENUM-T53", (1, 1, "u", "E2U+pstn:tel", pstn, "."), &["sip"], Discard::NoWantedService),
        ("ENUM-23", (1, 1, "s", "E2U+sip", ANY, "."), &["sip"], Discard::UnknownFlag),
        ("ENUM-31", (1, 1, "u", "E2U+sip", "!^.*$!sip:ü@a.test!", "."), &["sip"], Discard::NonAscii),
    ];
    for (id, rule, wanted, why) in rows {
        let alone = with(&[*rule], wants(wanted));
        assert_eq!((discards(&alone), alone.outcome), (vec![*why], Err(EnumError::NoUsableRecord)), "{id}");
        // ENUM-30: with a good record behind it the bad one does no harm.
        let next = with(
            &[*rule, (2, 1, "u", "E2U+h323", "!.*!h323:ok@a.test!", ".")],
            Wanted { services: wanted.iter().map(|&w| w.into()).chain(["h323".into()]).collect(), ..Wanted::default() },
        );
        assert_eq!(uri(&next), "h323:ok@a.test", "{id}");
    }
}

#[test]
fn order() {
    let a = "!.*!sip:a@a.test!";
    let b = "!.*!sip:b@b.test!";
    for (id, rules, expected) in [
        ("ENUM-T29", [(100, 10, "s", "E2U+sip", a, "."), (200, 10, "u", "E2U+sip", b, ".")], "sip:b@b.test"),
        (
            "ENUM-T30, ENUM-21",
            [(100, 10, "u", "E2U+voice:tel", a, "."), (101, 10, "u", "E2U+sip", b, ".")],
            "sip:b@b.test",
        ),
        ("ENUM-T31", [(20, 1, "u", "E2U+sip", b, "."), (10, 200, "u", "E2U+sip", a, ".")], "sip:a@a.test"),
        ("ENUM-T45", [(10, 200, "u", "E2U+sip", a, "."), (20, 1, "u", "E2U+sip", b, ".")], "sip:a@a.test"),
        ("ENUM-20 equals", [(10, 1, "u", "E2U+sip", b, "."), (10, 1, "u", "E2U+sip", a, ".")], "sip:b@b.test"),
        (
            "ENUM-T22",
            [(1, 1, "u", "E2U+sip", "!^\\+1(.*)$!sip:\\1@a.test!", "."), (2, 1, "u", "E2U+sip", b, ".")],
            "sip:b@b.test",
        ),
    ] {
        assert_eq!(uri(&with(&rules, Wanted::default())), expected, "{id}");
    }
}

#[test]
fn non_terminal_records() {
    let terminal = |at: &str| found(at, (1, 1, "u", "E2U+sip", r"!^\+44(.*)$!sip:\1@a.test!", "."));
    let to = |from: &str, order: u16, next: &'static str| found(from, (order, 1, "", "", "", next));
    let run = |records: Vec<Found>| search(NUMBER, &["e164.arpa"], Wanted::default(), zone(records));

    let (found_it, asked) = run(vec![to(HERE, 1, "n1.example"), terminal("n1.example")]);
    assert_eq!(uri(&found_it), "sip:1632960083@a.test", "ENUM-T38, ENUM-40, ENUM-45: the number, not the name");
    assert_eq!(asked, [HERE, "n1.example"]);

    let ignored = found(HERE, (1, 1, "", "E2U+sip", "!^.*$!n9.example.!", "n1.example"));
    assert_eq!(uri(&run(vec![ignored, terminal("n1.example")]).0), "sip:1632960083@a.test", "ENUM-T39, ENUM-41");

    // ENUM-22: an ORDER of 9 below does not weigh against one of 2 above.
    let deeper = found("n1.example", (9, 1, "u", "E2U+sip", "!.*!sip:deep@a.test!", "."));
    let above = found(HERE, (2, 1, "u", "E2U+sip", "!.*!sip:above@a.test!", "."));
    assert_eq!(uri(&run(vec![to(HERE, 1, "n1.example"), above, deeper]).0), "sip:deep@a.test");

    let circle = vec![to(HERE, 1, "n1.example"), to("n1.example", 1, "n2.example"), to("n2.example", 1, "n1.example")];
    let (looped, asked) = run(circle.clone());
    assert_eq!(looped.outcome, Err(EnumError::Loop), "ENUM-42");
    assert_eq!(asked.len(), 3, "refused without a question: {asked:?}");
    let mut with_way_out = circle;
    with_way_out.push(found("n1.example", (2, 1, "u", "E2U+sip", ANY, ".")));
    let (out, asked) = run(with_way_out);
    assert_eq!((uri(&out), asked.len()), ("sip:a@example.com", 3), "ENUM-T41");
    assert_eq!(discards(&out), [Discard::LoopRefused]);

    let names = ["n1.example", "n2.example", "n3.example", "n4.example", "n5.example", "n6.example"];
    let mut chain = vec![to(HERE, 1, names[0])];
    chain.extend(names.windows(2).map(|pair| to(pair[0], 1, pair[1])));
    let (long, asked) = run(chain);
    assert_eq!((long.outcome, asked.len()), (Err(EnumError::Loop), 1 + MAX_STEPS), "ENUM-T42, ENUM-43");

    let (around, _) = run(vec![to(HERE, 1, "down.example"), found(HERE, (2, 1, "u", "E2U+sip", ANY, "."))]);
    assert_eq!(uri(&around), "sip:a@example.com", "ENUM-T43, ENUM-44");
    let (failed, _) = run(vec![to(HERE, 1, "down.example")]);
    assert!(matches!(failed.outcome, Err(EnumError::TemporaryFailure { .. })), "nobody knows what stands there");
    assert_eq!(failed.ttl, 0);
    let (empty, _) = run(vec![to(HERE, 1, "nodata.example"), to(HERE, 2, "gone.example")]);
    assert_eq!(empty.outcome, Err(EnumError::NoUsableRecord));

    // A tree that fans out: each name points to 32 others, which all point on.
    let wide = |asked: &DomainName| {
        let records = (0..40)
            .map(|n| {
                let replacement =
                    Some(name(&format!("{n}.{}", asked.to_string().chars().take(60).collect::<String>())));
                let naptr = Naptr {
                    order: n,
                    preference: 1,
                    flags: "".into(),
                    services: "".into(),
                    regexp: "".into(),
                    replacement,
                };
                Found { owner: asked.clone(), ttl: 60, data: Data::Naptr(naptr) }
            })
            .collect();
        Reply::Records(Answer { records, additional: vec![] })
    };
    let (_, asked) = search(NUMBER, &["e164.arpa"], Wanted::default(), wide);
    assert!(asked.len() <= MAX_QUESTIONS, "ENUM-43: {}", asked.len());
}

#[test]
fn suffixes() {
    let ours = "3.8.0.0.6.9.2.3.6.1.4.4.e164.ostn.test";
    let run = |records: Vec<Found>| search(NUMBER, &["e164.ostn.test", "e164.arpa"], Wanted::default(), zone(records));
    let public = found(HERE, (1, 1, "u", "E2U+sip", "!.*!sip:public@a.test!", "."));
    let private = found(ours, (1, 1, "u", "E2U+sip", "!.*!sip:private@a.test!", "."));
    let unusable = found(ours, (1, 1, "u", "E2U+foo", "!.*!sip:private@a.test!", "."));

    assert_eq!(uri(&run(vec![public.clone(), private]).0), "sip:private@a.test", "ENUM-8");
    let (next, asked) = run(vec![public.clone()]);
    assert_eq!((uri(&next), asked), ("sip:public@a.test", vec![ours.to_owned(), HERE.to_owned()]), "ENUM-8");
    assert_eq!(uri(&run(vec![public.clone(), unusable.clone()]).0), "sip:public@a.test", "ENUM-8");
    assert_eq!(run(vec![unusable]).0.outcome, Err(EnumError::NoUsableRecord), "says more than NXDOMAIN");
    assert_eq!(run(vec![]).0.outcome, Err(EnumError::NoSuchNumber), "ENUM-T48");

    // ENUM-T51: a tree that fails is not a tree without the number; the public one must not answer for it.
    let refused = |asked: &DomainName| match asked.to_string() == ours {
        true => Reply::Failed(Failure::Refused),
        false => Reply::Records(Answer { records: vec![public.clone()], additional: vec![] }),
    };
    let (failed, asked) = search(NUMBER, &["e164.ostn.test", "e164.arpa"], Wanted::default(), refused);
    assert!(matches!(failed.outcome, Err(EnumError::TemporaryFailure { failure: Failure::Refused, .. })));
    assert_eq!(asked.len(), 1);
    let nodata = search(NUMBER, &["e164.arpa"], Wanted::default(), |_| Reply::NoData { ttl: 9 }).0;
    assert_eq!((nodata.outcome, nodata.ttl), (Err(EnumError::NoRecords), 9), "ENUM-T50");
    assert_eq!(search(NUMBER, &[], Wanted::default(), |_| panic!()).0.outcome, Err(EnumError::NoSuchNumber));
}

#[test]
fn enum_t46_aliases() {
    let number = "+4420794601234";
    let at = "4.3.2.1.0.6.4.9.7.0.2.4.4.e164.arpa";
    let there = found("x.enum.node.test", (1, 1, "u", "E2U+sip", r"!^\+44(.*)$!sips:\1@node.test!", "."));
    let one_answer = {
        let (alias, there) = (alias(at, "x.enum.node.test"), there.clone());
        move |_: &DomainName| Reply::Records(Answer { records: vec![alias.clone(), there.clone()], additional: vec![] })
    };
    let (whole, asked) = search(number, &["e164.arpa"], Wanted::default(), one_answer);
    assert_eq!((uri(&whole), asked.len(), whole.ttl), ("sips:20794601234@node.test", 1, 30), "ENUM-T46, ENUM-84");
    let (halves, asked) =
        search(number, &["e164.arpa"], Wanted::default(), zone(vec![alias(at, "x.enum.node.test"), there]));
    assert_eq!((uri(&halves), asked.len()), ("sips:20794601234@node.test", 2));
    let circle = zone(vec![alias(at, "x.test"), alias("x.test", at)]);
    let (circle, _) = search(number, &["e164.arpa"], Wanted::default(), circle);
    assert!(matches!(circle.outcome, Err(EnumError::TemporaryFailure { failure: Failure::Aliases, .. })));
    let elsewhere = |_: &DomainName| {
        Reply::Records(Answer {
            records: vec![found("other.test", (1, 1, "u", "E2U+sip", ANY, "."))],
            additional: vec![],
        })
    };
    let (other, _) = search(number, &["e164.arpa"], Wanted::default(), elsewhere);
    assert!(matches!(other.outcome, Err(EnumError::TemporaryFailure { failure: Failure::Unreadable, .. })));
}
