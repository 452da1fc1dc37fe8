//! Items on their way: what tasks need comes from the client, checkpoints too large for a cookie go there.

use super::clients::Breach;
use super::held::{Owner, State};
use super::stock::{Fit, Stage};
use super::{RunId, TaskService, Wish};
use crate::cookie::Checkpoint;
use crate::item::Item;
use crate::protocol::{Attempt, Frame, Status, TRANSFER_WINDOW};
use rserpool::Time;
use rserpool::element::{Replies, SessionId};

/// Items asked for at a time, of all sessions together.
const FETCHES_MAX: usize = 4;

/// Tasks that wait behind the free slots whose items are fetched ahead.
const AHEAD: usize = 2;

/// A checkpoint on its way to the client.
#[derive(Debug)]
pub(super) struct Save {
    pub(super) run: RunId,
    pub(super) attempt: Attempt,
    item: Item,
    sent: u64,
    /// Octets the client still permits.
    window: u64,
}

impl TaskService {
    /// How far into a queue tasks are prepared.
    pub(super) fn prepared(&self) -> usize {
        self.slots() as usize + AHEAD
    }

    /// Pins what the first waiting tasks need and asks for what is missing.
    pub(super) fn prepare(&mut self, replies: &mut Replies<Wish>) {
        self.stock.shrink().into_iter().for_each(|item| replies.wish(Wish::Evict { item }));
        if self.books.needy == 0 {
            return;
        }
        let depth = self.prepared();
        let first =
            self.books.sessions.iter().flat_map(|(&id, session)| {
                session.queue.iter().take(depth).map(move |&attempt| (id, attempt))
            });
        let first: Vec<_> = first.collect();
        let mut blocked = false;
        for (id, attempt) in first {
            let Some(session) = self.books.sessions.get_mut(&id) else { continue };
            let Some(held) = session.held.get_mut(&attempt).filter(|held| !held.pinned) else { continue };
            let needs = held.needs();
            if blocked && !needs.is_empty() {
                continue; // whoever came first has its room first
            }
            match self.stock.fit(&needs) {
                Fit::Now => {
                    held.pinned = true;
                    let evicted = self.stock.pin(&needs);
                    evicted.into_iter().for_each(|item| replies.wish(Wish::Evict { item }));
                }
                Fit::Later => blocked = true,
                Fit::Never => {
                    let octets: u64 = needs.iter().map(|item| item.size).sum();
                    let capacity = self.stock.capacity();
                    let why = format!(
                        "its files ({octets} octets) do not fit into the worker's cache ({capacity})"
                    );
                    self.cannot_start(id, attempt, &why, replies);
                }
            }
        }
        self.fetch(replies);
    }

    fn fetch(&mut self, replies: &mut Replies<Wish>) {
        let mut wanted = self.stock.wanted();
        if wanted.is_empty() {
            return;
        }
        let mut coming = self.stock.coming();
        let depth = self.prepared();
        for (&id, session) in &mut self.books.sessions {
            for attempt in session.queue.iter().take(depth) {
                let Some(held) = session.held.get(attempt).filter(|held| held.pinned) else { continue };
                for item in held.needs() {
                    if coming >= FETCHES_MAX || !wanted.remove(&item) {
                        continue;
                    }
                    coming += 1;
                    if item.size == 0 {
                        self.stock.set(&item, Stage::Whole);
                        replies.wish(Wish::Store { item, octets: Vec::new() });
                        continue;
                    }
                    session.transfers += 1;
                    let transfer = session.transfers;
                    session.fetches.insert(transfer, item);
                    let stage = Stage::Coming { session: id, transfer, received: 0, stored: 0, granted: 0 };
                    self.stock.set(&item, stage);
                    self.counters.fetched += 1;
                    self.out.entry(id).or_default().push(&Frame::Fetch { transfer, item });
                }
            }
        }
    }

    /// A part of an item. What is not waited for any more is ignored; more than was asked for is a breach.
    pub(super) fn part(
        &mut self,
        id: SessionId,
        transfer: u32,
        octets: Vec<u8>,
        replies: &mut Replies<Wish>,
    ) -> Result<(), Breach> {
        let Some(session) = self.books.sessions.get_mut(&id) else { return Ok(()) };
        if transfer > session.transfers {
            return Err(Breach);
        }
        let Some(&item) = session.fetches.get(&transfer) else { return Ok(()) };
        let Some(Stage::Coming { received, stored, granted, .. }) = self.stock.stage(&item) else {
            return Ok(());
        };
        let received = received + octets.len() as u64;
        if received > item.size || received.saturating_sub(granted) > TRANSFER_WINDOW.into() {
            return Err(Breach);
        }
        let stage = if received == item.size {
            session.fetches.remove(&transfer);
            Stage::Whole
        } else {
            Stage::Coming { session: id, transfer, received, stored, granted }
        };
        self.stock.set(&item, stage);
        replies.wish(Wish::Store { item, octets });
        Ok(())
    }

    /// Octets of an item are on the disk: the client may send as many more.
    pub(super) fn stored(&mut self, item: Item, octets: u32) {
        let Some(Stage::Coming { session, transfer, received, stored, granted }) = self.stock.stage(&item)
        else {
            return;
        };
        // A late word of a transfer before this one must not count for more than there is.
        let stored = received.min(stored + u64::from(octets));
        let mut granted = granted;
        if let Ok(more) = u32::try_from(stored - granted)
            && more >= TRANSFER_WINDOW / 2
        {
            granted = stored;
            self.say(session, &Frame::More { transfer, octets: more });
        }
        self.stock.set(&item, Stage::Coming { session, transfer, received, stored, granted });
    }

    /// The world could not keep an item: who needs it goes elsewhere.
    pub(super) fn not_stored(&mut self, item: Item, why: &str, replies: &mut Replies<Wish>) {
        if let Some(Stage::Coming { session, transfer, .. }) = self.stock.forget(&item) {
            self.stop_fetch(session, transfer);
        }
        self.books.pins.values_mut().for_each(|needs| needs.retain(|its| *its != item));
        // What of it is still on its way to the world ends with this.
        replies.wish(Wish::Evict { item });
        let waiting = self.books.sessions.iter().flat_map(|(&id, session)| {
            let needy = session.held.values().filter(|held| held.pinned && held.needs().contains(&item));
            needy.filter(|held| matches!(held.state, State::Waiting(_))).map(move |held| (id, held.attempt))
        });
        let waiting: Vec<_> = waiting.collect();
        for (id, attempt) in waiting {
            self.cannot_start(id, attempt, why, replies);
        }
    }

    fn stop_fetch(&mut self, id: SessionId, transfer: u32) {
        let Some(session) = self.books.sessions.get_mut(&id) else { return };
        if session.fetches.remove(&transfer).is_some() {
            self.say(id, &Frame::Stop { transfer });
        }
    }

    /// A waiting task ends before it began.
    fn cannot_start(&mut self, id: SessionId, attempt: Attempt, why: &str, replies: &mut Replies<Wish>) {
        let Some(needs) = self.leave_queue(id, attempt) else { return };
        self.unpin(&needs, replies);
        let Some(held) = self.books.sessions.get_mut(&id).and_then(|session| session.held.get_mut(&attempt))
        else {
            return;
        };
        held.state = State::Ended(Status::CouldNotStart(why.to_owned()));
        self.pass_on(id, attempt, true);
    }

    /// Takes a waiting task out of its queue. Returns what it had pinned.
    pub(super) fn leave_queue(&mut self, id: SessionId, attempt: Attempt) -> Option<Vec<Item>> {
        let session = self.books.sessions.get_mut(&id)?;
        session.queue.retain(|waiting| *waiting != attempt);
        let held = session.held.get_mut(&attempt)?;
        self.books.waiting_octets -= held.size;
        Some(self.books.unneeded(attempt, id))
    }

    /// Lets go of items; what is not waited for any more is not fetched to its end.
    pub(super) fn unpin(&mut self, needs: &[Item], replies: &mut Replies<Wish>) {
        for (item, stage) in self.stock.unpin(needs) {
            if let Stage::Coming { session, transfer, .. } = stage {
                self.stop_fetch(session, transfer);
                replies.wish(Wish::Evict { item });
            }
        }
    }

    /// A session is gone: what it was sending is asked for elsewhere, from the beginning.
    pub(super) fn transfers_lost(&mut self, id: SessionId, replies: &mut Replies<Wish>) {
        self.stock.lost(id).into_iter().for_each(|item| replies.wish(Wish::Evict { item }));
    }

    // ----- checkpoints

    /// A run has a checkpoint that is too large for a cookie.
    pub(super) fn save(&mut self, run: RunId, item: Item, replies: &mut Replies<Wish>) {
        let Some(Owner::Session(id, attempt)) = self.books.owners.get(&run).copied() else {
            return replies.wish(Wish::Saved { run });
        };
        let Some(session) = self.books.sessions.get_mut(&id) else { return };
        session.transfers += 1;
        let transfer = session.transfers;
        let window = u64::from(TRANSFER_WINDOW);
        session.saves.insert(transfer, Save { run, attempt, item, sent: 0, window });
        self.say(id, &Frame::Save { transfer, attempt, item });
        replies.wish(Wish::Send { run, octets: TRANSFER_WINDOW });
    }

    /// Some of the checkpoint of a run.
    pub(super) fn saving(&mut self, run: RunId, octets: Vec<u8>) {
        let Some(Owner::Session(id, _)) = self.books.owners.get(&run).copied() else { return };
        let Some(session) = self.books.sessions.get_mut(&id) else { return };
        let Some((&transfer, save)) = session.saves.iter_mut().find(|(_, save)| save.run == run) else {
            return;
        };
        let length = octets.len() as u64;
        if length == 0 || length > save.window || save.sent + length > save.item.size {
            return;
        }
        save.sent += length;
        save.window -= length;
        self.say(id, &Frame::Part { transfer, octets });
    }

    /// The client takes more of a checkpoint.
    pub(super) fn more(&mut self, id: SessionId, transfer: u32, octets: u32, replies: &mut Replies<Wish>) {
        let Some(session) = self.books.sessions.get_mut(&id) else { return };
        let Some(save) = session.saves.get_mut(&transfer) else { return };
        save.window = save.window.saturating_add(octets.into());
        replies.wish(Wish::Send { run: save.run, octets });
    }

    /// The client has a checkpoint safe (`safe`), or does not want it.
    pub(super) fn save_over(
        &mut self,
        now: Time,
        id: SessionId,
        transfer: u32,
        safe: bool,
        replies: &mut Replies<Wish>,
    ) {
        let Some(session) = self.books.sessions.get_mut(&id) else { return };
        let Some(save) = session.saves.remove(&transfer) else { return };
        replies.wish(Wish::Saved { run: save.run });
        if let Some(held) = session.held.get_mut(&save.attempt)
            && safe
            && save.sent == save.item.size
        {
            held.checkpointed(Checkpoint::Kept(save.item).emit());
            self.cookie_of_checkpoint(now, id, replies);
        }
    }
}
