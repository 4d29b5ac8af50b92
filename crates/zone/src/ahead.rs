//! Looks ahead: asks for the memory that the look-ups of many questions will read, step by step for all of them, so that
//! they wait for it together. Changes no outcome; a step that guesses wrong costs a few nanoseconds.

use crate::hamt::Walk;
use crate::name::QueryName;
use crate::packed::PackedNode;
use crate::zones::{View, Zone, Zones};

/// Most names of one look ahead: as many as a UDP thread takes at a time.
const MAX_NAMES: usize = 64;

/// Suffixes of one name that are looked for among the nodes: the domain of a host, and the host itself.
const WALKS: usize = 2;

/// Most steps into the trie of nodes; each goes half a level down. Enough for a million nodes.
const MAX_STEPS: usize = 12;

impl Zones {
    /// Asks for the memory that looking `names` up will read; of more than 64, for the first ones.
    pub fn look_ahead<'n>(&self, names: impl Iterator<Item = &'n QueryName> + Clone) {
        let mut zones: [Option<&Zone>; MAX_NAMES] = [None; MAX_NAMES];
        let mut walks: [Option<Walk<'_, PackedNode>>; MAX_NAMES * WALKS] = [const { None }; MAX_NAMES * WALKS];
        let mut walking = 0;
        for (place, name) in zones.iter_mut().zip(names.clone()) {
            let Some((zone, apex)) = self.zone_at(name) else { continue };
            zone.statics.statics.prefetch_index(name.hash(0));
            *place = Some(zone);
            if zone.view == View::Own && !self.has_no_nodes() {
                // A node's domain is nearer the apex than the names of its hosts, and has no underscores.
                let domains = (0..apex).rev().filter(|&index| !name.label(index).starts_with(b"_"));
                for index in domains.take(WALKS) {
                    walks[walking] = self.nodes.walk(name.hash(index));
                    walking += 1;
                }
            }
        }
        for (zone, name) in zones.iter().zip(names) {
            if let Some(zone) = zone {
                zone.statics.statics.prefetch_name(name.hash(0));
            }
        }
        let walks = &mut walks[..walking];
        for _ in 0..MAX_STEPS {
            let mut is_over = true;
            for walk in &mut *walks {
                *walk = walk.take().and_then(Walk::step);
                is_over &= walk.is_none();
            }
            if is_over {
                break;
            }
        }
    }
}
