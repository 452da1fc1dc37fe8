//! Promises of clients that outlive themselves: J4, J5, J6.

use super::{Check, Kind, Seen};
use crate::actor::Said;
use crate::client::{Said as ClientSaid, digest};
use crate::errand::{Right, right};
use crate::net::HostId;
use rserpool_compute::durable::File;
use rserpool_compute::job::Event;
use rserpool_compute::journal::{Entry, Reader};
use rserpool_compute::protocol::Frame;
use rserpool_compute::{Attempt, JobId, TaskId};
use std::collections::{BTreeMap, BTreeSet};

/// J4: a result is acknowledged once it is synced, and then never computed again.
pub fn j4() -> Check {
    #[derive(Default)]
    struct Synced {
        reader: Reader,
        read: usize,
        accepted: BTreeSet<Attempt>,
    }
    let mut synced: BTreeMap<(HostId, u64), Synced> = BTreeMap::new();
    // Results that came, and were neither discarded nor of cancelled tasks.
    let mut results: BTreeMap<(HostId, u64), BTreeSet<Attempt>> = BTreeMap::new();
    let mut acknowledged: BTreeSet<(JobId, TaskId)> = BTreeSet::new();
    Check::new(
        "J4",
        Kind::Safety,
        "a result is acknowledged to its worker when it is synced, and its task is never sent to a worker again",
        move |scene| {
            let Some(client) = scene.client() else { return Ok(Seen::Nothing) };
            let Some(disk) = client.disk() else { return Ok(Seen::Nothing) };
            let results = results.entry(scene.process()).or_default();
            for (frame, _) in scene.heard_frames() {
                if let Frame::Result { attempt, status, .. } = frame
                    && status.is_result()
                {
                    results.insert(*attempt);
                }
            }
            for said in scene.events() {
                match said {
                    Said::Client(ClientSaid::Job(Event::Discarded { attempt, .. })) => {
                        results.remove(attempt);
                    }
                    Said::Client(ClientSaid::Job(Event::Cancelled { task })) => {
                        results.retain(|attempt| attempt.task != *task);
                    }
                    _ => {}
                }
            }
            let mut seen = Seen::Nothing;
            for (frame, _) in scene.said_frames() {
                match frame {
                    Frame::Ack { attempt } if results.remove(attempt) => {
                        let of = synced.entry(scene.process()).or_default();
                        let disk = disk.borrow();
                        let octets = disk.synced(File::Journal);
                        of.reader.push(&octets[of.read..]);
                        of.read = octets.len();
                        while let Ok(Some(entry)) = of.reader.entry() {
                            if let Entry::Accepted(accepted) = entry {
                                of.accepted.insert(accepted.attempt);
                            }
                        }
                        if !of.accepted.contains(attempt) {
                            return Err(format!("{attempt} is acknowledged and not synced"));
                        }
                        acknowledged.insert((client.id(), attempt.task));
                        seen = Seen::Kept;
                    }
                    Frame::Task { attempt, .. } if acknowledged.contains(&(client.id(), attempt.task)) => {
                        return Err(format!("{attempt} is sent, and a result of its task was acknowledged"));
                    }
                    _ => {}
                }
            }
            Ok(seen)
        },
    )
}

/// A journal's records, read by their picture alone: where each ends, its kind, and its task if it has one.
fn records(octets: &[u8]) -> Vec<(usize, u8, TaskId)> {
    let varint = |mut at: usize| {
        let (mut number, mut shift) = (0u64, 0);
        loop {
            let octet = *octets.get(at)?;
            number |= u64::from(octet & 0x7f) << shift;
            (at, shift) = (at + 1, shift + 7);
            if octet & 0x80 == 0 {
                return Some((number, at));
            }
        }
    };
    let mut found = Vec::new();
    let Some(about) = octets.get(24..28) else { return found };
    let mut at = 28 + about.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)) + 8;
    found.push((at, 0, TaskId(0)));
    while let Some(&kind) = octets.get(at)
        && let Some((length, content)) = varint(at + 1)
    {
        let end = content + length as usize + 8;
        if end > octets.len() {
            break;
        }
        let task = varint(content).filter(|_| matches!(kind, 2 | 4 | 5 | 6)).map_or(0, |(task, _)| task);
        found.push((end, kind, TaskId(task)));
        at = end;
    }
    found
}

/// J5: whatever a crash leaves of the journal, the next life knows what was true after some first part of it, and
/// everything that was synced.
pub fn j5() -> Check {
    #[derive(Default)]
    struct Written {
        octets: Vec<u8>,
        synced: usize,
    }
    let mut written: BTreeMap<HostId, Written> = BTreeMap::new();
    Check::new(
        "J5",
        Kind::Safety,
        "after a crash at any octet the next life knows what was so after some first records, all synced ones among them",
        move |scene| {
            let Some(client) = scene.client().filter(|client| client.disk().is_some()) else {
                return Ok(Seen::Nothing);
            };
            let of = written.entry(scene.host()).or_default();
            let mut seen = Seen::Nothing;
            for said in scene.events() {
                match said {
                    Said::Client(ClientSaid::Wrote(octets)) => {
                        if octets.0.starts_with(b"RSPJ") {
                            if of.synced > 0 {
                                return Err(format!(
                                    "{} octets were synced, and a new job begins",
                                    of.synced
                                ));
                            }
                            of.octets.clear();
                        }
                        of.octets.extend(&octets.0);
                    }
                    Said::Client(ClientSaid::Synced(File::Journal, length)) => {
                        of.synced = of.synced.max(*length)
                    }
                    Said::Client(ClientSaid::Recovered { good, over, open, .. }) => {
                        seen = Seen::Kept;
                        if *good < of.synced {
                            return Err(format!("{good} octets are believed, {} were synced", of.synced));
                        }
                        let found = client.disk().map(|disk| disk.borrow().file(File::Journal).to_vec());
                        let same =
                            found.as_deref().and_then(|found| found.get(..*good)) == of.octets.get(..*good);
                        let records = records(&of.octets);
                        if !same || !records.iter().any(|(end, ..)| end == good) {
                            return Err(format!("the first {good} octets are not the first records"));
                        }
                        let (mut taken, mut ended) = (BTreeSet::new(), BTreeSet::new());
                        for (_, kind, task) in records.iter().filter(|(end, ..)| end <= good) {
                            match kind {
                                2 => drop(taken.insert(*task)),
                                4..=6 => drop(ended.insert(*task)),
                                _ => {}
                            }
                        }
                        let left: Vec<TaskId> = taken.difference(&ended).copied().collect();
                        if left != *open || ended.into_iter().collect::<Vec<_>>() != *over {
                            return Err(format!(
                                "{over:?} are said to be over, and {open:?} not, instead of {left:?}"
                            ));
                        }
                        of.octets.truncate(*good);
                    }
                    _ => {}
                }
            }
            Ok(seen)
        },
    )
}

/// J6: an output is there as a whole, or not at all.
pub fn j6() -> Check {
    Check::new(
        "J6",
        Kind::Safety,
        "after a crash the output of a task is there as a whole, and right, or its task is not over",
        |scene| {
            let Some(client) = scene.client() else { return Ok(Seen::Nothing) };
            let mut seen = Seen::Nothing;
            for said in scene.events() {
                let Said::Client(ClientSaid::Recovered { results, .. }) = said else { continue };
                for (task, status, output) in results {
                    let Right::Result(wanted, octets) = right(&scene.scope.toil.task(client.seed(), task.0))
                    else {
                        return Err(format!("task {task} cannot have a result"));
                    };
                    if *status != wanted || *output != Some((octets.len(), digest(&octets))) {
                        return Err(format!("task {task} is over, and its output is {output:?}"));
                    }
                    seen = Seen::Kept;
                }
            }
            Ok(seen)
        },
    )
}
