//! What works but may not be meant: the quirk lint, said with every change, so that a dry run shows it before.

use tandem_model::lint::{self, Place, Surroundings};
use tandem_model::{DomainName, Node};
use tandem_zone::{RrType, Zones};

use crate::v1::answer::Warning;
use crate::v1::document::{domain_pointer, host_pointer};
use crate::v1::reader::Pointer;

/// The zones served, as the lint asks for them.
struct Served<'z>(&'z Zones);

impl Surroundings for Served<'_> {
    fn peers_zone(&self) -> Option<&DomainName> {
        self.0.settings().peers_zone.as_ref()
    }

    fn is_served(&self, name: &DomainName) -> bool {
        self.0.zone_of(name).is_some()
    }

    fn has_srv(&self, name: &DomainName) -> bool {
        self.0.has_static(name, RrType::SRV)
    }

    fn has_address(&self, name: &DomainName) -> bool {
        [RrType::A, RrType::AAAA].into_iter().any(|kind| self.0.has_static(name, kind))
    }
}

/// Everything about `node` that its operator should look at again.
pub(crate) fn warnings(node: &Node, zones: &Zones) -> Vec<Warning> {
    let warning = |finding: lint::Finding| Warning {
        rule: finding.quirk.id(),
        detail: finding.text,
        pointer: pointer(finding.place).to_string(),
    };
    lint::lint(node, &Served(zones)).into_iter().map(warning).collect()
}

fn pointer(place: Place) -> Pointer {
    let target = |index| Pointer::root().member("targets").item(index);
    match place {
        Place::Domain => domain_pointer(),
        Place::Ttl => Pointer::root().member("ttl"),
        Place::Host(index) => host_pointer(index),
        Place::Port(index) => target(index).member("port"),
        Place::Weight(index) => target(index).member("weight"),
        Place::Address(index, at) => target(index).member("addresses").item(at),
    }
}
