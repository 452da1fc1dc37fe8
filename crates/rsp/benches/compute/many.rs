//! Many short processes: `rsp run` on a pool of its own against `xargs` and GNU parallel.

use crate::common::rsp;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Processes per second of `true`, two at a time; `None` where the program is missing.
pub fn rate(mut command: Command, count: usize) -> Option<f64> {
    let begun = Instant::now();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    let mut stdin = child.stdin.take().expect("piped");
    let lines: String = (1..=count).map(|number| format!("{number}\n")).collect();
    let written = stdin.write_all(lines.as_bytes());
    drop(stdin);
    let status = child.wait().expect("our child");
    (written.is_ok() && status.success()).then(|| count as f64 / begun.elapsed().as_secs_f64())
}

/// `rsp run -- true`, with as many workers as processors.
pub fn ours(journal: bool) -> Command {
    let mut command = rsp();
    command.arg("run").args((!journal).then_some("--no-journal")).args(["--", "true"]);
    command
}

/// `xargs -n 1 -P 2 true`.
pub fn xargs() -> Command {
    let mut command = Command::new("xargs");
    command.args(["-n", "1", "-P", "2", "true"]);
    command
}

/// `parallel -j 2 true`.
pub fn parallel() -> Command {
    let mut command = Command::new("parallel");
    command.args(["-j", "2", "true"]);
    command
}
