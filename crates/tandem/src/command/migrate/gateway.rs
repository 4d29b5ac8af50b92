//! The gateways of a FreeSWITCH (`mod_sofia`), and where its dialplan uses them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use roxmltree::{Document, Node};
use tandem_model::DomainName;

use super::xml::{Files, Variables, line};
use crate::command::Failure;

/// Most uses that are told of one gateway.
const MAX_USES: usize = 100;
/// The profile of a gateway that no profile's folder holds.
const USUAL_PROFILE: &str = "external";

/// What a folder has.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) gateways: Vec<Gateway>,
    /// What could not be read.
    pub(super) notes: Vec<String>,
}

/// One `<gateway>`.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) name: String,
    pub(super) file: PathBuf,
    pub(super) line: u32,
    /// The profile that it belongs to.
    pub(super) profile: String,
    /// Whom it leads to.
    pub(super) peer: Peer,
    /// Whether it registers there; FreeSWITCH's default is yes.
    pub(super) registers: bool,
    pub(super) uses: Vec<Using>,
}

/// Whom a gateway leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Peer {
    Domain(DomainName),
    Address(IpAddr),
    Unclear(String),
}

/// A place that names a gateway.
#[derive(Debug)]
pub(super) struct Using {
    pub(super) file: PathBuf,
    pub(super) line: u32,
    pub(super) text: String,
    /// The same without the gateway.
    pub(super) instead: Option<String>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(domain) => domain.fmt(f),
            Self::Address(address) => address.fmt(f),
            Self::Unclear(text) => text.fmt(f),
        }
    }
}

impl Peer {
    /// Reads `debug.ostel.me`, `sip:debug.ostel.me:5061;transport=tls`, `[2001:db8::1]:5061`.
    fn parse(text: &str) -> Self {
        let unclear = || Self::Unclear(text.to_owned());
        let rest = text.trim().trim_start_matches("sips:").trim_start_matches("sip:");
        let rest = rest.split(';').next().unwrap_or_default();
        let host = match rest.strip_prefix('[') {
            Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
            None if rest.parse::<IpAddr>().is_ok() => rest,
            None => rest.split(':').next().unwrap_or_default(),
        };
        if let Ok(address) = host.parse() {
            return Self::Address(address);
        }
        DomainName::parse(host).map_or_else(|_| unclear(), Self::Domain)
    }
}

/// Reads the folder.
pub(super) fn read(folder: &Path) -> Result<Found, Failure> {
    let not_read = |error| format!("cannot read {}: {error}", folder.display());
    let mut files = Files::read(folder).map_err(not_read)?;
    if files.texts.is_empty() {
        return Err(format!("{} has no XML file; name the folder with sip_profiles", folder.display()).into());
    }
    let mut variables = Variables::default();
    files.each(|_, document| variables.learn(document));
    let mut gateways = Vec::new();
    files.each(|path, document| gateways.extend(gateways_of(path, document, &variables)));
    let by_name: BTreeMap<String, usize> =
        gateways.iter().enumerate().map(|(index, gateway)| (gateway.name.clone(), index)).collect();
    files.each(|path, document| uses_in(path, document, &by_name, &mut gateways));
    Ok(Found { gateways, notes: files.notes })
}

fn gateways_of(path: &Path, document: &Document<'_>, variables: &Variables) -> Vec<Gateway> {
    let elements = document.descendants().filter(|node| node.has_tag_name("gateway") && node.has_attribute("name"));
    elements
        .map(|node| {
            let name = variables.fill(node.attribute("name").unwrap_or_default());
            let peer = param(node, "proxy").or_else(|| param(node, "realm")).map(|text| variables.fill(text));
            let registers = param(node, "register").map(|text| variables.fill(text));
            Gateway {
                file: path.to_owned(),
                line: line(node),
                profile: profile(path, node),
                peer: Peer::parse(peer.as_deref().unwrap_or(&name)),
                registers: registers.is_none_or(|text| is_true(&text)),
                uses: Vec::new(),
                name,
            }
        })
        .collect()
}

/// The value of a gateway's parameter.
fn param<'a>(gateway: Node<'a, '_>, name: &str) -> Option<&'a str> {
    let params = gateway.descendants().filter(|node| node.has_tag_name("param"));
    params.filter(|node| node.attribute("name") == Some(name)).find_map(|node| node.attribute("value"))
}

/// What FreeSWITCH takes for yes.
fn is_true(text: &str) -> bool {
    ["true", "yes", "on", "enable", "enabled", "active", "allow", "t", "y", "1"]
        .iter()
        .any(|word| text.trim().eq_ignore_ascii_case(word))
}

/// The profile: the one around the element, or the folder below `sip_profiles`.
fn profile(path: &Path, node: Node<'_, '_>) -> String {
    let around = node.ancestors().find(|node| node.has_tag_name("profile")).and_then(|node| node.attribute("name"));
    let mut parts = path.iter().skip_while(|part| *part != "sip_profiles").skip(1);
    let folder = parts.next().filter(|_| parts.next().is_some()).and_then(|part| part.to_str());
    around.or(folder).unwrap_or(USUAL_PROFILE).to_owned()
}

fn uses_in(path: &Path, document: &Document<'_>, by_name: &BTreeMap<String, usize>, gateways: &mut [Gateway]) {
    for node in document.descendants() {
        for value in node.attributes().map(|attribute| attribute.value()) {
            let mut told = Vec::new();
            for (_, rest) in value.match_indices("sofia/gateway/").map(|(at, word)| (at, &value[at + word.len()..])) {
                let Some(index) = by_name.get(named(rest)).copied() else { continue };
                if told.contains(&index) || gateways[index].uses.len() == MAX_USES {
                    continue;
                }
                told.push(index);
                let instead = instead(value, &gateways[index]);
                let text = value.to_owned();
                gateways[index].uses.push(Using { file: path.to_owned(), line: line(node), text, instead });
            }
        }
    }
}

/// The gateway's name at the beginning of what follows `sofia/gateway/`: `peer/…` or `external::peer/…`.
fn named(rest: &str) -> &str {
    let name = rest.split(['/', ',', '|']).next().unwrap_or_default().trim();
    name.rsplit_once("::").map_or(name, |(_, name)| name)
}

/// A bridge string that calls the gateway's domain by its name.
fn instead(value: &str, gateway: &Gateway) -> Option<String> {
    let Peer::Domain(domain) = &gateway.peer else { return None };
    let mut changed = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("sofia/gateway/") {
        changed.push_str(before);
        let end = after.find([',', '|']).unwrap_or(after.len());
        match after[..end].split_once('/') {
            Some((_, user)) if named(after) == gateway.name => {
                changed.push_str(&format!("sofia/{}/{}@{domain};transport=tls", gateway.profile, user.trim_end()));
            }
            _ => changed.extend(["sofia/gateway/", &after[..end]]),
        }
        rest = &after[end..];
    }
    changed.push_str(rest);
    (changed != value).then_some(changed)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn peers() {
        let domain = Peer::Domain(DomainName::parse("debug.ostel.me").unwrap());
        for text in ["debug.ostel.me", " sip:debug.ostel.me:5061;transport=tls", "Debug.Ostel.Me:5061"] {
            assert_eq!(Peer::parse(text), domain, "{text}");
        }
        for text in ["192.0.2.1:5061", "sip:192.0.2.1"] {
            assert_eq!(Peer::parse(text), Peer::Address("192.0.2.1".parse().unwrap()), "{text}");
        }
        for text in ["[2001:db8::1]:5061", "2001:db8::1"] {
            assert_eq!(Peer::parse(text), Peer::Address("2001:db8::1".parse().unwrap()), "{text}");
        }
        for text in ["", "$${unknown}", "a b"] {
            assert!(matches!(Peer::parse(text), Peer::Unclear(_)), "{text}");
        }
    }

    #[test]
    fn a_folder_with_variables_uses_and_a_broken_file() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "vars.xml",
            r#"<include><X-PRE-PROCESS cmd="set" data="peer=$${host}.ostel.me"/><X-PRE-PROCESS cmd="set" data="host=debug"/>
               <X-PRE-PROCESS cmd="set" data="loop=$${loop}x$${loop}"/></include>"#,
        );
        write(
            "sip_profiles/federation/debug.xml",
            "<include>\n <gateway name=\"debug\">\n  <param name=\"proxy\" value=\"$${peer}:5061\"/>\n  \
             <param name=\"register\" value=\"false\"/>\n </gateway>\n <gateway name=\"old.example\"/>\n \
             <gateway name=\"looping\"><param name=\"realm\" value=\"$${loop}\"/></gateway>\n</include>",
        );
        write(
            "dialplan/default.xml",
            "<include><extension name=\"x\"><condition>\n<action application=\"bridge\" \
             data=\"sofia/gateway/debug/$1,sofia/gateway/external::debug/+$1|sofia/gateway/other/$1\"/>\
             </condition></extension></include>",
        );
        write("dialplan/broken.xml", "<include>");
        write("dialplan/entities.xml", "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>");
        let found = read(folder.path()).unwrap();
        let names: Vec<_> = found.gateways.iter().map(|gateway| (gateway.name.as_str(), gateway.line)).collect();
        assert_eq!(names, [("debug", 2), ("old.example", 6), ("looping", 7)]);
        let debug = &found.gateways[0];
        assert_eq!(debug.peer, Peer::Domain(DomainName::parse("debug.ostel.me").unwrap()));
        assert_eq!((debug.profile.as_str(), debug.registers), ("federation", false));
        assert_eq!((debug.uses.len(), debug.uses[0].line), (1, 2));
        assert_eq!(
            debug.uses[0].instead.as_deref().unwrap(),
            "sofia/federation/$1@debug.ostel.me;transport=tls,sofia/federation/+$1@debug.ostel.me;transport=tls\
             |sofia/gateway/other/$1"
        );
        assert!(found.gateways[1].registers, "the default of FreeSWITCH");
        assert!(matches!(found.gateways[2].peer, Peer::Unclear(_)));
        assert_eq!(found.notes.len(), 2, "{:?}", found.notes);
        assert!(read(&folder.path().join("none")).is_err());
    }
}
