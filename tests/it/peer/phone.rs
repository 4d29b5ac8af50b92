//! A telephone: baresip without a sound card, driven through its control socket (JSON in netstrings).

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::process::Process;
use super::{PATIENCE, guide, wait_for};

/// Port of the control socket, as in `tests/data/peer/baresip.config`.
const CONTROL_PORT: u16 = 4444;
/// Longest message of the control socket that is read.
const MAX_MESSAGE: usize = 64 * 1024;

/// How a call ended up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The other side took it.
    Answered,
    /// It did not come about; the answer's status and phrase.
    Refused(String),
}

/// A running baresip, registered at its SIP server.
#[derive(Debug)]
pub(super) struct Phone {
    process: Process,
    control: BufReader<TcpStream>,
    events: VecDeque<Value>,
}

impl Phone {
    /// Starts the telephone of `user@domain` on `address` and waits until it is registered at `server`; it takes every
    /// call at once.
    pub(super) fn start(user: &str, domain: &str, address: Ipv4Addr, server: Ipv4Addr, folder: &Path) -> Self {
        std::fs::create_dir(folder).expect("the scratch folder is writable");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.join(name), text).expect("the scratch folder is writable");
        };
        write("config", &guide::template("baresip.config").replace("{ADDRESS}", &address.to_string()));
        write("contacts", "");
        let account = format!(
            "<sip:{user}@{domain}>;outbound=\"sip:{server}:5060;transport=udp\";regint=60;answermode=auto;\
             audio_codecs=PCMU/8000/1\n"
        );
        write("accounts", &account);
        let arguments = ["-4".as_ref(), "-v".as_ref(), "-f".as_ref(), folder.as_os_str()];
        let mut process = Process::start("baresip", &arguments, &folder.join("log"));
        let control = wait_for(&format!("the telephone of {user} listens"), || {
            process.assert_running();
            TcpStream::connect_timeout(&SocketAddr::from((address, CONTROL_PORT)), PATIENCE).ok()
        });
        let mut phone = Self { process, control: BufReader::new(control), events: VecDeque::new() };
        // "OK" stands beside each account that is registered.
        wait_for(&format!("{user}@{domain} is registered"), || {
            phone.command("reginfo", "").contains("OK").then_some(())
        });
        phone
    }

    /// Calls `uri` and waits for the answer; also says how long it took.
    pub(super) fn call(&mut self, uri: &str) -> (Outcome, Duration) {
        self.events.clear();
        let begin = Instant::now();
        self.command("dial", uri);
        let event = self.next_event(&["CALL_ESTABLISHED", "CALL_CLOSED"]);
        let outcome = if event["type"] == "CALL_ESTABLISHED" {
            Outcome::Answered
        } else {
            Outcome::Refused(event["param"].as_str().unwrap_or_default().to_owned())
        };
        (outcome, begin.elapsed())
    }

    /// Waits until this telephone has taken a call; gives the caller's URI.
    pub(super) fn wait_for_call(&mut self) -> String {
        let event = self.next_event(&["CALL_ESTABLISHED"]);
        event["peeruri"].as_str().unwrap_or_default().to_owned()
    }

    /// Hangs up and waits until the call is gone.
    pub(super) fn hang_up(&mut self) {
        self.command("hangup", "");
        self.wait_for_end();
    }

    /// Waits until the call is gone, whoever hangs up.
    pub(super) fn wait_for_end(&mut self) {
        self.next_event(&["CALL_CLOSED"]);
    }

    /// Sends one command and gives the text it is answered with; events that come before are kept.
    fn command(&mut self, command: &str, parameters: &str) -> String {
        let message = json!({"command": command, "params": parameters, "token": command}).to_string();
        let netstring = format!("{}:{message},", message.len());
        self.control.get_mut().write_all(netstring.as_bytes()).expect("baresip reads its control socket");
        loop {
            let message = self.read_message();
            if message["response"] == true {
                assert_eq!(message["ok"], true, "baresip refuses {command} {parameters}: {message}");
                return message["data"].as_str().unwrap_or_default().to_owned();
            }
            self.events.push_back(message);
        }
    }

    /// The next event of one of `types`; others are passed over.
    fn next_event(&mut self, types: &[&str]) -> Value {
        let begin = Instant::now();
        loop {
            let event = self.events.pop_front().unwrap_or_else(|| self.read_message());
            if types.iter().any(|wanted| event["type"] == *wanted) {
                return event;
            }
            // The socket's own limit ends a silence; this one ends a stream of other events.
            assert!(begin.elapsed() < PATIENCE, "no {types:?} from baresip within {PATIENCE:?}");
        }
    }

    fn read_message(&mut self) -> Value {
        self.process.assert_running();
        self.control.get_ref().set_read_timeout(Some(PATIENCE)).expect("a limit above zero");
        let mut length = Vec::new();
        self.control.read_until(b':', &mut length).expect("baresip answers or reports in time");
        let length = std::str::from_utf8(&length).ok().and_then(|text| text.strip_suffix(':')?.parse().ok());
        let length: usize = length.filter(|&length| length <= MAX_MESSAGE).expect("a netstring begins with its length");
        let mut message = vec![0; length + 1];
        self.control.read_exact(&mut message).expect("a netstring is complete");
        assert_eq!(message.pop(), Some(b','), "a netstring ends with a comma");
        serde_json::from_slice(&message).expect("baresip sends JSON")
    }
}
