//! SIP over TCP and TLS: many messages on a connection, answered on the same one (RFC 3261 18.2.2, 18.3).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tandem_probe::sip::Message;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, WriteHalf, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::core::{Core, Framed, Next};

/// Most connections at a time on each listener: a SIP server needs one.
const MAX_CONNECTIONS: usize = 256;
/// Longest TLS handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Longest time without a message; SIP servers keep their connections alive more often.
const IDLE_LIMIT: Duration = Duration::from_secs(300);
/// Longest time from the first octet of a message to its last.
const MESSAGE_LIMIT: Duration = Duration::from_secs(10);
/// Longest time that the peer may leave an answer in its receive buffer.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// Octets of one read.
const READ: usize = 8192;
/// Most reads for one message: what comes octet by octet is looked at again each time.
const MAX_READS: usize = 256;
/// Answers that wait to be written; then nothing more is read.
const MAX_QUEUED: usize = 64;
/// Pause after the system refused a connection for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes connections as long as the task lives.
pub(super) async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, core: Arc<Core>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let (stream, source) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "no connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (tls, core) = (tls.clone(), Arc::clone(&core));
        connections.spawn(async move {
            let _permit = permit;
            // A peer that breaks off or is too slow harms only itself.
            let _ = connection(stream, source, tls, core).await;
        });
    }
}

async fn connection(
    stream: TcpStream,
    source: SocketAddr,
    tls: Option<TlsAcceptor>,
    core: Arc<Core>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match tls {
        None => converse(stream, source, core).await,
        Some(acceptor) => {
            let stream = timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await??;
            converse(stream, source, core).await
        }
    }
}

/// Reads and answers until the peer ends it, sends what cannot be framed, or is too slow.
async fn converse<S>(stream: S, source: SocketAddr, core: Arc<Core>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut reader, writer) = split(stream);
    let (answers, queue) = mpsc::channel(MAX_QUEUED);
    // All of them end with this function.
    let mut tasks = JoinSet::new();
    tasks.spawn(write(writer, queue));
    let read = async {
        let mut octets = Vec::with_capacity(READ);
        loop {
            let Some(framed) = next_message(&mut reader, &mut octets, &answers).await? else { return Ok(()) };
            match core.take(&framed, source) {
                Next::Nothing => {}
                Next::Answer(answer) => queue_up(&answers, answer).await?,
                // One slow name server must not hold up the calls behind it. What waits is bounded by the core.
                Next::Wait(answer) => {
                    let answers = answers.clone();
                    tasks.spawn(async move {
                        let _ = answers.send(answer.answer().await).await;
                    });
                }
            }
            if framed.is_broken() {
                return Ok(());
            }
            while tasks.try_join_next().is_some() {}
        }
    };
    let result = read.await;
    // What is known is still written.
    drop(answers);
    let _ = timeout(WRITE_LIMIT, async { while tasks.join_next().await.is_some() {} }).await;
    result
}

/// One message off a stream; after a broken one nothing more can be read. `None`: the peer ended it, between messages or within one.
async fn next_message<R>(
    reader: &mut R,
    octets: &mut Vec<u8>,
    answers: &mpsc::Sender<String>,
) -> io::Result<Option<Framed>>
where
    R: AsyncRead + Unpin,
{
    let mut deadline = Instant::now() + IDLE_LIMIT;
    let mut reads = 0;
    let mut room = [0; READ];
    loop {
        // RFC 5626 3.5.1: two line ends ask for one back. Alone they are no beginning of a message.
        let blank = octets.iter().take_while(|octet| matches!(octet, b'\r' | b'\n')).count();
        if blank > 0 {
            octets.drain(..blank);
            if blank >= 4 {
                queue_up(answers, "\r\n".into()).await?;
            }
        }
        if octets.is_empty() {
            reads = 0;
            deadline = Instant::now() + IDLE_LIMIT;
        } else {
            match Message::take(octets) {
                Ok(Some((message, used))) => {
                    octets.drain(..used);
                    return Ok(Some(Framed::Whole(message)));
                }
                Ok(None) => {}
                Err(_) => return Ok(Message::head(octets).ok().map(Framed::Broken)),
            }
            if reads == 0 {
                deadline = Instant::now() + MESSAGE_LIMIT;
            }
            reads += 1;
            if reads > MAX_READS {
                return Ok(None);
            }
        }
        match timeout_at(deadline, reader.read(&mut room)).await?? {
            0 => return Ok(None),
            // `take` refuses what is longer than a message: what waits here is bounded.
            len => octets.extend_from_slice(&room[..len]),
        }
    }
}

async fn queue_up(answers: &mpsc::Sender<String>, answer: String) -> io::Result<()> {
    answers.send(answer).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
}

/// Writes answers until nobody has any more, or the peer does not take them.
async fn write<S: AsyncWrite>(mut writer: WriteHalf<S>, mut queue: mpsc::Receiver<String>) {
    while let Some(answer) = queue.recv().await {
        let writing = async {
            writer.write_all(answer.as_bytes()).await?;
            writer.flush().await
        };
        if !matches!(timeout(WRITE_LIMIT, writing).await, Ok(Ok(()))) {
            return;
        }
    }
    let _ = timeout(WRITE_LIMIT, writer.shutdown()).await;
}
