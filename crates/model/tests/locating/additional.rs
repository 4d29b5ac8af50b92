//! What the machine takes from additional sections, what it leaves, and the TTLs of what it makes.

use tandem_model::DomainName;
use tandem_model::locate::{
    Client, Data, Dnssec, Found, Locate, Located, MAX_ADDITIONAL, Question, Reply, Request, Step,
};

use crate::zone::{NEGATIVE_TTL, TTL, ZoneFile};
use crate::{client, run, shown, uri};

/// One domain, hosted under two names, and a stranger's.
const ZONE: &str = "\
d.test. NAPTR 10 10 \"s\" \"SIPS+D2T\" \"\" _sips._tcp.d.test.
_sips._tcp.d.test. SRV 0 0 5061 in.d.test.
_sips._tcp.d.test. SRV 1 0 5061 edge.provider.test.
in.d.test. A 203.0.113.1
in.d.test. AAAA 2001:db8::1
edge.provider.test. A 203.0.113.2
edge.provider.test. AAAA 2001:db8::2
far.test. NAPTR 10 10 \"s\" \"SIPS+D2T\" \"\" _sips._tcp.d.test.
";

const HOPS: &str = "TLS [2001:db8::1]:5061 as d.test; TLS 203.0.113.1:5061 as d.test; \
                    TLS [2001:db8::2]:5061 as d.test; TLS 203.0.113.2:5061 as d.test";

/// Every record of a text, as an additional section.
fn records(text: &str, ttl: u32) -> Vec<Found> {
    ZoneFile::parse(text).all().map(|(owner, data)| Found { owner: owner.clone(), ttl, data: data.clone() }).collect()
}

/// Answers from [`ZONE`], with `additional` in every answer that has records.
fn with(additional: Vec<Found>) -> impl Fn(&Question) -> Reply {
    let zone = ZoneFile::parse(ZONE);
    move |question| match zone.reply(question) {
        Reply::Records(mut answer) => {
            answer.additional.clone_from(&additional);
            Reply::Records(answer)
        }
        other => other,
    }
}

fn asked_and_shown(text: &str, reply: impl Fn(&Question) -> Reply) -> (usize, String) {
    let (located, asked) = run(&uri(text), Request::default(), client("SECURE"), &[], reply);
    (asked.len(), shown(&located))
}

#[test]
fn a_whole_chain_takes_one_question() {
    assert_eq!(asked_and_shown("sip:a@d.test", with(vec![])), (6, HOPS.to_owned()), "LOC-59: it is not required");
    assert_eq!(asked_and_shown("sip:a@d.test", with(records(ZONE, TTL))), (1, HOPS.to_owned()));
    let without_v6: Vec<_> = records(ZONE, TTL).into_iter().filter(|r| !matches!(r.data, Data::Aaaa(_))).collect();
    assert_eq!(
        asked_and_shown("sip:a@d.test", with(without_v6)),
        (3, HOPS.to_owned()),
        "LOC-59: missing ones are asked"
    );
}

#[test]
fn strangers_data_is_left() {
    // An answer about far.test may not tell what stands at d.test; the SRV answer may then bring its addresses.
    let (asked, hops) = asked_and_shown("sip:a@far.test", with(records(ZONE, TTL)));
    assert_eq!((asked, hops), (2, HOPS.replace("as d.test", "as far.test")));

    let forged =
        "_sips._tcp.d.test. SRV 0 0 5061 evil.test.\nevil.test. A 203.0.113.66\nevil.test. AAAA 2001:db8::66\n";
    let (_, hops) = asked_and_shown("sip:a@far.test", with(records(forged, TTL)));
    assert_eq!(hops, HOPS.replace("as d.test", "as far.test"), "threat 10: outside the domain asked about");
    let forged =
        "edge.provider.test. CNAME evil.test.\nd.test. NAPTR 1 1 \"s\" \"SIPS+D2T\" \"\" _sips._tcp.evil.test.\n";
    let (_, hops) = asked_and_shown("sip:a@d.test", with(records(forged, TTL)));
    assert_eq!(hops, HOPS, "no alias and no NAPTR out of additional data");
    let in_the_way: Vec<_> = (0..MAX_ADDITIONAL)
        .map(|n| (DomainName::parse(&format!("n{n}.d.test")).unwrap(), Data::A([203, 0, 113, 9].into())))
        .map(|(owner, data)| Found { owner, ttl: TTL, data })
        .chain(records(ZONE, TTL))
        .collect();
    assert_eq!(asked_and_shown("sip:a@d.test", with(in_the_way)).0, 6, "no more than {MAX_ADDITIONAL} are read");
}

#[test]
fn loc_88_ttl() {
    let ttls = |text: &str, reply: &dyn Fn(&Question) -> Reply| {
        let (located, _) = run(&uri(text), Request::default(), client("SECURE"), &[], reply);
        (located.ttl, located.outcome.map(|hops| hops.iter().map(|hop| hop.ttl.unwrap()).collect::<Vec<_>>()))
    };
    assert_eq!(ttls("sip:a@d.test", &with(vec![])), (Some(TTL), Ok(vec![TTL; 4])));
    let mut additional = records(ZONE, TTL);
    for record in additional.iter_mut().filter(|r| r.data == Data::A([203, 0, 113, 2].into())) {
        record.ttl = 7;
    }
    assert_eq!(ttls("sip:a@d.test", &with(additional)), (Some(7), Ok(vec![TTL, TTL, TTL, 7])));
    let sample = ZoneFile::parse(include_str!("../data/locating.zone"));
    let reply = |question: &Question| sample.reply(question);
    assert_eq!(ttls("sip:a@srv.test", &reply), (Some(NEGATIVE_TTL), Ok(vec![NEGATIVE_TTL])), "no NAPTR counts too");
    assert_eq!(ttls("sip:a@none.test", &reply).0, Some(NEGATIVE_TTL));
    assert_eq!(ttls("sip:a@broken.test", &reply).0, Some(0), "a failure is not kept");
    let numeric = run(&uri("sip:a@192.0.2.1"), Request::default(), client("FULL"), &[], reply).0;
    assert_eq!((numeric.ttl, numeric.outcome.unwrap()[0].ttl), (None, None));
}

#[test]
fn loc_89_naptr_offered_sips() {
    let sample = ZoneFile::parse(include_str!("../data/locating.zone"));
    for (text, offered) in [
        ("sip:a@example.com", Some(true)),
        ("sip:a@order.test", Some(false)),
        ("sip:a@srv.test", Some(false)),
        ("sip:a@srv.test;transport=tls", None),
    ] {
        let located = run(&uri(text), Request::default(), client("FULL"), &[], |q| sample.reply(q)).0;
        assert_eq!(located.naptr_offered_sips, offered, "{text}");
    }
}

#[test]
fn reasons_name_their_rules() {
    let sample = ZoneFile::parse(include_str!("../data/locating.zone"));
    for (text, rules) in [
        ("sip:a@node.test", "LOC-36 LOC-27 LOC-58 LOC-59"),
        ("sip:a@srv.test", "LOC-36 LOC-33 LOC-35 LOC-58 LOC-59"),
        ("sip:a@addr.test", "LOC-36 LOC-33 LOC-35 LOC-37 LOC-51"),
        ("sip:a@naptrfail.test", "LOC-36 LOC-39"),
        ("sips:a@alias.test", "LOC-24 LOC-60 LOC-27 LOC-58 LOC-59 LOC-59"),
        ("sips:a@dangling.test", "LOC-24 LOC-27 LOC-54 LOC-51"),
    ] {
        let located = run(&uri(text), Request::default(), client("SECURE"), &[], |q| sample.reply(q)).0;
        let got: Vec<_> = located.reasons.iter().map(|reason| reason.rule).collect();
        assert_eq!(got.join(" "), rules, "{text}: {:#?}", located.reasons);
    }
}

/// Answers whole rounds: everything that is under way at once. Gives their number and that of the questions.
fn rounds(client: Client, reply: impl Fn(&Question) -> (Reply, Dnssec)) -> (usize, usize, Located) {
    let (mut locate, mut step) = Locate::start(&uri("sip:a@d.test"), Request::default(), client, |sum| sum);
    let (mut rounds, mut asked) = (0, 0);
    loop {
        let mut next = Vec::new();
        match step {
            Step::Done(located) => return (rounds, asked, located),
            Step::Ask(questions) => next = questions,
            Step::Wait => {}
        }
        rounds += 1;
        let mut last = Step::Wait;
        while !next.is_empty() {
            let round = std::mem::take(&mut next);
            asked += round.len();
            for question in round {
                let (reply, dnssec) = reply(&question);
                match locate.answer_with(&question, reply, dnssec) {
                    Step::Ask(questions) => match last {
                        Step::Ask(ref mut more) => more.extend(questions),
                        _ => last = Step::Ask(questions),
                    },
                    Step::Wait => {}
                    done @ Step::Done(_) => last = done,
                }
            }
        }
        step = last;
    }
}

#[test]
fn round_trips() {
    let ahead = || Client { asks_ahead: true, ..Client::default() };
    let bare = with(vec![]);
    let chain = with(records(ZONE, TTL));
    let plain = |reply: Reply| (reply, Dnssec::Indeterminate);
    let (trips, asked, located) = rounds(ahead(), |question| plain(bare(question)));
    assert_eq!((trips, asked, shown(&located)), (2, 6, HOPS.to_owned()), "two round trips, no question too many");
    assert_eq!(rounds(Client::default(), |question| plain(bare(question))).0, 3);
    let (trips, asked, located) = rounds(ahead(), |question| plain(chain(question)));
    assert_eq!((trips, asked, shown(&located)), (1, 2, HOPS.to_owned()), "one where the chain comes along");
}

#[test]
fn dnssec_of_each_step() {
    let bare = with(vec![]);
    let chain = with(records(ZONE, TTL));
    let hops = |located: &Located| -> Vec<(Dnssec, Dnssec)> {
        located.outcome.as_ref().unwrap().iter().map(|hop| (hop.dnssec.chain, hop.dnssec.address)).collect()
    };
    let secure = |_: &Question| Dnssec::Secure;
    let (_, asked, located) = rounds(Client::default(), |question| (chain(question), secure(question)));
    assert_eq!(hops(&located), [(Dnssec::Secure, Dnssec::Secure); 4]);
    assert_eq!(asked, 6, "additional data is proved by nobody, so each step is asked for");
    assert!(located.reasons.iter().any(|reason| reason.dnssec == Some(Dnssec::Secure)));
    // One insecure step of the chain makes the whole insecure (CERT-42, CERT-58); an insecure address only itself.
    let naptr = |question: &Question| match question.name.to_string() == "d.test" {
        true => Dnssec::Insecure,
        false => Dnssec::Secure,
    };
    let (.., located) = rounds(Client::default(), |question| (bare(question), naptr(question)));
    assert_eq!(hops(&located), [(Dnssec::Insecure, Dnssec::Secure); 4]);
    let edge = |question: &Question| match question.name.to_string() == "edge.provider.test" {
        true => Dnssec::Insecure,
        false => Dnssec::Secure,
    };
    let (.., located) = rounds(Client::default(), |question| (bare(question), edge(question)));
    let (good, bad) = ((Dnssec::Secure, Dnssec::Secure), (Dnssec::Secure, Dnssec::Insecure));
    assert_eq!(hops(&located), [good, good, bad, bad], "CERT-43");
    let (.., located) = rounds(Client::default(), |question| (bare(question), Dnssec::Indeterminate));
    assert_eq!(hops(&located), [(Dnssec::Indeterminate, Dnssec::Indeterminate); 4]);
}

/// CERT-56: a hop says where its target's aliases end, however the answers came; a target that is none says nothing.
#[test]
fn where_aliases_of_targets_end() {
    let zone = ZoneFile::parse(
        "_sips._tcp.d.test. SRV 0 0 5061 alias.test.\n\
         _sips._tcp.d.test. SRV 1 0 5061 plain.test.\n\
         alias.test. CNAME middle.test.\n\
         middle.test. CNAME last.test.\n\
         last.test. A 203.0.113.1\n\
         plain.test. A 203.0.113.2\n\
         at.test. CNAME last.test.\n",
    );
    let ends = |text: &str| -> Vec<Option<String>> {
        let located = run(&uri(text), Request::default(), client("SECURE"), &[], |q| zone.reply(q)).0;
        let hops = located.outcome.unwrap();
        hops.iter().map(|hop| hop.canonical.as_ref().map(ToString::to_string)).collect()
    };
    assert_eq!(ends("sip:a@d.test"), [Some("last.test".to_owned()), None]);
    assert_eq!(ends("sip:a@at.test"), [None], "no SRV target, no TLSA record");
}
