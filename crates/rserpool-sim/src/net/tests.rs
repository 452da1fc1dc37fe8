//! The network's own promises, shown with nodes that do next to nothing.

use super::*;
use rserpool::{Ending, Greeting, Outbox, Ppid};

const PPID: Ppid = Ppid(7);

/// Notes what it is told, as words; greets whoever lets it in; answers 'x' with 'y'; wakes when told to.
#[derive(Default)]
struct Parrot {
    outbox: Outbox<()>,
    heard: Vec<String>,
    alarm: Option<Time>,
}

impl Node for Parrot {
    type Event = ();

    fn handle(&mut self, now: Time, input: Input) {
        let word = match input {
            Input::Accepted { door, .. } => format!("accepted {door:?}"),
            Input::Opened { .. } => "opened".into(),
            Input::Message { link, bytes, .. } => {
                if bytes == b"x" {
                    self.outbox.send(link, PPID, b"y".to_vec());
                }
                String::from_utf8(bytes).expect("tests speak ASCII")
            }
            Input::Closed { cause, .. } => format!("closed {cause:?}"),
            Input::Heard { bytes, .. } => format!("heard {}", bytes.len()),
            Input::Deaf { .. } => panic!("this world has room"),
            Input::Wake => {
                assert!(self.alarm.take_if(|due| *due <= now).is_some(), "woken early");
                "woken".into()
            }
        };
        self.heard.push(word);
    }

    fn poll(&mut self) -> Option<Output<()>> {
        self.outbox.take()
    }

    fn deadline(&self) -> Option<Time> {
        self.alarm
    }
}

struct Two {
    net: Net<Parrot>,
    a: HostId,
    b: HostId,
    link: LinkId,
}

impl Two {
    /// Two hosts, and a link that the first opens to the second's service door.
    fn linked(seed: u64) -> Self {
        let mut net = Net::new(Random::from_seed(seed), Settings::default(), Trace::keeping(0));
        let (a, b) = (net.host("a"), net.host("b"));
        for host in [a, b] {
            net.start(host, ears(), |_| Parrot::default());
        }
        let to = net.endpoint(b, Protocol::Tcp, 7);
        let open = |node: &mut Parrot, _| node.outbox.open(Door::Service, to, Greeting::default());
        let (link, _) = net.call(a, open).expect("it runs");
        let mut two = Self { net, a, b, link };
        two.runs(100);
        two
    }

    fn runs(&mut self, millis: u64) {
        let until = self.net.now() + Duration::from_millis(millis);
        while self.net.step(until).is_some() {}
        self.net.pass(until);
    }

    fn says(&mut self, text: &str) {
        let link = self.link;
        self.net.call(self.a, |node, _| node.outbox.send(link, PPID, text.into()));
    }

    fn heard(&self, host: HostId) -> Vec<&str> {
        self.net.node(host).expect("it runs").heard.iter().map(String::as_str).collect()
    }
}

fn ears() -> Ears {
    Ears { doors: vec![(Door::Service, 7)], channels: vec![Channel::Asap] }
}

#[test]
fn messages_of_a_link_arrive_in_order_whatever_their_delays() {
    for seed in 0..50 {
        let mut two = Two::linked(seed);
        for number in 0..20 {
            two.says(&number.to_string());
        }
        two.runs(100);
        let expected: Vec<String> =
            std::iter::once("accepted Service".into()).chain((0..20).map(|n: i32| n.to_string())).collect();
        assert_eq!(two.heard(two.b), expected);
        assert_eq!(two.heard(two.a), ["opened"]);
    }
}

#[test]
fn the_canary_network_disorders_messages() {
    let disordered = (0..50).any(|seed| {
        let mut two = Two::linked(seed);
        two.net.settings.disorder = true;
        (0..9).for_each(|number| two.says(&number.to_string()));
        two.runs(100);
        two.heard(two.b)[1..] != ["0", "1", "2", "3", "4", "5", "6", "7", "8"]
    });
    assert!(disordered);
}

#[test]
fn what_is_said_before_the_link_is_up_arrives_even_if_the_link_is_ended_gracefully_at_once() {
    let mut two = Two::linked(1);
    let to = two.net.endpoint(two.b, Protocol::Tcp, 7);
    two.net.call(two.a, |node, _| {
        let link = node.outbox.open(Door::Service, to, Greeting::default());
        node.outbox.send(link, PPID, b"early".to_vec());
        node.outbox.close(link, Ending::Graceful);
    });
    two.runs(100);
    assert_eq!(two.heard(two.b), ["accepted Service", "accepted Service", "early", "closed Ended"]);
    assert_eq!(two.heard(two.a), ["opened"]);
}

#[test]
fn a_crash_is_noticed_by_the_transport_and_a_vanished_host_is_not() {
    let mut two = Two::linked(2);
    two.net.crash(two.b);
    two.runs(200);
    assert_eq!(two.heard(two.a), ["opened", "closed Lost"]);

    let mut two = Two::linked(2);
    two.net.vanish(two.b);
    two.says("into the void");
    two.runs(60_000);
    assert_eq!(two.heard(two.a), ["opened"]);
    // Once the host is back, whoever still uses the old link learns that it is dead.
    two.net.start(two.b, ears(), |_| Parrot::default());
    two.says("hello?");
    two.runs(200);
    assert_eq!(two.heard(two.a), ["opened", "closed Lost"]);
    assert_eq!(two.heard(two.b), [""; 0]);
}

#[test]
fn links_to_nobody_are_refused_and_links_into_the_void_are_given_up() {
    let mut two = Two::linked(3);
    let open = |two: &mut Two, port| {
        let to = two.net.endpoint(two.b, Protocol::Sctp, port);
        two.net.call(two.a, |node, _| node.outbox.open(Door::Service, to, Greeting::default()));
    };
    open(&mut two, 8);
    two.runs(100);
    assert_eq!(two.heard(two.a), ["opened", "closed Unreachable"]);
    two.net.vanish(two.b);
    open(&mut two, 7);
    two.runs(2_900);
    assert_eq!(two.heard(two.a).len(), 2);
    two.runs(200);
    assert_eq!(two.heard(two.a), ["opened", "closed Unreachable", "closed Unreachable"]);
}

#[test]
fn a_paused_process_finds_its_mail_before_its_alarm() {
    let mut two = Two::linked(4);
    let due = two.net.clock(two.b) + Duration::from_millis(50);
    two.net.call(two.b, |node, _| node.alarm = Some(due));
    two.net.pause(two.b);
    two.says("one");
    two.says("two");
    two.runs(5_000);
    assert_eq!(two.heard(two.b), ["accepted Service"]);
    two.net.resume(two.b);
    two.runs(1);
    assert_eq!(two.heard(two.b), ["accepted Service", "one", "two", "woken"]);
    assert_eq!(two.heard(two.a), ["opened"]);
}

#[test]
fn a_short_cut_delays_and_a_long_one_loses_the_link_at_both_ends() {
    let mut two = Two::linked(5);
    two.net.cut(two.a, two.b);
    two.says("x");
    two.runs(1_000);
    assert_eq!(two.heard(two.b), ["accepted Service"]);
    two.net.heal(two.a, two.b);
    two.runs(100);
    assert_eq!(two.heard(two.b), ["accepted Service", "x"]);
    assert_eq!(two.heard(two.a), ["opened", "y"]);

    two.net.cut(two.b, two.a);
    two.runs(2_100);
    assert_eq!(two.heard(two.a), ["opened", "y", "closed Lost"]);
    assert_eq!(two.heard(two.b), ["accepted Service", "x", "closed Lost"]);
}

#[test]
fn announcements_reach_listeners_unless_lost_or_cut_off() {
    let mut two = Two::linked(6);
    let announce = |node: &mut Parrot, _| node.outbox.announce(Channel::Asap, b"me".to_vec());
    (two.net.settings.announce_loss_permille, two.net.settings.announce_twice_permille) = (0, 1000);
    two.net.call(two.a, announce);
    two.runs(100);
    assert_eq!(two.heard(two.b), ["accepted Service", "heard 2", "heard 2"]);
    two.net.cut(two.a, two.b);
    two.net.call(two.a, announce);
    two.runs(100);
    assert_eq!(two.heard(two.b).len(), 3);
}

#[test]
fn too_much_on_its_way_ends_the_link() {
    let mut two = Two::linked(7);
    two.net.settings.buffer_max = 10;
    two.says("123456");
    two.says("12345");
    two.runs(100);
    assert_eq!(two.heard(two.a), ["opened", "closed Overflow"]);
    assert_eq!(two.heard(two.b), ["accepted Service", "123456", "closed Aborted"]);
}

#[test]
fn equal_seeds_give_equal_runs_and_others_do_not() {
    let run = |seed| {
        let mut two = Two::linked(seed);
        two.says("x");
        two.runs(100);
        two.net.trace().hash()
    };
    assert_eq!(run(8), run(8));
    assert_ne!(run(8), run(9));
}
