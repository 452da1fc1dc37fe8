//! The simulated world: the same nodes as on real machines, in one thread, in virtual time, with everything that can go
//! wrong, and with every promise watched at every step. A run is a seed.
//!
//! ```text
//!   seed -> plan ------------------------------> run -> outcome         swarm: many of them
//!           who, what, which faults when          |
//!                                              world    registrars, elements, customers; workers, clients and disks
//!                                                |
//!            check <-- what happened ----------  net    hosts, links, one queue of events, faults
//!              |                                  |
//!         H1 H2 .. J11                          actor   a node in its skin
//!                                                 |
//!                             mutation - - - - -> '     a mistake made on purpose: its check must notice
//! ```
//!
//! Reading order: [`net`] (what a network is), [`actor`], [`adder`] and [`customer`] (who lives in it), [`errand`],
//! [`worker`], [`client`] and [`disk`] (the compute pool: tasks, those who run them, those who want them, and what
//! outlives these), [`world`] (a scope of them), [`check`] (what must be true), [`plan`] and [`run`] (what a seed means),
//! [`swarm`] (many seeds), [`mutation`] (that the checks can see). `tests/scenarios.rs` plays failures by their names.
//!
//! Two kinds of pools live in this world. In one, small services add numbers: all that the protocol itself promises shows
//! there. In the other the task service and the job engine of `rserpool-compute` do real work in virtual time: tiles are
//! really computed, commands are words of a small language, and a client may die with its disk torn at any octet. A seed
//! has one of them, the other, or both.
//!
//! `rsp sim --seed N` prints the story of a seed, `rsp sim swarm --seeds COUNT --start N` judges many. A seed that once
//! failed goes into `seeds.txt`, with the reason, and runs with every swarm and every test run.
//!
//! What this world does not have: bytes that corrupt on a link (transports check them; parsers are tested on their own),
//! several addresses per host, time that runs at different speeds on different hosts, tasks that need files, and tasks
//! that outlive their worker's process.

pub mod actor;
pub mod adder;
pub mod check;
pub mod client;
pub mod count;
pub mod customer;
pub mod describe;
pub mod disk;
pub mod errand;
pub mod mutation;
pub mod net;
pub mod plan;
pub mod run;
pub mod swarm;
pub mod worker;
pub mod world;
