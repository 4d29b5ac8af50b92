//! What mod_xml_curl of FreeSWITCH asks for a call, and the dialplan that it gets.
//!
//! A call goes to a member or falls back to the dialplan that FreeSWITCH has itself ("not found"): strangers, our own domain,
//! what must not be called, and every context that strangers can reach. What a caller wrote comes into a dial string only
//! if every character of it means nothing to FreeSWITCH.

use std::borrow::Cow;
use std::fmt::Write as _;

use tandem_model::{Called, Host, SipUri};

use super::http::Paths;
use super::{Outcome, Route, Routes};

/// Longest name of a Sofia profile.
const MAX_NAME: usize = 64;

/// "Use your own dialplan."
const NOT_FOUND: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?>\n\
    <document type=\"freeswitch/xml\">\n  <section name=\"result\">\n    <result status=\"not found\"/>\n  </section>\n</document>\n";

/// The fields that decide; FreeSWITCH sends some hundred.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Form<'a> {
    section: Option<Cow<'a, str>>,
    context: Option<Cow<'a, str>>,
    destination: Option<Cow<'a, str>>,
    /// `alice@debug.ostel.me`, as the caller's phone had it.
    request_uri: Option<Cow<'a, str>>,
    request_host: Option<Cow<'a, str>>,
}

impl<'a> Form<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Self, &'static str> {
        if body.iter().any(|octet| !octet.is_ascii_graphic()) {
            return Err("the form has octets that must be written as %HH\n");
        }
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            let field = match &*name {
                "section" => &mut form.section,
                "Caller-Context" => &mut form.context,
                "Caller-Destination-Number" => &mut form.destination,
                "variable_sip_req_uri" => &mut form.request_uri,
                "variable_sip_req_host" => &mut form.request_host,
                _ => continue,
            };
            if field.replace(value).is_some() {
                return Err("a field that decides is given twice\n");
            }
        }
        Ok(form)
    }

    /// Whom the caller means: at our own server a number that was dialled, else what the phone asked for.
    fn called(&self, routes: &Routes) -> Option<Called> {
        let destination = self.destination.as_deref()?;
        let host = self.request_host.as_deref().and_then(|host| Host::parse(host).ok());
        let is_here = match &host {
            None | Some(Host::Ip(_)) => true,
            Some(Host::Name(domain)) => routes.is_own(domain),
        };
        if is_here && destination.starts_with('+') {
            return Routes::read(destination).ok();
        }
        let uri = match (&self.request_uri, host) {
            (Some(uri), _) => format!("sip:{uri}"),
            (None, Some(host)) => format!("sip:{destination}@{host}"),
            (None, None) => return None,
        };
        SipUri::parse(&uri).ok().map(Called::Uri)
    }
}

/// The document for one call.
pub(super) async fn answer(paths: &Paths, form: &Form<'_>, profile: &str) -> String {
    let context = form.context.as_deref().unwrap_or_default();
    // Who calls in from outside must not be sent on to a third party.
    let is_ours = paths.config.freeswitch_contexts.iter().any(|ours| ours == context);
    if form.section.as_deref() != Some("dialplan") || !is_ours {
        return NOT_FOUND.to_owned();
    }
    let Some(called) = form.called(&paths.routes) else { return NOT_FOUND.to_owned() };
    let route = paths.routes.find(&called).await;
    bridge(&route, profile).map_or_else(|| NOT_FOUND.to_owned(), |bridge| document(context, &bridge))
}

/// The dial string for a member; `None` for anybody else, and for a user that cannot stand in one.
fn bridge(route: &Route, profile: &str) -> Option<String> {
    let called = route.called.as_ref().filter(|_| route.outcome == Outcome::Found && route.member.is_some())?;
    let user = called.user()?;
    // Commas, bars, brackets, braces and dollars are FreeSWITCH's own language: `${system(…)}` runs a command.
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.~*+".contains(&octet);
    user.bytes().all(is_plain).then(|| format!("sofia/{profile}/{user}@{};transport=tls", called.host()))
}

fn document(context: &str, bridge: &str) -> String {
    let (context, bridge) = (escaped(context), escaped(bridge));
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?>\n\
         <document type=\"freeswitch/xml\">\n  <section name=\"dialplan\">\n    <context name=\"{context}\">\n      \
         <extension name=\"tandem\">\n        <condition>\n          \
         <action application=\"set\" data=\"hangup_after_bridge=true\"/>\n          \
         <action application=\"bridge\" data=\"{bridge}\"/>\n        \
         </condition>\n      </extension>\n    </context>\n  </section>\n</document>\n"
    )
}

/// Text for an attribute of XML; what XML cannot hold at all is left out.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' | '<' | '>' | '"' | '\'' => {
                // Writing to a string does not fail.
                let _ = write!(escaped, "&#{};", u32::from(character));
            }
            control if control.is_control() => {}
            other => escaped.push(other),
        }
    }
    escaped
}

/// Whether a text can be a Sofia profile.
pub(super) fn is_profile(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
        && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::{World, active, member};
    use super::*;
    use crate::config::RouteConfig;
    use crate::member::MemberState;

    async fn ask(world: &World, form: &str, profile: &str) -> String {
        let config = Arc::new(RouteConfig::default());
        let paths = Paths { routes: world.routes.clone(), config };
        answer(&paths, &Form::read(form.as_bytes()).unwrap(), profile).await
    }

    #[tokio::test]
    async fn dialplans() {
        let bad = member("bad.test", MemberState::Compromised, &[], &[]);
        let number = member("n.test", MemberState::Active, &["10 0 sip.n.test 5061 203.0.113.7"], &["+15550101=alice"]);
        let world = World::new(vec![active("a.test"), bad, number], |route| route.members_only = true);
        let form = |context: &str, destination: &str, host: &str, uri: &str| {
            format!(
                "hostname=fs&section=dialplan&tag_name=&key_name=&key_value=&Event-Name=REQUEST_PARAMS&\
                 Caller-Caller-ID-Name=%3Cx%3E&Caller-Context={context}&Caller-Destination-Number={destination}&\
                 variable_sip_req_host={host}&variable_sip_req_uri={uri}"
            )
        };
        for (id, form, expected) in [
            ("a member", form("default", "alice", "a.test", "alice%40a.test"), Some("alice@a.test")),
            ("a port is dropped", form("default", "alice", "a.test", "alice%40a.test%3A5060"), Some("alice@a.test")),
            (
                "a number at home",
                form("default", "%2B15550101", "own.test", "%2B15550101%40own.test"),
                Some("alice@n.test"),
            ),
            ("a number at our address", form("default", "%2B15550101", "192.0.2.1", "%2B1%40x"), Some("alice@n.test")),
            ("a number of theirs", form("default", "%2B1", "a.test", "%2B1%40a.test"), Some("+1@a.test")),
            ("own domain", form("default", "bob", "own.test", "bob%40own.test"), None),
            ("a stranger", form("default", "bob", "x.test", "bob%40x.test"), None),
            ("compromised", form("default", "bob", "bad.test", "bob%40bad.test"), None),
            ("no user", form("default", "", "a.test", "a.test"), None),
            ("who calls in is not sent on", form("public", "alice", "a.test", "alice%40a.test"), None),
            ("a command", form("default", "x", "a.test", "%24%7Bsystem%28reboot%29%7D%40a.test"), None),
            ("a second leg", form("default", "x", "a.test", "alice%2Csofia%2Fx%40a.test"), None),
            ("an escape", form("default", "x", "a.test", "al%2527ice%40a.test"), None),
            ("another section", form("default", "a", "a.test", "a%40a.test").replace("dialplan", "directory"), None),
            ("nothing", String::new(), None),
        ] {
            let document = ask(&world, &form, "external").await;
            let expected = expected.map_or_else(
                || "<result status=\"not found\"/>".to_owned(),
                |called| format!("application=\"bridge\" data=\"sofia/external/{called};transport=tls\"/>"),
            );
            assert!(document.contains(&expected), "{id}: {document}");
        }
    }

    #[test]
    fn what_is_refused_and_escaped() {
        assert!(Form::read(b"section=dialplan&section=dialplan").is_err());
        assert!(Form::read(b"section=dialplan\0").is_err() && Form::read("section=\u{e9}".as_bytes()).is_err());
        assert_eq!(escaped("a<b>\"c'&\u{1}\n\u{e9}"), "a&#60;b&#62;&#34;c&#39;&#38;\u{e9}");
        assert!(is_profile("external-ipv6") && !is_profile("a/b") && !is_profile("") && !is_profile("${x}"));
        let document = document("a\"><x", "y\"/>");
        assert!(!document.contains("<x") && !document.contains("y\""), "{document}");
    }
}
