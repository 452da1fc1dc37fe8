//! `rsp`: run jobs on a pool of machines that come and go.

mod exit;
mod keeper;
mod template;

fn main() {}
