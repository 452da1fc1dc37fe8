//! The options of those who serve: `rsp registrar`, `worker`, `drain`.
//!
//! The comments below are the help that users read.
#![allow(rustdoc::broken_intra_doc_links)]

use super::values::{TIME_MAX, amount, identifier, number, pool_handle, time};
use super::{Registrars, Sctp, StatusArgs};
use clap::Args;
use rserpool::{Policy, PoolHandle, Profile};
use std::path::PathBuf;

/// The longest deadline that can be asked for, in seconds: it travels in milliseconds.
const DEADLINE_MAX: u64 = 4_000_000;

/// Ask workers to leave: take no new tasks, finish (or hand over) what they have, and end.
#[derive(Clone, Debug, Args)]
pub struct DrainArgs {
    /// Workers, by identifier (`rsp pool show` tells) or by the address they serve at, HOST:PORT.
    #[arg(value_name = "WORKER", required_unless_present = "all")]
    pub workers: Vec<String>,

    /// All workers of the pool named by --pool.
    #[arg(long, requires = "pool", conflicts_with = "workers")]
    pub all: bool,

    /// The pool of the workers. Default: any.
    #[arg(long, value_name = "NAME", value_parser = pool_handle)]
    pub pool: Option<PoolHandle>,

    /// How long tasks may go on; what is not over then runs elsewhere. Seconds, or such as 90s, 15m, 2h.
    #[arg(long, value_name = "TIME", default_value = "60", value_parser = |text: &str| time(text, 0..=DEADLINE_MAX))]
    pub deadline: u64,

    /// Wait until they have left.
    #[arg(long)]
    pub wait: bool,

    #[command(flatten)]
    pub registrars: Registrars,
}

/// Serve as a registrar: know the pools, watch their elements, keep in step with other registrars.
#[derive(Clone, Debug, Args)]
pub struct RegistrarArgs {
    /// Serve ASAP (workers, users) at this address. Port 0 picks one. Anything but loopback is reachable by others,
    /// and there is no encryption yet. Several addresses, separated by commas, are several paths for SCTP.
    #[arg(long, value_name = "ADDR[:PORT][,ADDR]…", default_value = "127.0.0.1:3863")]
    pub listen: String,

    /// Serve ENRP (other registrars) at this address. Default: the addresses of --listen, port 9901.
    #[arg(long, value_name = "ADDR[:PORT][,ADDR]…")]
    pub enrp: Option<String>,

    /// Whose SCTP to serve: auto (the kernel's where there is one, and SCTP over UDP beside it), kernel, or udp.
    #[arg(long, value_name = "WHOSE", default_value = "auto", hide_possible_values = true)]
    pub sctp: Sctp,

    /// Accept SCTP over UDP at this port as well (RFC 6951). Default: 9899 if it is free. Port 0 picks one.
    #[arg(long, value_name = "PORT", value_parser = number(0..=u16::MAX))]
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

    /// Give elements to the registrars they belong to, and take those that are offered (draft enrp-takeover): after a
    /// failure, a registrar that comes back gets its share again. The same for all registrars of a scope.
    #[arg(long)]
    pub suggest_takeovers: bool,

    /// Measure how far elements are away, in steps of so many milliseconds, for the policies with a distance; 0: take
    /// their word.
    #[arg(long, value_name = "MS", default_value_t = 50, value_parser = number(0..=u64::MAX))]
    pub distance_step: u64,

    /// Timers: realtime, default or rfc.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub profile: Profile,

    #[command(flatten)]
    pub status: StatusArgs,

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
    /// loopback is reachable by others, and there is no encryption yet. Several addresses, separated by commas, are
    /// several paths to the registrar.
    #[arg(long, value_name = "ADDR[:PORT][,ADDR]…")]
    pub listen: Option<String>,

    /// How many tasks at once. Default: the number of processors.
    #[arg(long, value_name = "N", value_parser = number(1..=1024_u32))]
    pub slots: Option<u32>,

    /// An amount of something that tasks may need (`rsp run --need`), such as gpu=1 or mem=8G; K, M, G, T are powers of
    /// 1,024. What runs never needs more of it together. May be given several times.
    #[arg(long, value_name = "NAME=AMOUNT", value_parser = amount)]
    pub resource: Vec<String>,

    /// Something that tasks may need and that is not used up, such as ssd (`rsp run --need tag:ssd`). May be given several
    /// times.
    #[arg(long, value_name = "NAME")]
    pub tag: Vec<String>,

    /// How long tasks may go on after SIGTERM. What is not over then runs elsewhere. Seconds, or such as 90s, 15m, 2h.
    #[arg(long, value_name = "TIME", default_value = "60", value_parser = |text: &str| time(text, 0..=TIME_MAX))]
    pub drain_deadline: u64,

    /// Let anybody who reaches this worker have it drained (`rsp drain`), not only this machine.
    #[arg(long)]
    pub allow_drain: bool,

    /// How the pool chooses: LeastUsed, RoundRobin, Random, … (all workers of a pool alike).
    #[arg(long, value_name = "POLICY", default_value = "LeastUsed")]
    pub policy: Policy,

    /// How long, when a client vanishes, its running tasks go on and its results are kept, for the client's next life.
    /// Seconds, or such as 90s, 15m, 2h.
    #[arg(long, value_name = "TIME", default_value = "10", value_parser = |text: &str| time(text, 0..=TIME_MAX))]
    pub orphan_grace: u64,

    /// Its identifier, 8 hexadecimal digits. Default: random.
    #[arg(long, value_name = "HEX", value_parser = identifier)]
    pub id: Option<u32>,

    /// Most octets of input files kept for tasks to come (K, M, G, T are powers of 1024).
    #[arg(long, value_name = "SIZE", default_value = "10G", value_parser = crate::files::size)]
    pub cache: u64,

    /// Keep them in this folder, also for the next life of the worker; one worker per folder. Without it they are gone
    /// with the worker.
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,

    /// Register over TCP instead of SCTP (an extension; for networks that carry neither SCTP nor UDP). So does
    /// --sctp off.
    #[arg(long)]
    pub asap_tcp: bool,

    #[command(flatten)]
    pub status: StatusArgs,

    /// Say on standard error what happens.
    #[arg(short, long)]
    pub verbose: bool,

    /// (internal) End when the process that started this one ends; tasks run in its folder.
    #[arg(long, hide = true)]
    pub private: bool,
}
