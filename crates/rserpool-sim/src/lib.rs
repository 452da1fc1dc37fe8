//! The simulated world for rserpool.

pub mod describe;
pub mod net;
