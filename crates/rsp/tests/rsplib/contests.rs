//! Both kinds begin to take over one dead registrar, neither knowing of the other: what ours says comes late at theirs, so
//! theirs has begun before it hears of ours. One of them prevails: the smaller identifier.

use crate::parts::*;
use crate::row_with;
use guest::{Host, Hosts, Lab, Plan, Program, eventually, packets};
use std::path::Path;

/// How late what ours says comes: more than theirs is later to notice. In two steps, or theirs would miss ours.
const LATE: [&str; 2] = ["delay 700ms", "delay 1300ms"];

/// On a busy machine theirs may have asked before ours noticed, and there is no contest: then there is another one, of other
/// registrars on other hosts.
const ATTEMPTS: usize = 4;

struct Contest {
    number: usize,
    ours: Program,
    theirs: Program,
    element: Program,
    _victim: Program,
}

/// The hosts of this attempt, and that of a user.
fn places(hosts: &Hosts, attempt: usize) -> [&Host; 5] {
    let user = 4 * ATTEMPTS + 1;
    [4 * attempt + 1, 4 * attempt + 2, 4 * attempt + 3, 4 * attempt + 4, user]
        .map(|number| hosts.host(number))
}

/// Ours with this identifier, theirs (00000005), and the victim (00000009), of theirs: until both survivors began before they
/// heard of each other.
fn contest(hosts: &Hosts, id: &str) -> Contest {
    (0..ATTEMPTS).find_map(|number| attempt(hosts, number, id)).expect("both begin, now and then")
}

fn attempt(hosts: &Hosts, number: usize, id: &str) -> Option<Contest> {
    let [us, them, dies, first, user] = places(hosts, number);
    let quick = ["-peermaxtimelastheard=1300", "-takeoverexpiryinterval=5000"];
    let mut theirs =
        their_registrar(them, "00000005", &[&their_peer(us), &their_peer(dies), quick[0], quick[1]]);
    let mut victim = their_registrar(dies, "00000009", &[&their_peer(us), &their_peer(them)]);
    ready(&mut theirs);
    ready(&mut victim);
    // On a busy machine it may be too slow for its new home, and comes back by itself, for which it has to know ours, too;
    // ours is not there yet, so its first home is the victim.
    let other = format!("-registrar={}:3863", us.ip());
    let element = their_element(first, "echo", "0a", dies, &["-rereginterval=45000", &other]);
    knows(user, dies, "EchoPool", &["0000000a 00000009 RoundRobin"]);
    let mut ours = our_registrar(us, id, &[&peer(them), &peer(dies)]);
    for other in ["00000005", "00000009"] {
        ours.says(&format!("peer {other} is up"));
    }
    for host in [us, them] {
        knows(user, host, "EchoPool", &["0000000a 00000009 RoundRobin"]);
    }
    LATE.iter().for_each(|late| us.impair(1, late));
    // Silence, and not the end of an association: both notice by their timers.
    dies.cut(1);
    let begun = |ours: &Program| ours.count("takeover of 00000009 begun");
    let began = |theirs: &Program| theirs.count("Initiating takeover of dead peer $00000009");
    eventually(
        || format!("somebody takes over; ours says:\n{}", ours.log()),
        || {
            let both = begun(&ours) > 0 && began(&theirs) > 0;
            let over = theirs.count("Takeover of peer $00000009 completed") + ours.count(" 00000009 won");
            (both || over > 0).then_some(())
        },
    );
    // What is under way still comes. Were it lost, it would be said again so much later that ours might lose its patience
    // with theirs, and begin once more.
    us.impair(1, "delay 1ms");
    let ends =
        ["won against another initiator", "left to 00000005", "00000009 won: ", "from home 00000009 to"];
    let contested = ours.says_one_of(&ends) < 2;
    // On a very busy machine it may lose it all the same: that is another takeover, and not this contest.
    eventually(
        || format!("the element moves; ours says:\n{}", ours.log()),
        || (ours.count("from home 00000009 to") > 0 || begun(&ours) > 1).then_some(()),
    );
    (contested && begun(&ours) == 1).then_some(Contest { number, ours, theirs, element, _victim: victim })
}

/// In one attempt both asked the other one for its agreement.
fn both_began(row: &Path) {
    let filter = "enrp.message_type == 7 && enrp.target_servers_id == 9";
    let asked = packets(&row.join("capture.pcapng"), filter, &["ip.src"]);
    let asks = |host: usize| asked.contains(&format!("10.1.0.{host}"));
    assert!((0..ATTEMPTS).any(|attempt| asks(4 * attempt + 1) && asks(4 * attempt + 2)), "{asked:?}");
}

/// Both registrars tell that the element belongs to one of them, the same one, and the element says so, too.
///
/// That need not be the one that prevailed: RSPLIB's element takes the end of the link to its former home for the loss of its new
/// one, and sometimes goes to ours by itself then, the only living one on its command line.
fn one_owner(hosts: &Hosts, attempt: usize, element: &Program) {
    let [us, them, _, _, user] = places(hosts, attempt);
    let home = || {
        let log = element.log();
        let (_, last) = log.rsplit_once("Home registrar is $").expect("it said so");
        last.chars().take(8).collect::<String>()
    };
    let told = || [us, them].map(|registrar| resolved(user, registrar, "EchoPool"));
    eventually(
        || format!("one owner, {}, not {:?}", home(), told()),
        || {
            let owned = [format!("0000000a {} RoundRobin", home())];
            told().iter().all(|told| *told == owned).then_some(())
        },
    );
}

#[test]
fn ours_prevails_with_the_smaller_identifier_when_both_begin_a_takeover() {
    row_with(
        |lab: &Lab| {
            let hosts = lab.hosts(&Plan::hosts(4 * ATTEMPTS + 1));
            let Contest { number, mut ours, theirs, mut element, _victim } = contest(&hosts, "00000001");
            ours.says("takeover of 00000009 won against another initiator: 1 element");
            element.says("Home registrar is $00000001");
            one_owner(&hosts, number, &element);
            theirs.never_said("Takeover of peer $00000009 completed");
        },
        both_began,
    );
}

#[test]
fn theirs_prevails_with_the_smaller_identifier_when_both_begin_a_takeover() {
    row_with(
        |lab: &Lab| {
            let hosts = lab.hosts(&Plan::hosts(4 * ATTEMPTS + 1));
            let Contest { number, mut ours, mut theirs, mut element, _victim } = contest(&hosts, "00000007");
            ours.says("takeover of 00000009 left to 00000005");
            theirs.says("Takeover of peer $00000009 completed");
            element.says("Home registrar is $00000005");
            one_owner(&hosts, number, &element);
            ours.never_said("takeover of 00000009 won");
        },
        both_began,
    );
}
