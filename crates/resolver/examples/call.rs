//! A tiny SIP client over TLS: finds the server of an address or a number, connects to it, checks who it is, and sends
//! OPTIONS.
//!
//! `cargo run -p tandem-resolver --example call -- alice@debug.ostel.me`

use std::error::Error;
use std::io::Write as _;

use rustls_pki_types::CertificateDer;
use tandem_model::Called;
use tandem_resolver::{Connector, Report, Resolver, Settings, local_families};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let called: Called = arguments.next().ok_or("usage: call ADDRESS [AUTHORITY.der …]")?.parse()?;
    let authorities: Vec<CertificateDer<'static>> =
        arguments.map(|file| std::fs::read(file).map(CertificateDer::from)).collect::<Result<_, _>>()?;

    let mut settings = Settings::default();
    settings.client.families = local_families();
    let (connector, unreadable) = Connector::new(Resolver::new(settings)?, authorities);
    let mut out = std::io::stdout();
    writeln!(out, "authorities that cannot be read: {unreadable}")?;

    let resolved = connector.resolver().resolve(&called).await;
    for reason in &*resolved.resolution.reasons {
        writeln!(out, "{reason}")?;
    }
    if let Some(error) = resolved.resolution.outcome.error() {
        return Err(error.to_string().into());
    }
    let uri = resolved.uri.ok_or("a number without a SIP URI is an error above")?;
    let mut connected = connector.connect(&resolved.resolution).await?;
    writeln!(out, "{} proved by {:?}", connected.hop.address, connected.by)?;

    let from = connected.stream.get_ref().0.local_addr()?;
    let request = format!(
        "OPTIONS {uri} SIP/2.0\r\nVia: SIP/2.0/TLS {from};branch=z9hG4bK-call\r\nMax-Forwards: 70\r\n\
         From: <sip:{0}>;tag=1\r\nTo: <{uri}>\r\nCall-ID: call@{0}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
        from.ip()
    );
    connected.stream.write_all(request.as_bytes()).await?;
    let mut answer = [0; 1024];
    let len = connected.stream.read(&mut answer).await?;
    // Any response but 503 says that the server is well (LOC-81).
    let status = String::from_utf8_lossy(&answer[..len]).lines().next().unwrap_or_default().to_owned();
    let report = match status.split(' ').nth(1) {
        Some("503") => Report::Unavailable { retry_after: None },
        Some(_) => Report::Answered,
        None => Report::NoResponse,
    };
    connector.resolver().report(&connected.hop, report);
    writeln!(out, "{status}")?;
    Ok(())
}
