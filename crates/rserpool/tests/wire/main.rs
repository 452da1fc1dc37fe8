//! The wire room from outside: every message of the captured traffic, and messages that nobody ever sent.

mod captures;
mod fields;
mod mutations;
mod pcap;
