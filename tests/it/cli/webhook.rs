//! Webhooks over real HTTP: signed, tried again, and never to where they must not go.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use hmac::{Hmac, Mac as _};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use sha2::Sha256;
use tandem_testkit::{Service, Setup};

/// `AAAA…` of 32 octets in base64.
const SECRET: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// A service with one webhook to `address`.
fn start(folder: &Path, url: &str, private: bool) -> Service {
    let secret = folder.join("hook.secret");
    std::fs::write(&secret, SECRET).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let config = folder.join("hooks.toml");
    let ca = if url.starts_with("https") { "ca = \"ca.pem\"\n" } else { "" };
    let text = format!("[[webhook]]\nurl = \"{url}\"\nsecret_file = \"hook.secret\"\n{ca}private = {private}\n");
    std::fs::write(&config, text).unwrap();
    Setup::new().args(["--config", config.to_str().unwrap()]).start()
}

/// Takes one call and answers it with `status`; its signature and body.
fn take(listener: &TcpListener, status: &str) -> (String, String) {
    answer(listener.accept().unwrap().0, status)
}

fn answer(socket: impl Read + Write, status: &str) -> (String, String) {
    let (mut signature, mut length) = (String::new(), 0);
    let mut lines = BufReader::new(socket);
    loop {
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        match line.trim_end().to_ascii_lowercase().split_once(": ") {
            Some(("tandem-signature", text)) => signature = text.to_owned(),
            Some(("content-length", text)) => length = text.parse().unwrap(),
            Some(_) => {}
            None if line.trim_end().is_empty() => break,
            None => {}
        }
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body).unwrap();
    write!(lines.get_mut(), "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
    (signature, String::from_utf8(body).unwrap())
}

#[test]
fn a_webhook_is_signed_and_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let service = start(folder.path(), &format!("http://{}/hook", listener.local_addr().unwrap()), true);
    let publish = ["publish", "debug.ostn.test", "--target", "sip.debug.ostn.test:5061", "--address", "192.0.2.1"];
    service.tandem(publish.into_iter().chain(["--contact", "ops@debug.ostn.test"])).success();
    let (_, refused) = take(&listener, "500 Oops");
    let (signature, body) = take(&listener, "200 OK");
    assert_eq!(body, refused, "the same again");
    let (time, given) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&[0; 32]).unwrap();
    mac.update(format!("{time}.{body}").as_bytes());
    let made: String = mac.finalize().into_bytes().iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(given, made);
    let told: Value = serde_json::from_str(&body).unwrap();
    let change = &told["changes"][0];
    assert_eq!((&change["domain"], &change["contact"]), (&"debug.ostn.test".into(), &"ops@debug.ostn.test".into()));
    assert_eq!(change["kind"], "register");

    service.tandem(["nodes", "compromised", "debug.ostn.test"]).success();
    let (_, body) = take(&listener, "204 No Content");
    assert!(body.contains(r#""state":"compromised""#), "{body}");
    assert!(!service.log().contains("/hook"), "a URL may hold a secret");
}

/// Whom to warn, also where the change itself has no document: the registration says it.
#[test]
fn a_webhook_says_whom_a_reset_of_a_key_concerns() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let service = start(folder.path(), &format!("http://{}/", listener.local_addr().unwrap()), true);
    let key = folder.path().join("node.key");
    let publish = ["publish", "debug.ostn.test", "--target", "sip.debug.ostn.test:5061", "--address", "192.0.2.1"];
    let more = ["--contact", "ops@debug.ostn.test", "--node-key", key.to_str().unwrap()];
    service.tandem(publish.into_iter().chain(more)).success();
    take(&listener, "200 OK");
    service.tandem(["nodes", "reset-key", "debug.ostn.test", "--reason", "disk lost"]).success();
    let told: Value = serde_json::from_str(&take(&listener, "200 OK").1).unwrap();
    let change = &told["changes"][0];
    assert_eq!((&change["kind"], &change["contact"]), (&"reset-key".into(), &"ops@debug.ostn.test".into()));
}

#[test]
fn a_webhook_trusts_the_authority_that_its_setting_names() {
    let folder = tempfile::tempdir().unwrap();
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    std::fs::write(folder.path().join("ca.pem"), parameters.self_signed(&ca_key).unwrap().pem()).unwrap();
    let names = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = names.signed_by(&key, &Issuer::new(parameters, ca_key)).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let service = start(folder.path(), &format!("https://localhost:{}/", listener.local_addr().unwrap().port()), true);
    service.tandem(["publish", "a.ostn.test", "--target", "a.ostn.test:5061", "--address", "192.0.2.1"]).success();
    let connection = ServerConnection::new(Arc::new(config)).unwrap();
    let (signature, body) = answer(StreamOwned::new(connection, listener.accept().unwrap().0), "200 OK");
    assert!(signature.starts_with("t="), "{signature}");
    assert!(body.contains(r#""domain":"a.ostn.test""#), "{body}");
}

#[test]
fn a_webhook_to_a_private_address_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (url, private) in
        [("http://127.0.0.1:1/", false), ("https://10.0.0.1/", false), ("http://hooks.example/", true)]
    {
        let secret = folder.path().join("hook.secret");
        std::fs::write(&secret, SECRET).unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        let config = folder.path().join("hooks.toml");
        let text = format!("[[webhook]]\nurl = \"{url}\"\nsecret_file = \"hook.secret\"\nprivate = {private}\n");
        std::fs::write(&config, text).unwrap();
        let failed = Setup::new().args(["--config", config.to_str().unwrap()]).start_fails().failure(1);
        assert!(failed.contains("no URL for a webhook"), "{failed}");
    }
}
