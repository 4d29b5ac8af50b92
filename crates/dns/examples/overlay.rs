//! Overlays so many generated members over an upstream: what `benches/dns/overlay.py` measures.
//!
//! `cargo run --release -p tandem-dns --example overlay -- 127.0.0.1:5353 127.0.0.1:5300 100000`

use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tandem_dns::overlay::{LiveMembers, Members, Overlay, Settings};
use tandem_model::node::{KeyHolder, KeyPin};
use tandem_model::{E164Number, Node, NodeParts, NumberClaim, Target};
use tandem_zone::Draft;
use tandem_zone::draft::ReadyNode;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let listen = args.next().ok_or("which address?")?.parse()?;
    let upstream = args.next().ok_or("which upstream?")?.parse()?;
    let count: u32 = args.next().ok_or("how many members?")?.parse()?;
    let mut draft = Draft::new(&Members::none().nodes);
    for k in 0..count {
        draft.load(&ReadyNode::new(&node(k)?));
    }
    let members = Members { nodes: Arc::new(draft.finish()), ..Members::none() };
    let mut settings = Settings::new(vec![listen]);
    settings.upstreams = vec![upstream];
    settings.suffixes.numbers = vec!["e164.ostn.test".parse()?];
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let _overlay = Overlay::start(settings, &LiveMembers::new(members))?;
        std::future::pending().await
    })
}

/// The nodes of `benches/dns/compare.py`.
fn node(k: u32) -> Result<Node, Box<dyn std::error::Error>> {
    let target = |host: u32| {
        let v4 = Ipv4Addr::from(0x0a00_0000 | (2 * k + host - 1) & 0x00ff_ffff);
        let [high, low] = [k >> 16, k & 0xffff].map(|part| u16::try_from(part).unwrap_or_default());
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, high, low, 0, 0, 0, u16::try_from(host).unwrap_or_default());
        Ok::<_, Box<dyn std::error::Error>>(Target {
            host: format!("sip{host}.n{k}.ostn.test").parse()?,
            port: NonZeroU16::new(5061).ok_or("a port")?,
            priority: u16::try_from(10 * host)?,
            weight: 0,
            addresses: vec![v4.into(), v6.into()],
        })
    };
    let mut parts = NodeParts::new(format!("n{k}.ostn.test").parse()?, vec![target(1)?, target(2)?]);
    parts.ttl = Some(60);
    parts.keys = vec![KeyPin { holder: KeyHolder::Node, sha256: Sha256::digest(k.to_string()).into() }];
    parts.numbers = vec![NumberClaim::Number { number: E164Number::parse(&format!("+88351{k:08}"))?, uri: None }];
    Node::new(parts).map_err(|faults| format!("{faults:?}").into())
}
