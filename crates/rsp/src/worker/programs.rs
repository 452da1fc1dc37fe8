//! Programs: one thread starts them through the keeper, reads their output as far as the windows allow, and tells how
//! they ended.

use super::checkpoints::Checkpoints;
use super::crew::Tell;
use super::gather::Gathering;
use super::store::{Shelf, Taken, copy};
use crate::keeper::{Keeper, Order, Outcome, next_outcome, output_pipe};
use rserpool_compute::service::{Fact, RunId};
use rserpool_compute::{Attempt, Command, Item, JobId, Pick, Status, Stream};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

/// The most octets of output told at a time.
const PORTION: usize = 64 * 1024;

/// What the programs thread is asked.
enum Asked {
    Start(Box<Start>),
    Grant { run: RunId, octets: u32 },
    Send { run: RunId, octets: u32 },
    Saved { run: RunId },
    Digested { run: RunId, found: io::Result<(File, Item)> },
    Kill { run: RunId },
}

/// A program to start.
pub struct Start {
    /// Its run.
    pub run: RunId,
    /// For its environment.
    pub job: JobId,
    /// Likewise.
    pub attempt: Attempt,
    /// What to run.
    pub command: Command,
    /// Where to go on.
    pub checkpoint: Option<Vec<u8>>,
    /// Octets of output it may have.
    pub window: u32,
}

/// The way to the programs thread.
pub struct Orders {
    asked: Sender<Asked>,
    wake: UnixStream,
}

impl Orders {
    /// Starts a program.
    pub fn start(&self, start: Start) {
        self.ask(Asked::Start(Box::new(start)));
    }

    /// Asks for more of a checkpoint that is being saved.
    pub fn send(&self, run: RunId, octets: u32) {
        self.ask(Asked::Send { run, octets });
    }

    /// The checkpoint that was being saved needs nothing more.
    pub fn saved(&self, run: RunId) {
        self.ask(Asked::Saved { run });
    }

    /// Tells what a checkpoint turned out to be.
    pub(super) fn digested(&self, run: RunId, found: io::Result<(File, Item)>) {
        self.ask(Asked::Digested { run, found });
    }

    /// Another hold on the way to the thread.
    fn again(&self) -> io::Result<Self> {
        Ok(Self { asked: self.asked.clone(), wake: self.wake.try_clone()? })
    }

    /// Allows more output.
    pub fn grant(&self, run: RunId, octets: u32) {
        self.ask(Asked::Grant { run, octets });
    }

    /// Ends a program, with everything it started.
    pub fn kill(&self, run: RunId) {
        self.ask(Asked::Kill { run });
    }

    fn ask(&self, asked: Asked) {
        // The thread lives as long as the process; a full wake pipe will wake it all the same.
        if self.asked.send(asked).is_ok() {
            let _ = (&self.wake).write(&[1]);
        }
    }
}

/// The programs thread, before it begins.
pub struct Programs {
    asked: Receiver<Asked>,
    wake: UnixStream,
    keeper: Keeper,
    outcomes: UnixStream,
    scratch: PathBuf,
    honour: bool,
    shelf: Shelf,
    checkpoints: Checkpoints,
    running: BTreeMap<RunId, Program>,
}

/// A program that runs, or whose last output is still to be read.
struct Program {
    outputs: [Option<File>; 2],
    window: u64,
    outcome: Option<Outcome>,
    /// Its own folder, to be removed.
    folder: Option<PathBuf>,
    /// What it uses of the cache.
    _uses: Vec<Taken>,
    /// Files it has to leave, and the folder where.
    collect: (PathBuf, Vec<Pick>),
    /// It left them, and they are being told.
    gathering: Option<Gathering>,
}

/// What can be done without waiting.
#[derive(Default)]
struct Ready {
    wish: bool,
    outcome: bool,
    checkpoint: bool,
    /// A program has run for so long that its checkpoints count.
    watch: bool,
    /// Runs whose files can be told.
    gathering: Vec<RunId>,
    /// Outputs that can be read and may: their windows are open.
    outputs: Vec<(RunId, usize)>,
}

impl Programs {
    /// `scratch` is a folder of this worker alone; the keeper removes it in the end. `inline_max`: the largest checkpoint
    /// that is told whole.
    pub fn new(
        scratch: PathBuf,
        honour: bool,
        shelf: Shelf,
        inline_max: usize,
    ) -> io::Result<(Orders, Self)> {
        let (sender, asked) = mpsc::channel();
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let keeper = Keeper::start(&scratch)?;
        let outcomes = keeper.outcomes()?;
        let orders = Orders { asked: sender, wake };
        let checkpoints = Checkpoints::new(&scratch, inline_max, orders.again()?)?;
        let running = BTreeMap::new();
        let programs =
            Self { asked, wake: woken, keeper, outcomes, scratch, honour, shelf, checkpoints, running };
        Ok((orders, programs))
    }

    /// Begins, in a thread of its own.
    pub fn begin(mut self, tell: Tell) -> io::Result<()> {
        std::thread::Builder::new().name("programs".into()).spawn(move || {
            while let Ok(facts) = self.turn() {
                if !facts.is_empty() && !tell(facts) {
                    return;
                }
            }
            // Without a keeper nothing can be run any more; what ran is dead, and the worker with it: its sessions end
            // and its tasks run elsewhere.
            crate::process::say("the keeper of this worker's programs is gone; ending");
            std::process::exit(crate::exit::Code::Failed as i32);
        })?;
        Ok(())
    }

    /// Waits for something and does it.
    fn turn(&mut self) -> io::Result<Vec<Fact>> {
        let mut facts = Vec::new();
        let ready = self.wait()?;
        if ready.wish {
            let mut octets = [0; 256];
            while (&self.wake).read(&mut octets).is_ok_and(|count| count == octets.len()) {}
            while let Ok(asked) = self.asked.try_recv() {
                self.obey(asked, &mut facts)?;
            }
        }
        for (run, place) in ready.outputs {
            self.read(run, place, &mut facts);
        }
        for run in ready.gathering {
            self.gather(run, &mut facts);
        }
        if ready.watch {
            self.checkpoints.watch(&mut facts);
        }
        if ready.checkpoint {
            self.checkpoints.look(&mut facts);
        }
        if ready.outcome {
            let (id, outcome) = next_outcome(&mut self.outcomes).ok_or(io::ErrorKind::UnexpectedEof)?;
            if let Some(program) = self.running.get_mut(&RunId(id)) {
                program.outcome = Some(outcome);
                self.read_rest(RunId(id), &mut facts)?;
                self.finish(RunId(id), &mut facts);
            }
        }
        Ok(facts)
    }

    /// Waits until something is ready.
    fn wait(&self) -> io::Result<Ready> {
        let mut waiting = vec![
            PollFd::new(&self.wake, PollFlags::IN),
            PollFd::new(&self.outcomes, PollFlags::IN),
            PollFd::new(&self.checkpoints, PollFlags::IN),
        ];
        let gathering = |(run, program): (&RunId, &Program)| {
            let gathering = program.gathering.as_ref();
            gathering.is_some_and(|gathering| gathering.may_go_on(program.window)).then_some(*run)
        };
        let gathering: Vec<_> = self.running.iter().filter_map(gathering).collect();
        let mut whose = Vec::new();
        for (&run, program) in self.running.iter().filter(|(_, program)| program.window > 0) {
            for (place, output) in program.outputs.iter().enumerate() {
                if let Some(output) = output {
                    waiting.push(PollFd::new(output, PollFlags::IN));
                    whose.push((run, place));
                }
            }
        }
        // Files can always be read.
        let at_once = (!gathering.is_empty()).then_some(Duration::ZERO);
        let pause = at_once.or_else(|| self.checkpoints.due());
        let pause = pause.and_then(|pause| Timespec::try_from(pause).ok());
        match poll(&mut waiting, pause.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Ready::default()),
            Err(error) => return Err(error.into()),
        }
        let is_ready = |place: usize| !waiting[place].revents().is_empty();
        let whose = whose.into_iter().enumerate();
        let outputs = whose.filter(|(place, _)| is_ready(place + 3)).map(|(_, its)| its).collect();
        let (wish, outcome, checkpoint) = (is_ready(0), is_ready(1), is_ready(2));
        let watch = self.checkpoints.due().is_some_and(|due| due.is_zero());
        Ok(Ready { wish, outcome, checkpoint, watch, gathering, outputs })
    }

    fn obey(&mut self, asked: Asked, facts: &mut Vec<Fact>) -> io::Result<()> {
        match asked {
            Asked::Start(start) => {
                let run = start.run;
                let fresh = self.scratch.join(run.0.to_string());
                match self.prepare(*start, &fresh, facts) {
                    Ok((order, program, pipes)) => {
                        self.running.insert(run, program);
                        self.keeper.order(&order, pipes[0].as_fd(), pipes[1].as_fd())?;
                    }
                    Err(why) => {
                        crate::files::remove(&fresh);
                        self.checkpoints.forget(run, facts);
                        facts.push(Fact::Ended { run, status: Status::CouldNotStart(why) });
                    }
                }
            }
            Asked::Send { run, octets } => self.checkpoints.send(run, octets, facts),
            Asked::Saved { run } => self.checkpoints.saved(run, facts),
            Asked::Digested { run, found } => self.checkpoints.digested(run, found, facts),
            Asked::Grant { run, octets } => {
                let Some(program) = self.running.get_mut(&run) else { return Ok(()) };
                program.window += u64::from(octets);
                if program.outcome.is_some() {
                    self.read_rest(run, facts)?;
                    self.finish(run, facts);
                }
            }
            Asked::Kill { run } => {
                if let Some(program) = self.running.get_mut(&run) {
                    // What it still has to say and what it leaves are not wanted, and must not hold up its end: nobody
                    // may open its window any more.
                    program.outputs = [None, None];
                    program.collect.1.clear();
                    let ended = program.outcome.is_some() || program.gathering.take().is_some();
                    if ended {
                        self.over(run, Status::Cancelled, facts);
                    } else {
                        self.keeper.kill(run.0)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Lays out everything a program needs. Fails, for people, with what the worker lacks for it.
    fn prepare(
        &mut self,
        start: Start,
        fresh: &Path,
        facts: &mut Vec<Fact>,
    ) -> Result<(Order, Program, [OwnedFd; 2]), String> {
        let cannot = |cause: io::Error| format!("the worker cannot prepare its folder: {cause}");
        let own = |bytes: Vec<u8>| OsString::from_vec(bytes);
        let Start { run, job, attempt, command, checkpoint, window } = start;
        let (directory, folder) = match command.directory {
            Some(theirs) if self.honour => (PathBuf::from(own(theirs)), None),
            _ => {
                std::fs::create_dir(fresh).map_err(cannot)?;
                (fresh.to_owned(), Some(fresh.to_owned()))
            }
        };
        let mut variables: Vec<(OsString, OsString)> =
            command.environment.into_iter().map(|(name, value)| (own(name), own(value))).collect();
        variables.extend([
            ("RSP_JOB".into(), job.to_string().into()),
            ("RSP_TASK".into(), attempt.task.to_string().into()),
            ("RSP_ATTEMPT".into(), attempt.number.to_string().into()),
        ]);
        let mut uses = Vec::new();
        if folder.is_some() {
            for (name, content) in &command.files {
                std::fs::write(place(&directory, name).map_err(cannot)?, content).map_err(cannot)?;
            }
            for placed in &command.inputs {
                let from = self.take(&placed.item, facts)?;
                let to = place(&directory, &placed.name).map_err(cannot)?;
                let laid = match placed.own {
                    true => copy(&from, &to, placed.executable),
                    false => std::os::unix::fs::symlink(&*from, to),
                };
                laid.map_err(cannot)?;
                uses.push(from);
            }
            // A program need not make the folders its outputs are in.
            for pick in &command.collect {
                if let Pick::Named(name) = pick {
                    place(&directory, name).map_err(cannot)?;
                }
            }
        }
        if let Some(env) = &command.env {
            let top = self.take(env, facts)?;
            let programs = top.join("bin");
            if programs.is_dir() {
                let mut path = programs.into_os_string();
                if let Some(before) = std::env::var_os("PATH") {
                    path.push(":");
                    path.push(before);
                }
                variables.push(("PATH".into(), path));
            }
            variables.push(("RSP_ENV".into(), top.as_os_str().to_owned()));
            uses.push(top);
        }
        let restore = self.checkpoints.prepare(run, checkpoint, &self.shelf).map_err(cannot)?;
        variables.push(("RSP_CHECKPOINT".into(), self.checkpoints.path(run).into()));
        variables.extend(restore.map(|path| ("RSP_RESTORE".into(), path.into())));
        let arguments = command.arguments.into_iter().map(own).collect();
        let (stdout, their_stdout) = output_pipe().map_err(cannot)?;
        let (stderr, their_stderr) = output_pipe().map_err(cannot)?;
        let outputs = [Some(File::from(stdout)), Some(File::from(stderr))];
        let collect = (directory.clone(), command.collect);
        let (window, outcome, gathering) = (window.into(), None, None);
        let program = Program { outputs, window, outcome, folder, _uses: uses, collect, gathering };
        let (memory_max, nice) = (command.memory_max, command.nice);
        let order = Order { id: run.0, directory, arguments, variables, memory_max, nice };
        Ok((order, program, [their_stdout, their_stderr]))
    }

    /// Where an item is. If it is not as it should be, the service learns that it has to be fetched again.
    fn take(&self, item: &Item, facts: &mut Vec<Fact>) -> Result<Taken, String> {
        self.shelf.take(item).inspect_err(|why| facts.push(Fact::NotStored { item: *item, why: why.clone() }))
    }

    /// Tells some of the files a program left.
    fn gather(&mut self, run: RunId, facts: &mut Vec<Fact>) {
        let Some(program) = self.running.get_mut(&run) else { return };
        let Some(gathering) = &mut program.gathering else { return };
        match gathering.next(program.window) {
            Ok(Some(octets)) => {
                program.window -= octets.len() as u64;
                facts.push(Fact::Output { run, stream: Stream::FILES, octets });
            }
            Ok(None) => self.over(run, Status::Exited(0), facts),
            Err(cause) => self.over(run, Status::Incomplete(cause.to_string()), facts),
        }
    }

    fn read(&mut self, run: RunId, place: usize, facts: &mut Vec<Fact>) {
        let Some(program) = self.running.get_mut(&run) else { return };
        let Some(output) = &mut program.outputs[place] else { return };
        let room = usize::try_from(program.window).unwrap_or(PORTION).min(PORTION);
        if room == 0 {
            return; // the other output has used it up a moment ago
        }
        let mut octets = vec![0; room];
        match output.read(&mut octets) {
            Ok(count) if count > 0 => {
                octets.truncate(count);
                program.window -= count as u64;
                let stream = [Stream::OUTPUT, Stream::ERROR][place];
                facts.push(Fact::Output { run, stream, octets });
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => {
                program.outputs[place] = None;
                self.finish(run, facts);
            }
        }
    }

    /// Reads what is left of the outputs of a program that ended, as far as its window goes.
    fn read_rest(&mut self, run: RunId, facts: &mut Vec<Fact>) -> io::Result<()> {
        loop {
            let Some(program) = self.running.get_mut(&run).filter(|program| program.window > 0) else {
                return Ok(());
            };
            let open =
                (0..).zip(&program.outputs).filter_map(|(place, output)| Some((place, output.as_ref()?)));
            let (places, mut waiting): (Vec<usize>, Vec<_>) =
                open.map(|(place, output)| (place, PollFd::new(output, PollFlags::IN))).unzip();
            if places.is_empty() {
                return Ok(());
            }
            match poll(&mut waiting, Some(&Timespec::default())) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let has_more: Vec<_> =
                waiting.iter().map(|output| output.revents().contains(PollFlags::IN)).collect();
            for (place, has_more) in places.into_iter().zip(has_more) {
                if has_more {
                    self.read(run, place, facts);
                } else if let Some(program) = self.running.get_mut(&run) {
                    program.outputs[place] = None;
                }
            }
        }
    }

    /// If it ended and has nothing more to say, tells so and clears up.
    fn finish(&mut self, run: RunId, facts: &mut Vec<Fact>) {
        let Some(program) = self.running.get_mut(&run) else { return };
        let is_started = !matches!(program.outcome, Some(Outcome::CannotStart(_)));
        if is_started && program.outputs.iter().any(Option::is_some) {
            return;
        }
        if program.gathering.is_some() {
            return;
        }
        let Some(outcome) = program.outcome.take() else { return };
        let status = match outcome {
            Outcome::Exited(0) if !program.collect.1.is_empty() => {
                match Gathering::new(&program.collect.0, &program.collect.1) {
                    Ok(gathering) => {
                        program.gathering = Some(gathering);
                        return;
                    }
                    Err(why) => Status::Incomplete(why),
                }
            }
            Outcome::Exited(code) => Status::Exited(code),
            Outcome::Signalled(signal) => Status::Signalled(signal),
            Outcome::OverMemory(limit) => Status::OverMemory { limit },
            Outcome::CannotStart(why) => Status::CouldNotStart(why),
        };
        self.over(run, status, facts);
    }

    /// Clears up behind a program and tells how it ended.
    fn over(&mut self, run: RunId, status: Status, facts: &mut Vec<Fact>) {
        let folder = self.running.remove(&run).and_then(|program| program.folder);
        if let Some(folder) = folder {
            crate::files::remove(&folder);
        }
        self.checkpoints.forget(run, facts);
        facts.push(Fact::Ended { run, status });
    }
}

/// A name inside of a folder, with the folders it is in made.
fn place(top: &Path, name: &[u8]) -> io::Result<PathBuf> {
    let path = top.join(OsStr::from_bytes(name));
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    Ok(path)
}
