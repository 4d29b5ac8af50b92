//! Ten thousand requests that nobody should send: seeded mutations of right ones, over real connections. Each gets an
//! answer, none of them blames the directory (no 5xx), and afterwards the right ones are answered as before (threat 18).

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;
use tandem_api::{ApiConfig, LimitConfig, RegistrationMode};

use crate::service::{Service, document, document_with};

const REQUESTS: usize = 10_000;
const SEED: u64 = 0x7461_6e64_656d;
/// Longest wait for an answer: above the time in which the server gives up on a body.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// A small generator: the same seed gives the same requests on every machine (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

#[derive(Clone)]
struct Request {
    method: String,
    path: Vec<u8>,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Request {
    fn new(method: &str, path: &str, token: Option<&str>, body: Option<&str>) -> Self {
        let mut fields = vec![("Host".to_owned(), b"directory.test".to_vec())];
        fields.extend(token.map(|token| ("Authorization".to_owned(), format!("Bearer {token}").into_bytes())));
        fields.extend(body.map(|_| ("Content-Type".to_owned(), b"application/json".to_vec())));
        let body = body.unwrap_or_default().as_bytes().to_vec();
        Self { method: method.into(), path: path.into(), fields, body }
    }

    fn octets(&self) -> Vec<u8> {
        let mut out = [self.method.as_bytes(), b" ", &self.path, b" HTTP/1.1\r\n"].concat();
        for (name, value) in &self.fields {
            out.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        // Always the true length: lies about it only cost time, and have tests of their own.
        if !self.body.is_empty() {
            out.extend(format!("Content-Length: {}\r\n", self.body.len()).into_bytes());
        }
        out.extend(b"\r\n");
        out.extend(&self.body);
        out
    }

    fn mutate(&mut self, chance: &mut Chance) {
        const METHODS: [&str; 9] = ["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "X-Y"];
        const VALUES: [&str; 14] = [
            "-1",
            "1e400",
            "99999999999999999999",
            "0.5",
            "null",
            "\"\"",
            "[]",
            "{}",
            "true",
            "\"\\u0000\"",
            "\"\\ud800\"",
            "1e-999",
            "\"a..b\"",
            "\"xn--\"",
        ];
        const PIECES: [&str; 16] = [
            "%",
            "%00",
            "%2f",
            "%ff",
            "..",
            "//",
            "?",
            "&",
            "=",
            "#",
            ";",
            "*",
            "xn--a",
            "%F0%9F%93%9E",
            "\u{7f}",
            "'",
        ];
        const QUERIES: [&str; 10] = [
            "?limit=0",
            "?limit=-1",
            "?limit=99999999999999999999",
            "?cursor=AAAA",
            "?dry_run=maybe",
            "?a=%ff",
            "?=&=",
            "?limit=1&limit=1",
            "?records=none",
            "?state=%00",
        ];
        const FIELDS: [(&str, &str); 19] = [
            ("If-Match", "*"),
            ("If-Match", "\"1\""),
            ("If-Match", "W/\"1\""),
            ("If-Match", "\"99999999999999999999\""),
            ("If-None-Match", "*"),
            ("If-None-Match", ",,,"),
            ("Accept", "text/html"),
            ("Accept", "*/*;q=nan"),
            ("Content-Type", "text/plain"),
            ("Content-Type", "application/json; charset=utf-16"),
            ("Idempotency-Key", "\"k\""),
            ("Idempotency-Key", "\"\\"),
            ("Authorization", "Bearer"),
            ("Authorization", "Basic YTpi"),
            ("X-Request-Id", "a b"),
            ("Host", ""),
            ("Host", "[::"),
            ("Last-Event-ID", "-1"),
            ("Cookie", "a=b"),
        ];
        match chance.below(11) {
            0 if !self.body.is_empty() => {
                let at = chance.below(self.body.len());
                self.body[at] = chance.next() as u8;
            }
            1 => self.body.truncate(chance.below(self.body.len())),
            2 => {
                let at = chance.below(self.body.len() + 1);
                let piece: Vec<u8> = (0..chance.below(9)).map(|_| chance.next() as u8).collect();
                self.body.splice(at..at, piece);
            }
            3 => {
                // In the place of a value, as far as a colon shows where one is.
                let colons: Vec<usize> = (0..self.body.len()).filter(|at| self.body[*at] == b':').collect();
                if let Some(at) = colons.get(chance.below(colons.len())) {
                    let end = (at + 1..self.body.len()).find(|at| b",}]".contains(&self.body[*at]));
                    let value = chance.one(&VALUES).bytes();
                    self.body.splice(at + 1..end.unwrap_or(self.body.len()), value);
                }
            }
            4 => {
                let depth = chance.below(40);
                self.body = [b"[".repeat(depth), self.body.clone(), b"]".repeat(depth)].concat();
            }
            5 => {
                let from = chance.below(self.body.len());
                let again = self.body[from..].repeat(chance.below(20));
                self.body.extend(again);
            }
            6 => {
                let at = 1 + chance.below(self.path.len());
                let at = at.min(self.path.len());
                self.path.splice(at..at, chance.one(&PIECES).bytes());
            }
            7 => self.path.extend(chance.one(&QUERIES).bytes()),
            8 => self.method = chance.one(&METHODS).into(),
            9 => {
                let (name, value) = FIELDS[chance.below(FIELDS.len())];
                if chance.below(2) == 0 {
                    self.fields.retain(|(known, _)| known != name);
                }
                self.fields.push((name.into(), value.into()));
            }
            _ => {
                let at = chance.below(self.fields.len());
                let value = &mut self.fields[at].1;
                let octet = b" \t\x01\"\\,;\x80\xff~"[chance.below(10)];
                let place = chance.below(value.len() + 1);
                value.insert(place, octet);
            }
        }
    }
}

/// A connection, opened again when the server closed it.
struct Wire<'s> {
    service: &'s Service,
    stream: Option<BufReader<TcpStream>>,
}

impl Wire<'_> {
    /// Sends; the status.
    fn send(&mut self, request: &Request) -> u16 {
        // A connection that was closed between two requests has lost nothing: once more on a new one.
        self.try_send(request)
            .or_else(|_| self.try_send(request))
            .unwrap_or_else(|error| panic!("{error}: no answer to {:?}", String::from_utf8_lossy(&request.octets())))
    }

    fn try_send(&mut self, request: &Request) -> std::io::Result<u16> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.service.address())?;
                stream.set_read_timeout(Some(ANSWER_WAIT))?;
                BufReader::new(stream)
            }
        };
        stream.get_mut().write_all(&request.octets())?;
        let (mut status, mut length, mut chunked, mut close) = (None, 0_usize, false, false);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            match line.split_once(": ") {
                None => status = line.split(' ').nth(1).and_then(|status| status.parse().ok()),
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(("transfer-encoding", value)) => chunked = value == "chunked",
                Some(("connection", value)) => close = value == "close",
                Some(_) => {}
            }
        }
        let status: u16 = status.expect("a status line");
        let bodiless = request.method == "HEAD" || matches!(status, 204 | 304);
        while chunked && !bodiless {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
            let mut piece = vec![0; size + 2];
            stream.read_exact(&mut piece)?;
            chunked = size > 0;
        }
        if !bodiless {
            stream.read_exact(&mut vec![0; length])?;
        }
        self.stream = (!close).then_some(stream);
        Ok(status)
    }
}

/// Right requests, each with the statuses that it may have.
fn right(service: &Service, node: &str, rotating: &str) -> Vec<(Request, &'static [u16])> {
    let admin = Some(service.admin.as_str());
    let full = document_with(
        "debug.ostn.test",
        r#","numbers":[{"e164":"+15550101","uri":"sip:a@debug.ostn.test"},{"block":"+155502"}],"ttl":5,"contact":"x",
           "lease_seconds":3600,"sources":["203.0.113.0/24"]"#,
    );
    let plain = document("lab.ostn.test");
    let token =
        r#"{"names":["debug.ostn.test"],"actions":["read"],"sources":["127.0.0.0/8"],"expires_in":60,"label":"x"}"#;
    let (bad_code, stranger) = (r#"{"code":"tandem_invite_x"}"#, r#"{"domain":"new.ostn.test"}"#);
    vec![
        (Request::new("PUT", "/v1/nodes/debug.ostn.test", admin, Some(&full)), &[200, 201]),
        (Request::new("PUT", "/v1/nodes/debug.ostn.test?dry_run=true", admin, Some(&full)), &[200]),
        (Request::new("PUT", "/v1/nodes/lab.ostn.test", Some(node), Some(&plain)), &[200, 201]),
        (Request::new("GET", "/v1/nodes/debug.ostn.test", admin, None), &[200]),
        (Request::new("GET", "/v1/nodes/lab.ostn.test/records", Some(node), None), &[200]),
        (Request::new("GET", "/v1/nodes?limit=3", Some(node), None), &[200]),
        (Request::new("POST", "/v1/nodes/lab.ostn.test/renew", Some(node), None), &[200]),
        (Request::new("POST", "/v1/nodes/lab.ostn.test/drain", Some(node), Some(r#"{"reason":"x"}"#)), &[200]),
        (Request::new("POST", "/v1/nodes/lab.ostn.test/restore", Some(node), None), &[200]),
        (Request::new("GET", "/v1/audit?limit=3", admin, None), &[200]),
        (Request::new("POST", "/v1/tokens", admin, Some(token)), &[201]),
        (Request::new("GET", "/v1/tokens?limit=5", admin, None), &[200]),
        (
            Request::new("POST", "/v1/tokens/self/rotate", Some(rotating), Some(r#"{"overlap_seconds":60}"#)),
            &[200, 401],
        ),
        (Request::new("DELETE", "/v1/tokens/nobody", admin, None), &[404]),
        (Request::new("POST", "/v1/invitations", admin, Some(r#"{"domain":"a.ostn.test","expires_in":60}"#)), &[201]),
        (Request::new("GET", "/v1/invitations", admin, None), &[200]),
        (Request::new("DELETE", "/v1/invitations/nobody", admin, None), &[404]),
        (Request::new("POST", "/v1/invitations/redeem", None, Some(bad_code)), &[404]),
        (Request::new("POST", "/v1/registrations", None, Some(stranger)), &[201, 409]),
        (Request::new("GET", "/v1/zones", admin, None), &[200]),
        (Request::new("GET", "/v1/zones/ostn.test?records=static", admin, None), &[200]),
        (Request::new("POST", "/v1/zones/reload", admin, None), &[200]),
        (Request::new("GET", "/livez", None, None), &[200]),
        (Request::new("GET", "/readyz", None, None), &[200]),
        (Request::new("GET", "/openapi.json", None, None), &[200]),
    ]
}

#[test]
fn ten_thousand_hostile_requests() {
    let off = LimitConfig {
        token_per_minute: 0,
        domain_per_minute: 0,
        source_per_minute: 0,
        failures_per_minute: 0,
        registrations_per_hour: 0,
        ..LimitConfig::default()
    };
    let service = Service::start_with(|dir| ApiConfig {
        zone_files: Some(std::sync::Arc::new(crate::service::Repository)),
        limits: off,
        registration: RegistrationMode::Open,
        ..ApiConfig::new("127.0.0.1:0".parse().unwrap(), dir)
    });
    let node = service.token(&["lab.ostn.test"]);
    let rotating = service.token(&["rotating.ostn.test"]);
    let right = right(&service, &node, &rotating);
    let mut wire = Wire { service: &service, stream: None };
    let check = |wire: &mut Wire<'_>| {
        for (request, statuses) in &right {
            let status = wire.send(request);
            assert!(
                statuses.contains(&status),
                "{} {}: {status}",
                request.method,
                String::from_utf8_lossy(&request.path)
            );
        }
    };
    check(&mut wire);
    let (mut chance, mut seen) = (Chance(SEED), std::collections::BTreeMap::<u16, usize>::new());
    for number in 0..REQUESTS {
        let mut request = right[chance.below(right.len())].0.clone();
        (0..=chance.below(3)).for_each(|_| request.mutate(&mut chance));
        let status = wire.send(&request);
        // What a mutation left right, or made right, is answered as such.
        let shown = || json!({"number": number, "request": String::from_utf8_lossy(&request.octets())});
        assert!((200..500).contains(&status), "{status}: {}", shown());
        *seen.entry(status).or_default() += 1;
    }
    for status in [200, 400, 401, 404, 405, 406, 412, 415, 422] {
        assert!(seen.contains_key(&status), "the mutations never reach {status}: {seen:?}");
    }
    check(&mut wire);
}
