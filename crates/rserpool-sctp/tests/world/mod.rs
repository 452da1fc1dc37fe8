//! A virtual network for stacks: hosts with UDP sockets, and a weather of delay, loss, duplication, reordering and
//! corruption, all from one seed.
//!
//! Addresses 10.N.x.x and fd0N::x are in network N. A host may be in several networks, and each may be cut, as a whole or
//! in one direction only: what is sent there vanishes, and nobody is told.
#![allow(dead_code, reason = "each test file uses its part")]

use rserpool::{Ppid, Random, Time};
use rserpool_sctp::{AssocId, Config, ConnectError, Event, Mux, Path, PathState, Transmit, Why, udp_ports};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

pub const MS: Duration = Duration::from_millis(1);

/// What happens to datagrams. Shares are in thousandths.
#[derive(Clone, Debug)]
pub struct Weather {
    pub delay: Duration,
    /// Up to this much more, drawn for each datagram: so they overtake each other.
    pub jitter: Duration,
    pub lost: u32,
    pub doubled: u32,
    pub corrupted: u32,
}

impl Weather {
    pub fn fair() -> Self {
        Self { delay: MS, jitter: Duration::ZERO, lost: 0, doubled: 0, corrupted: 0 }
    }

    pub fn foul(lost: u32) -> Self {
        Self { delay: MS, jitter: 3 * MS, lost, doubled: 30, corrupted: 20 }
    }
}

/// A machine with one stack.
pub struct Host {
    pub mux: Mux,
    /// The UDP sockets, by number.
    pub sockets: Vec<SocketAddr>,
    /// What happened and was not looked at yet.
    pub events: Vec<Event>,
}

impl Host {
    pub fn ups(&self) -> Vec<(AssocId, bool)> {
        let up = |event: &Event| match event {
            Event::Up { assoc, inbound, .. } => Some((*assoc, *inbound)),
            _ => None,
        };
        self.events.iter().filter_map(up).collect()
    }

    pub fn closed(&self) -> Vec<(AssocId, Why)> {
        let closed = |event: &Event| match event {
            Event::Closed { assoc, why } => Some((*assoc, *why)),
            _ => None,
        };
        self.events.iter().filter_map(closed).collect()
    }

    /// What has become of paths, by the network of the other side's address.
    pub fn paths(&self) -> Vec<(u8, PathState)> {
        let path = |event: &Event| match event {
            Event::Path { remote, state, .. } => Some((network(remote.ip()), *state)),
            _ => None,
        };
        self.events.iter().filter_map(path).collect()
    }

    /// Whole messages as stream, PPID, octets.
    pub fn messages(&self) -> Vec<(u16, Ppid, &[u8])> {
        fn message(event: &Event) -> Option<(u16, Ppid, &[u8])> {
            match event {
                Event::Message { stream, ppid, bytes, .. } => Some((*stream, *ppid, bytes)),
                _ => None,
            }
        }
        self.events.iter().filter_map(message).collect()
    }
}

pub struct World {
    pub now: Time,
    pub random: Random,
    pub hosts: Vec<Host>,
    pub weather: Weather,
    /// Nothing gets through.
    pub cut: bool,
    /// Networks through which nothing gets.
    pub dead: BTreeSet<u8>,
    /// Nothing gets from this address to that.
    pub blocked: BTreeSet<(IpAddr, IpAddr)>,
    /// Nothing gets from one network to another.
    pub isolated: bool,
    /// What a network loses, in thousandths, besides what the weather does.
    pub lossy: BTreeMap<u8, u32>,
    /// Under way: when it arrives, in which order it left, from, to, octets.
    wire: BTreeMap<(Time, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    sent: u64,
    /// Every datagram that was sent: when, from, to, octets.
    pub log: Vec<(Time, SocketAddr, SocketAddr, Vec<u8>)>,
    pub logging: bool,
}

pub fn address(host: usize) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, host as u8 + 1).into()
}

/// Which network an address is in.
pub fn network(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(v4) => v4.octets()[1],
        IpAddr::V6(v6) => v6.octets()[1],
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            now: Time::from_millis(1_000),
            random: Random::from_seed(seed),
            hosts: Vec::new(),
            weather: Weather::fair(),
            cut: false,
            dead: BTreeSet::new(),
            blocked: BTreeSet::new(),
            isolated: true,
            lossy: BTreeMap::new(),
            wire: BTreeMap::new(),
            sent: 0,
            log: Vec::new(),
            logging: false,
        }
    }

    /// A machine 10.0.0.N with a UDP socket for each port, listening at the SCTP ports of the same numbers.
    pub fn host(&mut self, ports: &[u16]) -> usize {
        self.host_with(ports, Config::default())
    }

    pub fn host_with(&mut self, ports: &[u16], config: Config) -> usize {
        let here = address(self.hosts.len());
        let sockets: Vec<SocketAddr> = ports.iter().map(|&port| SocketAddr::new(here, port)).collect();
        self.host_at(&sockets, config)
    }

    /// A machine with several addresses, at SCTP port 3863, with a UDP socket at each.
    pub fn host_in(&mut self, addresses: &[&str]) -> usize {
        let at = |text: &&str| SocketAddr::new(text.parse().expect("an address"), 3863);
        let sockets: Vec<SocketAddr> = addresses.iter().map(at).collect();
        self.host_at(&sockets, Config::default())
    }

    pub fn host_at(&mut self, sockets: &[SocketAddr], config: Config) -> usize {
        let mux = self.fresh_mux(sockets, config);
        self.hosts.push(Host { mux, sockets: sockets.to_vec(), events: Vec::new() });
        self.hosts.len() - 1
    }

    fn fresh_mux(&mut self, sockets: &[SocketAddr], config: Config) -> Mux {
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&self.random.next_u64().to_be_bytes());
        let mut mux = Mux::new(config, secret);
        for (number, at) in sockets.iter().enumerate() {
            mux.listen(at.port());
            mux.bind(number, at.port(), &[at.ip()]);
        }
        mux
    }

    /// The process dies without a word and starts again at once, at the same ports.
    pub fn restart(&mut self, host: usize) {
        let sockets = self.hosts[host].sockets.clone();
        let config = self.hosts[host].mux.config().clone();
        self.hosts[host].mux = self.fresh_mux(&sockets, config);
        self.hosts[host].events.clear();
    }

    /// Opens an association from the first port of a host to an SCTP port of another, as the port rule says.
    pub fn connect(&mut self, from: usize, to: usize, port: u16) -> AssocId {
        let local = self.hosts[from].sockets[0].port();
        let candidates: Vec<Path> = udp_ports(port)
            .map(|udp| Path { socket: 0, remote: SocketAddr::new(address(to), udp) })
            .collect();
        let now = self.now;
        let assoc = self.hosts[from].mux.connect(now, local, port, &candidates).expect("connects");
        self.drain(from);
        assoc
    }

    /// Opens an association from the first port of a host to an SCTP port of another, over all their addresses.
    pub fn connect_all(&mut self, from: usize, to: usize) -> Result<AssocId, ConnectError> {
        let local = self.hosts[from].sockets[0].port();
        let port = self.hosts[to].sockets[0].port();
        let remotes: BTreeSet<IpAddr> = self.hosts[to].sockets.iter().map(|at| at.ip()).collect();
        let mut candidates = Vec::new();
        for ip in remotes {
            let socket = self.hosts[from].mux.socket_towards(local, ip);
            for udp in udp_ports(port) {
                let remote = SocketAddr::new(ip, udp);
                candidates.extend(socket.map(|socket| Path { socket, remote }));
            }
        }
        self.with(from, |mux, now| mux.connect(now, local, port, &candidates))
    }

    /// Two hosts with these addresses and an association over all of them: both names. All paths are confirmed.
    pub fn multi_homed(seed: u64, left: &[&str], right: &[&str]) -> (Self, AssocId, AssocId) {
        let mut world = Self::new(seed);
        let (a, b) = (world.host_in(left), world.host_in(right));
        let ours = world.connect_all(a, b).expect("connects");
        world.run_for(100 * MS);
        let theirs = world.hosts[b].ups()[0].0;
        world.hosts.iter_mut().for_each(|host| host.events.clear());
        (world, ours, theirs)
    }

    /// Two hosts with an association between their ports 3863: both names.
    pub fn pair(seed: u64) -> (Self, AssocId, AssocId) {
        Self::pair_with(seed, Config::default())
    }

    pub fn pair_with(seed: u64, config: Config) -> (Self, AssocId, AssocId) {
        let mut world = Self::new(seed);
        let (a, b) = (world.host_with(&[3863], config.clone()), world.host_with(&[3863], config));
        let ours = world.connect(a, b, 3863);
        world.run_until(|w| !w.hosts[0].ups().is_empty() && !w.hosts[1].ups().is_empty());
        let theirs = world.hosts[1].ups()[0].0;
        world.hosts.iter_mut().for_each(|host| host.events.clear());
        (world, ours, theirs)
    }

    pub fn send(&mut self, host: usize, assoc: AssocId, stream: u16, ppid: Ppid, bytes: &[u8]) {
        let now = self.now;
        self.hosts[host].mux.send(now, assoc, stream, ppid, bytes.to_vec()).expect("sends");
        self.drain(host);
    }

    /// Does something to a stack, now.
    pub fn with<R>(&mut self, host: usize, act: impl FnOnce(&mut Mux, Time) -> R) -> R {
        let result = act(&mut self.hosts[host].mux, self.now);
        self.drain(host);
        result
    }

    /// Puts a datagram on the wire.
    pub fn inject(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        if self.logging {
            self.log.push((self.now, from, to, bytes.clone()));
        }
        let (here, there) = (network(from.ip()), network(to.ip()));
        let no_way = self.isolated && here != there
            || self.dead.contains(&here)
            || self.dead.contains(&there)
            || self.blocked.contains(&(from.ip(), to.ip()));
        let lossy = self.lossy.get(&there).copied().unwrap_or(0);
        if self.cut || no_way || self.chance(self.weather.lost) || self.chance(lossy) {
            return;
        }
        let copies = 1 + u32::from(self.chance(self.weather.doubled));
        for _ in 0..copies {
            let mut bytes = bytes.clone();
            if self.chance(self.weather.corrupted) {
                let bit = self.random.below(bytes.len() as u64 * 8) as usize;
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            let jitter = self.random.below(self.weather.jitter.as_nanos() as u64 + 1);
            let at = self.now + self.weather.delay + Duration::from_nanos(jitter);
            self.sent += 1;
            self.wire.insert((at, self.sent), (from, to, bytes));
        }
    }

    fn chance(&mut self, permille: u32) -> bool {
        permille > 0 && self.random.below(1000) < u64::from(permille)
    }

    fn drain(&mut self, host: usize) {
        while let Some(Transmit { path, bytes }) = self.hosts[host].mux.poll_output() {
            let from = self.hosts[host].sockets[path.socket];
            self.inject(from, path.remote, bytes);
        }
        while let Some(event) = self.hosts[host].mux.poll_event() {
            self.hosts[host].events.push(event);
        }
    }

    /// The next thing happens. False if nothing ever will.
    pub fn step(&mut self) -> bool {
        let arrival = self.wire.first_key_value().map(|(&(at, _), _)| at);
        let alarm = (0..self.hosts.len()).filter_map(|h| Some((self.hosts[h].mux.deadline()?, h))).min();
        match (arrival, alarm) {
            (Some(at), alarm) if alarm.is_none_or(|(due, _)| at <= due) => {
                self.now = self.now.max(at);
                let (_, (from, to, bytes)) = self.wire.pop_first().expect("looked at above");
                for host in 0..self.hosts.len() {
                    if let Some(socket) = self.hosts[host].sockets.iter().position(|&at| at == to) {
                        self.with(host, |mux, now| mux.input(now, Path { socket, remote: from }, &bytes));
                    }
                }
                true
            }
            (_, Some((due, host))) => {
                self.now = self.now.max(due);
                self.with(host, |mux, now| mux.wake(now));
                true
            }
            _ => false,
        }
    }

    /// Runs until this is so; panics after ten minutes of virtual time.
    pub fn run_until(&mut self, mut so: impl FnMut(&Self) -> bool) {
        let end = self.now + Duration::from_secs(600);
        while !so(self) {
            assert!(self.now < end && self.step(), "never happened; events: {:?}", self.event_names());
        }
    }

    pub fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let arrival = self.wire.first_key_value().map(|(&(at, _), _)| at);
            let alarm = self.hosts.iter().filter_map(|host| host.mux.deadline()).min();
            if arrival.into_iter().chain(alarm).min().is_none_or(|next| next > end) {
                break;
            }
            self.step();
        }
        self.now = end;
    }

    fn event_names(&self) -> Vec<Vec<String>> {
        let short = |event: &Event| format!("{event:?}").chars().take(80).collect();
        self.hosts.iter().map(|host| host.events.iter().map(short).collect()).collect()
    }
}

/// Octets that differ from place to place and from message to message.
pub fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::from_seed(seed ^ length as u64);
    let mut bytes: Vec<u8> = (0..length.div_ceil(8)).flat_map(|_| random.next_u64().to_be_bytes()).collect();
    bytes.truncate(length);
    bytes
}

/// Writes the checksum of a changed packet.
pub fn reseal(packet: &mut [u8]) {
    packet[8..12].fill(0);
    let sum = crc32c::crc32c(packet);
    packet[8..12].copy_from_slice(&sum.to_le_bytes());
}
