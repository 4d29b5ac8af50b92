//! Types that are not in everyday use: each loads from its text form to the octets of its RFC, and as BIND reads it;
//! what is wrong is refused with its line and with what would be right.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests may panic as tests do; a skip is told")]

mod bind;

use tandem_model::{DomainName, Serial};
use tandem_zone::master::{MasterFileError, StaticZone};
use tandem_zone::{Lookup, QueryName, RrType, Settings, Zones};

const HEAD: &str = "$TTL 3600\n@ IN SOA ns1 hostmaster 1 3600 600 604800 300\n@ IN NS ns1\nns1 IN A 192.0.2.1\n";

fn read(text: &str) -> Result<StaticZone, MasterFileError> {
    StaticZone::read(&DomainName::parse("node.test").unwrap(), "node.test.zone", text.as_bytes(), &mut |_| {
        Err("no such file".into())
    })
}

fn zones(text: &str) -> Zones {
    let zone = read(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    Zones::new(Settings::default(), vec![zone], Serial::new(1)).unwrap()
}

fn rdatas(zones: &Zones, owner: &[u8], kind: u16) -> Vec<Vec<u8>> {
    let name = QueryName::parse(owner).unwrap();
    let found = zones.lookup(&name, RrType(kind));
    let Lookup::Records(_, set) = found else { panic!("type {kind}: {found:?}") };
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

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|octet| *octet != b' ')
        .map(|octet| char::from(octet).to_digit(16).unwrap() as u8)
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Source, type, text, octets; names below `node.test` in the text are relative.
const TYPES: [(&str, u16, &str, &str); 74] = [
    ("RFC 1035 3.4.2", 11, "WKS 192.0.2.1 TCP telnet 25", "c0000201 06 00000140"),
    ("no service", 11, "WKS 192.0.2.1 17", "c0000201 11"),
    ("RFC 1183 1", 18, "AFSDB 1 toaster", "0001 07746f6173746572 046e6f6465 0474657374 00"),
    ("RFC 1183 3.1", 19, "X25 311061700956", "0c 333131303631373030393536"),
    ("RFC 1183 3.2", 20, "ISDN 150862028003217 004", "0f 313530383632303238303033323137 03 303034"),
    ("one string", 20, "ISDN 150862028003217", "0f 313530383632303238303033323137"),
    ("RFC 1183 3.3", 21, "RT 10 relay.prime.com.", "000a 0572656c6179 057072696d65 03636f6d 00"),
    (
        "RFC 1706 5",
        22,
        "NSAP 0x47.0005.80.005a00.0000.0001.e133.ffffff000161.00",
        "47000580005a0000000001e133ffffff00016100",
    ),
    ("RFC 1348", 23, "NSAP-PTR @", "046e6f6465 0474657374 00"),
    (
        "RFC 2535 4.3",
        24,
        "SIG NXT 5 2 3600 20300101000000 20200101000000 2143 foo.nil. AQID",
        "001e 05 02 00000e10 70dbd880 5e0be100 085f 03666f6f 036e696c 00 010203",
    ),
    ("RFC 2535 3.2", 25, "KEY 512 3 RSASHA1 ( AQ ID )", "0200 03 05 010203"),
    ("no key", 25, "KEY 49152 3 0", "c000 03 00"),
    ("RFC 2163", 26, "PX 50 re.it. X400.it.", "0032 027265 026974 00 0458343030 026974 00"),
    ("RFC 1712", 27, "GPOS -32.6882 116.8652 10.0", "08 2d33322e36383832 08 3131362e38363532 04 31302e30"),
    ("RFC 1876 4", 29, "LOC 42 21 54 N 71 06 18 W -24m 30m", "00331613 89172dd0 70be15f0 00988d20"),
    ("RFC 1876 4", 29, "LOC 42 21 43.952 N 71 5 6.344 W -24m 1m 200m", "00122413 89170690 70bf2dd8 00988d20"),
    ("RFC 1876 4", 29, "LOC 52 14 05 N 00 08 50 E 10m", "00121613 8b3556c8 80081650 00989a68"),
    ("RFC 1876 4", 29, "LOC 32 7 19 S 116 2 25 E 10m", "00121613 791b7d28 98e64868 00989a68"),
    ("degrees alone", 29, "LOC 90 N 180 W 42849672.95", "00121613 934fd900 59604e00 ffffffff"),
    (
        "all sizes",
        29,
        "LOC 0 0 0.001 S 0 0 0.5 E -100000.00m 0m 90000000m 12.34m",
        "00009913 7fffffff 800001f4 00000000",
    ),
    ("NXT", 30, "NXT foo.nil. A NS NXT", "03666f6f 036e696c 00 60000002"),
    ("EID", 31, "EID 0102 03", "010203"),
    ("NIMLOC", 32, "NIMLOC ff", "ff"),
    ("ATMA", 34, "ATMA +61200000000", "01 3631323030303030303030"),
    ("ATMA", 34, "ATMA 39.246f.000e", "00 39246f000e"),
    ("RFC 2230", 36, "KX 2 rt1.example.com.", "0002 03727431 076578616d706c65 03636f6d 00"),
    ("RFC 4398 2.2", 37, "CERT PGP 1 RSASHA256 ( AQ ID )", "0003 0001 08 010203"),
    ("numbers", 37, "CERT 254 65535 0 AQID", "00fe ffff 00 010203"),
    ("RFC 2874 3.2", 38, "A6 64 ::1234:5678:9abc:def0 ip6", "40 123456789abcdef0 03697036 046e6f6465 0474657374 00"),
    ("part of an octet", 38, "A6 3 ffff::1 ip6.", "03 1fff0000000000000000000000000001 03697036 00"),
    ("whole address", 38, "A6 0 2001:db8::1", "00 20010db8000000000000000000000001"),
    ("no address", 38, "A6 128 ip6.", "80 03697036 00"),
    ("SINK", 40, "SINK 1 2 3 AQID", "01 02 03 010203"),
    ("RFC 3123 5", 42, "APL 1:192.168.32.0/21 !1:192.168.38.0/28", "00011503c0a820 00011c83c0a826"),
    ("RFC 3123 5", 42, "APL 1:224.0.0.0/4 2:FF00:0:0:0:0:0:0:0/8", "00010401e0 00020801ff"),
    ("empty", 42, "APL", ""),
    (
        "RFC 4701 3.6.1",
        49,
        "DHCID ( AAIBY2/AuCccgoJbsaxcQc9TUapptP69l OjxfNuVAA2kjEA= )",
        "000201636fc0b8271c82825bb1ac5c41cf5351aa69b4febd94e8f17cdb95000da48c40",
    ),
    ("RFC 8162 2", 53, "SMIMEA 3 1 1 ( aabb ccdd )", "03 01 01 aabbccdd"),
    (
        "RFC 8005 6",
        55,
        "HIP 2 200100107B1A74DF365639CC39F1D578 AQID rvs.example.com. rvs2",
        "10 02 0003 200100107b1a74df365639cc39f1d578 010203 03727673 076578616d706c65 03636f6d 00 0472767332 046e6f6465 0474657374 00",
    ),
    ("NINFO", 56, "NINFO \"a b\" c", "03 612062 01 63"),
    ("RKEY", 57, "RKEY 0 3 8 AQID", "0000 03 08 010203"),
    ("TALINK", 58, "TALINK @ b.", "046e6f6465 0474657374 00 0162 00"),
    ("RFC 7477 2.1.2", 62, "CSYNC 66 3 A NS AAAA", "00000042 0003 0004 60000008"),
    ("no types", 62, "CSYNC 66 3", "00000042 0003"),
    ("RFC 9859 2.2", 66, "DSYNC CDS NOTIFY 5359 scanner.example.", "003b 01 14ef 077363616e6e6572 076578616d706c65 00"),
    ("RFC 9886", 67, "HHIT AQID", "010203"),
    ("RFC 9886", 68, "BRID AQID", "010203"),
    ("RFC 4408 3.1.1", 99, "SPF \"v=spf1 +mx\" \" -all\"", "0a 763d73706631202b6d78 05 202d616c6c"),
    ("RFC 6742 2.1", 104, "NID 10 0014:4fff:ff20:ee64", "000a 00144fffff20ee64"),
    ("short groups", 104, "NID 10 14:0:0:1", "000a 0014000000000001"),
    ("RFC 6742 2.2", 105, "L32 10 10.1.2.0", "000a 0a010200"),
    ("RFC 6742 2.3", 106, "L64 10 2001:0DB8:1140:1000", "000a 20010db811401000"),
    ("RFC 6742 2.4", 107, "LP 10 l64.example.com.", "000a 036c3634 076578616d706c65 03636f6d 00"),
    ("RFC 7043 3.2", 108, "EUI48 00-00-5e-00-53-2a", "00005e00532a"),
    ("RFC 7043 4.2", 109, "EUI64 00-00-5E-EF-10-00-00-2a", "00005eef1000002a"),
    (
        "RFC 7553 4.5",
        256,
        "URI 10 1 \"ftp://ftp1.example.com/public\"",
        "000a 0001 6674703a2f2f667470312e6578616d706c652e636f6d2f7075626c6963",
    ),
    ("escapes", 256, "URI 10 1 \"a\\\"\\200b\"", "000a 0001 6122c862"),
    ("AVC", 258, "AVC \"app-name:WOLFGANG\"", "11 6170702d6e616d653a574f4c4647414e47"),
    ("DOA", 259, "DOA 1 2 1 \"text/plain\" ( aGVs bG8= )", "00000001 00000002 01 0a746578742f706c61696e 68656c6c6f"),
    ("no data", 259, "DOA 1 2 1 \"\" -", "00000001 00000002 01 00"),
    ("RFC 8777 4.3.1", 260, "AMTRELAY 10 0 1 203.0.113.15", "0a 01 cb00710f"),
    ("RFC 8777 4.3.1", 260, "AMTRELAY 10 0 2 2001:db8::15", "0a 02 20010db8000000000000000000000015"),
    ("RFC 8777 4.3.1", 260, "AMTRELAY 128 1 3 amtrelays.example.", "80 83 09616d7472656c617973 076578616d706c65 00"),
    ("no relay", 260, "AMTRELAY 0 1 0 .", "00 80"),
    ("RFC 9606 4", 261, "RESINFO qnamemin exterr=15,16,17", "08 716e616d656d696e 0f 6578746572723d31352c31362c3137"),
    ("WALLET", 262, "WALLET x", "0178"),
    ("CLA", 263, "CLA x", "0178"),
    (
        "TA",
        32768,
        "TA 60485 RSASHA1 1 ( 2BB183AF5F22588179A53B0A 98631FAD1A292118 )",
        "ec45 05 01 2bb183af5f22588179a53b0a98631fad1a292118",
    ),
    (
        "RFC 4431",
        32769,
        "DLV 60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118",
        "ec45 05 01 2bb183af5f22588179a53b0a98631fad1a292118",
    ),
    ("by number", 29, "TYPE29 42 21 54 N 71 06 18 W -24m 30m", "00331613 89172dd0 70be15f0 00988d20"),
    ("lower case", 256, "uri 1 2 \"x\"", "0001 0002 78"),
    ("RFC 3597 5", 256, "URI \\# 5 0001 000278", "0001 0002 78"),
    ("RFC 3597 5", 23, "NSAP-PTR \\# 1 00", "00"),
    ("RFC 3597 5", 99, "TYPE99 \\# 2 0178", "0178"),
];

#[test]
fn each_type_has_the_octets_of_its_rfc() {
    let mut text = HEAD.to_owned();
    for (index, (_, _, line, _)) in TYPES.iter().enumerate() {
        text += &format!("t{index:02} {line}\n");
    }
    let loaded = zones(&text);
    let mut printed = String::new();
    loaded.iter().try_for_each(|zone| loaded.print(zone, &mut printed)).unwrap();
    let reloaded = zones(&printed);
    for (index, (source, kind, line, octets)) in TYPES.iter().enumerate() {
        let owner = [format!("\x03t{index:02}").as_bytes(), b"\x04node\x04test\x00"].concat();
        assert_eq!(rdatas(&loaded, &owner, *kind), [unhex(octets)], "{source}: {line}");
        assert_eq!(rdatas(&reloaded, &owner, *kind), [unhex(octets)], "{source}: {line}, printed and read");
    }
}

/// A round trip cannot see an error that our table shares: another implementation can.
#[test]
fn bind_reads_the_same() {
    let (mut compared, mut unknown) = (0, 0);
    // Types newer than the oldest BIND that may be installed.
    let is_new = |kind: u16| matches!(kind, 66..=68 | 261..=263);
    for (index, (source, kind, line, _)) in TYPES.iter().enumerate() {
        if is_new(*kind) {
            unknown += 1;
            continue;
        }
        let text = format!("{HEAD}t{index:02} {line}\n");
        let Some(records) = bind::load(&text) else {
            println!("skipped: named-compilezone is not installed");
            return;
        };
        let loaded = zones(&text);
        for ((owner, kind), expected) in records.iter().filter(|((_, kind), _)| *kind != 6) {
            assert_eq!(&rdatas(&loaded, owner, *kind), expected, "{source}: {line}");
            compared += 1;
        }
        assert!(records.keys().any(|(_, there)| there == kind), "{source}: {line}");
    }
    assert_eq!(compared, 3 * (TYPES.len() - unknown), "NS, A and the record itself, each time");
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    for (line, reason) in [
        ("WKS 192.0.2.1", "the record ends where a protocol: TCP, UDP or a number from 0 to 255 should follow"),
        ("WKS 192.0.2.1 TCP 65536", "expected a port from 0 to 65535, or the name of a common service, found `65536`"),
        ("AFSDB one host", "expected a subtype from 0 to 65535, found `one`"),
        ("AFSDB 65536 host", "expected a subtype from 0 to 65535, found `65536`"),
        ("AFSDB +1 host", "expected a subtype from 0 to 65535, found `+1`"),
        ("AFSDB 1 a..b", "expected the server's name, found `a..b`"),
        ("AFSDB 1", "the record ends where the server's name should follow"),
        ("AFSDB 1 host more", "expected the end of the record, found `more`"),
        ("X25 12", "expected a PSDN address: 4 to 255 digits, found `12`"),
        ("NSAP 4700", "expected 0x and hex digits"),
        ("KEY 512 3 5", "the record ends where base64 should follow"),
        ("KEY 512 3 NONE AQID", "expected a DNSSEC algorithm, by name or number, found `NONE`"),
        ("LOC 91 N 0 E 0", "expected degrees of latitude from 0 to 90, found `91`"),
        ("LOC 90 0 1 N 0 E 0", "a latitude is at most 90 degrees"),
        ("LOC 42 60 N 0 E 0", "expected minutes from 0 to 59, N or S, found `60`"),
        ("LOC 42 0 60 N 0 E 0", "expected seconds from 0 to 59.999, N or S, found `60`"),
        ("LOC 42 0 0 E 0 E 0", "expected N or S, found `E`"),
        ("LOC 42 0 0.0001 N 0 E 0", "expected seconds from 0 to 59.999, N or S, found `0.0001`"),
        ("LOC 42 N 181 E 0", "expected degrees of longitude from 0 to 180, found `181`"),
        ("LOC 42 N 1 E", "the record ends where an altitude from -100000.00m to 42849672.95m should follow"),
        ("LOC 42 N 1 E -100000.01m", "expected an altitude from -100000.00m to 42849672.95m, found `-100000.01m`"),
        ("LOC 42 N 1 E 42849672.96m", "expected an altitude"),
        ("LOC 42 N 1 E 0 90000000.01m", "expected a size from 0.00m to 90000000.00m, found `90000000.01m`"),
        ("LOC 42 N 1 E 0 1m 1m 1m 1m", "expected the end of the record, found `1m`"),
        ("CERT NOPE 1 1 AQID", "expected a kind of certificate, by name (PKIX, ..) or number, found `NOPE`"),
        ("CERT PGP 1 1 A", "expected base64, found `A`"),
        ("A6 129 ::1", "expected a prefix length from 0 to 128, found `129`"),
        ("APL 1:192.0.2.0/33", "expected an item as 1:192.0.2.0/24 or !2:2001:db8::/32, found `1:192.0.2.0/33`"),
        ("APL 3:00/8", "expected an item as"),
        ("HIP 2 abc AQID", "expected a host identity tag: hex digits, two an octet, found `abc`"),
        ("SMIMEA 3 1 1 aab", "expected hex digits, two an octet, found `aab`"),
        ("CSYNC 66 3 A BOGUS", "expected a record type, found `BOGUS`"),
        ("SPF", "the record ends where a string should follow"),
        ("SPF \\999", "a broken escape"),
        ("NID 10 1:2:3", "expected four groups of one to four hex digits with colons between, found `1:2:3`"),
        ("EUI48 00-00-5e-00-53", "expected six octets of two hex digits with hyphens between"),
        ("EUI64 00-00-5e-00-53-2a", "expected eight octets of two hex digits with hyphens between"),
        ("URI 10 1", "the record ends where a URI in quotes should follow"),
        ("URI 10 1 \"\"", "expected a URI in quotes, found `\"\"`"),
        ("AMTRELAY 10 2 1 192.0.2.1", "expected a discovery-optional bit, 0 or 1, found `2`"),
        ("AMTRELAY 10 0 4 x", "expected a relay type: 0 for none, 1 for IPv4, 2 for IPv6, 3 for a name, found `4`"),
        ("UNSPEC x", "type 103 is read by its octets alone (RFC 3597): TYPE103 \\# length hex"),
        ("TYPE65280 x", "type 65280 is read by its octets alone"),
        ("BOGUS x", "expected a record type, found `BOGUS`"),
        ("A \\# 3 c00002", "the octets are no data of type A"),
        ("MX \\# 4 000a c000", "the octets are no data of type MX"),
        ("SOA \\# 2 0000", "the octets are no data of type SOA"),
        ("CNAME x..y", "an empty label"),
        ("NS x..y.", "an empty label"),
        ("MX 10 x...y", "an empty label"),
        ("SRV 1 1 1 x..y", "an empty label"),
        ("NAPTR 1 1 \"s\" \"SIPS+D2T\" \"\" x..y", "an empty label"),
        ("NSEC x..y A", "an empty label"),
        ("KX 1 x..y", "expected the exchanger's name"),
        ("A 192.0.2.1\nx..y A 192.0.2.1", "an empty label"),
    ] {
        let error = read(&format!("{HEAD}a A 192.0.2.2\nb {line}\nc A 192.0.2.3\n")).unwrap_err();
        assert!(error.reason.contains(reason), "{line}: {error}");
        assert_eq!(error.line, 6 + line.matches('\n').count(), "{line}: {error}");
    }
    // RFC 1035 3.1: labels of at most 63 octets, names of 255; `node.test` takes eleven.
    let labels = |last: usize| format!("{0}.{0}.{0}.{1}", "x".repeat(60), "y".repeat(last));
    let error = |name: String| read(&format!("{HEAD}b KX 1 {name}\n")).unwrap_err().reason;
    let longest = zones(&format!("{HEAD}b KX 1 {}\nb KX 2 {}.\n", labels(60), "z".repeat(63)));
    assert_eq!(rdatas(&longest, b"\x01b\x04node\x04test\x00", 36).iter().map(Vec::len).collect::<Vec<_>>(), [257, 67]);
    assert!(error(labels(61)).contains("expected the exchanger's name"));
    assert!(error("z".repeat(64)).contains("expected the exchanger's name"));
    let long = format!("{HEAD}b SPF {}\n", "x".repeat(256));
    assert_eq!(read(&long).unwrap_err().reason, "a string is over 255 octets");
    let too_long = format!("{HEAD}b EID {}\n", "00".repeat(65_536));
    assert_eq!(read(&too_long).unwrap_err().reason, "the record's data is over 65535 octets");
    let longest = zones(&format!("{HEAD}b EID {}\n", "00".repeat(65_535)));
    assert_eq!(rdatas(&longest, b"\x01b\x04node\x04test\x00", 31)[0].len(), 65_535);
}

#[test]
fn lines_stay_where_they_are() {
    let before =
        "a ( ; opened ( here\n LOC 42 21 54 N ; \"north\n 71 06 18 W\n\t-24m) 30m ; end\n  ( URI 1\n2 \"x;y\" )\n";
    let loaded = zones(&format!("{HEAD}{before}b A 192.0.2.2\n"));
    assert_eq!(rdatas(&loaded, b"\x01a\x04node\x04test\x00", 29)[0][..4], [0, 0x33, 0x16, 0x13]);
    assert_eq!(rdatas(&loaded, b"\x01a\x04node\x04test\x00", 256), [b"\x00\x01\x00\x02x;y"]);
    for (rest, line) in [
        // Found by the reader behind the pass, and by the pass.
        ("c A 192.0.2.300\n", 12),
        ("\nc MX 10\n", 13),
        ("c NS ( \n\nx y )\n", 14),
        ("c URI ( 1\n2 3\n\"x\" )\n", 14),
        ("c URI ( 1\ntwo\n\"x\" )\n", 13),
        // The first fault counts, whoever finds it.
        ("c A 192.0.2.300\nd URI 1\n", 12),
        ("c URI 1\nd A 192.0.2.300\n", 12),
    ] {
        let error = read(&format!("{HEAD}{before}b A 192.0.2.2\n{rest}")).unwrap_err();
        assert_eq!(error.line, line, "{rest}: {error}");
    }
}
