//! rserpool-compute
