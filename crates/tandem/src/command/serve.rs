//! `tandem serve`: runs the service until a signal ends it. Standard output gets the lines that scripts read.

use std::process;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::ending::Ending;
use super::settings::Settings;
use super::{Failure, output};
use crate::config::Config;
use crate::runtime_file::{Running, RuntimeFile};
use crate::service::blocking;
use crate::{Service, file_limit, telemetry};

/// Longest time to finish what was accepted before the signal (API-82).
const DRAIN_WAIT: Duration = Duration::from_secs(30);

/// Serve the zones by DNS and the HTTP API
///
/// Prints where it listens, one line each on standard output, `ready` last: `dns ADDR:PORT` (one for each --dns),
/// `dot ADDR:PORT`, `doh URL` and `doq ADDR:PORT` (where the settings file names such listeners), `api URL`, `metrics URL` (where the settings file asks for them), `token FILE` (the admin token's file, made on first start), `ready`. Log lines go to standard error.
///
/// SIGTERM and SIGINT finish what was accepted and end with status 0, within 30 seconds; a second one ends at once.
/// SIGHUP reads the zone files, the certificates, the cookie secrets, and the settings of transfers (keys, rules, secondaries) again; if anything is wrong, the old ones stay in use.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  tandem serve                                       # zones/ and data/ here
  tandem serve --dns 127.0.0.1:0 --api 127.0.0.1:0   # free ports, printed
  tandem serve --dns 192.0.2.53:53 --dns [2001:db8::53]:53 \\
               --zones /etc/tandem/zones --data-dir /var/lib/tandem
  tandem serve --config /etc/tandem/tandem.toml --log-format json
  kill -HUP \"$(jq .pid data/run.json)\"               # read the zones again")]
pub(super) struct Serve {
    #[command(flatten)]
    settings: Settings,
}

impl Serve {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = self.settings.clone().load()?;
        telemetry::start(&config.log);
        file_limit::raise(&config);
        file_limit::forbid_core_dumps();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let result = runtime.block_on(serve(config, &self.settings));
        // A file or a name server that hangs must not hold up the end of the process.
        runtime.shutdown_background();
        result
    }
}

/// The signals that the service listens to, taken before anything is started.
struct Signals {
    ending: Ending,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { ending: Ending::listen()?, hang_up: signal(SignalKind::hangup())? })
    }

    /// Waits for what the admin wants next.
    async fn next(&mut self) -> Wish {
        tokio::select! {
            () = self.ending.next() => Wish::End,
            _ = self.hang_up.recv() => Wish::Reload,
        }
    }
}

/// What a signal asks for.
enum Wish {
    End,
    Reload,
}

async fn serve(config: Config, settings: &Settings) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let service = tokio::select! {
        started = Service::start(config.clone()) => started?,
        () = signals.ending.next() => return Ok(()),
    };
    let running =
        Running { pid: process::id(), dns: service.dns_addrs(), api: Running::api_to_ask(&service.api_url()) };
    match RuntimeFile::create(&config.data_dir, &running) {
        Ok(_file) => {
            // A reader that went away after the line it wanted is no reason to stop serving.
            if let Err(error) = announce(&running, &service) {
                warn!(%error, "standard output is closed");
            }
            run_until_signal(service, config, settings, &mut signals).await
        }
        Err(source) => {
            service.shutdown().await;
            Err(NotWritable { dir: config.data_dir.display().to_string(), source }.into())
        }
    }
}

/// `DIR/run.json` cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("run.json in {dir} cannot be written: give this user the right to, or choose another --data-dir")]
struct NotWritable {
    dir: String,
    #[source]
    source: std::io::Error,
}

/// The lines that scripts wait for.
fn announce(running: &Running, service: &Service) -> std::io::Result<()> {
    running.dns.iter().try_for_each(|address| output::line(format_args!("dns {address}")))?;
    service.dns_tls_addrs().iter().try_for_each(|address| output::line(format_args!("dot {address}")))?;
    let doh = |address| output::line(format_args!("doh https://{address}/dns-query"));
    service.dns_https_addrs().iter().try_for_each(doh)?;
    service.dns_quic_addrs().iter().try_for_each(|address| output::line(format_args!("doq {address}")))?;
    output::line(format_args!("api {}", running.api))?;
    if let Some(url) = service.metrics_url() {
        output::line(format_args!("metrics {url}"))?;
    }
    output::line(format_args!("token {}", service.admin_token_file().display()))?;
    output::line("ready")
}

async fn run_until_signal(
    service: Service,
    started_with: Config,
    settings: &Settings,
    signals: &mut Signals,
) -> Result<(), Failure> {
    while let Wish::Reload = signals.next().await {
        reload(&service).await;
        reload_transfers(&service, &started_with, settings).await;
    }
    info!("draining: a second signal ends at once");
    tokio::select! {
        drained = tokio::time::timeout(DRAIN_WAIT, service.shutdown()) => match drained {
            Ok(()) => {
                info!("ended");
                Ok(())
            }
            Err(_) => Err(format!("not everything ended within {} seconds", DRAIN_WAIT.as_secs()).into()),
        },
        () = signals.ending.again() => {
            warn!("second signal: ending at once");
            Err("ended by a second signal before everything was finished".into())
        }
    }
}

async fn reload(service: &Service) {
    match service.reload().await {
        // The store logs what changed.
        Ok(_) => {}
        Err(failure) => error!(reason = %reason(&failure), "zone files not taken over: the old zones are served on"),
    }
    match service.reload_certificates() {
        Ok(()) => {}
        Err(failure) => error!(reason = %reason(&failure), "certificate not taken over: the old one stays"),
    }
    if let Err(failure) = service.reload_dns_certificate() {
        error!(reason = %super::with_sources(&failure), "certificate of DNS not taken over: the old one stays");
    }
    if let Err(failure) = service.reload_cookie_secret().await {
        error!(reason = %super::with_sources(&failure), "cookie secrets not taken over: the old ones stay");
    }
}

/// Reads the settings again, and takes over who may transfer and who is told of changes.
async fn reload_transfers(service: &Service, started_with: &Config, settings: &Settings) {
    let settings = settings.clone();
    match blocking(move || settings.load()).await {
        Ok(mut config) => {
            if service.replace_transfers(&config) {
                info!("keys, transfer rules and secondaries taken over");
            }
            let limits = config.dns.transfers.limits;
            config.dns.transfers = tandem_dns::TransferConfig { limits, ..started_with.dns.transfers.clone() };
            if config != *started_with {
                warn!("other settings were changed, too: they count from the next start");
            }
        }
        Err(failure) => error!(reason = %reason(&failure), "settings not taken over: the old ones stay"),
    }
}

/// A failure with what caused it, in one line of the log.
fn reason(failure: &dyn std::error::Error) -> String {
    super::in_one_line(&super::with_sources(failure))
}
