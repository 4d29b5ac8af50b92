//! Which hop is taken, and that none is taken in another's stead.

use super::*;

async fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

async fn serve(lines: &[String]) -> Server {
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    Server::start(zone(&lines)).await
}

/// CERT-37, CERT-T28: two domains at one address and port. What one of them proved says nothing of the other.
#[tokio::test]
async fn each_domain_proves_itself() {
    let ours = authority("ours");
    let sip = Sip::start(&Shown::new(&ours, vec![dns("example.test")], |_| ())).await;
    let server = World::default().start(sip.address.port()).await;
    let trusting = connector(&server, &[&ours]);
    let open = connect_to(&trusting, "example.test").await.unwrap();
    assert_eq!(word(&connect_to(&trusting, "second.test").await), "OtherName", "CERT-T28");
    let again = connect_to(&trusting, "example.test").await.unwrap();
    assert_eq!(*sip.asked_for.lock().unwrap(), ["example.test", "second.test", "example.test"], "each its own");
    assert_eq!(open.hop.address, again.hop.address);
    let local = |connected: &Connected| connected.stream.get_ref().0.local_addr().unwrap();
    assert_ne!(local(&open), local(&again), "CERT-37: not even for the same domain");

    // With both names both are connected to, each by its own handshake.
    let both = Sip::start(&Shown::new(&ours, DOMAINS.map(dns).into(), |_| ())).await;
    let server = World::default().start(both.address.port()).await;
    let trusting = connector(&server, &[&ours]);
    for domain in DOMAINS {
        assert_eq!(word(&connect_to(&trusting, domain).await), "Authority", "CERT-30: {domain}");
    }
    assert_eq!(*both.asked_for.lock().unwrap(), DOMAINS);
}

/// LOC-T93: refused, refused, and the third takes the call.
#[tokio::test]
async fn the_third_takes_it() {
    let ours = authority("ours");
    let third = Sip::start(&Shown::new(&ours, vec![dns("example.test")], |_| ())).await;
    let lines: Vec<String> = [closed().await, closed().await, third.address]
        .iter()
        .enumerate()
        .map(|(n, at)| format!("_sips._tcp.example.test. SRV {n} 0 {} sip.provider.test.", at.port()))
        .chain(["sip.provider.test. A 127.0.0.1".to_owned()])
        .collect();
    let server = serve(&lines).await;
    let connector = connector(&server, &[&ours]);
    let located = connector.resolver().locate(&"sip:bob@example.test".parse().unwrap()).await;
    assert_eq!(located.next_hops().len(), 3);
    let connected = connector.connect(&located).await.unwrap();
    assert_eq!((connected.hop.address, connected.by), (third.address, VerifiedBy::Authority), "LOC-T93");
}

/// LOC-T94: the provider's certificate does not name the customer. All elements are tried, and plaintext is not, though the
/// customer offers it.
#[tokio::test]
async fn a_strangers_certificate_is_no_reason_for_plaintext() {
    let ours = authority("ours");
    let provider = || Shown::new(&ours, vec![dns("sip.provider.test")], |_| ());
    let (one, two) = (Sip::start(&provider()).await, Sip::start(&provider()).await);
    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    plain.set_nonblocking(true).unwrap();
    let naptr = |order: u16, service: &str, at: &str| {
        format!("customer.test. NAPTR {order} 10 \"s\" \"{service}\" \"\" {at}.customer.test.")
    };
    let srv =
        |at: &str, priority: u16, port: u16| format!("{at}.customer.test. SRV {priority} 0 {port} sip.provider.test.");
    let server = serve(&[
        naptr(10, "SIPS+D2T", "_sips._tcp"),
        naptr(10, "SIP+D2T", "_sip._tcp"),
        srv("_sips._tcp", 1, one.address.port()),
        srv("_sips._tcp", 2, two.address.port()),
        srv("_sip._tcp", 1, plain.local_addr().unwrap().port()),
        "sip.provider.test. A 127.0.0.1".to_owned(),
    ])
    .await;
    let connector = connector(&server, &[&ours]);
    let located = connector.resolver().locate(&"sip:bob@customer.test".parse().unwrap()).await;
    assert_eq!(located.next_hops().len(), 2);
    assert_eq!(word(&connector.connect(&located).await), "OtherName", "LOC-T94");
    for sip in [&one, &two] {
        assert_eq!(*sip.asked_for.lock().unwrap(), ["customer.test"], "LOC-T94: once each");
    }
    let nobody = plain.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock, "LOC-85, LOC-T94");
}

/// CERT-T23: nobody can say whether DANE applies to the first target, so it is skipped; the second takes the call.
#[tokio::test]
async fn a_target_whose_tlsa_lookup_fails_is_skipped() {
    let ours = authority("ours");
    let shown = || Shown::new(&ours, vec![dns("example.test")], |_| ());
    let (first, second) = (Sip::start(&shown()).await, Sip::start(&shown()).await);
    let honest = zone(&[
        &format!("_sips._tcp.example.test. SRV 1 0 {} one.provider.test.", first.address.port()),
        &format!("_sips._tcp.example.test. SRV 2 0 {} two.provider.test.", second.address.port()),
        "one.provider.test. A 127.0.0.1",
        "two.provider.test. A 127.0.0.1",
    ]);
    let server = Server::start(move |asked: &Asked| match (asked.kind, asked.name.contains(".one.")) {
        (TLSA, true) => Some(Say::rcode(2)),
        _ => honest(asked).map(|say| Say { authentic: true, ..say }),
    })
    .await;
    let connector = connector(&server, &[&ours]);
    let located = connector.resolver().locate(&"sip:bob@example.test".parse().unwrap()).await;
    let connected = connector.connect(&located).await.unwrap();
    assert_eq!(connected.hop.address, second.address, "CERT-T23");
    assert_eq!(first.asked_for.lock().unwrap().len(), 0, "CERT-T23: not even connected to");
}
