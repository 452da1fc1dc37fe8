//! `rsp`: run jobs on a pool of machines that come and go.
//!
//! One program with a command for every part: see [`cli`] for what there is, and one module per command for what it
//! does. Results go to standard output, everything else to standard error; a failure is one line with the next step in
//! it, and an exit code of [`exit`].

mod address;
mod ask;
mod chaos;
mod cli;
mod client;
mod decode;
mod demo;
mod doctor;
mod drain;
mod dump;
mod exit;
mod files;
mod jobs;
mod keeper;
mod local;
mod pool;
mod process;
mod progress;
mod registrar;
mod run;
mod services;
mod signals;
mod sim;
mod status;
mod template;
mod worker;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use cli::{Cli, Command};
use exit::{Code, Failure};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Every worker starts two of these before its first task: they do without the command line of everything else.
    let command = match keeper::asked(std::env::args_os()) {
        Some((scratch, inner)) => keep(&scratch, inner),
        None => match Cli::try_parse() {
            Ok(cli) => run(cli.command),
            // It names option, value and what is expected; that there is help besides says nothing new.
            Err(error) if error.kind() == ErrorKind::ValueValidation => {
                Err(Failure::new(Code::Usage, first_line(&error.to_string())))
            }
            Err(error) if lacks_dashes(&error) => Err(Failure::new(Code::Usage, NO_DASHES)),
            Err(error) => error.exit(),
        },
    };
    match command {
        Ok(code) => code.into(),
        Err(failure) => {
            process::say(format!("rsp: {failure}"));
            failure.code.into()
        }
    }
}

fn run(command: Command) -> Result<Code, Failure> {
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Chaos(args) => chaos::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Resume(args) => run::resume(&args),
        Command::Retry(args) => run::retry(&args),
        Command::Job(command) => jobs::run(&command),
        Command::Explain(args) => jobs::explain(&args),
        Command::Registrar(args) => registrar::run(&args).map(|()| Code::Done),
        Command::Worker(args) => worker::run(&args).map(|()| Code::Done),
        Command::Serve(command) => services::serve(&command).map(|()| Code::Done),
        Command::Client(command) => services::client(&command),
        Command::Drain(args) => drain::run(&args),
        Command::Decode => decode::run(std::io::stdin().lock(), std::io::stdout().lock())
            .map(|()| Code::Done)
            .map_err(|cause| Failure::new(Code::CannotWrite, format!("the decoding cannot go on: {cause}"))),
        Command::Pool(command) => pool::run(&command).map(|()| Code::Done),
        Command::Resolve(args) => pool::resolve(&args).map(|()| Code::Done),
        Command::Doctor(args) => doctor::run(&args),
        Command::Monitor(args) => status::monitor(&args).map(|()| Code::Done),
        Command::Sim(args) => sim::run(&args),
    }
}

const NO_DASHES: &str =
    "what to run comes behind `--`: rsp run [OPTIONS] -- COMMAND [ARGS] [::: VALUES]…; see rsp run --help";

/// True of `rsp run echo` and `rsp run ::: 1`, what everybody tries first.
fn lacks_dashes(error: &clap::Error) -> bool {
    let is_word =
        |value: &ContextValue| matches!(value, ContextValue::String(word) if !word.starts_with('-'));
    let of_run = std::env::args_os().nth(1).is_some_and(|word| word == "run");
    of_run
        && match error.kind() {
            ErrorKind::UnknownArgument => error.get(ContextKind::InvalidArg).is_some_and(is_word),
            kind => kind == ErrorKind::MissingRequiredArgument,
        }
}

fn first_line(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line)
}

fn keep(scratch: &Path, inner: bool) -> Result<Code, Failure> {
    let ended = keeper::run(scratch, inner);
    ended
        .map(|()| Code::Done)
        .map_err(|cause| Failure::new(Code::Failed, format!("the keeper cannot go on: {cause}")))
}
