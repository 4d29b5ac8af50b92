//! How much may be registered at the names of one token: nodes, targets, numbers (threat 18).
//!
//! Only what grows is looked at: a node that publishes itself again never meets a quota, also when it was lowered.

use std::hash::{BuildHasher as _, RandomState};

use tandem_model::Node;
use tandem_store::{Actor, Scope};
use tokio::sync::{Mutex, MutexGuard};

use crate::handler::node::list_below;
use crate::problem::Problem;
use crate::state::Api;

/// Publications of different tokens that are counted at the same time.
const LANES: usize = 64;
/// Registrations that are counted at most, whatever the quota.
const MAX_COUNTED: usize = 2000;

/// A limit, what it is of, and how many of that a node has.
type Share = (u32, &'static str, fn(&Node) -> usize);

/// One publication at a time for each token that takes more of its share.
#[derive(Debug)]
pub(crate) struct Growing {
    lanes: [Mutex<()>; LANES],
    salt: RandomState,
}

impl Default for Growing {
    fn default() -> Self {
        Self { lanes: [const { Mutex::const_new(()) }; LANES], salt: RandomState::new() }
    }
}

/// Sees that `node` in the place of `before` keeps within the share of `actor`'s token. While the guard lives no other
/// publication takes more of that share.
///
/// # Errors
///
/// 403 that names the quota.
pub(crate) async fn take<'a>(
    api: &'a Api,
    actor: &Actor,
    node: &Node,
    before: Option<&Node>,
) -> Result<Option<MutexGuard<'a, ()>>, Problem> {
    let Scope::Nodes(names) = &actor.scope else { return Ok(None) };
    let config = api.limits.config();
    let had = |count: fn(&Node) -> usize| before.map_or(0, count);
    let shares: [Share; 3] = [
        (config.nodes_per_token, "nodes", |_| 1),
        (config.targets_per_token, "targets", |node| node.targets().len()),
        (config.numbers_per_token, "numbers and blocks", |node| node.numbers.len()),
    ];
    let grows: Vec<_> =
        shares.into_iter().filter(|(limit, _, count)| *limit > 0 && count(node) > had(*count)).collect();
    if grows.is_empty() {
        return Ok(None);
    }
    let lane = api.growing.salt.hash_one(&actor.token_id) as usize % LANES;
    let guard = api.growing.lanes[lane].lock().await;
    let others = list_below(api, names, None, None, MAX_COUNTED).await?;
    let others: Vec<_> = others.iter().map(|other| &other.node).filter(|o| o.domain() != node.domain()).collect();
    for (limit, what, count) in grows {
        let used: usize = others.iter().map(|other| count(other)).sum::<usize>() + count(node);
        if used > limit as usize {
            return Err(Problem::over_quota(limit, what));
        }
    }
    Ok(Some(guard))
}
