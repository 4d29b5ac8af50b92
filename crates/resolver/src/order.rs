//! The order of next hops for one call: chance among equals anew, and the unwell last.

use std::time::Instant;

use tandem_model::Host;
use tandem_model::locate::{LocateError, NextHop, Order, Rank};
use tandem_model::record::Srv;
use tandem_model::select::try_order;

use crate::targets::{Standing, Targets};

/// Whether chance decides between some of these (RFC 2782): a kept result must then be drawn anew for each call.
pub(crate) fn has_choice(hops: &[NextHop], order: Order) -> bool {
    order == Order::Weighted
        && records(hops).collect::<Vec<_>>().windows(2).any(|pair| pair[0].0.priority == pair[1].0.priority)
}

/// The hops in the order for one call.
///
/// # Errors
///
/// [`LocateError::Busy`]: all of them asked for silence (LOC-83).
pub(crate) fn for_call(
    hops: &[NextHop],
    redraw: bool,
    targets: &Targets,
    host: &Host,
    now: Instant,
    draw: impl FnMut(u32) -> u32,
) -> Result<Vec<NextHop>, LocateError> {
    let drawn: Vec<&[NextHop]> = if redraw {
        let ranked = records(hops)
            .map(|(Rank { priority, weight }, hops)| (Srv { priority, weight, port: 0, target: None }, hops))
            .collect();
        try_order(ranked, |(srv, _)| srv, Order::Weighted, draw).into_iter().map(|(_, hops)| hops).collect()
    } else {
        vec![hops]
    };
    let all_well = targets.all_well();
    let mut well = Vec::with_capacity(hops.len());
    let mut doubtful = Vec::new();
    let mut earliest: Option<Instant> = None;
    for hop in drawn.into_iter().flatten() {
        match if all_well { Standing::Well } else { targets.standing(hop, now) } {
            Standing::Well => well.push(hop.clone()),
            Standing::Doubtful => doubtful.push(hop.clone()),
            Standing::Silent(until) => earliest = Some(earliest.map_or(until, |earliest| earliest.min(until))),
        }
    }
    well.append(&mut doubtful);
    match earliest {
        Some(until) if well.is_empty() => {
            let seconds = u32::try_from(until.saturating_duration_since(now).as_secs()).unwrap_or(u32::MAX).max(1);
            Err(LocateError::Busy { domain: host.clone(), seconds })
        }
        _ => Ok(well),
    }
}

/// The hops of each SRV record, with its rank. LOC-63: they stay together.
fn records(hops: &[NextHop]) -> impl Iterator<Item = (Rank, &[NextHop])> {
    let same = |a: &NextHop, b: &NextHop| {
        (&a.srv_target, a.address.port(), a.rank) == (&b.srv_target, b.address.port(), b.rank)
    };
    // What no SRV record led to has no company.
    let rank = |hops: &[NextHop]| hops[0].rank.unwrap_or(Rank { priority: 0, weight: 0 });
    hops.chunk_by(same).map(move |hops| (rank(hops), hops))
}
