//! Reliable Server Pooling (RSerPool, RFC 5351-5356) as pure state machines.
//!
//! ```text
//!        registrar <------ ENRP: who serves where ------> registrar
//!         ^     ^  (RFC 5353: presence, updates, takeover)   ^
//!    ASAP |     '-- ASAP: resolve a pool handle --.          | ASAP (RFC 5352)
//!         |     (RFC 5352)                        |          |
//!    pool element <== session: data, cookies ==> pool user   pool element
//! ```
//!
//! Pool elements register in a pool at some registrar, their home, which watches them. Registrars are equals: they hold
//! the same handlespace and take over from each other. A pool user resolves a pool handle, an element is chosen by the
//! pool's policy (RFC 5356), and a session with it survives its death: the element has left a cookie with the user, who
//! echoes it to the next one.
//!
//! Each of the three is a value without clock, socket, thread or randomness of its own: see [`node`] for the contract
//! with its world. The same code serves on a network (`rserpool-net`) and in a simulated world (`rserpool-sim`).
//!
//! # Reading order
//!
//! [`node`] (the contract), [`wire::asap`] (the vocabulary), [`registrar`] (one `match`, every verb), [`element`] and
//! [`user`] (with [`home`], the line to one's registrar, which they share), then [`handlespace`] with [`policy`], and
//! [`timing`]: every timer, and every bound that follows from them.
//!
//! # Words
//!
//! | word | is |
//! | --- | --- |
//! | registrar (PR) | keeps the handlespace; speaks ASAP with elements and users, ENRP with peers |
//! | pool element (PE) | serves sessions in a pool |
//! | pool user (PU) | resolves pool handles and holds sessions |
//! | pool handle | the name of a pool |
//! | handlespace | all pools with their elements |
//! | home | the registrar that watches an element; the registrar a user asks |
//! | peer | a registrar, as another one sees it |
//! | mentor | the peer a starting registrar learns from |
//! | takeover | a registrar becomes the home of a dead peer's elements |
//! | cookie | what another element needs to go on; kept by the user |
//! | fail-over | a session goes on with another element |

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
