//! The service on this machine, as the commands beside it find it: its data folder.

use std::path::PathBuf;

use crate::config::{Config, ConfigError, Overrides};

/// Where the service on this machine keeps its data.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Here {
    /// Settings file of the service on this machine; ./tandem.toml is read if it exists
    #[arg(long, value_name = "FILE", env = "TANDEM_CONFIG")]
    config: Option<PathBuf>,
    /// Data folder of the service on this machine [default: data_dir of the settings file, or data]
    #[arg(long, value_name = "DIR", env = "TANDEM_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

impl Here {
    /// The data folder: as given, as the settings file says, or `data`.
    ///
    /// A file that was named must be right. `./tandem.toml` was not: a fault of it is the concern of `serve` and
    /// `check-config`, and what can be read of it counts.
    pub(super) fn data_dir(&self) -> Result<PathBuf, ConfigError> {
        if let Some(dir) = &self.data_dir {
            return Ok(dir.clone());
        }
        let (config, problems) = Config::read(self.config.as_deref(), Overrides::default());
        if self.config.is_some() && !problems.is_empty() { Err(ConfigError { problems }) } else { Ok(config.data_dir) }
    }

    /// Whether the API has no certificate by the settings, so that it makes itself one where it needs one.
    pub(super) fn makes_certificate(&self) -> bool {
        Config::read(self.config.as_deref(), Overrides::default()).0.api.certificate.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_settings_file_names_the_data_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t.toml");
        fs::write(&file, "data_dir = \"d\"\n").unwrap();
        let mut here = Here { config: Some(file.clone()), data_dir: None };
        assert_eq!(here.data_dir().unwrap(), folder.path().join("d"));
        fs::write(&file, "data_dir = \"d\"\nno_such_key = 1\n").unwrap();
        assert!(here.data_dir().unwrap_err().to_string().contains("t.toml:2: "));
        here.data_dir = Some("other".into());
        assert_eq!(here.data_dir().unwrap(), PathBuf::from("other"));
    }
}
