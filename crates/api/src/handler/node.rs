//! `/v1/nodes`: register, show, list and withdraw nodes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::Response;
use tandem_model::lint::Quirk;
use tandem_model::{DomainName, Node, Record, Target};
use tandem_store::{Effect, NodeState, ReadError, RegisterError, Registered, Right, Scope};
use tandem_zone::{Conflict, ConflictKind};
use tokio::task::JoinSet;

use super::{JSON, json, tagged, with_header};
use crate::page::Page;
use crate::precondition::{Conditions, Outcome, etag};
use crate::problem::{Fault, Kind, MAX_FAULTS, Problem};
use crate::proof_rule;
use crate::quota;
use crate::request::{Caller, PathDomain, demand_accepts, maybe_signed_body, parse_json, query};
use crate::signed;
use crate::state::Api;
use crate::v1::answer::{ChangeBody, Notes, RecordsBody, RegistrationBody, RegistrationsBody};
use crate::v1::document::{host_pointer, part_pointer, read_node};
use crate::warning::warnings;

/// The path of the list.
const LIST: &str = "/v1/nodes";
/// Lookups of one request at a time: half of all, so that an import leaves room for others.
const LOOKUPS_EACH: usize = 16;
/// Time after which one request begins no further lookup.
const LOOKUPS_LIMIT: Duration = Duration::from_secs(20);

/// Registers a node or replaces its registration; with `dry_run` only shows what that would do.
///
/// Idempotent: the same document again changes nothing. The answer comes when the change is durable and DNS shows it.
/// As `application/jose+json` the document comes signed by the node's key; once it did, it has to (`key-refused`), with
/// serials that grow (`old-serial`). A node's token keeps the numbers that the registration has, and adds those that are
/// delegated to its domain (setting `numbers.claims`).
#[utoipa::path(
    put, path = "/v1/nodes/{domain}", operation_id = "putNode", tag = "nodes",
    params(
        ("domain" = String, Path, description = "The node's SIP domain.", example = "debug.ostn.test"),
        ("dry_run" = Option<bool>, Query, description = "Shows effect, records and warnings; writes nothing."),
        ("If-Match" = Option<String>, Header, description = "Only if the registration has this entity tag."),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if the domain is not registered."),
    ),
    request_body(content(
        (crate::v1::answer::NodeBody = "application/json"),
        (crate::v1::answer::SignedBody = "application/jose+json"),
    )),
    responses(
        (status = 200, description = "Replaced, unchanged, or a dry run.", body = ChangeBody),
        (status = 201, description = "Created.", body = ChangeBody,
            headers(("Location" = String, description = "The registration."))),
    ),
)]
pub(crate) async fn put(
    State(api): State<Arc<Api>>,
    caller: Caller,
    domain: PathDomain,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.demand(Right::Publish, &domain.name)?;
    charge(&api, &caller, &domain.name)?;
    let dry_run = match query(&uri, &["dry_run"])?.find("dry_run") {
        Some("true") => true,
        Some("false") | None => false,
        Some(_) => return Err(Problem::new(Kind::Malformed, "dry_run must be `true` or `false`.")),
    };
    demand_accepts(&headers, JSON)?;
    let (body, is_signed) = maybe_signed_body(&headers, body).await?;

    let conditions = Conditions::read(&headers)?;
    let mut registered = None;
    if !conditions.is_empty() || !caller.is_admin() {
        // Of a tombstone nothing is left but the name.
        registered = api.directory.node(&domain.name).await?.filter(|there| !is_tombstone(there));
    }
    let current = registered.as_ref().map(|registered| registered.revision);
    // API-17: before what the body says. The store looks again, together with the change.
    match conditions.evaluate(current) {
        Outcome::True => {}
        Outcome::MatchFalse | Outcome::NoneMatchFalse => return Err(Problem::stale(current.map(etag))),
    }

    let signed = match is_signed {
        true => Some(signed::open(&body, &domain.name, api.directory.now())?),
        false => None,
    };
    let body = parse_json(signed.as_ref().map_or(&body[..], |(document, _)| document.as_bytes()))?;
    let mut normalised = domain.normalised;
    let (node, more) = read_node(domain.name, &body).map_err(Problem::invalid)?;
    normalised.extend(more);
    let signature = signed.map(|(_, signature)| signature);
    let must = conditions.into_precondition(current);
    // ENUM-77: before anything is compared with other nodes, so that nobody finds out which numbers are taken.
    let before = registered.as_ref().map(|registered| &registered.node);
    let unassigned = api.directory.unassigned(&node, before, &caller.0);
    if !unassigned.is_empty() {
        return Err(conflicts(&unassigned, &caller));
    }
    proof_rule::demand(&api, &caller, node.domain(), signature.as_ref())?;
    let refused = |error| refused(error, &caller);
    check_hosts(&api, &caller, &node).await?;
    // Held until the change is made, so that two at once do not take the same last place.
    let _share = quota::take(&api, &caller.0, &node, registered.as_ref().map(|registered| &registered.node)).await?;

    let notes = |node: &Node| Notes { normalised, warnings: warnings(node, &api.directory.live().load()) };
    if dry_run {
        let (effect, records) =
            api.directory.rehearse(&node, signature.as_ref(), must, &caller.0).await.map_err(refused)?;
        let notes = notes(&node);
        return json(StatusCode::OK, &ChangeBody::rehearsed(&node, effect, &records, notes));
    }
    let receipt =
        api.directory.register_in(NodeState::Active, node, signature, must, &caller.0).await.map_err(refused)?;
    let node = &receipt.registered.node;
    tracing::debug!(
        domain = %node.domain(), effect = ?receipt.effect, serial = receipt.serial.value(), token = caller.0.token_id,
        "node registered"
    );
    let records = shown_records(&api, &receipt.registered, receipt.effect)?;
    let body = ChangeBody::made(&receipt, &records, notes(node));
    match receipt.effect {
        Effect::Created => {
            let location = format!("{LIST}/{}", node.domain());
            with_header(json(StatusCode::CREATED, &body)?, header::LOCATION, &location)
        }
        Effect::Replaced | Effect::Unchanged | Effect::Removed | Effect::Moved => json(StatusCode::OK, &body),
    }
}

/// Shows a registration.
#[utoipa::path(
    get, path = "/v1/nodes/{domain}", operation_id = "getNode", tag = "nodes",
    params(
        ("domain" = String, Path, description = "The node's SIP domain.", example = "debug.ostn.test"),
        ("If-None-Match" = Option<String>, Header, description = "Entity tags that the caller has already."),
    ),
    responses(
        (status = 200, description = "The registration.", body = RegistrationBody,
            headers(("ETag" = String, description = "Strong; for If-Match."))),
        (status = 304, description = "The caller has it already."),
    ),
)]
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    domain: PathDomain,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let registered = find(&api, &caller, Right::Read, &domain.name).await?;
    query(&uri, &[])?;
    demand_accepts(&headers, JSON)?;
    tagged(&headers, registered.revision, || json(StatusCode::OK, &RegistrationBody::seen_by(&registered, &caller.0)))
}

/// Withdraws a node: its records leave DNS, its numbers are free.
///
/// An admin must send `If-Match` (API-12); a node's own token need not.
#[utoipa::path(
    delete, path = "/v1/nodes/{domain}", operation_id = "deleteNode", tag = "nodes",
    params(
        ("domain" = String, Path, description = "The node's SIP domain.", example = "debug.ostn.test"),
        ("If-Match" = Option<String>, Header, description = "The entity tag; required of an admin."),
    ),
    responses((status = 200, description = "Removed.", body = ChangeBody)),
)]
pub(crate) async fn delete(
    State(api): State<Arc<Api>>,
    caller: Caller,
    domain: PathDomain,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let registered = find(&api, &caller, Right::Publish, &domain.name).await?;
    charge(&api, &caller, &domain.name)?;
    query(&uri, &[])?;
    demand_accepts(&headers, JSON)?;
    let conditions = Conditions::read(&headers)?;
    if caller.is_admin() && !conditions.has_if_match() {
        let detail = "An admin who removes somebody's node must have seen it: GET it, and send its ETag in If-Match.";
        return Err(Problem::new(Kind::PreconditionRequired, detail));
    }
    let current = Some(registered.revision);
    if conditions.evaluate(current) != Outcome::True {
        return Err(Problem::stale(current.map(etag)));
    }
    let must = conditions.into_precondition(current);
    let receipt = api.directory.deregister(&domain.name, must, &caller.0).await?;
    tracing::debug!(
        domain = %domain.name, effect = ?receipt.effect, serial = receipt.serial.value(), token = caller.0.token_id,
        "node deregistered"
    );
    let notes = Notes { normalised: domain.normalised, warnings: Vec::new() };
    json(StatusCode::OK, &ChangeBody::made(&receipt, &[], notes))
}

/// Shows the records that a registered node makes.
#[utoipa::path(
    get, path = "/v1/nodes/{domain}/records", operation_id = "getNodeRecords", tag = "nodes",
    params(
        ("domain" = String, Path, description = "The node's SIP domain.", example = "debug.ostn.test"),
        ("If-None-Match" = Option<String>, Header, description = "Entity tags that the caller has already."),
    ),
    responses(
        (status = 200, description = "The records.", body = RecordsBody,
            headers(("ETag" = String, description = "Strong; the records' own, not the registration's."))),
        (status = 304, description = "The caller has it already."),
    ),
)]
pub(crate) async fn records(
    State(api): State<Arc<Api>>,
    caller: Caller,
    domain: PathDomain,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let registered = find(&api, &caller, Right::Read, &domain.name).await?;
    query(&uri, &[])?;
    demand_accepts(&headers, JSON)?;
    let records = shown_records(&api, &registered, Effect::Unchanged)?;
    let records = seen_records(&api, &caller, records);
    let body = RecordsBody::new(&registered.node, &records);
    tagged(&headers, body.tag(), || json(StatusCode::OK, &body))
}

/// Lists registrations in canonical name order; a node's token sees its own names only.
#[utoipa::path(
    get, path = "/v1/nodes", operation_id = "listNodes", tag = "nodes",
    params(
        ("limit" = Option<u32>, Query, description = "Most entries, 1 to 200; 50 when not given."),
        ("cursor" = Option<String>, Query, description = "Where to go on, from the `Link` field with rel=next."),
        ("state" = Option<String>, Query, description = "Only nodes in this state; tombstones are listed by this only.",
            example = "active"),
    ),
    responses((status = 200, description = "One page.", body = RegistrationsBody,
        headers(("Link" = String, description = "rel=first, and rel=next unless this is the end (RFC 8288).")))),
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.demand_right(Right::Read)?;
    demand_accepts(&headers, JSON)?;
    let page = Page::filtered(LIST, &uri, Some("state"))?;
    let state = match page.filter.as_deref() {
        None => None,
        Some(word) => Some(NodeState::parse(word).ok_or_else(|| {
            let words = NodeState::ALL.map(NodeState::as_str).join(", ");
            Problem::new(Kind::Malformed, format!("state must be one of {words}."))
        })?),
    };
    if state == Some(NodeState::Tombstone) {
        caller.demand_admin()?;
    }
    let after = match &page.after {
        None => None,
        Some(name) => Some(DomainName::parse(name).map_err(Problem::internal)?),
    };
    // One more than shown tells whether there is a next page.
    let mut found = match &caller.0.scope {
        Scope::Admin | Scope::Read => api.directory.list_in(state, after.as_ref(), page.limit + 1).await?,
        Scope::Nodes(names) => list_below(&api, names, state, after.as_ref(), page.limit + 1).await?,
    };
    let next = page.cut(&mut found, |registered| registered.node.domain().to_string());
    let body = RegistrationsBody { nodes: found.iter().map(|one| RegistrationBody::seen_by(one, &caller.0)).collect() };
    with_header(json(StatusCode::OK, &body)?, header::LINK, &page.link(&api.origin(&headers), next.as_deref()))
}

/// Registrations at or below `names` behind `after`, at most `limit`. In canonical order a name stands right before
/// all names below it, so each of `names` is one stretch of the list.
pub(crate) async fn list_below(
    api: &Api,
    names: &[DomainName],
    state: Option<NodeState>,
    after: Option<&DomainName>,
    limit: usize,
) -> Result<Vec<Registered>, ReadError> {
    let is_wanted =
        |found: &Registered| state.map_or_else(|| !is_tombstone(found), |state| found.standing.state == state);
    let mut roots: Vec<_> = names.iter().filter(|name| !names.iter().any(|other| name.is_below(other))).collect();
    roots.sort();
    roots.dedup();
    let mut found = Vec::new();
    for root in roots {
        let mut from = root;
        match after {
            Some(after) if after.is_at_or_below(root) => from = after,
            Some(after) if after > root => continue,
            Some(_) | None => found.extend(api.directory.node(root).await?.filter(is_wanted)),
        }
        if found.len() < limit {
            let more = api.directory.list_in(state, Some(from), limit - found.len()).await?;
            found.extend(more.into_iter().take_while(|registered| registered.node.domain().is_below(root)));
        }
        if found.len() >= limit {
            break;
        }
    }
    Ok(found)
}

/// The records that DNS serves for a registration; none when it was removed, or is in a state that is not served.
pub(super) fn shown_records(api: &Api, registered: &Registered, effect: Effect) -> Result<Vec<Record>, Problem> {
    let node = if effect == Effect::Removed { None } else { registered.shown() };
    let zones = api.directory.live().load();
    node.map_or(Ok(Vec::new()), |node| zones.records(&node).map_err(Problem::internal))
}

/// Those of `records` that the caller may see: not those that tell numbers, unless it may (ENUM-85).
fn seen_records(api: &Api, caller: &Caller, mut records: Vec<Record>) -> Vec<Record> {
    let zones = api.directory.live().load();
    if let Some(apex) = zones.settings().number_zone.as_ref().filter(|_| !caller.0.sees_numbers()) {
        records.retain(|record| !record.owner.name.is_at_or_below(apex));
    }
    records
}

fn is_tombstone(registered: &Registered) -> bool {
    registered.standing.state == NodeState::Tombstone
}

/// Takes one of the changes that `domain` may have in a while (API-31); an admin's do not count.
pub(crate) fn charge(api: &Api, caller: &Caller, domain: &DomainName) -> Result<(), Problem> {
    if caller.is_admin() { Ok(()) } else { api.limits.domain(domain) }
}

/// The registration, if the caller may do `right` with it; that a name is held is the admins' business.
pub(super) async fn find(api: &Api, caller: &Caller, right: Right, domain: &DomainName) -> Result<Registered, Problem> {
    caller.demand(right, domain)?;
    let found = api.directory.node(domain).await?;
    found.filter(|found| caller.is_admin() || !is_tombstone(found)).ok_or_else(Problem::not_found)
}

/// Asks DNS for hosts that nobody here publishes, unless this node has them already: a node that publishes itself
/// again at boot must not depend on a lookup.
async fn check_hosts(api: &Arc<Api>, caller: &Caller, node: &Node) -> Result<(), Problem> {
    let Some((_, mut faults)) = host_faults(api, [node].into_iter()).await?.pop() else { return Ok(()) };
    // API-22: together with what the zones have against it.
    let zones = api.directory.live().load();
    faults.extend(zones.check(node).iter().map(|conflict| conflict_fault(conflict, caller)));
    faults.truncate(MAX_FAULTS);
    Err(Problem::invalid(faults))
}

/// What DNS has against the target hosts of each of these nodes, by the node's index; those without a fault are left
/// out. Each host is asked for once; the questions have a limit of their own, in time and number.
pub(super) async fn host_faults(
    api: &Arc<Api>,
    nodes: impl Iterator<Item = &Node>,
) -> Result<Vec<(usize, Vec<Fault>)>, Problem> {
    let zones = api.directory.live().load();
    let mut foreign: Vec<(DomainName, Vec<(usize, usize)>)> = Vec::new();
    let mut places: HashMap<DomainName, usize> = HashMap::new();
    for (at, node) in nodes.enumerate() {
        let is_foreign = |target: &Target| target.addresses.is_empty() && zones.zone_of(&target.host).is_none();
        if !node.targets().iter().any(is_foreign) {
            continue;
        }
        let registered = api.directory.node(node.domain()).await?;
        let known: HashSet<_> = registered.iter().flat_map(|r| r.node.targets()).map(|target| &target.host).collect();
        for (index, target) in node.targets().iter().enumerate() {
            if is_foreign(target) && !known.contains(&target.host) {
                let place = *places.entry(target.host.clone()).or_insert_with(|| {
                    foreign.push((target.host.clone(), Vec::new()));
                    foreign.len() - 1
                });
                foreign[place].1.push((at, index));
            }
        }
    }
    let mut found: Vec<(usize, usize, String)> = Vec::new();
    let begin = Instant::now();
    let mut asked = JoinSet::new();
    let mut waiting = foreign.into_iter();
    loop {
        while asked.len() < LOOKUPS_EACH
            && let Some((host, users)) = waiting.next()
        {
            let api = Arc::clone(api);
            let in_time = begin.elapsed() < LOOKUPS_LIMIT;
            asked.spawn(async move {
                let late = || Some(format!("the addresses of {host} could not be looked up in time: try again later"));
                let fault = if in_time { api.hosts.fault(&host).await } else { late() };
                (users, fault)
            });
        }
        let Some(answer) = asked.join_next().await else { break };
        let (users, detail) = answer.map_err(Problem::internal)?;
        let Some(detail) = detail else { continue };
        found.extend(users.into_iter().map(|(node, target)| (node, target, detail.clone())));
    }
    found.sort_unstable();
    let mut faults: Vec<(usize, Vec<Fault>)> = Vec::new();
    for (node, target, detail) in found {
        let fault = Fault { detail, pointer: host_pointer(target).to_string(), rule: None };
        match faults.last_mut() {
            Some((last, list)) if *last == node => list.push(fault),
            _ => faults.push((node, vec![fault])),
        }
    }
    Ok(faults)
}

/// Habit 7: what the store says becomes a status here.
fn refused(error: RegisterError, caller: &Caller) -> Problem {
    match error {
        RegisterError::Stale(current) => Problem::stale(current.map(etag)),
        RegisterError::Conflicts(found) => conflicts(&found, caller),
        RegisterError::Key(error) => error.into(),
        RegisterError::Directory(error) => error.into(),
    }
}

/// What stands in a node's way.
pub(super) fn conflicts(found: &[Conflict], caller: &Caller) -> Problem {
    let kind = if found.iter().any(|conflict| matches!(conflict.kind, ConflictKind::NumberUnassigned(_))) {
        Kind::Forbidden
    } else if found.iter().all(is_about_another_node) {
        Kind::Conflict
    } else {
        Kind::InvalidRequest
    };
    let faults = found.iter().take(MAX_FAULTS).map(|conflict| conflict_fault(conflict, caller)).collect();
    Problem::with_faults(kind, faults)
}

const fn is_about_another_node(conflict: &Conflict) -> bool {
    match conflict.kind {
        ConflictKind::OtherNode { .. }
        | ConflictKind::NumberTaken(_)
        | ConflictKind::NumberOverlap(_)
        | ConflictKind::NumberHeld(_) => true,
        ConflictKind::StaticName(_)
        | ConflictKind::Delegated(_)
        | ConflictKind::Redirected(_)
        | ConflictKind::PolicyTrigger(_)
        | ConflictKind::ReservedLabel(_)
        | ConflictKind::GeneratedZone(_)
        | ConflictKind::NoZone
        | ConflictKind::OtherZone(_)
        | ConflictKind::TargetIsAlias(_)
        | ConflictKind::TargetWithoutAddress(_)
        | ConflictKind::NoNumberZone
        | ConflictKind::NumberUnassigned(_)
        | ConflictKind::RecordSet(_) => false,
    }
}

/// A conflict in words; another node's name only for those who may see that node (API-23).
pub(super) fn conflict_fault(conflict: &Conflict, caller: &Caller) -> Fault {
    let hidden = |node: &DomainName| !caller.0.scope.covers(node);
    let detail = match &conflict.kind {
        ConflictKind::OtherNode { name, node } if hidden(node) => {
            format!("{name} belongs to another node: choose a name outside it")
        }
        ConflictKind::NumberTaken(node) if hidden(node) => "the number is claimed by another node".into(),
        ConflictKind::NumberOverlap(node) if hidden(node) => {
            "overlaps a number or block that another node has claimed".into()
        }
        ConflictKind::NumberHeld(domain) if hidden(domain) => {
            "somebody else holds it, or a part of it: ask them to delegate it".into()
        }
        ConflictKind::NumberUnassigned(range) => format!(
            "this node does not have {range}: claim it (`tandem numbers claim`), ask the directory's admin to add it, or the \
             holder of the block to delegate it"
        ),
        kind => kind.to_string(),
    };
    let quirk = match &conflict.kind {
        ConflictKind::RecordSet(error) => Quirk::behind_records(error),
        _ => None,
    };
    Fault { detail, pointer: part_pointer(conflict.part).to_string(), rule: quirk.map(Quirk::id) }
}

#[cfg(test)]
mod tests {
    use tandem_store::{Actor, DirectoryError};
    use tandem_zone::Part;

    use super::*;

    #[test]
    fn register_errors() {
        let name = |text| DomainName::parse(text).unwrap();
        let scope = Scope::Nodes(vec![name("debug.ostn.test")]);
        let caller = Caller(Actor::new("t", scope));
        let taken = || Conflict { part: Part::Number(2), kind: ConflictKind::NumberTaken(name("secret.ostn.test")) };
        let fixed = || Conflict { part: Part::Domain, kind: ConflictKind::StaticName(name("debug.ostn.test")) };
        for (error, kind) in [
            (RegisterError::Stale(Some(5)), Kind::Stale),
            (RegisterError::Conflicts(vec![taken()]), Kind::Conflict),
            (RegisterError::Conflicts(vec![taken(), fixed()]), Kind::InvalidRequest),
            (RegisterError::Directory(DirectoryError::Busy), Kind::Unavailable),
            (RegisterError::Directory(DirectoryError::Timeout), Kind::Unavailable),
            (RegisterError::Directory(DirectoryError::ShuttingDown), Kind::Unavailable),
            (RegisterError::Directory(DirectoryError::Storage("disk".into())), Kind::Unavailable),
        ] {
            assert_eq!(refused(error, &caller).kind(), kind);
        }
        let fault = conflict_fault(&taken(), &caller);
        assert_eq!(fault.pointer, "#/numbers/2");
        assert!(!fault.detail.contains("secret"), "API-23: {}", fault.detail);
        let admin = Caller(Actor::new("a", Scope::Admin));
        assert!(conflict_fault(&taken(), &admin).detail.contains("secret.ostn.test"));
    }
}
