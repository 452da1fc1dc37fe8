//! Reliable Server Pooling (RSerPool, RFC 5351-5356) as pure state machines.

pub mod element;
pub mod handlespace;
pub mod home;
pub mod id;
pub mod link;
#[cfg(test)]
mod listen;
pub mod node;
pub mod policy;
pub mod random;
pub mod registrar;
#[cfg(test)]
mod storm;
pub mod time;
pub mod timers;
pub mod timing;
pub mod user;
pub mod wire;

pub use element::{PoolElement, Service};
pub use handlespace::Handlespace;
pub use id::{ElementId, PoolHandle, RegistrarId};
pub use node::{
    Cause, Channel, Door, Ending, Endpoint, Greeting, Input, LinkId, Node, Outbox, Output, Ppid, Protocol,
    Role,
};
pub use policy::{Load, Policy, Rank};
pub use random::Random;
pub use registrar::Registrar;
pub use time::Time;
pub use timers::Timers;
pub use timing::{Profile, Timing};
pub use user::PoolUser;
