//! `tandem restore`: a backup becomes the database of a service that does not run.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;
use serde_json::json;
use tandem_model::Serial;
use tandem_store::sqlite::backup::verify;
use tandem_store::{RestoreOptions, restore};

use super::backup::{as_json, describe};
use super::here::Here;
use super::{Failure, output};

/// Make the data folder of a stopped service from a backup
///
/// Every zone takes a serial far above the backup's, so that secondaries that saw later changes follow again. Every node
/// has a whole lease. Open invitations are withdrawn: nobody knows which were used. What happened behind the backup is
/// gone: tokens revoked since then are valid again, admins' too, and so are nodes that were removed, suspended or compromised.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  tandem restore --check latest.tandem       # look at it, change nothing
  tandem restore latest.tandem --data-dir /var/lib/tandem
  tandem restore latest.tandem --force       # the old database stays beside
  tandem restore latest.tandem --above \\
      \"$(dig +short SOA ostn.test @ns2.example | cut -d' ' -f3)\"")]
pub(super) struct Restore {
    /// The backup
    file: PathBuf,
    /// Look at the backup from end to end, and change nothing
    #[arg(long, conflicts_with_all = ["force", "above", "without_tokens"])]
    check: bool,
    /// Replace a database that is there; it is kept under another name
    #[arg(long)]
    force: bool,
    /// A SOA serial that a secondary has: go on above it. Needed only if the same backup is restored twice within days
    #[arg(long, value_name = "SERIAL")]
    above: Option<u32>,
    /// Leave out all tokens; the service makes a new admin token when it starts
    #[arg(long)]
    without_tokens: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    here: Here,
}

impl Restore {
    pub(super) fn run(self) -> Result<(), Failure> {
        if self.check {
            let manifest = verify(&self.file)?;
            if self.json {
                return output::json(&as_json(&manifest));
            }
            return Ok(output::line(format_args!("{}: {}", self.file.display(), describe(&manifest)))?);
        }
        let data_dir = self.here.data_dir()?;
        let options = RestoreOptions {
            above: self.above.map(Serial::new),
            replace: self.force,
            without_tokens: self.without_tokens,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let restored = restore(&self.file, &data_dir, &options, now)?;
        if self.json {
            return output::json(&json!({
                "backup": as_json(&restored.manifest),
                "data_dir": data_dir,
                "serial": restored.serial,
                "zone_serial": restored.zone_serial.value(),
                "invitations_withdrawn": restored.invitations,
                "tokens_left_out": restored.tokens,
                "admin_tokens": restored.admin_tokens,
                "replaced": restored.replaced,
                "knew_serial": restored.knew_serial,
            }));
        }
        output::line(describe(&restored.manifest))?;
        output::line(format_args!(
            "restored into {}: zones go on at serial {}",
            data_dir.display(),
            restored.zone_serial.value()
        ))?;
        if let Some(replaced) = &restored.replaced {
            output::line(format_args!("the database before is {}", replaced.display()))?;
        }
        if !restored.knew_serial {
            output::line(
                "its serial could not be read: if a secondary does not follow, restore again with --force --above SERIAL",
            )?;
        }
        if restored.invitations > 0 {
            output::line(format_args!("{} invitations were withdrawn: invite again", restored.invitations))?;
        }
        if restored.admin_tokens > 0 {
            output::line(format_args!(
                "admin tokens that are valid, whoever has them by now: {}; revoke those that are not yours: `tandem token list`",
                restored.admin_tokens
            ))?;
        }
        Ok(output::line("what happened since then is gone: look at `tandem token list` and `tandem nodes list`")?)
    }
}
