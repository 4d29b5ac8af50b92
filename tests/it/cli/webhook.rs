//! Webhooks over real HTTP: signed, tried again, and never to where they must not go.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hmac::{Hmac, Mac as _};
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
    let text = format!("[[webhook]]\nurl = \"{url}\"\nsecret_file = \"hook.secret\"\nprivate = {private}\n");
    std::fs::write(&config, text).unwrap();
    Setup::new().args(["--config", config.to_str().unwrap()]).start()
}

/// Takes one call and answers it with `status`; its signature and body.
fn take(listener: &TcpListener, status: &str) -> (String, String) {
    let (mut socket, _) = listener.accept().unwrap();
    let (mut signature, mut length) = (String::new(), 0);
    let mut lines = BufReader::new(TcpStream::try_clone(&socket).unwrap());
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
    write!(socket, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
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
