//! `rsp`: run jobs on a pool of machines that come and go.
//!
//! One program with a command for every part: see [`cli`] for what there is, and one module per command for what it
//! does. Results go to standard output, everything else to standard error; a failure is one line with the next step in
//! it, and an exit code of [`exit`].

mod address;
mod ask;
mod cli;
mod client;
mod decode;
mod demo;
mod exit;
mod keeper;
mod local;
mod pool;
mod process;
mod progress;
mod registrar;
mod run;
mod signals;
mod sim;
mod template;
mod worker;

use clap::Parser;
use cli::{Cli, Command};
use exit::{Code, Failure};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
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
        Command::Run(args) => run::run(&args),
        Command::Registrar(args) => registrar::run(&args).map(|()| Code::Done),
        Command::Worker(args) => worker::run(&args).map(|()| Code::Done),
        Command::Keeper { scratch } => keeper::run(&scratch)
            .map(|()| Code::Done)
            .map_err(|cause| Failure::new(Code::Failed, format!("the keeper cannot go on: {cause}"))),
        Command::Decode => decode::run(std::io::stdin().lock(), std::io::stdout().lock())
            .map(|()| Code::Done)
            .map_err(|cause| Failure::new(Code::CannotWrite, format!("the decoding cannot go on: {cause}"))),
        Command::Pool(command) => pool::run(&command).map(|()| Code::Done),
        Command::Resolve(args) => pool::resolve(&args).map(|()| Code::Done),
        Command::Sim(args) => sim::run(&args),
    }
}
