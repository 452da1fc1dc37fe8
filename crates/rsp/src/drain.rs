//! `rsp drain`: asks workers to leave.
//!
//! A worker is found in the registrars' list, or at its address, and asked in a session of its own (`Drain` of the task
//! protocol). Nobody is asked in its place when it cannot be reached.

use crate::address::Choice;
use crate::ask::Answer;
use crate::cli::DrainArgs;
use crate::client::{self, no_registrar, unknown_pool};
use crate::exit::{Code, Failure};
use crate::pool;
use crate::process::{self, cannot_bind, say};
use rserpool::user::{Event, SessionId, SessionOptions};
use rserpool::wire::parameter::{Life, PoolElement, Transport, TransportUse};
use rserpool::{ElementId, Policy, PoolHandle, PoolUser, RegistrarId, Time};
use rserpool_compute::protocol::{Frame, Frames, PPID};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a worker may take to answer, and to leave after its time is over.
const PATIENCE: Duration = Duration::from_secs(10);

/// A worker to ask.
struct Asked {
    /// As it is told to people.
    name: String,
    said: bool,
}

/// Asks them all; status 1 if one of them would not, or could not be asked.
pub fn run(args: &DrainArgs) -> Result<Code, Failure> {
    let choice = Choice::of(&args.registrars)?;
    let found = find(args, &choice)?;
    let net = client::sockets(&args.registrars, &choice)?;
    let config = client::user(&args.registrars, &choice);
    let random = process::random();
    let (told, heard) = mpsc::channel();
    let make = move |_: &rserpool_net::Bound| {
        let app = move |_: &mut PoolUser, _: Time, event: Event| drop(told.send(event));
        (PoolUser::new(config, random), app)
    };
    let running = rserpool_net::spawn("drain", net, make).map_err(|error| cannot_bind(&error))?;
    let ended = || Failure::new(Code::Failed, "asking the workers ended without an answer");
    let open = move |user: &mut PoolUser, now: Time| -> Vec<(SessionId, String)> {
        let options = SessionOptions { heartbeat: true, ..SessionOptions::default() };
        let open = |(name, pool, element)| (user.open_at(now, pool, element, options.clone()), name);
        found.into_iter().map(open).collect()
    };
    let opened = running.handle.ask_blocking(open).map_err(|_| ended())?;
    let mut asked: BTreeMap<SessionId, Asked> =
        opened.into_iter().map(|(session, name)| (session, Asked { name, said: false })).collect();

    let millis = u32::try_from(args.deadline * 1000).unwrap_or(u32::MAX);
    let patience = PATIENCE + if args.wait { Duration::from_secs(args.deadline) } else { Duration::ZERO };
    let end = Instant::now() + patience;
    let mut refused = 0;
    while !asked.is_empty() {
        let Ok(event) = heard.recv_timeout(end.saturating_duration_since(Instant::now())) else { break };
        match event {
            Event::Connected { session, .. } if asked.get(&session).is_some_and(|asked| !asked.said) => {
                let mut message = Vec::new();
                Frame::Drain { millis }.emit(&mut message);
                let _ = running.handle.post_blocking(move |user, now| {
                    // A session that lost its worker meanwhile says so next.
                    let _ = user.send(now, session, PPID, message);
                });
            }
            Event::Message { session, bytes, .. } => {
                let Some(Ok(Frame::Draining { permitted, tasks, millis })) = Frames::of(&bytes).next() else {
                    continue;
                };
                let Some(worker) = asked.get_mut(&session) else { continue };
                let name = &worker.name;
                let is_over = match (permitted, tasks) {
                    (false, _) => {
                        refused += 1;
                        say(format!(
                            "{name} does not drain for this machine; ask on its own, or start it with --allow-drain"
                        ));
                        true
                    }
                    (true, 0) => {
                        say(format!("{name} has left"));
                        true
                    }
                    (true, tasks) => {
                        say(format!("{name} drains: {tasks} tasks have up to {} s", millis.div_ceil(1000)));
                        !args.wait
                    }
                };
                worker.said = true;
                if is_over {
                    asked.remove(&session);
                }
            }
            // It is gone, and nobody else was meant.
            Event::FailingOver { session, .. } | Event::Failed { session, .. } => {
                let _ = running.handle.post_blocking(move |user, now| user.close(now, session));
                if let Some(worker) = asked.remove(&session) {
                    refused += 1;
                    let why = if worker.said { "died while it drained" } else { "cannot be reached" };
                    say(format!("{} {why}", worker.name));
                }
            }
            _ => {}
        }
    }
    for worker in asked.values() {
        refused += 1;
        say(format!("{} gives no answer in time", worker.name));
    }
    Ok(if refused == 0 { Code::Done } else { Code::Failed })
}

/// Who is meant: what to call it, its pool, and where it is.
fn find(args: &DrainArgs, choice: &Choice) -> Result<Vec<(String, PoolHandle, PoolElement)>, Failure> {
    let nameless = PoolHandle::new("compute").expect("a legal name");
    let mut found = Vec::new();
    let mut ids = Vec::new();
    for text in &args.workers {
        if let Ok(at) = text.parse::<SocketAddr>() {
            found.push((format!("worker at {at}"), args.pool.unwrap_or(nameless), at_address(at)));
        } else {
            let id = crate::cli::identifier(text).map_err(|_| {
                Failure::new(Code::Usage, format!("'{text}' is neither a worker's identifier nor IP:PORT"))
            })?;
            ids.push(ElementId(id));
        }
    }
    if ids.is_empty() && !args.all {
        return Ok(found);
    }
    let listing = match pool::ask(&args.registrars, choice, args.pool)? {
        Answer::Listing(listing) => listing,
        _ => return Err(no_registrar(choice)),
    };
    if let (Some(pool), true) = (args.pool, listing.pools.is_empty()) {
        return Err(unknown_pool(pool, choice));
    }
    for (pool, elements) in listing.pools {
        for element in elements {
            let place = ids.iter().position(|id| *id == element.id);
            if let Some(place) = place {
                ids.swap_remove(place);
            }
            if args.all || place.is_some() {
                found.push((format!("worker {}", element.id), pool, element));
            }
        }
    }
    match ids.first() {
        Some(id) => Err(Failure::new(
            Code::PoolEmpty,
            format!(
                "the registrar at {} knows no worker {id}; see `rsp pool ls` and `rsp pool show`",
                choice.display()
            ),
        )),
        None => Ok(found),
    }
}

fn at_address(at: SocketAddr) -> PoolElement {
    PoolElement {
        id: ElementId(1),
        home: RegistrarId(0),
        life: Life(u32::MAX),
        user_transport: Transport::Tcp {
            port: at.port(),
            transport_use: TransportUse::DataAndControl,
            address: at.ip(),
        },
        policy: Policy::RoundRobin,
        asap_transport: None,
        asap_tcp: None,
    }
}
