//! The probes of RFC 8906 8, by `dig` as that text has them (DNS-T01 to DNS-T18).

use super::{ZONE, dig, server};

/// An answer as `dig` prints it, in one line: `QUERY NOERROR [qr aa] SOA edns 0 []`.
///
/// What a probe must not find shows here, too: bits that must be zero, and options.
fn summary(printed: &str) -> String {
    let between = |start: &str, end: &str| {
        let rest = printed.split_once(start)?.1;
        Some(rest.split_once(end).map_or(rest, |(found, _)| found).trim().to_owned())
    };
    let (Some(opcode), Some(status), Some(flags)) =
        (between("opcode: ", ","), between("status: ", ","), between(";; flags:", "; QUERY"))
    else {
        return format!("no answer:\n{printed}");
    };
    let mut line = format!("{opcode} {status} [{flags}]");
    for section in ["ANSWER", "AUTHORITY"] {
        let records = between(&format!(";; {section} SECTION:\n"), "\n\n").unwrap_or_default();
        for record in records.lines() {
            line += &format!(
                " {}{}",
                if section == "ANSWER" { "" } else { "authority " },
                record.split_whitespace().nth(3).unwrap_or("?")
            );
        }
    }
    if let Some(edns) = between("; EDNS: version: ", "\n") {
        let (version, flags) = edns.split_once(", flags:").unwrap();
        let (flags, _size) = flags.split_once("; udp: ").unwrap();
        line += &format!(" edns {version} [{}]", flags.trim());
        let options = between("; EDNS: version: ", "\n;; ").unwrap();
        for option in options.lines().skip(1) {
            line += &format!(" {option}");
        }
    }
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn all_probes() {
    let (server, address) = server();
    let soa = format!("soa {ZONE}");
    let plain = format!("+noedns +noad +norec {soa}");
    let edns = format!("+nocookie +edns=0 +noad +norec {soa}");
    let next_edns = format!("+nocookie +edns=1 +noednsneg +noad +norec {soa}");
    let bad_version = "QUERY BADVERS [qr] edns 0 []";
    let rows = [
        ("DNS-T01", plain.clone(), "QUERY NOERROR [qr aa] SOA"),
        ("DNS-T02", format!("+noedns +noad +norec type1000 {ZONE}"), "QUERY NOERROR [qr aa] authority SOA"),
        ("DNS-T03", format!("+cd {plain}"), "QUERY NOERROR [qr aa] SOA"),
        ("DNS-T04", format!("+noedns +norec +ad {soa}"), "QUERY NOERROR [qr aa] SOA"),
        ("DNS-T05", format!("+zflag {plain}"), "QUERY NOERROR [qr aa] SOA"),
        ("DNS-T06", format!("+noedns +noad +rec {soa}"), "QUERY NOERROR [qr aa rd] SOA"),
        ("DNS-T07", "+noedns +noad +opcode=15 +norec +header-only".into(), "RESERVED15 NOTIMP [qr]"),
        ("DNS-T08", format!("+tcp {plain}"), "QUERY NOERROR [qr aa] SOA"),
        ("DNS-T09", edns.clone(), "QUERY NOERROR [qr aa] SOA edns 0 []"),
        ("DNS-T10", next_edns.clone(), bad_version),
        ("DNS-T11", format!("+ednsopt=100 {edns}"), "QUERY NOERROR [qr aa] SOA edns 0 []"),
        ("DNS-T12", format!("+ednsflags=0x40 {edns}"), "QUERY NOERROR [qr aa] SOA edns 0 []"),
        ("DNS-T13", format!("+ednsflags=0x40 {next_edns}"), bad_version),
        ("DNS-T14", format!("+ednsopt=100 {next_edns}"), bad_version),
        (
            "DNS-T15",
            format!("+nocookie +norec +noad +dnssec +bufsize=512 +ignore dnskey {ZONE}"),
            "QUERY NOERROR [qr aa] authority SOA edns 0 [do]",
        ),
        ("DNS-T16", format!("+dnssec {edns}"), "QUERY NOERROR [qr aa] SOA edns 0 [do]"),
        ("DNS-T17", format!("+dnssec {next_edns}"), "QUERY BADVERS [qr] edns 0 [do]"),
        (
            "DNS-T18",
            format!("+edns=0 +noad +norec +cookie +nsid +expire +subnet=0.0.0.0/0 {soa}"),
            "QUERY NOERROR [qr aa] SOA edns 0 []",
        ),
    ];
    for (id, words, expected) in rows {
        let printed = dig(address, &words);
        assert_eq!(summary(&printed), expected, "{id}: dig {words}\n{printed}");
    }
    assert_eq!(server.stats().tcp.no_error, 1, "DNS-T08 came by TCP");
    server.shutdown().await;
}
