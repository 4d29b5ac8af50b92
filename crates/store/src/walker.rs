//! The thread that asks the writer to look at the leases every second.

use std::io;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::writer::Command;

/// Between two walks: a lease ends a second late at most.
const PAUSE: Duration = Duration::from_secs(1);
/// Most walks without a pause; between them the writer takes what else waits.
const MAX_IN_A_ROW: usize = 10_000;

/// Starts it; it ends by itself when the writer has.
pub(crate) fn start(writer: mpsc::WeakSender<Command>) -> io::Result<()> {
    let work = move || {
        loop {
            std::thread::sleep(PAUSE);
            for _ in 0..MAX_IN_A_ROW {
                let Some(sender) = writer.upgrade() else { return };
                let (answer, answered) = oneshot::channel();
                // A full queue: the writer has enough to do, and leases have time.
                if sender.try_send(Command::Walk { answer: Some(answer) }).is_err() {
                    if sender.is_closed() {
                        return;
                    }
                    break;
                }
                // Not held while waiting: the last handle must be able to end the writer.
                drop(sender);
                match answered.blocking_recv() {
                    Ok(Ok(true)) => {}
                    Ok(_) | Err(_) => break,
                }
            }
        }
    };
    std::thread::Builder::new().name("tandem-leases".into()).spawn(work).map(|_| ())
}
