//! Servers whose TLS is too weak: nothing is said to them, by calls or by probes (CERT-60 to CERT-65). OpenSSL plays them, as
//! far as it still can; where it cannot (RC4, SSL 3), a server that answers with what nobody offered.

use std::future::poll_fn;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{PKCS_RSA_SHA256, RsaKeySize};
use rustls_pki_types::UnixTime;
use tandem_probe::{AddressRule, ProbeTarget, Prober, SafeConnector, Trust, handshake};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::*;

/// Longest wait for OpenSSL to say or do something.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running `openssl s_server`; what it prints comes line by line.
struct OpenSsl {
    child: Child,
    lines: Receiver<String>,
    address: SocketAddr,
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl OpenSsl {
    /// Takes one connection after the other. `files` has the certificate and its key.
    fn start(files: &[std::path::PathBuf; 2], arguments: &[&str]) -> Self {
        let mut child = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-cert"])
            .arg(&files[0])
            .arg("-key")
            .arg(&files[1])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        pass_on(child.stdout.take().unwrap(), sender.clone());
        pass_on(child.stderr.take().unwrap(), sender);
        let mut server = Self { child, lines, address: ([127, 0, 0, 1], 0).into() };
        server.address = server.until("ACCEPT ").strip_prefix("ACCEPT ").unwrap().parse().unwrap();
        server
    }

    /// The next line that has `wanted` in it.
    fn until(&self, wanted: &str) -> String {
        let start = Instant::now();
        let mut said = String::new();
        loop {
            let left = PATIENCE.saturating_sub(start.elapsed());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("no `{wanted}` in:\n{said}"));
            if line.contains(wanted) {
                return line;
            }
            said.push_str(&line);
            said.push('\n');
        }
    }

    fn type_in(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()).unwrap();
    }
}

fn pass_on(from: impl Read + Send + 'static, to: Sender<String>) {
    thread::spawn(move || {
        // Nobody may be left who reads.
        BufReader::new(from).lines().map_while(Result::ok).try_for_each(|line| to.send(line))
    });
}

/// An RSA key, so that old suites fit, and its certificate, which is pinned: TLS alone can be what is wrong.
struct Pinned {
    _folder: tempfile::TempDir,
    files: [std::path::PathBuf; 2],
    pin: KeyPin,
}

impl Pinned {
    fn new() -> Self {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![dns("example.test")];
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let files = ["cert.pem", "key.pem"].map(|file| folder.path().join(file));
        std::fs::write(&files[0], certificate.pem()).unwrap();
        std::fs::write(&files[1], key.serialize_pem()).unwrap();
        let pin = KeyPin { holder: KeyHolder::Node, sha256: spki_digest(certificate.der()).unwrap() };
        Self { _folder: folder, files, pin }
    }

    fn connector(&self, server: &Server) -> Connector {
        let connector = connector(server, &[]);
        let (domain, keys) = (name("example.test"), vec![self.pin]);
        let member =
            Member { domain, targets: vec![], keys, sources: vec![], state: MemberState::Active, signed_by: None };
        connector.resolver().set_members(Members::new([member]));
        connector
    }

    /// What becomes of a call and of a probe.
    async fn both(&self, at: SocketAddr) -> [String; 2] {
        let server = World::default().start(at.port()).await;
        let called = match connect(&self.connector(&server)).await {
            Ok(connected) => format!("{:?}", connected.by),
            Err(ConnectError::Tls(error)) => format!("Tls {error:?}"),
            Err(other) => format!("{other:?}"),
        };
        let connector = SafeConnector::new(AddressRule::global([]).with_loopback());
        let prober = Prober::new(connector, Trust::new([]).0, name("probe.test"));
        let domain = name("example.test");
        let target = ProbeTarget { domain: &domain, addresses: &[at], keys: &[self.pin], options: false };
        let probed = match prober.probe(target, UnixTime::now()).await {
            Ok(sound) => format!("{:?}", sound.trusted),
            Err(error) => format!("{:?} {error:?}", error.code()),
        };
        [called, probed]
    }
}

#[expect(clippy::print_stderr, reason = "a skip is told")]
fn has_openssl() -> bool {
    if Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_ok() {
        return true;
    }
    assert!(std::env::var("CI").is_err(), "openssl is not installed");
    eprintln!("skipped: openssl is not installed");
    false
}

/// CERT-60: TLS 1.0 and 1.1. CERT-62: NULL, no authentication, static RSA. CERT-63: CBC, also the suite of RFC 3261, and DHE. The
/// first rows show that nothing else keeps the connection from coming about.
#[tokio::test]
async fn weak_servers() {
    if !has_openssl() {
        return;
    }
    let pinned = Pinned::new();
    for (id, version, suites) in [
        ("CERT-61", "-tls1_2", "ECDHE-RSA-AES128-GCM-SHA256"),
        ("CERT-61, ChaCha20", "-tls1_2", "ECDHE-RSA-CHACHA20-POLY1305"),
        ("CERT-61", "-tls1_3", "ALL"),
        ("CERT-61: an old suite beside a good one", "-tls1_2", "AES128-SHA:ECDHE-RSA-AES256-GCM-SHA384"),
    ] {
        let server = OpenSsl::start(&pinned.files, &[version, "-cipher", suites]);
        assert_eq!(pinned.both(server.address).await, ["PinnedKey", "NodeKey"], "{id}");
    }
    for (id, version, suites) in [
        ("CERT-60", "-tls1_1", "ALL:@SECLEVEL=0"),
        ("CERT-60", "-tls1", "ALL:@SECLEVEL=0"),
        ("CERT-62 NULL", "-tls1_2", "ECDHE-RSA-NULL-SHA:@SECLEVEL=0"),
        ("CERT-62 NULL", "-tls1_2", "NULL-SHA256:NULL-SHA:NULL-MD5:@SECLEVEL=0"),
        ("CERT-62 anonymous", "-tls1_2", "ADH-AES128-GCM-SHA256:AECDH-AES128-SHA:@SECLEVEL=0"),
        ("CERT-62 static RSA", "-tls1_2", "AES256-GCM-SHA384:AES128-GCM-SHA256"),
        ("CERT-63 RFC 3261 26.2.2", "-tls1_2", "AES128-SHA:@SECLEVEL=0"),
        ("CERT-63 CBC", "-tls1_2", "ECDHE-RSA-AES128-SHA256:ECDHE-RSA-AES256-SHA:@SECLEVEL=0"),
        ("CERT-63 DHE", "-tls1_2", "DHE-RSA-AES128-GCM-SHA256"),
    ] {
        let server = OpenSsl::start(&pinned.files, &[version, "-cipher", suites]);
        let [called, probed] = pinned.both(server.address).await;
        let alert = if id == "CERT-60" { "AlertReceived(ProtocolVersion)" } else { "AlertReceived(HandshakeFailure)" };
        assert!(called.starts_with("Tls ") && called.contains(alert), "{id} {suites}: {called}");
        assert!(probed.starts_with("(\"no-tls\", \"CERT-60\")") && probed.contains(alert), "{id} {suites}: {probed}");
    }
}

/// A ServerHello (RFC 5246 7.4.1.3) in one record.
fn server_hello(version: u16, suite: u16) -> Vec<u8> {
    // No session, no compression, no extensions.
    let body = [&version.to_be_bytes()[..], &[7; 32], &[0], &suite.to_be_bytes(), &[0]].concat();
    let len = u8::try_from(body.len()).unwrap();
    [&[22, 3, 3, 0, len + 4, 2, 0, 0, len][..], &body].concat()
}

/// CERT-60, CERT-62: a server that answers with a version or a suite that was not offered.
#[tokio::test]
async fn what_was_not_offered_is_not_taken() {
    let pinned = Pinned::new();
    for (id, version, suite) in [
        ("CERT-62 RC4", 0x0303, 0x0005),
        ("CERT-62 NULL", 0x0303, 0x0002),
        ("CERT-62 3DES", 0x0303, 0x000a),
        ("CERT-62 export", 0x0303, 0x0003),
        ("CERT-63 CBC", 0x0303, 0xc013),
        ("CERT-60 TLS 1.1", 0x0302, 0xc013),
        ("CERT-60 SSL 3", 0x0300, 0x0005),
        ("CERT-60 SSL 2", 0x0002, 0x0005),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(&server_hello(version, suite)).await.unwrap();
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        });
        let [called, probed] = pinned.both(address).await;
        let is_clear = |text: &str| text.contains("PeerMisbehaved(") || text.contains("PeerIncompatible(");
        assert!(called.starts_with("Tls ") && is_clear(&called), "{id}: {called}");
        assert!(probed.starts_with("(\"no-tls\", \"CERT-60\")") && is_clear(&probed), "{id}: {probed}");
    }
}

/// Takes in what has come: nothing of it is for us.
async fn assert_no_data(stream: &mut TlsStream<TcpStream>) {
    let mut octets = [0; 64];
    let mut room = ReadBuf::new(&mut octets);
    let read = poll_fn(|context| Poll::Ready(Pin::new(&mut *stream).poll_read(context, &mut room))).await;
    assert!(read.is_pending(), "{read:?}");
}

/// CERT-65: who asks for a second handshake gets none, and the connection ends.
#[tokio::test]
async fn no_renegotiation() {
    if !has_openssl() {
        return;
    }
    let pinned = Pinned::new();
    let suites = ["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"];
    for is_call in [true, false] {
        let mut openssl = OpenSsl::start(&pinned.files, &suites);
        let mut stream = if is_call {
            let server = World::default().start(openssl.address.port()).await;
            connect(&pinned.connector(&server)).await.unwrap().stream
        } else {
            let tcp = TcpStream::connect(openssl.address).await.unwrap();
            handshake(tcp, &name("example.test"), &Arc::new(aws_lc_rs::default_provider())).await.unwrap().0
        };
        // RFC 5746: both sides know how it would be safe.
        openssl.until("Secure Renegotiation IS supported");
        // Afterwards the socket is empty for sure, and readable only by what comes next.
        assert_no_data(&mut stream).await;
        openssl.type_in("r\n");
        timeout(PATIENCE, stream.get_ref().0.readable()).await.unwrap().unwrap();
        assert_no_data(&mut stream).await;
        // Our "no" goes out with what is written next.
        stream.write_all(b"\r\n\r\n").await.unwrap();
        let read = timeout(PATIENCE, stream.read(&mut [0; 64])).await.unwrap();
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
        openssl.until("no renegotiation");
    }
}
