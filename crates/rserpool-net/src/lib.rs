//! rserpool-net
