//! The copy of the members: filled from the directory's list once, kept in step by its change feed, written down as it
//! changes, and handed out as [`Snapshot`]s.
//!
//! ```text
//! state file ──▶ copy ──▶ snapshots      at once, without the directory
//! list ─▶ judge ─▶ copy                  when there is no place in the journal, or the journal forgot it (410)
//! feed ─▶ out of the copy at once        compromised, suspended, withdrawn, gone
//!      └▶ ask for the member ─▶ judge    everything else
//! ```
//!
//! One task owns everything; it reads the feed while it asks for a member, so that nothing holds up bad news.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tandem_model::DomainName;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use crate::clock;
use crate::config::TrustConfig;
use crate::directory::{
    Answer, ChangeBody, Changes, Directory, DirectoryError, Event, Link, MemberBody, Members, Signal, parse_body,
};
use crate::judge::{HOLD_SECONDS, Memory, Newcomer, Refusal, Verdict, judge};
use crate::map::MemberMap;
use crate::member::{KnownKey, Member, MemberState};
use crate::snapshot::{Snapshot, Snapshots};
use crate::state::{Loaded, Record, StateWriter};
use crate::status::Board;

/// Members that are asked for at a time when the list is read.
const PAGE: usize = 200;
/// Members whose news wait to be asked for; with more the list is read again, which is faster.
const MAX_PENDING: usize = 1000;
/// Shortest and longest pause before the directory is tried again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Longest pause that the directory's own word is taken for.
const MAX_RETRY: Duration = Duration::from_secs(60);
/// Times that a list waits because there were too many questions.
const MAX_PATIENCE: usize = 20;
/// Members that are asked for at a time.
const MAX_QUESTIONS: usize = 4;
/// Seconds after which it is written down that the directory is still there, though nothing changed.
const NOTE_SECONDS: u64 = 3600;
/// How often is looked for what became due by time alone.
const TICK: Duration = Duration::from_secs(60);

/// What a copy is told.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) trust: TrustConfig,
    pub(crate) grace_seconds: u64,
}

/// The copy, and the task that keeps it.
pub(crate) struct Replica {
    settings: Settings,
    directory: Arc<Directory>,
    token_file: Option<PathBuf>,
    /// For lists; the feed has a connection of its own.
    link: Link,
    feed_link: Link,
    writer: StateWriter,
    board: Arc<Board>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    version: u64,

    members: MemberMap,
    former: HashMap<DomainName, (KnownKey, u64)>,
    held: HashMap<DomainName, (Newcomer, u64)>,
    refused: HashMap<DomainName, Refusal>,
    callable: usize,
    signed: usize,
    /// All changes up to this one are in the copy.
    position: Option<u64>,
    /// When the directory was last heard, in seconds since 1970.
    heard: u64,
    /// When that was written down.
    noted: u64,
    /// Whether there is something that the last snapshot does not have.
    is_changed: bool,
    /// Records that are not handed to the writer yet.
    unwritten: Vec<Record>,
    /// Pause that the directory asked for.
    retry: Duration,
}

/// News that wait: which members are to be asked for, oldest first.
#[derive(Debug, Default)]
struct Pending {
    order: VecDeque<DomainName>,
    /// The last change of each.
    last: HashMap<DomainName, u64>,
    /// The last change that was seen.
    seen: Option<u64>,
}

/// Why the copy is not followed any more for now.
#[derive(Debug)]
enum Ended {
    /// Try again after a pause.
    Failed(DirectoryError),
    /// The stream ended: it is opened again.
    Closed,
    /// The list must be read.
    TooOld,
}

impl From<DirectoryError> for Ended {
    fn from(error: DirectoryError) -> Self {
        Self::Failed(error)
    }
}

impl Replica {
    /// A copy that begins with what was `loaded`; its first snapshot is there when this returns.
    pub(crate) fn new(
        settings: Settings,
        directory: Arc<Directory>,
        token_file: Option<PathBuf>,
        loaded: Loaded,
        writer: StateWriter,
        board: Arc<Board>,
    ) -> (Self, Snapshots) {
        let (snapshots, receiver) = watch::channel(Arc::new(Snapshot::default()));
        let is_same = loaded.directory == directory.name();
        let callable = loaded.members.iter().filter(|member| member.shown().is_some()).count();
        let signed = loaded.members.iter().filter(|member| member.is_signed()).count();
        let mut replica = Self {
            settings,
            link: directory.link(token_file.clone()),
            feed_link: directory.link(token_file.clone()),
            directory,
            token_file,
            writer,
            board,
            snapshots,
            version: 0,
            members: loaded.members,
            former: loaded.former,
            held: loaded.held,
            refused: HashMap::new(),
            callable,
            signed,
            // Another directory's journal has other places.
            position: loaded.position.filter(|_| is_same),
            heard: loaded.heard,
            noted: loaded.heard,
            is_changed: true,
            unwritten: Vec::new(),
            retry: PAUSE.0,
        };
        replica.drop_lapsed();
        replica.publish();
        replica.out_of_step(None);
        (replica, receiver)
    }

    /// Follows the directory until `closing` turns true; then all that is known is on disk.
    pub(crate) async fn run(mut self, mut closing: watch::Receiver<bool>) {
        let mut pause = PAUSE.0;
        loop {
            let before = Instant::now();
            let ended = tokio::select! {
                ended = self.follow() => ended,
                _ = closing.wait_for(|closing| *closing) => break,
            };
            let mut wait = Duration::ZERO;
            match ended {
                Ended::TooOld => {
                    tracing::info!("the directory's journal does not reach back so far: all members are read again");
                    self.position = None;
                }
                Ended::Closed => {
                    wait = self.retry;
                    self.out_of_step(Some("the directory ended the feed".into()));
                }
                Ended::Failed(error) => {
                    if before.elapsed() > PAUSE.1 {
                        pause = PAUSE.0;
                    }
                    wait = error.retry_after().unwrap_or(pause).max(pause);
                    pause = (pause * 2).min(PAUSE.1);
                    let words = error.in_words();
                    let hint = match error.status() {
                        Some(401) => ": the token is not valid any more; put a new one into its file",
                        Some(403) => ": the token must have the action `read`",
                        _ => "",
                    };
                    tracing::warn!("the members cannot be followed, those known stay in use: {words}{hint}");
                    self.out_of_step(Some(format!("{words}{hint}")));
                }
            }
            self.hand_over().await;
            let wait = wait + Duration::from_millis(clock::spread(1 + wait.as_millis() as u64 / 4));
            tokio::select! {
                () = self.idle(wait) => {}
                _ = closing.wait_for(|closing| *closing) => break,
            }
        }
        self.hand_over().await;
        self.writer.flush().await;
    }

    /// Waits, and meanwhile lets go of members that nobody vouches for any more.
    async fn idle(&mut self, wait: Duration) {
        self.drop_lapsed();
        sleep(wait).await;
    }

    /// Brings the copy into step and keeps it there, until something ends that.
    async fn follow(&mut self) -> Ended {
        let Err(ended) = self.try_follow().await;
        ended
    }

    async fn try_follow(&mut self) -> Result<std::convert::Infallible, Ended> {
        let place = match self.position {
            Some(place) => place,
            None => self.read_list().await?,
        };
        let mut feed = match self.feed_link.follow(place).await {
            Err(error) if error.status() == Some(410) => return Err(Ended::TooOld),
            feed => feed?,
        };
        self.in_step();
        let mut pending = Pending::default();
        let mut questions = Questions::new(&self.directory, self.token_file.as_ref());
        let mut tick = interval(TICK);
        loop {
            questions.ask(&mut pending);
            tokio::select! {
                // Bad news first.
                biased;
                signal = feed.next() => {
                    let signal = signal?.ok_or(Ended::Closed)?;
                    self.take_signal(signal, &mut pending)?;
                }
                Some((asked, answer)) = questions.next() => self.take_answer(asked, answer, &mut pending)?,
                _ = tick.tick() => self.take_time(place, &mut pending),
            }
            self.publish();
            if pending.last.len() > MAX_PENDING {
                return Err(Ended::TooOld);
            }
            if pending.last.is_empty()
                && let Some(seen) = pending.seen.take()
            {
                self.reach(seen);
            }
            self.hand_over().await;
        }
    }

    /// Reads all members; gives the place in the journal to follow from.
    async fn read_list(&mut self) -> Result<u64, Ended> {
        // What happens while the list is read is told again afterwards.
        let Changes { last } = parse_body(&self.link.get("/v1/changes?wait=0").await?.body)?;
        let mut found = HashSet::new();
        let mut path = Some(format!("/v1/members?limit={PAGE}"));
        while let Some(page) = path.take() {
            let answer = self.patient_get(&page).await?;
            let Members { members } = parse_body(&answer.body)?;
            for body in members {
                // A name that is none here cannot be called either.
                let Ok(domain) = DomainName::parse(&body.domain) else { continue };
                self.judge(&domain, body);
                found.insert(domain);
            }
            path = answer.next;
            self.publish();
            self.hand_over().await;
        }
        let gone = self.members.iter().filter(|member| !found.contains(&member.domain));
        let gone: Vec<DomainName> = gone.map(|member| member.domain.clone()).collect();
        gone.iter().for_each(|domain| self.remove(domain));
        self.publish();
        self.reach(last);
        self.hand_over().await;
        tracing::info!(members = self.members.len(), position = last, "all members read");
        Ok(last)
    }

    /// Asks again when there were too many questions: a list is not begun anew for that.
    async fn patient_get(&mut self, path: &str) -> Result<Answer, DirectoryError> {
        for _ in 0..MAX_PATIENCE {
            match self.link.get(path).await {
                Err(error) if error.status() == Some(429) => sleep(error.retry_after().unwrap_or(PAUSE.1)).await,
                answer => return answer,
            }
        }
        self.link.get(path).await
    }

    fn take_signal(&mut self, signal: Signal, pending: &mut Pending) -> Result<(), Ended> {
        self.heard = clock::now();
        let Event { id, kind, data } = match signal {
            Signal::Event(event) => event,
            Signal::Retry(milliseconds) => {
                self.retry = Duration::from_millis(milliseconds).min(MAX_RETRY);
                return Ok(());
            }
            Signal::Alive => return Ok(()),
        };
        let Some(id) = id else { return Ok(()) };
        pending.seen = Some(id);
        if kind == "ready" {
            return Ok(());
        }
        // What cannot be understood may be anything: the list says how things are.
        let Ok(ChangeBody { domain, state, reason }) = serde_json::from_str(&data) else { return Err(Ended::TooOld) };
        let Ok(domain) = DomainName::parse(&domain) else { return Ok(()) };
        match state.as_deref().map(|word| MemberState::parse(word).unwrap_or(MemberState::Suspended)) {
            None => {
                pending.forget(&domain);
                self.remove(&domain);
            }
            Some(state) if !state.is_served() => {
                pending.forget(&domain);
                let old = self.members.get(&domain);
                let (lease_until, key) = old.map_or((0, None), |old| (old.lease_until, old.key.clone()));
                let key = key.or_else(|| self.former.get(&domain).map(|(key, _)| Box::new(key.clone())));
                let reason = reason.map(Into::into);
                self.put(Member { domain, state, reason, lease_until, node: None, withheld: Box::default(), key });
            }
            Some(_) => pending.want(domain, id),
        }
        Ok(())
    }

    fn take_answer(
        &mut self,
        Asked { domain, change }: Asked,
        answer: Result<Answer, DirectoryError>,
        pending: &mut Pending,
    ) -> Result<(), Ended> {
        match pending.last.get(&domain) {
            // Bad news came first.
            None => return Ok(()),
            // More happened since the question.
            Some(last) if *last != change => {
                pending.order.push_back(domain);
                return Ok(());
            }
            Some(_) => {}
        }
        match answer {
            Ok(answer) => match parse_body(&answer.body) {
                Ok(body) => self.judge(&domain, body),
                Err(error) => {
                    tracing::warn!(%domain, %error, "what the directory says of a member cannot be understood")
                }
            },
            Err(error) if error.status() == Some(404) => self.remove(&domain),
            // It stays among what is pending, so that the place in the journal does not move past it.
            Err(error) => return Err(error.into()),
        }
        pending.forget(&domain);
        Ok(())
    }

    /// What became due by time alone.
    fn take_time(&mut self, place: u64, pending: &mut Pending) {
        let now = clock::now();
        self.former.retain(|_, (_, at)| *at + HOLD_SECONDS > now);
        let due = self.held.iter().filter(|(_, (_, since))| since + HOLD_SECONDS <= now);
        let due: Vec<DomainName> = due.map(|(domain, _)| domain.clone()).collect();
        due.into_iter().for_each(|domain| pending.want(domain, pending.seen.unwrap_or(place)));
        if now > self.noted + NOTE_SECONDS {
            self.note_place();
        }
    }

    /// Judges what the directory says of a member, and does what comes of it.
    fn judge(&mut self, domain: &DomainName, body: MemberBody) {
        let memory = Memory {
            member: self.members.get(domain).map(|member| &**member),
            former: self.former.get(domain).map(|(key, _)| key),
            held: self.held.get(domain).copied(),
        };
        match judge(&self.settings.trust, domain, body, memory, clock::now()) {
            Verdict::Take(member) => {
                self.refused.remove(domain);
                self.release(domain);
                self.put(member);
            }
            Verdict::Keep(member, refusal) => {
                if let Refusal::Held { newcomer, since, .. } = refusal {
                    if self.held.insert(domain.clone(), (newcomer, since)) != Some((newcomer, since)) {
                        self.unwritten.push(Record::held(domain, newcomer, since));
                    }
                } else {
                    self.release(domain);
                }
                if self.refused.get(domain) != Some(&refusal) {
                    tracing::warn!(%domain, %refusal, "news of a member are not believed; what was known of it stays");
                    self.refused.insert(domain.clone(), refusal);
                    self.is_changed = true;
                }
                if let Some(member) = member {
                    self.put(member);
                }
            }
        }
    }

    fn release(&mut self, domain: &DomainName) {
        if self.held.remove(domain).is_some() {
            self.unwritten.push(Record::Released { domain: domain.to_string() });
        }
    }

    fn put(&mut self, mut member: Member) {
        let old = self.members.get(&member.domain);
        if member.node.is_none() {
            let withheld = |old: &Arc<Member>| match &old.node {
                Some(node) => node.numbers.as_slice().into(),
                None => old.withheld.clone(),
            };
            member.withheld = old.map(withheld).unwrap_or_default();
        }
        if old.is_some_and(|old| **old == member) {
            return;
        }
        self.unwritten.push(Record::from(&member));
        self.former.remove(&member.domain);
        self.callable += usize::from(member.shown().is_some());
        self.signed += usize::from(member.is_signed());
        if let Some(old) = self.members.insert(Arc::new(member)) {
            self.uncount(&old);
        }
        self.is_changed = true;
    }

    fn remove(&mut self, domain: &DomainName) {
        let Some(old) = self.members.remove(domain) else { return };
        let now = clock::now();
        self.unwritten.push(Record::gone(domain, old.key.as_deref(), now));
        if let Some(key) = &old.key {
            self.former.insert(domain.clone(), ((**key).clone(), now));
        }
        self.uncount(&old);
        self.refused.remove(domain);
        self.is_changed = true;
    }

    fn uncount(&mut self, old: &Member) {
        self.callable -= usize::from(old.shown().is_some());
        self.signed -= usize::from(old.is_signed());
    }

    /// Lets go of members that nobody vouches for any more: the directory is away, and their leases ended, for longer than
    /// the grace. They are asked for when it is back.
    fn drop_lapsed(&mut self) {
        let end = clock::now().saturating_sub(self.settings.grace_seconds);
        if self.heard == 0 || self.heard >= end {
            return;
        }
        let is_lapsed = |member: &&Arc<Member>| member.node.is_some() && member.lease_until < end;
        let lapsed: Vec<Arc<Member>> = self.members.iter().filter(is_lapsed).cloned().collect();
        for member in &lapsed {
            let reason = Some("its lease ended, and the directory is away for too long".into());
            self.put(Member { state: MemberState::Withdrawn, reason, node: None, ..Member::clone(member) });
        }
        if !lapsed.is_empty() {
            tracing::warn!(members = lapsed.len(), "members lapsed: the directory is away for too long");
            self.position = None;
            self.publish();
        }
    }

    /// Makes a snapshot if anything changed.
    fn publish(&mut self) {
        if !std::mem::take(&mut self.is_changed) {
            return;
        }
        self.version += 1;
        let members = self.members.clone();
        self.snapshots.send_replace(Arc::new(Snapshot { members, version: self.version, changed: Instant::now() }));
        let (members, callable, signed) = (self.members.len(), self.callable, self.signed);
        let refused = self.refused.iter().map(|(domain, why)| (domain.to_string(), why.to_string()));
        self.board.replica(|status| {
            (status.members, status.callable, status.signed) = (members, callable, signed);
            status.refuse(refused);
        });
    }

    /// All changes up to `id` are in the copy.
    fn reach(&mut self, id: u64) {
        if self.position != Some(id) {
            self.position = Some(id);
            self.note_place();
            self.board.replica(|status| status.position = Some(id));
        }
    }

    fn note_place(&mut self) {
        self.noted = self.heard;
        self.unwritten.push(Record::Place { id: self.position, directory: self.directory.name(), at: self.heard });
    }

    /// Hands what changed to the writer.
    async fn hand_over(&mut self) {
        if !self.unwritten.is_empty() {
            self.writer.append(std::mem::take(&mut self.unwritten)).await;
        }
    }

    fn in_step(&mut self) {
        self.heard = clock::now();
        let (directory, position) = (self.directory.current(), self.position);
        tracing::info!(members = self.members.len(), directory, "in step with the directory");
        self.board.replica(|status| {
            (status.directory, status.position, status.in_step) = (directory, position, true);
            (status.stale_since, status.error) = (None, None);
        });
    }

    fn out_of_step(&self, why: Option<String>) {
        let heard = if self.heard == 0 { clock::now() } else { self.heard };
        let (directory, position) = (self.directory.current(), self.position);
        self.board.replica(|status| {
            (status.directory, status.position, status.error) = (directory, position, why);
            if status.in_step || status.stale_since.is_none() {
                status.stale_since = Some(clock::text(heard));
            }
            status.in_step = false;
        });
    }
}

impl Pending {
    fn want(&mut self, domain: DomainName, change: u64) {
        if self.last.insert(domain.clone(), change).is_none() {
            self.order.push_back(domain);
        }
    }

    fn forget(&mut self, domain: &DomainName) {
        // A name that is left in the order is passed over.
        self.last.remove(domain);
    }
}

/// Which member was asked for, because of which change.
#[derive(Debug)]
struct Asked {
    domain: DomainName,
    change: u64,
}

/// Questions about members that are under way.
struct Questions {
    directory: Arc<Directory>,
    token_file: Option<PathBuf>,
    under_way: JoinSet<(Link, Asked, Result<Answer, DirectoryError>)>,
    spare: Vec<Link>,
}

impl Questions {
    fn new(directory: &Arc<Directory>, token_file: Option<&PathBuf>) -> Self {
        Self {
            directory: Arc::clone(directory),
            token_file: token_file.cloned(),
            under_way: JoinSet::new(),
            spare: Vec::new(),
        }
    }

    /// Asks as many as may be asked at a time.
    fn ask(&mut self, pending: &mut Pending) {
        while self.under_way.len() < MAX_QUESTIONS {
            let Some(domain) = pending.order.pop_front() else { return };
            let Some(&change) = pending.last.get(&domain) else { continue };
            let mut link = self.spare.pop().unwrap_or_else(|| self.directory.link(self.token_file.clone()));
            self.under_way.spawn(async move {
                let answer = link.get(&format!("/v1/members/{domain}")).await;
                (link, Asked { domain, change }, answer)
            });
        }
    }

    /// The next answer; `None` when nothing was asked.
    async fn next(&mut self) -> Option<(Asked, Result<Answer, DirectoryError>)> {
        // A question that panicked is a fault that the process shows elsewhere, and its member stays pending.
        let (link, asked, answer) = self.under_way.join_next().await?.ok()?;
        self.spare.push(link);
        Some((asked, answer))
    }
}
