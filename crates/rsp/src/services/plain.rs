//! Echo, Discard, Daytime, CharGen and Ping-Pong on a machine: lines, the clock, standard output.

use super::cli::{
    ClientChargen, ClientLines, ClientListen, ClientPingpong, ServeArgs, ServeChargen, ServePingpong,
};
use super::user::{Front, Plan, Tell, Turn};
use super::{element, pool, user};
use crate::exit::{Code, Failure};
use crate::process::{cannot_print, say};
use rserpool::Time;
use rserpool_compute::application::pingpong::{self, PingPong, Pinger, PingerConfig, PingerEvent};
use rserpool_compute::application::plain::{
    Config, Kind, Lines, LinesConfig, LinesEvent, LinesFact, Listen, ListenConfig, ListenEvent, Plain,
    TimeIs, WhatTime,
};
use serde_json::json;
use std::io::{self, BufRead, Write};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

/// The longest line that is sent; a longer one is sent in pieces.
const LINE_MAX: u64 = 16 * 1024;

/// Name and pool of a plain service, as in the reference.
fn names(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Echo => ("echo", "EchoPool"),
        Kind::Discard => ("discard", "DiscardPool"),
        Kind::Daytime => ("daytime", "DaytimePool"),
        Kind::CharGen => ("chargen", "CharGenPool"),
    }
}

/// `rsp serve echo`, `discard` or `daytime`.
pub fn serve(args: &ServeArgs, kind: Kind) -> Result<(), Failure> {
    serve_plain(args, Config::new(kind))
}

/// `rsp serve chargen`.
pub fn serve_chargen(args: &ServeChargen) -> Result<(), Failure> {
    let config = Config {
        sessions_max: args.sessions,
        messages: args.messages,
        rate: args.rate,
        ..Config::new(Kind::CharGen)
    };
    serve_plain(&args.common, config)
}

fn serve_plain(args: &ServeArgs, config: Config) -> Result<(), Failure> {
    let (name, own) = names(config.kind);
    let plan = element::Plan::new(name, pool(args.pool, own));
    let clock = |wishes: Receiver<WhatTime>, tell: element::Tell<Plain>| {
        for WhatTime(session) in wishes {
            if !tell.tell(TimeIs(session, local_time())) {
                return;
            }
        }
    };
    element::run(args, plan, Plain::new(config), clock, |_, _| {})
}

/// As the reference writes it: `Sunday, 22-November-2026 07:52:51.229432`, local, with a newline.
fn local_time() -> String {
    jiff::ZonedDateTime::now().strftime("%A, %d-%B-%Y %H:%M:%S.%6f\n").to_string()
}

/// `rsp serve pingpong`.
pub fn serve_pingpong(args: &ServePingpong) -> Result<(), Failure> {
    let plan = element::Plan::new("pingpong", pool(args.common.pool, "PingPongPool"));
    let config = pingpong::Config { sessions_max: args.sessions, failure_after: args.failure_after };
    element::run(&args.common, plan, PingPong::new(config), |_, _| {}, |_, _| {})
}

/// `rsp client echo` or `discard`.
pub fn lines(args: &ClientLines, kind: Kind) -> Result<Code, Failure> {
    let (_, own) = names(kind);
    let plan = Plan::new(&args.common, pool(args.common.pool, own));
    let config = LinesConfig { handle: plan.pool, answered: kind == Kind::Echo, patience: args.timeout };
    let (more, wanted) = mpsc::channel();
    let begin = |_: &mut LinesFront, tell| {
        std::thread::Builder::new()
            .name("lines".into())
            .spawn(move || read_lines(wanted, tell))
            .map(drop)
            .map_err(|cause| Failure::new(Code::Failed, format!("cannot start a thread: {cause}")))
    };
    user::run(&plan, move |_| Lines::new(config), LinesFront { more, strange: 0 }, begin)
}

/// Reads a line of standard input for each one wanted.
fn read_lines(wanted: Receiver<()>, tell: Tell<Lines>) {
    let mut input = io::stdin().lock();
    for () in wanted {
        let mut line = Vec::new();
        let read = io::Read::take(&mut input, LINE_MAX).read_until(b'\n', &mut line);
        let fact = match read {
            Ok(1..) => LinesFact::Line(line),
            Ok(0) => LinesFact::End,
            Err(cause) => {
                say(format!("cannot read standard input: {cause}; what was read is still sent"));
                LinesFact::End
            }
        };
        let over = fact == LinesFact::End;
        if !tell.tell(fact) || over {
            return;
        }
    }
}

struct LinesFront {
    more: Sender<()>,
    strange: u64,
}

impl Front<Lines> for LinesFront {
    fn hear(&mut self, _: Time, event: LinesEvent) -> Result<Turn, Failure> {
        match event {
            // After the last line nobody listens any more.
            LinesEvent::More => drop(self.more.send(())),
            LinesEvent::Answer { bytes, expected } => {
                self.strange += u64::from(!expected);
                print(&bytes)?;
            }
            LinesEvent::Session(event) => return Ok(Turn::Session(event)),
            LinesEvent::Done if self.strange > 0 => {
                say(format!("{} answers are not what was sent", self.strange));
                return Ok(Turn::Over(Code::Failed));
            }
            LinesEvent::Done => return Ok(Turn::Over(Code::Done)),
        }
        Ok(Turn::On)
    }
}

/// Prints at once: an answer may be the last one for a long time.
fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    output.write_all(bytes).and_then(|()| output.flush()).map_err(|cause| cannot_print(&cause))
}

/// `rsp client daytime`.
pub fn daytime(args: &ClientListen) -> Result<Code, Failure> {
    listen(args, Kind::Daytime, None)
}

/// `rsp client chargen`.
pub fn chargen(args: &ClientChargen) -> Result<Code, Failure> {
    match listen(&args.listen, Kind::CharGen, args.octets) {
        // `| head` is how one has enough of it.
        Err(failure) if failure.code == Code::CannotWrite && args.octets.is_none() => Ok(Code::Done),
        other => other,
    }
}

fn listen(args: &ClientListen, kind: Kind, octets: Option<u64>) -> Result<Code, Failure> {
    let (_, own) = names(kind);
    let plan = Plan::new(&args.common, pool(args.common.pool, own));
    let config = ListenConfig { handle: plan.pool, once: kind == Kind::Daytime, patience: args.timeout };
    user::run(&plan, move |_| Listen::new(config), ListenFront { left: octets }, |_, _| Ok(()))
}

struct ListenFront {
    left: Option<u64>,
}

impl Front<Listen> for ListenFront {
    fn hear(&mut self, _: Time, event: ListenEvent) -> Result<Turn, Failure> {
        match event {
            ListenEvent::Said(bytes) => {
                let wanted = self.left.map_or(bytes.len(), |left| left.min(bytes.len() as u64) as usize);
                print(&bytes[..wanted])?;
                if let Some(left) = &mut self.left {
                    *left -= wanted as u64;
                    if *left == 0 {
                        return Ok(Turn::Over(Code::Done));
                    }
                }
                Ok(Turn::On)
            }
            ListenEvent::Session(event) => Ok(Turn::Session(event)),
            ListenEvent::Done => Ok(Turn::Over(Code::Done)),
        }
    }
}

/// `rsp client pingpong`.
pub fn pingpong(args: &ClientPingpong) -> Result<Code, Failure> {
    let plan = Plan::new(&args.common, pool(args.common.pool, "PingPongPool"));
    let config = PingerConfig {
        handle: plan.pool,
        interval: Duration::from_millis(args.interval),
        count: args.count,
        patience: args.timeout,
        data: b"rsp".to_vec(),
    };
    let front = PingFront { json: args.json, out_of_order: 0 };
    user::run(&plan, move |_| Pinger::new(config), front, |_, _| Ok(()))
}

struct PingFront {
    json: bool,
    out_of_order: u64,
}

impl Front<Pinger> for PingFront {
    fn hear(&mut self, _: Time, event: PingerEvent) -> Result<Turn, Failure> {
        match event {
            PingerEvent::Pong { element, number, reply, in_order, after } => {
                self.out_of_order += u64::from(!in_order);
                let element = element.map_or("?".to_string(), |id| id.to_string());
                let seconds = after.map(|after| after.as_secs_f64());
                let line = if self.json {
                    json!({"element": element, "ping": number, "reply": reply, "in_order": in_order, "seconds": seconds})
                        .to_string()
                } else {
                    let after =
                        seconds.map_or(String::new(), |seconds| format!(" after {:.3} ms", seconds * 1e3));
                    let strange = if in_order { "" } else { " (out of order)" };
                    format!("pong {number} from element {element}: reply {reply}{strange}{after}")
                };
                print(format!("{line}\n").as_bytes())?;
                Ok(Turn::On)
            }
            PingerEvent::Nonsense(error) => {
                say(format!("the element sent something that is no Pong: {error}"));
                Ok(Turn::On)
            }
            PingerEvent::Session(event) => Ok(Turn::Session(event)),
            PingerEvent::Done if self.out_of_order > 0 => {
                say(format!("{} reply numbers did not follow the one before", self.out_of_order));
                Ok(Turn::Over(Code::Failed))
            }
            PingerEvent::Done => Ok(Turn::Over(Code::Done)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_written_as_the_reference_does() {
        let line = local_time();
        let (date, time) = line.trim_end().rsplit_once(' ').expect("a space");
        assert!(date.contains(", ") && date.contains('-'), "{line}");
        let (clock, micros) = time.split_once('.').expect("a fraction");
        assert_eq!((clock.len(), micros.len()), (8, 6), "{line}");
        assert!(line.ends_with('\n'));
    }
}
