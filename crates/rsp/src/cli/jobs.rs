//! The options of those who have jobs computed: `rsp run`, `resume`, `retry`, `job`, `explain`.
//!
//! The comments below are the help that users read.
#![allow(rustdoc::broken_intra_doc_links)]

use super::Registrars;
use super::values::{TIME_MAX, job_name, need, number, pool_handle, time};
use clap::{Args, Subcommand};
use rserpool::PoolHandle;
use rserpool_compute::Resources;
use std::ffi::OsString;
use std::path::PathBuf;

/// Run a command many times, as tasks on the workers of a pool.
///
/// `rsp run -- COMMAND ::: VALUES` runs COMMAND once per value, `… | rsp run -- COMMAND` once per line of standard
/// input. `{}` in any argument stands for the value; without it the value is appended. Several `:::` multiply. There is
/// no shell in between. The output of tasks goes to standard output as they complete, never mixed.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// The pool to use. Workers of `rsp worker` serve in `compute` unless told otherwise.
    #[arg(long, value_name = "NAME", default_value = "compute", value_parser = pool_handle)]
    pub pool: PoolHandle,

    #[command(flatten)]
    pub registrars: Registrars,

    /// Values on standard input end with NUL instead of newline.
    #[arg(short = '0', long)]
    pub null: bool,

    /// Print outputs in the order of the values.
    #[arg(short, long)]
    pub keep_order: bool,

    /// Print one line of JSON per task instead of the outputs (schema in docs/json.md).
    #[arg(long)]
    pub json: bool,

    /// A file or folder that tasks find in their folder; may be given several times. With `{}` it is each task's own,
    /// else all share it, for reading.
    #[arg(long, value_name = "PATH")]
    pub input: Vec<OsString>,

    /// A task for each file that matches, with the file in its folder; `{in}` stands for its name there. In a pattern `*`
    /// and `?` stop at `/`, `**` does not. Several multiply, as `:::` does.
    #[arg(long, value_name = "GLOB")]
    pub each: Vec<String>,

    /// A file, a folder, or a pattern of files that a task leaves in its folder and that come back; may be given several
    /// times. They land in OUT/TASK/NAME; with `{}` or `{in}` in the name, in OUT/NAME.
    #[arg(long, value_name = "NAME")]
    pub output: Vec<OsString>,

    /// Where outputs land.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,

    /// A folder that every worker gets once; tasks find it by RSP_ENV, and its bin in their PATH.
    #[arg(long, value_name = "DIR")]
    pub env: Option<PathBuf>,

    /// COMMAND is the name of a function that the workers have (docs/rust.md), and what follows its input in JSON, several
    /// words a list; no process is started. `echo` is built in.
    #[arg(long, conflicts_with_all = ["input", "each", "output", "env", "timeout", "memory", "nice"])]
    pub call: bool,

    /// Give up when the pool has had no worker for so long: seconds, or such as 90s, 15m, 2h.
    #[arg(long, value_name = "TIME", default_value = "30", value_parser = |text: &str| time(text, 0..=TIME_MAX))]
    pub patience: u64,

    #[command(flatten)]
    pub limits: LimitArgs,

    /// What to call the job. Default: the command's name and some digits.
    #[arg(long, value_name = "NAME", value_parser = job_name)]
    pub name: Option<String>,

    /// Keep no journal: the job cannot be resumed, and its results are only printed.
    #[arg(long, conflicts_with = "name")]
    pub no_journal: bool,

    /// Where there is no terminal, say on standard error how far the job is as often as this; 0: never.
    #[arg(long, value_name = "TIME", default_value = "30", value_parser = |text: &str| time(text, 0..=TIME_MAX))]
    pub progress: u64,

    /// The command, its arguments, and `:::` with values.
    #[arg(last = true, required = true, value_name = "COMMAND [ARGS] [::: VALUES]…")]
    pub words: Vec<OsString>,
}

/// What tasks need, and how far each may go (docs/workers.md). A job keeps it for all its lives.
#[derive(Clone, Debug, Default, Args)]
pub struct LimitArgs {
    /// What each task needs of its worker while it runs: NAME=AMOUNT (gpu=1, mem=2G), NAME for one of it, or tag:NAME. May
    /// be given several times.
    #[arg(long, value_name = "NEED", value_parser = need)]
    pub need: Vec<String>,

    /// End a task that runs for longer than this, each time it is tried: seconds, or such as 90s, 15m, 2h.
    #[arg(long, value_name = "TIME", value_parser = |text: &str| time(text, 1..=TIME_MAX))]
    pub timeout: Option<u64>,

    /// End a task whose processes use more memory than this together, such as 512M or 2G.
    #[arg(long, value_name = "SIZE", value_parser = rserpool_compute::resources::amount_of)]
    pub memory: Option<u64>,

    /// Let tasks step back behind other processes of their machine: 0 to 19.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = number(0..=19_u8))]
    pub nice: u8,

    /// Try a task that fails (another exit status than 0, a signal, a limit) up to so many times more, elsewhere if another
    /// worker can. Each life of the client counts anew.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = number(0..=u32::MAX))]
    pub retries: u32,

    /// Which tasks may run at two workers at a time when they take much longer than others and slots are idle: never, or
    /// idempotent if the command does no harm when it runs twice. The first result counts.
    #[arg(long, value_name = "WHICH", default_value = "never", value_parser = ["never", "idempotent"],
          hide_possible_values = true)]
    pub backups: String,
}

impl LimitArgs {
    /// What the tasks need, all together.
    pub fn needs(&self) -> Result<Resources, String> {
        let mut needs = Resources::NONE;
        for text in &self.need {
            needs.add(text).map_err(|why| format!("--need {text} {why}"))?;
        }
        Ok(needs)
    }
}

/// Go on with a job whose client was interrupted or killed, or lost its power or its disk space.
///
/// What was accepted is not run again. Results that were not printed yet are printed first; each is printed at least once
/// over all lives of the job's client. The job runs as it was begun: same command, values, folder and options.
#[derive(Clone, Debug, Args)]
pub struct ResumeArgs {
    /// The job; `last` is the one begun last.
    #[arg(default_value = "last")]
    pub job: String,

    /// If the job's input had not ended: the rest of it comes from standard input.
    #[arg(long)]
    pub stdin: bool,

    /// Ask these registrars instead of those the job was begun with.
    #[arg(long = "registrar", value_name = "HOST[:PORT]")]
    pub registrar: Vec<String>,

    /// Give up when the pool has had no worker for so long: seconds, or such as 90s, 15m, 2h.
    #[arg(long, value_name = "TIME", value_parser = |text: &str| time(text, 0..=TIME_MAX))]
    pub patience: Option<u64>,

    /// Print one line of JSON per task instead of the outputs (schema in docs/json.md).
    #[arg(long)]
    pub json: bool,
}

impl ResumeArgs {
    /// What is said now counts instead of what was said when the job was begun.
    pub fn change(&self, run: &mut RunArgs) {
        if !self.registrar.is_empty() {
            run.registrars.registrar = self.registrar.clone();
        }
        run.patience = self.patience.unwrap_or(run.patience);
        run.json |= self.json;
    }
}

/// Run the failed tasks of a job once more, and only those (and what is left, if it is not over).
///
/// Failed are tasks that ended with another status than 0, by a signal or a time-out, and tasks that were given up.
#[derive(Clone, Debug, Args)]
pub struct RetryArgs {
    #[command(flatten)]
    pub resume: ResumeArgs,
}

/// Look at jobs, cancel and remove them.
#[derive(Clone, Debug, Subcommand)]
pub enum JobCommand {
    /// All jobs.
    Ls {
        /// One line of JSON per job (schema in docs/json.md).
        #[arg(long)]
        json: bool,
    },
    /// One job.
    Show {
        /// The job.
        #[arg(default_value = "last")]
        job: String,
        /// As JSON (schema in docs/json.md).
        #[arg(long)]
        json: bool,
    },
    /// Cancel a job: nothing of it is started or accepted any more. Returns when that is certain, or
    /// tells which process does not answer.
    Cancel {
        /// The job.
        job: String,
    },
    /// What tasks wrote on standard error.
    Logs {
        /// The job, or one task of it: JOB/TASK.
        #[arg(default_value = "last", value_name = "JOB[/TASK]")]
        job: String,
    },
    /// The results accepted so far, in the order of their acceptance.
    Results {
        /// The job, or one task of it: JOB/TASK.
        #[arg(default_value = "last", value_name = "JOB[/TASK]")]
        job: String,
        /// One line of JSON per accepted task (schema in docs/json.md).
        #[arg(long)]
        json: bool,
    },
    /// Remove jobs with all that is known of them.
    Rm {
        /// The jobs.
        jobs: Vec<String>,
        /// All jobs that are over, with success or cancelled.
        #[arg(long, conflicts_with = "jobs")]
        finished: bool,
    },
}

/// Tell why a job or a task waits or failed, with the evidence and the next step.
#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// The job, or one task of it: JOB/TASK.
    #[arg(default_value = "last", value_name = "JOB[/TASK]")]
    pub job: String,

    /// As JSON (schema in docs/json.md).
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_amounts_or_tags_and_add_up_once_each() {
        let needs = |all: &[&str]| -> Result<String, String> {
            let need = all.iter().map(|one| need(one)).collect::<Result<_, _>>()?;
            LimitArgs { need, ..LimitArgs::default() }.needs().map(|needs| needs.to_string())
        };
        assert_eq!(needs(&["gpu", "mem=2K", "tag:ssd"]), Ok("gpu=1,mem=2048,tag:ssd".into()));
        for wrong in [&["gpu=0"][..], &["gpu=many"], &["GPU"], &["tag:"], &["a:b"], &["gpu=1", "gpu=2"]] {
            assert!(needs(wrong).is_err(), "{wrong:?}");
        }
    }
}
