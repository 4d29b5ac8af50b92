//! Log lines: text or JSON, to standard error. Standard output is for results that scripts read.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{FilterFn, filter_fn};
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogConfig, LogFormat};

/// Begins to log; later calls change nothing. Filters that `config` holds were checked when it was made.
pub fn start(config: &LogConfig) {
    let filter = EnvFilter::new(&config.level);
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_span_events(FmtSpan::NONE).with_writer(io::stderr);
    let result = match config.format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).finish().with(no_addresses()).try_init(),
        LogFormat::Json => {
            builder.json().flatten_event(true).with_current_span(false).finish().with(no_addresses()).try_init()
        }
    };
    // Only a test that starts two services in one process gets here; the first one's setting stays.
    drop(result);
}

/// Keeps out what libraries would write about clients' addresses, whatever level is asked for (threat 20): QUIC's names them
/// in warnings, too.
fn no_addresses() -> FilterFn {
    filter_fn(|metadata| !metadata.target().starts_with("quinn"))
}
