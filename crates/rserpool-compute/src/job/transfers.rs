//! Items on their way, the client's side: what workers need is read by the application part by part, checkpoints they
//! bring are written by it. Only so many are given at a time that memory stays bounded, however many workers there are.

use super::books::Place;
use super::lanes::{Assigned, Lane};
use super::{Cause, Event, Job};
use crate::item::Item;
use crate::protocol::{Attempt, CHUNK_MAX, Frame, TRANSFER_WINDOW, TaskId, WINDOW};
use rserpool::user::SessionId;
use std::collections::{BTreeSet, VecDeque};
use std::fmt;

/// Items given at a time: with a window each, at most 16 MiB are under way.
const GIVING_MAX: usize = 32;

/// Items one worker may ask for at a time; our own asks for four.
const FETCHES_MAX: usize = 16;

/// Names a transfer between job and application. Never used twice by one job: the numbers are the workers', and each worker
/// a session comes to begins anew, while an answer to the one before may still be on its way from a slow disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId {
    session: SessionId,
    number: u32,
    serial: u64,
}

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.session, self.number)
    }
}

/// An item on its way to or from a worker.
#[derive(Clone, Debug)]
pub(super) struct Transfer {
    serial: u64,
    way: Way,
}

#[derive(Clone, Debug)]
enum Way {
    Give {
        item: Item,
        sent: u64,
        /// Octets the worker still permits.
        window: u64,
        /// The application was asked for so many.
        asked: Option<u32>,
    },
    Take {
        attempt: Attempt,
        item: Item,
        received: u64,
        /// Octets the worker has not got back for its window.
        ungranted: u32,
    },
}

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Giving {
    active: BTreeSet<TransferId>,
    later: VecDeque<TransferId>,
    /// Transfers begun, checkpoints included.
    serial: u64,
}

impl Lane {
    /// The transfer, if it is under way.
    fn way(&mut self, id: TransferId) -> Option<&mut Way> {
        self.transfers.get_mut(&id.number).filter(|its| its.serial == id.serial).map(|its| &mut its.way)
    }

    /// The checkpoints of this execution that are under way.
    fn saves_of(&self, attempt: Attempt) -> impl Iterator<Item = u32> + '_ {
        let of_it = move |way: &Way| matches!(way, Way::Take { attempt: its, .. } if *its == attempt);
        self.transfers.iter().filter(move |(_, its)| of_it(&its.way)).map(|(number, _)| *number)
    }
}

impl Job {
    // ----- what the application says

    /// The octets a worker wanted. Ignored if it does not want them any more.
    pub fn provide(&mut self, now: rserpool::Time, transfer: TransferId, octets: Vec<u8>) {
        self.now = now;
        let Some(lane) = self.lanes.get_mut(&transfer.session) else { return };
        let Some(Way::Give { item, sent, window, asked }) = lane.way(transfer) else { return };
        if asked.take().is_none_or(|asked| asked as usize != octets.len()) {
            debug_assert!(false, "not what was wanted");
            return;
        }
        *sent += octets.len() as u64;
        *window -= octets.len() as u64;
        let done = *sent == item.size;
        lane.batch.push(&Frame::Part { transfer: transfer.number, octets });
        if done {
            self.end_transfer(transfer);
        } else {
            self.want(transfer);
        }
    }

    /// An item cannot be given: tasks that need it and did not begin fail for this reason.
    pub fn cannot_provide(&mut self, now: rserpool::Time, item: Item, why: &str) {
        self.now = now;
        let transfers: Vec<_> = self
            .giving
            .active
            .iter()
            .copied()
            .filter(|transfer| {
                let lane = self.lanes.get_mut(&transfer.session);
                let given = lane.and_then(|lane| lane.way(*transfer));
                matches!(given, Some(Way::Give { item: its, .. }) if *its == item)
            })
            .collect();
        transfers.into_iter().for_each(|transfer| self.end_transfer(transfer));
        for id in self.tasks.ids() {
            let needs = self.tasks.get(id).is_some_and(|task| task.items.contains(&item));
            if needs && self.withdraw(id) {
                self.give_up(id, Cause::NoInput { why: why.to_owned() });
            }
        }
    }

    /// Takes a task away from workers where it did not begin. False if it runs somewhere.
    fn withdraw(&mut self, id: TaskId) -> bool {
        let Some(task) = self.tasks.get(id) else { return false };
        let at = match task.place {
            Place::Queued => None,
            Place::Moved(_) => return false,
            Place::At(session) => Some(session),
        };
        let sessions: Vec<_> = at.into_iter().chain(task.backup).collect();
        let runs = |session: &SessionId| self.lanes[session].assigned.get(&id).is_some_and(|its| its.started);
        if sessions.iter().any(runs) {
            return false;
        }
        sessions.into_iter().for_each(|session| self.cancel_at(session, id));
        true
    }

    /// So many octets of an execution's output are taken, in portions of any size. Needed only with
    /// [`Config::paced`](super::Config::paced).
    pub fn taken(&mut self, now: rserpool::Time, attempt: Attempt, octets: u32) {
        self.now = now;
        let has_it = |lane: &&mut Lane| {
            lane.assigned.get(&attempt.task).is_some_and(|assigned| assigned.number == attempt.number)
        };
        if let Some(lane) = self.lanes.values_mut().filter(|_| self.config.paced).find(has_it) {
            lane.taken(attempt, octets);
        }
    }

    /// So many octets of a checkpoint are on the disk.
    pub fn kept(&mut self, now: rserpool::Time, transfer: TransferId, octets: u32) {
        self.now = now;
        let Some(lane) = self.lanes.get_mut(&transfer.session) else { return };
        if let Some(Way::Take { ungranted, .. }) = lane.way(transfer) {
            let octets = octets.min(*ungranted);
            *ungranted -= octets;
            if octets > 0 {
                lane.batch.push(&Frame::More { transfer: transfer.number, octets });
            }
        }
    }

    /// A checkpoint is on the disk, all of it, and its digest is right.
    pub fn saved(&mut self, now: rserpool::Time, transfer: TransferId) {
        self.save_over(now, transfer, Frame::Saved { transfer: transfer.number });
    }

    /// A checkpoint cannot be kept. The worker will try with the next one.
    pub fn cannot_save(&mut self, now: rserpool::Time, transfer: TransferId) {
        self.save_over(now, transfer, Frame::Stop { transfer: transfer.number });
    }

    fn save_over(&mut self, now: rserpool::Time, transfer: TransferId, word: Frame) {
        self.now = now;
        let Some(lane) = self.lanes.get_mut(&transfer.session) else { return };
        if let Some(Way::Take { .. }) = lane.way(transfer) {
            lane.transfers.remove(&transfer.number);
            lane.batch.push(&word);
        }
    }

    // ----- what workers say

    pub(super) fn fetch(&mut self, session: SessionId, number: u32, item: Item) -> Result<(), String> {
        let Some(lane) = self.lanes.get(&session) else { return Ok(()) };
        let asked = lane.transfers.values().filter(|its| matches!(its.way, Way::Give { .. })).count();
        if asked >= FETCHES_MAX {
            return Err(format!("it asks for more than {FETCHES_MAX} items at a time"));
        }
        let mut waiting = lane.assigned.iter().filter(|(_, assigned)| !assigned.started);
        let needs = |(id, assigned): (&TaskId, &Assigned)| {
            self.tasks.get(*id).is_some_and(|task| task.items.contains(&item))
                || assigned.continues.as_ref().is_some_and(|kept| kept.item == Some(item))
        };
        // What a task needed that was cancelled a moment ago is given all the same: others at the worker may wait for it by
        // now, and what nobody wants the worker ends.
        if !waiting.clone().any(needs) && !waiting.any(|(_, assigned)| assigned.cancelled) {
            return Err("it asks for an item that none of its tasks needs".to_owned());
        }
        let way = Way::Give { item, sent: 0, window: TRANSFER_WINDOW.into(), asked: None };
        let Some(transfer) = self.begin(session, number, item, way)? else { return Ok(()) };
        if self.giving.active.len() < GIVING_MAX {
            self.giving.active.insert(transfer);
            self.want(transfer);
        } else {
            self.giving.later.push_back(transfer);
        }
        Ok(())
    }

    fn begin(
        &mut self,
        session: SessionId,
        number: u32,
        item: Item,
        way: Way,
    ) -> Result<Option<TransferId>, String> {
        let Some(lane) = self.lanes.get_mut(&session) else { return Ok(None) };
        let serial = self.giving.serial;
        if item.size == 0 || lane.transfers.insert(number, Transfer { serial, way }).is_some() {
            return Err(format!("transfer {number} is no new one"));
        }
        self.giving.serial += 1;
        Ok(Some(TransferId { session, number, serial }))
    }

    /// The name of what a worker calls so.
    fn under_way(&self, session: SessionId, number: u32) -> Option<TransferId> {
        let serial = self.lanes.get(&session)?.transfers.get(&number)?.serial;
        Some(TransferId { session, number, serial })
    }

    /// Asks the application for the next part, if the worker permits one and none is asked for.
    fn want(&mut self, transfer: TransferId) {
        let Some(lane) = self.lanes.get_mut(&transfer.session) else { return };
        let Some(Way::Give { item, sent, window, asked }) = lane.way(transfer) else { return };
        let octets = (*window).min(item.size - *sent).min(CHUNK_MAX as u64) as u32;
        if asked.is_some() || octets == 0 || !self.giving.active.contains(&transfer) {
            return;
        }
        *asked = Some(octets);
        let (item, offset) = (*item, *sent);
        self.event(Event::Wanted { transfer, item, offset, octets });
    }

    /// The worker takes more of an item.
    pub(super) fn more(&mut self, session: SessionId, number: u32, octets: u32) {
        let Some(transfer) = self.under_way(session, number) else { return };
        let Some(lane) = self.lanes.get_mut(&session) else { return };
        if let Some(Way::Give { window, .. }) = lane.way(transfer) {
            // Whatever a worker says, no more than two windows are ever under way.
            *window = (*window + u64::from(octets)).min(2 * u64::from(TRANSFER_WINDOW));
            self.want(transfer);
        }
    }

    /// The worker does not want more of an item, or does not bring more of a checkpoint.
    pub(super) fn stop(&mut self, session: SessionId, number: u32) {
        if let Some(transfer) = self.under_way(session, number) {
            self.end_transfer(transfer);
        }
    }

    pub(super) fn save(
        &mut self,
        session: SessionId,
        number: u32,
        attempt: Attempt,
        item: Item,
    ) -> Result<(), String> {
        let Some(lane) = self.lanes.get_mut(&session) else { return Ok(()) };
        let cancelled = lane.assigned_mut(attempt).is_none_or(|assigned| assigned.cancelled);
        if lane.saves_of(attempt).next().is_some() {
            return Err(format!("two checkpoints of {attempt} at a time"));
        }
        let way = Way::Take { attempt, item, received: 0, ungranted: 0 };
        let Some(transfer) = self.begin(session, number, item, way)? else { return Ok(()) };
        if !cancelled {
            self.event(Event::Save { transfer, attempt, item });
        } else if let Some(lane) = self.lanes.get_mut(&session) {
            lane.transfers.remove(&number);
            lane.batch.push(&Frame::Stop { transfer: number });
        }
        Ok(())
    }

    pub(super) fn part(&mut self, session: SessionId, number: u32, octets: Vec<u8>) -> Result<(), String> {
        let Some(transfer) = self.under_way(session, number) else { return Ok(()) };
        let Some(lane) = self.lanes.get_mut(&session) else { return Ok(()) };
        let Some(Way::Take { item, received, ungranted, .. }) = lane.way(transfer) else {
            return Ok(());
        };
        *received += octets.len() as u64;
        *ungranted = ungranted.saturating_add(octets.len() as u32);
        if *received > item.size || *ungranted > WINDOW.max(TRANSFER_WINDOW) {
            return Err(format!("more of transfer {number} than was announced or asked for"));
        }
        self.event(Event::SavePart { transfer, octets });
        Ok(())
    }

    // ----- ends

    fn end_transfer(&mut self, transfer: TransferId) {
        if let Some(lane) = self.lanes.get_mut(&transfer.session)
            && lane.way(transfer).is_some()
        {
            lane.transfers.remove(&transfer.number);
            self.event(Event::TransferEnded { transfer });
        }
        self.giving.later.retain(|later| *later != transfer);
        if self.giving.active.remove(&transfer)
            && let Some(next) = self.giving.later.pop_front()
        {
            self.giving.active.insert(next);
            self.want(next);
        }
    }

    /// An execution is over: its worker has nothing more to save of it.
    pub(super) fn no_more_saves(&mut self, session: SessionId, attempt: Attempt) {
        let Some(lane) = self.lanes.get(&session) else { return };
        let numbers: Vec<u32> = lane.saves_of(attempt).collect();
        numbers.into_iter().for_each(|number| self.stop(session, number));
    }

    /// A session lost its worker, or ends.
    pub(super) fn transfers_lost(&mut self, session: SessionId) {
        let Some(lane) = self.lanes.get(&session) else { return };
        let numbers: Vec<u32> = lane.transfers.keys().copied().collect();
        for number in numbers {
            self.stop(session, number);
        }
    }
}
