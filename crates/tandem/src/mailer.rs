//! Mail to the contact of a node when its registration goes, or is about to go, another way than its operator may think.
//!
//! Reads the journal behind the writer, as webhooks do: it holds up nobody, whatever the mail server does. How many mails go
//! out is bounded, for each contact and in all: a directory whose nodes all lapse at once must not become a flood.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use tandem_store::backend::{JournalEntry, JournalKind};
use tandem_store::{Directory, NodeState};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::config::MailConfig;
use crate::contact;

/// Entries of the journal that are read at a time.
const PAGE: usize = 64;
/// Longest time for one mail.
const SEND_LIMIT: Duration = Duration::from_secs(30);
/// Pauses before the second and third try.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(30)];
/// Pause after the journal could not be read.
const READ_PAUSE: Duration = Duration::from_secs(60);
/// What the counts below are for.
const HOUR: Duration = Duration::from_secs(3600);
/// Most mails an hour to one contact.
const MAX_EACH: u32 = 6;
/// Most mails an hour in all.
const MAX_ALL: u32 = 1000;

/// The running mailer; dropping stops it.
#[derive(Debug)]
pub(crate) struct Mailer(Option<JoinHandle<()>>);

impl Mailer {
    /// Tells of what happens from now on; nothing without settings.
    pub(crate) fn start(directory: &Directory, config: Option<&MailConfig>) -> Self {
        let Some(config) = config else { return Self(None) };
        match Post::new(directory.clone(), config) {
            Ok(post) => {
                let mut changes = directory.changes();
                let place = *changes.borrow_and_update();
                Self(Some(tokio::spawn(post.run(changes, place))))
            }
            Err(error) => {
                warn!(%error, "no mail is sent: correct [mail]");
                Self(None)
            }
        }
    }
}

impl Drop for Mailer {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// The work.
struct Post {
    directory: Directory,
    from: Mailbox,
    transport: AsyncSmtpTransport<Tokio1Executor>,
    counts: Counts,
}

impl Post {
    fn new(directory: Directory, config: &MailConfig) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(&config.url)?.timeout(Some(SEND_LIMIT));
        if let Some((user, password)) = &config.login {
            transport = transport.credentials(Credentials::new(user.clone(), password.clone()));
        }
        let counts = Counts::new(Instant::now());
        Ok(Self { directory, from: config.from.parse()?, transport: transport.build(), counts })
    }

    /// Tells of what is behind `place`.
    async fn run(mut self, mut changes: watch::Receiver<u64>, mut place: u64) {
        loop {
            if changes.changed().await.is_err() {
                return;
            }
            let last = *changes.borrow_and_update();
            while place < last {
                let entries = match self.directory.journal(place, PAGE).await {
                    Ok(entries) => entries,
                    Err(error) => {
                        warn!(%error, "the journal could not be read for mail");
                        sleep(READ_PAUSE).await;
                        continue;
                    }
                };
                place = entries.last().map_or(last, |entry| entry.serial);
                for entry in &entries {
                    self.tell(entry).await;
                }
            }
        }
    }

    async fn tell(&mut self, entry: &JournalEntry) {
        let Some(notice) = Notice::of(entry) else { return };
        // A contact that is no mail address is told by webhooks alone.
        let Some(to) = contact::of(&self.directory, entry).await.and_then(|contact| address(&contact)) else { return };
        match self.counts.take(&to, Instant::now()) {
            Room::Some => self.send(to, &entry.subject, &notice.text(entry)).await,
            Room::NoMore => warn!(MAX_ALL, "no more mail for an hour; webhooks and the audit trail have all of it"),
            Room::None => {}
        }
    }

    async fn send(&self, to: Address, domain: &str, text: &str) {
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(format!("{domain}: a word from the SIP directory"))
            .header(ContentType::TEXT_PLAIN)
            .body(text.to_owned());
        let Ok(message) = message else { return };
        for pause in PAUSES.into_iter().map(Some).chain([None]) {
            // Neither the address nor the text is logged.
            match timeout(SEND_LIMIT, self.transport.send(message.clone())).await {
                Ok(Ok(_)) => return debug!(domain, "contact told by mail"),
                Ok(Err(error)) if error.is_permanent() || pause.is_none() => {
                    return warn!(domain, why = reason(&error), "a mail was given up");
                }
                Err(_) if pause.is_none() => return warn!(domain, why = "no answer", "a mail was given up"),
                Ok(Err(error)) => debug!(domain, why = reason(&error), "a mail was not taken"),
                Err(_) => debug!(domain, why = "no answer", "a mail was not taken"),
            }
            if let Some(pause) = pause {
                sleep(pause).await;
            }
        }
    }
}

/// Why a mail was not taken. Not what the server said: its words may name the recipient, or repeat what was sent.
fn reason(error: &lettre::transport::smtp::Error) -> String {
    match error.status().map(u16::from) {
        // RFC 4954 6.
        Some(code @ (530 | 534 | 535 | 538)) => {
            format!("the mail server refused the login ({code}): see mail.user and mail.password_file")
        }
        Some(code) => format!("the mail server said {code}"),
        None if error.is_response() => "the mail server's answer cannot be read".into(),
        // Of the connection, its certificate, or what the server can do.
        None => error.to_string(),
    }
}

/// The mail address that a contact is, if it is nothing else.
fn address(contact: &str) -> Option<Address> {
    contact.strip_prefix("mailto:").unwrap_or(contact).parse().ok()
}

/// What a contact is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notice {
    LeaseEnds,
    Stale,
    Withdrawn,
    Demoted,
    Suspended,
    Compromised,
    KeyReset,
    ProofEnds,
    ProofEnded,
}

impl Notice {
    /// What an entry of the journal calls for.
    fn of(entry: &JournalEntry) -> Option<Self> {
        match entry.kind {
            JournalKind::ChangeState => match entry.new_state? {
                NodeState::Stale => Some(Self::Stale),
                NodeState::Withdrawn => Some(Self::Withdrawn),
                // Who drains a node by token knows it.
                NodeState::Draining if entry.by.is_none() => Some(Self::Demoted),
                NodeState::Suspended => Some(Self::Suspended),
                NodeState::Compromised => Some(Self::Compromised),
                NodeState::Draining | NodeState::Pending | NodeState::Active | NodeState::Tombstone => None,
            },
            JournalKind::LeaseEnding => Some(Self::LeaseEnds),
            JournalKind::ResetKey => Some(Self::KeyReset),
            JournalKind::ProofLapsing => Some(Self::ProofEnds),
            JournalKind::ProofExpired | JournalKind::ProofRevoked => Some(Self::ProofEnded),
            JournalKind::Register
            | JournalKind::Deregister
            | JournalKind::ServeZone
            | JournalKind::DropZone
            | JournalKind::IssueToken
            | JournalKind::RotateToken
            | JournalKind::DropToken
            | JournalKind::Invite
            | JournalKind::DropInvitation
            | JournalKind::RedeemInvitation
            | JournalKind::ProofBegun
            | JournalKind::ProofValid
            | JournalKind::ProofInvalid
            | JournalKind::DropProof
            | JournalKind::ClaimNumber
            | JournalKind::ApproveNumber
            | JournalKind::RejectNumber
            | JournalKind::DelegateNumber
            | JournalKind::RevokeNumber
            | JournalKind::Probe => None,
        }
    }

    fn text(self, entry: &JournalEntry) -> String {
        let domain = &entry.subject;
        let (what, act) = match self {
            Self::LeaseEnds => (
                "has to be renewed: when its lease has ended callers try it last, and later it leaves DNS",
                "Renew it: `tandem nodes renew`, best from cron, or publish it again.",
            ),
            Self::Stale => {
                ("was not renewed in time: callers try it last", "Renew it: `tandem nodes renew`, or publish it again.")
            }
            Self::Withdrawn => ("was not renewed: it has left DNS", "Publish it again; its name is still held."),
            Self::Demoted => ("is tried last by callers now", "See what is missing with `tandem nodes show`."),
            Self::Suspended => ("has left DNS", "See why with `tandem nodes show`, or ask the directory's operator."),
            Self::Compromised => ("is marked as in wrong hands, and has left DNS", "Ask the directory's operator."),
            Self::KeyReset => (
                "will accept another key some days from now, because an admin asked for that",
                "If you did not: publish it again with its key, and nothing comes of it.",
            ),
            Self::ProofEnds => {
                ("is proved for some days more only", "Put the TXT record back, or run `tandem prove` again.")
            }
            Self::ProofEnded => (
                "is not proved any more: it cannot be changed, and leaves DNS in 30 days",
                "Put the TXT record back, or run `tandem prove` again.",
            ),
        };
        let mut text = format!("The registration of {domain} {what}.\n");
        if let Some(reason) = &entry.reason {
            let _ = writeln!(text, "Reason: {reason}");
        }
        let _ = write!(text, "\n{act}\n");
        text
    }
}

/// How many mails went out in this hour.
#[derive(Debug)]
struct Counts {
    begun: Instant,
    all: u32,
    each: HashMap<Address, u32>,
}

#[derive(Debug, PartialEq, Eq)]
enum Room {
    Some,
    /// Not for this contact, or said already.
    None,
    /// The first that does not go out in this hour.
    NoMore,
}

impl Counts {
    fn new(now: Instant) -> Self {
        Self { begun: now, all: 0, each: HashMap::new() }
    }

    fn take(&mut self, to: &Address, now: Instant) -> Room {
        if now.duration_since(self.begun) >= HOUR {
            *self = Self::new(now);
        }
        if self.all >= MAX_ALL {
            self.all = self.all.saturating_add(1);
            return if self.all == MAX_ALL + 1 { Room::NoMore } else { Room::None };
        }
        // At most as many as there are mails.
        let count = self.each.entry(to.clone()).or_default();
        if *count >= MAX_EACH {
            return Room::None;
        }
        *count += 1;
        self.all += 1;
        Room::Some
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tandem_model::{Node, NodeParts, Target};
    use tandem_store::{Action, Actor, Clock, Precondition, SqliteBackend};
    use tandem_zone::Settings;
    use tandem_zone::master::StaticZone;
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    /// A mail server of a few commands (RFC 5321): hands on what it takes, after the recipient.
    async fn server() -> (u16, mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, receiver) = mpsc::channel(8);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let mut stream = BufReader::new(stream);
                stream.write_all(b"220 mail.test\r\n").await.unwrap();
                let (mut mail, mut in_data) = (String::new(), false);
                let mut line = String::new();
                while stream.read_line(&mut line).await.unwrap_or(0) > 0 {
                    let answer: &[u8] = if in_data {
                        in_data = line != ".\r\n";
                        mail.push_str(&line);
                        if in_data { b"" } else { b"250 taken\r\n" }
                    } else if line.starts_with("EHLO") {
                        b"250 mail.test\r\n"
                    } else if line.starts_with("DATA") {
                        in_data = true;
                        b"354 go on\r\n"
                    } else {
                        if line.starts_with("RCPT") {
                            mail.push_str(&line);
                        }
                        b"250 well\r\n"
                    };
                    stream.write_all(answer).await.unwrap();
                    if answer.starts_with(b"250 taken") {
                        // Soft line breaks (RFC 2045 6.7) taken out.
                        sender.send(std::mem::take(&mut mail).replace("=\r\n", "")).await.unwrap();
                    }
                    line.clear();
                }
            }
        });
        (port, receiver)
    }

    fn node(domain: &str, contact: &str) -> Node {
        let target = Target {
            host: format!("sip.{domain}").parse().unwrap(),
            port: 5061.try_into().unwrap(),
            priority: 0,
            weight: 0,
            addresses: vec!["203.0.113.7".parse().unwrap()],
        };
        let contact = Some(contact.into());
        let parts = NodeParts { contact, ..NodeParts::new(domain.parse().unwrap(), vec![target]) };
        Node::new(parts).unwrap()
    }

    /// At each step of a lease the contact is told, if it is a mail address; nobody else is.
    #[tokio::test(flavor = "multi_thread")]
    async fn contacts_are_told_of_each_step() {
        let dir = tempfile::tempdir().unwrap();
        let now = Arc::new(std::sync::atomic::AtomicU64::new(1_790_000_000));
        let clock: Clock = {
            let now = Arc::clone(&now);
            Arc::new(move || now.load(std::sync::atomic::Ordering::Relaxed))
        };
        let text = b"@ 60 IN SOA ns1 hostmaster 1 3600 600 604800 30\n@ 60 IN NS ns1\nns1 60 IN A 192.0.2.53\n";
        let zone = StaticZone::read(&"ostn.test".parse().unwrap(), "z", text, &mut |_| Err("none".into())).unwrap();
        let settings = Settings { peers_zone: None, policy_zone: None, number_zone: None };
        let backend = Arc::new(SqliteBackend::open(dir.path()).unwrap());
        let directory = Directory::open_with(backend, dir.path(), settings, vec![zone], clock).unwrap();
        let admin = Actor::directory();
        for (domain, contact) in [("a.ostn.test", "mailto:ann@example.org"), ("b.ostn.test", "room 7, ask for Bob")] {
            directory.register(node(domain, contact), Precondition::None, &admin).await.unwrap();
        }
        let (port, mut mails) = server().await;
        let config = MailConfig {
            url: format!("smtp://127.0.0.1:{port}"),
            from: "Directory <directory@ostn.test>".into(),
            login: None,
        };
        let _mailer = Mailer::start(&directory, Some(&config));
        for (days, part) in
            [(6, "Reason: the lease ends in 24 hours"), (1, "callers try it last"), (8, "it has left DNS")]
        {
            now.fetch_add(days * 86_400, std::sync::atomic::Ordering::Relaxed);
            while directory.walk_leases().await.unwrap() {}
            let mail = timeout(LIMIT, mails.recv()).await.unwrap().unwrap();
            assert!(mail.starts_with("RCPT TO:<ann@example.org>"), "{mail}");
            assert!(mail.contains("a.ostn.test") && mail.contains(part), "{mail}");
        }
        let domain: tandem_model::DomainName = "a.ostn.test".parse().unwrap();
        let reason = Some("host broken into".into());
        directory.act(&domain, Action::Compromised, reason, Precondition::None, &admin).await.unwrap();
        let mail = timeout(LIMIT, mails.recv()).await.unwrap().unwrap();
        assert!(mail.contains("wrong hands") && mail.contains("Reason: host broken into"), "{mail}");
        assert!(mails.try_recv().is_err(), "nothing to who has no address");
    }

    #[test]
    fn addresses() {
        for (contact, is_address) in [
            ("ann@example.org", true),
            ("mailto:ann@example.org", true),
            ("Ann <ann@example.org>", false),
            ("ann@example.org, bob@example.org", false),
            ("ann@example.org\r\nBcc: x@y.z", false),
            ("+44 20 7946 0148", false),
            ("", false),
        ] {
            assert_eq!(address(contact).is_some(), is_address, "{contact:?}");
        }
    }

    #[test]
    fn a_flood_is_bounded() {
        let begin = Instant::now();
        let mut counts = Counts::new(begin);
        let to = |n: u32| Address::new(format!("n{n}"), "example.org").unwrap();
        let sent = (0..10).filter(|_| counts.take(&to(0), begin) == Room::Some).count();
        assert_eq!(sent, 6);
        let rooms: Vec<Room> = (1..2000).map(|n| counts.take(&to(n), begin)).collect();
        assert_eq!(rooms.iter().filter(|room| **room == Room::Some).count(), 994);
        assert_eq!(rooms.iter().filter(|room| **room == Room::NoMore).count(), 1, "said once");
        assert_eq!(counts.take(&to(0), begin + HOUR), Room::Some);
    }
}
