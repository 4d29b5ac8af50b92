//! CERT-56: an SRV target that is an alias, which RFC 2782 forbids and which is met all the same (RFC 7671 7).

use super::*;

const TARGET: &str = "sip.provider.test";
const LAST: &str = "real.host.test";

/// What one case has in DNS: TLSA records by host, and the names whose answers are not proved or fail.
#[derive(Default)]
struct Dns<'c> {
    tlsa: Vec<(&'c str, &'c str)>,
    not_proved: &'static str,
    fails: &'static str,
}

impl Dns<'_> {
    /// `example.test` at a target that is an alias of an alias.
    async fn start(&self, port: u16) -> Server {
        let mut lines = vec![
            format!("_sips._tcp.example.test. SRV 10 0 {port} {TARGET}."),
            format!("{TARGET}. CNAME middle.provider.test."),
            format!("middle.provider.test. CNAME {LAST}."),
            format!("{LAST}. A 127.0.0.1"),
        ];
        lines.extend(self.tlsa.iter().map(|(host, data)| format!("_{port}._tcp.{host}. TLSA {data}")));
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let honest = zone(&lines);
        let (not_proved, fails) = (self.not_proved, self.fails);
        let is = move |asked: &Asked, what: &str| {
            let kind = if asked.kind == TLSA { "TLSA " } else { "" };
            !what.is_empty() && format!("{kind}{}", asked.name.rsplit("_tcp.").next().unwrap()) == what
        };
        Server::start(move |asked: &Asked| match is(asked, fails) {
            true => Some(Say::rcode(2)),
            false => honest(asked).map(|say| Say { authentic: !is(asked, not_proved), ..say }),
        })
        .await
    }
}

#[tokio::test]
async fn the_last_name_comes_first_cert_56() {
    let (ours, private) = (authority("ours"), authority("private"));
    let public = Shown::new(&ours, vec![dns("example.test")], |_| ());
    let stranger = Shown::new(&private, vec![dns("x.invalid")], |_| ());
    let named = |host: &str| Shown::new(&private, vec![dns(host)], |_| ());
    let (by_last, by_target, by_middle) = (named(LAST), named(TARGET), named("middle.provider.test"));
    let ee = |shown: &Shown| format!("3 1 1 {}", hex(shown.spki_sha256()));
    let (right, good) = (ee(&stranger), ee(&public));
    let wrong = format!("3 1 1 {}", "ab".repeat(32));
    let useless = format!("1 1 1 {}", "ab".repeat(32));
    let ta = format!("2 0 1 {}", hex(Sha256::digest(der(&private))));
    let dns_of = |tlsa| Dns { tlsa, ..Dns::default() };
    let rows: Vec<(&str, &Shown, Dns<'_>, &str, &str)> = vec![
        ("at the last name", &stranger, dns_of(vec![(LAST, &right)]), "DaneKey", LAST),
        ("at the target", &stranger, dns_of(vec![(TARGET, &right)]), "DaneKey", TARGET),
        ("the last name decides", &stranger, dns_of(vec![(LAST, &wrong), (TARGET, &right)]), "NoTlsaFits", LAST),
        ("whatever the target says", &stranger, dns_of(vec![(LAST, &right), (TARGET, &wrong)]), "DaneKey", LAST),
        (
            "nothing usable there",
            &public,
            dns_of(vec![(LAST, &useless), (TARGET, &wrong)]),
            "Authority",
            "example.test",
        ),
        ("a name between is none", &stranger, dns_of(vec![("middle.provider.test", &right)]), "Chain", "example.test"),
        ("none", &public, dns_of(vec![]), "Authority", "example.test"),
        ("an authority, last name", &by_last, dns_of(vec![(LAST, &ta)]), "DaneAuthority", LAST),
        ("an authority, target", &by_target, dns_of(vec![(LAST, &ta)]), "DaneAuthority", LAST),
        ("an authority, name between", &by_middle, dns_of(vec![(LAST, &ta)]), "OtherName", LAST),
        ("at the target its own name", &by_last, dns_of(vec![(TARGET, &ta)]), "OtherName", TARGET),
        (
            "an alias that is not proved",
            &public,
            Dns { not_proved: "middle.provider.test.", ..dns_of(vec![(LAST, &wrong), (TARGET, &wrong)]) },
            "Authority",
            "example.test",
        ),
        (
            "TLSA of the last name not proved",
            &public,
            Dns { not_proved: "TLSA real.host.test.", ..dns_of(vec![(LAST, &wrong), (TARGET, &good)]) },
            "DaneKey",
            TARGET,
        ),
        (
            "nobody knows what the last name has",
            &stranger,
            Dns { fails: "TLSA real.host.test.", ..dns_of(vec![(TARGET, &right)]) },
            "TlsaLookup",
            "",
        ),
    ];
    for (id, shown, dns, expected, sni) in rows {
        let sip = Sip::start(shown).await;
        let server = dns.start(sip.address.port()).await;
        assert_eq!(word(&connect(&connector(&server, &[&ours])).await), expected, "CERT-56: {id}");
        let asked_for = sip.asked_for.lock().unwrap().clone();
        assert_eq!(asked_for.concat(), sni, "CERT-46: {id}");
        let asks_tlsa = server.asked().iter().any(|asked| asked.kind == TLSA);
        assert_eq!(asks_tlsa, dns.not_proved != "middle.provider.test.", "CERT-43: {id}");
    }
}
