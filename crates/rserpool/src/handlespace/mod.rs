//! The handlespace: which pools exist and who serves in them.

use crate::wire::parameter::{CauseCode, PoolElement};
use crate::{ElementId, PoolHandle, Random, RegistrarId};

/// All pools, their elements, who owns them, and whose turn it is.
#[derive(Clone, Debug, Default)]
pub struct Handlespace {}

/// What a registration did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registered {
    /// The element was not there before.
    New,
    /// It was, homed at this registrar.
    Renewed {
        /// The home before.
        previous_home: RegistrarId,
    },
}

/// Why an element is not admitted. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The element's identifier is 0.
    UndefinedElement,
    /// The pool has another policy type.
    PolicyMismatch,
    /// The pool has another user transport protocol.
    TransportMismatch,
    /// The pool disagrees about the control channel.
    ControlChannelMismatch,
}

impl Refusal {
    /// The wire's word for it.
    pub fn cause(self) -> CauseCode {
        CauseCode::INVALID_VALUES
    }
}

#[allow(unused_variables, missing_docs)]
impl Handlespace {
    pub fn new() -> Self {
        Self::default()
    }
    /// Adds an element, or renews it. `element.home` is its owner from now on.
    pub fn register(&mut self, handle: &PoolHandle, element: PoolElement) -> Result<Registered, Refusal> {
        Ok(Registered::New)
    }
    /// Removes an element; with the last one goes its pool.
    pub fn remove(&mut self, handle: &PoolHandle, id: ElementId) -> Option<PoolElement> {
        None
    }
    /// One element.
    pub fn get(&self, handle: &PoolHandle, id: ElementId) -> Option<&PoolElement> {
        None
    }
    /// Hands an element over to another home. False if it is not there.
    pub fn set_home(&mut self, handle: &PoolHandle, id: ElementId, home: RegistrarId) -> bool {
        false
    }
    /// Withholds an element from selection while others are there (a suspect), or hands it out again.
    pub fn set_suspect(&mut self, handle: &PoolHandle, id: ElementId, suspect: bool) -> bool {
        false
    }
    /// Selects up to `count` elements by the pool's policy, best first, and counts the selection. `None`: no such pool,
    /// or nobody in it can serve.
    pub fn select(
        &mut self,
        handle: &PoolHandle,
        count: usize,
        random: &mut Random,
    ) -> Option<Vec<PoolElement>> {
        None
    }
    /// All pools in order, each with its elements by id (never empty).
    pub fn pools(&self) -> impl Iterator<Item = (&PoolHandle, Vec<&PoolElement>)> {
        std::iter::empty()
    }
    /// All elements in order of handle, then id, behind `after` (exclusive); `home`: of this owner only.
    pub fn elements(
        &self,
        home: Option<RegistrarId>,
        after: Option<(PoolHandle, ElementId)>,
    ) -> impl Iterator<Item = (&PoolHandle, &PoolElement)> {
        std::iter::empty()
    }
    /// Number of elements.
    pub fn len(&self) -> usize {
        0
    }
    pub fn is_empty(&self) -> bool {
        true
    }
    /// Number of pools.
    pub fn pool_count(&self) -> usize {
        0
    }
    /// Number of elements of this owner.
    pub fn owned(&self, home: RegistrarId) -> usize {
        0
    }
    /// The PE checksum over what this registrar owns (RFC 5353 §3.6.2). Nothing: 0xffff.
    pub fn checksum(&self, home: RegistrarId) -> u16 {
        0xffff
    }
    /// A digest over everything replicated (handle, id, home, life, transports, policy values): equal tables, equal
    /// digests, whatever their history. Not the selection state.
    pub fn digest(&self) -> u64 {
        0
    }
    /// Audits the structure against itself; panics with the reason if it is inconsistent.
    pub fn check(&self) {}
}
