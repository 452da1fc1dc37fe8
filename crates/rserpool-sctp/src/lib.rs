//! rserpool-sctp
