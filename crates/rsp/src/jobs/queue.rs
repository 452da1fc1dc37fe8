//! What the node of a job tells, on its way to the disk and the main thread.
//!
//! It is bounded in octets: while too much waits, the node reads no more mail, so a slow disk or a reader that does not read
//! holds up the workers instead of filling the memory.

use rserpool::Time;
use rserpool_compute::durable::{DurableJob, Event, Wish};
use rserpool_compute::job;
use rserpool_net::App;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Octets that may wait, about.
const OCTETS_MAX: usize = 16 * 1024 * 1024;

/// What an event counts besides its octets.
const EVENT: usize = 256;

#[derive(Default)]
struct Waiting {
    events: VecDeque<Event>,
    octets: usize,
    /// The node waits for room.
    waker: Option<Waker>,
    /// One end is gone.
    over: bool,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    news: Condvar,
}

/// The node's end. What a turn of the node told is handed over together: whoever listens is woken once.
pub struct Teller {
    shared: Arc<Shared>,
    told: VecDeque<Event>,
}

/// The other end.
pub struct Listener(Arc<Shared>);

/// A queue.
pub fn queue() -> (Teller, Listener) {
    let shared = Arc::new(Shared::default());
    (Teller { shared: shared.clone(), told: VecDeque::new() }, Listener(shared))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // The values stay whole whatever a panicking thread did.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        let mut waiting = self.lock();
        waiting.over = true;
        if let Some(waker) = waiting.waker.take() {
            waker.wake();
        }
        self.news.notify_all();
    }
}

fn octets(event: &Event) -> usize {
    EVENT
        + match event {
            Event::Disk(Wish::Append { octets, .. }) => octets.len(),
            Event::Job(job::Event::Chunk { octets, .. }) => octets.len(),
            Event::Accepted(accepted) => accepted.output.octets().min(64 * 1024) as usize,
            _ => 0,
        }
}

impl Teller {
    fn hand_over(&mut self) {
        if self.told.is_empty() {
            return;
        }
        let mut waiting = self.shared.lock();
        if waiting.over {
            return self.told.clear();
        }
        waiting.octets += self.told.iter().map(octets).sum::<usize>();
        let nothing_waited = waiting.events.is_empty();
        waiting.events.append(&mut self.told);
        drop(waiting);
        if nothing_waited {
            self.shared.news.notify_one();
        }
    }
}

impl App<DurableJob> for Teller {
    fn event(&mut self, _node: &mut DurableJob, _now: Time, event: Event) {
        self.told.push_back(event);
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.hand_over();
        let mut waiting = self.shared.lock();
        if waiting.over || waiting.octets <= OCTETS_MAX {
            return Poll::Ready(());
        }
        waiting.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.hand_over();
        self.shared.end();
    }
}

impl Listener {
    /// All that waits; waits itself while there is nothing. Empty: nothing more comes.
    pub fn take(&self) -> VecDeque<Event> {
        let mut waiting = self.0.lock();
        while waiting.events.is_empty() && !waiting.over {
            waiting = self.0.news.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::take(&mut waiting.events)
    }

    /// What weighs so much of what was taken is done with, so there is room for as much.
    pub fn done(&self, weight: usize) {
        let mut waiting = self.0.lock();
        waiting.octets = waiting.octets.saturating_sub(weight);
        if waiting.octets <= OCTETS_MAX / 2
            && let Some(waker) = waiting.waker.take()
        {
            waker.wake();
        }
    }

    /// What an event counts.
    pub fn weight(event: &Event) -> usize {
        octets(event)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.end();
    }
}
