//! Live progress on a terminal: one line at the bottom of standard error. Elsewhere, only what is said.

use crate::process::say;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// A line of progress.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Counts `what`. Shows nothing unless standard error is a terminal.
    pub fn new(what: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()) };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        let template = format!("{{elapsed_precise}} {{pos}} {what} {{per_sec}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    /// How many there will be.
    pub fn total(&self, total: u64) {
        self.bar.set_length(total);
        let template = "{elapsed_precise} [{bar:30}] {pos}/{len} {per_sec} ETA {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("=> "));
        }
    }

    /// How many are done.
    pub fn done(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// Says a line above the line of progress.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| say(line));
    }

    /// Does something that writes to the terminal.
    pub fn suspended<R>(&self, write: impl FnOnce() -> R) -> R {
        self.bar.suspend(write)
    }

    /// Takes the line away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
