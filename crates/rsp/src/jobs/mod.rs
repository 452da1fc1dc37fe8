//! Jobs that outlive their client: where they are kept, and `rsp job`, which looks at them.
//!
//! `folder.rs` is where they are and whose, `book.rs` reads a journal, `disk.rs` writes it, `queue.rs` stands between a job
//! and its disk, `status.rs` is what an owner says of the present, `commands.rs` and `explain.rs` tell it to people.

pub mod book;
mod commands;
pub mod disk;
mod explain;
pub mod folder;
pub mod queue;
pub mod status;

pub use commands::run;
pub use explain::explain;
