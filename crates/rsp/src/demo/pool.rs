//! The demo's processes: two registrars that know each other, four workers that know both.

use crate::exit::Failure;
use crate::local::{self, Server};
use rserpool::{ElementId, Profile, RegistrarId};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The pool the demo's workers serve in.
pub const NAME: &str = "demo";

/// How many workers.
const WORKERS: usize = 4;

/// All processes of the demo. Dropping it ends them.
pub struct Pool {
    registrars: Vec<(RegistrarId, SocketAddr, Server)>,
    workers: BTreeMap<ElementId, Server>,
}

impl Pool {
    /// Starts everything and waits until all serve.
    pub fn start(profile: Profile) -> Result<Self, Failure> {
        let mut random = crate::process::random();
        let mut registrars = Vec::new();
        let mut peers = Vec::new();
        for _ in 0..2 {
            let id = random.nonzero_u32();
            let (server, at) = local::registrar(id, profile.name(), &peers)?;
            peers.push(at.enrp);
            registrars.push((RegistrarId(id), at.asap, server));
        }
        let asap: Vec<SocketAddr> = registrars.iter().map(|(_, at, _)| *at).collect();
        let mut starting = Vec::new();
        for _ in 0..WORKERS {
            let id = random.nonzero_u32();
            starting.push((ElementId(id), local::worker(id, NAME, 1, profile.name(), &asap, &[])?));
        }
        let mut workers = BTreeMap::new();
        for (id, worker) in starting {
            workers.insert(id, worker.wait()?);
        }
        Ok(Self { registrars, workers })
    }

    /// Where the registrars are.
    pub fn registrars(&self) -> Vec<SocketAddr> {
        self.registrars.iter().map(|(_, at, _)| *at).collect()
    }

    /// The registrar at this address.
    pub fn registrar_at(&self, at: SocketAddr) -> Option<RegistrarId> {
        self.registrars.iter().find(|(_, its, _)| *its == at).map(|(id, _, _)| *id)
    }

    /// All workers ever started.
    pub fn workers(&self) -> impl Iterator<Item = ElementId> + '_ {
        self.workers.keys().copied()
    }

    /// Sends a signal to a worker; its process, if it is one of ours.
    pub fn signal(&self, worker: ElementId, signal: Signal) -> Option<i32> {
        let server = self.workers.get(&worker)?;
        server.signal(signal);
        Some(server.pid().as_raw_nonzero().get())
    }

    /// Kills the registrar at this address; its identifier and process, if it is one of ours.
    pub fn kill_registrar(&self, at: SocketAddr) -> Option<(RegistrarId, i32)> {
        let (id, _, server) = self.registrars.iter().find(|(_, its, _)| *its == at)?;
        server.signal(Signal::KILL);
        Some((*id, server.pid().as_raw_nonzero().get()))
    }
}
