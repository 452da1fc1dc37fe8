//! The command line: every command, option and default, declared once.
//!
//! The comments below are the help that users read, so `HOST[:PORT]` in them is no link.
#![allow(rustdoc::broken_intra_doc_links)]

use clap::{Args, Parser, Subcommand};
use rserpool::{Policy, PoolHandle, Profile};
use std::ffi::OsString;
use std::path::PathBuf;

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
  rsp registrar; rsp worker; rsp pool ls       the parts, each in a terminal of its own

Exit status:
  0 done                         4 pool unknown or empty, or no slot in time
  1 some tasks failed            5 an address or port cannot be bound
  2 usage                        6 a result cannot be written
  3 no registrar reachable       130 interrupted";

#[derive(Debug, Subcommand)]
pub enum Command {
    Demo(DemoArgs),
    Run(RunArgs),
    Registrar(RegistrarArgs),
    Worker(WorkerArgs),
    #[command(subcommand)]
    Pool(PoolCommand),
    Resolve(ResolveArgs),
    #[command(args_conflicts_with_subcommands = true)]
    Sim(SimArgs),
    /// Decode messages: lines `asap HEX`, `enrp HEX`, `csp HEX` on standard input, one line of JSON for each (docs/json.md).
    Decode,
    /// (internal) Owns the task processes of a worker.
    #[command(hide = true)]
    Keeper {
        scratch: PathBuf,
    },
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

    /// Timers: realtime, default or rfc.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub profile: Profile,
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

    /// Give up when the pool has had no worker for this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub patience: u64,

    /// The command, its arguments, and `:::` with values.
    #[arg(last = true, required = true, value_name = "COMMAND [ARGS] [::: VALUES]…")]
    pub words: Vec<OsString>,
}

/// Serve as a registrar: know the pools, watch their elements, keep in step with other registrars.
#[derive(Clone, Debug, Args)]
pub struct RegistrarArgs {
    /// Serve ASAP (workers, users) at this address. Port 0 picks one. Anything but loopback is reachable by others,
    /// and there is no encryption yet.
    #[arg(long, value_name = "ADDR[:PORT]", default_value = "127.0.0.1:3863")]
    pub listen: String,

    /// Serve ENRP (other registrars) at this address. Default: the address of --listen, port 9901.
    #[arg(long, value_name = "ADDR[:PORT]")]
    pub enrp: Option<String>,

    /// Accept SCTP over UDP at this port as well (RFC 6951). Default: 9899 if it is free. Port 0 picks one.
    #[arg(long, value_name = "PORT")]
    pub udp: Option<u16>,

    /// Another registrar to keep in step with, by its ENRP port (9901); may be given several times.
    #[arg(long, value_name = "HOST[:PORT]")]
    pub peer: Vec<String>,

    /// Announce this registrar by multicast, and find others.
    #[arg(long)]
    pub discover: bool,

    /// Its identifier, 8 hexadecimal digits. Default: random.
    #[arg(long, value_name = "HEX", value_parser = identifier)]
    pub id: Option<u32>,

    /// Which of two registrars that want to take over a third one wins: larger (RFC 5353) or smaller (a scope shared
    /// with RSPLIB). The same for all registrars of a scope.
    #[arg(long, value_name = "ID", default_value = "larger", value_parser = ["larger", "smaller"])]
    pub arbitration: String,

    /// Timers: realtime, default or rfc.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub profile: Profile,

    /// Say on standard error what happens.
    #[arg(short, long)]
    pub verbose: bool,

    /// (internal) End when the process that started this one ends.
    #[arg(long, hide = true)]
    pub private: bool,
}

/// Serve as a worker: register in a pool and compute tasks.
#[derive(Clone, Debug, Args)]
pub struct WorkerArgs {
    /// The pool to serve in.
    #[arg(long, value_name = "NAME", default_value = "compute", value_parser = pool_handle)]
    pub pool: PoolHandle,

    #[command(flatten)]
    pub registrars: Registrars,

    /// The address users reach this worker at. Needed when the registrar is not on this machine; anything but
    /// loopback is reachable by others, and there is no encryption yet.
    #[arg(long, value_name = "ADDR[:PORT]")]
    pub listen: Option<String>,

    /// How many tasks at once. Default: the number of processors.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub slots: Option<u32>,

    /// How the pool chooses: LeastUsed, RoundRobin, Random, … (all workers of a pool alike; see docs/policies.md).
    #[arg(long, value_name = "POLICY", default_value = "LeastUsed")]
    pub policy: Policy,

    /// Its identifier, 8 hexadecimal digits. Default: random.
    #[arg(long, value_name = "HEX", value_parser = identifier)]
    pub id: Option<u32>,

    /// Register over TCP instead of SCTP over UDP (an extension; for networks that carry no UDP).
    #[arg(long)]
    pub asap_tcp: bool,

    /// Say on standard error what happens.
    #[arg(short, long)]
    pub verbose: bool,

    /// (internal) End when the process that started this one ends; tasks run in its folder.
    #[arg(long, hide = true)]
    pub private: bool,
}

/// Show the pools that a registrar knows.
#[derive(Clone, Debug, Subcommand)]
pub enum PoolCommand {
    /// All pools.
    Ls(ShowArgs),
    /// The elements of one pool.
    Show {
        /// The pool.
        #[arg(value_parser = pool_handle)]
        pool: PoolHandle,
        #[command(flatten)]
        show: ShowArgs,
    },
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
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub items: u32,

    #[command(flatten)]
    pub show: ShowArgs,
}

/// Run the simulated world: the same code, virtual time, seeded faults, checkers on.
#[derive(Clone, Debug, Args)]
pub struct SimArgs {
    /// Replay the world of this seed, event by event.
    #[arg(long, value_name = "N", required = true)]
    pub seed: Option<u64>,

    #[command(subcommand)]
    pub swarm: Option<SimCommand>,
}

#[derive(Clone, Debug, Subcommand)]
pub enum SimCommand {
    /// Run many seeds and say in one line what happened.
    Swarm {
        /// How many seeds.
        #[arg(long, value_name = "COUNT", default_value_t = 2000)]
        seeds: u64,
        /// The first one.
        #[arg(long, value_name = "N", default_value_t = 0)]
        start: u64,
    },
}

fn pool_handle(text: &str) -> Result<PoolHandle, String> {
    PoolHandle::new(text).ok_or_else(|| "a pool's name has 1 to 32 octets".into())
}

fn identifier(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text.trim_start_matches("0x"), 16) {
        Ok(0) => Err("0 stands for nobody".into()),
        Ok(id) => Ok(id),
        Err(_) => Err("an identifier is up to 8 hexadecimal digits, such as 00c0ffee".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn identifiers_are_hexadecimal_and_not_zero() {
        assert_eq!(identifier("00c0ffee"), Ok(0xc0ffee));
        assert_eq!(identifier("0x1"), Ok(1));
        assert!(identifier("0").is_err() && identifier("xyz").is_err() && identifier("123456789").is_err());
    }
}
