//! A pool of our own, for those who have none: a registrar in this process and workers beside it.

use crate::address::{Choice, Target};
use crate::cli::RunArgs;
use crate::exit::{Code, Failure};
use crate::local::{self, Server, Starting};
use crate::process::{self, say};
use rserpool::Timing;
use rserpool_net::pool::Registrar;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, pidfd_open};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

/// A registrar and a worker per core. Dropping it ends all of them.
pub struct Private {
    starting: Vec<Starting>,
    another: Option<Another>,
    watched: Option<Watched>,
    _registrar: Registrar,
}

/// Begins to start another worker.
type Another = Box<dyn FnMut() -> Result<Starting, Failure> + Send>;

/// The workers are in the hands of a thread, as long as the socket is there.
struct Watched {
    thread: JoinHandle<Vec<Server>>,
    _alive: UnixStream,
}

impl Private {
    /// Waits until its workers serve. From then on one that dies has a successor.
    pub fn wait(mut self) -> Result<Self, Failure> {
        let workers = self.starting.drain(..).map(Starting::wait).collect::<Result<Vec<_>, _>>()?;
        let cannot =
            |cause: std::io::Error| Failure::new(Code::Failed, format!("cannot watch workers: {cause}"));
        let (alive, ended) = UnixStream::pair().map_err(cannot)?;
        if let Some(another) = self.another.take() {
            let thread = std::thread::Builder::new().name("private pool".into());
            let thread = thread.spawn(move || watch(workers, another, &ended)).map_err(cannot)?;
            self.watched = Some(Watched { thread, _alive: alive });
        }
        Ok(self)
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let Some(Watched { thread, _alive: alive }) = self.watched.take() else { return };
        drop(alive);
        local::end(thread.join().unwrap_or_default());
    }
}

/// The pause before a successor is started: what ends workers as soon as they begin must not keep the machine busy.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Starts another worker for each that dies, until the other end of the socket is gone. One that left in good order was told
/// to. The tasks of a worker that died are the job's business.
fn watch(mut workers: Vec<Server>, mut another: Another, ended: &UnixStream) -> Vec<Server> {
    loop {
        // Whoever is gone between these two is found in the next turn.
        let held: Vec<_> =
            workers.iter().map(|worker| pidfd_open(worker.pid(), PidfdFlags::empty())).collect();
        let mut waiting = vec![PollFd::new(ended, PollFlags::IN)];
        waiting.extend(held.iter().flatten().map(|held| PollFd::new(held, PollFlags::IN)));
        let _ = poll(&mut waiting, None);
        if !waiting[0].revents().is_empty() {
            return workers;
        }
        let mut died = 0;
        workers.retain_mut(|worker| {
            let status = worker.ended();
            died += usize::from(status.is_some_and(|status| !status.success()));
            status.is_none()
        });
        let mut stop = [PollFd::new(ended, PollFlags::IN)];
        if died > 0 && poll(&mut stop, Some(&PAUSE)).is_ok_and(|ready| ready > 0) {
            return workers;
        }
        for _ in 0..died {
            match another().and_then(Starting::wait) {
                Ok(worker) => workers.push(worker),
                Err(failure) => say(format!("a worker of the private pool died: {failure}")),
            }
        }
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
    let mut another: Another =
        Box::new(move || local::worker(random.nonzero_u32(), &name, 1, profile.name(), &[at], &[]));
    let starting = (0..cores).map(|_| another()).collect::<Result<_, _>>()?;
    choice.targets = vec![Target { at, protocol: None }];
    say(format!(
        "no registrar at {usual}: using a private one with {cores} workers on this machine, gone at the end"
    ));
    Ok(Some(Private { starting, another: Some(another), watched: None, _registrar: registrar }))
}
