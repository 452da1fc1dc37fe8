//! What a registrar's exchanges cost (B1, B8).
//!
//! ```text
//!   bare.c, blocking, one message under way ---+--- echo                 \
//!                                              +--- registrar of ours     > in turns
//!                                              +--- registrar of RSPLIB  /
//! ```

use crate::bare::{self, Request, computed, keep_alive_cost, trips};
use crate::table::{median, ratio, table, verdict};
use crate::voice::Voice;
use rserpool::wire::asap::Message;
use rserpool::wire::parameter::{Life, PoolElement, Transport, TransportUse};
use rserpool::{ElementId, Policy, PoolHandle, RegistrarId};
use std::time::{Duration, Instant};

const TRIPS: usize = 1_000;
const REGISTRATIONS: usize = 400;
/// Elements that are watched, and how long keep-alives are counted.
const WATCHED: usize = 400;
const WATCH_MS: u32 = 3_000;

const ECHO: u16 = 5_000;
const OURS: u16 = 3_863;
const THEIRS: u16 = 4_863;

/// A registrar of ours at this port, with its ENRP one further up than RSPLIB's custom.
pub fn our_registrar(port: u16, more: &[&str]) -> Voice {
    let begun = Instant::now();
    let (asap, enrp) = (format!("{}:{port}", bare::IP), format!("{}:{}", bare::IP, port + 6_038));
    let words = ["registrar", "--listen", &asap, "--enrp", &enrp, "--arbitration", "smaller"];
    let voice = Voice::start(env!("CARGO_BIN_EXE_rsp"), &[&words, more].concat());
    voice.says(begun, " serves ");
    voice
}

/// A registrar of RSPLIB at this port.
pub fn their_registrar(port: u16, more: &[&str]) -> Voice {
    let begun = Instant::now();
    let (asap, enrp) = (format!("-asap={}:{port}", bare::IP), format!("-enrp={}:{}", bare::IP, port + 6_038));
    let words = [asap.as_str(), &enrp, "-disable-ipv6", "-logcolor=off", "-loglevel=3"];
    let voice = Voice::start("rspregistrar", &[&words, more].concat());
    voice.says(begun, "The registrar is ready!");
    voice
}

/// An element at the guest's address: RSPLIB takes no other one.
pub fn element(id: u32) -> PoolElement {
    PoolElement {
        id: ElementId(id),
        home: RegistrarId(0),
        life: Life(600_000),
        user_transport: Transport::Sctp {
            port: 7,
            transport_use: TransportUse::DataAndControl,
            addresses: vec![bare::IP.parse().expect("an address")],
        },
        policy: Policy::RoundRobin,
        asap_transport: None,
        asap_tcp: None,
    }
}

fn pool(name: &str) -> PoolHandle {
    PoolHandle::new(name).expect("short")
}

/// An exchange: its times at ours, at theirs, and at an echo of messages as long as those of each.
#[derive(Default)]
struct Exchange {
    times: [Vec<f64>; 2],
    floors: [Vec<f64>; 2],
    sizes: [usize; 2],
}

impl Exchange {
    fn take(&mut self, count: usize, requests: &[Request; 2]) {
        for (place, port) in [OURS, THEIRS].into_iter().enumerate() {
            let (time, size) = trips(port, count, &requests[place], None);
            self.times[place].push(time);
            self.sizes[place] = size;
            let floor = trips(ECHO, count, &requests[place], Some(size)).0;
            self.floors[place].push(floor);
        }
    }
}

/// Prints the figures of so many pairs.
pub fn measure(pairs: usize) {
    let echo = bare::echo(ECHO);
    // Keep-alives stay away while registrations are measured.
    let (ours, theirs) = (our_registrar(OURS, &["--profile", "rfc"]), their_registrar(THEIRS, &[]));
    let mut resolution = Exchange::default();
    let mut registration = Exchange::default();
    let mut echo_cost = Vec::new();
    let asked = pool("EchoPool");
    let one = Request::new(&Message::Registration { handle: asked, element: element(1) });
    let _present = [OURS, THEIRS].map(|port| bare::present(port, &one));
    let question = Message::HandleResolution { subscribe: false, handle: asked, items: Some(1) };
    let question = [Request::new(&question), Request::new(&question)];
    for pair in 0..pairs {
        resolution.take(TRIPS, &question);
        let before = computed(echo.pid());
        trips(ECHO, TRIPS, &question[0], Some(resolution.sizes[0]));
        echo_cost.push((computed(echo.pid()) - before) / TRIPS as f64);
        let first = 0x1000_0000 + 0x10_0000 * pair as u32;
        let named =
            Message::Registration { handle: pool(&format!("new-{pair:02}")), element: element(first) };
        registration
            .take(REGISTRATIONS, &[Request::counting(&named, first), Request::counting(&named, first)]);
    }
    drop((ours, theirs));

    // Both ask as often, and are as patient.
    let timers = ["-endpointkeepalivetransmissioninterval=400", "-endpointkeepalivetimeoutinterval=500"];
    let (ours, theirs) = (our_registrar(OURS, &[]), their_registrar(THEIRS, &timers));
    let mut keep_alives = [Vec::new(), Vec::new()];
    for pair in 0..pairs {
        let first = 0x2000_0000 + 0x10_0000 * pair as u32;
        let named =
            Message::Registration { handle: pool(&format!("pool-{pair:02}")), element: element(first) };
        let request = Request::counting(&named, first);
        for (place, (port, voice)) in [(OURS, &ours), (THEIRS, &theirs)].into_iter().enumerate() {
            keep_alives[place].push(keep_alive_cost(port, voice.pid(), WATCHED, &request, WATCH_MS));
            // The next ones come when these are gone: their association ended with the client.
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    let mut table = table(["", "octets", "ours", "by echo (worst pair)", "RSPLIB", "by echo", "must", ""]);
    let micros = |seconds: f64| format!("{:.0} µs", seconds * 1e6);
    let mut row = |name: &str, sizes: String, times: &[Vec<f64>; 2], floors: [&[f64]; 2], must: f64| {
        let [(ours, worst), (theirs, _)] = [0, 1].map(|place| ratio(&times[place], floors[place]));
        table.add_row([
            name.to_owned(),
            sizes,
            micros(median(&times[0])),
            format!("{ours:.2} ({worst:.2})"),
            micros(median(&times[1])),
            format!("{theirs:.2}"),
            format!("≤ {must}"),
            verdict(ours, must).to_owned(),
        ]);
    };
    let sizes = |request: &Request, exchange: &Exchange| {
        format!("{} → {}, {}", request.len(), exchange.sizes[0], exchange.sizes[1])
    };
    let floors = |exchange: &Exchange| exchange.floors.clone();
    let registered = Message::Registration { handle: pool("new-00"), element: element(0x1000_0000) };
    let [one, other] = &floors(&resolution);
    row("B1 resolution of 1 element", sizes(&question[0], &resolution), &resolution.times, [one, other], 1.5);
    let [one, other] = &floors(&registration);
    let size = sizes(&Request::new(&registered), &registration);
    row("registration", size, &registration.times, [one, other], 2.0);
    row("B8 processor time of a keep-alive round", "".into(), &keep_alives, [&echo_cost, &echo_cost], 2.0);
    println!("\n{table}\n");
    println!(
        "Echo of the resolution's messages: {} with {} of processor time in the server; {pairs} pairs.",
        micros(median(&resolution.floors[0])),
        micros(median(&echo_cost))
    );
}
