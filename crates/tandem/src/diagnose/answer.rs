//! A question to a name server and its answer, as text and as JSON.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};
use tandem_model::locate::{Data, Dnssec, Found, Reply};
use tandem_model::record::RecordData;
use tandem_resolver::Asked;

use super::text::{Mark, Page};

/// Most records of one section that are shown.
const MAX_SHOWN: usize = 24;

/// Milliseconds, with a digit behind the point.
pub(crate) fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 10_000.0).round() / 10.0
}

/// What a reply is, in a word for programs.
pub(crate) const fn outcome(reply: &Reply) -> &'static str {
    match reply {
        Reply::Records(_) => "records",
        Reply::NoData { .. } => "no-data",
        Reply::NxDomain { .. } => "no-such-name",
        Reply::Failed(_) => "failed",
    }
}

/// Type and data of a record, in master-file form.
pub(crate) fn data(data: &Data) -> (String, String) {
    let record = match data {
        Data::A(v4) => RecordData::A(*v4),
        Data::Aaaa(v6) => RecordData::Aaaa(*v6),
        Data::Naptr(naptr) => RecordData::Naptr(naptr.clone()),
        Data::Srv(srv) => RecordData::Srv(srv.clone()),
        Data::Cname(name) => return ("CNAME".to_owned(), format!("{name}.")),
        Data::Tlsa(tlsa) => return ("TLSA".to_owned(), tlsa_text(tlsa)),
        Data::Unusable(kind) => return (kind.to_string(), "(a record that cannot be used)".to_owned()),
    };
    (record.type_name().to_owned(), record.to_string())
}

/// TLSA data in master-file form; long data is cut.
pub(crate) fn tlsa_text(tlsa: &tandem_model::locate::TlsaData) -> String {
    let hex: String = tlsa.data.iter().take(64).map(|octet| format!("{octet:02x}")).collect();
    let more = if tlsa.data.len() > 64 { "…" } else { "" };
    format!("{} {} {} {hex}{more}", tlsa.usage, tlsa.selector, tlsa.matching)
}

/// One record as a master-file line.
pub(crate) fn line(found: &Found) -> String {
    let (kind, data) = data(&found.data);
    format!("{}. {} IN {kind} {data}", found.owner, found.ttl)
}

/// Shows a question and its answer.
pub(crate) fn tell(asked: &Asked, page: &Page) -> io::Result<()> {
    let question = &asked.question;
    let (mark, what, dnssec) = match &asked.told {
        None => (Mark::Bad, "no answer while there was time".to_owned(), None),
        Some((Reply::Failed(failure), _)) => (Mark::Bad, failure.to_string(), None),
        Some((Reply::NxDomain { ttl }, dnssec)) => (Mark::None, format!("no such name (TTL {ttl})"), Some(dnssec)),
        Some((Reply::NoData { ttl }, dnssec)) => (Mark::None, format!("no such record (TTL {ttl})"), Some(dnssec)),
        Some((Reply::Records(answer), dnssec)) => {
            let number = answer.records.len();
            (Mark::None, format!("{number} record{}", if number == 1 { "" } else { "s" }), Some(dnssec))
        }
    };
    let validated = dnssec.map(|dnssec| format!(", DNSSEC {}", status(*dnssec))).unwrap_or_default();
    let text = format!("{}. {what}, {} ms{validated}", question.name, milliseconds(asked.took));
    page.step(mark, &question.kind.to_string(), &text)?;
    let Some((Reply::Records(answer), _)) = &asked.told else { return Ok(()) };
    for (head, records) in [("", &answer.records), ("also sent: ", &answer.additional)] {
        for found in records.iter().take(MAX_SHOWN) {
            page.line(&format!("            {head}{}", line(found)))?;
        }
        if let Some(more) = records.len().checked_sub(MAX_SHOWN).filter(|&more| more > 0) {
            page.line(&format!("            {head}and {more} more"))?;
        }
    }
    Ok(())
}

/// DNSSEC status for people.
pub(crate) const fn status(dnssec: Dnssec) -> &'static str {
    match dnssec {
        Dnssec::Secure => "secure",
        Dnssec::Insecure => "insecure",
        Dnssec::Indeterminate => "not checked",
    }
}

/// The same for programs.
pub(crate) fn to_json(asked: &Asked) -> Value {
    let records = |records: &[Found]| -> Vec<Value> {
        let record = |found: &Found| {
            let (kind, data) = data(&found.data);
            json!({"owner": found.owner.to_string(), "ttl": found.ttl, "type": kind, "data": data})
        };
        records.iter().take(MAX_SHOWN).map(record).collect()
    };
    let (outcome, failure, dnssec) = match &asked.told {
        None => ("failed", Some("no answer while there was time".to_owned()), None),
        Some((reply, dnssec)) => {
            let failure = if let Reply::Failed(failure) = reply { Some(failure.to_string()) } else { None };
            (outcome(reply), failure, Some(dnssec.to_string()))
        }
    };
    let (answers, additional, ttl) = match &asked.told {
        Some((Reply::Records(answer), _)) => (records(&answer.records), records(&answer.additional), None),
        Some((Reply::NoData { ttl } | Reply::NxDomain { ttl }, _)) => (Vec::new(), Vec::new(), Some(*ttl)),
        Some((Reply::Failed(_), _)) | None => (Vec::new(), Vec::new(), None),
    };
    json!({
        "name": asked.question.name.to_string(),
        "type": asked.question.kind.to_string(),
        "outcome": outcome,
        "failure": failure,
        "records": answers,
        "additional": additional,
        "negative_ttl": ttl,
        "dnssec": dnssec,
        "milliseconds": milliseconds(asked.took),
    })
}

#[cfg(test)]
mod tests {
    use tandem_model::DomainName;
    use tandem_model::locate::{Answer, Kind, Question, TlsaData};

    use super::*;

    #[test]
    fn long_answers_are_cut() {
        let name = DomainName::parse("a.test").unwrap();
        let found = Found { owner: name.clone(), ttl: 60, data: Data::A([192, 0, 2, 1].into()) };
        let answer = Answer { records: vec![found; 1000], additional: Vec::new() };
        let told = Some((Reply::Records(answer), Dnssec::Secure));
        let asked = Asked { question: Question { name, kind: Kind::A }, told, took: Duration::from_micros(1560) };
        let value = to_json(&asked);
        assert_eq!(value["records"].as_array().unwrap().len(), MAX_SHOWN);
        assert_eq!((&value["dnssec"], &value["milliseconds"]), (&json!("secure"), &json!(1.6)));
        assert_eq!(value["records"][0], json!({"owner": "a.test", "ttl": 60, "type": "A", "data": "192.0.2.1"}));
    }

    #[test]
    fn records_as_lines() {
        let name = DomainName::parse("a.test").unwrap();
        let tlsa = TlsaData { usage: 3, selector: 1, matching: 0, data: vec![0xab; 100].into() };
        assert_eq!(tlsa_text(&tlsa), format!("3 1 0 {}…", "ab".repeat(64)));
        let found = Found { owner: name.clone(), ttl: 5, data: Data::Cname(name) };
        assert_eq!(line(&found), "a.test. 5 IN CNAME a.test.");
    }
}
