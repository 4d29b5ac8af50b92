//! What the full path answers: broken, old, new and hostile messages (spec sections 1 and 3).

use super::*;
use crate::request::Request;

const NAME: &str = "node.test";

fn opt(version: u8, flags: u16, options: &[u8]) -> impl Fn(Query) -> Query {
    let options = options.to_vec();
    move |query| query.record("", 41, 1232, u32::from(version) << 16 | u32::from(flags), &options)
}

fn tsig() -> Vec<u8> {
    let mut data = wire("hmac-sha256");
    data.extend([0, 0, 0x65, 0, 0, 0, 1, 44, 0, 4, 9, 9, 9, 9, 0x42, 0x42, 0, 0, 0, 0]);
    data
}

#[test]
fn odd_messages() {
    let zones = zones();
    let soa = || Query::new(NAME, "SOA");
    let with = |query: Query, octets: &[u8]| Query([&query.0, octets].concat());
    let cookie = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    let mut response = soa();
    response.0[2] |= 0x80;
    let found = "NOERROR aa; answer node.test. 3600 SOA×1";
    let rows: Vec<(&str, Query, String)> = vec![
        ("DNS-T47", response, "silence".into()),
        ("DNS-1: shorter than a header", Query(vec![0x42; 11]), "silence".into()),
        ("DNS-1: nothing", Query(vec![]), "silence".into()),
        ("DNS-T43", soa().question(NAME, 1, 1), "FORMERR qd=0".into()),
        ("DNS-T43", Query::header(), "FORMERR qd=0".into()),
        ("DNS-T43", Query::header().edns(1232), "FORMERR qd=0; opt 1232".into()),
        ("DNS-2: for a cookie", opt(0, 0, &cookie)(Query::header()), "NOERROR qd=0; opt 1232".into()),
        ("DNS-55: no cookie", opt(0, 0, &[0, 10, 0, 2, 1, 2])(Query::header()), "FORMERR qd=0; opt 1232".into()),
        ("DNS-3", Query::header().opcode(15), "NOTIMP qd=0".into()),
        ("DNS-3", soa().opcode(15), "NOTIMP".into()),
        ("DNS-3: IQUERY", soa().opcode(1), "NOTIMP".into()),
        ("DNS-3: STATUS", soa().opcode(2).edns(512), "NOTIMP; opt 1232".into()),
        ("DNS-3: DSO", with(Query::header().opcode(6), &[0, 1, 0, 0]), "NOTIMP qd=0".into()),
        ("DNS-6: CH", Query::header().question("version.bind", 16, 3), "REFUSED".into()),
        ("DNS-6: CH", Query::header().question(NAME, 6, 3), "REFUSED".into()),
        ("DNS-6: ANY class", Query::header().question(NAME, 6, 255), "REFUSED".into()),
        ("DNS-73", soa().opcode(4), "REFUSED".into()),
        ("DNS-77", soa().opcode(5).edns(1232), "REFUSED; opt 1232".into()),
        ("DNS-77: no zone", Query::header().opcode(5), "FORMERR qd=0".into()),
        ("DNS-T54", Query::new(NAME, "AXFR"), "REFUSED".into()),
        ("DNS-72: no SOA in authority", Query::new(NAME, "IXFR"), "FORMERR".into()),
        ("meta", Query::new(NAME, "MAILB"), "NOTIMP".into()),
        ("meta", Query::new(NAME, "MAILA"), "NOTIMP".into()),
        ("meta", Query::new(NAME, "TKEY"), "FORMERR".into()),
        ("meta", Query::new(NAME, "TSIG"), "FORMERR".into()),
        ("meta", Query::new(NAME, "OPT").edns(1232), "FORMERR; opt 1232".into()),
        ("DNS-96", Query::new(NAME, "NXNAME"), "FORMERR".into()),
        ("DNS-T44", soa().edns(1232).edns(1232), "FORMERR; opt 1232".into()),
        ("DNS-T44", soa().record("opt.test", 41, 1232, 0, &[]), "FORMERR; opt 1232".into()),
        ("DNS-41", opt(1, 0, &[])(soa()), "BADVERS; opt 1232".into()),
        ("DNS-41", opt(255, 0x8000, &[])(soa()), "BADVERS; opt 1232 do".into()),
        ("DNS-41: options of another version", opt(1, 0, &[1])(soa()), "BADVERS; opt 1232".into()),
        ("DNS-42", opt(0, 0x7fff, &[0, 100, 0, 1, 7])(soa()), format!("{found}; opt 1232")),
        ("DNS-42", opt(0, 0xffff, &[0xfd, 0xe9, 0, 0])(soa()), format!("{found}; opt 1232 do")),
        ("RFC 6891 6.1.2: half an option", opt(0, 0, &[0, 100, 0, 9, 7])(soa()), "FORMERR; opt 1232".into()),
        ("RFC 6891 6.1.2: half an option's head", opt(0, 0, &[0, 100, 0])(soa()), "FORMERR; opt 1232".into()),
        (
            "DNS-75: unknown key",
            soa().record("key.test", 250, 255, 0, &tsig()),
            "NOTAUTH; additional key.test. 0 TSIG×1".into(),
        ),
        ("DNS-75: twice", soa().record("k", 250, 255, 0, &tsig()).record("k", 250, 255, 0, &tsig()), "FORMERR".into()),
        ("DNS-75: not last", soa().record("k", 250, 255, 0, &tsig()).edns(1232), "FORMERR; opt 1232".into()),
        ("DNS-75: broken", soa().record("k", 250, 255, 0, &[0, 1]), "FORMERR".into()),
        ("SIG(0) is not ours to check", soa().record("", 24, 255, 0, &[0; 19]), found.into()),
        (
            "other additional records",
            soa().record("x.test", 1, 1, 0, &[1, 2, 3, 4]).edns(1232),
            format!("{found}; opt 1232"),
        ),
        ("trailing octets", with(soa(), &[0]), "FORMERR".into()),
        ("trailing octets", with(soa().edns(1232), b"garbage"), "FORMERR; opt 1232".into()),
        ("more counted than there", soa().add(8), "FORMERR".into()),
        ("more counted than there", soa().add(4), "FORMERR qd=0".into()),
        ("question cut off", Query(soa().0[..20].to_vec()), "FORMERR qd=0".into()),
        ("type cut off", Query(soa().0[..soa().0.len() - 3].to_vec()), "FORMERR qd=0".into()),
        (
            "name compressed into the header",
            with(Query::header().add(4), &[0xc0, 4, 0, 6, 0, 1]),
            "FORMERR qd=0".into(),
        ),
        ("name that points to itself", with(Query::header().add(4), &[0xc0, 12, 0, 6, 0, 1]), "FORMERR qd=0".into()),
        ("label type 0x40", with(Query::header().add(4), &[0x41, 0, 0, 6, 0, 1]), "FORMERR qd=0".into()),
        ("name of 256 octets", Query::header().question(&["a234567"; 32].join("."), 1, 1), "FORMERR qd=0".into()),
        (
            "name of 255 octets",
            Query::header().question(&format!("{}.a23456", ["a234567"; 30].join(".") + ".a23456"), 1, 1),
            "REFUSED".into(),
        ),
    ];
    for (id, query, expected) in rows {
        for transport in [UDP, Transport::Tcp] {
            assert_eq!(query.shown(&zones, transport), expected, "{id}, {transport:?}: {:02x?}", query.0);
        }
        if let Some(answer) = query.ask(&zones, UDP).filter(|answer| answer[3] & 15 != 0) {
            assert!(answer.len() <= query.0.len(), "threat 2: {id}: {} octets to {}", answer.len(), query.0.len());
        }
    }
}

#[test]
fn extended_error_where_it_costs_nothing_dns_6_dns_46() {
    let zones = zones();
    let ede = [0, 15, 0, 2, 0, 20];
    let bare = Query::new("www.elsewhere.test", "A").edns(1232);
    let with_cookie = opt(0, 0, &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8])(Query::new("www.elsewhere.test", "A"));
    for (query, transport, expected) in [(&bare, UDP, false), (&bare, Transport::Tcp, true), (&with_cookie, UDP, true)]
    {
        let answer = query.ask(&zones, transport).unwrap();
        assert_eq!(answer.ends_with(&ede), expected, "{transport:?}");
        assert_eq!(shown(&answer), "REFUSED; opt 1232");
        assert!(transport == Transport::Tcp || answer.len() <= query.0.len());
    }
}

#[test]
fn unknown_key_is_named_in_the_answer_rfc_8945_5_2_1() {
    let query = Query::new(NAME, "SOA").edns(1232).record("key.test", 250, 255, 0, &tsig());
    let answer = query.ask(&zones(), UDP).unwrap();
    let record = [
        &wire("key.test")[..],
        &[0, 250, 0, 255, 0, 0, 0, 0, 0, 29],
        &wire("hmac-sha256"),
        &[0, 0, 0x65, 0, 0, 0, 1, 44, 0, 0, 0x42, 0x42, 0, 17, 0, 0],
    ]
    .concat();
    assert!(answer.ends_with(&record), "{answer:02x?}");
    assert_eq!((answer[3], answer[11]), (9, 2), "NOTAUTH, OPT and TSIG");
}

#[test]
fn sound_questions_stay_on_the_hot_path() {
    for query in [
        Query::new(NAME, "SOA"),
        Query::new("DeBuG.nOdE.tEsT", "NAPTR").edns(4096),
        opt(0, 0x8000, &[0, 3, 0, 0, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8])(Query::new(NAME, "ANY")),
        Query::new("", "NS"),
    ] {
        let request = Request::parse(&query.0).unwrap_or_else(|| panic!("{:02x?}", query.0));
        assert!(request.question_end <= query.0.len());
    }
}
