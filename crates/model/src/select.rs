//! The order in which SRV records are tried (RFC 2782; LOC-57, LOC-58, LOC-86). Chance is an argument.

use crate::record::Srv;

/// How records of one priority are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// By weighted chance, anew each time (RFC 2782).
    #[default]
    Weighted,
    /// Always alike, by target and port: for a stateless proxy, whose retransmissions must all go the same way
    /// (RFC 3263 4.4; LOC-86).
    Fixed,
}

/// Puts SRV records into the order in which to try them: by priority, and inside one priority as `order` says.
///
/// `srv` shows an item's SRV data. `draw(sum)` gives a uniform integer in `0..=sum`, both ends included; it is not
/// asked when only one record is left. More than `sum` counts as `sum`.
pub fn try_order<T>(
    mut items: Vec<T>,
    srv: impl Fn(&T) -> &Srv,
    order: Order,
    mut draw: impl FnMut(u32) -> u32,
) -> Vec<T> {
    // Both sorts are stable: inside one priority the order of the reply stays.
    match order {
        Order::Fixed => {
            items.sort_by(|a, b| {
                let (a, b) = (srv(a), srv(b));
                (a.priority, &a.target, a.port).cmp(&(b.priority, &b.target, b.port))
            });
            items
        }
        Order::Weighted => {
            items.sort_by_key(|item| srv(item).priority);
            let mut tried = Vec::with_capacity(items.len());
            while !items.is_empty() {
                let priority = srv(&items[0]).priority;
                let level_len = items.iter().take_while(|item| srv(item).priority == priority).count();
                let rest = items.split_off(level_len);
                draw_level(items, &srv, &mut draw, &mut tried);
                items = rest;
            }
            tried
        }
    }
}

/// RFC 2782 "Weight": one priority's records, drawn one by one by running totals.
fn draw_level<T>(mut level: Vec<T>, srv: impl Fn(&T) -> &Srv, mut draw: impl FnMut(u32) -> u32, tried: &mut Vec<T>) {
    // "arrange all SRV RRs in any order, except that all those with weight 0 are placed at the beginning". Taking
    // records out keeps that true, so once is enough.
    level.sort_by_key(|item| srv(item).weight != 0);
    while level.len() > 1 {
        let sum = level.iter().map(|item| u32::from(srv(item).weight)).sum();
        let drawn = draw(sum).min(sum);
        let mut running = 0;
        let chosen = level
            .iter()
            .position(|item| {
                running += u32::from(srv(item).weight);
                running >= drawn
            })
            .expect("the last running total is the sum, and what was drawn is not above it");
        tried.push(level.remove(chosen));
    }
    tried.append(&mut level);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::DomainName;

    fn srv(priority: u16, weight: u16, host: &str) -> Srv {
        Srv { priority, weight, port: 5061, target: Some(DomainName::parse(host).unwrap()) }
    }

    fn ordered(items: &[Srv], order: Order, draws: &[u32]) -> String {
        let mut draws = draws.iter().copied();
        let tried = try_order(items.to_vec(), |srv| srv, order, |_| draws.next().expect("one draw more than scripted"));
        tried.iter().map(|srv| srv.target.as_ref().unwrap().to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn rfc_2782_by_script() {
        let ladder = [srv(0, 10, "b"), srv(0, 0, "a"), srv(0, 20, "c")];
        for (id, items, draws, shown) in [
            ("section 3: n=0 takes weight 0", &ladder[..], &[0, 30][..], "a c b"),
            ("section 3: n=1", &ladder, &[1, 0], "b a c"),
            ("section 3: n=10", &ladder, &[10, 1], "b c a"),
            ("section 3: n=11", &ladder, &[11, 10], "c b a"),
            ("section 3: n=30", &ladder, &[30, 0], "c a b"),
            ("LOC-57", &[srv(20, 9, "late"), srv(10, 0, "early")], &[], "early late"),
            ("all weight 0: order of the reply", &[srv(0, 0, "x"), srv(0, 0, "y")], &[0], "x y"),
            ("a draw above the sum", &[srv(0, 1, "x"), srv(0, 3, "y")], &[99], "y x"),
        ] {
            assert_eq!(ordered(items, Order::Weighted, draws), shown, "{id}");
        }
        assert_eq!(ordered(&[], Order::Weighted, &[]), "");
    }

    #[test]
    fn loc_86_fixed_order() {
        let items = [srv(1, 9, "b"), srv(1, 1, "a"), srv(0, 0, "z")];
        assert_eq!(ordered(&items, Order::Fixed, &[]), "z a b");
        let turned: Vec<_> = items.iter().rev().cloned().collect();
        assert_eq!(ordered(&turned, Order::Fixed, &[]), "z a b");
    }
}
