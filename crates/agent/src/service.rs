//! The wiring: an agent is its copy of the members, its own node, and the services that are switched on.
//!
//! This is the place where services are started: each gets [`Parts`] and its own part of the settings, adds its tasks to the
//! agent's, and tells the [`Board`] where it listens. Paths for HTTP are merged into one router.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tandem_dns::overlay::OverlayError;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::check::{Authorities, Checker, UnusableAuthorities, Verdicts};
use crate::config::{Config, OwnNode};
use crate::directory::{Directory, DirectoryError};
use crate::files::Files;
use crate::name_service::NameService;
use crate::node_key::KeyFileError;
use crate::own::Own;
use crate::redirect::{self, Failed};
use crate::replica::{Replica, Settings};
use crate::route::{self, Paths, Routes};
use crate::snapshot::Snapshots;
use crate::state::{self, StateError, StateWriter};
use crate::status::{Board, Status};
use crate::{known, local};

/// Only the owner may look into the state folder.
const FOLDER_MODE: u32 = 0o700;
/// The file whose lock says that an agent lives.
const LOCK: &str = "agent.lock";

/// A running agent. Dropping it ends it at once; [`shutdown`](Self::shutdown) lets it finish.
#[derive(Debug)]
pub struct Agent {
    board: Arc<Board>,
    snapshots: Snapshots,
    closing: watch::Sender<bool>,
    /// What ends by itself when `closing` turns true.
    workers: JoinSet<()>,
    /// What answers others, and is simply ended.
    listeners: JoinSet<()>,
    _lock: File,
}

/// What every service is given.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The members, version by version; the first one is there already.
    pub snapshots: Snapshots,
    /// Which targets may be given out.
    pub verdicts: Verdicts,
    /// Where a service tells how it does.
    pub board: Arc<Board>,
    /// Turns true when the agent ends: finish, and return from the task.
    pub closing: watch::Receiver<bool>,
}

/// Why an agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state folder cannot be used.
    #[error("the state folder {} cannot be used", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Another agent has the state folder.
    #[error("another agent is running with {}: give each a state_dir of its own", folder.display())]
    Running {
        /// The folder.
        folder: PathBuf,
    },
    /// The copy in the folder cannot be used.
    #[error("the copy of the members cannot be used: {what}")]
    State {
        /// Why not.
        what: String,
    },
    /// What is needed to ask the directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The node's key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The name servers for routes cannot be found out.
    #[error(transparent)]
    NameServers(#[from] tandem_resolver::SettingsError),
    /// The authorities that looks at targets believe cannot be read.
    #[error(transparent)]
    Authorities(#[from] UnusableAuthorities),
    /// Name service cannot begin.
    #[error("[dns]")]
    Dns(#[from] OverlayError),
    /// A service cannot listen.
    #[error("{service} cannot listen on {place}")]
    Listen {
        /// Its name.
        service: &'static str,
        /// Where.
        place: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl From<StateError> for StartError {
    fn from(error: StateError) -> Self {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::State { what: format!("{error}{cause}") }
    }
}

impl Agent {
    /// Starts an agent: when this returns, services answer from the copy that was on disk, and the directory is being asked.
    ///
    /// # Errors
    ///
    /// [`StartError`]: nothing was started. A directory that is away is none.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let folder = config.state_dir.clone();
        let failed = |source| StartError::Folder { folder: folder.clone(), source };
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(&folder).map_err(failed)?;
        let lock = lock(&folder)?;
        let board = Arc::new(Board::default());
        let (closing, closed) = watch::channel(false);
        let directory = Arc::new(Directory::new(config.directories.clone(), config.ca_file.as_deref())?);

        let loaded = state::load(&folder)?;
        if loaded.cut > 0 || loaded.damaged > 0 {
            let (cut, damaged, members) = (loaded.cut, loaded.damaged, loaded.members.len());
            tracing::warn!(cut, damaged, members, "the copy of the members was damaged: the rest of it is used");
        }
        let writer = StateWriter::open(&folder, &loaded, Arc::clone(&board)).map_err(failed)?;
        let read_token = config.read_token_file.clone().or_else(|| config.token_file.clone());
        let settings = Settings { trust: config.trust.clone(), grace_seconds: config.grace_seconds };
        let (replica, snapshots) =
            Replica::new(settings, Arc::clone(&directory), read_token, loaded, writer, Arc::clone(&board));

        let mut workers = JoinSet::new();
        let mut listeners = JoinSet::new();
        let own = config.node.clone().map(|node| own(node, &config, &directory, &board)).transpose()?;
        // The bundle of certificates is made of what looks see.
        let (verdicts, authorities) = match config.check.certificates || config.files.ca_bundle.is_some() {
            true => {
                let (checker, verdicts, authorities) =
                    Checker::new(&config, snapshots.clone(), Arc::clone(&board), closed.clone())?;
                workers.spawn(checker.run());
                (verdicts, authorities)
            }
            false => (Verdicts::off(), Authorities::default()),
        };
        let parts =
            Parts { snapshots: snapshots.clone(), verdicts, board: Arc::clone(&board), closing: closed.clone() };
        start_services(&config, &parts, authorities, &mut workers, &mut listeners).await?;
        workers.spawn(replica.run(closed.clone()));
        if let Some(own) = own {
            workers.spawn(own.run(closed));
        }
        Ok(Self { board, snapshots, closing, workers, listeners, _lock: lock })
    }

    /// The members, version by version.
    #[must_use]
    pub fn snapshots(&self) -> Snapshots {
        self.snapshots.clone()
    }

    /// How it does.
    #[must_use]
    pub fn status(&self) -> Status {
        self.board.read()
    }

    /// Ends it: what is known is on disk, the node is drained if that is wanted.
    pub async fn shutdown(mut self) {
        self.closing.send_replace(true);
        while self.workers.join_next().await.is_some() {}
        self.listeners.shutdown().await;
    }
}

/// Starts what the settings switch on. A service adds its tasks to `workers` if it ends by itself when
/// [`Parts::closing`] turns true, else to `listeners`.
async fn start_services(
    config: &Config,
    parts: &Parts,
    authorities: Authorities,
    workers: &mut JoinSet<()>,
    listeners: &mut JoinSet<()>,
) -> Result<(), StartError> {
    let mut router = local::router(Arc::clone(&parts.board)).merge(known::router(parts));
    let listen = |service, place: String| move |source| StartError::Listen { service, place, source };
    let socket = config.state_dir.join(crate::status::SOCKET).display().to_string();
    local::serve_socket(&config.state_dir, router.clone(), listeners).map_err(listen("status", socket))?;
    if config.http.is_some() || config.sip.is_some() {
        let routes = Routes::new(config, parts.snapshots.clone(), Arc::clone(&parts.board), parts.verdicts.clone())?;
        listeners.spawn(routes.clone().follow());
        if let Some(sip) = &config.sip {
            let started = redirect::start(sip, routes.clone(), &parts.board, listeners).await;
            started.map_err(|Failed { place, source }| StartError::Listen { service: "sip", place, source })?;
        }
        router = router.merge(route::router(Paths { routes, config: Arc::new(config.route.clone()) }));
    }
    if let Some(http) = &config.http {
        let address = local::serve_tcp(http.listen, router, listeners).await;
        let address = address.map_err(listen("http", http.listen.to_string()))?;
        parts.board.listens("http", format_args!("http://{address}"));
    }
    if let Some(dns) = &config.dns {
        workers.spawn(NameService::start(dns, parts).await?.run());
    }
    if config.files.is_on() {
        workers.spawn(Files::new(&config.files, parts, authorities).run());
    }
    Ok(())
}

fn own(node: OwnNode, config: &Config, directory: &Arc<Directory>, board: &Arc<Board>) -> Result<Own, StartError> {
    Ok(Own::new(node, directory.link(config.token_file.clone()), Arc::clone(board))?)
}

/// Takes the folder for this process; the system lets go of it with the process, however that ends.
fn lock(folder: &Path) -> Result<File, StartError> {
    let failed = |source| StartError::Folder { folder: folder.to_owned(), source };
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(folder.join(LOCK));
    let file = file.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::Running { folder: folder.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}
