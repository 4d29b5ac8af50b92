//! `tandem export`: every registration as a line of JSON, as `tandem import` takes it.

use std::io::{self, BufWriter, IsTerminal, Write};

use clap::Parser;
use serde_json::Value;

use super::Failure;
use super::client::{self, ApiArgs, Client};
use super::progress::Progress;

/// Write every registration that the token may see: one JSON document with its `domain` on each line (NDJSON)
#[derive(Debug, Parser)]
#[command(after_help = "\
A line has the document alone: no state, no key and no token; `tandem backup` has those. Nodes stand in the order of
their names. One that is registered or removed meanwhile may be there or not; all others are, once.

Examples:
  tandem export > nodes.ndjson
  tandem export --state active > served.ndjson
  tandem export | jq -r .domain")]
pub(super) struct Export {
    /// Only those in this state: active, stale, draining, …
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

impl Export {
    pub(super) fn run(self) -> Result<(), Failure> {
        let api = Client::open(&self.api)?;
        let stdout = io::stdout();
        // Both would be written to one screen.
        let mut progress = Progress::start(stdout.is_terminal(), None, "nodes");
        let mut out = BufWriter::with_capacity(1 << 20, stdout.lock());
        let mut count = 0;
        let path = match &self.state {
            Some(state) => format!("/v1/nodes?state={}", client::segment(state)),
            None => "/v1/nodes".to_owned(),
        };
        api.each_page::<Value, Failure>(&path, "nodes", |page| {
            for mut registration in page {
                let mut line = registration["node"].take();
                line["domain"] = registration["domain"].take();
                serde_json::to_writer(&mut out, &line)?;
                out.write_all(b"\n")?;
                count += 1;
            }
            progress.advance(0, count);
            Ok(())
        })?;
        out.flush()?;
        progress.end();
        Ok(())
    }
}
