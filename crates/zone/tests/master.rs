//! Master files: what loads, what is refused and where, and that what we print reads back as it was.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use tandem_model::{DomainName, Serial};
use tandem_zone::master::{MasterFileError, StaticZone};
use tandem_zone::{Lookup, QueryName, RrType, Settings, Zones};

const HEAD: &str = "$TTL 3600\n@ IN SOA ns1 hostmaster 1 3600 600 604800 300\n@ IN NS ns1\nns1 IN A 192.0.2.1\n";

fn read(text: &str) -> Result<StaticZone, MasterFileError> {
    StaticZone::read(
        &DomainName::parse("node.test").unwrap(),
        "node.test.zone",
        text.as_bytes(),
        &mut |path| match path {
            "part.inc" => Ok(b"a IN A 192.0.2.2\n".to_vec()),
            "bad.inc" => Ok(b"\n\na IN A 192.0.2.300\n".to_vec()),
            "loop.inc" => Ok(b"$INCLUDE loop.inc\n".to_vec()),
            _ => Err("no such file".into()),
        },
    )
}

fn zones(text: &str) -> Zones {
    let settings = Settings::default();
    Zones::new(settings, vec![read(text).unwrap_or_else(|error| panic!("{error}\n{text}"))], Serial::new(1)).unwrap()
}

fn export(zones: &Zones) -> String {
    let mut text = String::new();
    zones.iter().try_for_each(|zone| zones.print(zone, &mut text)).unwrap();
    text
}

fn rdata(zones: &Zones, owner: &[u8], kind: u16) -> Vec<u8> {
    let name = QueryName::parse(&[owner, b"\x04node\x04test\x00"].concat()).unwrap();
    let Lookup::Records(_, set) = zones.lookup(&name, RrType(kind)) else {
        panic!("type {kind}: {:?}", zones.lookup(&name, RrType(kind)))
    };
    let mut rdata = Vec::new();
    set.rdatas().next().unwrap().write(&mut rdata);
    rdata
}

#[test]
fn refused_with_file_line_and_reason() {
    for (why, rest, file, line, reason) in [
        ("octet", "a A 192.0.2.300\n", "node.test.zone", 5, "IPv4"),
        ("token", "\n\na A 192.0.2.1 extra\n", "node.test.zone", 7, "trailing"),
        ("outside", "; comment\nwww.other.test. A 192.0.2.1\n", "node.test.zone", 6, "outside the zone node.test"),
        ("class", "a CH TXT x\n", "node.test.zone", 5, "class"),
        ("second SOA", "@ SOA ns1 h 2 1 1 1 1\n", "node.test.zone", 5, "second SOA"),
        ("DNS-11", "a CNAME b\na A 192.0.2.1\n", "node.test.zone", 0, "a CNAME stands alone"),
        ("DNS-11", "a CNAME b\na CNAME c\n", "node.test.zone", 0, "more than one CNAME"),
        ("DNS-11", "al CNAME ns1\n@ NS al\n", "node.test.zone", 0, "NS al.node.test.: the server's name is an alias"),
        ("RFC 4592 4.2", "*.x NS ns1\n", "node.test.zone", 0, "is a wildcard and has NS records"),
        ("DNS-26", "a DNAME b\nx.a A 192.0.2.1\n", "node.test.zone", 0, "x.a.node.test. lies below a.node.test."),
        ("DNS-26", "a DNAME b\ny.x.a NS ns1\n", "node.test.zone", 0, "y.x.a.node.test. lies below a.node.test."),
        (
            "DNS-26",
            "@ DNAME other.test.\n",
            "node.test.zone",
            0,
            "NS ns1.node.test.: the server's name is an alias (DNAME)",
        ),
        ("DNS-26", "a DNAME b\na DNAME c\n", "node.test.zone", 0, "more than one DNAME"),
        ("RFC 6672 2.3", "a DNAME b\na CNAME c\n", "node.test.zone", 0, "a CNAME stands alone"),
        ("RFC 6672 2.3", "a DNAME b\na NS ns1\n", "node.test.zone", 0, "a DNAME and NS records"),
        ("RFC 6672 3.3", "*.a DNAME b\n", "node.test.zone", 0, "is a wildcard and has a DNAME record"),
        (
            "RFC 2181 10.3",
            "a DNAME b\n@ NS ns.a\n",
            "node.test.zone",
            0,
            "NS ns.a.node.test.: the server's name is an alias",
        ),
        ("empty label", "a NS ns..x.\n", "node.test.zone", 5, "empty label"),
        ("empty label", "a SRV 1 2 3 x..\n", "node.test.zone", 5, "empty label"),
        ("empty label", "a..b A 192.0.2.1\n", "node.test.zone", 5, "empty label"),
        ("meta type", "a TYPE255 \\# 0\n", "node.test.zone", 5, "for questions"),
        ("missing include", "$INCLUDE none.inc\n", "node.test.zone", 5, "$INCLUDE none.inc: no such file"),
        ("broken include", "$INCLUDE bad.inc\n", "bad.inc", 3, "IPv4"),
        ("include loop", "$INCLUDE loop.inc\n", "loop.inc", 1, "deeper than 8"),
    ] {
        let error = read(&format!("{HEAD}{rest}")).unwrap_err();
        assert!(error.file == file && error.reason.contains(reason), "{why}: {error}");
        assert!(error.line == line, "{why}: {error}");
    }
    assert!(read("a A 192.0.2.1\n").unwrap_err().reason.contains("no SOA"));
    assert!(read("@ SOA a b 1 1 1 1 1\n").unwrap_err().reason.contains("no NS"));
    assert!(read("").unwrap_err().reason.contains("no SOA"));
}

#[test]
fn includes_and_last_line_without_line_feed() {
    let zones =
        zones(&format!("{HEAD}$INCLUDE part.inc\n$INCLUDE \"part.inc\" sub\n$ORIGIN deep.node.test.\nx A 192.0.2.3"));
    assert_eq!(rdata(&zones, b"\x01a", 1), [192, 0, 2, 2]);
    assert_eq!(rdata(&zones, b"\x01a\x03sub", 1), [192, 0, 2, 2]);
    assert_eq!(rdata(&zones, b"\x01x\x04deep", 1), [192, 0, 2, 3]);
}

#[test]
fn ttls_and_duplicates() {
    let zones =
        zones(&format!("{HEAD}a 600 A 192.0.2.2\na 60 A 192.0.2.3\na 900 A 192.0.2.2\nb 4294967295 A 192.0.2.4\n"));
    let set = |label: &[u8]| {
        let name = QueryName::parse(&[label, b"\x04node\x04test\x00"].concat()).unwrap();
        let Lookup::Records(_, set) = zones.lookup(&name, RrType::A) else { panic!("{label:?}") };
        (set.ttl(), set.len())
    };
    assert_eq!(set(b"\x01a"), (60, 2), "DNS-10, DNS-11");
    assert_eq!(set(b"\x01b"), (0, 1), "DNS-10: the top bit set counts as 0");
}

#[test]
fn the_digest_is_of_the_records() {
    let digest = |text: &str| read(&format!("{HEAD}{text}")).unwrap().digest();
    assert_eq!(
        digest("a A 192.0.2.2\nb A 192.0.2.3\n"),
        digest("b IN 3600 A 192.0.2.3\n; other\n\na.node.test. A 192.0.2.2\n")
    );
    assert_ne!(digest("a A 192.0.2.2\n"), digest("a A 192.0.2.3\n"));
    assert_ne!(digest("a A 192.0.2.2\n"), digest("a 60 A 192.0.2.2\n"));
    let other_serial = read(&HEAD.replace("hostmaster 1 ", "hostmaster 2 ")).unwrap();
    assert_eq!((other_serial.digest(), other_serial.file_serial()), (digest(""), 2));
}

#[test]
fn suspicious_targets_are_pointed_out() {
    let zone =
        read(&format!("{HEAD}al CNAME ns1\n@ MX 10 al\n@ MX 20 x.d\nd DNAME @\n@ NS ns9\n_sip._tcp SRV 1 1 5061 al\n"))
            .unwrap();
    let text = zone.warnings().join("\n");
    assert!(text.contains("MX al.node.test.: the target is an alias"), "{text}");
    assert!(text.contains("MX x.d.node.test.: the target is an alias (DNAME)"), "{text}");
    assert!(text.contains("SRV al.node.test.: the target is an alias"), "{text}");
    assert!(text.contains("NS ns9.node.test.: the server has no A or AAAA"), "{text}");
    assert_eq!(read(HEAD).unwrap().warnings(), [] as [String; 0]);
}

#[test]
fn quirks_of_master_files_are_pointed_out() {
    let zone = read(&format!(
        "{HEAD}_sip._udp SRV 1 1 5060 ns1\n_sip._tcp.off SRV 0 0 0 .\n_sips._tcp SRV 1 1 5061 ns1\n\
         d NAPTR 10 10 \"s\" \"SIP+D2U\" \"\" _sip._udp\nd NAPTR 20 10 \"s\" \"SIPS+D2T\" \"\" _sips._tcp\n\
         1.2 NAPTR 10 10 \"u\" \"sip+E2U\" \"!^.*$!sip:a@node.test!\" .\n\
         2.2 NAPTR 10 10 \"u\" \"E2U+sip\" \"!^.*$!sip:a@node.test!\" .\n"
    ))
    .unwrap();
    let found = zone.warnings();
    assert_eq!(found.len(), 3, "{found:#?}");
    for (owner, rule) in
        [("_sip._udp.node.test.", "QUIRK-07"), ("d.node.test.", "QUIRK-13"), ("1.2.node.test.", "QUIRK-14")]
    {
        let is_it = |text: &&String| text.starts_with(&format!("{owner} ")) && text.ends_with(&format!("({rule})"));
        assert_eq!(found.iter().filter(is_it).count(), 1, "{rule}: {found:#?}");
    }
}

/// Every type that a zone may hold: it loads, what is served is right where we know the octets, and what is printed
/// loads again to the same.
#[test]
fn types_load_and_print() {
    let lines = [
        r#"t1 TXT "a b" "semi;colon" "quote\"back\\slash" "\200\001""#,
        r#"t2 NAPTR 100 10 "u" "E2U+sip" "!^(\\+4416.*)$!sip:\\1@example.com!" ."#,
        "t3 SRV 1 2 5061 Target.Example.",
        "t4 TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "t5 CAA 0 issue \"ca.example\"",
        "t6 SSHFP 4 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "t7 DNAME other.example.",
        "t8 DS 5414 15 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\nt8 NS ns1",
        "t9 HINFO CPU OS",
        "t10 PTR host.example.",
        "t11 SVCB 1 svc.example. port=53",
        "t12 HTTPS 1 . alpn=h2",
        "t13 RP mbox.example. txt.example.",
        "t14 TYPE65280 \\# 4 0A000001",
        "t16 A \\# 4 C0000201",
        "t17 OPENPGPKEY AQID",
        "_a\\.b.t18 A 192.0.2.18",
        "*.t19 MX 0 .",
    ];
    let text = format!("{HEAD}{}\n", lines.join("\n"));
    let first = zones(&text);
    assert_eq!(rdata(&first, b"\x03t14", 65280), [10, 0, 0, 1], "DNS-T49");
    assert_eq!(rdata(&first, b"\x03t16", 1), [192, 0, 2, 1]);
    assert_eq!(rdata(&first, b"\x04_a.b\x03t18", 1), [192, 0, 2, 18]);
    assert_eq!(rdata(&first, b"\x02t1", 16), b"\x03a b\x0asemi;colon\x10quote\"back\\slash\x02\xc8\x01");
    assert!(
        rdata(&first, b"\x02t2", 35).ends_with(b"!^(\\+4416.*)$!sip:\\1@example.com!\x00"),
        "DNS-9, single backslashes"
    );
    assert_eq!(
        rdata(&first, b"\x02t3", 33),
        b"\x00\x01\x00\x02\x13\xc5\x06Target\x07Example\x00",
        "DNS-9, the file's case"
    );
    let printed = export(&first);
    assert_eq!(export(&zones(&printed)), printed);
    assert_eq!(read(&printed).unwrap().digest(), read(&text).unwrap().digest(), "{printed}");
}
