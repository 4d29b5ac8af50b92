//! What RFC 1035 5 and its readers allow in a master file beside the records themselves: units, continuations,
//! escapes, line ends, control lines. Texts that BIND reads too are compared with what it makes of them.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests may panic as tests do; a skip is told")]

mod bind;

use proptest::prelude::*;
use tandem_model::{DomainName, Serial};
use tandem_zone::master::{MasterFileError, StaticZone};
use tandem_zone::{Lookup, QueryName, RrType, Rrset, Settings, Zones};

const HEAD: &str = "$TTL 3600\n@ IN SOA ns1 hostmaster 1 3600 600 604800 300\n@ IN NS ns1\nns1 IN A 192.0.2.1\n";

/// Reads a file that may include `inc`.
fn read_with(text: &[u8], inc: &[u8]) -> Result<StaticZone, MasterFileError> {
    StaticZone::read(&DomainName::parse("node.test").unwrap(), "node.test.zone", text, &mut |path| match path {
        "inc" => Ok(inc.to_vec()),
        _ => Err("no such file".into()),
    })
}

fn zones_with(text: &[u8], inc: &[u8]) -> Zones {
    let zone = read_with(text, inc).unwrap_or_else(|error| panic!("{error}\n{}", String::from_utf8_lossy(text)));
    Zones::new(Settings::default(), vec![zone], Serial::new(1)).unwrap()
}

fn zones(rest: &str) -> Zones {
    zones_with(format!("{HEAD}{rest}").as_bytes(), b"")
}

fn set<'z>(zones: &'z Zones, owner: &[u8], kind: RrType) -> Rrset<'z> {
    let owner = [owner, b"\x04node\x04test\x00"].concat();
    let found = zones.lookup(&QueryName::parse(&owner).unwrap(), kind);
    let Lookup::Records(_, set) = found else { panic!("{}: {found:?}", String::from_utf8_lossy(&owner)) };
    set
}

fn rdatas(set: &Rrset<'_>) -> Vec<Vec<u8>> {
    let mut all: Vec<_> = set
        .rdatas()
        .map(|data| {
            let mut octets = Vec::new();
            data.write(&mut octets);
            octets
        })
        .collect();
    all.sort();
    all
}

/// Compares all records but the SOA, whose serial is ours, with BIND's.
fn as_bind(text: &str) {
    let Some(records) = bind::load(text) else {
        println!("skipped: named-compilezone is not installed");
        return;
    };
    let zones = zones_with(text.as_bytes(), b"");
    let mut compared = 0;
    for ((owner, kind), expected) in records.iter().filter(|((_, kind), _)| *kind != RrType::SOA.0) {
        let owner = owner.strip_suffix(b"\x04node\x04test\x00").unwrap();
        assert_eq!(&rdatas(&set(&zones, owner, RrType(*kind))), expected, "{}", String::from_utf8_lossy(owner));
        compared += 1;
    }
    let mut printed = String::new();
    zones.iter().try_for_each(|zone| zones.print(zone, &mut printed)).unwrap();
    let ours = printed.lines().count();
    assert_eq!(
        ours,
        1 + records.iter().filter(|((_, kind), _)| *kind != RrType::SOA.0).map(|(_, all)| all.len()).sum::<usize>()
    );
    assert!(compared > 0);
}

#[test]
fn times_may_have_units() {
    let text = "$TTL 1h30m\n@ IN SOA ns1 hostmaster ( 1 1H 10m\n 2w 1d2h ) ; times\n@ NS ns1\nns1 A 192.0.2.1\n\
        a 2d IN A 192.0.2.2\nb IN 1w A 192.0.2.3\n$TTL 90\nc A 192.0.2.4\n1h A 192.0.2.5\nd 0 A 192.0.2.6\n";
    let zones = zones_with(text.as_bytes(), b"");
    let ttl = |label: &[u8]| set(&zones, label, RrType::A).ttl();
    assert_eq!(
        [ttl(b"\x03ns1"), ttl(b"\x01a"), ttl(b"\x01b"), ttl(b"\x01c"), ttl(b"\x021h"), ttl(b"\x01d")],
        [5400, 172_800, 604_800, 90, 90, 0]
    );
    let soa = &rdatas(&set(&zones, b"", RrType::SOA))[0];
    assert_eq!(soa[soa.len() - 16..], [[0, 0, 14, 16], [0, 0, 2, 88], [0, 18, 117, 0], [0, 1, 109, 160]].concat());
    as_bind(text);
    for (line, at, reason) in [
        ("$TTL soon\n", 5, "expected a TTL"),
        ("$TTL 8000w\n", 5, "8000w is over 4294967295 seconds"),
        ("a 1h30 A 192.0.2.1\n", 5, "expected a record type, found `1h30`"),
        ("a 1x A 192.0.2.1\n", 5, "expected a record type, found `1x`"),
        ("\na 4294967296 A 192.0.2.1\n", 6, "4294967296 is over 4294967295 seconds"),
        ("a 1 2 A 192.0.2.1\n", 5, "expected a record type, found `2`"),
        ("a IN IN A 192.0.2.1\n", 5, "expected a record type, found `IN`"),
    ] {
        let error = read_with(format!("{HEAD}{line}").as_bytes(), b"").unwrap_err();
        assert!(error.line == at && error.reason.contains(reason), "{line}: {error}");
    }
}

/// RFC 1035 3.3.13 and 5.1, from before `$TTL`: the SOA's minimum, then the last one given.
#[test]
fn ttls_without_a_ttl_line() {
    let text =
        "@ SOA ns1 hostmaster 1 3600 600 604800 5m\n@ NS ns1\nns1 A 192.0.2.1\na 60 A 192.0.2.2\nb A 192.0.2.3\n";
    let zones = zones_with(text.as_bytes(), b"");
    let ttls = [b"\x03ns1".as_slice(), b"\x01a", b"\x01b"].map(|label| set(&zones, label, RrType::A).ttl());
    assert_eq!(ttls, [300, 60, 60]);
    as_bind(text);
}

#[test]
fn the_origin_in_data() {
    let text = format!(
        "{HEAD}a CNAME @\nb MX 10 @\nc SRV 1 2 3 @\nd NAPTR 1 1 \"\" \"\" \"\" @\ne RP @ @\nf DNAME @\ng NSEC @ A\n\
         h TXT @ \"@\"\n@ TXT \"apex\"\ni AFSDB 1 @\nj SVCB 1 @\nk IPSECKEY 10 3 2 @ AQID\n\
         $ORIGIN sub.node.test.\n@ MX 5 @\n$ORIGIN deeper\nx PTR @\n$ORIGIN @\ny PTR \\@\n"
    );
    as_bind(&text);
    let zones = zones_with(text.as_bytes(), b"");
    let one = |owner: &[u8], kind: u16| rdatas(&set(&zones, owner, RrType(kind))).remove(0);
    assert_eq!(one(b"\x01a", 5), b"\x04node\x04test\x00");
    assert_eq!(one(b"\x01h", 16), b"\x01@\x01@", "text is text");
    assert_eq!(one(b"\x03sub", 15), b"\x00\x05\x03sub\x04node\x04test\x00");
    assert_eq!(one(b"\x01x\x06deeper\x03sub", 12), b"\x06deeper\x03sub\x04node\x04test\x00", "a relative $ORIGIN");
    assert_eq!(one(b"\x01y\x06deeper\x03sub", 12), b"\x01@\x06deeper\x03sub\x04node\x04test\x00");
}

#[test]
fn escapes_and_octets_outside_ascii() {
    let text = format!(
        "{HEAD}\\097.b\\.c A 192.0.2.2\n\\@ A 192.0.2.3\n\\$x A 192.0.2.4\n\\000 A 192.0.2.5\n\\032\\(\\;\\\" A 192.0.2.6\n\
         été TXT \"été\" à \"tab\there\" \\é\nu TXT \"\\200\" ; né à Genève\n\\097.ü URI 1 2 \"ü\"\n"
    );
    as_bind(&text);
    let zones = zones_with(text.as_bytes(), b"");
    let one = |owner: &[u8], kind: u16| rdatas(&set(&zones, owner, RrType(kind))).remove(0);
    assert_eq!(one(b"\x01a\x03b.c", 1), [192, 0, 2, 2]);
    assert_eq!(one(b"\x01\x00", 1), [192, 0, 2, 5]);
    assert_eq!(one("\x05été".as_bytes(), 16), "\x05été\x02à\x08tab\there\x02é".as_bytes());
    // Latin 1 is not UTF-8, but octets are octets.
    let latin = zones_with(&[HEAD.as_bytes(), b"a TXT \"\xe9t\xe9\" ; \xe9\n"].concat(), b"");
    assert_eq!(rdatas(&set(&latin, b"\x01a", RrType::TXT)), [b"\x03\xe9t\xe9"]);
}

#[test]
fn line_ends_and_white_space() {
    let lines = [
        "a\tIN\tA\t192.0.2.2",
        "\tIN\tTXT (\t\"one\"",
        "\"two\" three ; comment",
        "",
        "\t)",
        "; comment",
        "  ",
        "B IN 60 A 192.0.2.3",
        "c 60 in a 192.0.2.4",
        "\tcLaSs1 aaaa 2001:db8::1",
        "d uRi 1 2 \"x\"",
        "e ( A",
        "192.0.2.5",
        ") ; no line feed behind this",
    ];
    let text = lines.join("\n");
    as_bind(&format!("{HEAD}{text}\n"));
    let digest = |text: &[u8]| read_with(text, b"").unwrap_or_else(|error| panic!("{error}")).digest();
    let expected = digest(format!("{HEAD}{text}\n").as_bytes());
    assert_eq!(digest(format!("{HEAD}{text}").as_bytes()), expected, "no line feed at the end");
    let dos = format!("{HEAD}{text}").replace('\n', "\r\n");
    assert_eq!(digest(dos.as_bytes()), expected, "CRLF");
    assert_eq!(digest(format!("{dos}\r\n").as_bytes()), expected, "CRLF at the end");
    assert_eq!(digest(format!("\u{feff}{HEAD}{text}").as_bytes()), expected, "byte order mark");
    let error = read_with(format!("{dos}\r\n\r\nf A 192.0.2\r\n").as_bytes(), b"").unwrap_err();
    assert_eq!(error.line, 4 + lines.len() + 2, "{error}");
    let error = read_with(format!("\u{feff}{HEAD}f A 192.0.2\n").as_bytes(), b"").unwrap_err();
    assert_eq!(error.line, 5, "{error}");
}

#[test]
fn an_included_file_continues_and_gives_back() {
    let text =
        format!("{HEAD}$TTL 600\na A 192.0.2.2\n$INCLUDE inc\n TXT \"after\"\n$INCLUDE inc sub\nz A 192.0.2.9\n");
    let included = b" TXT \"first\"\nb A 192.0.2.3\n$ORIGIN deep\nc A 192.0.2.4\n$TTL 60\nd A 192.0.2.5\n";
    let zones = zones_with(text.as_bytes(), included);
    let at = |owner: &[u8], kind| set(&zones, owner, kind);
    assert_eq!(rdatas(&at(b"\x01a", RrType::TXT)), [&b"\x05after"[..], b"\x05first"]);
    let ttls = [&b"\x01a"[..], b"\x01b", b"\x01c\x04deep", b"\x01d\x04deep", b"\x01b\x03sub", b"\x01z"];
    assert_eq!(ttls.map(|owner| at(owner, RrType::A).ttl()), [600, 600, 600, 60, 600, 600]);
    let plain = HEAD.replace("$TTL 3600\n", "").replacen("@ IN", "@ 900 IN", 1);
    let zones = zones_with(
        format!("{plain}a 50 A 192.0.2.2\n$INCLUDE inc\n").as_bytes(),
        b"b A 192.0.2.3\nc 7 A 192.0.2.4\nd A 192.0.2.5\n",
    );
    let ttls = [b"\x01b", b"\x01c", b"\x01d"].map(|owner| set(&zones, owner, RrType::A).ttl());
    assert_eq!(ttls, [50, 7, 7], "the last TTL given");
}

#[test]
fn long_lines_and_strings_over_lines() {
    let strings = "\"0123456789\"\n ".repeat(100);
    let line = format!("\"{}\" ", "x".repeat(250)).repeat(255);
    let zones =
        zones(&format!("a TXT ( {strings} )\nb TXT {line}\nc A 192.0.2.2 ;{}\nd A 192.0.2.3\n", "y".repeat(1 << 16)));
    assert_eq!(rdatas(&set(&zones, b"\x01a", RrType::TXT))[0].len(), 1100);
    assert_eq!(rdatas(&set(&zones, b"\x01b", RrType::TXT))[0].len(), 251 * 255);
    assert_eq!(rdatas(&set(&zones, b"\x01d", RrType::A)), [[192, 0, 2, 3]]);
}

#[test]
fn dnssec_algorithms_by_name() {
    let key = "DNSKEY 257 3 ED448 AQID\nb DS 1 RSASHA256 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\nb NS ns1\n\
        c CDNSKEY 257 3 ecdsap256sha256 AQID\nd RRSIG A RSASHA1 2 600 20300101000000 20200101000000 1 @ AQID\n";
    let zones = zones(&format!("a {key}"));
    assert_eq!(rdatas(&set(&zones, b"\x01a", RrType::DNSKEY)), [[1, 1, 3, 16, 1, 2, 3]]);
    assert_eq!(rdatas(&set(&zones, b"\x01b", RrType::DS))[0][..4], [0, 1, 8, 2]);
    assert_eq!(rdatas(&set(&zones, b"\x01c", RrType(60)))[0][..4], [1, 1, 3, 13]);
    assert_eq!(rdatas(&set(&zones, b"\x01d", RrType::RRSIG))[0][..4], [0, 1, 5, 2]);
}

#[test]
fn refused_as_text() {
    for (rest, line, reason) in [
        ("$GENERATE 1-9 h$ A 192.0.2.$\n", 5, "$GENERATE is known to BIND alone"),
        ("\n$generate 1-9 h$ A 192.0.2.$\n", 6, "$GENERATE is known to BIND alone"),
        ("$OTHER x\n", 5, "unknown control: $OTHER"),
        ("\na TXT ( \"x\"\nb A 192.0.2.1\n", 6, "the parenthesis opened here is never closed"),
        ("a TXT \"x )\nb A 192.0.2.1\n", 5, "the string has no closing quote on its line"),
        ("a TXT x )\n", 5, "a closing parenthesis without an opening one"),
        ("a TXT x\\\n", 5, "a backslash with nothing behind it"),
        ("a A\n", 5, "unexpected end of entry"),
        ("a\n", 5, "unexpected end of entry"),
    ] {
        let error = read_with(format!("{HEAD}{rest}").as_bytes(), b"").unwrap_err();
        assert!(error.line == line && error.reason.contains(reason), "{rest}: {error}");
    }
    let error = read_with(format!("{HEAD}\n$INCLUDE inc\n").as_bytes(), b"\n\na URI 1 2\n").unwrap_err();
    assert_eq!((error.file.as_str(), error.line), ("inc", 3), "{error}");
    assert!(read_with(b" A 192.0.2.1\n", b"").unwrap_err().reason.contains("missing last owner"));
}

/// Pieces of master files, whole and broken.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "a",
        "@",
        "\n",
        "\n",
        " ",
        "\t",
        "(",
        ")",
        "\"",
        ";",
        "\\",
        "\\#",
        "\r\n",
        "$ORIGIN",
        "$TTL",
        "$INCLUDE",
        "inc",
        "IN",
        "CH",
        "1h",
        "60",
        "A",
        "192.0.2.1",
        "TXT",
        "\"x y\"",
        "LOC",
        "42",
        "N",
        "W",
        "-24m",
        "URI",
        "APL",
        "1:0.0.0.0/0",
        "CERT",
        "PGP",
        "AQID",
        "HIP",
        "SPF",
        "EUI48",
        "WKS",
        "A6",
        "SOA",
        "NS",
        "TYPE29",
        "KEY",
        "\\097",
        "\\9",
        "é",
        "\u{feff}",
        ".",
        "b.c.",
        "\\.",
        "AMTRELAY",
        "SIG",
        "20300101000000",
        "99999999999999999999",
        "NXT",
        "DOA",
        "-",
        "ATMA",
        "+1",
        "NSAP",
        "0x00",
    ]);
    prop_oneof![
        8 => words.prop_map(|word| format!("{word} ").into_bytes()),
        2 => prop::collection::vec(any::<u8>(), 0..4),
    ]
}

proptest! {
    /// Any text: an error with a line of the text, never a panic.
    #[test]
    fn any_text_is_read_or_refused(pieces in prop::collection::vec(piece(), 0..40), inc in prop::collection::vec(piece(), 0..10)) {
        let text = [HEAD.as_bytes(), &pieces.concat()].concat();
        if let Err(error) = read_with(&text, &inc.concat()) {
            let longest = text.iter().filter(|octet| **octet == b'\n').count() + inc.len() + 1;
            prop_assert!(error.line <= longest, "{error}");
        }
    }

    /// What stands between records does not change them.
    #[test]
    fn comments_and_folding_change_nothing(gaps in prop::collection::vec(prop::sample::select(vec![" ", "\t", " ; c \"(\n ", "\n", "\r\n\t"]), 12)) {
        let words = ["x", "60", "IN", "LOC", "42", "21", "54", "N", "71", "W", "-24m", "30m"];
        let folded: String = words.iter().zip(&gaps).skip(1).map(|(word, gap)| format!("{gap}{word}")).collect();
        let digest = |rest: String| read_with(format!("{HEAD}{rest}\nz A 192.0.2.7\n").as_bytes(), b"").unwrap().digest();
        prop_assert_eq!(digest(format!("x ({folded})")), digest(words.join(" ")));
    }
}
