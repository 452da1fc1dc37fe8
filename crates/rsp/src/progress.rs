//! Live progress: on a terminal one line at the bottom of standard error, elsewhere a line now and then.

use crate::process::say;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// A line of progress.
pub struct Progress {
    bar: ProgressBar,
    what: String,
    /// Lines for who has no terminal: how often, and when the next one is due.
    lines: Option<(Duration, Instant)>,
    begun: Instant,
    /// How many were done then.
    before: u64,
    total: Option<u64>,
}

impl Progress {
    /// Counts `what`. Shows nothing unless standard error is a terminal.
    pub fn new(what: &str) -> Self {
        let of = |bar| Self {
            bar,
            what: what.to_owned(),
            lines: None,
            begun: Instant::now(),
            before: 0,
            total: None,
        };
        if !std::io::stderr().is_terminal() {
            return of(ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()));
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        let template = format!("{{elapsed_precise}} {{pos}} {what} {{per_sec}}");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        of(bar)
    }

    /// As `new`; where there is no terminal, a line is said as often as this (zero: never).
    pub fn with_lines(what: &str, every: Duration) -> Self {
        let mut progress = Self::new(what);
        if progress.bar.is_hidden() && !every.is_zero() {
            progress.lines = Some((every, Instant::now() + every));
        }
        progress
    }

    /// So many were done before this began: they tell nothing of the pace.
    pub fn begin_at(&mut self, done: u64) {
        self.before = done;
        self.bar.set_position(done);
        self.bar.reset_eta();
    }

    /// When the next line is due.
    pub fn due(&self) -> Option<Duration> {
        self.lines.map(|(_, due)| due.saturating_duration_since(Instant::now()))
    }

    /// Says a line if it is due.
    pub fn proceed(&mut self, done: u64, failed: u64, running: usize) {
        let now = Instant::now();
        let Some((every, due)) = &mut self.lines else { return };
        if *due > now {
            return;
        }
        *due = now + *every;
        say(line(&self.what, done, self.total, failed, running, done - self.before, self.begun.elapsed()));
    }

    /// How many there will be.
    pub fn total(&mut self, total: u64) {
        self.total = Some(total);
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

/// `120 of 500 tasks done, 3 failed, 8 running; 12.1/s, 31 s left`.
fn line(
    what: &str,
    done: u64,
    total: Option<u64>,
    failed: u64,
    running: usize,
    news: u64,
    span: Duration,
) -> String {
    let of = total.map_or(String::new(), |total| format!(" of {total}"));
    let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    let rate = news as f64 / span.as_secs_f64().max(1e-9);
    let left = match total {
        Some(total) if news > 0 => {
            let seconds = (total.saturating_sub(done) as f64 / rate).ceil();
            format!(", {} left", span_text(seconds as u64))
        }
        _ => String::new(),
    };
    format!("{done}{of} {what} done{failed}, {running} running; {rate:.1}/s{left}")
}

/// `31 s`, `12 min`, `3 h 5 min`.
fn span_text(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_pace_and_time_left_as_far_as_they_are_known() {
        let at = Duration::from_secs(10);
        assert_eq!(
            line("tasks", 120, Some(500), 3, 8, 100, at),
            "120 of 500 tasks done, 3 failed, 8 running; 10.0/s, 38 s left"
        );
        assert_eq!(line("tasks", 0, None, 0, 2, 0, at), "0 tasks done, 2 running; 0.0/s");
        assert_eq!(line("tasks", 0, Some(5), 0, 2, 0, at), "0 of 5 tasks done, 2 running; 0.0/s");
        assert_eq!([119, 120, 7199, 11_100].map(span_text), ["119 s", "2 min", "120 min", "3 h 5 min"]);
    }
}
