//! A Kamailio of one operator, configured by `docs/guides/kamailio.md`.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::certificate::Authority;
use super::process::Process;
use super::{guide, network, wait_for};

/// The guide's examples, which become the scenario's own values.
const GUIDE_DOMAIN: &str = "debug.ostel.me";
const GUIDE_ADDRESS: &str = "203.0.113.7";
const GUIDE_FOLDER: &str = "/etc/kamailio/";

/// Longest wait for a connection on the loopback interface.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// How the server finds other domains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// By the domain's own records.
    Domain,
    /// By the records below the peers zone: members only.
    PeersZone,
    /// By NAPTR, from settings alone: the route does not set a destination.
    Naptr,
    /// As `Domain`, with the settings of the agent's guide.
    Agent,
    /// By asking an agent at this address over HTTP.
    Http(Ipv4Addr),
    /// By following the redirects of an agent at this address.
    Redirect(Ipv4Addr),
    /// As `Domain`, with what `tandem configure` printed in place of the guide's snippets.
    Configured,
}

impl Route {
    /// Whether `tandem configure` printed what the server runs with, and not the guide.
    const fn is_printed(self) -> bool {
        matches!(self, Self::Configured | Self::Http(_) | Self::Redirect(_))
    }
}

/// Who runs a server, and where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operator<'a> {
    pub(super) domain: &'a str,
    pub(super) address: Ipv4Addr,
    /// Whom the server asks, on port 53.
    pub(super) resolver: IpAddr,
    /// Who signed its certificate, and whom it trusts.
    pub(super) authority: &'a Authority,
    /// The name in its certificate; its own domain, unless something is wrong.
    pub(super) certified: &'a str,
    pub(super) route: Route,
    /// What `tandem configure` wrote for it, in place of the guide's snippets.
    pub(super) printed: Option<&'a Path>,
    /// Settings of its own, beside the guide's.
    pub(super) own: &'a str,
}

/// A running Kamailio.
#[derive(Debug)]
pub(super) struct SipServer {
    process: Process,
    address: Ipv4Addr,
    configuration: PathBuf,
}

impl SipServer {
    /// Starts the server of `operator`, with its files in `folder`; it is told nothing else.
    pub(super) fn start(operator: Operator<'_>, folder: &Path) -> Self {
        let Operator { domain, address, resolver, authority, certified, route, .. } = operator;
        std::fs::create_dir(folder).expect("the scratch folder is writable");
        authority.write(&folder.join("federation-ca.pem"));
        authority.write_domain(certified, folder);
        let fill = |text: &str| {
            text.replace(GUIDE_DOMAIN, domain)
                .replace(GUIDE_ADDRESS, &address.to_string())
                .replace("{ADDRESS}", &address.to_string())
                .replace(GUIDE_FOLDER, &format!("{}/", folder.display()))
        };
        let fill = |text: &str| match route {
            // The host's own loopback address in the guide, the scenario's here.
            Route::Http(agent) | Route::Redirect(agent) => fill(text).replace("127.0.0.1:", &format!("{agent}:")),
            _ => fill(text),
        };
        let configuration = folder.join("kamailio.cfg");
        std::fs::write(&configuration, fill(&script(operator))).expect("the scratch folder is writable");
        let tls = match (operator.printed, route) {
            (Some(printed), _) => read(&printed.join("tls.cfg")),
            (None, route) if route.is_printed() => configured(domain, address, route, "tls.cfg"),
            (None, _) => guide::snippet("kamailio.md", "tls.cfg"),
        };
        std::fs::write(folder.join("tls.cfg"), fill(&tls)).expect("the scratch folder is writable");

        // In the foreground, log to stderr, run-time files in the scratch folder.
        let arguments: Vec<OsString> = vec![
            "-DD".into(),
            "-E".into(),
            "-f".into(),
            configuration.clone().into(),
            "-w".into(),
            folder.into(),
            "-Y".into(),
            folder.into(),
        ];
        let mut process = network::start_with_resolver("kamailio", &arguments, resolver, folder);
        wait_for(&format!("the SIP server of {domain} listens"), || {
            process.assert_running();
            TcpStream::connect_timeout(&SocketAddr::from((address, 5061)), CONNECT_LIMIT).ok()
        });
        Self { process, address, configuration }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Its whole configuration as it is on disk now.
    pub(super) fn configuration(&self) -> String {
        std::fs::read_to_string(&self.configuration).expect("written at the start")
    }

    /// Its process id: the same one means that it was not started again.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// All that it logged.
    pub(super) fn log(&self) -> String {
        self.process.output()
    }

    /// The lines in which it says how requests came in.
    pub(super) fn arrived(&self) -> Vec<String> {
        let output = self.process.output();
        output.lines().filter_map(|line| line.split_once("arrived: ")).map(|(_, what)| what.to_owned()).collect()
    }
}

/// The operator's own script with the guide's snippets in their places.
fn script(operator: Operator<'_>) -> String {
    let Operator { domain, address, route, printed, own, .. } = operator;
    let snippet = |name: &str| match (printed, route) {
        (Some(printed), _) => read(&printed.join(format!("{name}.cfg"))),
        (None, _) if route.is_printed() => configured(domain, address, route, &format!("{name}.cfg")),
        (None, _) => guide::snippet("kamailio.md", name),
    };
    let of_agent = || match printed {
        Some(printed) => read(&printed.join("agent.cfg")),
        None => guide::snippet("agent.md", "kamailio"),
    };
    let mut text = String::new();
    for line in guide::template("kamailio.cfg").lines() {
        match (line.strip_prefix("#@ "), route) {
            (Some("routes"), Route::PeersZone) => {
                text.push_str(&with_destination(&snippet("routes"), &snippet("peers")))
            }
            (Some("routes"), Route::Naptr) => text.push_str(&with_destination(&snippet("routes"), "")),
            (Some("settings"), Route::Naptr) => text.push_str(&(snippet("settings") + &snippet("naptr"))),
            (Some("settings"), Route::Agent) => text.push_str(&(snippet("settings") + &of_agent() + own)),
            (Some("settings"), Route::Redirect(_)) => text.push_str(&(snippet("settings") + &snippet("agent"))),
            (Some(name), _) => text.push_str(&snippet(name)),
            (None, _) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The piece that `tandem configure` has for `file`.
fn configured(domain: &str, address: Ipv4Addr, route: Route, file: &str) -> String {
    let address = address.to_string();
    let mut arguments =
        vec!["configure", "kamailio", "--domain", domain, "--address", &address, "--zone", "e164.ostn.test"];
    arguments.extend(match route {
        Route::Http(_) => Some("--agent=http"),
        Route::Redirect(_) => Some("--agent=redirect"),
        _ => None,
    });
    super::configured::piece(&arguments, file)
}

/// The routes with another line in place of the one that says where calls go.
fn with_destination(routes: &str, destination: &str) -> String {
    let is_destination = |line: &str| line.trim_start().starts_with("$du = ");
    assert_eq!(routes.lines().filter(|line| is_destination(line)).count(), 1, "one line says where calls go");
    let lines = routes.lines().map(|line| if is_destination(line) { destination.trim_end() } else { line });
    lines.map(|line| format!("{line}\n")).collect()
}
