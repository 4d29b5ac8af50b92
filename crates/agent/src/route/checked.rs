//! What looks at targets leave of a route: those alone that were good, if settings want that.

use tokio::task::JoinSet;

use super::{Outcome, Reason, Route, Routes};
use crate::check::Verdict;

/// Seconds after which to ask again when too many wait for looks.
const RETRY_AFTER: u32 = 5;

impl Routes {
    /// The route as far as the last looks allow it; `None` if somebody has to look first.
    pub(super) fn checked_at_once(&self, route: Route) -> Option<Route> {
        let verdicts = &self.0.verdicts;
        if !verdicts.is_on() || route.targets.is_empty() {
            return Some(route);
        }
        let found: Vec<Verdict> =
            route.targets.iter().map(|target| verdicts.allows(&target.tls_name, target.address)).collect();
        let is_settled = found.iter().any(Verdict::is_good) && !found.contains(&Verdict::Unknown);
        is_settled.then(|| good_alone(route, found))
    }

    /// The route as far as looks allow it, some of which are made now, all at once.
    pub(super) async fn checked(&self, route: Route) -> Route {
        if !self.0.verdicts.is_on() || route.targets.is_empty() {
            return route;
        }
        let mut found = vec![Verdict::Unknown; route.targets.len()];
        let mut looks = JoinSet::new();
        for (at, target) in route.targets.iter().enumerate() {
            let (verdicts, domain, address) = (self.0.verdicts.clone(), target.tls_name.clone(), target.address);
            looks.spawn(async move { (at, verdicts.look(&domain, address).await) });
        }
        while let Some(look) = looks.join_next().await {
            if let Ok((at, verdict)) = look {
                found[at] = verdict;
            }
        }
        good_alone(route, found)
    }
}

fn good_alone(mut route: Route, found: Vec<Verdict>) -> Route {
    let is_unknown = found.contains(&Verdict::Unknown);
    let all = std::mem::take(&mut route.targets);
    for (target, verdict) in all.into_iter().zip(found) {
        let why = match verdict {
            Verdict::Good => {
                route.targets.push(target);
                continue;
            }
            Verdict::Bad(reason) => format!("{} is left out: {reason}", target.address),
            Verdict::Unknown => format!("{} is left out: it was not looked at", target.address),
        };
        route.why.push(Reason::new("check", why));
    }
    if route.targets.is_empty() {
        route.outcome = if is_unknown { Outcome::TryLater } else { Outcome::Down };
        route.retry_after = is_unknown.then_some(RETRY_AFTER);
        route.ttl = 0;
    }
    route
}
