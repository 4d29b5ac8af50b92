//! SIP servers for probes: real TLS on loopback, each with what is wrong with it.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Longest wait for the probe's next octet.
const READ_WAIT: Duration = Duration::from_secs(20);

/// An authority, and certificates from it.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(parameters, key), pem }
    }

    /// How a server behaves that has a new key and a certificate for `domain`.
    pub(crate) fn certify(&self, domain: &str) -> Behaviour {
        let mut parameters = CertificateParams::new(vec![domain.to_owned()]).unwrap();
        // Without a name of its own it would have that of its issuer, and OpenSSL would look no further.
        parameters.distinguished_name.push(DnType::CommonName, domain);
        self.certify_as(&parameters)
    }

    /// The same, with a certificate of any content.
    pub(crate) fn certify_as(&self, certificate: &CertificateParams) -> Behaviour {
        let key = KeyPair::generate().unwrap();
        let certificate = certificate.signed_by(&key, &self.issuer).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        Behaviour::Answers(Arc::new(config))
    }
}

/// What a server does with a connection.
#[derive(Clone)]
pub(crate) enum Behaviour {
    /// TLS with this certificate, and 200 to OPTIONS.
    Answers(Arc<ServerConfig>),
    /// Closes at once.
    Closes,
    /// Says nothing, for as long as the other side waits.
    Silent,
    /// Begins a TLS record and goes on an octet at a time.
    Drips,
}

/// A server on a loopback address of its own. It ends with the test.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    behaviour: Arc<Mutex<Behaviour>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) fn start(address: &str, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind((address.parse::<IpAddr>().unwrap(), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let behaviour = Arc::new(Mutex::new(behaviour));
        let connections = Arc::new(AtomicUsize::new(0));
        let (now, count) = (Arc::clone(&behaviour), Arc::clone(&connections));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                count.fetch_add(1, Ordering::SeqCst);
                let behaviour = now.lock().unwrap().clone();
                std::thread::spawn(move || serve(stream, behaviour));
            }
        });
        Self { address, behaviour, connections }
    }

    /// Behaves like this from the next connection on.
    pub(crate) fn become_(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// How often somebody has connected.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, behaviour: Behaviour) {
    stream.set_read_timeout(Some(READ_WAIT)).unwrap();
    match behaviour {
        Behaviour::Closes => {}
        Behaviour::Silent => {
            let mut octets = [0; 1024];
            while matches!(stream.read(&mut octets), Ok(1..)) {}
        }
        Behaviour::Drips => {
            let mut octet = [22_u8].as_slice().to_vec();
            octet.extend([3, 3, 64, 0]);
            while stream.write_all(&octet).is_ok() {
                octet = vec![0];
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Behaviour::Answers(config) => {
            let connection = ServerConnection::new(config).unwrap();
            let _ = answer(StreamOwned::new(connection, stream));
        }
    }
}

/// Answers one OPTIONS request.
fn answer(mut stream: StreamOwned<ServerConnection, TcpStream>) -> std::io::Result<()> {
    let (mut text, mut octets) = (String::new(), [0; 2048]);
    while !text.contains("\r\n\r\n") {
        match stream.read(&mut octets)? {
            0 => return Ok(()),
            len => text.push_str(&String::from_utf8_lossy(&octets[..len])),
        }
    }
    let via = text.lines().find(|line| line.starts_with("Via:")).unwrap_or_default();
    let head = format!("SIP/2.0 200 OK\r\n{via}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.conn.send_close_notify();
    stream.flush()
}
