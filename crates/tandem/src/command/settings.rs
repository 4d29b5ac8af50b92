//! The flags and environment variables of the service's settings, for every command that needs them.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::{Config, ConfigError, Overrides};

/// Where settings come from: flags, then environment, then the file, then defaults.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Settings {
    /// Settings file; ./tandem.toml is read if it exists
    #[arg(long, value_name = "FILE", env = "TANDEM_CONFIG")]
    config: Option<PathBuf>,
    /// Folder of the database and the admin token [default: data]
    #[arg(long, value_name = "DIR", env = "TANDEM_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Folder of master files; each *.zone in it is a zone [default: zones]
    #[arg(long, value_name = "DIR", env = "TANDEM_ZONES")]
    zones: Option<PathBuf>,
    /// Address that answers DNS; may be given several times [default: 127.0.0.1:5300]
    #[arg(long, value_name = "ADDR:PORT", env = "TANDEM_DNS", value_delimiter = ',')]
    dns: Vec<SocketAddr>,
    /// Address of the HTTP API; HTTPS unless it is a loopback one [default: 127.0.0.1:5380]
    #[arg(long, value_name = "ADDR:PORT", env = "TANDEM_API_LISTEN")]
    api: Option<SocketAddr>,
    /// Where registrations are kept [default: sqlite:, the embedded store in the data folder]
    #[arg(long, value_name = "URL", env = "TANDEM_STORE")]
    store: Option<String>,
    /// Log lines for people or for programs: text, json [default: text]
    #[arg(long, value_name = "FORMAT", env = "TANDEM_LOG_FORMAT")]
    log_format: Option<String>,
    /// Log from this level on: error, warn, info, debug, trace [default: info]
    #[arg(long, value_name = "LEVEL", env = "TANDEM_LOG")]
    log_level: Option<String>,
}

impl Settings {
    /// The configuration that they make.
    pub(super) fn load(self) -> Result<Config, ConfigError> {
        Config::load(
            self.config.as_deref(),
            Overrides {
                data_dir: self.data_dir,
                zones: self.zones,
                dns: self.dns,
                api: self.api,
                store: self.store,
                log_format: self.log_format,
                log_level: self.log_level,
            },
        )
    }
}
