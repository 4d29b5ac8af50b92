//! From a store to what is served: loading every registration over the static zones.

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tandem_model::Serial;
use tandem_zone::master::StaticZone;
use tandem_zone::{BuildError, Draft, Holders, Live, ReadyNode, Settings, Zones};

use crate::backend::{Backend, BackendError, Batch, StoredInvitation, StoredToken, ZoneState};
use crate::error::OpenError;
use crate::lease::{LeaseTimes, Leases};
use crate::number::NumberBook;
use crate::proof::Proof;
use crate::state::shown;
use crate::watched::Watched;
use crate::{history, serial};

/// Registrations handed on at a time.
const CHUNK: usize = 512;
/// Chunks that are ready ahead of the one being put in place: bounds the memory that loading takes.
const CHUNKS_AHEAD: usize = 8;
/// Time between two lines about how far loading has come.
const PROGRESS_PAUSE: Duration = Duration::from_secs(1);
/// Any serial: the zones get theirs from the store before anybody sees them.
const WHILE_LOADING: Serial = Serial::new(1);

/// What [`load`] gives.
pub(crate) struct Opened {
    pub(crate) live: Live,
    /// The nodes that no zone shows: their names and numbers are held.
    pub(crate) held: Zones,
    pub(crate) leases: Leases,
    pub(crate) watched: Watched,
    pub(crate) serial: u64,
    pub(crate) states: Vec<ZoneState>,
    pub(crate) tokens: Vec<StoredToken>,
    pub(crate) invitations: Vec<StoredInvitation>,
    pub(crate) proofs: Vec<Proof>,
    pub(crate) numbers: NumberBook,
}

/// Reads all of `backend`, checks that it fits `statics`, and writes down the serials of zones that changed meanwhile.
pub(crate) fn load(
    backend: &dyn Backend,
    place: &Path,
    settings: Settings,
    statics: Vec<StaticZone>,
    now: u64,
    times: LeaseTimes,
) -> Result<Opened, OpenError> {
    let failed = |error| OpenError::from_backend(place, error);
    let loaded = backend.load().map_err(failed)?;
    let offers = serial::offers(&settings, &statics);
    let holders = Holders::default();
    let numbers = NumberBook::new(holders.clone(), loaded.delegations, loaded.claims);
    let zones = Zones::new(settings, statics, WHILE_LOADING).map_err(OpenError::Zones)?.with_holders(holders);
    let mut leases = Leases::new(times, now);
    let watched = Watched::default();
    let (zones, held) = load_nodes(backend, zones, &mut leases, &watched).map_err(failed)?;
    leases.loaded();

    let plan = serial::plan(loaded.serial, &loaded.zones, &offers, zones.node_count() > 0);
    if plan.recheck {
        check_nodes(backend, place, &zones)?;
    }
    if loaded.serial.is_none() || !plan.steps.is_empty() {
        let batch = Batch {
            after: loaded.serial,
            serial: plan.serial,
            time: now,
            steps: plan.steps.clone(),
            touched: Vec::new(),
            answers: Vec::new(),
        };
        backend.commit(&batch).map_err(failed)?;
    }
    let zones = zones.with_serials(|apex| plan.serial_of(apex));
    let (nodes, history) = (zones.node_count(), history::rebuild(backend, zones));
    tracing::info!(
        nodes,
        held = held.node_count(),
        zones = plan.states.len(),
        serial = plan.serial,
        versions_before = history.len(),
        "directory opened"
    );
    let (serial, states, tokens, invitations) = (plan.serial, plan.states, loaded.tokens, loaded.invitations);
    let proofs = loaded.proofs;
    Ok(Opened {
        live: history.into_live(),
        held,
        leases,
        watched,
        serial,
        states,
        tokens,
        invitations,
        proofs,
        numbers,
    })
}

/// Lays every registration over `zones`, and those that no zone shows over a version of their own. One thread reads and
/// decodes while another puts nodes into their places.
fn load_nodes(
    backend: &dyn Backend,
    zones: Zones,
    leases: &mut Leases,
    watched: &Watched,
) -> Result<(Zones, Zones), BackendError> {
    let mut held = Draft::loading(zones.without_nodes());
    let mut draft = Draft::loading(zones);
    let mut said = Instant::now();
    std::thread::scope(|scope| {
        let (ready, nodes) = mpsc::sync_channel::<Vec<(ReadyNode, bool)>>(CHUNKS_AHEAD);
        let reader = scope.spawn(move || {
            let mut chunk = Vec::with_capacity(CHUNK);
            let read = backend.load_nodes(&mut |registered| {
                let (node, standing) = (&registered.node, &registered.standing);
                let lease = leases.times.lease_of(node);
                leases.load(node.domain(), standing, lease);
                watched.set(node.domain(), Some(&registered));
                let shown = shown(node, standing.state);
                chunk.push((ReadyNode::new(shown.as_deref().unwrap_or(node)), shown.is_some()));
                if chunk.len() == CHUNK {
                    // Whoever takes them ends after this thread only.
                    let _ = ready.send(std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK)));
                }
            });
            let _ = ready.send(chunk);
            read
        });
        for chunk in nodes {
            for (node, is_shown) in &chunk {
                if *is_shown { draft.load(node) } else { held.load(node) }
            }
            if said.elapsed() >= PROGRESS_PAUSE {
                said = Instant::now();
                tracing::info!(nodes = draft.zones().node_count(), "loading");
            }
        }
        reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    Ok((draft.finish(), held.finish()))
}

/// Whether every registration fits zones that have changed since it was made.
fn check_nodes(backend: &dyn Backend, place: &Path, zones: &Zones) -> Result<(), OpenError> {
    let mut first = None;
    backend
        .load_nodes(&mut |registered| {
            if first.is_none()
                && registered.standing.state.is_shown()
                && let Some(conflict) = zones.collisions_of(&registered.node).into_iter().next()
            {
                let domain = registered.node.domain().clone();
                first = Some(BuildError::Node { domain, conflict: Box::new(conflict) });
            }
        })
        .map_err(|error| OpenError::from_backend(place, error))?;
    first.map_or(Ok(()), |error| Err(OpenError::Zones(error)))
}
