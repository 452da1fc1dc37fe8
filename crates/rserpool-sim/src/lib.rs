//! rserpool-sim
