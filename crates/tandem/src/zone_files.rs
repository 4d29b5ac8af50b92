//! The zone files for the API's reload: read where they hold up nobody, with problems that name no folder (API-23).

use std::path::Path;

use tandem_api::{Reading, ZoneFiles};

use crate::catalog;
use crate::config::{Config, Problem};
use crate::zone_folder;

/// The files that a configuration names.
#[derive(Debug)]
pub(crate) struct ConfiguredFiles(pub(crate) Config);

impl ZoneFiles for ConfiguredFiles {
    fn read(&self) -> Reading<'_> {
        let config = self.0.clone();
        Box::pin(async move {
            let folder = config.zones_dir.clone();
            let read = crate::service::blocking(move || catalog::read_zones(&config)).await;
            let read = read.inspect(|files| zone_folder::log_warnings(files)).map(zone_folder::zones);
            read.map_err(|error| error.problems.into_iter().map(|problem| shown(&folder, problem)).collect())
        })
    }
}

/// The problem with its file as it is called inside the zones folder.
fn shown(folder: &Path, problem: Problem) -> String {
    let file = problem.file.map(|file| match file.strip_prefix(folder) {
        Ok(inside) if inside.as_os_str().is_empty() => "the zones folder".into(),
        Ok(inside) => inside.to_owned(),
        // Cannot be: everything is read from that folder.
        Err(_) => file.file_name().map(Into::into).unwrap_or_default(),
    });
    Problem { file, ..problem }.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_folder_of_the_machine_is_named() {
        for (file, line, text) in [
            ("/etc/tandem/zones/ostn.test.zone", 3, "ostn.test.zone:3: no"),
            ("/etc/tandem/zones/sub/part", 0, "sub/part: no"),
            ("/etc/tandem/zones", 0, "the zones folder: no"),
            ("/elsewhere/part", 1, "part:1: no"),
        ] {
            let problem = Problem { file: Some(file.into()), line, reason: "no".into() };
            assert_eq!(shown(Path::new("/etc/tandem/zones"), problem), text);
        }
    }
}
