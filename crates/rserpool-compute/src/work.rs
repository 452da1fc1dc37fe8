//! What a task does.
//!
//! Work is data: the service checks it, its world carries it out. Built-in kinds need nothing but the worker itself;
//! a command needs a world that is allowed to run commands.
//!
//! ```text
//!   | kind 1 | content …                                      a Task frame carries one
//!   1 Echo     octets
//!   2 Sleep    microseconds (8)
//!   3 Spin     microseconds (8)
//!   4 Tile     scene (see fractal), left (4), top (4), width (4), height (4)
//!   5 Command  arguments, environment, directory, input, files, collect, time (each counted, in this order)
//! ```

use crate::codec::{Reader, WireError, put_counted};
use crate::fractal::{Rect, Scene, TileRun};
use crate::protocol::WORK_MAX;
use std::time::Duration;

/// The longest sleep, spin or permitted time of a command: a year.
pub const TIME_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Most arguments, environment entries, files or collected files of a command.
pub const ITEMS_MAX: usize = 65_536;

/// Most files a command takes along or gives back, so that each has a [`Stream`](crate::Stream).
pub const FILES_MAX: usize = 240;

/// What a task does. Unknown kinds are refused by the worker, one task at a time.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Work {
    /// Gives these octets back; with none it is the no-op of the benchmarks.
    Echo(Vec<u8>),
    /// Occupies a slot for a while without computing.
    Sleep(Duration),
    /// Computes for a while, to no end but load.
    Spin(Duration),
    /// Computes a part of a picture: three octets per pixel, red, green, blue, row by row.
    Tile {
        /// The whole picture.
        scene: Scene,
        /// The part, inside of the picture.
        rect: Rect,
    },
    /// Runs a program.
    Command(Box<Command>),
}

impl From<Command> for Work {
    fn from(command: Command) -> Self {
        Self::Command(Box::new(command))
    }
}

/// A program to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// The program, then its arguments; the program is never empty, and no octet is 0.
    pub arguments: Vec<Vec<u8>>,
    /// Names and values set besides what the worker sets by itself; no `=` in names, no octet is 0.
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where to run; `None`: in a fresh directory that is removed afterwards.
    pub directory: Option<Vec<u8>>,
    /// What it reads from standard input.
    pub input: Vec<u8>,
    /// Files to put into its directory before it starts: relative names that stay inside, and contents. At most
    /// [`FILES_MAX`].
    pub files: Vec<(String, Vec<u8>)>,
    /// Files to send back after it ended, as streams; relative names that stay inside. At most [`FILES_MAX`].
    pub collect: Vec<String>,
    /// How long it may run; at most [`TIME_MAX`]. `None`: for ever.
    pub time_max: Option<Duration>,
}

impl Work {
    /// The work these octets describe; they have to end where it does.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut body = Reader::new(bytes);
        let work = match body.u8()? {
            1 => Self::Echo(body.rest().to_vec()),
            2 => Self::Sleep(span(&mut body)?),
            3 => Self::Spin(span(&mut body)?),
            4 => tile(&mut body)?,
            5 => Self::Command(Box::new(Command::parse(&mut body)?)),
            found => return Err(WireError::Unknown { offset: 0, what: "kind of work", found: found.into() }),
        };
        body.end()?;
        Ok(work)
    }

    /// The octets of this work, or what is wrong with it: everything `parse` would refuse, too much of it included.
    pub fn emit(&self) -> Result<Vec<u8>, WireError> {
        let mut out = Vec::new();
        match self {
            Self::Echo(octets) => {
                out.push(1);
                out.extend(octets);
            }
            Self::Sleep(span) => {
                out.push(2);
                out.extend(micros(*span).to_be_bytes());
            }
            Self::Spin(span) => {
                out.push(3);
                out.extend(micros(*span).to_be_bytes());
            }
            Self::Tile { scene, rect } => {
                out.push(4);
                scene.emit(&mut out);
                for number in [rect.left, rect.top, rect.width, rect.height] {
                    out.extend(number.to_be_bytes());
                }
            }
            Self::Command(command) => {
                out.push(5);
                command.emit(&mut out);
            }
        }
        if out.len() > WORK_MAX {
            let (found, limit) = (out.len() as u64, WORK_MAX as u64);
            return Err(WireError::TooLarge { offset: 0, what: "octets of work", found, limit });
        }
        // One set of rules, kept in `parse`, and the submitter hears of a mistake before any worker does. A large echo
        // or input is copied once more for that; it is about to cross a network anyway.
        match self {
            Self::Echo(_) => Ok(out),
            _ => Self::parse(&out).map(|_| out),
        }
    }

    /// True if it does nothing but give its result, so that it may just as well run twice at a time. A command may do
    /// anything.
    pub fn is_pure(&self) -> bool {
        !matches!(self, Self::Command(_))
    }

    /// True if this state, reported after so many octets of output, is one this work can go on from. Only tiles can.
    pub fn continues_at(&self, octets: u64, state: &[u8]) -> bool {
        let Self::Tile { rect, .. } = self else { return false };
        TileRun::resume(*rect, state).is_some_and(|run| run.octets() == octets)
    }
}

impl Command {
    /// A program with its arguments, without anything else.
    pub fn new<A: Into<Vec<u8>>>(arguments: impl IntoIterator<Item = A>) -> Self {
        Self { arguments: arguments.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    fn parse(body: &mut Reader<'_>) -> Result<Self, WireError> {
        let at = body.offset();
        let arguments = list(body, "number of arguments", ITEMS_MAX, |body| octets(body, false))?;
        if arguments.first().is_none_or(Vec::is_empty) {
            return Err(WireError::Invalid { offset: at, rule: "must begin with a program" });
        }
        let environment = list(body, "number of environment entries", ITEMS_MAX, |body| {
            Ok((octets(body, true)?, octets(body, false)?))
        })?;
        let directory = octets(body, false)?;
        let input = body.counted("standard input", WORK_MAX)?.to_vec();
        let files = list(body, "number of files", FILES_MAX, |body| {
            Ok((file_name(body)?, body.counted("file", WORK_MAX)?.to_vec()))
        })?;
        let collect = list(body, "number of collected files", FILES_MAX, file_name)?;
        let time = span(body)?;
        Ok(Self {
            arguments,
            environment,
            directory: (!directory.is_empty()).then_some(directory),
            input,
            files,
            collect,
            time_max: (!time.is_zero()).then_some(time),
        })
    }

    fn emit(&self, out: &mut Vec<u8>) {
        put_list(out, &self.arguments, |out, argument| put_counted(out, argument));
        put_list(out, &self.environment, |out, (name, value)| {
            put_counted(out, name);
            put_counted(out, value);
        });
        put_counted(out, self.directory.as_deref().unwrap_or_default());
        put_counted(out, &self.input);
        put_list(out, &self.files, |out, (name, content)| {
            put_counted(out, name.as_bytes());
            put_counted(out, content);
        });
        put_list(out, &self.collect, |out, name| put_counted(out, name.as_bytes()));
        out.extend(self.time_max.map_or(0, micros).to_be_bytes());
    }
}

/// A list with its length in front. Memory grows with what is really there, not with the length announced.
fn list<T>(
    body: &mut Reader<'_>,
    what: &'static str,
    limit: usize,
    mut item: impl FnMut(&mut Reader<'_>) -> Result<T, WireError>,
) -> Result<Vec<T>, WireError> {
    let count = body.count(what, limit)?;
    (0..count).map(|_| item(body)).collect()
}

fn put_list<T>(out: &mut Vec<u8>, items: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
    out.extend(u32::try_from(items.len()).unwrap_or(u32::MAX).to_be_bytes());
    items.iter().for_each(|item| put(out, item));
}

/// Octets an operating system takes as argument or environment: without a 0; a name also without `=`.
fn octets(body: &mut Reader<'_>, is_name: bool) -> Result<Vec<u8>, WireError> {
    let offset = body.offset();
    let octets = body.counted("text", WORK_MAX)?;
    if octets.contains(&0) {
        return Err(WireError::Invalid { offset, rule: "must not contain a zero octet" });
    }
    if is_name && (octets.is_empty() || octets.contains(&b'=')) {
        return Err(WireError::Invalid { offset, rule: "must be a name without '='" });
    }
    Ok(octets.to_vec())
}

/// A name that stays inside of its directory on every system: parts between `/` that are neither empty nor `.` nor
/// `..`, without `\`, `:` and zero octets.
fn file_name(body: &mut Reader<'_>) -> Result<String, WireError> {
    let offset = body.offset();
    let name = body.text("file name", 4096)?;
    let inside = name.split('/').all(|part| {
        !matches!(part, "" | "." | "..") && !part.contains(['\\', ':', '\0']) && part.len() <= 255
    });
    if !inside {
        return Err(WireError::Invalid { offset, rule: "must be a relative file name that stays inside" });
    }
    Ok(name)
}

fn span(body: &mut Reader<'_>) -> Result<Duration, WireError> {
    let offset = body.offset();
    let (found, limit) = (body.u64()?, micros(TIME_MAX));
    if found > limit {
        return Err(WireError::TooLarge { offset, what: "microseconds", found, limit });
    }
    Ok(Duration::from_micros(found))
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn tile(body: &mut Reader<'_>) -> Result<Work, WireError> {
    let scene = Scene::parse(body)?;
    let offset = body.offset();
    let rect = Rect { left: body.u32()?, top: body.u32()?, width: body.u32()?, height: body.u32()? };
    if !rect.is_inside(&scene) {
        return Err(WireError::Invalid { offset, rule: "must be a tile inside of its picture" });
    }
    Ok(Work::Tile { scene, rect })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> Command {
        Command {
            arguments: vec![b"render".to_vec(), b"".to_vec(), b"\xff".to_vec()],
            environment: vec![(b"HOME".to_vec(), b"/x=y".to_vec())],
            directory: Some(b"/tmp".to_vec()),
            input: vec![0, 1],
            files: vec![("scene/a.txt".into(), vec![9; 3])],
            collect: vec!["out.png".into()],
            time_max: Some(Duration::from_micros(5)),
        }
    }

    fn works() -> Vec<Work> {
        let scene = Scene::default();
        vec![
            Work::Echo(vec![]),
            Work::Echo(vec![1, 2]),
            Work::Sleep(Duration::from_millis(10)),
            Work::Spin(TIME_MAX),
            Work::Tile { scene, rect: Rect { left: 1, top: 2, width: 3, height: 4 } },
            Command::new(["true"]).into(),
            everything().into(),
        ]
    }

    #[test]
    fn work_survives_the_wire() {
        for work in works() {
            let bytes = work.emit().expect("legal");
            assert_eq!(Work::parse(&bytes), Ok(work));
        }
        assert_eq!(Work::Echo(vec![7]).emit(), Ok(vec![1, 7]));
        assert_eq!(Work::Sleep(Duration::from_millis(1)).emit(), Ok(vec![2, 0, 0, 0, 0, 0, 0, 3, 232]));
        let octets = [&[5, 0, 0, 0, 1, 0, 0, 0, 2][..], b"ls", &[0; 28]].concat();
        assert_eq!(Work::from(Command::new(["ls"])).emit(), Ok(octets));
    }

    #[test]
    fn truncated_work_is_refused() {
        for work in works().into_iter().filter(|work| !matches!(work, Work::Echo(_))) {
            let bytes = work.emit().expect("legal");
            for cut in 0..bytes.len() {
                assert!(Work::parse(&bytes[..cut]).is_err(), "{work:?} cut at {cut}");
            }
            assert!(Work::parse(&[&bytes[..], &[0]].concat()).is_err(), "{work:?} with an octet too many");
        }
    }

    #[test]
    fn work_that_breaks_a_rule_is_told_to_its_submitter() {
        let broken = |change: fn(&mut Command)| {
            let mut command = everything();
            change(&mut command);
            Work::from(command).emit()
        };
        let inside = "must be a relative file name that stays inside";
        for name in ["../x", "/etc/passwd", "a//b", "", "a/./b", "c:x", "a\\b"] {
            let mut command = everything();
            command.collect = vec![name.into()];
            let refused = Work::from(command).emit();
            assert!(
                matches!(refused, Err(WireError::Invalid { rule, .. }) if rule == inside),
                "{name}: {refused:?}"
            );
        }
        assert!(matches!(broken(|c| c.arguments.clear()), Err(WireError::Invalid { offset: 1, .. })));
        assert!(matches!(broken(|c| c.arguments[1] = vec![0]), Err(WireError::Invalid { .. })));
        assert!(matches!(broken(|c| c.environment[0].0 = b"a=b".to_vec()), Err(WireError::Invalid { .. })));
        assert!(matches!(broken(|c| c.input = vec![0; WORK_MAX]), Err(WireError::TooLarge { .. })));
        assert!(matches!(broken(|c| c.time_max = Some(TIME_MAX * 2)), Err(WireError::TooLarge { .. })));
        let outside = Rect { left: 2559, top: 0, width: 2, height: 1 };
        assert!(matches!(
            Work::Tile { scene: Scene::default(), rect: outside }.emit(),
            Err(WireError::Invalid { rule: "must be a tile inside of its picture", .. })
        ));
        assert_eq!(
            Work::parse(&[77]),
            Err(WireError::Unknown { offset: 0, what: "kind of work", found: 77 })
        );
    }

    #[test]
    fn an_announced_length_allocates_nothing() {
        let bytes = [5, 0, 1, 0, 0];
        assert_eq!(Work::parse(&bytes), Err(WireError::Truncated { offset: 5, needed: 4, left: 0 }));
        let bytes = [5, 0, 1, 0, 1];
        assert!(matches!(Work::parse(&bytes), Err(WireError::TooLarge { found: 65_537, .. })));
    }
}
