//! The header fields that an answer hangs on: Via, From and To, CSeq (RFC 3261 20, 25.1).

use std::net::SocketAddr;

/// The topmost Via value: where the request came from and the transaction's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Via {
    transport: Box<str>,
    /// Host and port as written, without white space.
    pub(super) sent_by: Box<str>,
    host_len: usize,
    pub(super) port: Option<u16>,
    /// As written, the first semicolon left out.
    params: Vec<Box<str>>,
    /// The further values of the same field.
    pub(super) rest: Option<Box<str>>,
}

impl Via {
    /// Reads the value of the first Via field; `None` for one that nobody can be answered by.
    pub(super) fn read(value: &str) -> Option<Self> {
        let end = find_outside_quotes(value, b',')?.unwrap_or(value.len());
        let rest = value.get(end + 1..).map(str::trim).filter(|rest| !rest.is_empty()).map(Into::into);
        let value = &value[..end];
        let (name, tail) = value.split_once('/')?;
        let (version, tail) = tail.split_once('/')?;
        if !name.trim().eq_ignore_ascii_case("SIP") || version.trim() != "2.0" {
            return None;
        }
        let (transport, tail) = tail.trim_start().split_once([' ', '\t'])?;
        let mut parts = split_outside_quotes(tail)?.into_iter();
        // LWS may stand around the colon.
        let sent_by: String = parts.next()?.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let host_len = match sent_by.strip_prefix('[') {
            Some(literal) => literal.find(']')? + 2,
            None => sent_by.find(':').unwrap_or(sent_by.len()),
        };
        let (host, port) = sent_by.split_at(host_len);
        let is_host = |octet: u8| octet.is_ascii_alphanumeric() || b"-._:[]".contains(&octet);
        if !is_token(transport) || host.is_empty() || !host.bytes().all(is_host) {
            return None;
        }
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            None => return None,
            Some(digits) => Some(read_number(digits)?.try_into().ok().filter(|port| *port != 0)?),
        };
        let params = parts.map(|param| param.trim().into()).collect();
        Some(Self { transport: transport.into(), sent_by: sent_by.into(), host_len, port, params, rest })
    }

    /// The branch parameter.
    pub(super) fn branch(&self) -> Option<&str> {
        self.param("branch").flatten()
    }

    /// Whether the sender wants the answer at the port that it sent from (RFC 3581).
    pub(super) fn wants_port(&self) -> bool {
        self.param("rport").is_some()
    }

    /// The value for the answer: with the address that the request came from where that is not what it says (RFC 3261
    /// 18.2.1), and the port if it is wanted (RFC 3581 4).
    pub(super) fn answered(&self, source: SocketAddr) -> String {
        let ip = source.ip().to_canonical();
        let mut text = format!("SIP/2.0/{} {}", self.transport, self.sent_by);
        for param in &self.params {
            match name_of(param) {
                // What the sender says of its own address is not for it to say.
                name if name.eq_ignore_ascii_case("received") => {}
                name if name.eq_ignore_ascii_case("rport") => text.push_str(&format!(";rport={}", source.port())),
                _ if param.is_empty() => {}
                _ => {
                    text.push(';');
                    text.push_str(param);
                }
            }
        }
        let host = self.sent_by[..self.host_len].trim_matches(['[', ']']);
        if self.wants_port() || !host.parse().is_ok_and(|host: std::net::IpAddr| host == ip) {
            text.push_str(&format!(";received={ip}"));
        }
        text
    }

    fn param(&self, name: &str) -> Option<Option<&str>> {
        let param = self.params.iter().find(|param| name_of(param).eq_ignore_ascii_case(name))?;
        Some(param.split_once('=').map(|(_, value)| value.trim()))
    }
}

/// Reads From or To, `"Alice" <sip:alice@a.test>;tag=1` or `sip:alice@a.test;tag=1`; gives its tag, empty for none.
/// `None` for one that is malformed.
pub(super) fn read_party(value: &str) -> Option<&str> {
    let behind = match find_outside_quotes(value, b'<')? {
        Some(open) => {
            let close = open + value[open..].find('>')?;
            let uri = value[open + 1..close].trim();
            // RFC 3261 25.1: a display name is one quoted string or tokens.
            let name = value[..open].trim();
            let is_name = name.starts_with('"') && name.ends_with('"') && name.len() > 1
                || name.split_ascii_whitespace().all(is_token);
            if uri.is_empty() || uri.contains([' ', '\t', '<']) || !is_name {
                return None;
            }
            &value[close + 1..]
        }
        None => {
            let end = value.find(';').unwrap_or(value.len());
            if value[..end].trim().is_empty() || value[..end].trim().contains([' ', '\t', '"']) {
                return None;
            }
            &value[end..]
        }
    };
    let mut parts = split_outside_quotes(behind)?.into_iter();
    // Nothing stands between the address and its first parameter; two values in one field are one too many.
    if !parts.next()?.trim().is_empty() || find_outside_quotes(behind, b',')?.is_some() {
        return None;
    }
    let tag = parts.find(|param| name_of(param).eq_ignore_ascii_case("tag"));
    match tag {
        None => Some(""),
        Some(tag) => tag.split_once('=').map(|(_, tag)| tag.trim()).filter(|tag| is_token(tag)),
    }
}

/// Reads CSeq: the number, below 2^31 (RFC 3261 8.1.1.5), and the method.
pub(super) fn read_cseq(value: &str) -> Option<(u32, &str)> {
    let mut words = value.split_ascii_whitespace();
    let (number, method) = (words.next()?, words.next()?);
    if words.next().is_some() {
        return None;
    }
    read_number(number).filter(|number| *number < 1 << 31).map(|number| (number, method))
}

/// A number in digits alone: `parse` takes a sign, too.
pub(super) fn read_number(digits: &str) -> Option<u32> {
    if digits.is_empty() || !digits.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// RFC 3261 25.1 "token".
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&octet))
}

fn name_of(param: &str) -> &str {
    param.split_once('=').map_or(param, |(name, _)| name).trim()
}

/// The pieces between semicolons that stand in no quoted string; `None` if a quoted string does not end.
fn split_outside_quotes(text: &str) -> Option<Vec<&str>> {
    let (mut parts, mut rest) = (Vec::new(), text);
    loop {
        match find_outside_quotes(rest, b';')? {
            Some(at) => {
                parts.push(&rest[..at]);
                rest = &rest[at + 1..];
            }
            None => {
                parts.push(rest);
                return Some(parts);
            }
        }
    }
}

/// Where `wanted`, an ASCII character, first stands outside of quoted strings; the outer `None` if one of those does not end.
fn find_outside_quotes(text: &str, wanted: u8) -> Option<Option<usize>> {
    let (mut is_quoted, mut found) = (false, None);
    let mut octets = text.bytes().enumerate();
    while let Some((at, octet)) = octets.next() {
        match octet {
            b'\\' if is_quoted => {
                octets.next();
            }
            b'"' => is_quoted = !is_quoted,
            _ if octet == wanted && !is_quoted => {
                found = Some(at);
                break;
            }
            _ => {}
        }
    }
    (!is_quoted || found.is_some()).then_some(found)
}
