//! The loop between a node and its world.
//!
//! ```text
//!   settle: carry out wishes, hand events to the application, until the node wishes nothing more
//!   mail    hand one fact to the node, settle; again until there is none
//!   calls   make those that wait, settle after each
//!   flush   what was queued; then wait for mail, a call, or a deadline
//! ```
//!
//! Writes are flushed once per portion of mail, not once per message. Mail comes before alarms: when a deadline has
//! passed, the sockets are asked once more (after a turn of the reactor, which may have much to tell after a
//! stop of the whole process) before anything is declared late.

use crate::alarm::Alarm;
use crate::{Bound, Clock, Config, Counters, Error, Ports};
use rserpool::{Input, Node, Output, Time};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Something to be done with the node, in its own thread, between two facts.
pub type Call<N> = Box<dyn FnOnce(&mut N, Time) + Send>;

/// How many calls may wait; a caller waits for room.
const CALLS_MAX: usize = 1_024;

/// How many calls are made before the links have their turn.
const CALLS_AT_ONCE_MAX: usize = 64;

/// Portions of mail, or calls, in a row before the reactor is asked for news of the other sockets.
const PORTIONS_MAX: u32 = 4;

/// Facts told to the node before the clock is read again.
const FACTS_A_READING: u32 = 16;

/// Turns of the reactor before an alarm is given although mail keeps coming.
const ALARM_TURNS_MAX: u32 = 64;

/// The application above a node: it is told events, in the node's thread.
pub trait App<N: Node> {
    /// One event. May call the node: its wishes are carried out next. Must return soon, the node stands still so long.
    fn event(&mut self, node: &mut N, now: Time, event: N::Event);

    /// Ready if there is room for more events; asked before each wait, so what a turn told can be handed over together.
    /// While there is not, the node's links are not read, so the other sides are held up by flow control; who stays away
    /// longer than heartbeats allow counts as hung, and is.
    fn poll_room(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

impl<N: Node, F: FnMut(&mut N, Time, N::Event)> App<N> for F {
    fn event(&mut self, node: &mut N, now: Time, event: N::Event) {
        self(node, now, event);
    }
}

/// An application that takes events from a queue, in another task or thread. See [`events`].
pub struct Events<E> {
    sender: mpsc::Sender<(Time, E)>,
    late: VecDeque<(Time, E)>,
    room: Option<Pin<Box<dyn Future<Output = Permit<E>> + Send>>>,
}

type Permit<E> = Result<mpsc::OwnedPermit<(Time, E)>, mpsc::error::SendError<()>>;

/// A queue of `length` events between a node and whoever takes them. If it is full the node reads no more mail until
/// there is room; if the other end is dropped, events are too.
pub fn events<E: Send + 'static>(length: usize) -> (Events<E>, mpsc::Receiver<(Time, E)>) {
    let (sender, receiver) = mpsc::channel(length.max(1));
    (Events { sender, late: VecDeque::new(), room: None }, receiver)
}

/// Takes the next event in a thread that is no task: waits for it, but not longer than until `end`. Pending: there was none
/// in time. Ready with `None`: there will be none any more.
pub fn take_until<T>(queue: &mut mpsc::Receiver<T>, end: Option<Instant>) -> Poll<Option<T>> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        let taken = queue.poll_recv(&mut Context::from_waker(&waker));
        if taken.is_ready() {
            return taken;
        }
        match end.map(|end| end.saturating_duration_since(Instant::now())) {
            None => thread::park(),
            Some(Duration::ZERO) => return Poll::Pending,
            Some(left) => thread::park_timeout(left),
        }
    }
}

impl<E: Send + 'static> Events<E> {
    /// Another way into the same queue.
    pub fn sender(&self) -> mpsc::Sender<(Time, E)> {
        self.sender.clone()
    }

    /// Queues an event. With a full queue it waits here, and [`poll_room`](Self::poll_room) is not ready.
    pub fn give(&mut self, now: Time, event: E) {
        if !self.late.is_empty() {
            self.late.push_back((now, event));
        } else if let Err(mpsc::error::TrySendError::Full(event)) = self.sender.try_send((now, event)) {
            // One fact makes few events, and no fact is told before these have gone.
            self.late.push_back(event);
        }
    }

    /// Ready if nothing waits for room.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.late.is_empty() {
            let room = self.room.get_or_insert_with(|| Box::pin(self.sender.clone().reserve_owned()));
            match room.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(permit) => {
                    self.room = None;
                    match (permit, self.late.pop_front()) {
                        (Ok(permit), Some(event)) => drop(permit.send(event)),
                        _ => self.late.clear(),
                    }
                }
            }
        }
        Poll::Ready(())
    }
}

impl<N: Node> App<N> for Events<N::Event>
where
    N::Event: Send + 'static,
{
    fn event(&mut self, _node: &mut N, now: Time, event: N::Event) {
        self.give(now, event);
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Events::poll_room(self, cx)
    }
}

/// The node has stopped: nothing can be asked of it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node has stopped")]
pub struct Stopped;

/// A way to call a node from other tasks and threads. When the last one is dropped the node takes its leave.
pub struct Handle<N> {
    calls: mpsc::Sender<Call<N>>,
}

impl<N> Clone for Handle<N> {
    fn clone(&self) -> Self {
        Self { calls: self.calls.clone() }
    }
}

impl<N: 'static> Handle<N> {
    /// A handle, and the end of it that [`drive`] takes.
    pub fn new() -> (Self, mpsc::Receiver<Call<N>>) {
        let (calls, receiver) = mpsc::channel(CALLS_MAX);
        (Self { calls }, receiver)
    }

    /// Has something done, without waiting for it to be done; waits for room in the queue of calls.
    pub async fn post(&self, call: impl FnOnce(&mut N, Time) + Send + 'static) -> Result<(), Stopped> {
        self.calls.send(Box::new(call)).await.map_err(|_| Stopped)
    }

    /// As [`post`](Self::post), for threads outside of an async runtime.
    pub fn post_blocking(&self, call: impl FnOnce(&mut N, Time) + Send + 'static) -> Result<(), Stopped> {
        self.calls.blocking_send(Box::new(call)).map_err(|_| Stopped)
    }

    /// Has something done and waits for what came of it.
    pub async fn ask<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut N, Time) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        let (sender, receiver) = oneshot::channel();
        // Whoever no longer waits for the answer does not get it.
        self.post(move |node, now| drop(sender.send(call(node, now)))).await?;
        receiver.await.map_err(|_| Stopped)
    }

    /// As [`ask`](Self::ask), for threads outside of an async runtime.
    pub fn ask_blocking<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut N, Time) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        let (sender, receiver) = oneshot::channel();
        self.post_blocking(move |node, now| drop(sender.send(call(node, now))))?;
        receiver.blocking_recv().map_err(|_| Stopped)
    }
}

/// Lives a node's life: until the last [`Handle`] is dropped, then all links are ended gracefully. Returns the node.
///
/// Needs a tokio runtime with I/O and time, best a current-thread runtime of its own.
pub async fn drive<N: Node, A: App<N>>(
    node: N,
    ports: Ports,
    calls: mpsc::Receiver<Call<N>>,
    app: A,
) -> (N, A) {
    drive_with(node, ports, calls, app, Alarm::new()).await
}

async fn drive_with<N: Node, A: App<N>>(
    node: N,
    ports: Ports,
    calls: mpsc::Receiver<Call<N>>,
    app: A,
    alarm: Alarm,
) -> (N, A) {
    let clock = ports.clock();
    let (now, events) = (clock.now(), VecDeque::new());
    let loop_ = Loop {
        node,
        ports,
        calls,
        app,
        clock,
        now,
        events,
        alarm,
        stale: false,
        armed: None,
        room: true,
        deaf: None,
    };
    // Fairness between sockets is the loop's own business; tokio's budget would make sockets look idle that are not.
    tokio::task::unconstrained(loop_.run()).await
}

struct Loop<N: Node, A> {
    node: N,
    ports: Ports,
    calls: mpsc::Receiver<Call<N>>,
    app: A,
    clock: Clock,
    /// When the clock was read last. It is not read more often than a turn needs: on hosts without a vDSO that is a system
    /// call, as dear as sending a message.
    now: Time,
    /// The application has been told something since.
    stale: bool,
    events: VecDeque<N::Event>,
    alarm: Alarm,
    /// What the alarm is set to.
    armed: Option<Time>,
    /// The application has room for events.
    room: bool,
    /// It has not, and the node was told of that up to this moment.
    deaf: Option<Time>,
}

/// Why the loop woke up.
enum Step<N> {
    Mail,
    Call(Call<N>),
    Due,
    Over,
}

impl<N: Node, A: App<N>> Loop<N, A> {
    async fn run(mut self) -> (N, A) {
        let mut portions = 0;
        let mut alarm_turns = 0;
        loop {
            self.settle();
            self.mail();
            self.calls();
            self.ports.flush();
            if self.ports.has_mail() {
                continue;
            }
            if portions >= PORTIONS_MAX {
                portions = 0;
                tokio::task::yield_now().await;
            }
            let step = poll_fn(|cx| {
                let step = self.poll_step(cx);
                if step.is_pending() {
                    // The reactor is asked while we wait.
                    portions = 0;
                }
                step
            });
            match step.await {
                Step::Mail => portions += 1,
                Step::Call(call) => {
                    portions += 1;
                    self.read_clock();
                    call(&mut self.node, self.now);
                }
                Step::Due => {
                    if !self.another_turn(&mut alarm_turns).await {
                        alarm_turns = 0;
                        self.alarms();
                    }
                }
                Step::Over => break,
            }
        }
        self.ports.finish(&mut self.alarm).await;
        (self.node, self.app)
    }

    fn read_clock(&mut self) {
        self.now = self.clock.now();
        self.stale = false;
    }

    /// Tells the node what came in.
    fn mail(&mut self) {
        let mut told = 0;
        while let Some(input) = self.ports.take() {
            if told % FACTS_A_READING == 0 {
                self.read_clock();
            }
            told += 1;
            self.node.handle(self.now, input);
            self.settle();
        }
    }

    /// Makes the calls that wait, a bounded number of them: callers and links take turns.
    fn calls(&mut self) {
        for _ in 0..CALLS_AT_ONCE_MAX {
            let Ok(call) = self.calls.try_recv() else { return };
            self.read_clock();
            call(&mut self.node, self.now);
            self.settle();
        }
    }

    /// Carries out what the node wishes, and hands its events to the application, which may cause more.
    fn settle(&mut self) {
        loop {
            let mut next = self.node.poll();
            while let Some(wish) = next {
                next = self.node.poll();
                match wish {
                    Output::Event(event) => self.events.push_back(event),
                    wish => {
                        let more = next.as_ref().is_some_and(|next| on_one_link(&wish, next));
                        self.ports.carry_out(self.now, wish, more);
                    }
                }
            }
            let Some(event) = self.events.pop_front() else { return };
            if self.stale {
                self.read_clock();
            }
            self.app.event(&mut self.node, self.now, event);
            // Nobody knows how long the application took.
            self.stale = true;
        }
    }

    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Step<N>> {
        self.look(cx);
        if self.ports.has_mail() {
            return Poll::Ready(Step::Mail);
        }
        if let Poll::Ready(call) = self.calls.poll_recv(cx) {
            return Poll::Ready(call.map_or(Step::Over, Step::Call));
        }
        // The alarm is only moved when it would come too late: most deadlines move away before they are reached.
        // Nor is the clock read to find out that it is too early: the alarm tells.
        while let Some(deadline) = self.deadline() {
            if deadline <= self.now {
                return Poll::Ready(Step::Due);
            }
            if self.armed.is_none_or(|armed| armed > deadline) {
                self.alarm.set(self.clock.instant(deadline));
                self.armed = Some(deadline);
            }
            if self.alarm.poll(cx, self.armed == Some(deadline)).is_pending() {
                break;
            }
            self.armed = None;
            self.read_clock();
        }
        Poll::Pending
    }

    /// A deadline passed. Lets the reactor tell what came in meanwhile; true if there was something, so that the
    /// alarm has to wait.
    async fn another_turn(&mut self, turns: &mut u32) -> bool {
        if *turns >= ALARM_TURNS_MAX {
            return false;
        }
        *turns += 1;
        tokio::task::yield_now().await;
        poll_fn(|cx| {
            self.look(cx);
            Poll::Ready(())
        })
        .await;
        self.ports.has_mail()
    }

    /// Looks at the sockets, if the application has room for what they may cause.
    fn look(&mut self, cx: &mut Context<'_>) {
        self.room = self.app.poll_room(cx).is_ready();
        if self.room == self.deaf.is_some() {
            self.read_clock();
            self.tell_deaf();
        }
        if self.room {
            self.ports.sweep(cx);
        }
    }

    /// Tells the node for how long the links were not read, and notes from when on they are not.
    fn tell_deaf(&mut self) {
        let from_now = (!self.room).then_some(self.now);
        if let Some(since) = std::mem::replace(&mut self.deaf, from_now) {
            self.node.handle(self.now, Input::Deaf { span: self.now.since(since) });
        }
    }

    /// While the links are not read for lack of room, none of them may be called silent: their alarms wait.
    fn deadline(&self) -> Option<Time> {
        let ports = if self.room { self.ports.deadline() } else { None };
        [self.node.deadline(), ports].into_iter().flatten().min()
    }

    /// Does what was due when the loop woke. Nothing came in since, so the clock is only read again if the application took
    /// its time.
    fn alarms(&mut self) {
        if self.stale {
            self.read_clock();
        }
        if self.room {
            self.ports.wake(self.now);
        }
        self.mail();
        if self.node.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.tell_deaf();
            self.node.handle(self.now, Input::Wake);
        }
        if self.deadline().is_some_and(|deadline| deadline <= self.now) {
            // What is due again at once is due later: time does not stand still.
            self.read_clock();
        }
    }
}

/// True if both are messages on the same link.
fn on_one_link<E>(one: &Output<E>, other: &Output<E>) -> bool {
    matches!((one, other), (Output::Send { link: one, .. }, Output::Send { link: other, .. }) if one == other)
}

/// A node in a thread of its own.
pub struct Running<N> {
    /// The way to call it.
    pub handle: Handle<N>,
    /// Where it listens.
    pub bound: Bound,
    /// What its links turned away.
    pub counters: Counters,
    thread: JoinHandle<()>,
}

impl<N: Node + 'static> Running<N> {
    /// Lets go of this handle and waits until the node has taken its leave, which it does when no other handle is left.
    pub fn stop(self) {
        drop(self.handle);
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Starts a node in a thread of its own, with sockets as configured. The node is made there (`make`), once it is known
/// what was bound; so is the application above it.
pub fn spawn<N, A, F>(name: &str, config: Config, make: F) -> Result<Running<N>, Error>
where
    N: Node + 'static,
    A: App<N> + 'static,
    F: FnOnce(&Bound) -> (N, A) + Send + 'static,
{
    let (handle, calls) = Handle::new();
    let (told, bound) = std::sync::mpsc::sync_channel(1);
    let life = move || {
        let runtime = match runtime() {
            Ok(runtime) => runtime,
            Err(cause) => return drop(told.send(Err(Error::Thread(cause)))),
        };
        runtime.block_on(async {
            let opened =
                Ports::open(&config).and_then(|opened| Ok((opened, alarm().map_err(Error::Reactor)?)));
            match opened {
                Err(error) => drop(told.send(Err(error))),
                Ok(((ports, bound), alarm)) => {
                    let (node, app) = make(&bound);
                    if told.send(Ok((bound, ports.counters()))).is_ok() {
                        drive_with(node, ports, calls, app, alarm).await;
                    }
                }
            }
        });
    };
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(life).map_err(Error::Thread)?;
    let (bound, counters) = bound.recv().map_err(|_| Error::Ended)??;
    Ok(Running { handle, bound, counters, thread })
}

/// A runtime for one node. With an alarm of the kernel's it needs no timers, for which tokio reads the clock in each turn.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_io();
    if !cfg!(target_os = "linux") {
        builder.enable_time();
    }
    builder.build()
}

/// An alarm in such a runtime.
fn alarm() -> io::Result<Alarm> {
    #[cfg(target_os = "linux")]
    return Alarm::fine();
    #[cfg(not(target_os = "linux"))]
    Ok(Alarm::new())
}
