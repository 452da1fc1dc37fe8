//! The command lines of `rsp serve` and `rsp client`.
#![allow(rustdoc::broken_intra_doc_links)]

use crate::cli::{Registrars, identifier, number, pool_handle};
use clap::{Args, Subcommand};
use rserpool::{Policy, PoolHandle};
use std::path::PathBuf;
use std::time::Duration;

/// Serve as an element of one of RSPLIB's application services (docs/services.md).
#[derive(Clone, Debug, Subcommand)]
pub enum ServeCommand {
    /// Send every message back (pool EchoPool).
    Echo(ServeArgs),
    /// Swallow every message (pool DiscardPool).
    Discard(ServeArgs),
    /// Say what time it is and end the session (pool DaytimePool).
    Daytime(ServeArgs),
    /// Send characters until the user goes (pool CharGenPool).
    Chargen(ServeChargen),
    /// Answer Pings by number, with a cookie each (pool PingPongPool).
    Pingpong(ServePingpong),
    /// Compute jobs of the CalcApp model with a shared capacity (pool CalcAppPool).
    Calcapp(ServeCalcapp),
    /// Compute pictures of Mandelbrot sets (pool FractalGeneratorPool).
    Fractal(ServeFractal),
    /// Run programs that users upload (pool ScriptingPool). They have the rights of this process: see docs/services.md.
    Scripting(ServeScripting),
}

/// What every service takes.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// The pool to serve in. Default: the service's own.
    #[arg(long, value_name = "NAME", value_parser = pool_handle)]
    pub pool: Option<PoolHandle>,

    #[command(flatten)]
    pub registrars: Registrars,

    /// The address users reach this element at. Needed when the registrar is not on this machine; anything but
    /// loopback is reachable by others, and there is no encryption yet. Several addresses, separated by commas, are
    /// several paths.
    #[arg(long, value_name = "ADDR[:PORT][,ADDR]…")]
    pub listen: Option<String>,

    /// How the pool chooses: RoundRobin, LeastUsed, ... (all elements of a pool alike). Default: RoundRobin; of
    /// scripting: LeastUsedDegradation.
    #[arg(long, value_name = "POLICY")]
    pub policy: Option<Policy>,

    /// Its identifier, 8 hexadecimal digits. Default: random.
    #[arg(long, value_name = "HEX", value_parser = identifier)]
    pub id: Option<u32>,

    /// Serve sessions over TCP instead of SCTP. Programs of RSPLIB cannot use such an element.
    #[arg(long)]
    pub tcp: bool,

    /// Say on standard error what happens.
    #[arg(short, long)]
    pub verbose: bool,
}

#[derive(Clone, Debug, Args)]
pub struct ServeChargen {
    #[command(flatten)]
    pub common: ServeArgs,

    /// Sessions at a time; more are ended at once.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = number(0..=usize::MAX))]
    pub sessions: usize,

    /// End each session after so many messages of 1,024 octets. Default: never.
    #[arg(long, value_name = "N", value_parser = number(0..=u64::MAX))]
    pub messages: Option<u64>,

    /// Octets per second for each session.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = number(0..=u64::MAX))]
    pub rate: u64,
}

#[derive(Clone, Debug, Args)]
pub struct ServePingpong {
    #[command(flatten)]
    pub common: ServeArgs,

    /// Sessions at a time; more are ended at once.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = number(0..=usize::MAX))]
    pub sessions: usize,

    /// End each session after so many replies, to see a fail-over. Default: never.
    #[arg(long, value_name = "N", value_parser = number(1..=u64::MAX))]
    pub failure_after: Option<u64>,
}

#[derive(Clone, Debug, Args)]
pub struct ServeCalcapp {
    #[command(flatten)]
    pub common: ServeArgs,

    /// Calculations per second.
    #[arg(long, value_name = "N", default_value = "1000000", value_parser = calculations)]
    pub capacity: u64,

    /// Jobs at a time; more are rejected.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = number(1..=100_000_u32))]
    pub jobs: u32,

    /// Seconds between two keep-alives of a job.
    #[arg(long, value_name = "SECONDS", default_value = "2.5", value_parser = seconds)]
    pub keep_alive_interval: Duration,

    /// Seconds a user may take to answer one, before its job is dropped.
    #[arg(long, value_name = "SECONDS", default_value = "2.5", value_parser = seconds)]
    pub keep_alive_timeout: Duration,

    /// Give each job a cookie at least this often, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub cookie_interval: Duration,

    /// ... and after this many calculations.
    #[arg(long, value_name = "N", default_value = "5000000", value_parser = calculations)]
    pub cookie_calculations: u64,

    /// With which probability an interrupt gives every job a last cookie (0 to 1).
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub clean_shutdown: f64,

    #[command(flatten)]
    pub files: StatisticsFiles,
}

/// Where CalcApp's statistics go, in the formats of RSPLIB.
#[derive(Clone, Debug, Args)]
pub struct StatisticsFiles {
    /// Write a line per completed job into this file.
    #[arg(long, value_name = "FILE")]
    pub vector: Option<PathBuf>,

    /// Write totals into this file in the end.
    #[arg(long, value_name = "FILE")]
    pub scalar: Option<PathBuf>,

    /// What this program is called in these files.
    #[arg(long, value_name = "NAME")]
    pub object: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub struct ServeFractal {
    #[command(flatten)]
    pub common: ServeArgs,

    /// Sessions at a time, and threads that compute; more sessions are ended at once.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = number(1..=1024_u32))]
    pub threads: u32,

    /// Seconds between two messages of data at most.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub data_interval: Duration,

    /// Seconds between two cookies at most.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub cookie_interval: Duration,

    /// Messages of data between two cookies at most.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = number(1..=u32::MAX))]
    pub cookie_packets: u32,

    /// End each session after so many messages of data, to see a fail-over. Default: never.
    #[arg(long, value_name = "N", value_parser = number(1..=u64::MAX))]
    pub failure_after: Option<u64>,

    /// Send a pattern instead of the picture.
    #[arg(long)]
    pub test_mode: bool,
}

#[derive(Clone, Debug, Args)]
pub struct ServeScripting {
    #[command(flatten)]
    pub common: ServeArgs,

    /// Runs at a time; more are turned away. Default: the number of processors.
    #[arg(long, value_name = "N", value_parser = number(1..=1024_u32))]
    pub slots: Option<u32>,

    /// Kill a program that runs longer than so many seconds. Default: one day.
    #[arg(long, value_name = "SECONDS", default_value = "86400", value_parser = seconds)]
    pub time_limit: Duration,

    /// Largest archive, environment and output, each, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = number(1..=16_384_u64))]
    pub file_limit: u64,

    /// Largest archive when unpacked, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = number(1..=1_048_576_u64))]
    pub unpacked_limit: u64,

    /// Where environments are kept for the next run. Default: a folder that goes with this process.
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,

    /// Octets kept there at most, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 128, value_parser = number(0..=1_048_576_u64))]
    pub cache_size: u64,

    /// Environments kept there at most.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = number(0..=usize::MAX))]
    pub cache_entries: usize,

    /// Seconds a user may take for each message of an upload.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub transmit_timeout: Duration,

    /// Seconds between two keep-alives while a program runs.
    #[arg(long, value_name = "SECONDS", default_value = "15", value_parser = seconds)]
    pub keep_alive_interval: Duration,

    /// Seconds a user may take to answer one.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub keep_alive_timeout: Duration,
}

/// Use a pool of one of RSPLIB's application services (docs/services.md).
#[derive(Clone, Debug, Subcommand)]
pub enum ClientCommand {
    /// Send each line of standard input and print the answers (pool EchoPool).
    Echo(ClientLines),
    /// Send each line of standard input (pool DiscardPool).
    Discard(ClientLines),
    /// Print what time it is (pool DaytimePool).
    Daytime(ClientListen),
    /// Print characters until interrupted, or as many as wanted (pool CharGenPool).
    Chargen(ClientChargen),
    /// Send Pings and watch the numbers of the answers (pool PingPongPool).
    Pingpong(ClientPingpong),
    /// Have jobs of random sizes computed and measure how long it takes (pool CalcAppPool).
    Calcapp(ClientCalcapp),
    /// Have pictures of Mandelbrot sets computed (pool FractalGeneratorPool).
    Fractal(ClientFractal),
    /// Have an archive with a program run, and bring its output back (pool ScriptingPool).
    Scripting(ClientScripting),
}

/// What every user takes.
#[derive(Clone, Debug, Args)]
pub struct ClientArgs {
    /// The pool to use. Default: the service's own.
    #[arg(long, value_name = "NAME", value_parser = pool_handle)]
    pub pool: Option<PoolHandle>,

    #[command(flatten)]
    pub registrars: Registrars,

    /// Give up when nobody in the pool could be reached for this many seconds.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub patience: Duration,

    /// Say on standard error what happens.
    #[arg(short, long)]
    pub verbose: bool,
}

#[derive(Clone, Debug, Args)]
pub struct ClientLines {
    #[command(flatten)]
    pub common: ClientArgs,

    /// An element that does not answer for so many seconds counts as hung: the pool goes on with another one.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub timeout: Duration,
}

#[derive(Clone, Debug, Args)]
pub struct ClientListen {
    #[command(flatten)]
    pub common: ClientArgs,

    /// An element that says nothing for so many seconds counts as hung: the pool goes on with another one.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub timeout: Duration,
}

#[derive(Clone, Debug, Args)]
pub struct ClientChargen {
    #[command(flatten)]
    pub listen: ClientListen,

    /// End after so many octets. Default: with an interrupt, or the reader of standard output.
    #[arg(long, value_name = "N", value_parser = number(0..=u64::MAX))]
    pub octets: Option<u64>,
}

#[derive(Clone, Debug, Args)]
pub struct ClientPingpong {
    #[command(flatten)]
    pub common: ClientArgs,

    /// Between two Pings, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = number(1..=u64::MAX))]
    pub interval: u64,

    /// End after so many answers. Default: with an interrupt.
    #[arg(long, value_name = "N", value_parser = number(1..=u64::MAX))]
    pub count: Option<u64>,

    /// An element that does not answer for so many seconds counts as hung: the pool goes on with another one.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub timeout: Duration,

    /// Print one line of JSON per answer.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct ClientCalcapp {
    #[command(flatten)]
    pub common: ClientArgs,

    /// Mean of the pauses between jobs, in seconds (negative exponential). 0: each job comes after the one before.
    #[arg(long, value_name = "SECONDS", default_value_t = 15.0)]
    pub job_interval: f64,

    /// Mean of the job sizes, in calculations (negative exponential).
    #[arg(long, value_name = "N", default_value = "5000000", value_parser = calculations)]
    pub job_size: u64,

    /// End after so many jobs. Default: with an interrupt, or --runtime.
    #[arg(long, value_name = "N", value_parser = number(1..=u64::MAX))]
    pub jobs: Option<u64>,

    /// End after so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub runtime: Option<Duration>,

    /// Where intervals and sizes come from: equal seeds, equal jobs. Default: random.
    #[arg(long, value_name = "N", value_parser = number(0..=u64::MAX))]
    pub seed: Option<u64>,

    /// Seconds between two keep-alives.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub keep_alive_interval: Duration,

    /// Seconds an element may take to answer, before another one is asked.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub keep_alive_timeout: Duration,

    #[command(flatten)]
    pub files: StatisticsFiles,

    /// Print one line of JSON per job, and one for all in the end.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct ClientFractal {
    #[command(flatten)]
    pub common: ClientArgs,

    /// Size of the picture in points.
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = number(1..=8192_u32))]
    pub width: u32,

    /// See --width.
    #[arg(long, value_name = "N", default_value_t = 250, value_parser = number(1..=8192_u32))]
    pub height: u32,

    /// Split each picture among so many sessions.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = number(1..=512_u32))]
    pub sessions: u32,

    /// What to compute: a file of RSPLIB (*.fsf, *.fgp), or a folder of which one is chosen for each picture. Default:
    /// the whole Mandelbrot set.
    #[arg(long, value_name = "FILE|DIR")]
    pub scene: Option<PathBuf>,

    /// Pictures to compute.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = number(1..=u64::MAX))]
    pub count: u64,

    /// Seconds between two pictures.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    pub pause: f64,

    /// Where to write the picture (PNG). Several pictures are numbered: NAME-000001.png.
    #[arg(long, value_name = "FILE", default_value = "fractal.png")]
    pub out: PathBuf,

    /// Which scene of a folder comes when: equal seeds, equal order. Default: random.
    #[arg(long, value_name = "N", value_parser = number(0..=u64::MAX))]
    pub seed: Option<u64>,

    /// Compute the same here and compare every point. A difference ends with status 1.
    #[arg(long)]
    pub check: bool,

    /// Show in the colours where an element was lost.
    #[arg(long)]
    pub failure_marks: bool,

    /// Show in the colours which session computed what.
    #[arg(long)]
    pub session_marks: bool,

    /// An element that sends nothing for so many seconds counts as hung.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub timeout: Duration,
}

#[derive(Clone, Debug, Args)]
pub struct ClientScripting {
    #[command(flatten)]
    pub common: ClientArgs,

    /// The work: a tar archive, plain or by gzip or bzip2, with an executable `ssrun` in it.
    #[arg(long, value_name = "FILE")]
    pub input: PathBuf,

    /// Where to write the output.
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,

    /// A file the work needs, which elements keep for the next run.
    #[arg(long, value_name = "FILE")]
    pub environment: Option<PathBuf>,

    /// Executions that may fail (exit code other than 0) in all.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = number(1..=u32::MAX))]
    pub trials: u32,

    /// Seconds before the next element is tried.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub retry_delay: Duration,

    /// Seconds an element may take for its next message while files are on their way.
    #[arg(long, value_name = "SECONDS", default_value = "59.5", value_parser = seconds)]
    pub transmit_timeout: Duration,

    /// Seconds of silence before a keep-alive.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub keep_alive_interval: Duration,

    /// Seconds an element may take to answer it.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub keep_alive_timeout: Duration,
}

/// A number of calculations, 1 at least; `5e6` is allowed.
fn calculations(text: &str) -> Result<u64, String> {
    let number = text.parse::<u64>().ok().or_else(|| {
        let number = text.parse::<f64>().ok()?.round();
        (1.0..=1e18).contains(&number).then_some(number as u64)
    });
    number.filter(|number| *number > 0).ok_or_else(|| "give a number above 0, such as 5000000 or 5e6".into())
}

/// Seconds above 0, fractions allowed.
pub fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number <= 1e9 => Ok(Duration::from_secs_f64(number)),
        _ => Err("give a number of seconds above 0, such as 2.5".into()),
    }
}
