//! Which pieces make a server's configuration.

use std::fmt::Write as _;

use super::super::Failure;
use super::facts::Facts;
use super::snippet::{AGENT, ASTERISK, BIND, FREESWITCH, KAMAILIO, OPENSIPS, UNBOUND, fill, snippet};
use super::{AgentWay, Piece, Server, Ways};

/// The public tree of telephone numbers (RFC 6116 3.2).
const PUBLIC_NUMBERS: &str = "e164.arpa";
/// What begins a comment in most files.
const HASH: (&str, &str) = ("#", "");
const SEMICOLON: (&str, &str) = (";", "");
const XML: (&str, &str) = ("<!--", " -->");
/// Where FreeSWITCH has its profile.
const PROFILE_PLACE: &str = "sip_profiles/external.xml: these parameters in place of those of the same name";

/// All of a server's configuration, in the order in which it is put in place.
pub(super) fn pieces(server: Server, ways: Ways, facts: &Facts) -> Result<Vec<Piece>, Failure> {
    let Ways { members_only, agent, policy } = ways;
    let values = Values::new(facts);
    let piece = |file, place, comment, text: String| Piece { file, place, comment, text };
    let take = |guide, name, file, place, comment| piece(file, place, comment, values.fill(snippet(guide, name)));
    if members_only && server != Server::Kamailio {
        return Err("--members-only is for Kamailio".into());
    }
    match (server, agent) {
        (Server::Kamailio, Some(AgentWay::Http | AgentWay::Redirect)) if members_only => {
            return Err("--members-only is for DNS; beside an agent set members_only in its [route]".into());
        }
        (Server::Kamailio, _) | (Server::Freeswitch, Some(AgentWay::Http)) | (_, None) => {}
        (Server::Freeswitch, Some(_)) => return Err("FreeSWITCH asks an agent by HTTP: --agent=http".into()),
        (_, Some(_)) => return Err("--agent is for Kamailio and FreeSWITCH; for others see the agent's guide".into()),
    }
    if policy && !matches!(server, Server::Unbound | Server::Bind) {
        return Err("--policy is for unbound and BIND".into());
    }
    Ok(match server {
        Server::Kamailio => {
            let text = |name| values.fill(snippet(KAMAILIO, name));
            let (modules, call, routes) = match agent {
                None | Some(AgentWay::Dns) => (text("modules"), "call", kamailio_routes(facts, &values, members_only)?),
                Some(AgentWay::Http) => {
                    (text("modules") + &text("agent-http-modules"), "agent-http-call", text("agent-http"))
                }
                // Behind all other modules: it needs one of those that every configuration has.
                Some(AgentWay::Redirect) => {
                    let routes = replace_route(&text("routes"), "route[FEDERATION]", &text("agent-redirect"));
                    (text("modules"), "call", text("agent-redirect-modules") + &routes)
                }
            };
            let mut pieces = vec![
                take(KAMAILIO, "tls.cfg", "tls.cfg", "/etc/kamailio/tls.cfg", HASH),
                take(
                    KAMAILIO,
                    "settings",
                    "settings.cfg",
                    "kamailio.cfg, at the top, beside your other settings",
                    HASH,
                ),
                piece("modules.cfg", "kamailio.cfg, before all other modules", HASH, modules),
                take(
                    KAMAILIO,
                    call,
                    "call.cfg",
                    "kamailio.cfg, in request_route, where requests of your own, authenticated users arrive",
                    HASH,
                ),
                piece("routes.cfg", "kamailio.cfg, at the end", HASH, routes),
            ];
            if matches!(agent, Some(AgentWay::Dns | AgentWay::Redirect)) {
                let place = "kamailio.cfg, below the settings above: the agent is its name server";
                pieces.insert(2, take(AGENT, "kamailio", "agent.cfg", place, HASH));
            }
            pieces
        }
        Server::Freeswitch if agent.is_some() => vec![
            take(FREESWITCH, "profile", "profile.xml", PROFILE_PLACE, XML),
            take(
                FREESWITCH,
                "xml_curl.conf.xml",
                "xml_curl.conf.xml",
                "autoload_configs/xml_curl.conf.xml, in place of what is there; load mod_xml_curl",
                XML,
            ),
        ],
        Server::Freeswitch => vec![
            take(FREESWITCH, "profile", "profile.xml", PROFILE_PLACE, XML),
            take(
                FREESWITCH,
                "dialplan",
                "dialplan.xml",
                "dialplan: in the context of your own, authenticated users, never in public",
                XML,
            ),
            take(
                FREESWITCH,
                "enum.conf.xml",
                "enum.conf.xml",
                "autoload_configs/enum.conf.xml, in place of what is there; load mod_enum",
                XML,
            ),
            take(FREESWITCH, "dialplan-numbers", "dialplan-numbers.xml", "dialplan: in the same context", XML),
        ],
        Server::Asterisk => vec![
            take(ASTERISK, "pjsip.conf", "pjsip.conf", "/etc/asterisk/pjsip.conf: add", SEMICOLON),
            take(ASTERISK, "extensions.conf", "extensions.conf", "/etc/asterisk/extensions.conf: add", SEMICOLON),
        ],
        Server::Opensips => vec![
            take(OPENSIPS, "settings", "settings.cfg", "opensips.cfg, settings and modules", HASH),
            take(
                OPENSIPS,
                "call",
                "call.cfg",
                "opensips.cfg, in route, where requests of your own, authenticated users arrive",
                HASH,
            ),
            take(OPENSIPS, "routes", "routes.cfg", "opensips.cfg, at the end", HASH),
        ],
        Server::Unbound => unbound(facts, &values, policy)?,
        Server::Bind => bind(facts, &values, policy)?,
    })
}

/// One's own values, each with the guides' example that it replaces.
struct Values(Vec<(&'static str, String)>);

impl Values {
    fn new(facts: &Facts) -> Self {
        let zone = |label| facts.zone_named(label).map(ToString::to_string);
        let mut own = Vec::new();
        let mut put = |example, value: Option<String>| own.extend(value.map(|value| (example, value)));
        put("debug.ostel.me", facts.domain.as_ref().map(ToString::to_string));
        put("debug\\.ostel\\.me", facts.domain.as_ref().map(|domain| domain.to_string().replace('.', "\\.")));
        put("203.0.113.7:5061", facts.address.map(|address| std::net::SocketAddr::new(address, 5061).to_string()));
        put("203.0.113.7", facts.address.map(|address| address.to_string()));
        put("203.0.113.53", facts.directory.map(|server| server.0.ip().to_string()));
        // A directory without a tree of numbers leaves the public one.
        put("e164.ostn.test", Some(zone("e164").unwrap_or_else(|| PUBLIC_NUMBERS.to_owned())));
        put("peers.ostn.test", zone("peers"));
        put("ostn.test", zone("peers").and_then(|zone| Some(zone.split_once('.')?.1.to_owned())));
        put("policy.ostn.test", zone("policy"));
        Self(own)
    }

    fn fill(&self, text: &str) -> String {
        let values: Vec<(&str, &str)> = self.0.iter().map(|(example, value)| (*example, value.as_str())).collect();
        fill(text, &values)
    }
}

/// Kamailio's routes, with another destination for members only.
fn kamailio_routes(facts: &Facts, values: &Values, members_only: bool) -> Result<String, Failure> {
    let routes = values.fill(snippet(KAMAILIO, "routes"));
    if !members_only {
        return Ok(routes);
    }
    if facts.zone_named("peers").is_none() {
        return Err("--members-only needs the directory's peers zone: --zone peers.ostn.test".into());
    }
    let line = values.fill(snippet(KAMAILIO, "peers"));
    Ok(replace_line(&routes, "$du = ", line.trim_end()))
}

/// `text` with another route in place of the one that begins with `begin`.
///
/// # Panics
///
/// When there is none: a test takes it.
fn replace_route(text: &str, begin: &str, route: &str) -> String {
    let (before, rest) = text.split_once(begin).expect("the guide has this route");
    let (_, after) = rest.split_once("\n}\n").expect("a route ends");
    format!("{before}{route}{after}")
}

/// `text` with another line in place of the one that begins with `begin`.
fn replace_line(text: &str, begin: &str, line: &str) -> String {
    let replaced = |old: &str| if old.trim_start().starts_with(begin) { line.to_owned() } else { old.to_owned() };
    text.lines().map(|old| replaced(old) + "\n").collect()
}

/// Whether unbound answers names of this zone itself unless told not to: `.test` is among its local zones.
fn is_test(zone: &str) -> bool {
    zone == "test" || zone.ends_with(".test")
}

fn unbound(facts: &Facts, values: &Values, policy: bool) -> Result<Vec<Piece>, Failure> {
    let place = "/etc/unbound/unbound.conf.d/tandem.conf";
    if policy {
        needs_policy(facts)?;
        return Ok(vec![
            Piece {
                file: "knot.conf",
                place: "/etc/knot/knot.conf: Knot takes the zones from the directory, which signs them; put in your key and your address",
                comment: HASH,
                text: values.fill(snippet(UNBOUND, "knot.conf")),
            },
            Piece { file: "unbound.conf", place, comment: HASH, text: values.fill(snippet(UNBOUND, "policy")) },
        ]);
    }
    let server = facts.directory.ok_or("--directory is missing")?.0;
    let zones = facts.topmost();
    let mut text = "server:\n".to_owned();
    if zones.iter().any(|zone| is_test(&zone.to_string())) {
        text.push_str("    # Unbound answers names under .test itself unless told not to.\n");
        text.push_str("    local-zone: \"test.\" nodefault\n");
    }
    text.push_str("    # Remove these lines when the zones are signed and delegated: they end the proof of origin.\n");
    for zone in &zones {
        writeln!(text, "    domain-insecure: \"{zone}.\"")?;
    }
    if server.ip().is_loopback() {
        text.push_str("    do-not-query-localhost: no\n");
    }
    let port = if server.port() == 53 { String::new() } else { format!("@{}", server.port()) };
    for zone in &zones {
        writeln!(text, "stub-zone:\n    name: \"{zone}.\"\n    stub-addr: {}{port}", server.ip())?;
    }
    Ok(vec![Piece { file: "unbound.conf", place, comment: HASH, text }])
}

fn bind(facts: &Facts, values: &Values, policy: bool) -> Result<Vec<Piece>, Failure> {
    let (zones_place, options_place) = ("named.conf.local", "named.conf.options, in the block `options`");
    let piece = |file, place, text| Piece { file, place, comment: HASH, text };
    if policy {
        needs_policy(facts)?;
        let key = values.fill(snippet(BIND, "key"));
        return Ok(vec![
            piece("zones.conf", zones_place, key + &values.fill(snippet(BIND, "policy"))),
            piece("options.conf", options_place, values.fill(snippet(BIND, "policy-options"))),
        ]);
    }
    let server = facts.directory.ok_or("--directory is missing")?.0;
    if server.port() != 53 {
        return Err("BIND's stub zones ask port 53 only; give --directory without a port".into());
    }
    let mut text = String::new();
    let zones = facts.topmost();
    for zone in &zones {
        writeln!(text, "zone \"{zone}\" {{\n    type static-stub;\n    server-addresses {{ {}; }};\n}};", server.ip())?;
    }
    let names: Vec<String> = zones.iter().map(|zone| format!("\"{zone}\";")).collect();
    let comment = "# Remove this when the zones are signed and delegated: it ends the proof of origin.\n";
    let options = format!("{comment}validate-except {{ {} }};\n", names.join(" "));
    Ok(vec![piece("zones.conf", zones_place, text), piece("options.conf", options_place, options)])
}

fn needs_policy(facts: &Facts) -> Result<(), Failure> {
    match (facts.zone_named("policy"), facts.zone_named("peers")) {
        (Some(_), Some(_)) => Ok(()),
        _ => Err(
            "--policy needs the directory's policy zone and peers zone: --zone policy.ostn.test --zone peers.ostn.test"
                .into(),
        ),
    }
}
