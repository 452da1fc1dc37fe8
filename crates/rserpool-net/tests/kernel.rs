//! What only the kernel's SCTP has, or has to settle with SCTP over UDP beside it.
//!
//! The tests of `inside::` need a kernel with SCTP; one test runs them in a guest.

mod common;

use common::*;
use rserpool::{Cause, Door, Ending, Endpoint, Greeting, Input, LinkId, Ppid, Protocol, Role};
use rserpool_net::{At, Config, DoorAt, Identity, Limits, Stack, UdpPort, config};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

const DATA: Ppid = Ppid(0x5253_5031);

#[test]
fn the_kernels_sctp_in_a_guest() {
    guest::rerun("kernel", &["inside::"], Duration::from_secs(200));
}

/// Doors for SCTP at these addresses.
fn at(stack: Stack, addresses: &[IpAddr]) -> Config {
    let door = DoorAt::sctp(At { addresses: addresses.into(), port: 0 });
    Config { stack, asap: door.clone(), service: door, ..Config::user(Role::Element) }
}

fn registrar(stack: Stack) -> Config {
    let identity = Identity { role: Role::Registrar, ..Identity::default() };
    let ports = Config::registrar(config::loopback(), config::loopback());
    Config { identity, stack, udp: UdpPort::None, ..ports }
}

mod inside {
    use super::*;

    #[test]
    #[ignore = "runs in a guest"]
    fn all_addresses_of_both_ends_are_known_at_once() {
        let hosts = |from: u8| [from, from + 1, from + 2].map(|last| IpAddr::from([127, 0, 0, last]));
        let (ours, theirs) = (hosts(1), hosts(4));
        let (a, ours_link, b, theirs_link) = pair_of(at(Stack::Kernel, &ours), at(Stack::Kernel, &theirs));
        a.sends(ours_link, DATA, pattern(1 << 20, 1));
        b.hears_message(theirs_link, DATA, &pattern(1 << 20, 1));
        let again = b.opens(&a.service());
        let Input::Accepted { peer, .. } = a.hears() else { panic!("accepted first") };
        assert_eq!(sorted(&peer), theirs);
        let Input::Opened { link, peer } = b.hears() else { panic!("opened") };
        assert_eq!((link, sorted(&peer)), (again, ours.to_vec()));
    }

    fn sorted(peer: &Endpoint) -> Vec<IpAddr> {
        let mut all = peer.addresses.clone();
        all.sort();
        all
    }

    #[test]
    #[ignore = "runs in a guest"]
    fn ipv6_and_both_families_at_once_are_no_different() {
        let (four, six) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
        for addresses in [vec![six], vec![six, four], vec![four, six]] {
            let config = at(Stack::Kernel, &addresses);
            let (a, ours, b, theirs) = pair_of(config.clone(), config);
            assert_eq!(b.service().addresses, addresses);
            a.sends(ours, DATA, pattern(100_000, 6));
            b.hears_message(theirs, DATA, &pattern(100_000, 6));
            b.closes(theirs, Ending::Graceful);
            a.hears_closed(ours, Cause::Ended);
        }
    }

    #[test]
    #[ignore = "runs in a guest"]
    fn a_registrar_ends_links_that_nobody_uses() {
        let limits = Limits { idle_max: Duration::from_secs(1), ..Limits::default() };
        let registrar = Actor::start(Config { limits, ..registrar(Stack::Kernel) });
        let element = Actor::start(at(Stack::Kernel, &[Ipv4Addr::LOCALHOST.into()]));
        let to = registrar.bound.asap.iter().find(|at| at.protocol == Protocol::Sctp).expect("asked for");
        let ours = element.opens(to);
        element.hears_opened(ours);
        let theirs = registrar.hears_accepted();
        element.hears_closed(ours, Cause::Ended);
        registrar.hears_closed(theirs, Cause::Ended);
    }

    #[test]
    #[ignore = "runs in a guest"]
    fn registrars_call_from_their_announced_port_and_share_one_link() {
        for stack in [Stack::Kernel, Stack::Auto] {
            let (a, b) = (Actor::start(registrar(stack)), Actor::start(registrar(stack)));
            let enrp = |actor: &Actor| actor.bound.enrp.clone().expect("asked for");
            let (at_a, at_b) = (enrp(&a), enrp(&b));
            let calls = |actor: &Actor, to: &Endpoint| {
                let to = to.clone();
                actor.tell(move |probe, _| probe.outbox.open(Door::Enrp, to, Greeting::default()))
            };
            let ours = calls(&a, &at_b);
            let Input::Accepted { link: theirs, door, peer } = b.hears() else { panic!("accepted first") };
            assert_eq!((door, peer), (Door::Enrp, at_a.clone()));
            a.hears_opened(ours);
            // With both stacks, too, there is no second one.
            let second = calls(&b, &at_a);
            b.hears_closed(second, Cause::Unreachable);
            b.sends(theirs, Ppid::ENRP, [7]);
            a.hears_message(ours, Ppid::ENRP, &[7]);
            a.hears_nothing_more();
            b.hears_nothing_more();
        }
    }

    #[test]
    #[ignore = "runs in a guest"]
    fn with_both_stacks_everybody_is_met_and_nothing_said_is_lost() {
        let here = [Ipv4Addr::LOCALHOST.into()];
        let both = Actor::start(at(Stack::Auto, &here));
        for stack in [Stack::Kernel, Stack::Udp, Stack::Auto] {
            let one = Actor::start(at(stack, &here));
            assert_eq!(
                (one.bound.kernel, one.bound.udp.is_empty()),
                (stack != Stack::Udp, stack == Stack::Kernel)
            );
            // Said before it is known which stack reaches the other side.
            let to = one.service();
            let ours = both.tell(move |probe, _| {
                let link = probe.outbox.open(Door::Service, to, Greeting::default());
                for number in 0..20u8 {
                    probe.outbox.send(link, DATA, vec![number; 3]);
                }
                link
            });
            let theirs = one.hears_accepted();
            (0..20u8).for_each(|number| one.hears_message(theirs, DATA, &[number; 3]));
            both.hears_opened(ours);
            one.closes(theirs, Ending::Abort);
            both.hears_closed(ours, Cause::Aborted);
            // And the other way round.
            let back = one.opens(&both.service());
            let accepted = both.hears_accepted();
            one.hears_opened(back);
            both.sends(accepted, DATA, [9]);
            one.hears_message(back, DATA, &[9]);
            one.closes(back, Ending::Graceful);
            both.hears_closed(accepted, Cause::Ended);
            both.hears_nothing_more();
            one.hears_nothing_more();
        }
    }

    #[test]
    #[ignore = "runs in a guest"]
    fn links_that_are_not_read_do_not_hold_up_those_of_the_same_door() {
        let here = [Ipv4Addr::LOCALHOST.into()];
        let a = Actor::start(at(Stack::Kernel, &here));
        let (hung, well) = (Actor::start(at(Stack::Kernel, &here)), Actor::start(at(Stack::Kernel, &here)));
        let open = |to: &Actor| -> (LinkId, LinkId) {
            let ours = a.opens(&to.service());
            a.hears_opened(ours);
            (ours, to.hears_accepted())
        };
        let ((to_hung, at_hung), (to_well, at_well)) = (open(&hung), open(&well));
        let release = hung.hangs();
        for number in 0..6u64 {
            a.sends(to_hung, DATA, pattern(1 << 20, number));
        }
        for number in 0..20u64 {
            a.sends(to_well, DATA, pattern(10_000, number));
            well.hears_message(at_well, DATA, &pattern(10_000, number));
        }
        // What the hung one was told it reads when it lives again, in order, though its link has moved out meanwhile.
        drop(release);
        for number in 0..6u64 {
            hung.hears_message(at_hung, DATA, &pattern(1 << 20, number));
        }
        hung.sends(at_hung, DATA, [1]);
        a.hears_message(to_hung, DATA, &[1]);
    }
}

#[test]
fn without_the_kernels_sctp_asking_for_it_is_an_error_with_the_next_step() {
    if rserpool_net::kernel::detect().is_ok() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let config = at(Stack::Kernel, &[Ipv4Addr::LOCALHOST.into()]);
    let error = runtime
        .block_on(async { rserpool_net::Ports::open(&config).map(|_| ()) })
        .expect_err("it is not there");
    let text = error.to_string();
    assert!(text.starts_with("this host's kernel has no SCTP") && text.ends_with("use --sctp udp"), "{text}");
}
