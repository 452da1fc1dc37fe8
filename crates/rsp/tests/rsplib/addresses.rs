//! Address changes of an element of ours while it serves: its registrar learns the new list, and the element is in the pool
//! all the time.

use crate::parts::*;
use crate::row;
use guest::{Host, Hosts, Lab, Program, eventually};

/// Host 1 is in two networks, host 2, too, but has an address in the first one only.
fn two_networks(lab: &Lab) -> Hosts {
    let plan = on_two_networks(3);
    let hosts = lab.hosts(&plan);
    hosts.host(2).renumber(2, false);
    hosts
}

/// An element at all addresses of its host.
fn element(host: &Host, registrar: &Host) -> Program {
    let at = registrar.ip();
    let words = ["serve", "pingpong", "--listen", "0.0.0.0", "--registrar", &at, "--id", "0b", "--verbose"];
    let mut element = ours(host, &words);
    element.says(" serves pool ");
    element
}

/// The registrar hands out these addresses of the element.
fn is_served_at(host: &Host, registrar: &Host, addresses: &[&str]) {
    let found = || served_at(host, registrar, "PingPongPool");
    let wanted = |found: &str| {
        let part = found.split("://").nth(1).unwrap_or_default();
        let mut all: Vec<&str> =
            part.split(',').map(|one| one.split(':').next().unwrap_or_default()).collect();
        all.sort_unstable();
        all == addresses
    };
    eventually(
        || format!("the registrar tells {addresses:?}, not {:?}", found()),
        || matches!(&found()[..], [one] if wanted(one)).then_some(()),
    );
}

/// The element's host gets an address in the second network, then loses that in the first one. The element still lives:
/// what its registrar says when it ends must not be taken for a loss on the way.
#[must_use]
fn moves(hosts: &Hosts) -> Program {
    let [registrar, host, user] = [1, 2, 3].map(|number| hosts.host(number));
    let mut element = element(host, registrar);
    is_served_at(user, registrar, &["10.1.0.2"]);
    host.renumber(2, true);
    element.says("this host is now at ");
    is_served_at(user, registrar, &["10.1.0.2", "10.2.0.2"]);
    host.path("10.2.0.1", true);
    host.renumber(1, false);
    is_served_at(user, registrar, &["10.2.0.2"]);
    // It is used there.
    let at = format!("sctp://{}", registrar.ip_in(2));
    let words = ["client", "pingpong", "--registrar", &at, "--count", "3", "--interval", "20"];
    ours(user, &words).succeeds();
    element.lives();
    element.never_said("lost the registrar");
    element
}

#[test]
fn our_registrar_learns_new_and_lost_addresses_of_an_element_that_stays_in_the_pool() {
    row(|lab| {
        let hosts = two_networks(lab);
        let words =
            ["registrar", "--listen", "10.1.0.1,10.2.0.1", "--id", "1", "--profile", "rfc", "--verbose"];
        let mut registrar = ours(hosts.host(1), &words);
        registrar.says(" serves ");
        let _element = moves(&hosts);
        registrar.never_said(" left pool");
    });
}

#[test]
fn their_registrar_learns_new_and_lost_addresses_of_an_element_that_stays_in_the_pool() {
    row(|lab| {
        let hosts = two_networks(lab);
        let mut registrar = their_registrar_in_two_networks(hosts.host(1), "00000002");
        ready(&mut registrar);
        let _element = moves(&hosts);
        registrar.never_said("Deregistration");
        registrar.never_said("Removing all pool elements");
        registrar.never_said("Keep-alive timeout");
    });
}
