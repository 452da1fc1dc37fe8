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
//!   5 Command  arguments, environment, directory, input, files, inputs, env, collect, time, memory, niceness (in this
//!              order)
//!   6 Call     name of the function (counted), input
//! ```

use crate::codec::{Reader, WireError, put_counted};
use crate::cookie::Checkpoint;
use crate::fractal::{Rect, Scene, TileRun};
use crate::item::{self, Item};
use crate::protocol::WORK_MAX;
use std::time::Duration;

/// The longest sleep, spin or permitted time of a command: a year.
pub const TIME_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Most arguments, environment entries, files or collected files of a command.
pub const ITEMS_MAX: usize = 65_536;

/// The greatest niceness of a command: who wants nothing but idle processors.
pub const NICE_MAX: u8 = 19;

/// Most files a command takes along, and most patterns of files it gives back.
pub const FILES_MAX: usize = 240;

/// Most octets of the name of a function.
pub const NAME_MAX: usize = 128;

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
    /// Calls a function the worker's application has under this name. What input, output and checkpoints mean is
    /// between the applications of client and worker.
    Call {
        /// 1 to [`NAME_MAX`] octets.
        function: String,
        /// Any octets.
        input: Vec<u8>,
    },
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
    /// Small files to put into its directory before it starts: relative names that stay inside, and contents. At most
    /// [`FILES_MAX`].
    pub files: Vec<(Vec<u8>, Vec<u8>)>,
    /// Items to put into its directory before it starts. At most [`FILES_MAX`].
    pub inputs: Vec<Placed>,
    /// A tree it finds by the variable `RSP_ENV`.
    pub env: Option<Item>,
    /// Files to send back after it ended with success, as one tree in [`Stream::FILES`](crate::Stream::FILES); each has
    /// to be there. At most [`FILES_MAX`].
    pub collect: Vec<Pick>,
    /// How long it may run; at most [`TIME_MAX`]. `None`: for ever.
    pub time_max: Option<Duration>,
    /// How much memory its processes may use together, in octets; not 0. `None`: as much as there is.
    pub memory_max: Option<u64>,
    /// How much it steps back behind other processes of its machine: 0 to [`NICE_MAX`].
    pub nice: u8,
}

/// An item in the directory of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Relative, stays inside.
    pub name: Vec<u8>,
    /// What it is.
    pub item: Item,
    /// The command may write to it; else it shares it with others, for reading.
    pub own: bool,
    /// If the item is a file: it is a program.
    pub executable: bool,
}

/// Files a command leaves in its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// The file of this name, or everything in the folder of this name; relative, stays inside.
    Named(Vec<u8>),
    /// All files whose names match this pattern, in which `*` and `?` stop at `/` and `**` does not.
    Like(String),
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
            6 => {
                let (offset, function) = (body.offset(), body.text("name of a function", NAME_MAX)?);
                if function.is_empty() {
                    return Err(WireError::Invalid { offset, rule: "must be the name of a function" });
                }
                Self::Call { function, input: body.rest().to_vec() }
            }
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
            Self::Call { function, input } => {
                out.push(6);
                put_counted(&mut out, function.as_bytes());
                out.extend(input);
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

    /// True if it does nothing but give its result, so that it may just as well run twice at a time. A command or a
    /// function may do anything.
    pub fn is_pure(&self) -> bool {
        !matches!(self, Self::Command(_) | Self::Call { .. })
    }

    /// The items it needs before it can start, each as often as it is named.
    pub fn needs(&self) -> impl Iterator<Item = Item> + '_ {
        let command = match self {
            Self::Command(command) => Some(command),
            _ => None,
        };
        command
            .into_iter()
            .flat_map(|command| command.inputs.iter().map(|placed| placed.item).chain(command.env))
    }

    /// True if its output begins anew with each execution, also with one that goes on from a checkpoint.
    pub fn repeats_output(&self) -> bool {
        matches!(self, Self::Command(_) | Self::Call { .. })
    }

    /// True if this state, reported after so many octets of output, is one this work can go on from: tiles can, and
    /// functions and commands, of whose output only that of the last execution counts.
    pub fn continues_at(&self, octets: u64, state: &[u8]) -> bool {
        match self {
            Self::Tile { rect, .. } => {
                TileRun::resume(*rect, state).is_some_and(|run| run.octets() == octets)
            }
            Self::Command(_) => octets == 0 && Checkpoint::parse(state).is_some(),
            Self::Call { .. } => octets == 0 && !state.is_empty(),
            _ => false,
        }
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
            Ok((item::name(body)?, body.counted("file", WORK_MAX)?.to_vec()))
        })?;
        let inputs = list(body, "number of inputs", FILES_MAX, |body| {
            let offset = body.offset();
            let flags = body.u8()?;
            if flags > 3 {
                return Err(WireError::Invalid { offset, rule: "must be flags that there are" });
            }
            let (own, executable) = (flags & 1 != 0, flags & 2 != 0);
            Ok(Placed { name: item::name(body)?, item: Item::parse(body)?, own, executable })
        })?;
        let env = list(body, "number of environments", 1, Item::parse)?.pop();
        let collect = list(body, "number of collected files", FILES_MAX, pick)?;
        let time = span(body)?;
        let memory = body.u64()?;
        let nice = nice(body)?;
        Ok(Self {
            arguments,
            environment,
            directory: (!directory.is_empty()).then_some(directory),
            input,
            files,
            inputs,
            env,
            collect,
            time_max: (!time.is_zero()).then_some(time),
            memory_max: (memory > 0).then_some(memory),
            nice,
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
            put_counted(out, name);
            put_counted(out, content);
        });
        put_list(out, &self.inputs, |out, placed| {
            out.push(u8::from(placed.own) | u8::from(placed.executable) << 1);
            put_counted(out, &placed.name);
            placed.item.emit(out);
        });
        put_list(out, self.env.as_slice(), |out, env| env.emit(out));
        put_list(out, &self.collect, |out, pick| match pick {
            Pick::Named(name) => {
                out.push(1);
                put_counted(out, name);
            }
            Pick::Like(pattern) => {
                out.push(2);
                put_counted(out, pattern.as_bytes());
            }
        });
        out.extend(self.time_max.map_or(0, micros).to_be_bytes());
        out.extend(self.memory_max.unwrap_or(0).to_be_bytes());
        out.push(self.nice);
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

fn pick(body: &mut Reader<'_>) -> Result<Pick, WireError> {
    let offset = body.offset();
    match body.u8()? {
        1 => Ok(Pick::Named(item::name(body)?)),
        2 => Ok(Pick::Like(body.text("pattern", 4096)?)),
        found => Err(WireError::Unknown { offset, what: "kind of collected file", found: found.into() }),
    }
}

fn span(body: &mut Reader<'_>) -> Result<Duration, WireError> {
    let offset = body.offset();
    let (found, limit) = (body.u64()?, micros(TIME_MAX));
    if found > limit {
        return Err(WireError::TooLarge { offset, what: "microseconds", found, limit });
    }
    Ok(Duration::from_micros(found))
}

fn nice(body: &mut Reader<'_>) -> Result<u8, WireError> {
    let offset = body.offset();
    let (found, limit) = (body.u8()?, NICE_MAX);
    if found > limit {
        let (found, limit) = (found.into(), limit.into());
        return Err(WireError::TooLarge { offset, what: "niceness", found, limit });
    }
    Ok(found)
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
            inputs: vec![Placed { name: b"b\xff".to_vec(), item: item(1), own: true, executable: true }],
            env: Some(item(2)),
            collect: vec![Pick::Named(b"out.png".to_vec()), Pick::Like("*.log".into())],
            time_max: Some(Duration::from_micros(5)),
            memory_max: Some(1 << 33),
            nice: 7,
        }
    }

    fn item(octet: u8) -> Item {
        Item { digest: crate::item::Digest([octet; 32]), size: 7, form: crate::item::Form::File }
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
            Work::Call { function: "count".into(), input: vec![0, 200] },
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
        let octets = [&[5, 0, 0, 0, 1, 0, 0, 0, 2][..], b"ls", &[0; 45]].concat();
        assert_eq!(Work::from(Command::new(["ls"])).emit(), Ok(octets));
        let call = Work::Call { function: "sum".into(), input: vec![7] };
        assert_eq!(call.emit(), Ok(vec![6, 0, 0, 0, 3, b's', b'u', b'm', 7]));
    }

    #[test]
    fn truncated_work_is_refused() {
        let free = |work: &Work| matches!(work, Work::Echo(_) | Work::Call { .. });
        for work in works().into_iter().filter(|work| !free(work)) {
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
        for name in ["../x", "/etc/passwd", "a//b", "", "a/./b", "a\0b"] {
            let mut command = everything();
            command.collect = vec![Pick::Named(name.into())];
            let refused = Work::from(command).emit();
            assert!(
                matches!(refused, Err(WireError::Invalid { rule, .. }) if rule == inside),
                "{name}: {refused:?}"
            );
        }
        assert!(matches!(broken(|c| c.inputs[0].name = b"..".to_vec()), Err(WireError::Invalid { .. })));
        assert!(matches!(broken(|c| c.arguments.clear()), Err(WireError::Invalid { offset: 1, .. })));
        assert!(matches!(broken(|c| c.arguments[1] = vec![0]), Err(WireError::Invalid { .. })));
        assert!(matches!(broken(|c| c.environment[0].0 = b"a=b".to_vec()), Err(WireError::Invalid { .. })));
        assert!(matches!(broken(|c| c.input = vec![0; WORK_MAX]), Err(WireError::TooLarge { .. })));
        assert!(matches!(broken(|c| c.nice = 20), Err(WireError::TooLarge { what: "niceness", .. })));
        assert!(matches!(broken(|c| c.time_max = Some(TIME_MAX * 2)), Err(WireError::TooLarge { .. })));
        let outside = Rect { left: 2559, top: 0, width: 2, height: 1 };
        assert!(matches!(
            Work::Tile { scene: Scene::default(), rect: outside }.emit(),
            Err(WireError::Invalid { rule: "must be a tile inside of its picture", .. })
        ));
        let nameless = Work::Call { function: String::new(), input: vec![] };
        assert_eq!(
            nameless.emit(),
            Err(WireError::Invalid { offset: 1, rule: "must be the name of a function" })
        );
        let long = Work::Call { function: "x".repeat(NAME_MAX + 1), input: vec![] };
        assert!(matches!(long.emit(), Err(WireError::TooLarge { .. })));
        assert_eq!(
            Work::parse(&[77]),
            Err(WireError::Unknown { offset: 0, what: "kind of work", found: 77 })
        );
    }

    #[test]
    fn work_names_what_it_needs() {
        let needs: Vec<_> = Work::from(everything()).needs().collect();
        assert_eq!(needs, [item(1), item(2)]);
        assert_eq!(spin().needs().count(), 0);
    }

    fn spin() -> Work {
        Work::Spin(TIME_MAX)
    }

    #[test]
    fn an_announced_length_allocates_nothing() {
        let bytes = [5, 0, 1, 0, 0];
        assert_eq!(Work::parse(&bytes), Err(WireError::Truncated { offset: 5, needed: 4, left: 0 }));
        let bytes = [5, 0, 1, 0, 1];
        assert!(matches!(Work::parse(&bytes), Err(WireError::TooLarge { found: 65_537, .. })));
    }
}
