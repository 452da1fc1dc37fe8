//! `rsp chaos`: a job of many short tasks while everything around it is killed, and the proof that every result was accepted
//! exactly once.
//!
//! ```text
//!   2 registrars --- workers --- client (rsp run, rsp resume) ---> journal ---.
//!                      |            '-------------------------> results ------+--> verdict
//!                      '--- tasks (sh) ---------------------------> ledger ---'
//!                 ^ killed, stopped, started again as ledger and journal grow (story)
//! ```
//!
//! All are processes of their own; the faults are signals. What happens is read from the ledger, which tasks write, and from
//! the journal, which the client writes: nobody is asked how it went.

mod cast;
mod ending;
mod journal;
mod ledger;
mod story;
mod verdict;

use crate::cli::ChaosArgs;
use crate::exit::{Code, Failure};
use crate::process::{self, say};
use crate::progress::Progress;
use crate::run::late;
use cast::Cast;
use journal::Journal;
use ledger::Ledger;
use rserpool::ElementId;
use rserpool_compute::Attempt;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use story::{Hang, Kill, Next, Story, Vacancy};
use tempfile::TempDir;

/// How long the job may stand still before it counts as lost: far more than any fail-over takes.
const STILL_MAX: Duration = Duration::from_secs(60);

/// How long an execution has to go on for its worker to be a victim, in milliseconds: a signal takes its time.
const LEFT_MIN: u64 = 15;

/// The longest sleep when the ledger does not grow.
const NAP: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Runs it.
pub fn run(args: &ChaosArgs) -> Result<Code, Failure> {
    let folder = Folder::new(args.keep.as_deref())?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let interrupt = interrupted.clone();
    crate::signals::on_interrupt(move || interrupt.store(true, Ordering::Relaxed))?;
    let seed = args.seed.unwrap_or_else(|| process::random().next_u64() as u32);
    let mut chaos = Chaos::begin(args, seed, folder.path(), interrupted)?;
    say(format!(
        "2 registrars and {} workers are up; {} tasks, seed {seed}",
        chaos.cast.workers.len(),
        args.tasks
    ));
    let ended = chaos.play();
    chaos.progress.clear();
    let outcome = ended.and_then(|ended| chaos.conclude(ended));
    drop(chaos);
    match &outcome {
        Err(failure) if failure.code == Code::Failed => {
            let path = folder.keep();
            outcome.map_err(|failure| {
                failure.and(&format!("; the ledger, the journal and what was said are in {}", path.display()))
            })
        }
        _ => outcome,
    }
}

/// Where everything is written.
enum Folder {
    Temporary(TempDir),
    Theirs(PathBuf),
}

impl Folder {
    fn new(keep: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = keep else {
            let folder = tempfile::Builder::new().prefix("rsp-chaos-").tempdir().map_err(|cause| {
                let message = format!("cannot make a temporary folder: {cause}; set TMPDIR, or use --keep");
                Failure::new(Code::CannotWrite, message)
            })?;
            return Ok(Self::Temporary(folder));
        };
        let cannot = |cause: std::io::Error| {
            Failure::new(Code::CannotWrite, format!("cannot use --keep {}: {cause}", path.display()))
        };
        std::fs::create_dir_all(path).map_err(cannot)?;
        if std::fs::read_dir(path).map_err(cannot)?.next().is_some() {
            let message = format!("--keep {}: the folder is not empty; name a new one", path.display());
            return Err(Failure::new(Code::Usage, message));
        }
        Ok(Self::Theirs(path.canonicalize().map_err(cannot)?))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Theirs(path) => path,
        }
    }

    /// It stays.
    fn keep(self) -> PathBuf {
        match self {
            Self::Temporary(folder) => folder.keep(),
            Self::Theirs(path) => path,
        }
    }
}

/// Something that was done, for the account in the end.
struct Done {
    moment: String,
    what: String,
    /// The execution it hit.
    attempt: Option<Attempt>,
}

struct Chaos<'a> {
    args: &'a ChaosArgs,
    seed: u32,
    cast: Cast<'a>,
    ledger: Ledger,
    journal: Journal,
    story: Story,
    done: Vec<Done>,
    /// Tells when the ledger grows.
    growth: OwnedFd,
    interrupted: Arc<AtomicBool>,
    begun: Instant,
    progress: Progress,
}

impl<'a> Chaos<'a> {
    fn begin(
        args: &'a ChaosArgs,
        seed: u32,
        folder: &'a Path,
        interrupted: Arc<AtomicBool>,
    ) -> Result<Self, Failure> {
        let path = folder.join("ledger");
        let cannot = |cause: std::io::Error| {
            Failure::new(Code::CannotWrite, format!("cannot keep a ledger in {}: {cause}", folder.display()))
        };
        let ledger = Ledger::new(&path).map_err(cannot)?;
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let growth = inotify::init(flags).map_err(|errno| cannot(errno.into()))?;
        inotify::add_watch(&growth, &path, inotify::WatchFlags::MODIFY)
            .map_err(|errno| cannot(errno.into()))?;
        let cast = Cast::start(args, seed, folder)?;
        let mut progress = Progress::with_lines("tasks", Duration::from_secs(30));
        progress.total(args.tasks);
        Ok(Self {
            args,
            seed,
            ledger,
            journal: Journal::new(&cast.journal()),
            cast,
            story: Story { planned: args.kills, ..Story::default() },
            done: Vec::new(),
            growth,
            interrupted,
            begun: Instant::now(),
            progress,
        })
    }

    /// Thousandths of the tasks that are accepted.
    fn permille(&self) -> u64 {
        self.journal.state.over.len() * 1000 / self.args.tasks
    }

    /// Runs the job to its end, and has happen what is to happen. How the last client ended.
    fn play(&mut self) -> Result<ExitStatus, Failure> {
        self.begun = Instant::now();
        self.cast.start_client()?;
        let mut moved = (0, Instant::now());
        loop {
            self.wait();
            if self.interrupted.load(Ordering::Relaxed) {
                let count = self.journal.state.over.len();
                return Err(Failure::new(Code::Interrupted, format!("interrupted after {count} tasks")));
            }
            let ended = self.cast.client_ended();
            self.look()?;
            if let Some(status) = ended {
                return Ok(status);
            }
            let count = self.journal.state.over.len();
            self.progress.done(count);
            self.progress.proceed(count, 0, self.ledger.open().count());
            if count != moved.0 {
                moved = (count, Instant::now());
            } else if moved.1.elapsed() > STILL_MAX {
                let message = format!("nothing was accepted for {STILL_MAX:?} after {count} tasks");
                return Err(Failure::new(Code::Failed, message));
            }
            if !self.args.calm && self.is_under_way() {
                self.proceed()?;
            }
        }
    }

    /// Waits until the ledger has grown, or a moment.
    fn wait(&self) {
        let mut waiting = [PollFd::new(&self.growth, PollFlags::IN)];
        let _ = poll(&mut waiting, Some(&NAP));
        let mut news = [0; 4096];
        while rustix::io::read(&self.growth, &mut news).is_ok_and(|count| count > 0) {}
    }

    /// Reads what is new.
    fn look(&mut self) -> Result<(), Failure> {
        self.read_ledger()?;
        if !self.is_under_way() {
            // The new client is about to cut off what the old one did not write to its end.
            self.journal.again();
        }
        self.journal.read()?;
        if let Some(hang) = &mut self.story.hang {
            hang.noticed |= self.journal.lost.contains(&(hang.attempt, hang.worker));
            if hang.continued && !hang.late {
                let said = std::fs::read_to_string(self.cast.said(self.cast.lives)).unwrap_or_default();
                hang.late = said.contains(&late(hang.attempt, hang.worker));
            }
        }
        Ok(())
    }

    fn read_ledger(&mut self) -> Result<(), Failure> {
        let read = self.ledger.read();
        read.map_err(|cause| Failure::new(Code::Failed, format!("cannot read the ledger: {cause}")))
    }

    /// The present client is at work, by its journal.
    fn is_under_way(&self) -> bool {
        self.journal.state.lives == self.cast.lives
    }

    /// Does what the story wants next.
    fn proceed(&mut self) -> Result<(), Failure> {
        let permille = self.permille();
        if self.story.kill_is_due(permille)
            && let Some((attempt, worker)) = self.victim()
        {
            self.kill_worker(attempt, worker)?;
        }
        match self.story.next(permille) {
            Next::Wait => {}
            Next::KillClient => self.kill_client()?,
            Next::Stop => self.stop_worker(permille),
            Next::Continue => self.continue_worker(),
            Next::KillRegistrar => self.kill_registrar(permille)?,
            Next::RestartRegistrar => self.restart_registrar()?,
        }
        Ok(())
    }

    /// Executions under way at workers that serve, and how long they will still take at least, in milliseconds.
    fn running(&self) -> impl Iterator<Item = (Attempt, ElementId, u64)> + '_ {
        let now = process::wall_millis();
        let serving = |worker: &ElementId| self.cast.workers.get(worker).is_some_and(|worker| worker.serves);
        self.ledger.open().filter(move |(_, worker, _)| serving(worker)).map(
            move |(attempt, worker, begun)| {
                let end = begun + ledger::millis(attempt.task.0, self.seed);
                (attempt, worker, end.saturating_sub(now))
            },
        )
    }

    /// The execution that will take longest, and its worker.
    fn victim(&self) -> Option<(Attempt, ElementId)> {
        let (attempt, worker, left) = self
            .running()
            .filter(|(attempt, worker, _)| self.story.may_hit(*attempt, *worker))
            .max_by_key(|(.., left)| *left)?;
        (left >= LEFT_MIN).then_some((attempt, worker))
    }

    fn kill_worker(&mut self, attempt: Attempt, worker: ElementId) -> Result<(), Failure> {
        let Some(pid) = self.cast.kill(worker) else { return Ok(()) };
        self.read_ledger()?;
        let hit = self.ledger.open().any(|(open, ..)| open == attempt);
        self.ledger.close(worker);
        self.story.kills.push(Kill { worker, attempt, hit });
        let how = if hit { "in the middle of" } else { "just behind" };
        let next = self.cast.hire()?;
        let what = format!(
            "killed worker {worker} (SIGKILL to process {pid}) {how} {}; {next} replaces it",
            named(attempt)
        );
        self.tell(what, Some(attempt));
        Ok(())
    }

    fn kill_client(&mut self) -> Result<(), Failure> {
        let running = self.running().filter(|(.., left)| *left >= LEFT_MIN).count();
        if running == 0 {
            return Ok(()); // the next task is not far
        }
        let Some(pid) = self.cast.kill_client() else { return Ok(()) };
        self.story.clients.push(running);
        self.cast.start_client()?;
        self.tell(
            format!("killed the client (SIGKILL to process {pid}) while {running} tasks ran; resumed it"),
            None,
        );
        Ok(())
    }

    fn stop_worker(&mut self, at: u64) {
        let Some((attempt, worker)) = self.victim() else { return };
        let Some(pid) = self.cast.stop(worker, true) else { return };
        self.story.hang = Some(Hang { worker, attempt, at, noticed: false, continued: false, late: false });
        let what =
            format!("stopped worker {worker} (SIGSTOP to process {pid}) in the middle of {}", named(attempt));
        self.tell(what, Some(attempt));
    }

    fn continue_worker(&mut self) {
        let Some(hang) = &mut self.story.hang else { return };
        let worker = hang.worker;
        let Some(pid) = self.cast.stop(worker, false) else { return };
        hang.continued = true;
        self.tell(format!("continued worker {worker} (SIGCONT to process {pid})"), None);
    }

    fn kill_registrar(&mut self, at: u64) -> Result<(), Failure> {
        let homes = self.cast.homes()?;
        let place = usize::from(homes[1] > homes[0]);
        let homes = homes[place];
        let Some((registrar, pid)) = self.cast.kill_registrar(place) else { return Ok(()) };
        self.story.vacancy = Some(Vacancy { registrar, place, homes, at, restarted: false });
        let what = format!(
            "killed registrar {registrar} (SIGKILL to process {pid}), home to {homes} living workers"
        );
        self.tell(what, None);
        Ok(())
    }

    fn restart_registrar(&mut self) -> Result<(), Failure> {
        let Some(vacancy) = &mut self.story.vacancy else { return Ok(()) };
        let next = self.cast.restart_registrar(vacancy.place)?;
        vacancy.restarted = true;
        self.tell(format!("started a registrar at the same place again, now called {next}"), None);
        Ok(())
    }

    fn tell(&mut self, what: String, attempt: Option<Attempt>) {
        let share = self.permille() as f64 / 10.0;
        let moment = format!("{:6.1} s {share:5.1} %", self.begun.elapsed().as_secs_f64());
        self.progress.say(&format!("{moment} {what}"));
        self.done.push(Done { moment, what, attempt });
    }
}

/// `task 17, attempt 2`.
fn named(attempt: Attempt) -> String {
    format!("task {}, attempt {}", attempt.task, attempt.number)
}
