//! What our first message to a server says, read off the wire, and that no session goes on where an earlier one ended: for the
//! resolver's connections and the probes' alike (CERT-60 to CERT-67).

use std::time::Duration;

use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use tandem_probe::handshake;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

/// Longest wait for an octet that must come.
const WAIT: Duration = Duration::from_secs(20);

/// Extensions (RFC 8446 4.2, RFC 7301, RFC 5077).
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SESSION_TICKET: u16 = 35;
const PRE_SHARED_KEY: u16 = 41;
const EARLY_DATA: u16 = 42;
const SUPPORTED_VERSIONS: u16 = 43;

/// TLS 1.3's, and ECDHE with AES-GCM or ChaCha20-Poly1305 of TLS 1.2; 0x00ff says that renegotiation would be safe (RFC 5746).
const GOOD_SUITES: [u16; 10] = [0x1301, 0x1302, 0x1303, 0xc02b, 0xc02c, 0xc02f, 0xc030, 0xcca8, 0xcca9, 0x00ff];

/// A ClientHello (RFC 8446 4.1.2).
#[derive(Debug, Clone)]
struct Hello {
    suites: Vec<u16>,
    extensions: Vec<(u16, Vec<u8>)>,
}

impl Hello {
    /// Reads it and leaves it where it is: the handshake goes on with the same octets.
    async fn peek(stream: &TcpStream) -> Self {
        let mut octets = vec![0; 16 * 1024];
        loop {
            let len = stream.peek(&mut octets).await.unwrap();
            if len >= 5 && len >= 5 + usize::from(u16::from_be_bytes([octets[3], octets[4]])) {
                assert_eq!((octets[0], octets[5]), (22, 1), "a handshake record with a ClientHello");
                return Self::read(&octets[9..len]);
            }
            tokio::task::yield_now().await;
        }
    }

    fn read(body: &[u8]) -> Self {
        // The version and the random octets come first, then four vectors.
        let (_session, rest) = vector(&body[34..], 1);
        let (suites, rest) = vector(rest, 2);
        let (_compression, rest) = vector(rest, 1);
        let (mut rest, _) = vector(rest, 2);
        let mut extensions = Vec::new();
        while let [a, b, tail @ ..] = rest {
            let (data, tail) = vector(tail, 2);
            extensions.push((u16::from_be_bytes([*a, *b]), data.to_vec()));
            rest = tail;
        }
        let suites = suites.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        Self { suites, extensions }
    }

    fn extension(&self, kind: u16) -> Option<&[u8]> {
        self.extensions.iter().find(|(found, _)| *found == kind).map(|(_, data)| &**data)
    }

    fn server_name(&self) -> Option<&str> {
        // A list with one entry: a kind of one octet, and the name.
        let (list, _) = vector(self.extension(SERVER_NAME)?, 2);
        std::str::from_utf8(vector(&list[1..], 2).0).ok()
    }
}

/// A vector behind its length of so many octets, and what follows it (RFC 8446 3.4).
fn vector(octets: &[u8], head: usize) -> (&[u8], &[u8]) {
    let (len, rest) = octets.split_at(head);
    rest.split_at(len.iter().fold(0, |len, octet| len << 8 | usize::from(*octet)))
}

/// A server that would go on with old sessions, take early data and speak `sip/2`. To each client it sends one octet.
struct Inviting {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<(Hello, HandshakeKind)>>>,
    _tasks: JoinSet<()>,
}

impl Inviting {
    async fn start(shown: &Shown, version: &'static SupportedProtocolVersion) -> Self {
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(shown.chain.clone(), shown.key.clone_key())
            .unwrap();
        config.alpn_protocols = vec![b"sip/2".to_vec()];
        config.max_early_data_size = 16 * 1024;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut tasks, noted) = (JoinSet::new(), Arc::clone(&seen));
        tasks.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let hello = Hello::peek(&stream).await;
                let mut stream = acceptor.accept(stream).await.unwrap();
                noted.lock().unwrap().push((hello, stream.get_ref().1.handshake_kind().unwrap()));
                stream.write_all(b".").await.unwrap();
                // Until the client goes.
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        });
        Self { address, seen, _tasks: tasks }
    }
}

/// Reads the server's octet, and with it the tickets that come before.
async fn read_one(mut stream: TlsStream<TcpStream>) {
    timeout(WAIT, stream.read_exact(&mut [0])).await.unwrap().unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), None, "CERT-64");
    stream.shutdown().await.unwrap();
}

/// CERT-64: the domain in SNI, no ALPN. CERT-62, CERT-63: no suite but ECDHE with AEAD. CERT-66: no old session. CERT-67: no
/// early data. A client that resumes shows that the server would.
#[tokio::test]
async fn what_is_offered() {
    let ours = authority("ours");
    let shown = Shown::new(&ours, vec![dns("example.test")], |_| ());
    let provider = Arc::new(aws_lc_rs::default_provider());
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let inviting = Inviting::start(&shown, version).await;
        let server = World::default().start(inviting.address.port()).await;
        let connector = connector(&server, &[&ours]);
        for _ in 0..2 {
            read_one(connect(&connector).await.unwrap().stream).await;
        }
        for _ in 0..2 {
            let tcp = TcpStream::connect(inviting.address).await.unwrap();
            read_one(handshake(tcp, &name("example.test"), &provider).await.unwrap().0).await;
        }
        let mut roots = RootCertStore::empty();
        roots.add(der(&ours).clone()).unwrap();
        let usual = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let usual = TlsConnector::from(Arc::new(usual));
        for _ in 0..2 {
            let tcp = TcpStream::connect(inviting.address).await.unwrap();
            read_one(usual.connect("example.test".try_into().unwrap(), tcp).await.unwrap()).await;
        }
        let seen = inviting.seen.lock().unwrap().clone();
        let kinds: Vec<_> = seen.iter().map(|(_, kind)| *kind).collect();
        let (own, last) = kinds.split_at(5);
        assert_eq!((own, last), (&[HandshakeKind::Full; 5][..], &[HandshakeKind::Resumed][..]), "CERT-66: {version:?}");
        for (number, (hello, _)) in seen[..4].iter().enumerate() {
            assert_eq!(hello.server_name(), Some("example.test"), "CERT-64, CERT-22: {number}");
            for (id, kind) in
                [("CERT-64", ALPN), ("CERT-66", SESSION_TICKET), ("CERT-66", PRE_SHARED_KEY), ("CERT-67", EARLY_DATA)]
            {
                assert_eq!(hello.extension(kind), None, "{id}: {number}");
            }
            assert_eq!(hello.extension(SUPPORTED_VERSIONS), Some(&[4, 3, 4, 3, 3][..]), "CERT-60, CERT-61: {number}");
            assert!(hello.suites.iter().all(|suite| GOOD_SUITES.contains(suite)), "CERT-62, CERT-63: {hello:?}");
            assert!(hello.suites.contains(&0x00ff), "CERT-65: {hello:?}");
        }
    }
}
