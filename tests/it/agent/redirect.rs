//! The redirect server of a running agent, called by SIPp.

use std::path::Path;
use std::process::{Command, Stdio};

use tandem_testkit::wait_until;

use super::route::World;
use super::{NEWS, act};
use crate::peer;

/// An INVITE that must be answered by `code`, with `field` in the answer, and its ACK.
fn scenario(uri: &str, code: u16, field: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\n<scenario name=\"redirect\">\n<send retrans=\"500\"><![CDATA[\n\
         INVITE {uri} SIP/2.0\n\
         Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]\n\
         From: <sip:sipp@[local_ip]:[local_port]>;tag=[call_number]\n\
         To: <{uri}>\nCall-ID: [call_id]\nCSeq: 1 INVITE\nMax-Forwards: 70\n\
         Contact: <sip:sipp@[local_ip]:[local_port]>\nContent-Length: 0\n\n]]></send>\n\
         <recv response=\"{code}\"><action>\
         <ereg regexp=\"{field}\" search_in=\"msg\" check_it=\"true\" assign_to=\"1\"/></action></recv>\n\
         <send><![CDATA[\nACK {uri} SIP/2.0\n[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\nCSeq: 1 ACK\n\
         Max-Forwards: 70\nContent-Length: 0\n\n]]></send>\n\
         <Reference variables=\"1\"/>\n</scenario>\n"
    )
}

/// Whether SIPp saw every one of `calls` calls go as the scenario has it.
fn sipp(folder: &Path, place: &str, transport: &str, calls: u32, scenario: &str) -> bool {
    let file = folder.join("scenario.xml");
    std::fs::write(&file, scenario).unwrap();
    let mut command = Command::new("sipp");
    command.args([place, "-i", "127.0.0.1", "-t", transport, "-m", &calls.to_string(), "-r", "200", "-nostdin", "-sf"]);
    command.arg(&file).args(["-timeout", "30", "-timeout_error"]).current_dir(folder);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.expect("sipp can be started").success()
}

#[test]
fn sipp_is_redirected() {
    if !peer::require(&["sipp"]) {
        return;
    }
    let mut world = World::new("[sip]\nudp = [\"127.0.0.1:0\"]\ntcp = [\"127.0.0.1:0\"]\n");
    let folder = tempfile::tempdir().unwrap();
    let (udp, tcp) = (world.agent.printed("sip-udp").to_owned(), world.agent.printed("sip-tcp").to_owned());
    let contact = "Contact: &lt;sip:alice@debug\\.ostn\\.test;transport=tls&gt;";
    let alice = scenario("sip:alice@debug.ostn.test", 302, contact);
    assert!(sipp(folder.path(), &udp, "u1", 300, &alice), "UDP");
    assert!(sipp(folder.path(), &tcp, "t1", 300, &alice), "TCP");
    for (uri, code, field) in [
        ("tel:+15550101", 302, contact),
        ("sip:bob@stranger.ostn.test", 302, "Contact: &lt;sip:bob@stranger\\.ostn\\.test;transport=tls&gt;"),
        ("sip:bob@nobody.ostn.test", 404, "Not Found"),
        ("sip:bob@own.ostn.test", 403, "Forbidden"),
        ("xmpp:bob@debug.ostn.test", 416, "Unsupported URI Scheme"),
    ] {
        assert!(sipp(folder.path(), &udp, "u1", 3, &scenario(uri, code, field)), "{uri}");
    }
    act(&world.directory, "debug.ostn.test", "compromised");
    let refused = scenario("sip:alice@debug.ostn.test", 403, "Forbidden");
    wait_until(NEWS, "a compromised member to be refused", || sipp(folder.path(), &udp, "u1", 1, &refused));
    world.directory.kill();
    let hosted = scenario("sip:bob@hosted.ostn.test", 302, "transport=tls");
    assert!(sipp(folder.path(), &udp, "u1", 3, &hosted), "without the directory");
}
