//! Numbers and blocks as a tree of digits: the ENUM zone without its records.
//!
//! A persistent trie: cloning shares everything, a change copies the path to it (at most 15 levels). A claim stands as
//! soon as it is alone below a prefix, so levels exist only where claims part. An answer for a name below a block is
//! that of the longest block that covers it, which in DNS terms is a wildcard copy at every name that exists inside the
//! block (ENUM-80, ENUM-81); [`Numbers::visit`] lists those copies for the export.

use std::sync::Arc;

use tandem_model::NumberRange;

use crate::packed::{ClaimView, NodeView, PackedNode};

/// A claim: which node made it, and which of its claims it is.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    node: PackedNode,
    index: u8,
}

/// All numbers and blocks of one version. An open number plan is a number with a block below it (ENUM-82).
#[derive(Debug, Clone, Default)]
pub(crate) struct Numbers {
    root: Option<Arc<Level>>,
}

#[derive(Debug, Clone, Default)]
struct Level {
    number: Option<Claim>,
    block: Option<Claim>,
    bitmap: u16,
    slots: Vec<Slot>,
}

#[derive(Debug, Clone)]
enum Slot {
    Level(Arc<Level>),
    Leaf(Claim),
}

/// What stands at a name of digits, and around it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Found<'z> {
    /// The number with exactly these digits.
    pub(crate) number: Option<&'z Claim>,
    /// The longest block that the name lies strictly below.
    pub(crate) block: Option<&'z Claim>,
    /// Whether the name itself exists: a number, a block's prefix, or a prefix of either.
    pub(crate) exists: bool,
    /// How many of the digits make the closest encloser.
    pub(crate) closest: usize,
}

impl Claim {
    /// The node that made it.
    pub(crate) fn node(&self) -> NodeView<'_> {
        self.node.view()
    }

    /// What is claimed.
    pub(crate) fn claim(&self) -> ClaimView<'_> {
        self.node.view().claims().nth(usize::from(self.index)).expect("made from one of the node's claims")
    }

    /// Every claim of `node`.
    pub(crate) fn all_of(node: &PackedNode) -> impl Iterator<Item = Self> {
        (0..node.view().claims().count()).map(|index| Self {
            node: node.clone(),
            index: u8::try_from(index).expect("packed with a one-octet count"),
        })
    }

    /// Which number or block it is.
    pub(crate) fn range(&self) -> NumberRange {
        let view = self.claim();
        NumberRange::new(view.to_digits(), view.block)
    }

    fn digits(&self) -> &[u8] {
        self.claim().digits
    }

    fn is_block(&self) -> bool {
        self.claim().block
    }
}

impl Numbers {
    /// Puts a claim in, in place of one for the same number or block.
    pub(crate) fn insert(&mut self, claim: Claim) {
        let digits = claim.node.view().claims().nth(usize::from(claim.index)).map(|view| view.to_digits());
        if let Some(digits) = digits {
            Arc::make_mut(self.root.get_or_insert_default()).insert(digits.as_slice(), 0, claim);
        }
    }

    /// Takes the claim of `view`'s number or block out.
    pub(crate) fn remove(&mut self, view: &ClaimView<'_>) {
        if let Some(root) = &mut self.root {
            let root = Arc::make_mut(root);
            root.remove(view.digits, view.block, 0);
            if root.is_empty() {
                self.root = None;
            }
        }
    }

    /// What stands at the name of `digits`; with `deeper`, at a name below it whose next label is no digit.
    pub(crate) fn find(&self, digits: &[u8], deeper: bool) -> Found<'_> {
        let mut found = Found::default();
        let Some(mut level) = self.root.as_deref() else { return found };
        for depth in 0..=digits.len() {
            found.closest = depth;
            let ends_here = depth == digits.len();
            if level.block.is_some() && (!ends_here || deeper) {
                found.block = level.block.as_ref();
            }
            if ends_here {
                found.exists = !deeper;
                found.number = if deeper { None } else { level.number.as_ref() };
                return found;
            }
            match level.slot(digits[depth]) {
                None => return found,
                Some(Slot::Level(next)) => level = next,
                Some(Slot::Leaf(claim)) => {
                    claim.find_below(digits, deeper, &mut found);
                    return found;
                }
            }
        }
        found
    }

    /// The claim of exactly this number or block.
    pub(crate) fn exact(&self, digits: &[u8], block: bool) -> Option<&Claim> {
        let found = self.find(digits, block);
        let same = |claim: &&Claim| claim.is_block() == block && claim.digits() == digits;
        if block { found.block.filter(same) } else { found.number }
    }

    /// The longest block around these digits.
    pub(crate) fn around(&self, digits: &[u8]) -> Option<&Claim> {
        self.find(digits, false).block
    }

    /// The first claim in digit order that comes behind the number or block `after`, that begins with `prefix`, and that
    /// `wants` takes.
    pub(crate) fn first_behind<'z>(
        &'z self,
        prefix: &[u8],
        after: Option<(&[u8], bool)>,
        wants: &mut impl FnMut(&'z Claim) -> bool,
    ) -> Option<&'z Claim> {
        let mut level = self.root.as_deref()?;
        let wants = &mut |claim: &'z Claim| {
            let key = (claim.digits(), claim.is_block());
            key.0.starts_with(prefix) && after.is_none_or(|after| key > after) && wants(claim)
        };
        for &digit in prefix {
            match level.slot(digit)? {
                Slot::Level(next) => level = next,
                Slot::Leaf(claim) => return wants(claim).then_some(claim),
            }
        }
        let bound = after.map(|(digits, _)| digits).filter(|digits| digits.starts_with(prefix));
        level.first(prefix.len(), bound, wants)
    }

    /// Visits every name that exists, in digit order: its digits, its number, and the block that answers right below.
    pub(crate) fn visit<'z>(&'z self, visit: &mut impl FnMut(&[u8], Option<&'z Claim>, Option<&'z Claim>)) {
        self.visit_below(&[], visit);
    }

    /// [`visit`](Self::visit), only for names at or below that of `prefix`.
    pub(crate) fn visit_below<'z>(
        &'z self,
        prefix: &[u8],
        visit: &mut impl FnMut(&[u8], Option<&'z Claim>, Option<&'z Claim>),
    ) {
        let mut around = None;
        let Some(mut level) = self.root.as_deref() else { return };
        for (depth, &digit) in prefix.iter().enumerate() {
            around = level.block.as_ref().or(around);
            match level.slot(digit) {
                None => return,
                Some(Slot::Level(next)) => level = next,
                Some(Slot::Leaf(claim)) => {
                    let view = claim.claim();
                    if view.digits.starts_with(prefix) {
                        claim.visit_path(prefix.len().max(depth + 1), around, visit);
                    }
                    return;
                }
            }
        }
        level.visit(&mut prefix.to_vec(), around, visit);
    }
}

impl Claim {
    /// Visits the names from the claim's first `from` digits to all of them: it stands alone below `from - 1`.
    fn visit_path<'z>(
        &'z self,
        from: usize,
        around: Option<&'z Self>,
        visit: &mut impl FnMut(&[u8], Option<&'z Self>, Option<&'z Self>),
    ) {
        let view = self.claim();
        for len in from..=view.digits.len() {
            let ends = len == view.digits.len();
            let number = (ends && !view.block).then_some(self);
            visit(&view.digits[..len], number, if ends && view.block { Some(self) } else { around });
        }
    }

    /// Finishes a look-up that has reached a lone claim.
    fn find_below<'z>(&'z self, digits: &[u8], deeper: bool, found: &mut Found<'z>) {
        let ours = self.digits();
        let common = ours.iter().zip(digits).take_while(|(a, b)| a == b).count();
        found.closest = common;
        if common == digits.len() && !deeper {
            found.exists = true;
            found.number = (ours.len() == common && !self.is_block()).then_some(self);
        } else if common == ours.len() && self.is_block() {
            found.block = Some(self);
        }
    }
}

impl Level {
    fn index(&self, digit: u8) -> (bool, usize) {
        let bit = 1_u16 << digit;
        (self.bitmap & bit != 0, (self.bitmap & (bit - 1)).count_ones() as usize)
    }

    fn slot(&self, digit: u8) -> Option<&Slot> {
        let (taken, at) = self.index(digit);
        taken.then(|| &self.slots[at])
    }

    fn is_empty(&self) -> bool {
        self.number.is_none() && self.block.is_none() && self.slots.is_empty()
    }

    fn insert(&mut self, digits: &[u8], depth: usize, claim: Claim) {
        if depth == digits.len() {
            let place = if claim.is_block() { &mut self.block } else { &mut self.number };
            *place = Some(claim);
            return;
        }
        let (taken, at) = self.index(digits[depth]);
        if !taken {
            self.bitmap |= 1 << digits[depth];
            self.slots.reserve_exact(1);
            self.slots.insert(at, Slot::Leaf(claim));
            return;
        }
        match &mut self.slots[at] {
            Slot::Level(next) => Arc::make_mut(next).insert(digits, depth + 1, claim),
            Slot::Leaf(there) if there.digits() == digits && there.is_block() == claim.is_block() => *there = claim,
            Slot::Leaf(there) => {
                let there = there.clone();
                let mut next = Self::default();
                let theirs = there.claim().to_digits();
                next.insert(theirs.as_slice(), depth + 1, there);
                next.insert(digits, depth + 1, claim);
                self.slots[at] = Slot::Level(Arc::new(next));
            }
        }
    }

    fn remove(&mut self, digits: &[u8], block: bool, depth: usize) {
        if depth == digits.len() {
            *(if block { &mut self.block } else { &mut self.number }) = None;
            return;
        }
        let (true, at) = self.index(digits[depth]) else { return };
        let keep = match &mut self.slots[at] {
            Slot::Leaf(there) => there.digits() != digits || there.is_block() != block,
            Slot::Level(next) => {
                let next = Arc::make_mut(next);
                next.remove(digits, block, depth + 1);
                let lone = match (&next.number, &next.block, &next.slots[..]) {
                    (Some(claim), None, []) | (None, Some(claim), []) | (None, None, [Slot::Leaf(claim)]) => {
                        Some(claim.clone())
                    }
                    _ => None,
                };
                let keep = !next.is_empty();
                if let Some(lone) = lone {
                    self.slots[at] = Slot::Leaf(lone);
                }
                keep
            }
        };
        if !keep {
            self.bitmap &= !(1 << digits[depth]);
            self.slots.remove(at);
        }
    }

    /// The first claim here or below that is wanted. What is before `bound`, digits through this level, is passed over.
    fn first<'z>(
        &'z self,
        depth: usize,
        bound: Option<&[u8]>,
        wants: &mut impl FnMut(&'z Claim) -> bool,
    ) -> Option<&'z Claim> {
        let here = self.number.iter().chain(&self.block).find(|claim| wants(claim));
        if here.is_some() {
            return here;
        }
        let next = bound.and_then(|bound| bound.get(depth));
        let mut slots = self.slots.iter();
        for digit in (0..10).filter(|digit| self.bitmap & (1 << digit) != 0) {
            let slot = slots.next()?;
            if next.is_some_and(|next| digit < *next) {
                continue;
            }
            let found = match slot {
                Slot::Leaf(claim) => wants(claim).then_some(claim),
                Slot::Level(level) => level.first(depth + 1, bound.filter(|_| next == Some(&digit)), wants),
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }

    fn visit<'z>(
        &'z self,
        path: &mut Vec<u8>,
        around: Option<&'z Claim>,
        visit: &mut impl FnMut(&[u8], Option<&'z Claim>, Option<&'z Claim>),
    ) {
        let around = self.block.as_ref().or(around);
        if !path.is_empty() {
            visit(path, self.number.as_ref(), around);
        }
        let depth = path.len();
        let mut slots = self.slots.iter();
        for digit in 0..10 {
            if self.bitmap & (1 << digit) == 0 {
                continue;
            }
            match slots.next() {
                Some(Slot::Level(next)) => {
                    path.push(digit);
                    next.visit(path, around, visit);
                }
                Some(Slot::Leaf(claim)) => claim.visit_path(depth + 1, around, visit),
                None => {}
            }
            path.truncate(depth);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use tandem_model::number::Digits;
    use tandem_model::{DomainName, E164Number, Node, NodeParts, NumberBlock, NumberClaim, Target};

    /// A node with one claim; the digits are in its domain too, so that claims can be told apart.
    fn node(digits: &[u8], block: bool) -> PackedNode {
        let text: String = digits.iter().map(|d| char::from(b'0' + d)).collect();
        let domain = DomainName::parse(&format!("{}{text}.test", if block { "b" } else { "n" })).unwrap();
        let target = Target {
            host: domain.clone(),
            port: 5061.try_into().unwrap(),
            priority: 1,
            weight: 1,
            addresses: vec!["192.0.2.1".parse().unwrap()],
        };
        let mut parts = NodeParts::new(domain, vec![target]);
        let digits = Digits::new(digits).unwrap();
        parts.numbers.push(if block {
            NumberClaim::Block(NumberBlock::from_digits(digits))
        } else {
            NumberClaim::Number { number: E164Number::from_digits(digits), uri: None }
        });
        PackedNode::pack(&Node::new(parts).unwrap())
    }

    type Model = BTreeMap<(Vec<u8>, bool), ()>;

    fn key(claim: Option<&Claim>) -> Option<(Vec<u8>, bool)> {
        claim.map(|c| (c.claim().digits.to_vec(), c.claim().block))
    }

    fn check(numbers: &Numbers, model: &Model, digits: &[u8], deeper: bool) -> Result<(), TestCaseError> {
        let found = numbers.find(digits, deeper);
        let name_len = digits.len() + usize::from(deeper);
        let exact = (digits.to_vec(), false);
        let number = (!deeper && model.contains_key(&exact)).then_some(exact);
        prop_assert_eq!(key(found.number), number);
        let block = (0..=digits.len())
            .rev()
            .filter(|len| *len < name_len)
            .map(|len| (digits[..len].to_vec(), true))
            .find(|k| model.contains_key(k));
        prop_assert_eq!(key(found.block), block);
        let exists_at = |len: usize| len == 0 || model.keys().any(|(d, _)| d.starts_with(&digits[..len]));
        prop_assert_eq!(found.exists, !deeper && !model.is_empty() && exists_at(digits.len()));
        let closest = (0..=digits.len()).rev().find(|len| exists_at(*len)).unwrap();
        if !model.is_empty() {
            prop_assert_eq!(found.closest, closest);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn agrees_with_a_sorted_map(
            steps in prop::collection::vec((any::<bool>(), prop::collection::vec(0_u8..3, 1..6), any::<bool>()), 0..60),
            asked in prop::collection::vec(0_u8..3, 0..7),
        ) {
            let mut numbers = Numbers::default();
            let mut model = Model::new();
            for (put, digits, block) in steps {
                let node = node(&digits, block);
                if put {
                    Claim::all_of(&node).for_each(|claim| numbers.insert(claim));
                    model.insert((digits.clone(), block), ());
                } else {
                    node.view().claims().for_each(|view| numbers.remove(&view));
                    model.remove(&(digits.clone(), block));
                }
                for deeper in [false, true] {
                    check(&numbers, &model, &asked, deeper)?;
                    check(&numbers, &model, &digits, deeper)?;
                }
                for block in [false, true] {
                    let exact = (asked.clone(), block);
                    prop_assert_eq!(numbers.exact(&asked, block).is_some(), model.contains_key(&exact));
                    for prefix in [&[][..], &asked[..asked.len() / 2], &asked] {
                        let behind = model.keys().find(|k| **k > exact && k.0.starts_with(prefix));
                        let found = numbers.first_behind(prefix, Some((&asked, block)), &mut |_| true);
                        prop_assert_eq!(key(found), behind.cloned());
                        let first = model.keys().find(|k| k.0.starts_with(prefix) && k.1 == block);
                        let found = numbers.first_behind(prefix, None, &mut |claim| claim.is_block() == block);
                        prop_assert_eq!(key(found), first.cloned());
                    }
                }
                let around = |k: &&(Vec<u8>, bool)| k.1 && asked.starts_with(&k.0) && k.0 != asked;
                let longest = model.keys().filter(around).max_by_key(|k| k.0.len());
                prop_assert_eq!(key(numbers.around(&asked)), longest.cloned());
                let mut seen = 0;
                numbers.visit(&mut |_, number, _| seen += usize::from(number.is_some()));
                prop_assert_eq!(seen, model.keys().filter(|k| !k.1).count());
            }
        }
    }

    #[test]
    fn enum_81_copies_of_a_block_stand_beside_its_numbers() {
        let mut numbers = Numbers::default();
        for (digits, block) in [(&[1, 5][..], true), (&[1, 5, 2, 3], false)] {
            Claim::all_of(&node(digits, block)).for_each(|claim| numbers.insert(claim));
        }
        let mut lines = Vec::new();
        numbers.visit(&mut |digits, number, block| lines.push((digits.to_vec(), number.is_some(), block.is_some())));
        assert_eq!(
            lines,
            [
                (vec![1], false, false),
                (vec![1, 5], false, true),
                (vec![1, 5, 2], false, true),
                (vec![1, 5, 2, 3], true, true)
            ]
        );
    }
}
