//! What carries links.
//!
//! A transport owns its sockets and the links on them. It is asked by name of the link and answers with facts, in the
//! words of the node contract. It never blocks: [`sweep`](Transport::sweep) looks once at every socket that has
//! something to say, and [`flush`](Transport::flush) gives the system what was said since the last flush, one write per
//! link where it can.
//!
//! There are three: [`Tcp`](crate::tcp::Tcp), SCTP of the kernel, and SCTP over UDP. Whoever opens a link takes the
//! first transport that carries its protocol, and the next one if that one does not reach the peer.

use crate::Clock;
use rserpool::{Door, Ending, Endpoint, Greeting, Input, LinkId, Ppid, Protocol, Time};
use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Context;

/// Facts on their way to the node, oldest first.
pub type Inbox = VecDeque<Input>;

/// Carries links over one protocol.
///
/// After a link's `Closed` fact, or after [`close`](Self::close), its name is unknown here; sending on an unknown link
/// does nothing, because links may end while messages are under way.
pub trait Transport {
    /// What it carries.
    fn carries(&self) -> Protocol;

    /// True if the link is up or being opened here.
    fn has(&self, link: LinkId) -> bool;

    /// Begins to open a link. `Opened` or `Closed` follows; after a refusal nothing does.
    fn open(
        &mut self,
        now: Time,
        link: LinkId,
        door: Door,
        to: Endpoint,
        greeting: Greeting,
        inbox: &mut Inbox,
    ) -> Result<(), Refused>;

    /// Queues a message. A full queue ends the link: `Closed` with `Overflow` follows. `more`: the next wish is another
    /// message on this link, so they may leave together.
    fn send(&mut self, now: Time, link: LinkId, ppid: Ppid, bytes: Vec<u8>, more: bool, inbox: &mut Inbox);

    /// Ends a link. No fact follows; a graceful end goes on behind the scenes for a bounded time.
    fn close(&mut self, now: Time, link: LinkId, how: Ending);

    /// Gives the system what was queued. The clock is only read where it matters, here and in [`sweep`](Self::sweep):
    /// both are called for every portion of mail, and there are hosts where reading it is a system call.
    fn flush(&mut self, clock: Clock, inbox: &mut Inbox);

    /// Takes what came in, a bounded portion of it, as facts; has `cx` woken when there is more.
    fn sweep(&mut self, clock: Clock, cx: &mut Context<'_>, inbox: &mut Inbox);

    /// When [`wake`](Self::wake) is due.
    fn deadline(&self) -> Option<Time>;

    /// Does what is due.
    fn wake(&mut self, now: Time, inbox: &mut Inbox);

    /// Ends all links gracefully and accepts no more.
    fn finish(&mut self, now: Time);

    /// True if nothing is left to be said, not even farewells.
    fn is_done(&self) -> bool;
}

/// Why a transport does not begin to open a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The two ports have a link already, and the door has no other one to offer. Another transport must not make a second
    /// one.
    Exists,
    /// It cannot get there.
    Unreachable,
}

/// Names for accepted links. All transports of a node draw from one source, so no name is given twice.
#[derive(Clone, Debug, Default)]
pub struct Names {
    given: Rc<Cell<u64>>,
}

impl Names {
    /// The next name.
    pub fn next(&self) -> LinkId {
        self.given.set(self.given.get() + 1);
        LinkId::Theirs(self.given.get())
    }
}
