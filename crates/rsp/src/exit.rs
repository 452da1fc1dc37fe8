//! How the program ends: exit codes, and errors that name the next step.

use std::fmt;
use std::process::ExitCode;

/// The exit codes, stable and documented in the README.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Everything asked for was done.
    Done = 0,
    /// Some tasks failed, or what was to be shown did not hold.
    Failed = 1,
    /// The command line (or a file it names) makes no sense.
    Usage = 2,
    /// No registrar could be reached.
    NoRegistrar = 3,
    /// The pool is unknown or empty, or nobody in it had a free slot in time.
    PoolEmpty = 4,
    /// An address or port could not be bound.
    CannotBind = 5,
    /// A result could not be written (disk full, broken pipe, missing folder).
    CannotWrite = 6,
    /// What is known of a job is done, but its input had not ended.
    InputMissing = 7,
    /// Another process works on the job, or does not answer when it is to cancel it.
    Owned = 8,
    /// The job was cancelled.
    Cancelled = 9,
    /// Interrupted by SIGINT or SIGTERM.
    Interrupted = 130,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Why the program ends without success: one line, with the cause and the next step in it.
#[derive(Debug)]
pub struct Failure {
    /// Ends the process with this.
    pub code: Code,
    message: String,
}

impl Failure {
    /// A failure with this exit code and line.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The same with more at its end.
    pub fn and(self, more: &str) -> Self {
        Self { message: self.message + more, ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message.fmt(f)
    }
}
