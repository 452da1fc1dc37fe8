//! A registrar inside this program.

use super::{Error, addresses};
use crate::{Config, Identity, Running, UdpPort, clock};
use rserpool::registrar::{self, Scope};
use rserpool::{Role, Time, Timing};
use std::net::SocketAddr;

/// A registrar inside this program, alone in its scope: for tests, and for programs that bring their pool along. One that
/// outlives its clients is `rsp registrar`.
pub struct Registrar {
    running: Running<rserpool::Registrar>,
    address: SocketAddr,
}

impl Registrar {
    /// Serves at this address; port 0 picks one. ENRP gets a port of its own at the same address.
    pub fn start(at: &str) -> Result<Self, Error> {
        Self::with_timing(at, Timing::default())
    }

    /// The same, with other timers. Everybody who asks it should have the same.
    pub fn with_timing(at: &str, timing: Timing) -> Result<Self, Error> {
        let asap = addresses(at)?[0];
        let (mut random, _) = clock::seeded();
        let id = random.nonzero_u32();
        let mut net = Config::registrar(asap, SocketAddr::new(asap.ip(), 0));
        net.identity = Identity { role: Role::Registrar, own: id, pool: None };
        net.udp = UdpPort::None;
        let running = crate::spawn("registrar", net, move |bound| {
            let enrp = bound.enrp.clone().expect("a registrar asks for an ENRP door and gets it or an error");
            let local = bound.asap.iter().flat_map(|end| &end.addresses).any(|ip| ip.is_loopback());
            let config = registrar::Config {
                id: Some(rserpool::RegistrarId(id)),
                minimum_scope: if local { Scope::Loopback } else { Scope::SiteLocal },
                timing,
                ..registrar::Config::new(bound.asap.clone(), enrp)
            };
            let ignored = |_: &mut rserpool::Registrar, _: Time, _: registrar::Event| {};
            (rserpool::Registrar::new(config, random), ignored)
        })?;
        let address = running.bound.asap[0].socket_addresses().next().unwrap_or(asap);
        Ok(Self { running, address })
    }

    /// Where it serves: for [`Pool::connect`](super::Pool::connect) and [`Worker::registrar`](super::Worker::registrar).
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The same, not as text.
    pub fn socket_address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it, after its farewells.
    pub fn stop(self) {
        self.running.stop();
    }
}
