//! The directory under test: `tandem serve` as its users start it, with the project's own zones.

use std::net::SocketAddr;

use serde_json::Value;
use tandem_testkit::{Service, Setup, repository};
use tempfile::TempDir;

/// A running directory.
#[derive(Debug)]
pub(super) struct Directory {
    service: Service,
    /// Its zone files, when they are not the project's own.
    _zones: Option<TempDir>,
}

impl Directory {
    /// Starts one that answers on `dns` (port 0: any free port).
    pub(super) fn start(dns: SocketAddr) -> Self {
        Self { service: Setup::new().args(["--dns", &dns.to_string()]).start(), _zones: None }
    }

    /// The same with `lines` at the end of the master file of `zone`.
    pub(super) fn start_with_records(dns: SocketAddr, zone: &str, lines: &str) -> Self {
        let zones = tempfile::tempdir().expect("a folder for temporary files");
        for entry in std::fs::read_dir(repository().join("zones")).expect("the project has zones") {
            let entry = entry.expect("the folder can be listed");
            let mut text = std::fs::read_to_string(entry.path()).expect("a zone file is text");
            if entry.file_name() == format!("{zone}.zone").as_str() {
                text.push_str(lines);
            }
            std::fs::write(zones.path().join(entry.file_name()), text).expect("the folder is writable");
        }
        let setup = Setup::new().zones(zones.path()).args(["--dns", &dns.to_string()]);
        Self { service: setup.start(), _zones: Some(zones) }
    }

    /// Starts what `setup` says, for a scenario with settings and zones of its own.
    pub(super) fn start_from(setup: Setup) -> Self {
        Self { service: setup.start(), _zones: None }
    }

    /// The service itself, for what is not done in every scenario.
    pub(super) const fn service(&self) -> &Service {
        &self.service
    }

    /// Ends it at once, as by a power cut.
    pub(super) fn kill(&mut self) {
        self.service.kill();
    }

    /// Where it answers.
    pub(super) fn dns(&self) -> SocketAddr {
        self.service.dns_addr()
    }

    /// Publishes a node, or its next version, by one PUT.
    ///
    /// # Panics
    ///
    /// When it is refused.
    pub(super) fn publish(&self, domain: &str, document: &Value) {
        let response = self.service.put_node(domain, document);
        assert!(matches!(response.status, 200 | 201), "PUT {domain}: {} {}", response.status, response.text);
    }

    /// Runs `tandem` with `arguments` as its administrator.
    ///
    /// # Panics
    ///
    /// When it fails.
    pub(super) fn tandem<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) {
        self.service.tandem(arguments).success();
    }

    /// A whole zone as a master file.
    ///
    /// # Panics
    ///
    /// When it is refused.
    pub(super) fn export(&self, zone: &str) -> String {
        let response = self.service.get(&format!("/v1/zones/{zone}"));
        assert_eq!(response.status, 200, "export of {zone}: {}", response.text);
        response.text
    }
}
