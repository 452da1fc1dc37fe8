//! Programs: one thread starts them through the keeper, reads their output as far as the windows allow, and tells how
//! they ended.

use super::crew::Tell;
use crate::keeper::{Keeper, Order, Outcome, next_outcome, output_pipe};
use rserpool_compute::service::{Fact, RunId};
use rserpool_compute::{Attempt, Command, JobId, Status, Stream};
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};

/// The most octets of output told at a time.
const PORTION: usize = 64 * 1024;

/// What the programs thread is asked.
enum Asked {
    Start { run: RunId, job: JobId, attempt: Attempt, command: Command, window: u32 },
    Grant { run: RunId, octets: u32 },
    Kill { run: RunId },
}

/// The way to the programs thread.
pub struct Orders {
    asked: Sender<Asked>,
    wake: UnixStream,
}

impl Orders {
    /// Starts a program.
    pub fn start(&self, run: RunId, job: JobId, attempt: Attempt, command: Command, window: u32) {
        self.ask(Asked::Start { run, job, attempt, command, window });
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
    running: BTreeMap<RunId, Program>,
}

/// A program that runs, or whose last output is still to be read.
struct Program {
    outputs: [Option<File>; 2],
    window: u64,
    outcome: Option<Outcome>,
    /// Its own folder, to be removed.
    folder: Option<PathBuf>,
}

/// What can be done without waiting.
#[derive(Default)]
struct Ready {
    wish: bool,
    outcome: bool,
    /// Outputs that can be read and may: their windows are open.
    outputs: Vec<(RunId, usize)>,
}

impl Programs {
    /// `scratch` is a folder of this worker alone; the keeper removes it in the end.
    pub fn new(scratch: PathBuf, honour: bool) -> io::Result<(Orders, Self)> {
        let (sender, asked) = mpsc::channel();
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let keeper = Keeper::start(&scratch)?;
        let outcomes = keeper.outcomes()?;
        let programs =
            Self { asked, wake: woken, keeper, outcomes, scratch, honour, running: BTreeMap::new() };
        Ok((Orders { asked: sender, wake }, programs))
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
            while (&self.wake).read(&mut octets).is_ok_and(|count| count > 0) {}
            while let Ok(asked) = self.asked.try_recv() {
                self.obey(asked, &mut facts)?;
            }
        }
        for (run, place) in ready.outputs {
            self.read(run, place, &mut facts);
        }
        if ready.outcome {
            let (id, outcome) = next_outcome(&mut self.outcomes).ok_or(io::ErrorKind::UnexpectedEof)?;
            if let Some(program) = self.running.get_mut(&RunId(id)) {
                program.outcome = Some(outcome);
                self.finish(RunId(id), &mut facts);
            }
        }
        Ok(facts)
    }

    /// Waits until something is ready.
    fn wait(&self) -> io::Result<Ready> {
        let mut waiting =
            vec![PollFd::new(&self.wake, PollFlags::IN), PollFd::new(&self.outcomes, PollFlags::IN)];
        let mut whose = Vec::new();
        for (&run, program) in self.running.iter().filter(|(_, program)| program.window > 0) {
            for (place, output) in program.outputs.iter().enumerate() {
                if let Some(output) = output {
                    waiting.push(PollFd::new(output, PollFlags::IN));
                    whose.push((run, place));
                }
            }
        }
        match poll(&mut waiting, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Ready::default()),
            Err(error) => return Err(error.into()),
        }
        let is_ready = |place: usize| !waiting[place].revents().is_empty();
        let whose = whose.into_iter().enumerate();
        let outputs = whose.filter(|(place, _)| is_ready(place + 2)).map(|(_, its)| its).collect();
        Ok(Ready { wish: is_ready(0), outcome: is_ready(1), outputs })
    }

    fn obey(&mut self, asked: Asked, facts: &mut Vec<Fact>) -> io::Result<()> {
        match asked {
            Asked::Start { run, job, attempt, command, window } => {
                match self.prepare(run, job, attempt, command, window) {
                    Ok((order, program, pipes)) => {
                        self.running.insert(run, program);
                        self.keeper.order(&order, pipes[0].as_fd(), pipes[1].as_fd())?;
                    }
                    Err(cause) => {
                        let why = format!("the worker cannot prepare its folder: {cause}");
                        facts.push(Fact::Ended { run, status: Status::CouldNotStart(why) });
                    }
                }
            }
            Asked::Grant { run, octets } => {
                if let Some(program) = self.running.get_mut(&run) {
                    program.window += u64::from(octets);
                }
            }
            Asked::Kill { run } => {
                if let Some(program) = self.running.get_mut(&run) {
                    // What it still has to say is not wanted, and must not hold up its end.
                    program.outputs = [None, None];
                    self.keeper.kill(run.0)?;
                    self.finish(run, facts);
                }
            }
        }
        Ok(())
    }

    fn prepare(
        &self,
        run: RunId,
        job: JobId,
        attempt: Attempt,
        command: Command,
        window: u32,
    ) -> io::Result<(Order, Program, [std::os::fd::OwnedFd; 2])> {
        let own = |bytes: Vec<u8>| OsString::from_vec(bytes);
        let (directory, folder) = match command.directory {
            Some(theirs) if self.honour => (PathBuf::from(own(theirs)), None),
            _ => {
                let fresh = self.scratch.join(run.0.to_string());
                std::fs::create_dir(&fresh)?;
                (fresh.clone(), Some(fresh))
            }
        };
        let mut variables: Vec<(OsString, OsString)> =
            command.environment.into_iter().map(|(name, value)| (own(name), own(value))).collect();
        variables.extend([
            ("RSP_JOB".into(), job.to_string().into()),
            ("RSP_TASK".into(), attempt.task.to_string().into()),
            ("RSP_ATTEMPT".into(), attempt.number.to_string().into()),
        ]);
        let arguments = command.arguments.into_iter().map(own).collect();
        let (stdout, their_stdout) = output_pipe()?;
        let (stderr, their_stderr) = output_pipe()?;
        let outputs = [Some(File::from(stdout)), Some(File::from(stderr))];
        let program = Program { outputs, window: window.into(), outcome: None, folder };
        let order = Order { id: run.0, directory, arguments, variables };
        Ok((order, program, [their_stdout, their_stderr]))
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

    /// If it ended and has nothing more to say, tells so and clears up.
    fn finish(&mut self, run: RunId, facts: &mut Vec<Fact>) {
        let Some(program) = self.running.get_mut(&run) else { return };
        let is_started = !matches!(program.outcome, Some(Outcome::CannotStart(_)));
        if is_started && program.outputs.iter().any(Option::is_some) {
            return;
        }
        let Some(outcome) = program.outcome.take() else { return };
        if let Some(folder) = program.folder.take() {
            let _ = std::fs::remove_dir_all(folder);
        }
        self.running.remove(&run);
        let status = match outcome {
            Outcome::Exited(code) => Status::Exited(code),
            Outcome::Signalled(signal) => Status::Signalled(signal),
            Outcome::CannotStart(why) => Status::CouldNotStart(why),
        };
        facts.push(Fact::Ended { run, status });
    }
}
