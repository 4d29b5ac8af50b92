//! Mail to contacts over a real mail server (aiosmtpd): TLS at once and by STARTTLS, with a login; what is refused, and how
//! the log says so.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tandem_testkit::{Service, Setup, repository};

use super::certificate::Authority;
use super::process::{self, Process};
use super::{require, skip, wait_for};

/// Debian's own: another one on the path does not see Debian's modules.
const PYTHON: &str = "/usr/bin/python3";
/// The login that the server takes.
const USER: &str = "directory";
const PASSWORD: &str = "correct horse battery staple";

/// Whether the server's program is there.
fn have_server() -> bool {
    if !require(&[PYTHON, "setpriv"]) {
        return false;
    }
    let there = process::run(PYTHON, &["-c", "import aiosmtpd.smtp"]).status.success();
    if !there {
        skip("not installed: python3-aiosmtpd");
    }
    there
}

/// A mail server with a certificate for `localhost`.
struct MailServer {
    process: Process,
    port: u16,
}

impl MailServer {
    /// `mode` is `tls` or `starttls`; files go to `folder`.
    fn start(mode: &str, authority: &Authority, folder: &Path) -> Self {
        let (certificate, key) = authority.write_domain("localhost", folder);
        let program = repository().join("tests/data/peer/mail_server.py");
        let arguments: [PathBuf; 6] = [program, mode.into(), certificate, key, USER.into(), PASSWORD.into()];
        let mut process = Process::start(PYTHON, &arguments, &folder.join("mail_server.log"));
        let port = wait_for("the mail server's port", || {
            process.assert_running();
            process.output().lines().find_map(|line| line.strip_prefix("port ")?.parse().ok())
        });
        Self { process, port }
    }

    /// The first mail that it took.
    fn mail(&self) -> String {
        wait_for("a mail", || {
            let printed = self.process.output();
            let mail = &printed[printed.find("\nmail ")? + 1..];
            mail.contains("nodes show").then(|| mail.to_owned())
        })
    }
}

/// A directory that sends by `url`, and whose system believes the authority in `trusted`, a file; one node of it is suspended,
/// which its contact is to be told.
fn directory(url: &str, password: &str, trusted: &Path, folder: &Path) -> Service {
    let secret = folder.join("mail.password");
    std::fs::write(&secret, password).expect("the folder is writable");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).expect("the folder is ours");
    let config = folder.join("mail.toml");
    let text = format!(
        "[mail]\nurl = \"{url}\"\nfrom = \"directory@ostn.test\"\nuser = \"{USER}\"\npassword_file = \"mail.password\"\n"
    );
    std::fs::write(&config, text).expect("the folder is writable");
    let log = "info,tandem=debug";
    let args = ["--config", config.to_str().expect("a plain path"), "--log-level", log];
    let service = Setup::new().args(args).env("SSL_CERT_FILE", trusted.to_str().expect("a plain path")).start();
    let publish = ["publish", "debug.ostn.test", "--target", "sip.debug.ostn.test:5061", "--address", "192.0.2.1"];
    service.tandem(publish.into_iter().chain(["--contact", "ann@example.org"])).success();
    service.tandem(["nodes", "suspend", "debug.ostn.test", "--reason", "unpaid"]).success();
    service
}

fn authority(name: &str, folder: &Path) -> (Authority, PathBuf) {
    let (authority, file) = (Authority::new(name), folder.join(format!("{name}.pem")));
    authority.write(&file);
    (authority, file)
}

/// What the log says; neither password nor address is ever in it.
fn log_with(service: &Service, words: &str) {
    let log = wait_for(words, || Some(service.log()).filter(|log| log.contains(words)));
    assert!(!log.contains(PASSWORD) && !log.contains("staple") && !log.contains("ann@example.org"), "{log}");
}

#[test]
fn mail_goes_out_over_tls_with_a_login() {
    if !have_server() {
        return;
    }
    for (mode, scheme, query) in [("tls", "smtps", ""), ("starttls", "smtp", "?tls=required")] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (ours, trusted) = authority("ours", folder.path());
        let server = MailServer::start(mode, &ours, folder.path());
        let url = format!("{scheme}://localhost:{}{query}", server.port);
        let service = directory(&url, PASSWORD, &trusted, folder.path());
        let mail = server.mail();
        assert!(mail.starts_with("mail ann@example.org secure=yes\n"), "{mode}: {mail}");
        assert!(mail.contains("debug.ostn.test has left DNS") && mail.contains("Reason: unpaid"), "{mode}: {mail}");
        log_with(&service, "contact told by mail");
    }
}

#[test]
fn a_wrong_certificate_gets_no_mail_and_no_password() {
    if !have_server() {
        return;
    }
    for (mode, scheme, query) in [("tls", "smtps", ""), ("starttls", "smtp", "?tls=required")] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ((ours, trusted), (_, theirs)) = (authority("ours", folder.path()), authority("theirs", folder.path()));
        let server = MailServer::start(mode, &ours, folder.path());
        // Another authority; and another name than the one that was called.
        for (host, trusted, why) in
            [("localhost", &theirs, "UnknownIssuer"), ("127.0.0.1", &trusted, "not valid for name")]
        {
            let url = format!("{scheme}://{host}:{}{query}", server.port);
            let service = directory(&url, PASSWORD, trusted, folder.path());
            log_with(&service, why);
            assert!(!server.process.output().contains("\nmail "), "{mode} {host}");
        }
    }
}

#[test]
fn a_refused_login_is_told_without_the_password() {
    if !have_server() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (ours, trusted) = authority("ours", folder.path());
    let server = MailServer::start("starttls", &ours, folder.path());
    let url = format!("smtp://localhost:{}?tls=required", server.port);
    let service = directory(&url, "wrong staple", &trusted, folder.path());
    log_with(&service, "the mail server refused the login (535)");
    assert!(!server.process.output().contains("\nmail "));
}
