//! A probe of a real SIP server: Kamailio with TLS on loopback. Without the program the test is skipped, and says so; where
//! the environment has `CI=true` it fails then.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "a skip is told")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::{CertificateDer, UnixTime};
use tandem_model::DomainName;
use tandem_model::node::{KeyHolder, KeyPin};
use tandem_probe::sip::Life;
use tandem_probe::{
    AddressRule, Distrust, ProbeError, ProbeTarget, Prober, SafeConnector, Sound, Trust, Trusted, spki_digest,
};

/// Longest wait for the server to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// Stops the server with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM, so that it ends its own processes.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn start(folder: &Path, address: SocketAddr, certificate: &str, key: &str) -> Server {
    std::fs::write(folder.join("cert.pem"), certificate).unwrap();
    std::fs::write(folder.join("key.pem"), key).unwrap();
    let at = folder.display();
    let config = format!(
        "children=1\ntcp_children=1\nenable_tls=yes\nlisten=tls:{address}\n\
         loadmodule \"pv.so\"\nloadmodule \"sl.so\"\nloadmodule \"tls.so\"\n\
         modparam(\"tls\", \"tls_method\", \"TLSv1.2+\")\n\
         modparam(\"tls\", \"certificate\", \"{at}/cert.pem\")\nmodparam(\"tls\", \"private_key\", \"{at}/key.pem\")\n\
         request_route {{\n\
           if ($rm == \"OPTIONS\" && $rU == $null) {{ sl_send_reply(\"200\", \"Keepalive\"); exit; }}\n\
           sl_send_reply(\"404\", \"Not here\");\n}}\n"
    );
    let file = folder.join("kamailio.cfg");
    std::fs::write(&file, config).unwrap();
    let child = Command::new("kamailio")
        .args(["-DD", "-E", "-m", "64", "-M", "8", "-Y", folder.to_str().unwrap(), "-f", file.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(folder.join("log")).unwrap())
        .spawn()
        .unwrap();
    Server(child)
}

#[tokio::test]
async fn kamailio_is_alive() {
    if Command::new("kamailio").arg("-v").stdout(Stdio::null()).status().is_err() {
        assert!(std::env::var("CI").is_err(), "kamailio is not installed");
        println!("skipped: kamailio is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let pair = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["a.test".to_owned()]).unwrap().self_signed(&pair).unwrap();
    let _server = start(folder.path(), address, &certificate.pem(), &pair.serialize_pem());

    let ours = certificate.der().clone();
    let prober = |authority: Option<CertificateDer<'static>>| {
        let connector = SafeConnector::new(AddressRule::global([]).with_loopback());
        Prober::new(connector, Trust::new(authority).0, DomainName::parse("probe.test").unwrap())
    };
    let domain = DomainName::parse("a.test").unwrap();
    let keys = [KeyPin { holder: KeyHolder::Node, sha256: spki_digest(&ours).unwrap() }];
    let target = ProbeTarget { domain: &domain, addresses: &[address], keys: &keys, options: true };
    let begin = Instant::now();
    let sound = loop {
        match prober(None).probe(target, UnixTime::now()).await {
            Ok(sound) => break sound,
            // It is still starting.
            Err(ProbeError::Connect(_)) if begin.elapsed() < PATIENCE => tokio::task::yield_now().await,
            Err(error) => {
                let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
                panic!("{error:?}\n{log}");
            }
        }
    };
    let Sound { leaf, trusted, life, chain: _ } = sound;
    assert_eq!((trusted, life), (Trusted::NodeKey, Some(Life::Alive { code: 200 })));
    assert_eq!(leaf.identities, ["a.test".into()]);
    // The same server, for a domain that it is not, and without the key that it published.
    let other = DomainName::parse("b.test").unwrap();
    for domain in [&domain, &other] {
        let target = ProbeTarget { domain, addresses: &[address], keys: &[], options: true };
        let result = prober(None).probe(target, UnixTime::now()).await;
        assert!(matches!(result, Err(ProbeError::Distrust { reason: Distrust::Chain(_), .. })), "{result:?}");
    }
}
