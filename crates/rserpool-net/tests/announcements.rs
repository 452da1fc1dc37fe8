//! Announcements over multicast, kept on the loopback interface and in groups of this test's own.

mod common;

use common::*;
use rserpool::{Channel, Input, Protocol, Role};
use rserpool_net::{Config, Identity, Multicast, UdpPort, config};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// Groups nobody else uses: one test's port differs from another's, and from another run's.
fn groups(test: u16) -> Multicast {
    let port = 20_000 + (std::process::id() % 20_000) as u16 + test;
    let group = |last| SocketAddrV4::new(Ipv4Addr::new(239, 255, 77, last), port);
    Multicast { interface: Ipv4Addr::LOCALHOST, asap: group(1), enrp: group(2) }
}

fn registrar(test: u16) -> Config {
    let multicast = Some(groups(test));
    let udp = UdpPort::None;
    Config { multicast, udp, ..Config::registrar(config::loopback(), config::loopback()) }
}

fn announces(who: &Actor, channel: Channel, what: &'static [u8]) {
    who.tell(move |probe, _| probe.outbox.announce(channel, what.to_vec()));
}

#[test]
fn an_announcement_is_heard_by_all_who_listen_and_comes_from_the_door() {
    let (registrar, peer) = (Actor::start(registrar(0)), Actor::start(registrar(0)));
    let user = Actor::start(Config { multicast: Some(groups(0)), ..Config::user(Role::User) });
    announces(&registrar, Channel::Asap, b"here");
    for hearer in [&registrar, &peer, &user] {
        let Input::Heard { channel, from, bytes } = hearer.hears() else { panic!("an announcement") };
        assert_eq!((channel, bytes.as_slice()), (Channel::Asap, &b"here"[..]));
        assert_eq!(from.port(), registrar.bound.asap[1].port);
        hearer.hears_nothing_more();
    }
    announces(&peer, Channel::Enrp, b"and here");
    for hearer in [&registrar, &peer] {
        let Input::Heard { channel, from, bytes } = hearer.hears() else { panic!("an announcement") };
        assert_eq!((channel, bytes.as_slice()), (Channel::Enrp, &b"and here"[..]));
        assert_eq!(from.port(), peer.bound.enrp.as_ref().expect("asked for").port);
        hearer.hears_nothing_more();
    }
    // Users have no ears for registrars among themselves.
    user.hears_nothing_more();
}

#[test]
fn who_did_not_ask_for_multicast_neither_hears_nor_speaks() {
    let (listens, silent) = (Actor::start(registrar(1)), Actor::start(config(Protocol::Tcp)));
    announces(&silent, Channel::Asap, b"nobody hears this");
    announces(&listens, Channel::Asap, b"only I hear this");
    let Input::Heard { bytes, .. } = listens.hears() else { panic!("an announcement") };
    assert_eq!(bytes, b"only I hear this");
    listens.hears_nothing_more();
    silent.hears_nothing_more();
}

#[test]
fn a_door_may_have_the_number_of_the_group_and_two_doors_may_not() {
    let multicast = groups(2);
    let door = SocketAddrV4::new(Ipv4Addr::LOCALHOST, multicast.asap.port());
    let identity = Identity { role: Role::Registrar, own: 1, pool: None };
    let first = Config { identity, ..Config::registrar(SocketAddr::from(door), config::loopback()) };
    let first = Config { multicast: Some(multicast), udp: UdpPort::None, ..first };
    let actor = Actor::start(first.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let second = runtime.block_on(async { rserpool_net::Ports::open(&first).map(|_| ()) });
    let error = second.expect_err("the number is taken").to_string();
    assert!(error.ends_with("choose another one with --listen"), "{error}");
    announces(&actor, Channel::Asap, b"same number");
    assert!(matches!(actor.hears(), Input::Heard { from, .. } if from.port() == door.port()));
    actor.hears_nothing_more();
}
