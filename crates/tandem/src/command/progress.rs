//! How far a long command has come: a bar on a terminal, else a line on standard error now and then.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shortest time between two lines.
const PAUSE: Duration = Duration::from_secs(5);

/// Where progress is shown.
#[derive(Debug)]
pub(super) struct Progress(Shown);

#[derive(Debug)]
enum Shown {
    Nowhere,
    Bar(ProgressBar),
    Lines { what: &'static str, begun: Instant, said: Instant },
}

impl Progress {
    /// Begins; `size` octets will pass, if that is known, and what is counted is called `what`.
    pub(super) fn start(quiet: bool, size: Option<u64>, what: &'static str) -> Self {
        if quiet {
            return Self(Shown::Nowhere);
        }
        if !io::stderr().is_terminal() {
            return Self(Shown::Lines { what, begun: Instant::now(), said: Instant::now() });
        }
        let style = match size {
            Some(_) => "{bar:30} {percent:>3} %  {msg}  {elapsed}, {eta} left",
            None => "{spinner} {msg}  {elapsed}",
        };
        let bar = ProgressBar::with_draw_target(size, ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(format!("0 {what}"));
        Self(Shown::Bar(bar))
    }

    /// `octets` more have passed; `count` have been dealt with so far.
    pub(super) fn advance(&mut self, octets: u64, count: u64) {
        match &mut self.0 {
            Shown::Nowhere => {}
            Shown::Bar(bar) => {
                bar.inc(octets);
                let rate = count as f64 / bar.elapsed().as_secs_f64().max(1e-3);
                bar.set_message(format!("{count}{}", per_second(rate)));
            }
            Shown::Lines { what, begun, said } => {
                if said.elapsed() >= PAUSE {
                    *said = Instant::now();
                    let rate = count as f64 / begun.elapsed().as_secs_f64();
                    // Nothing can be done about a standard error that is closed.
                    let _ = writeln!(io::stderr(), "{count} {what}{}", per_second(rate));
                }
            }
        }
    }

    /// `octets` have passed so far, of as many as were said; counted in MiB.
    pub(super) fn at(&mut self, octets: u64) {
        if let Shown::Bar(bar) = &self.0 {
            bar.set_position(octets);
        }
        self.advance(0, octets >> 20);
    }

    /// Takes the bar away.
    pub(super) fn end(self) {
        if let Shown::Bar(bar) = self.0 {
            bar.finish_and_clear();
        }
    }
}

/// The rate, where it says anything.
fn per_second(rate: f64) -> String {
    if rate < 1.0 { String::new() } else { format!(", {rate:.0}/s") }
}
