//! The scripting service on a machine.
//!
//! ```text
//!   node -- wishes --> backstage --> a thread per run: files, the archive, the program
//!                          ^               |  the keeper owns its processes: none outlives this one
//!                          '-- outcomes ---'
//! ```
//!
//! It executes what it is sent, with the rights of this process: that is the service. So it runs only where somebody said
//! `rsp serve scripting`, on loopback unless told otherwise, and warns when it is.

mod archive;
mod run;
mod store;

use super::cli::{ClientScripting, ServeScripting};
use super::user::{Front, Plan, Turn};
use super::{element, pool, user};
use crate::exit::{Code, Failure};
use crate::keeper::{Keeper, next_outcome};
use crate::process::say;
use rserpool::{Load, Policy, Time};
use rserpool_compute::application::scripting::{
    Config, Fact, Host, RunId, Submitter, SubmitterConfig, SubmitterEvent, Trouble, Wish,
};
use rserpool_net::Limits;
use run::{Run, Task, Workshop};
use std::collections::BTreeMap;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use store::Store;
use tempfile::NamedTempFile;

/// Room for what is queued on a link besides a whole file.
const SLACK: usize = 8 << 20;

/// `rsp serve scripting`.
pub fn serve(args: &ServeScripting) -> Result<(), Failure> {
    if args.common.listen.as_ref().is_some_and(|at| !at.starts_with("127.") && !at.starts_with("[::1]")) {
        say(
            "warning: everybody who can reach this element can run programs here, with the rights of this process",
        );
    }
    let slots = args.slots.unwrap_or_else(|| {
        std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1))
    });
    let file_max = args.file_limit << 20;
    let mut plan = element::Plan::new("scripting", pool(args.common.pool, "ScriptingPool"));
    plan.policy = Policy::LeastUsedDegradation {
        load: Load::default(),
        degradation: Load::from_ratio(1, slots.into()),
    };
    plan.limits = limits(file_max as usize, slots as usize);
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let config = Config {
        sessions_max: slots as usize,
        name: host,
        transmit_timeout: args.transmit_timeout,
        keep_alive_interval: args.keep_alive_interval,
        keep_alive_timeout: args.keep_alive_timeout,
        input_max: file_max,
        environment_max: file_max,
    };

    let cannot = |what: &'static str| {
        move |cause: std::io::Error| {
            Failure::new(Code::CannotWrite, format!("cannot {what}: {cause}; set TMPDIR"))
        }
    };
    // Kept: the keeper removes it, also when this process is killed.
    let scratch = tempfile::Builder::new()
        .prefix("rsp-scripting-")
        .tempdir()
        .map_err(cannot("prepare a folder"))?
        .keep();
    let keeper = Keeper::start(&scratch).map_err(cannot("start the keeper of programs"))?;
    let outcomes = keeper.outcomes().map_err(cannot("hear the keeper of programs"))?;
    let folder = args.cache.clone().unwrap_or_else(|| scratch.join("cache"));
    let store = Store::open(folder.clone(), args.cache_size << 20, args.cache_entries).map_err(|cause| {
        Failure::new(Code::CannotWrite, format!("cannot use the cache {}: {cause}", folder.display()))
    })?;
    let workshop = Workshop {
        scratch,
        keeper: Mutex::new(keeper),
        store: Mutex::new(store),
        time_limit: args.time_limit,
        unpacked_max: args.unpacked_limit << 20,
        output_max: file_max,
        verbose: args.common.verbose,
    };
    let backstage = move |wishes, tell| stage(wishes, tell, Arc::new(workshop), outcomes);
    element::run(&args.common, plan, Host::new(config), backstage, |_, _| {})
}

/// A link must be able to hold a whole file, since the protocol has nothing that would hold a sender up.
fn limits(file: usize, links: usize) -> Limits {
    let usual = Limits::default();
    let link_queue_max = usual.link_queue_max.max(file.saturating_add(SLACK));
    Limits {
        link_queue_max,
        buffers_max: usual.buffers_max.max(link_queue_max.saturating_mul(links)),
        ..usual
    }
}

type Ways = Arc<Mutex<BTreeMap<RunId, Sender<Task>>>>;

/// Hands wishes and outcomes to the threads of their runs.
fn stage(
    wishes: Receiver<Wish>,
    tell: element::Tell<Host>,
    workshop: Arc<Workshop>,
    mut outcomes: std::os::unix::net::UnixStream,
) {
    let ways = Ways::default();
    let of_outcomes = ways.clone();
    let listen = move || {
        while let Some((id, outcome)) = next_outcome(&mut outcomes) {
            if let Some(way) = lock(&of_outcomes).get(&RunId(id)) {
                let _ = way.send(Task::Outcome(outcome)); // a run that is over needs none
            }
        }
        // Without a keeper nothing can be run any more; what ran is dead.
        say("the keeper of this element's programs is gone; ending");
        std::process::exit(Code::Failed as i32);
    };
    if let Err(cause) = std::thread::Builder::new().name("outcomes".into()).spawn(listen) {
        say(format!("cannot start a thread: {cause}; ending"));
        std::process::exit(Code::Failed as i32);
    }
    for wish in wishes {
        let (Wish::Prepare(id)
        | Wish::Store(id, ..)
        | Wish::Lookup(id, _)
        | Wish::Check(id, _)
        | Wish::Start(id)
        | Wish::Read(id, _)
        | Wish::Remove(id)) = wish;
        if matches!(wish, Wish::Prepare(_)) {
            let (way, tasks) = mpsc::channel();
            lock(&ways).insert(id, way);
            let (workshop, ways, its) = (workshop.clone(), ways.clone(), tell.clone());
            let live = move || {
                Run::new(id, workshop).serve(&tasks, &|fact| its.tell(fact));
                lock(&ways).remove(&id);
            };
            if let Err(cause) = std::thread::Builder::new().name(format!("run {}", id.0)).spawn(live) {
                say(format!("cannot start a thread for a run: {cause}"));
                tell.tell(Fact::Failed(id));
            }
        } else if let Some(way) = lock(&ways).get(&id) {
            let _ = way.send(Task::Wish(wish)); // a run that is over needs nothing
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // The values stay whole whatever a panicking thread did: nothing is changed in several steps.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `rsp client scripting`.
pub fn client(args: &ClientScripting) -> Result<Code, Failure> {
    let read = |path: &Path, option: &str| {
        std::fs::read(path).map_err(|cause| {
            Failure::new(
                Code::Usage,
                format!("{option} {}: {cause}; give a file that can be read", path.display()),
            )
        })
    };
    let input = read(&args.input, "--input")?;
    let environment = args.environment.as_deref().map(|path| read(path, "--environment")).transpose()?;
    let size = input.len() + environment.as_ref().map_or(0, Vec::len);
    let mut plan = Plan::new(&args.common, pool(args.common.pool, "ScriptingPool"));
    plan.limits = limits(size + size / 1024, 2);
    let config = SubmitterConfig {
        environment: environment.map(|file| (store::hash(&file), file.into())),
        trials: args.trials,
        retry_delay: args.retry_delay,
        transmit_timeout: args.transmit_timeout,
        keep_alive_interval: args.keep_alive_interval,
        keep_alive_timeout: args.keep_alive_timeout,
        ..SubmitterConfig::new(plan.pool, input.into())
    };
    let folder =
        args.output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = NamedTempFile::new_in(folder).map_err(|cause| cannot_write(&args.output, &cause))?;
    let front = OutputFront { path: args.output.clone(), file: Some(file), verbose: args.common.verbose };
    user::run(&plan, move |random| Submitter::new(config, random), front, |_, _| Ok(()))
}

fn cannot_write(path: &Path, cause: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Code::CannotWrite,
        format!("cannot write {}: {cause}; choose another --output", path.display()),
    )
}

/// The output appears complete or not at all.
struct OutputFront {
    path: PathBuf,
    file: Option<NamedTempFile>,
    verbose: bool,
}

impl OutputFront {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<()> {
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(octets))
    }

    fn void(&mut self) -> std::io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.as_file().set_len(0)?;
        file.rewind()
    }

    fn keep(&mut self) -> std::io::Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        file.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        file.persist(&self.path).map(drop).map_err(|error| error.error)
    }
}

impl Front<Submitter> for OutputFront {
    fn hear(&mut self, now: Time, event: SubmitterEvent) -> Result<Turn, Failure> {
        let path = self.path.clone();
        let failed = |cause: std::io::Error| cannot_write(&path, &cause);
        let line = match event {
            SubmitterEvent::Session(event) => return Ok(Turn::Session(event)),
            SubmitterEvent::Output(octets) => {
                self.write(&octets).map_err(failed)?;
                return Ok(Turn::On);
            }
            SubmitterEvent::Again(why) => {
                self.void().map_err(failed)?;
                say(match why {
                    Trouble::NotReady(reason, info) => {
                        format!("element '{info}' is not ready ({reason:?}); trying again")
                    }
                    Trouble::Code(code) => {
                        format!("the program ended with status {code}; trying again elsewhere")
                    }
                    Trouble::Silence => "the element is silent; trying again elsewhere".into(),
                    Trouble::Nonsense => "the element made no sense; trying again elsewhere".into(),
                    Trouble::Lost => "the element is lost; trying again elsewhere".into(),
                });
                return Ok(Turn::On);
            }
            SubmitterEvent::Done(code) => {
                self.keep().map_err(failed)?;
                if code != 0 {
                    say(format!(
                        "the program ended with status {code}; its last output is in {}",
                        path.display()
                    ));
                }
                return Ok(Turn::Over(if code == 0 { Code::Done } else { Code::Failed }));
            }
            SubmitterEvent::Taken(element, info) => {
                let element = element.map_or("?".to_string(), |id| id.to_string());
                format!("element {element} ({info}) takes the work")
            }
            SubmitterEvent::Environment { needed: true } => "the environment is uploaded".into(),
            SubmitterEvent::Environment { needed: false } => "the environment is there already".into(),
            SubmitterEvent::Working => "the program runs".into(),
            SubmitterEvent::Ended(code) => format!("the program ended with status {code}"),
        };
        if self.verbose {
            say(format!("{now} {line}"));
        }
        Ok(Turn::On)
    }
}
