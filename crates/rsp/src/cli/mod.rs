//! The command line: every command, option and default, declared once.
//!
//! The comments below are the help that users read, so `HOST[:PORT]` in them is no link. The options of jobs and of those who
//! serve have rooms of their own; so have those of services (`services/cli.rs`).
#![allow(rustdoc::broken_intra_doc_links)]

mod jobs;
mod roles;
mod values;

use crate::services::cli::{ClientCommand, ServeCommand};
use clap::{Args, Parser, Subcommand, ValueEnum};
pub use jobs::{ExplainArgs, JobCommand, LimitArgs, ResumeArgs, RetryArgs, RunArgs};
pub use roles::{DrainArgs, RegistrarArgs, WorkerArgs};
use rserpool::{PoolHandle, Profile};
use std::path::PathBuf;
pub use values::{identifier, number, pool_handle};

/// Run jobs on a pool of machines that come and go.
///
/// A registrar knows who serves, workers compute, and `rsp run` has a job computed: it finishes although any of them
/// dies on the way. On one machine nothing needs to be started first.
#[derive(Debug, Parser)]
#[command(name = "rsp", version, max_term_width = 110, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  rsp demo                                     a picture, although its computers die
  rsp run -- ./render --frame {} ::: 1 2 3     three tasks
  seq 500 | rsp run -- ./simulate --seed {}    five hundred
  rsp resume                                   go on with the last job, whatever ended it
  rsp registrar; rsp worker; rsp pool ls       the parts, each in a terminal of its own

Exit status:
  0 done                         6 a result or journal cannot be written
  1 some tasks failed            7 done as far as known, but the input had not ended
  2 usage                        8 another process works on the job
  3 no registrar reachable       9 the job is cancelled
  4 pool unknown or empty,       130 interrupted
    or no slot in time
  5 an address or port cannot be bound";

#[derive(Debug, Subcommand)]
pub enum Command {
    Demo(DemoArgs),
    Chaos(ChaosArgs),
    Run(RunArgs),
    Resume(ResumeArgs),
    Retry(RetryArgs),
    #[command(subcommand)]
    Job(JobCommand),
    Explain(ExplainArgs),
    Registrar(RegistrarArgs),
    Worker(WorkerArgs),
    Drain(DrainArgs),
    #[command(subcommand)]
    Serve(ServeCommand),
    #[command(subcommand)]
    Client(ClientCommand),
    #[command(subcommand)]
    Pool(PoolCommand),
    Resolve(ResolveArgs),
    Doctor(DoctorArgs),
    Monitor(MonitorArgs),
    #[command(args_conflicts_with_subcommands = true)]
    Sim(SimArgs),
    /// Decode messages: lines `asap HEX`, `enrp HEX`, `csp HEX` on standard input, one line of JSON for each (docs/json.md).
    Decode,
}

/// Whose SCTP to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sctp {
    /// The kernel's where there is one, and SCTP over UDP beside it.
    #[default]
    Auto,
    /// The kernel's alone; an error where there is none (`rsp doctor` tells why).
    Kernel,
    /// SCTP over UDP alone: no kernel module, no root.
    Udp,
    /// None: TCP alone. Registrars cannot do without, for they reach each other by SCTP only.
    Off,
}

impl Sctp {
    /// In the words of `rserpool-net`.
    pub fn stack(self) -> rserpool_net::Stack {
        match self {
            Self::Auto | Self::Off => rserpool_net::Stack::Auto,
            Self::Kernel => rserpool_net::Stack::Kernel,
            Self::Udp => rserpool_net::Stack::Udp,
        }
    }
}

/// Which registrars to ask.
#[derive(Clone, Debug, Default, Args)]
pub struct Registrars {
    /// A registrar to ask, HOST[:PORT] (port 3863); may be given several times. Without it: RSP_REGISTRAR (several
    /// separated by commas), else 127.0.0.1:3863. `tcp://` or `sctp://` before it insists on a transport.
    #[arg(long = "registrar", value_name = "HOST[:PORT]")]
    pub registrar: Vec<String>,

    /// Also listen for registrars that announce themselves by multicast.
    #[arg(long)]
    pub discover: bool,

    /// Whose SCTP to use: auto (the kernel's where there is one, and SCTP over UDP beside it), kernel, udp, or off. Workers
    /// register over it; clients use TCP unless this says kernel or udp, or a registrar is named sctp://….
    #[arg(long, value_name = "WHOSE", default_value = "auto", hide_possible_values = true)]
    pub sctp: Sctp,

    /// Timers: realtime, default or rfc.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub profile: Profile,
}

/// Reports of what a component does, to a monitor.
#[derive(Clone, Debug, Default, Args)]
pub struct StatusArgs {
    /// Report to this monitor by UDP (port 2960): `rsp monitor`, or cspmonitor of RSPLIB.
    #[arg(long, value_name = "HOST[:PORT]", env = "CSP_SERVER")]
    pub csp: Option<String>,

    /// Milliseconds between two reports.
    #[arg(long, value_name = "MS", env = "CSP_INTERVAL", default_value_t = 1000,
          value_parser = number(250..=3_600_000_u64))]
    pub csp_interval: u64,
}

/// Show what components report of themselves (`--csp`; also those of RSPLIB), a line for each report, until interrupted.
#[derive(Clone, Debug, Args)]
pub struct MonitorArgs {
    /// Listen here.
    #[arg(long, value_name = "ADDR[:PORT]", default_value = "127.0.0.1:2960")]
    pub listen: String,

    /// Every report as a line of JSON (the documents of `rsp decode`, see docs/json.md).
    #[arg(long)]
    pub json: bool,
}

/// Compute a picture through a pool while workers and a registrar are killed, and prove that nothing was lost.
///
/// Starts 2 registrars and 4 workers as processes of their own on this machine, kills one worker, stops one (and lets
/// it continue later), kills the registrar the client uses, and compares the picture with one computed without a pool.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Leave out the killing.
    #[arg(long)]
    pub calm: bool,

    /// Size of the picture in pixels, WIDTHxHEIGHT.
    #[arg(long, value_name = "WxH")]
    pub size: Option<String>,

    /// A file with the parameters of the fractal (see docs/scene.md).
    #[arg(long, value_name = "FILE")]
    pub scene: Option<PathBuf>,

    /// Where to write the picture.
    #[arg(long, value_name = "FILE", default_value = "rsp-demo.png")]
    pub out: PathBuf,

    /// Timers: realtime, default or rfc.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub profile: Profile,
}

/// Run a job while everything around it is killed, and prove that each task's result is accepted exactly once.
///
/// Starts 2 registrars and several workers as processes of their own on this machine, and the client of a job of many short
/// tasks. Workers are killed (in the middle of a task) and replaced, one is stopped and continued, the client is killed
/// twice and resumed, a registrar is killed and started again. Tasks keep a ledger of what was executed; in the end it is
/// compared with the journal and the results. Exit status 1 if anything is lost, doubled or different, or if a fault did
/// not happen (docs/when-things-die.md).
#[derive(Clone, Debug, Args)]
pub struct ChaosArgs {
    /// How many tasks; each takes 20 to 100 ms.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = number(20..=1_000_000_u64))]
    pub tasks: u64,

    /// Decides how long each task takes and what its result is. Default: random.
    #[arg(long, value_name = "N", value_parser = number(0..=u32::MAX))]
    pub seed: Option<u32>,

    /// How many workers, with one slot each.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = number(2..=256_u16))]
    pub workers: u16,

    /// How many workers are to die in the middle of a task.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = number(0..=u32::MAX))]
    pub kills: u32,

    /// Leave out the faults.
    #[arg(long)]
    pub calm: bool,

    /// Keep the ledger, the journal and what the clients said in this folder, which must be new or empty.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,

    /// Timers: realtime, default or rfc.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub profile: Profile,
}

/// Show the pools that a registrar knows.
#[derive(Clone, Debug, Subcommand)]
pub enum PoolCommand {
    /// All pools.
    Ls(ListArgs),
    /// The elements of one pool.
    Show {
        /// The pool.
        #[arg(value_parser = pool_handle)]
        pool: PoolHandle,
        #[command(flatten)]
        list: ListArgs,
    },
}

/// Whom to ask for a list, and how to show it.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub show: ShowArgs,

    /// Ask this registrar at its ENRP port (9901) instead, as a peer would: the way to list what one of RSPLIB knows.
    /// It takes us for a peer for a while, and cannot take over a dead one meanwhile.
    #[arg(long, value_name = "HOST[:PORT]", conflicts_with_all = ["registrar", "discover"])]
    pub enrp: Option<String>,
}

/// How to show what a registrar knows.
#[derive(Clone, Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    pub registrars: Registrars,

    /// One JSON document instead of a table (schema in docs/json.md).
    #[arg(long)]
    pub json: bool,
}

/// Ask a registrar for elements of a pool, as a user would: in the order of selection. Asking counts as a selection.
#[derive(Clone, Debug, Args)]
pub struct ResolveArgs {
    /// The pool.
    #[arg(value_parser = pool_handle)]
    pub pool: PoolHandle,

    /// How many elements at most. Default: as many as the registrar likes to give.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = number(0..=u32::MAX))]
    pub items: u32,

    #[command(flatten)]
    pub show: ShowArgs,
}

/// Look at what hinders SCTP on this machine, and name the cures.
///
/// Looks and tries, changes nothing. Exit status 1 if something hinders, 0 if there are hints at most.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// One JSON document instead of lines (schema in docs/json.md).
    #[arg(long)]
    pub json: bool,
}

/// Run the simulated world: the same code, virtual time, seeded faults, checkers on.
#[derive(Clone, Debug, Args)]
pub struct SimArgs {
    /// Replay the world of this seed, event by event.
    #[arg(long, value_name = "N", required = true, value_parser = number(0..=u64::MAX))]
    pub seed: Option<u64>,

    #[command(subcommand)]
    pub swarm: Option<SimCommand>,
}

#[derive(Clone, Debug, Subcommand)]
pub enum SimCommand {
    /// Run many seeds and say in one line what happened.
    Swarm {
        /// How many seeds.
        #[arg(long, value_name = "COUNT", default_value_t = 2000, value_parser = number(0..=u64::MAX))]
        seeds: u64,
        /// The first one.
        #[arg(long, value_name = "N", default_value_t = 0, value_parser = number(0..=u64::MAX))]
        start: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
