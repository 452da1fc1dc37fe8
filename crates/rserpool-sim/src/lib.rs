//! The simulated world for rserpool.

pub mod actor;
pub mod adder;
pub mod check;
pub mod count;
pub mod customer;
pub mod describe;
pub mod mutation;
pub mod net;
pub mod plan;
pub mod run;
pub mod swarm;
pub mod world;
