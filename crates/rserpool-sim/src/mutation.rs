//! Mistakes, made on purpose: each breaks one promise, and shows that its check can see.

use crate::actor::{Machine, Tamper};
use crate::world::Scope;
use rserpool::registrar;

/// A mistake in the code of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutation {}

impl Mutation {
    /// What stands between this node and the world, if the mistake is in nodes of its kind.
    pub fn tamper(self, _machine: &Machine, _scope: &Scope) -> Option<Box<dyn Tamper>> {
        match self {}
    }

    /// Settings that somebody got wrong.
    pub fn misconfigures(self, _config: &mut registrar::Config) {
        match self {}
    }
}
