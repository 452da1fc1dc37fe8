//! Any application as a pool user: runs it in a thread of its own and hands its events to a [`Front`], in the main
//! thread. If the front is slow, events wait, and with them the links: nothing piles up.

use super::Line;
use super::cli::ClientArgs;
use crate::address::Choice;
use crate::cli::Sctp;
use crate::client;
use crate::exit::{Code, Failure};
use crate::process::{self, cannot_bind, say};
use rserpool::user::{self, Event};
use rserpool::{PoolHandle, PoolUser, Random, Time};
use rserpool_compute::application::{Application, Client};
use rserpool_net::{App, DoorAt, Events, Limits, events, route_address_to, take_until};
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Events that may wait for the front.
const QUEUE: usize = 256;
/// So many events without a pause, and it is looked whether time is up.
const EVENTS_A_LOOK: u32 = 64;

/// How it goes on after an event.
pub enum Turn {
    /// As before.
    On,
    /// Something about a session, for the one who watches whether the pool serves at all.
    Session(Event),
    /// It is over.
    Over(Code),
}

/// What the application's events become.
pub trait Front<A: Application> {
    /// One event.
    fn hear(&mut self, now: Time, event: A::Event) -> Result<Turn, Failure>;

    /// The last word: all is said, or it was interrupted or ran out of time.
    fn close(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// What a run needs besides its application.
pub struct Plan<'a> {
    /// The command line.
    pub args: &'a ClientArgs,
    /// The pool.
    pub pool: PoolHandle,
    /// Ends in good order after this; `None`: not by itself.
    pub runtime: Option<Duration>,
    /// Bounds on its links.
    pub limits: Limits,
}

impl<'a> Plan<'a> {
    /// A run without an end of its own.
    pub fn new(args: &'a ClientArgs, pool: PoolHandle) -> Self {
        Self { args, pool, runtime: None, limits: Limits::default() }
    }
}

/// The way to the application.
pub struct Tell<A: Application>(Line<Client<A>>);

impl<A: Application + 'static> Tell<A>
where
    A::Fact: Send,
{
    /// Tells it a fact; false if it is gone.
    pub fn tell(&self, fact: A::Fact) -> bool {
        self.0.post(move |node, now| node.inform(now, fact))
    }
}

enum Heard<E> {
    Event(E),
    Interrupted,
}

/// The end of the queue in the user's thread. No thread stands between it and the front's, which would cost a change of
/// threads an event.
struct Mouth<E>(Events<Heard<E>>);

impl<A: Application> App<Client<A>> for Mouth<A::Event>
where
    A::Event: Send + 'static,
{
    fn event(&mut self, _: &mut Client<A>, now: Time, event: A::Event) {
        self.0.give(now, Heard::Event(event));
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_room(cx)
    }
}

/// Runs an application until it, its front, or the time says that it is over. `begin` is given the way to it.
pub fn run<A, F>(
    plan: &Plan<'_>,
    make: impl FnOnce(Random) -> A + Send + 'static,
    mut front: F,
    begin: impl FnOnce(&mut F, Tell<A>) -> Result<(), Failure>,
) -> Result<Code, Failure>
where
    A: Application + 'static,
    A::Event: Send + 'static,
    F: Front<A>,
{
    let choice = Choice::of(&plan.args.registrars)?;
    let config = client::user(&plan.args.registrars, &choice);
    let mut net = client::sockets(&plan.args.registrars, &choice)?;
    // Sessions over SCTP begin at a port of our own; over TCP they need none.
    let from = route_address_to(choice.targets[0].at).map_err(|error| cannot_bind(&error))?;
    if plan.args.registrars.sctp != Sctp::Off {
        net.service = DoorAt::sctp(SocketAddr::new(from, 0));
    }
    net.limits = plan.limits;
    let (events, mut queue) = events(QUEUE);
    // Weak: that the user's thread is gone shall be seen.
    let interrupt = events.sender().downgrade();
    crate::signals::on_interrupt(move || {
        if let Some(sender) = interrupt.upgrade() {
            let _ = sender.blocking_send((Time::ZERO, Heard::Interrupted));
        }
    })?;
    let mut random = process::random();
    let make = move |_: &rserpool_net::Bound| {
        let user = PoolUser::new(config, random.fork());
        (Client::new(user, make(random)), Mouth(events))
    };
    let running = rserpool_net::spawn("client", net, make).map_err(|error| cannot_bind(&error))?;
    let line = Line::new(running.handle.clone());
    begin(&mut front, Tell(line.clone()))?;

    let mut watch =
        Watch { args: plan.args, choice: &choice, pool: plan.pool, since: Some(Instant::now()), why: None };
    let ends = plan.runtime.map(|span| Instant::now() + span);
    let mut busy = 0;
    let code = loop {
        let end = [ends, watch.deadline()].into_iter().flatten().min();
        match take_until(&mut queue, end) {
            Poll::Ready(Some((now, Heard::Event(event)))) => match front.hear(now, event)? {
                Turn::On => {}
                Turn::Session(event) => watch.hear(now, event)?,
                Turn::Over(code) => break code,
            },
            Poll::Ready(Some((_, Heard::Interrupted))) => break Code::Interrupted,
            Poll::Ready(None) => {
                return Err(Failure::new(Code::Failed, "the user's thread ended; this is a bug"));
            }
            Poll::Pending => busy = 0,
        }
        if busy == 0 {
            if ends.is_some_and(|at| at <= Instant::now()) {
                break Code::Done;
            }
            watch.patience()?;
        }
        busy = (busy + 1) % EVENTS_A_LOOK;
    };
    front.close()?;
    // What was sent last is on its way still; and over UDP nobody but us can tell the elements that it was the last.
    drop(queue);
    line.cut();
    running.stop();
    Ok(code)
}

/// Watches whether anybody serves.
struct Watch<'a> {
    args: &'a ClientArgs,
    choice: &'a Choice,
    pool: PoolHandle,
    /// Since when no session has an element.
    since: Option<Instant>,
    why: Option<user::Failure>,
}

impl Watch<'_> {
    fn deadline(&self) -> Option<Instant> {
        self.since.map(|since| since + self.args.patience)
    }

    fn hear(&mut self, now: Time, event: Event) -> Result<(), Failure> {
        let line = match event {
            Event::Connected { session, element, resumed, failed_over } => {
                self.since = None;
                self.why = None;
                let how = match (failed_over, resumed) {
                    (false, _) => "begins",
                    (true, true) => "goes on by cookie",
                    (true, false) => "begins anew",
                };
                format!("session {session} {how} with element {element}")
            }
            Event::FailingOver { session, from, cause } => {
                self.since.get_or_insert_with(Instant::now);
                let from =
                    from.map_or("an element that was not reached".into(), |id| format!("element {id}"));
                format!("session {session} lost {from} ({cause:?})")
            }
            Event::Waiting { session, why } => {
                self.since.get_or_insert_with(Instant::now);
                let first = self.why.is_none();
                let line = match &why {
                    user::Failure::NoRegistrar { tried } => format!("no registrar answers ({tried} tried)"),
                    user::Failure::UnknownPool => format!("nobody serves in pool '{}'", self.pool),
                    other => format!("no element for session {session}: {other:?}"),
                };
                let hunted = matches!(why, user::Failure::NoRegistrar { .. });
                self.why = Some(why);
                if hunted && first && !self.args.registrars.discover {
                    return Err(client::no_registrar(self.choice));
                }
                if first {
                    let seconds = self.args.patience.as_secs_f64();
                    say(format!("{line}; waiting up to {seconds} s (--patience)"));
                    return Ok(());
                }
                line
            }
            other => format!("{other:?}"),
        };
        if self.args.verbose {
            say(format!("{now} {line}"));
        }
        Ok(())
    }

    fn patience(&self) -> Result<(), Failure> {
        if self.deadline().is_none_or(|end| end > Instant::now()) {
            return Ok(());
        }
        Err(match &self.why {
            Some(user::Failure::NoRegistrar { .. }) => client::no_registrar(self.choice),
            Some(user::Failure::UnknownPool) | None => {
                let choice = self.choice.display();
                let pool = self.pool;
                let message = format!(
                    "nobody in pool '{pool}' could be reached through the registrar at {choice}; start an element of \
                     it (`rsp serve --help`), or see `rsp pool ls`"
                );
                Failure::new(Code::PoolEmpty, message)
            }
            Some(other) => {
                Failure::new(Code::PoolEmpty, format!("no element of pool '{}': {other:?}", self.pool))
            }
        })
    }
}
