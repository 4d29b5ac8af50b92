//! RFC 3263 by the machine alone, without a network: the worked cases, additional data, the limits.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod additional;
mod cases;
mod limits;
mod zone;

use tandem_model::SipUri;
use tandem_model::locate::{
    Client, Locate, LocateError, Located, Mode, NextHop, Question, Reply, Request, Service, Step,
};

/// Lets the machine run against `zone`; gives the outcome and the questions in the order they were asked.
fn run(
    uri: &SipUri,
    request: Request,
    client: Client,
    draws: &[u32],
    reply: impl Fn(&Question) -> Reply,
) -> (Located, Vec<Question>) {
    let mut draws = draws.iter().copied();
    drive(Locate::start(uri, request, client, move |_| draws.next().unwrap_or(0)), reply)
}

fn drive<D: FnMut(u32) -> u32>(
    (mut locate, mut step): (Locate<D>, Step),
    reply: impl Fn(&Question) -> Reply,
) -> (Located, Vec<Question>) {
    let (mut asked, mut next) = (Vec::new(), 0);
    loop {
        match step {
            Step::Done(located) => return (located, asked),
            Step::Ask(questions) => asked.extend(questions),
            Step::Wait => {}
        }
        let question = asked.get(next).expect("the machine waits though nothing is under way");
        step = locate.answer(question, reply(question));
        next += 1;
    }
}

/// The clients that the cases name.
fn client(name: &str) -> Client {
    use Service::{Sctp, Tcp, Tls, TlsSctp, Udp, Ws, Wss};
    let (services, mode) = match name {
        "FULL" => (vec![Tls, Tcp, Udp], Mode::Plain),
        "LEGACY" => (vec![Tcp, Udp], Mode::Plain),
        "UDPONLY" => (vec![Udp], Mode::Plain),
        "SECURE" => (vec![Tls], Mode::Secure),
        "ALL" => (vec![Tls, TlsSctp, Wss, Tcp, Udp, Sctp, Ws], Mode::Plain),
        _ => panic!("no client {name}"),
    };
    Client { services, mode, ..Client::default() }
}

/// An outcome as the cases write it.
fn shown(located: &Located) -> String {
    let hop = |hop: &NextHop| match (&hop.tls_name, hop.service.is_secure()) {
        (Some(name), true) => format!("{} {} as {name}", hop.service, hop.address),
        (None, true) => format!("{} {} as none", hop.service, hop.address),
        (None, false) => format!("{} {}", hop.service, hop.address),
        (Some(_), false) => format!("{} {} as a name that nothing verifies", hop.service, hop.address),
    };
    match &located.outcome {
        Ok(hops) => hops.iter().map(hop).collect::<Vec<_>>().join("; "),
        Err(error) => error_name(error).to_owned(),
    }
}

fn error_name(error: &LocateError) -> &'static str {
    match error {
        LocateError::InvalidUri(_) => "InvalidUri",
        LocateError::UnsupportedTransport(_) => "UnsupportedTransport",
        LocateError::NoCommonTransport(_) => "NoCommonTransport",
        LocateError::ServiceNotAvailable(_) => "ServiceNotAvailable",
        LocateError::NoSuchDomain(_) => "NoSuchDomain",
        LocateError::NoUsableAddress(_) => "NoUsableAddress",
        LocateError::TemporaryFailure { .. } => "TemporaryFailure",
        LocateError::PolicyRefused(_) => "PolicyRefused",
        LocateError::Ourselves(_)
        | LocateError::SipsVanished(_)
        | LocateError::Busy { .. }
        | LocateError::Number(_) => "not of the machine",
    }
}

fn uri(text: &str) -> SipUri {
    SipUri::parse(text).unwrap()
}
