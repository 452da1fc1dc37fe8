//! The user of the fractal generator: splits a picture into parts, has each computed in a session of its own, and puts
//! them together.
//!
//! Points may come twice (after a fail-over) and in any order; a part is complete when every point of it has come. What
//! is not inside of the part, or no message at all, is passed over and counted.

use super::{Message, PPID, Parameter};
use crate::application::{Application, Desk};
use rserpool::user::{self, SessionOptions};
use rserpool::{PoolHandle, Time, Timers};
use std::time::Duration;

/// Most sessions for a picture.
pub const SESSIONS_MAX: usize = 512;

/// Settings of a user.
#[derive(Clone, Copy, Debug)]
pub struct PainterConfig {
    /// The pool.
    pub handle: PoolHandle,
    /// Sessions for each picture, 1 to [`SESSIONS_MAX`]. Fewer are used if the picture is too small.
    pub sessions: usize,
    /// An element that sends nothing for so long counts as hung.
    pub receive_timeout: Duration,
}

/// What its world tells it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PainterFact {
    /// Have this picture computed. Told while another one is being computed, it replaces that.
    Paint(Parameter),
}

/// What it tells its world.
#[derive(Clone, Debug, PartialEq)]
pub enum PainterEvent {
    /// A picture is complete.
    Painted(Painted),
    /// What became of a session, for people.
    Session(user::Event),
}

/// A part of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Its upper left corner in the picture.
    pub corner: (u32, u32),
    /// What the element was asked for.
    pub parameter: Parameter,
    /// The values of its points, row by row.
    pub values: Vec<u32>,
    /// For each point, how many elements had been lost before it came.
    pub failovers: Vec<u8>,
}

/// A complete picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Painted {
    /// What was asked for.
    pub parameter: Parameter,
    /// Its parts, from left to right and from top to bottom.
    pub parts: Vec<Part>,
    /// From the first word to the last point.
    pub span: Duration,
    /// Elements lost on the way.
    pub failovers: u32,
    /// Of these, how often the next one went on by cookie.
    pub resumed: u32,
    /// Messages that were passed over.
    pub invalid: u32,
}

struct Job {
    session: user::SessionId,
    part: Part,
    come: Vec<bool>,
    missing: usize,
    failovers: u8,
}

/// A user, see the [module](self).
pub struct Painter {
    config: PainterConfig,
    picture: Option<(Parameter, Time)>,
    jobs: Vec<Job>,
    done: Vec<Part>,
    silence: Timers<user::SessionId>,
    failovers: u32,
    resumed: u32,
    invalid: u32,
}

impl Painter {
    /// A user that waits for a picture to paint.
    pub fn new(config: PainterConfig) -> Self {
        Self {
            config,
            picture: None,
            jobs: Vec::new(),
            done: Vec::new(),
            silence: Timers::default(),
            failovers: 0,
            resumed: 0,
            invalid: 0,
        }
    }

    fn paint(&mut self, now: Time, parameter: Parameter, desk: &mut Desk<'_, PainterEvent>) {
        for job in self.jobs.drain(..) {
            self.silence.clear(&job.session);
            desk.user.close(now, job.session);
        }
        self.done.clear();
        (self.failovers, self.resumed, self.invalid) = (0, 0, 0);
        self.picture = Some((parameter, now));
        for (corner, parameter) in split(&parameter, self.config.sessions) {
            let points = parameter.points() as usize;
            let part = Part { corner, parameter, values: vec![0; points], failovers: vec![0; points] };
            let session = desk.user.open(now, self.config.handle, SessionOptions::default());
            self.jobs.push(Job { session, part, come: vec![false; points], missing: points, failovers: 0 });
        }
    }

    fn job(&mut self, session: user::SessionId) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.session == session)
    }

    fn message(
        &mut self,
        now: Time,
        session: user::SessionId,
        bytes: &[u8],
        desk: &mut Desk<'_, PainterEvent>,
    ) {
        let message = Message::parse(bytes);
        let handle = self.config.handle;
        let Some(job) = self.job(session) else { return };
        let valid = match message {
            Ok(Message::Data { at, values }) => job.place(at, &values),
            // Without all of its points, an end is none: the part is asked for again, in a session without a past.
            Ok(Message::End) if job.missing > 0 => {
                desk.user.close(now, session);
                job.session = desk.user.open(now, handle, SessionOptions::default());
                self.silence.clear(&session);
                self.invalid += 1;
                return;
            }
            Ok(Message::End) => true,
            Ok(Message::Parameter(_)) | Err(_) => false,
        };
        if !valid {
            self.invalid += 1;
            return;
        }
        self.silence.set(session, now + self.config.receive_timeout);
        let Some(place) = self.jobs.iter().position(|job| job.session == session && job.missing == 0) else {
            return;
        };
        let job = self.jobs.remove(place);
        self.silence.clear(&session);
        desk.user.close(now, session);
        self.done.push(job.part);
        if let (Some((parameter, since)), true) = (self.picture, self.jobs.is_empty()) {
            self.picture = None;
            let mut parts = std::mem::take(&mut self.done);
            parts.sort_by_key(|part| (part.corner.1, part.corner.0));
            desk.say(PainterEvent::Painted(Painted {
                parameter,
                parts,
                span: now.since(since),
                failovers: self.failovers,
                resumed: self.resumed,
                invalid: self.invalid,
            }));
        }
    }
}

impl Job {
    /// Places points; false, and nothing placed, if they are not all inside.
    fn place(&mut self, at: (u32, u32), values: &[u32]) -> bool {
        let parameter = &self.part.parameter;
        if at.0 >= parameter.width || at.1 >= parameter.height {
            return false;
        }
        let first = (u64::from(at.1) * u64::from(parameter.width) + u64::from(at.0)) as usize;
        if first + values.len() > self.come.len() {
            return false;
        }
        for (place, value) in (first..).zip(values) {
            self.part.values[place] = *value;
            self.part.failovers[place] = self.failovers;
            self.missing -= usize::from(!std::mem::replace(&mut self.come[place], true));
        }
        true
    }
}

impl Application for Painter {
    type Fact = PainterFact;
    type Event = PainterEvent;

    fn begin(&mut self, _: Time, _: &mut Desk<'_, PainterEvent>) {}

    fn heard(&mut self, now: Time, event: user::Event, desk: &mut Desk<'_, PainterEvent>) {
        match &event {
            user::Event::Message { session, ppid: PPID, bytes } => {
                return self.message(now, *session, bytes, desk);
            }
            user::Event::Message { .. } => {
                self.invalid += 1;
                return;
            }
            user::Event::Connected { session, resumed, .. } => {
                self.resumed += u32::from(*resumed);
                self.silence.set(*session, now + self.config.receive_timeout);
                if let (false, Some(job)) = (*resumed, self.job(*session)) {
                    let message = Message::Parameter(job.part.parameter);
                    // An element that is gone already is replaced by the next one, which is asked as well.
                    let _ = desk.user.send(now, *session, PPID, message.emit());
                }
            }
            user::Event::FailingOver { session, .. } => {
                self.failovers += 1;
                self.silence.clear(session);
                if let Some(job) = self.job(*session) {
                    job.failovers = job.failovers.saturating_add(1);
                }
            }
            _ => {}
        }
        desk.say(PainterEvent::Session(event));
    }

    fn informed(&mut self, now: Time, fact: PainterFact, desk: &mut Desk<'_, PainterEvent>) {
        let PainterFact::Paint(parameter) = fact;
        self.paint(now, parameter, desk);
    }

    fn deadline(&self) -> Option<Time> {
        self.silence.next()
    }

    fn wake(&mut self, now: Time, desk: &mut Desk<'_, PainterEvent>) {
        while let Some((_, session)) = self.silence.take_due(now) {
            desk.user.fail_over(now, session, true);
        }
    }
}

/// The parts of a picture for `sessions` sessions, as the reference splits it: as many rows as the square root, as many
/// columns as rows, the rest in the last row. Together they cover each point once.
fn split(whole: &Parameter, sessions: usize) -> Vec<((u32, u32), Parameter)> {
    let most = (whole.points().min(SESSIONS_MAX as u64)) as usize;
    let sessions = sessions.clamp(1, most) as u32;
    let rows = sessions.isqrt().min(whole.height).max(1);
    let mut left = sessions;
    let mut parts = Vec::new();
    for row in 0..rows {
        let columns = if row + 1 == rows { left } else { left.min(rows) };
        left -= columns;
        let columns = columns.clamp(1, whole.width);
        let (top, bottom) = cut(whole.height, row, rows);
        for column in 0..columns {
            let (start, end) = cut(whole.width, column, columns);
            let point = |x: u32, y: u32| {
                let between =
                    |from: f64, to: f64, at: u32, of: u32| from + (to - from) * f64::from(at) / f64::from(of);
                (
                    between(whole.c1.0, whole.c2.0, x, whole.width),
                    between(whole.c1.1, whole.c2.1, y, whole.height),
                )
            };
            let part = Parameter {
                width: end - start,
                height: bottom - top,
                c1: point(start, top),
                c2: point(end, bottom),
                ..*whole
            };
            parts.push(((start, top), part));
        }
    }
    parts
}

/// The `number`-th of `count` nearly equal pieces of a length.
fn cut(length: u32, number: u32, count: u32) -> (u32, u32) {
    let at = |number: u32| (u64::from(length) * u64::from(number) / u64::from(count)) as u32;
    (at(number), at(number + 1))
}

/// The colour of a value as the reference paints it: red, green, blue. `marks` shifts the hue, to tell parts and elements
/// from one another.
pub fn colour(value: u32, marks: u32) -> [u8; 3] {
    let hue = (value.wrapping_add(marks) % 72) * 5; // in degrees, a multiple of 5 below 360
    let rising = ((hue % 60) * 255 / 60) as u8;
    let falling = 255 - rising;
    match hue / 60 {
        0 => [255, rising, 0],
        1 => [falling, 255, 0],
        2 => [0, 255, rising],
        3 => [0, falling, 255],
        4 => [rising, 0, 255],
        _ => [255, 0, falling],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_each_point_once() {
        for (width, height, sessions) in [(400, 250, 1), (400, 250, 5), (64, 64, 512), (1, 3, 9), (100, 1, 4)]
        {
            let whole = Parameter { width, height, ..Parameter::default() };
            let mut covered = vec![0u8; (width * height) as usize];
            let parts = split(&whole, sessions);
            for ((left, top), part) in &parts {
                assert_eq!(part.check(), Ok(()));
                for y in *top..top + part.height {
                    for x in *left..left + part.width {
                        covered[(y * width + x) as usize] += 1;
                    }
                }
            }
            assert!(covered.iter().all(|times| *times == 1), "{width} x {height} in {sessions}");
            assert!(parts.len() <= sessions);
        }
        let five = split(&Parameter::default(), 5);
        assert_eq!(
            five.iter().map(|(corner, _)| *corner).collect::<Vec<_>>(),
            [(0, 0), (200, 0), (0, 125), (133, 125), (266, 125)]
        );
        assert_eq!((five[0].1.c1, five[0].1.c2), ((-1.5, 1.5), (0.0, 0.0)));
        assert_eq!(split(&Parameter::default(), 1)[0].1, Parameter::default());
    }

    #[test]
    fn points_outside_are_refused_as_a_whole() {
        let parameter = Parameter { width: 4, height: 2, ..Parameter::default() };
        let part = Part { corner: (0, 0), parameter, values: vec![0; 8], failovers: vec![0; 8] };
        let mut job =
            Job { session: user::SessionId(1), part, come: vec![false; 8], missing: 8, failovers: 3 };
        assert!(job.place((2, 0), &[1, 2, 3]));
        assert!(!job.place((2, 1), &[9, 9, 9]) && !job.place((4, 0), &[9]) && !job.place((0, 2), &[9]));
        assert!(job.place((3, 0), &[7, 8]), "again");
        assert_eq!((job.missing, job.part.values), (5, vec![0, 0, 1, 7, 8, 0, 0, 0]));
    }

    #[test]
    fn colours_go_round_the_circle() {
        assert_eq!(
            [0, 12, 24, 36, 48, 60].map(|value| colour(value, 0)),
            [[255, 0, 0], [255, 255, 0], [0, 255, 0], [0, 255, 255], [0, 0, 255], [255, 0, 255]]
        );
        assert_eq!(colour(72, 0), colour(0, 0));
        assert_eq!(colour(3, 5), colour(8, 0));
    }
}
