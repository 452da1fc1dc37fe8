//! The processes: two registrars, the workers, and the client in its lives.

use super::ledger::{SCRIPT, WORKER};
use crate::address::{Choice, Target};
use crate::ask::Answer;
use crate::cli::{ChaosArgs, Registrars};
use crate::exit::{Code, Failure};
use crate::local::{self, RegistrarAt, Server};
use crate::process;
use rserpool::{ElementId, PoolHandle, Random, RegistrarId};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// The name of pool and job.
pub const NAME: &str = "chaos";

/// A worker of ours.
pub struct Worker {
    server: Server,
    /// Neither stopped nor gone.
    pub serves: bool,
}

/// Everybody. Dropping it ends them.
pub struct Cast<'a> {
    args: &'a ChaosArgs,
    seed: u32,
    folder: &'a Path,
    random: Random,
    registrars: Vec<(RegistrarId, RegistrarAt, Option<Server>)>,
    /// Those that live.
    pub workers: BTreeMap<ElementId, Worker>,
    client: Option<Child>,
    /// Clients begun so far.
    pub lives: u32,
}

impl<'a> Cast<'a> {
    /// Starts registrars and workers, and waits until all serve.
    pub fn start(args: &'a ChaosArgs, seed: u32, folder: &'a Path) -> Result<Self, Failure> {
        let mut random = process::random();
        let mut registrars: Vec<(RegistrarId, RegistrarAt, Option<Server>)> = Vec::new();
        for _ in 0..2 {
            let id = random.nonzero_u32();
            let peers: Vec<_> = registrars.iter().map(|(_, at, _)| at.enrp).collect();
            let (server, at) = local::registrar(id, args.profile.name(), &peers)?;
            registrars.push((RegistrarId(id), at, Some(server)));
        }
        let (workers, client) = (BTreeMap::new(), None);
        let mut cast = Self { args, seed, folder, random, registrars, workers, client, lives: 0 };
        let starting: Result<Vec<_>, _> = (0..args.workers).map(|_| cast.worker()).collect();
        for (id, worker) in starting? {
            cast.workers.insert(id, Worker { server: worker.wait()?, serves: true });
        }
        Ok(cast)
    }

    // ----- workers

    fn worker(&mut self) -> Result<(ElementId, local::Starting), Failure> {
        let id = ElementId(self.random.nonzero_u32());
        let registrars: Vec<_> = self.registrars.iter().map(|(_, at, _)| at.asap).collect();
        let variables = [(WORKER, id.to_string())];
        let profile = self.args.profile.name();
        Ok((id, local::worker(id.0, NAME, 1, profile, &registrars, &variables)?))
    }

    /// Starts another worker.
    pub fn hire(&mut self) -> Result<ElementId, Failure> {
        let (id, worker) = self.worker()?;
        self.workers.insert(id, Worker { server: worker.wait()?, serves: true });
        Ok(id)
    }

    /// Kills a worker and waits until it is dead. Its process.
    pub fn kill(&mut self, id: ElementId) -> Option<i32> {
        let worker = self.workers.remove(&id)?;
        let pid = worker.server.pid().as_raw_nonzero().get();
        worker.server.signal(Signal::KILL);
        drop(worker);
        Some(pid)
    }

    /// Stops a worker, or lets it go on. Its process.
    pub fn stop(&mut self, id: ElementId, stop: bool) -> Option<i32> {
        let worker = self.workers.get_mut(&id)?;
        worker.server.signal(if stop { Signal::STOP } else { Signal::CONT });
        worker.serves = !stop;
        Some(worker.server.pid().as_raw_nonzero().get())
    }

    // ----- registrars

    /// The elements a registrar knows, with their homes; `None`: it does not answer.
    pub fn known_at(&self, place: usize) -> Result<Option<BTreeMap<ElementId, RegistrarId>>, Failure> {
        let target = Target { at: self.registrars[place].1.asap, protocol: None };
        let registrars = Registrars { profile: self.args.profile, ..Registrars::default() };
        let only = Choice { targets: vec![target], named: true };
        let pool = PoolHandle::new(NAME).expect("a short name");
        Ok(match crate::pool::ask(&registrars, &only, Some(pool))? {
            Answer::Listing(listing) => {
                let elements = listing.pools.into_iter().flat_map(|(_, elements)| elements);
                Some(elements.map(|element| (element.id, element.home)).collect())
            }
            _ => None,
        })
    }

    /// How many living workers have their home at each registrar.
    pub fn homes(&self) -> Result<[usize; 2], Failure> {
        let mut homes = [0; 2];
        for (place, count) in homes.iter_mut().enumerate() {
            let known = self.known_at(place)?.unwrap_or_default();
            let id = self.registrars[place].0;
            *count = known.iter().filter(|(of, at)| **at == id && self.workers.contains_key(of)).count();
        }
        Ok(homes)
    }

    /// Kills a registrar and waits until it is dead. Its name and process.
    pub fn kill_registrar(&mut self, place: usize) -> Option<(RegistrarId, i32)> {
        let (id, _, server) = &mut self.registrars[place];
        let server = server.take()?;
        server.signal(Signal::KILL);
        Some((*id, server.pid().as_raw_nonzero().get()))
    }

    /// Starts it again where it was, with nothing but the address of the other one. Its new name.
    pub fn restart_registrar(&mut self, place: usize) -> Result<RegistrarId, Failure> {
        let id = self.random.nonzero_u32();
        let (at, peer) = (self.registrars[place].1, self.registrars[1 - place].1.enrp);
        let (server, at) = local::registrar_again(id, self.args.profile.name(), at, &[peer])?;
        self.registrars[place] = (RegistrarId(id), at, Some(server));
        Ok(RegistrarId(id))
    }

    // ----- the client

    /// Where the journal is.
    pub fn journal(&self) -> PathBuf {
        self.folder.join("state/jobs").join(NAME).join("journal")
    }

    /// What the client printed in this life, counted from 1.
    pub fn printed(&self, life: u32) -> PathBuf {
        self.folder.join(format!("results-{life}"))
    }

    /// What it said besides.
    pub fn said(&self, life: u32) -> PathBuf {
        self.folder.join(format!("client-{life}"))
    }

    /// Runs `rsp` on the state of the job.
    pub fn rsp(&self) -> io::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.env("RSP_STATE_DIR", self.folder.join("state")).env_remove("RSP_REGISTRAR");
        Ok(command)
    }

    /// Starts the client: of a new job, or for its next life.
    pub fn start_client(&mut self) -> Result<(), Failure> {
        self.lives += 1;
        let spawned = self.client_command().and_then(|mut command| command.spawn());
        self.client = Some(spawned.map_err(|cause| {
            Failure::new(
                Code::Failed,
                format!("cannot start the client in {}: {cause}", self.folder.display()),
            )
        })?);
        Ok(())
    }

    fn client_command(&self) -> io::Result<Command> {
        let mut command = self.rsp()?;
        command.stdout(File::create_new(self.printed(self.lives))?);
        command.stderr(File::create_new(self.said(self.lives))?).stdin(Stdio::null());
        if self.lives > 1 {
            command.args(["resume", NAME]);
            return Ok(command);
        }
        let values = self.folder.join("values");
        let mut file = io::BufWriter::new(File::create_new(&values)?);
        (1..=self.args.tasks).try_for_each(|value| writeln!(file, "{value}"))?;
        file.flush()?;
        command.stdin(File::open(values)?);
        command.args(["run", "--json", "--name", NAME, "--pool", NAME, "--progress", "0"]);
        command.args(["--profile", self.args.profile.name()]);
        for (_, at, _) in &self.registrars {
            command.args(["--registrar", &at.asap.to_string()]);
        }
        command.args(["--", "sh", "-c", SCRIPT, "sh"]).arg(self.folder.join("ledger"));
        command.arg(self.seed.to_string());
        Ok(command)
    }

    /// Kills the client and waits until it is dead. Its process.
    pub fn kill_client(&mut self) -> Option<u32> {
        let mut client = self.client.take()?;
        let _ = client.kill();
        let _ = client.wait();
        Some(client.id())
    }

    /// How the client ended, if it did.
    pub fn client_ended(&mut self) -> Option<ExitStatus> {
        self.client.as_mut()?.try_wait().ok().flatten()
    }
}

impl Drop for Cast<'_> {
    fn drop(&mut self) {
        self.kill_client();
    }
}
