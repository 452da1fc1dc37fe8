//! Several registrars that talk to each other, with elements that keep to the RFC and nothing more.
//!
//! Messages arrive at once and in order; time stands still until all is said. Links end when a process dies; when a host
//! vanishes, or a cut separates two, they stay and swallow what is sent.

use super::*;

/// Registrars and elements of one scope.
pub(super) struct World {
    pub registrars: BTreeMap<u8, Registrar>,
    pub events: Vec<(u8, Event)>,
    elements: BTreeMap<u8, Element>,
    now: Time,
    /// Each end of a link knows the other.
    ends: BTreeMap<(u8, LinkId), (u8, LinkId)>,
    opened: u64,
    mail: VecDeque<(u8, Input)>,
    /// Pairs of hosts that do not reach each other.
    cuts: BTreeSet<(u8, u8)>,
}

/// An element that answers keep-alives and follows the H flag.
struct Element {
    /// Links by the time they came; the last one is where it registered last.
    home: Option<LinkId>,
    hung: bool,
}

const SETTLED: Duration = Duration::from_secs(5);

impl World {
    pub fn new() -> Self {
        Self {
            registrars: BTreeMap::new(),
            events: Vec::new(),
            elements: BTreeMap::new(),
            now: Time::from_millis(1),
            ends: BTreeMap::new(),
            opened: 0,
            mail: VecDeque::new(),
            cuts: BTreeSet::new(),
        }
    }

    /// Registrars of these identifiers, each at the host of its number, each told of all the others.
    pub fn of(ids: &[u8]) -> Self {
        let mut world = Self::new();
        for &id in ids {
            world.start(id, ids, Arbitration::LargerWins);
        }
        world.pass(SETTLED);
        world.events.clear();
        world
    }

    pub fn start(&mut self, id: u8, knows: &[u8], arbitration: Arbitration) {
        let asap = vec![Endpoint::sctp(SocketAddr::new(ip(id), 3863))];
        let config = Config {
            id: Some(RegistrarId(id.into())),
            peers: knows.iter().map(|&other| enrp_at(other)).collect(),
            arbitration,
            ..Config::new(asap, enrp_at(id))
        };
        self.registrars.insert(id, Registrar::new(config, Random::from_seed(id.into())));
        self.mail.push_back((id, Input::Wake));
        self.deliver();
    }

    /// The element of this number registers at a registrar.
    pub fn register(&mut self, number: u8, registrar: u8) {
        self.elements.entry(number).or_insert(Element { home: None, hung: false });
        self.opened += 1;
        let (mine, theirs) = (LinkId::Ours(self.opened), LinkId::Theirs(self.opened));
        self.ends.insert((number, mine), (registrar, theirs));
        self.ends.insert((registrar, theirs), (number, mine));
        let peer = Endpoint::sctp(SocketAddr::new(ip(number), 5000));
        self.mail.push_back((registrar, Input::Accepted { link: theirs, door: Door::Asap, peer }));
        self.register_over(number, mine);
        self.deliver();
    }

    fn register_over(&mut self, number: u8, link: LinkId) {
        let message = Message::Registration { handle: handle("fractal"), element: element(number) };
        self.send(number, link, Ppid::ASAP, message.emit());
        let Some(me) = self.elements.get_mut(&number) else { return };
        if let Some(old) = me.home.replace(link).filter(|old| *old != link) {
            self.close(number, old, Cause::Aborted);
        }
    }

    /// The process dies; its transport tells everybody.
    pub fn kill(&mut self, id: u8) {
        self.registrars.remove(&id);
        self.elements.remove(&id);
        let links: Vec<_> = self.ends.keys().filter(|(host, _)| *host == id).copied().collect();
        for (host, link) in links {
            self.close(host, link, Cause::Lost);
        }
        self.deliver();
    }

    /// The host vanishes: nobody is told anything.
    pub fn vanish(&mut self, id: u8) {
        self.registrars.remove(&id);
        self.elements.remove(&id);
    }

    /// The element's process stops: its transport goes on.
    pub fn hang(&mut self, number: u8) {
        self.elements.get_mut(&number).expect("an element").hung = true;
    }

    /// Two hosts do not reach each other any more; both are told at once that their links are lost, or never.
    pub fn cut(&mut self, one: u8, other: u8, told: bool) {
        self.cuts.insert((one.min(other), one.max(other)));
        let between = |(&(a, link), &(b, _)): (&(u8, LinkId), &(u8, LinkId))| {
            ((a, b) == (one, other)).then_some((a, link))
        };
        let links: Vec<_> = self.ends.iter().filter_map(between).collect();
        for (host, link) in links.into_iter().filter(|_| told) {
            if let Some((peer, theirs)) = self.ends.remove(&(host, link)) {
                self.ends.remove(&(peer, theirs));
                self.mail.push_back((host, Input::Closed { link, cause: Cause::Lost }));
                self.mail.push_back((peer, Input::Closed { link: theirs, cause: Cause::Lost }));
            }
        }
        self.deliver();
    }

    pub fn heal(&mut self) {
        self.cuts.clear();
    }

    fn is_cut(&self, one: u8, other: u8) -> bool {
        self.cuts.contains(&(one.min(other), one.max(other)))
    }

    fn send(&mut self, from: u8, link: LinkId, ppid: Ppid, bytes: Vec<u8>) {
        let Some(&(to, theirs)) = self.ends.get(&(from, link)) else { return };
        if !self.is_cut(from, to) {
            self.mail.push_back((to, Input::Message { link: theirs, ppid, bytes }));
        }
    }

    fn close(&mut self, from: u8, link: LinkId, cause: Cause) {
        let Some((to, theirs)) = self.ends.remove(&(from, link)) else { return };
        self.ends.remove(&(to, theirs));
        if !self.is_cut(from, to) {
            self.mail.push_back((to, Input::Closed { link: theirs, cause }));
        }
    }

    /// Until nobody has anything to say.
    fn deliver(&mut self) {
        while let Some((to, input)) = self.mail.pop_front() {
            if let Some(registrar) = self.registrars.get_mut(&to) {
                registrar.handle(self.now, input);
                registrar.check();
                let mut wishes = Vec::new();
                while let Some(wish) = registrar.poll() {
                    wishes.push(wish);
                }
                for wish in wishes {
                    self.obey(to, wish);
                }
            } else if self.elements.contains_key(&to) {
                self.element_hears(to, input);
            }
        }
    }

    fn obey(&mut self, from: u8, wish: Output<Event>) {
        match wish {
            Output::Event(event) => self.events.push((from, event)),
            Output::Send { link, ppid, bytes } => self.send(from, link, ppid, bytes),
            Output::Close { link, .. } => self.close(from, link, Cause::Aborted),
            Output::Announce { .. } => {}
            Output::Open { link, door, to, .. } => {
                let IpAddr::V4(address) = to.addresses[0] else { panic!("an IPv4 address") };
                let host = address.octets()[3];
                let there = self.registrars.contains_key(&host) || self.elements.contains_key(&host);
                if !there || self.is_cut(from, host) {
                    self.mail.push_back((from, Input::Closed { link, cause: Cause::Unreachable }));
                    return;
                }
                self.opened += 1;
                let theirs = LinkId::Theirs(self.opened);
                self.ends.insert((from, link), (host, theirs));
                self.ends.insert((host, theirs), (from, link));
                let peer = if door == Door::Enrp {
                    enrp_at(from)
                } else {
                    Endpoint::sctp(SocketAddr::new(ip(from), 3863))
                };
                self.mail.push_back((host, Input::Accepted { link: theirs, door, peer }));
                self.mail.push_back((from, Input::Opened { link, peer: to }));
            }
        }
    }

    fn element_hears(&mut self, number: u8, input: Input) {
        let me = self.elements.get_mut(&number).expect("looked up by the caller");
        match input {
            Input::Message { link, bytes, .. } if !me.hung => {
                let Ok(Message::EndpointKeepAlive { home, element, .. }) = Message::parse(&bytes) else {
                    return;
                };
                if element != Some(ElementId(number.into())) {
                    return;
                }
                let adopts = home && me.home != Some(link);
                self.send(number, link, Ppid::ASAP, ack(number).emit());
                if adopts {
                    self.register_over(number, link);
                }
            }
            Input::Closed { link, .. } => {
                me.home = me.home.filter(|home| *home != link);
            }
            _ => {}
        }
    }

    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let next = self.registrars.iter().filter_map(|(&id, r)| Some((r.deadline()?, id))).min();
            let Some((at, id)) = next.filter(|(at, _)| *at <= end) else { break };
            self.now = self.now.max(at);
            self.mail.push_back((id, Input::Wake));
            self.deliver();
        }
        self.now = end;
    }

    /// Every registrar has the same handlespace, agrees with each peer, and knows all the others.
    pub fn agrees(&self) {
        let digests: BTreeSet<_> = self.registrars.values().map(|r| r.handlespace().digest()).collect();
        let homes: Vec<_> = self.registrars.keys().map(|&id| (id, self.homes(id))).collect();
        assert_eq!(digests.len(), 1, "one handlespace for all: {homes:?}");
        for (id, registrar) in &self.registrars {
            let peers: Vec<u8> = registrar.peers().map(|peer| peer.id.0 as u8).collect();
            let others: Vec<u8> = self.registrars.keys().copied().filter(|other| other != id).collect();
            assert_eq!(peers, others, "the peers of {id}");
            for peer in registrar.peers() {
                assert_eq!((peer.state, peer.in_step), (PeerState::Alive, Some(true)), "{peer:?} at {id}");
            }
        }
    }

    /// Each element with its home, as this registrar sees it.
    pub fn homes(&self, id: u8) -> Vec<(u8, u8)> {
        let space = self.registrars[&id].handlespace();
        space.elements(None, None).map(|(_, e)| (e.id.0 as u8, e.home.0 as u8)).collect()
    }

    pub fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|(_, event)| wanted(event)).count()
    }
}

#[test]
fn two_registrars_that_start_together_find_each_other() {
    let world = World::of(&[1, 2]);
    world.agrees();
}

#[test]
fn a_newcomer_learns_everything_from_its_mentor_and_meets_everybody() {
    let mut world = World::of(&[1, 2]);
    for number in 101..=120 {
        world.register(number, 1 + number % 2);
    }
    // It is told of one registrar only.
    world.start(3, &[2], Arbitration::LargerWins);
    assert_eq!(world.registrars[&3].handlespace().len(), 20);
    assert!(world.events.contains(&(3, Event::Ready { peers: 2, elements: 20 })));
    world.pass(SETTLED);
    world.agrees();
    // What happens from now on reaches it as well, and at once.
    world.register(121, 1);
    assert_eq!(world.homes(3).last(), Some(&(121, 1)));
}

#[test]
fn elements_come_and_go_everywhere_at_once() {
    let mut world = World::of(&[1, 2, 3]);
    world.register(101, 1);
    world.register(102, 2);
    for id in 1..=3 {
        assert_eq!(world.homes(id), [(101, 1), (102, 2)]);
    }
    world.register(101, 3);
    for id in 1..=3 {
        assert_eq!(world.homes(id), [(101, 3), (102, 2)], "it moved");
    }
    world.kill(101);
    for id in 1..=3 {
        assert_eq!(world.homes(id), [(102, 2)], "its link ended");
    }
    world.hang(102);
    world.pass(timing().hung_element_max(Duration::ZERO));
    for id in 1..=3 {
        assert_eq!(world.homes(id), [], "it hung");
    }
    world.pass(timing().presence_interval * 2);
    world.agrees();
}

#[test]
fn the_elements_of_a_dead_registrar_find_a_new_home() {
    for told in [true, false] {
        let mut world = World::of(&[1, 2, 3]);
        for number in 101..=110 {
            world.register(number, 3);
        }
        world.events.clear();
        if told {
            world.kill(3)
        } else {
            world.vanish(3)
        }
        world.pass(timing().dead_peer_max(Duration::ZERO) + timing().takeover_max(Duration::ZERO));
        assert_eq!(world.count(|event| matches!(event, Event::TakeoverWon { .. })), 1);
        world.agrees();
        assert!(world.homes(1).iter().all(|(_, home)| *home != 3), "told: {told}");
        assert_eq!(world.homes(1).len(), 10, "told: {told}");
    }
}

#[test]
fn the_last_registrar_takes_over_without_asking_anybody() {
    let mut world = World::of(&[1, 2]);
    world.register(101, 2);
    world.vanish(2);
    world.pass(timing().dead_peer_max(Duration::ZERO) + timing().takeover_expiry);
    assert_eq!(world.homes(1), [(101, 1)]);
    world.agrees();
}

/// Who wins if several notice a death at the same moment: a table over all orders and both settings.
#[test]
fn of_several_initiators_the_setting_names_the_winner() {
    for (arbitration, dead, winner) in [
        (Arbitration::LargerWins, 1, 4),
        (Arbitration::LargerWins, 2, 4),
        (Arbitration::LargerWins, 4, 3),
        (Arbitration::SmallerWins, 1, 2),
        (Arbitration::SmallerWins, 2, 1),
        (Arbitration::SmallerWins, 4, 1),
    ] {
        let ids = [1, 2, 3, 4];
        let mut world = World::new();
        for id in ids {
            world.start(id, &ids, arbitration);
        }
        world.pass(SETTLED);
        world.register(101, dead);
        world.register(102, dead);
        world.events.clear();
        // All links break at the same moment, before anybody speaks.
        world.kill(dead);
        world.pass(timing().dead_peer_max(Duration::ZERO) + timing().takeover_max(Duration::ZERO));
        world.agrees();
        let won: Vec<u8> = world
            .events
            .iter()
            .filter(|(_, e)| matches!(e, Event::TakeoverWon { .. }))
            .map(|(id, _)| *id)
            .collect();
        assert_eq!(won, [winner], "{arbitration:?}, {dead} died");
        assert_eq!(world.homes(winner), [(101, winner), (102, winner)]);
    }
}

#[test]
fn a_third_registrar_that_dies_meanwhile_does_not_hold_up_a_takeover() {
    let mut world = World::of(&[1, 2, 3, 4]);
    world.register(101, 4);
    world.register(103, 3);
    world.vanish(4);
    world.pass(timing().peer_silence_max);
    world.vanish(3);
    world.pass(2 * timing().takeover_max(Duration::ZERO));
    world.agrees();
    assert_eq!(world.homes(1).iter().map(|(number, _)| *number).collect::<Vec<_>>(), [101, 103]);
}

#[test]
fn after_a_partition_both_halves_agree_again() {
    for told in [true, false] {
        let mut world = World::of(&[1, 2]);
        world.register(101, 1);
        world.register(102, 2);
        // The registrars do not reach each other, and each reaches its own element only.
        world.cut(1, 102, told);
        world.cut(2, 101, told);
        world.cut(1, 2, told);
        world.pass(SETTLED);
        assert_eq!((world.homes(1), world.homes(2)), (vec![(101, 1)], vec![(102, 2)]), "told: {told}");
        world.register(103, 1);
        world.heal();
        world.pass(timing().convergence_max(Duration::ZERO));
        world.agrees();
        assert_eq!(world.homes(1), [(101, 1), (102, 2), (103, 1)]);
    }
}

#[test]
fn elements_that_both_halves_reach_end_with_one_home() {
    let mut world = World::of(&[1, 2]);
    for number in 101..=104 {
        world.register(number, 1 + number % 2);
    }
    // The registrars lose sight of each other only: each takes over what it believes orphaned.
    world.cut(1, 2, true);
    world.pass(SETTLED);
    world.heal();
    world.pass(SETTLED);
    world.agrees();
    assert_eq!(world.homes(1).len(), 4);
}
