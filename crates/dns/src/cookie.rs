//! DNS cookies by the algorithm that all servers share (RFC 7873, RFC 9018): a proof that a client gets what is sent to
//! its address, without a state for each client.
//!
//! [`Cookies`] is the handle that a service keeps to change the secrets while the server runs; [`CookieSecrets::judge`]
//! is what the hot path calls. It allocates nothing, and the time is an argument.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use siphasher::sip::SipHasher24;

/// Octets of a client cookie (RFC 7873 4.1).
pub(crate) const CLIENT: usize = 8;

/// Octets of our server cookie (RFC 9018 4, DNS-56).
const SERVER: usize = 16;

/// Octets of an option that holds both (RFC 9018 4.4).
pub(crate) const BOTH: usize = CLIENT + SERVER;

/// The version that we make and check (RFC 9018 4.1).
const VERSION: u8 = 1;

/// Oldest cookie that is accepted, in seconds (DNS-57).
const MAX_AGE: u32 = 3600;

/// How far ahead of our clock that of another replica may be, in seconds (DNS-57).
const MAX_AHEAD: u32 = 300;

/// Age from which a good cookie is replaced, in seconds (DNS-57).
const RENEW_AGE: u32 = 1800;

/// Hexadecimal digits of a secret.
const SECRET_DIGITS: usize = 32;

/// The secrets of a server, shared by all of its replicas.
///
/// Cookies are made with the first. The second is accepted, too: the previous one after a change, or, before a change,
/// the next one, so that every replica knows it before any uses it (RFC 9018 5).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CookieSecrets {
    current: [u8; 16],
    other: Option<[u8; 16]>,
}

impl CookieSecrets {
    /// Makes cookies with `current`, accepts those of `other` as well.
    #[must_use]
    pub const fn new(current: [u8; 16], other: Option<[u8; 16]>) -> Self {
        Self { current, other }
    }

    /// Reads the lines of a secrets file: one or two secrets of 32 hexadecimal digits, the current one first. Empty
    /// lines and lines that begin with `#` are passed over.
    ///
    /// # Errors
    ///
    /// [`InvalidSecrets`] says which line is wrong, never what stands there.
    pub fn parse(text: &str) -> Result<Self, InvalidSecrets> {
        let mut secrets = [None; 2];
        let lines = text.lines().map(str::trim).enumerate();
        let mut places = secrets.iter_mut();
        for (index, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let line_number = index + 1;
            let place = places.next().ok_or(InvalidSecrets::TooMany { line: line_number })?;
            *place = Some(parse_secret(line).ok_or(InvalidSecrets::Digits { line: line_number })?);
        }
        let [current, other] = secrets;
        Ok(Self { current: current.ok_or(InvalidSecrets::Empty)?, other })
    }

    /// Checks what a client at `address` showed at `now` (seconds since 1970, of which the low 32 bits count), and
    /// makes the cookie that the answer carries.
    pub(crate) fn judge(&self, shown: Cookie, address: IpAddr, now: u32) -> (Standing, [u8; BOTH]) {
        let fresh = || make(&self.current, shown.client, [VERSION, 0, 0, 0], now, address);
        let Some(server) = shown.server else {
            return (if shown.is_client_only { Standing::New } else { Standing::Bad }, fresh());
        };
        let [version, reserved @ .., time_0, time_1, time_2, time_3] = *first_half(&server);
        let time = u32::from_be_bytes([time_0, time_1, time_2, time_3]);
        // RFC 9018 4.3: serial arithmetic, so that the clock may pass 2106.
        let age = now.wrapping_sub(time);
        if version != VERSION || (age > MAX_AGE && age.wrapping_neg() > MAX_AHEAD) {
            return (Standing::Bad, fresh());
        }
        // RFC 9018 4.2: the reserved octets count as they came.
        let head = [version, reserved[0], reserved[1], reserved[2]];
        let made_with = |secret: &[u8; 16]| make(secret, shown.client, head, time, address)[CLIENT..] == server;
        if made_with(&self.current) {
            let keep = age < RENEW_AGE && reserved == [0; 3];
            return (Standing::Good, if keep { join(shown.client, server) } else { fresh() });
        }
        let good = self.other.as_ref().is_some_and(made_with);
        (if good { Standing::Good } else { Standing::Bad }, fresh())
    }
}

/// Shows nothing of the secrets.
impl fmt::Debug for CookieSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CookieSecrets").field("has_other", &self.other.is_some()).finish_non_exhaustive()
    }
}

/// What is wrong with a file of secrets: the operator corrects it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecrets {
    /// There is none.
    #[error("there is no secret: write one of 32 hexadecimal digits")]
    Empty,
    /// A line is no secret.
    #[error("line {line} is not a secret of 32 hexadecimal digits")]
    Digits {
        /// The line, from 1.
        line: usize,
    },
    /// A third secret.
    #[error("line {line} holds a third secret: there is the current one and one other")]
    TooMany {
        /// The line, from 1.
        line: usize,
    },
}

/// The secrets in use; clones share them.
#[derive(Debug, Clone)]
pub struct Cookies(Arc<ArcSwap<CookieSecrets>>);

impl Cookies {
    /// Begins with `secrets`.
    #[must_use]
    pub fn new(secrets: CookieSecrets) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(secrets)))
    }

    /// Uses `secrets` from the next answer on, in every server that has a clone.
    pub fn replace(&self, secrets: CookieSecrets) {
        self.0.store(Arc::new(secrets));
    }

    /// As [`CookieSecrets::judge`], with the secrets of this moment.
    pub(crate) fn judge(&self, shown: Cookie, address: IpAddr, now: u32) -> (Standing, [u8; BOTH]) {
        self.0.load().judge(shown, address, now)
    }
}

/// A COOKIE option of legal length in a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cookie {
    client: [u8; CLIENT],
    /// The server cookie, if it is as long as ours.
    server: Option<[u8; SERVER]>,
    is_client_only: bool,
}

impl Cookie {
    /// Reads an option's data; `None` if its length is illegal (DNS-55).
    pub(crate) fn read(data: &[u8]) -> Option<Self> {
        let (client, server) = data.split_first_chunk()?;
        if !matches!(server.len(), 0 | 8..=32) {
            return None;
        }
        Some(Self { client: *client, server: server.try_into().ok(), is_client_only: server.is_empty() })
    }
}

/// What a client's cookie proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Standing {
    /// Nothing: there is none, or the server makes none.
    #[default]
    Unproven,
    /// Nothing yet: the client asks for its first one.
    New,
    /// Nothing: it is not ours, not of this address, or too old.
    Bad,
    /// That the client receives what is sent to its address.
    Good,
    /// Nothing is left to prove: the message is signed with a key of ours (RFC 8945).
    Signed,
}

impl Standing {
    /// Whether the answer carries a cookie.
    pub(crate) const fn has_cookie(self) -> bool {
        matches!(self, Self::New | Self::Bad | Self::Good)
    }

    /// Whether the address of the client is not forged.
    pub(crate) const fn is_proved(self) -> bool {
        matches!(self, Self::Good | Self::Signed)
    }
}

/// Both cookies, as they stand in the option (RFC 9018 4.4).
fn make(secret: &[u8; 16], client: [u8; CLIENT], head: [u8; 4], time: u32, address: IpAddr) -> [u8; BOTH] {
    let mut input = [0; CLIENT + 8 + 16];
    input[..CLIENT].copy_from_slice(&client);
    input[CLIENT..CLIENT + 4].copy_from_slice(&head);
    input[CLIENT + 4..CLIENT + 8].copy_from_slice(&time.to_be_bytes());
    let used = match address {
        IpAddr::V4(address) => {
            input[CLIENT + 8..CLIENT + 12].copy_from_slice(&address.octets());
            CLIENT + 12
        }
        IpAddr::V6(address) => {
            input[CLIENT + 8..].copy_from_slice(&address.octets());
            CLIENT + 24
        }
    };
    let hash = SipHasher24::new_with_key(secret).hash(&input[..used]);
    let mut both = [0; BOTH];
    both[..CLIENT + 8].copy_from_slice(&input[..CLIENT + 8]);
    both[CLIENT + 8..].copy_from_slice(&hash.to_le_bytes());
    both
}

fn first_half(server: &[u8; SERVER]) -> &[u8; 8] {
    server.first_chunk().expect("sixteen octets have eight in front")
}

fn join(client: [u8; CLIENT], server: [u8; SERVER]) -> [u8; BOTH] {
    let mut both = [0; BOTH];
    both[..CLIENT].copy_from_slice(&client);
    both[CLIENT..].copy_from_slice(&server);
    both
}

fn parse_secret(line: &str) -> Option<[u8; 16]> {
    // A sign would pass as a digit below.
    if line.len() != SECRET_DIGITS || !line.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(line, 16).ok().map(u128::to_be_bytes)
}
