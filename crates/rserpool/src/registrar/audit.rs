//! The registrar audits itself: what it waits for and remembers is exactly what its state calls for, and within its
//! limits (so nothing can pile up unnoticed).

use super::gate::Gates;
use super::startup::Phase;
use super::{Registrar, Timer};
use crate::wire::parameter::Life;
use crate::{Door, LinkId};

impl Registrar {
    /// Audits the registrar against itself; panics with the reason if it is inconsistent. Takes time in proportion to
    /// the handlespace: for tests and simulations.
    pub fn check(&self) {
        self.handlespace.check();
        self.check_elements();
        self.check_links();
        self.check_timers();
        self.check_limits();
    }

    fn check_elements(&self) {
        let mut own = 0;
        for (&handle, element) in self.handlespace.elements(None, None) {
            let key = (handle, element.id);
            let ours = element.home == self.id;
            assert_eq!(ours, self.watches.contains_key(&key), "watched if and only if ours: {key:?}");
            assert!(
                ours || self.peers.contains_key(&element.home),
                "{key:?} has an unknown home {}",
                element.home
            );
            own += usize::from(ours);
            assert_eq!(
                element.life != Life::INFINITE,
                self.timers.get(&Timer::Life(key)).is_some(),
                "a life has an end if and only if it is finite: {key:?}"
            );
        }
        assert_eq!(own, self.watches.len(), "every watch has its element");
        assert_eq!(own, self.handlespace.owned(self.id), "the handlespace counts ours alike");
        assert!(!self.peers.contains_key(&self.id), "nobody is its own peer");
        for key in &self.adopting {
            assert!(self.watches.contains_key(key), "what is adopted is watched: {key:?}");
        }
    }

    fn check_links(&self) {
        for (key, watch) in &self.watches {
            let Some(link) = watch.link else { continue };
            let known = self.links.get(&link).expect("a watched element's link has not ended");
            assert!(known.elements.contains(key), "{link:?} knows that {key:?} depends on it");
        }
        for key in self.suggestions.wooed.keys() {
            assert!(self.probes.contains_key(key), "{key:?} is asked for its consent");
        }
        for (key, link) in &self.probes {
            assert!(
                self.links.get(link).is_some_and(|known| known.probed.contains(key)),
                "{key:?} is probed"
            );
        }
        let bound: usize = self.links.values().map(|link| link.elements.len()).sum();
        let watched = self.watches.values().filter(|watch| watch.link.is_some()).count();
        assert_eq!(bound, watched, "each element is watched over one link");
        let probed: usize = self.links.values().map(|link| link.probed.len()).sum();
        assert_eq!(probed, self.probes.len(), "each probe has one link");
        let contested: usize = self.links.values().map(|link| link.contested.len()).sum();
        assert_eq!(contested, self.contests.len(), "each contest has one link");
        for (id, link) in &self.links {
            let useful = link.elements.len() + link.probed.len() + link.contested.len() > 0;
            let ours = matches!(id, LinkId::Ours(_));
            assert!(link.door == Door::Enrp || !ours || useful, "{id:?} to an element is kept without need");
        }
        for (id, peer) in &self.peers {
            for link in &peer.links {
                assert!(self.links.contains_key(link), "peer {id} has a link that ended: {link:?}");
            }
        }
    }

    fn check_timers(&self) {
        let asked = |key| {
            self.watches.get(key).is_some_and(|watch| watch.link.is_some()) || self.adopting.contains(key)
        };
        let finite = |life: Life| life != Life::INFINITE;
        let expected = usize::from(!matches!(self.phase, Phase::Unborn))
            + usize::from(self.phase.is_ready() && self.config.multicast)
            + usize::from(!self.held.is_empty())
            + self.watches.keys().filter(|key| asked(key)).count()
            + self.handlespace.elements(None, None).filter(|(_, element)| finite(element.life)).count()
            + self.probes.len()
            + self.contests.len()
            + self.peers.len()
            + self.peers.values().filter(|peer| peer.audit.running()).count()
            + self.downloads.len();
        let starting =
            [Timer::Start, Timer::Mentor].iter().filter(|timer| self.timers.get(timer).is_some()).count();
        assert!(starting == 0 || !self.phase.is_ready(), "who is ready does not wait for a mentor");
        assert_eq!(
            self.timers.len(),
            expected + starting,
            "every timer has its reason, and every reason its timer"
        );
    }

    fn check_limits(&self) {
        let limits = &self.config.limits;
        assert!(self.handlespace.len() <= limits.elements, "elements");
        assert!(self.peers.len() <= limits.peers, "peers");
        assert!(self.downloads.len() <= limits.downloads, "downloads");
        assert!(self.adopting.len() <= limits.adoptions, "adoptions");
        assert!(self.probes.len() <= limits.adoptions, "probes");
        assert!(self.held.len() <= limits.held_resolutions, "held resolutions");
        assert!(self.gates.len() <= Gates::MAX, "token buckets");
        assert!(self.seeds.len() <= self.config.peers.len() + limits.peers, "seeds");
        let theirs = self.links.keys().filter(|link| matches!(link, LinkId::Theirs(_))).count();
        assert!(theirs <= limits.links, "links");
        for (id, link) in self.links.iter().filter(|(id, _)| matches!(id, LinkId::Theirs(_))) {
            assert!(link.elements.len() <= limits.elements_per_link, "elements of {id:?}");
        }
    }
}
