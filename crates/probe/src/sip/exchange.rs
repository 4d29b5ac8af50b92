//! One OPTIONS request over a connection, and its final response.

use std::io;
use std::time::Duration;

use tandem_model::DomainName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::message::{Malformed, Message, Start};
use super::request::{Options, RequestIds};

/// Longest wait from the request to its final response.
pub const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);
/// Most other messages that are passed over on the way to the response: provisional ones, and the peer's own requests.
const MAX_OTHERS: usize = 8;
/// Octets that one read may bring.
const READ: usize = 4096;
/// Most reads: what comes octet by octet is looked at again each time, and no server answers like that.
const MAX_READS: usize = 256;

/// What a final response shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Somebody is there and answers: any final response but 503 (RFC 3261 11.2 and 16.3).
    Alive {
        /// Its status.
        code: u16,
    },
    /// 503: there, but not able to take calls (RFC 3261 21.5.4).
    Busy {
        /// When to come back, in seconds, if it says so.
        retry_after: Option<u32>,
    },
}

/// Asks who is at the other end of `stream`, which must have proved that it is `domain`, whether it is there. We call
/// ourselves `from`. Takes at most [`EXCHANGE_TIMEOUT`].
///
/// # Errors
///
/// [`SipError`]: there is no final response.
pub async fn ask_options<S>(stream: &mut S, domain: &DomainName, from: &DomainName) -> Result<Life, SipError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut random = [0; 24];
    getrandom::fill(&mut random).map_err(|error| SipError::Io(io::Error::other(error.to_string())))?;
    let ids = RequestIds::new(random);
    ask(stream, Options { domain, from, ids: &ids }).await
}

/// Sends the request and waits for its final response.
pub(crate) async fn ask<S>(stream: &mut S, options: Options<'_>) -> Result<Life, SipError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    timeout(EXCHANGE_TIMEOUT, exchange(stream, options)).await.unwrap_or(Err(SipError::Timeout))
}

async fn exchange<S>(stream: &mut S, options: Options<'_>) -> Result<Life, SipError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(options.to_text().as_bytes()).await.map_err(SipError::Io)?;
    stream.flush().await.map_err(SipError::Io)?;
    let mut octets = Vec::with_capacity(READ);
    let mut others = 0;
    for _ in 0..MAX_READS {
        while let Some((message, used)) = Message::take(&octets).map_err(SipError::Malformed)? {
            octets.drain(..used);
            if let Some(life) = life(&message, options.ids) {
                return Ok(life);
            }
            others += 1;
            if others > MAX_OTHERS {
                return Err(SipError::TooMuchElse);
            }
        }
        // `take` refuses what is longer than a message: what waits here is bounded.
        let mut room = [0; READ];
        match stream.read(&mut room).await.map_err(SipError::Io)? {
            0 => return Err(SipError::Closed),
            len => octets.extend_from_slice(&room[..len]),
        }
    }
    Err(SipError::TooMuchElse)
}

/// What `message` shows, if it is the final response to our request (RFC 3261 17.1.3: branch and CSeq method).
fn life(message: &Message, ids: &RequestIds) -> Option<Life> {
    let Start::Status { code, .. } = message.start else { return None };
    let is_ours = message.header("via").is_some_and(|via| has_branch(via, ids.branch()))
        && message.header("cseq").is_some_and(|cseq| cseq.split_ascii_whitespace().eq(["1", "OPTIONS"]));
    if !is_ours || code < 200 {
        return None;
    }
    if code != 503 {
        return Some(Life::Alive { code });
    }
    // RFC 3261 20.33: seconds, then a comment or parameters.
    let after = message.header("retry-after").and_then(|value| {
        let digits = value.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    });
    Some(Life::Busy { retry_after: after })
}

fn has_branch(via: &str, branch: &str) -> bool {
    // The topmost value is ours alone: we have sent one Via, and nobody is before us.
    let first = via.split(',').next().unwrap_or_default();
    let parameters = first.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    parameters.into_iter().any(|(name, value)| name.trim().eq_ignore_ascii_case("branch") && value.trim() == branch)
}

/// Why there is no final response.
#[derive(Debug, thiserror::Error)]
pub enum SipError {
    /// Nobody answered in time.
    #[error("no final response to SIP OPTIONS within {} s", EXCHANGE_TIMEOUT.as_secs())]
    Timeout,
    /// The connection ended.
    #[error("the connection was closed before a final response to SIP OPTIONS")]
    Closed,
    /// What came is no SIP.
    #[error("what was answered to SIP OPTIONS cannot be read")]
    Malformed(#[source] Malformed),
    /// More than a few messages that are no answer to us, or an answer in crumbs.
    #[error("more than {MAX_OTHERS} other messages came instead of a final response to SIP OPTIONS")]
    TooMuchElse,
    /// The network, or TLS.
    #[error("the connection broke during SIP OPTIONS")]
    Io(#[source] io::Error),
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;
    use crate::sip::MAX_MESSAGE;

    /// What becomes of our request when the peer says `answer`; `{branch}` in it is that of the request.
    async fn answered(answer: &str) -> Result<Life, SipError> {
        let (domain, from) = (DomainName::parse("a.test").unwrap(), DomainName::parse("probe.test").unwrap());
        let ids = RequestIds::new([7; 24]);
        let (mut ours, mut theirs) = duplex(MAX_MESSAGE * 4);
        let answer = answer.replace("{branch}", ids.branch()).replace('\n', "\r\n");
        theirs.write_all(answer.as_bytes()).await.unwrap();
        // Their side stays open for reading, and says no more.
        let (_reader, mut writer) = tokio::io::split(theirs);
        writer.shutdown().await.unwrap();
        ask(&mut ours, Options { domain: &domain, from: &from, ids: &ids }).await
    }

    fn response(start: &str, more: &str) -> String {
        format!(
            "SIP/2.0 {start}\nVia: SIP/2.0/TLS probe.test;rport;branch={{branch}}\nCSeq: 1 OPTIONS\n{more}Content-Length: 0\n\n"
        )
    }

    #[tokio::test]
    async fn final_responses_show_life() {
        for code in [200, 302, 400, 404, 405, 407, 481, 483, 500, 501, 603] {
            assert_eq!(answered(&response(&format!("{code} X"), "")).await.unwrap(), Life::Alive { code });
        }
        for (more, retry_after) in [
            ("", None),
            ("Retry-After: 120\n", Some(120)),
            ("Retry-After: 18000;duration=3600\n", Some(18000)),
            ("Retry-After: 5 (soon)\n", Some(5)),
            ("Retry-After: soon\n", None),
            ("Retry-After: 99999999999\n", None),
        ] {
            assert_eq!(answered(&response("503 Busy", more)).await.unwrap(), Life::Busy { retry_after }, "{more}");
        }
    }

    #[tokio::test]
    async fn other_messages_are_passed_over() {
        let request = "OPTIONS sip:x SIP/2.0\nl: 0\n\n";
        let trying = response("100 Trying", "");
        let foreign = response("200 OK", "").replace("{branch}", "z9hG4bKother");
        let other_method = response("200 OK", "").replace("OPTIONS", "INVITE");
        let ours = response("200 OK", "");
        let text = format!("\n\n{request}{trying}{foreign}{other_method}{ours}");
        assert_eq!(answered(&text).await.unwrap(), Life::Alive { code: 200 });
        assert!(matches!(answered(&trying).await, Err(SipError::Closed)));
        assert!(matches!(answered(&foreign).await, Err(SipError::Closed)));
        let many = format!("{}{ours}", request.repeat(MAX_OTHERS + 1));
        assert!(matches!(answered(&many).await, Err(SipError::TooMuchElse)));
        assert!(matches!(answered("").await, Err(SipError::Closed)));
        assert!(matches!(answered("HTTP/1.1 400 Bad Request\n\n").await, Err(SipError::Malformed(Malformed::Start))));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_has_an_end() {
        let (domain, from) = (DomainName::parse("a.test").unwrap(), DomainName::parse("probe.test").unwrap());
        let ids = RequestIds::new([7; 24]);
        let (mut ours, theirs) = duplex(4096);
        let result = ask(&mut ours, Options { domain: &domain, from: &from, ids: &ids }).await;
        assert!(matches!(result, Err(SipError::Timeout)));
        drop(theirs);
    }

    #[test]
    fn the_request() {
        let (domain, from) = (DomainName::parse("a.test").unwrap(), DomainName::parse("probe.test").unwrap());
        let ids = RequestIds::new(std::array::from_fn(|at| u8::try_from(at).unwrap()));
        let text = Options { domain: &domain, from: &from, ids: &ids }.to_text();
        let expected = "OPTIONS sip:a.test SIP/2.0\r\n\
            Via: SIP/2.0/TLS probe.test;branch=z9hG4bK0001020304050607;rport\r\n\
            Max-Forwards: 0\r\n\
            From: <sip:probe.test>;tag=08090a0b0c0d0e0f\r\n\
            To: <sip:a.test>\r\n\
            Call-ID: 1011121314151617@probe.test\r\n\
            CSeq: 1 OPTIONS\r\n\
            Accept: application/sdp\r\n\
            User-Agent: tandem\r\n\
            Content-Length: 0\r\n\r\n";
        assert_eq!(text, expected);
        // Our own parser frames it too.
        let (message, used) = Message::take(text.as_bytes()).unwrap().unwrap();
        assert_eq!(
            (message.start, used),
            (Start::Request { method: "OPTIONS".into(), uri: "sip:a.test".into() }, text.len())
        );
    }
}
