//! Who assigns numbers: a domain's token proves nothing about numbers, so only an admin adds them (ENUM-77; RFC 4725).

use tandem_model::{Node, NumberClaim};
use tandem_zone::Part;

use crate::problem::{Fault, MAX_FAULTS};
use crate::v1::document::part_pointer;

/// The numbers and blocks of `node` that its registration does not have: a node's token may not add them. Says the
/// same whether another node has them or nobody.
pub(crate) fn unassigned(node: &Node, registered: Option<&Node>) -> Vec<Fault> {
    let has = registered.map_or(&[][..], |registered| &registered.numbers);
    let claims = node.numbers.iter().enumerate();
    claims
        .filter(|(_, claim)| !has.iter().any(|own| is_same(own, claim)))
        .map(|(index, claim)| {
            let number = match claim {
                NumberClaim::Number { number, .. } => number.to_string(),
                NumberClaim::Block(block) => format!("the block {block}"),
            };
            let detail = format!(
                "this node does not have {number}: ask the directory's admin to add it: PUT with an admin token"
            );
            Fault { detail, pointer: part_pointer(Part::Number(index)).to_string() }
        })
        .take(MAX_FAULTS)
        .collect()
}

/// Whether both are the same number, wherever it leads, or the same block.
fn is_same(one: &NumberClaim, other: &NumberClaim) -> bool {
    match (one, other) {
        (NumberClaim::Number { number: one, .. }, NumberClaim::Number { number: other, .. }) => one == other,
        (NumberClaim::Block(one), NumberClaim::Block(other)) => one == other,
        (NumberClaim::Number { .. }, NumberClaim::Block(_)) | (NumberClaim::Block(_), NumberClaim::Number { .. }) => {
            false
        }
    }
}
