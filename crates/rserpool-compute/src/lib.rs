//! A task service for workers and a job engine for clients, on reliable server pools (RFC 5351-5356).
//!
//! ```text
//!   application                                                    world of the worker
//!       | submit, events                                        wishes |  ^ facts
//!       v                 sessions, PPID `RSP1`                        v  |
//!   job::Job  ------------------------------------------------->  service::TaskService
//!   (a node around rserpool::PoolUser)                        (in a rserpool::PoolElement)
//! ```
//!
//! Every task is executed at least once and its result is accepted exactly once, whatever dies, as long as the client
//! lives (or its journal does) and one worker is reachable. The job belongs to the client: registrars know nothing of
//! it, workers only the tasks they hold. Everything here is a value like the nodes of `rserpool`: no clock, no socket,
//! no process; what a task really does is a wish to the world.
//!
//! Read [`protocol`] first (what the two sides say), then [`service`], then [`job`], then [`durable`]: the job with a
//! [`journal`], which outlives its client. [`application`] is another world: the services of RSPLIB, as elements and as
//! users.

pub mod application;
mod codec;
pub mod cookie;
pub mod durable;
pub mod fractal;
pub mod item;
pub mod job;
pub mod journal;
pub mod protocol;
pub mod resources;
pub mod service;
pub mod tree;
pub mod work;

pub use codec::WireError;
pub use cookie::Cookie;
pub use durable::DurableJob;
pub use item::{Digest, Form, Item};
pub use job::Job;
pub use protocol::{Attempt, JobId, Refusal, Status, Stream, TaskId};
pub use resources::Resources;
pub use service::TaskService;
pub use work::{Command, Pick, Placed, Work};
