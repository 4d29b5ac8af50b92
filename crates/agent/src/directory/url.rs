//! Where a directory's API is.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hyper::Uri;

/// `https://dir.example`, or plain HTTP to a loopback address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryUrl {
    /// Whether it is asked over TLS.
    pub(crate) is_tls: bool,
    /// Host name, or address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Host and port as the field `Host` has them.
    pub(crate) authority: String,
    /// What stands in front of every path; empty, or begins with a slash.
    pub(crate) prefix: String,
}

/// Why a text is no URL of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// No URL of this kind.
    #[error("write a URL such as https://dir.example or http://127.0.0.1:5380, without a query")]
    Syntax,
    /// A token would go over the network in the clear.
    #[error("plain http is for loopback addresses only: write https://")]
    ClearText,
}

impl FromStr for DirectoryUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let uri: Uri = text.trim().trim_end_matches('/').parse().map_err(|_| InvalidUrl::Syntax)?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(InvalidUrl::Syntax),
        };
        let authority = uri.authority().ok_or(InvalidUrl::Syntax)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || uri.query().is_some() || authority.as_str().contains('@') {
            return Err(InvalidUrl::Syntax);
        }
        let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if !is_tls && !is_loopback {
            return Err(InvalidUrl::ClearText);
        }
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { is_tls, host, port, authority: authority.as_str().to_owned(), prefix })
    }
}

impl fmt::Display for DirectoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, host, port, shown) in [
            ("https://dir.example", "dir.example", 443, "https://dir.example"),
            ("https://dir.example:8443/api/", "dir.example", 8443, "https://dir.example:8443/api"),
            ("http://127.0.0.1:5380/", "127.0.0.1", 5380, "http://127.0.0.1:5380"),
            ("http://[::1]:5380", "::1", 5380, "http://[::1]:5380"),
            ("http://localhost", "localhost", 80, "http://localhost"),
        ] {
            let url: DirectoryUrl = text.parse().unwrap();
            assert_eq!((url.host.as_str(), url.port, url.to_string().as_str()), (host, port, shown));
        }
        for text in ["", "dir.example", "ftp://dir.example", "https://", "https://a?b=c", "https://user@a", "/x"] {
            assert_eq!(text.parse::<DirectoryUrl>(), Err(InvalidUrl::Syntax), "{text}");
        }
        assert_eq!("http://192.0.2.1".parse::<DirectoryUrl>(), Err(InvalidUrl::ClearText));
        assert_eq!("http://localhost.example".parse::<DirectoryUrl>(), Err(InvalidUrl::ClearText));
    }
}
