//! The service as a library: what a program that embeds it relies on.

use std::net::SocketAddr;
use std::path::Path;

use tandem::config::{ApiConfig, DnsConfig};
use tandem::{Config, Service, StartError};

const ZONE: &str = "$TTL 60\n@ IN SOA ns h 1 2 3 4 5\n@ IN NS ns\nns IN A 192.0.2.1\n";

/// A configuration of its own below `home`, on free ports.
fn config(home: &Path) -> Config {
    let zones = home.join("zones");
    std::fs::create_dir_all(&zones).expect("the folder can be made");
    std::fs::write(zones.join("a.test.zone"), ZONE).expect("the zone can be written");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let defaults = Config::default();
    Config {
        data_dir: home.join("data"),
        zones_dir: zones,
        dns: DnsConfig { listen: vec![any, any], udp_threads: 1, ..defaults.dns.clone() },
        api: ApiConfig { listen: any, ..defaults.api.clone() },
        ..defaults
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_on_free_ports_reloads_and_ends() {
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let config = config(home.path());
    let service = Service::start(config.clone()).await.expect("it starts");
    let dns = service.dns_addrs();
    assert_eq!(dns.len(), 2);
    assert!(dns.iter().all(|address| address.port() != 0) && dns[0] != dns[1], "{dns:?}");
    assert!(service.api_url().starts_with("http://127.0.0.1:"), "{}", service.api_url());
    assert!(service.admin_token_file().exists());
    assert_eq!(service.directory().live().load().iter().count(), 1);

    // The same data folder cannot be opened twice.
    let twice = Service::start(config.clone()).await.expect_err("it is in use");
    assert!(matches!(twice, StartError::Store(_)), "{twice}");

    std::fs::write(config.zones_dir.join("b.test.zone"), ZONE).expect("the zone can be written");
    let report = service.reload().await.expect("the zones are right");
    assert_eq!(report.added, ["b.test".parse().expect("a name")]);
    std::fs::write(config.zones_dir.join("b.test.zone"), "nonsense").expect("the zone can be written");
    let error = service.reload().await.expect_err("the zone is broken");
    assert!(error.to_string().contains("b.test.zone:1: "), "{error}");
    assert_eq!(service.directory().live().load().iter().count(), 2, "the old zones are served on");

    service.shutdown().await;
    std::fs::write(config.zones_dir.join("b.test.zone"), ZONE).expect("the zone can be written");
    let again = Service::start(config).await.expect("the folder is free again");
    again.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_start_leaves_nothing_behind() {
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let mut config = config(home.path());
    config.api.listen = taken.local_addr().expect("it has an address");
    let error = Service::start(config.clone()).await.expect_err("the port is taken");
    assert!(matches!(error, StartError::Api(_)), "{error}");
    drop(taken);
    // Data folder and DNS are free: nothing of the first try is left.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let service = loop {
        match Service::start(config.clone()).await {
            Ok(service) => break service,
            Err(StartError::Store(_)) if std::time::Instant::now() < deadline => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    service.shutdown().await;
}
