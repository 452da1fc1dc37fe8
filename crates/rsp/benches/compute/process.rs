//! Processes of a benchmark, gone when it is.
#![allow(dead_code)] // each benchmark uses a part

use rustix::process::Signal;
use std::process::{Child, Command, Stdio};

/// A process that ends with the value.
pub struct Process(Child);

impl Process {
    /// Starts it, silent.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("a program that is there starts"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a command says on standard output until it ends.
pub fn said_by(mut command: Command) -> String {
    let said = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().expect("starts");
    assert!(said.status.success(), "{command:?} ended with {}", said.status);
    String::from_utf8(said.stdout).expect("text")
}

/// This very program again, with these words.
pub fn again(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a running program has a name"));
    command.args(words);
    command
}

/// In such a process: ends it when the benchmark ends, however that happens.
pub fn end_with_parent() {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
}
