//! The loop between a node and its world: who has a turn when, and who is held up by whom.

mod common;

use common::*;
use rserpool::{Cause, Input, Outbox, Ppid, Protocol, Time};
use rserpool_net::{Events, Ports, events, spawn, take_until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

const DATA: Ppid = Ppid(1);

fn probe() -> Probe {
    Probe { outbox: Outbox::default(), echoes: false, deadline: None }
}

#[test]
fn callers_without_end_do_not_keep_out_the_mail() {
    let (a, ours, b, theirs) = pair(Over::Tcp);
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..2)
        .map(|_| {
            let (handle, stop) = (b.handle.clone(), stop.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    handle.post_blocking(|_, _| {}).expect("it lives");
                }
            })
        })
        .collect();
    for number in 0..50u8 {
        a.sends(ours, DATA, [number]);
        b.hears_message(theirs, DATA, &[number]);
    }
    stop.store(true, Ordering::Relaxed);
    callers.into_iter().for_each(|caller| caller.join().expect("it stops"));
}

#[test]
fn mail_without_end_does_not_keep_out_callers_and_alarms() {
    let (a, _ours, b, theirs) = pair(Over::Tcp);
    a.echoes();
    b.echoes();
    // Messages run in circles between the two.
    b.tell(move |probe, _| (0..200u8).for_each(|number| probe.outbox.send(theirs, DATA, vec![number; 50])));
    for _ in 0..50 {
        b.tell(|probe, now| probe.deadline = Some(now));
        assert_eq!(b.hears(), Input::Wake);
    }
    a.tell(|probe, _| probe.echoes = false);
    a.hears_at_last("the circle to end here", |fact| matches!(fact, Input::Message { .. }).then_some(()));
}

#[test]
fn events_nobody_takes_hold_up_the_other_side_and_none_is_lost() {
    const MESSAGES: u64 = 6_000;
    let (app, mut taken): (Events<Input>, _) = events(4);
    let b = spawn("reader", config(Protocol::Tcp), move |_| (probe(), app)).expect("ports on loopback");
    let a = Actor::start(config(Protocol::Tcp));
    let ours = a.opens(&b.bound.service[0]);
    a.hears_opened(ours);
    // 6 MB: more than the event queue, the inbox and the socket buffers hold, less than the sender's queue.
    a.tell(move |probe, _| {
        for number in 0..MESSAGES {
            probe.outbox.send(ours, DATA, pattern(1_000, number));
        }
    });
    // The node that cannot tell its events still answers its callers.
    b.handle.ask_blocking(|_, _| {}).expect("it lives");
    let Poll::Ready(Some((_, Input::Accepted { link, .. }))) = take_until(&mut taken, None) else {
        panic!("accepted first")
    };
    for number in 0..MESSAGES {
        let bytes = pattern(1_000, number);
        let Poll::Ready(Some((_, heard))) = take_until(&mut taken, None) else { panic!("message {number}") };
        assert!(heard == Input::Message { link, ppid: DATA, bytes }, "message {number}");
    }
    assert_eq!(take_until(&mut taken, Some(Instant::now())), Poll::Pending);
    a.stops();
    assert_eq!(
        take_until(&mut taken, None).map(|next| next.map(|(_, fact)| fact)),
        Poll::Ready(Some(Input::Closed { link, cause: Cause::Ended }))
    );
    b.stop();
    assert_eq!(take_until(&mut taken, Some(Instant::now())), Poll::Ready(None));
}

#[test]
fn whoever_no_longer_takes_events_does_not_hold_up_the_node() {
    let (app, taken) = events(1);
    let b = spawn("reader", config(Protocol::Tcp), move |_| (probe(), app)).expect("ports on loopback");
    drop(taken);
    let a = Actor::start(config(Protocol::Tcp));
    let ours = a.opens(&b.bound.service[0]);
    a.hears_opened(ours);
    (0..100u8).for_each(|number| a.sends(ours, DATA, [number]));
    let count = b.handle.ask_blocking(|probe, _| probe.echoes = true);
    assert_eq!(count, Ok(()));
    until("an echo comes back", || {
        a.sends(ours, DATA, [0]);
        a.try_hears().is_ok()
    });
}

#[test]
fn an_application_may_call_its_node_when_it_is_told_something() {
    let app = |probe: &mut Probe, _: Time, fact: Input| {
        if let Input::Message { link, ppid, bytes } = fact {
            probe.outbox.send(link, ppid, bytes.into_iter().rev().collect());
        }
    };
    let b = spawn("reverser", config(Protocol::Tcp), move |_| (probe(), app)).expect("ports on loopback");
    let a = Actor::start(config(Protocol::Tcp));
    let ours = a.opens(&b.bound.service[0]);
    a.hears_opened(ours);
    a.sends(ours, DATA, *b"straw");
    a.hears_message(ours, DATA, b"warts");
    b.stop();
    a.hears_closed(ours, Cause::Ended);
}

#[test]
fn a_stopped_node_cannot_be_asked() {
    let a = Actor::start(config(Protocol::Tcp));
    let handle = a.handle.clone();
    a.vanishes();
    assert!(handle.ask_blocking(|_, _| {}).is_err());
    assert!(handle.post_blocking(|_, _| {}).is_err());
}

#[test]
fn an_alarm_comes_when_it_is_due_and_not_before() {
    let a = Actor::start(config(Protocol::Tcp));
    let set = a.tell(|probe, now| {
        probe.deadline = Some(now + Duration::from_millis(30));
        now
    });
    assert_eq!(a.hears(), Input::Wake);
    let heard = a.tell(|_, now| now);
    assert!(heard.since(set) >= Duration::from_millis(30), "woken {:?} too early", heard.since(set));
    a.hears_nothing_more();
}

#[tokio::test]
async fn ports_say_what_they_got() {
    let (ports, bound) = Ports::open(&config(Protocol::Sctp)).expect("ports on loopback");
    assert_eq!((bound.asap.len(), bound.service.len(), bound.udp.len()), (1, 1, 2));
    assert_eq!((ports.has_mail(), ports.deadline()), (false, None));
}
