//! From a store to what is served: loading every registration over the static zones.

use std::path::Path;

use tandem_model::Serial;
use tandem_zone::master::StaticZone;
use tandem_zone::{BuildError, Change, Live, Settings, Zones};

use crate::backend::{Backend, Batch, StoredInvitation, StoredToken, ZoneState};
use crate::error::OpenError;
use crate::lease::{LeaseTimes, Leases};
use crate::state::{NodeState, shown};
use crate::{history, serial};

/// Registrations laid over the zones at a time: bounds the memory that loading takes.
const CHUNK: usize = 4096;
/// Any serial: the zones get theirs from the store before anybody sees them.
const WHILE_LOADING: Serial = Serial::new(1);

/// What [`load`] gives.
pub(crate) struct Opened {
    pub(crate) live: Live,
    /// The nodes that no zone shows: their names and numbers are held.
    pub(crate) held: Zones,
    pub(crate) leases: Leases,
    pub(crate) serial: u64,
    pub(crate) states: Vec<ZoneState>,
    pub(crate) tokens: Vec<StoredToken>,
    pub(crate) invitations: Vec<StoredInvitation>,
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
    let mut zones = Zones::new(settings, statics, WHILE_LOADING).map_err(OpenError::Zones)?;
    let mut held = zones.without_nodes();
    let mut leases = Leases::new(times, now);
    let mut chunk = Vec::with_capacity(CHUNK);
    backend
        .load_nodes(&mut |registered| {
            let (node, standing) = (registered.node, registered.standing);
            leases.load(node.domain(), standing.state, standing.since, standing.lease_until, times.lease_of(&node));
            match standing.state {
                NodeState::Active => chunk.push(Change::Put(Box::new(node))),
                state => match shown(&node, state) {
                    Some(shown) => chunk.push(Change::Put(Box::new(shown.into_owned()))),
                    None => held = held.with(&[Change::Put(Box::new(node))], WHILE_LOADING),
                },
            }
            if chunk.len() == CHUNK {
                zones = zones.with(&chunk, WHILE_LOADING);
                chunk.clear();
            }
        })
        .map_err(failed)?;
    zones = zones.with(&chunk, WHILE_LOADING);
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
    Ok(Opened { live: history.into_live(), held, leases, serial, states, tokens, invitations })
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
