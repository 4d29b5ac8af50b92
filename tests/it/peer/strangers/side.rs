//! One operator, with what the guides have him type: an invitation redeemed, `tandem configure`, an agent, a telephone.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tandem_testkit::{AgentProcess, Output, Service, run, tandem};

use super::super::certificate::Authority;
use super::super::netns::Host;
use super::super::phone::Phone;
use super::super::sip_server::{Operator, Route, SipServer};
use super::super::{PATIENCE, process, wait_for};
use super::API;

/// Where the agent is the SIP server's name server: the guide's address.
const AGENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// The agent's settings beyond the guide's short ones: every service.
const SERVICES: &str = r#"
[dns]
listen = ["127.0.0.2:53"]
enum_suffixes = ["e164.ostn.test"]
[http]
listen = "127.0.0.1:5381"
[sip]
udp = ["127.0.0.1:5070"]
[route]
enum_suffixes = ["e164.ostn.test"]
[files]
ca_bundle = "files/members.pem"
kamailio_addresses = "files/addresses"
kamailio_dispatchers = "files/dispatchers"
nftables = "files/nftables"
[check]
certificates = true
"#;
/// Folders and files of an operator that change by themselves, or that he did not write.
const NOT_SETTINGS: [&str; 4] = ["state", "files", "log", "agent.log"];
/// Longest SIP message that is read.
const MAX_MESSAGE: usize = 65_536;

/// Who an operator is to be.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) user: &'static str,
    pub(super) domain: &'static str,
    /// The user's telephone number.
    pub(super) number: &'static str,
    /// Whether the SIP server has an IPv6 address, too.
    pub(super) has_ipv6: bool,
}

/// An operator at work.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) domain: &'static str,
    user: &'static str,
    pub(super) folder: PathBuf,
    pub(super) host: Host,
    pub(super) server: SipServer,
    pub(super) phone: Phone,
    agent: Option<AgentProcess>,
}

impl Side {
    /// Becomes a member and starts everything, on a host that has nothing yet.
    pub(super) fn start(plan: &Plan, host: Host, directory: &Service, authority: &Authority, folder: &Path) -> Self {
        let Plan { user, domain, number, has_ipv6 } = *plan;
        let folder = folder.join(domain);
        fs::create_dir_all(folder.join("files")).expect("the scratch folder is writable");
        let as_operator = |arguments: &[&str]| tandem_on(&host, &folder, arguments).success();
        let made = |arguments: &[&str]| -> Value {
            let printed = directory.tandem(arguments.iter().copied()).success();
            serde_json::from_str(&printed).expect("it is JSON")
        };
        // What comes from the directory's admin: a code, and a token that reads.
        let invitation = made(&["invite", domain, "--json"]);
        let reader = made(&["token", "new", "--role", "read", "--json"]);
        fs::write(folder.join("read.token"), text(&reader["secret"])).expect("the scratch folder is writable");
        as_operator(&["join", text(&invitation["code"]), "--api", API, "--token-file", "node.token"]);
        let claim = ["numbers", "claim", number, domain, "--json", "--api", API, "--token-file", "node.token"];
        let claim: Value = serde_json::from_str(&as_operator(&claim)).expect("it is JSON");
        directory.tandem(["numbers", "approve", text(&claim["id"])]).success();

        let address = host.address(0);
        let configure = ["configure", "kamailio", "--agent", "--domain", domain, "--address", &address.to_string()];
        let values = ["--output", "kamailio", "--api", API, "--token-file", "read.token"];
        as_operator(&[&configure[..], &values].concat());
        let own = if has_ipv6 { format!("listen=tls:[{}]:5061\n", host.ipv6()) } else { String::new() };
        let printed = folder.join("kamailio");
        let operator = Operator {
            domain,
            address,
            resolver: AGENT.into(),
            authority,
            certified: domain,
            route: Route::Agent,
            printed: Some(&printed),
            own: &own,
        };
        let server = host.within(|| SipServer::start(operator, &folder.join("sip-server")));

        let mut addresses = vec![IpAddr::from(address)];
        addresses.extend(has_ipv6.then(|| IpAddr::from(host.ipv6())));
        let document = json!({
            "targets": [{"host": format!("sip.{domain}"), "port": 5061, "addresses": addresses}],
            "numbers": [{"e164": number, "uri": format!("sip:{user}@{domain}")}],
            "ttl": 60,
        });
        fs::write(folder.join("node.json"), document.to_string()).expect("the scratch folder is writable");
        let settings = format!(
            "directory = \"{API}\"\ntoken_file = \"node.token\"\nread_token_file = \"read.token\"\nstate_dir = \"state\"\n\
             domain = \"{domain}\"\ndocument = \"node.json\"\n{SERVICES}"
        );
        fs::write(folder.join("agent.toml"), settings).expect("the scratch folder is writable");
        as_operator(&["agent", "--check", "--config", "agent.toml"]);
        let agent = Some(start_agent(&host, &folder));
        let phone = host.within(|| Phone::start(user, domain, host.address(1), address, &folder.join("phone")));
        let side = Self { domain, user, folder, host, server, phone, agent };
        side.agent().wait_in_step();
        side
    }

    /// Where the SIP server is.
    pub(super) const fn address(&self) -> Ipv4Addr {
        self.host.address(0)
    }

    /// The user's address.
    pub(super) fn uri(&self) -> String {
        format!("sip:{}@{}", self.user, self.domain)
    }

    pub(super) fn agent(&self) -> &AgentProcess {
        self.agent.as_ref().expect("it runs but while it is started again")
    }

    /// Waits until what the agent says of itself is as `expected`.
    pub(super) fn wait_for_status(&self, what: &str, expected: impl Fn(&Value) -> bool) {
        let what = format!("{}: {what}", self.domain);
        wait_for(&what, || expected(&self.agent().status()).then_some(()));
    }

    /// Waits until the SIP server's name server has servers of `domain`.
    pub(super) fn wait_for_service(&self, domain: &str) {
        wait_for(&format!("{} finds {domain}", self.domain), || self.look_up(domain).contains("\tSRV\t").then_some(()));
    }

    /// What `dig` shows of the SIP server's name server's answer about calls to `domain`.
    pub(super) fn look_up(&self, domain: &str) -> String {
        let name = format!("_sips._tcp.{domain}");
        self.host.within(|| process::read("dig", &[&format!("@{AGENT}"), "SRV", &name, "+noquestion"]))
    }

    /// Ends the agent and starts it again.
    pub(super) fn restart_agent(&mut self) {
        let ended = self.agent.take().map(|mut agent| agent.stop().success());
        assert_eq!(ended, Some(true), "it ends as it should");
        self.agent = Some(start_agent(&self.host, &self.folder));
    }

    /// Runs `tandem` on this host.
    pub(super) fn tandem(&self, arguments: &[&str]) -> Output {
        tandem_on(&self.host, &self.folder, arguments)
    }

    /// The agent's answer at `path`, to a form with `fields` if there are any.
    pub(super) fn ask(&self, path: &str, fields: &[&str]) -> String {
        let url = format!("http://127.0.0.1:5381{path}");
        let form: Vec<&str> = fields.iter().flat_map(|field| ["--data-urlencode", *field]).collect();
        let arguments = [&["--silent", "--show-error", "--max-time", "20", &url][..], &form].concat();
        self.host.within(|| process::read("curl", &arguments))
    }

    /// Its answer to where a call goes; `uri` as it stands in a URL.
    pub(super) fn route(&self, uri: &str) -> Value {
        let answer = self.ask(&format!("/v1/route?uri={uri}"), &[]);
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{uri}: {error}: {answer}"))
    }

    /// What its redirect server says to OPTIONS for `uri`, over UDP.
    pub(super) fn redirect(&self, uri: &str) -> String {
        let socket = self.host.within(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        socket.set_read_timeout(Some(PATIENCE)).expect("a limit above zero");
        let from = socket.local_addr().expect("it is bound");
        let request = format!(
            "OPTIONS {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{port}\r\nMax-Forwards: 70\r\n\
             From: <sip:{user}@{domain}>;tag=1\r\nTo: <{uri}>\r\nCall-ID: {port}@{domain}\r\nCSeq: 1 OPTIONS\r\n\
             Content-Length: 0\r\n\r\n",
            port = from.port(),
            user = self.user,
            domain = self.domain,
        );
        socket.send_to(request.as_bytes(), (Ipv4Addr::LOCALHOST, 5070)).expect("the agent listens");
        let mut answer = vec![0; MAX_MESSAGE];
        let length = socket.recv(&mut answer).expect("the agent answers");
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    /// One of the agent's files; nothing while it is not there.
    pub(super) fn file(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join("files").join(name)).unwrap_or_default()
    }

    /// All that the operator wrote, or that `tandem` and this test wrote for him, one file after the other.
    pub(super) fn settings(&self) -> String {
        let mut all = String::new();
        collect(&self.folder, &mut all);
        all
    }
}

impl Drop for Side {
    #[expect(clippy::print_stderr, reason = "shown with the failure of the test")]
    fn drop(&mut self) {
        if let Some(agent) = self.agent.as_ref().filter(|_| std::thread::panicking()) {
            eprintln!("--- the agent of {}: {:#}\n{}", self.domain, agent.status(), agent.log());
        }
    }
}

fn collect(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).expect("the folder can be listed").map(|entry| entry.expect("so can its entries"))
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().expect("it is still there");
        if NOT_SETTINGS.contains(&&*name) {
            continue;
        }
        if kind.is_dir() {
            collect(&entry.path(), all);
        } else if kind.is_file() {
            all.push_str(&format!(
                "{name}\n{}\n",
                String::from_utf8_lossy(&fs::read(entry.path()).expect("it is ours"))
            ));
        }
    }
}

fn start_agent(host: &Host, folder: &Path) -> AgentProcess {
    let settings = fs::read_to_string(folder.join("agent.toml")).expect("written at the start");
    host.within(|| AgentProcess::start(folder, &settings))
}

fn tandem_on(host: &Host, folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(tandem());
    command.args(arguments).current_dir(folder).env("HOME", folder).env_remove("XDG_CONFIG_HOME");
    host.within(|| run(&mut command))
}

fn text(value: &Value) -> &str {
    value.as_str().expect("it is text")
}
