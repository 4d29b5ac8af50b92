//! The framing of SIP messages in a stream and in a datagram, strict and bounded (RFC 3261 7, 18.3).
//!
//! What cannot be framed without a guess is refused: two parties that guess differently see different messages. A server
//! may still want to tell the sender so: [`Message::head`] reads as much as an answer needs.

/// Most octets of a message, body included.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// Most header fields of a message.
pub const MAX_HEADERS: usize = 128;
/// Most line ends before a message that are skipped (RFC 3261 7.5; RFC 5626 3.5.1 keep-alives).
const MAX_BLANK: usize = 64;

/// One message, taken out of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its first line.
    pub start: Start,
    /// Names in lower case, in their long form; values unfolded, without white space around them.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// The body.
    pub body: Vec<u8>,
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// A response.
    Status {
        /// 100 to 699.
        code: u16,
        /// The text behind it.
        reason: Box<str>,
    },
    /// A request: peers send some of their own over our connection.
    Request {
        /// OPTIONS, NOTIFY, …
        method: Box<str>,
        /// The Request-URI as written: not empty, no space in it.
        uri: Box<str>,
    },
    /// Neither, as written; given by [`Message::head`] alone.
    Unreadable(Box<str>),
}

impl Message {
    /// Takes one message from the front of `octets`, which came in order over a stream.
    ///
    /// `None`: it is not all there yet. Otherwise the message and how many octets it took, those of line ends before it
    /// included. Linear in the octets.
    ///
    /// # Errors
    ///
    /// [`Malformed`]: the stream cannot be read any further; close it.
    pub fn take(octets: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let Some((blank, head, body_at)) = split(octets)? else { return Ok(None) };
        let text = &octets[blank..];
        let (start, headers) = read_head(head, read_start)?;
        let body_len = content_length(&headers)?.ok_or(Malformed::Length)?;
        let end = body_at.checked_add(body_len).filter(|&end| end <= MAX_MESSAGE).ok_or(Malformed::TooLong)?;
        let Some(body) = text.get(body_at..end) else { return Ok(None) };
        Ok(Some((Self { start, headers, body: body.to_vec() }, blank + end)))
    }

    /// Reads the message that `octets`, one datagram, hold. Without a Content-Length the body is all of the rest; what is
    /// behind the body counts as not there (RFC 3261 18.3).
    ///
    /// # Errors
    ///
    /// [`Malformed`]: drop it, or answer to what [`head`](Self::head) can read.
    pub fn datagram(octets: &[u8]) -> Result<Self, Malformed> {
        let (blank, head, body_at) = split(octets)?.ok_or(Malformed::Header)?;
        let (start, headers) = read_head(head, read_start)?;
        let rest = &octets[blank + body_at..];
        let body_len = content_length(&headers)?.unwrap_or(rest.len());
        // RFC 3261 18.3: a datagram that ends before its body does is an error.
        let body = rest.get(..body_len).ok_or(Malformed::Length)?;
        Ok(Self { start, headers, body: body.to_vec() })
    }

    /// The head alone of a message that the other two refuse: any first line, any Content-Length; the body is left empty.
    ///
    /// # Errors
    ///
    /// [`Malformed`]: nobody can be answered.
    pub fn head(octets: &[u8]) -> Result<Self, Malformed> {
        let (_, head, _) = split(octets)?.ok_or(Malformed::Header)?;
        let (start, headers) =
            read_head(head, |line| Ok(read_start(line).unwrap_or_else(|_| Start::Unreadable(line.into()))))?;
        Ok(Self { start, headers, body: Vec::new() })
    }

    /// The value of the first field with this name, in lower case and long form.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| **found == *name).map(|(_, value)| &**value)
    }
}

/// Line ends in front, the head without its last line end, and where behind those line ends the body begins; `None` if the
/// head is not all there.
fn split(octets: &[u8]) -> Result<Option<(usize, &str, usize)>, Malformed> {
    let blank = octets.iter().take_while(|octet| matches!(octet, b'\r' | b'\n')).count();
    if blank > MAX_BLANK {
        return Err(Malformed::Start);
    }
    let text = &octets[blank..];
    let Some(head_len) = find(text, b"\r\n\r\n") else {
        return if text.len() < MAX_MESSAGE { Ok(None) } else { Err(Malformed::TooLong) };
    };
    if head_len > MAX_MESSAGE {
        return Err(Malformed::TooLong);
    }
    let head = std::str::from_utf8(&text[..head_len]).map_err(|_| Malformed::NotUtf8)?;
    Ok(Some((blank, head, head_len + 4)))
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).take(MAX_MESSAGE + 1).position(|window| window == what)
}

type Headers = Vec<(Box<str>, Box<str>)>;

fn read_head(
    head: &str,
    read_start: impl FnOnce(&str) -> Result<Start, Malformed>,
) -> Result<(Start, Headers), Malformed> {
    // Lines end in CRLF (RFC 3261 7); either character alone is read differently by different parsers.
    let is_control = |line: &str| line.bytes().any(|octet| octet < b' ' && octet != b'\t' || octet == 0x7f);
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    if is_control(first) {
        return Err(Malformed::Start);
    }
    let start = read_start(first)?;
    let mut headers: Vec<(Box<str>, String)> = Vec::new();
    for line in lines {
        if is_control(line) {
            return Err(Malformed::Header);
        }
        if line.starts_with([' ', '\t']) {
            // RFC 3261 7.3.1: a folded line belongs to the field before; the white space counts as one space.
            let (_, value) = headers.last_mut().ok_or(Malformed::Header)?;
            value.push(' ');
            value.push_str(line.trim_matches([' ', '\t']));
            continue;
        }
        let (name, value) = line.split_once(':').ok_or(Malformed::Header)?;
        let name = name.trim_end_matches([' ', '\t']);
        if !is_token(name) {
            return Err(Malformed::Header);
        }
        if headers.len() == MAX_HEADERS {
            return Err(Malformed::TooManyHeaders);
        }
        headers.push((long_form(name), value.trim_matches([' ', '\t']).to_owned()));
    }
    Ok((start, headers.into_iter().map(|(name, value)| (name, value.trim().into())).collect()))
}

/// RFC 3261 7.1, 7.2.
fn read_start(line: &str) -> Result<Start, Malformed> {
    let Some(status) = line.strip_prefix("SIP/2.0 ") else {
        let mut words = line.split(' ');
        return match (words.next(), words.next(), words.next(), words.next()) {
            (Some(method), Some(uri), Some("SIP/2.0"), None) if is_token(method) && !uri.is_empty() => {
                Ok(Start::Request { method: method.into(), uri: uri.into() })
            }
            _ => Err(Malformed::Start),
        };
    };
    let (code, reason) = status.split_once(' ').ok_or(Malformed::Start)?;
    if code.len() != 3 || !code.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(Malformed::Start);
    }
    match code.parse() {
        Ok(code @ 100..700) => Ok(Start::Status { code, reason: reason.into() }),
        Ok(_) | Err(_) => Err(Malformed::Start),
    }
}

/// RFC 3261 25.1 "token".
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&octet))
}

/// RFC 3261 7.3.3 and 20: the compact forms of the fields that a framing or a match may need.
fn long_form(name: &str) -> Box<str> {
    let lower = name.to_ascii_lowercase();
    match lower.as_str() {
        "l" => "content-length".into(),
        "i" => "call-id".into(),
        "v" => "via".into(),
        "f" => "from".into(),
        "t" => "to".into(),
        "m" => "contact".into(),
        "c" => "content-type".into(),
        "e" => "content-encoding".into(),
        "s" => "subject".into(),
        "k" => "supported".into(),
        _ => lower.into(),
    }
}

/// RFC 3261 18.3 and 20.14: over a stream there is exactly one, in a datagram at most one.
fn content_length(headers: &Headers) -> Result<Option<usize>, Malformed> {
    let mut found = headers.iter().filter(|(name, _)| &**name == "content-length").map(|(_, value)| value);
    let Some(value) = found.next() else { return Ok(None) };
    if found.next().is_some() {
        return Err(Malformed::Length);
    }
    // Not `parse` alone: it takes a sign.
    if value.is_empty() || !value.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(Malformed::Length);
    }
    value.parse().map(Some).map_err(|_| Malformed::TooLong)
}

/// Why octets are no SIP messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The first line is neither a status line nor a request line.
    #[error("the peer does not speak SIP: the first line is no status line (RFC 3261 7.2)")]
    Start,
    /// A line is no header field, or a line end is not CRLF.
    #[error("a line of the SIP message is no header field (RFC 3261 7.3.1)")]
    Header,
    /// The head is not UTF-8.
    #[error("the SIP message is not UTF-8 (RFC 3261 7)")]
    NotUtf8,
    /// More than [`MAX_HEADERS`] fields.
    #[error("the SIP message has more than {MAX_HEADERS} header fields")]
    TooManyHeaders,
    /// Content-Length is missing, doubled or no number.
    #[error("the SIP message has not one Content-Length with a number, as it must over TLS (RFC 3261 18.3)")]
    Length,
    /// More than [`MAX_MESSAGE`] octets.
    #[error("the SIP message is longer than {MAX_MESSAGE} octets")]
    TooLong,
}

#[cfg(test)]
mod tests;
