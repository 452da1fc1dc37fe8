//! A pool of our own, for those who have none: a registrar in this process and workers beside it.

use crate::address::{Choice, Target};
use crate::cli::RunArgs;
use crate::exit::{Code, Failure};
use crate::local::{self, Server, Starting};
use crate::process::{self, say};
use rserpool::Timing;
use rserpool_net::pool::Registrar;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A registrar and a worker per core. Dropping it ends all of them.
pub struct Private {
    starting: Vec<Starting>,
    workers: Vec<Server>,
    _registrar: Registrar,
}

impl Private {
    /// Waits until its workers serve.
    pub fn wait(mut self) -> Result<Self, Failure> {
        for worker in std::mem::take(&mut self.starting) {
            self.workers.push(worker.wait()?);
        }
        Ok(self)
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        local::end(std::mem::take(&mut self.workers));
    }
}

/// Begins to start one, if nobody was named and nobody is there.
pub fn pool(args: &RunArgs, choice: &mut Choice) -> Result<Option<Private>, Failure> {
    let is_there = |at: &SocketAddr| TcpStream::connect_timeout(at, Duration::from_millis(500)).is_ok();
    if choice.named || args.registrars.discover || choice.targets.iter().any(|target| is_there(&target.at)) {
        return Ok(None);
    }
    let usual = choice.targets[0].at;
    if !args.limits.need.is_empty() {
        let message = format!(
            "no registrar at {usual}, and the workers of a private pool have nothing that --need could ask for; start \
             `rsp registrar`, and `rsp worker` with --resource or --tag"
        );
        return Err(Failure::new(Code::NoRegistrar, message));
    }
    let profile = args.registrars.profile;
    let registrar = Registrar::with_timing("127.0.0.1:0", Timing::of(profile)).map_err(|cause| {
        Failure::new(Code::CannotBind, format!("cannot start a private registrar: {cause}"))
    })?;
    let at = registrar.socket_address();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let name = args.pool.to_string();
    let mut random = process::random();
    let worker = |_| local::worker(random.nonzero_u32(), &name, 1, profile.name(), &[at], &[]);
    let starting = (0..cores).map(worker).collect::<Result<_, _>>()?;
    choice.targets = vec![Target { at, protocol: None }];
    say(format!(
        "no registrar at {usual}: using a private one with {cores} workers on this machine, gone at the end"
    ));
    Ok(Some(Private { starting, workers: Vec::new(), _registrar: registrar }))
}
