//! The OPTIONS request (RFC 3261 11.1): asks a server whether it is there, and goes no further than that server.

use tandem_model::DomainName;

/// What makes one request different from all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestIds {
    branch: Box<str>,
    tag: Box<str>,
    call: Box<str>,
}

impl RequestIds {
    /// From random octets.
    #[must_use]
    pub fn new(random: [u8; 24]) -> Self {
        let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
        Self {
            // RFC 3261 8.1.1.7: the cookie says that the rest is unique.
            branch: format!("z9hG4bK{}", hex(&random[..8])).into(),
            tag: hex(&random[8..16]).into(),
            call: hex(&random[16..]).into(),
        }
    }

    /// The branch parameter of Via: the transaction's name.
    #[must_use]
    pub fn branch(&self) -> &str {
        &self.branch
    }
}

/// One OPTIONS request.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// The domain that is asked.
    pub domain: &'a DomainName,
    /// What the prober calls itself in Via and From; nobody answers there.
    pub from: &'a DomainName,
    /// What makes it unique.
    pub ids: &'a RequestIds,
}

impl Options<'_> {
    /// The request as it is sent over TLS.
    ///
    /// `Max-Forwards: 0`: the server that hears it answers itself, with whatever status, and passes it to nobody
    /// (RFC 3261 16.3 step 3).
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { domain, from, ids: RequestIds { branch, tag, call } } = self;
        format!(
            "OPTIONS sip:{domain} SIP/2.0\r\n\
             Via: SIP/2.0/TLS {from};branch={branch};rport\r\n\
             Max-Forwards: 0\r\n\
             From: <sip:{from}>;tag={tag}\r\n\
             To: <sip:{domain}>\r\n\
             Call-ID: {call}@{from}\r\n\
             CSeq: 1 OPTIONS\r\n\
             Accept: application/sdp\r\n\
             User-Agent: tandem\r\n\
             Content-Length: 0\r\n\r\n"
        )
    }
}
