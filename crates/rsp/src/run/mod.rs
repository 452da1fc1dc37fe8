//! `rsp run`, `rsp resume`, `rsp retry`: commands as tasks on a pool, in a job that outlives its client.
//!
//! ```text
//!   values (arguments, stdin) --input thread--> DurableJob (node's thread) --> disk's thread --> main thread --> stdout
//!                                  ^ waits while the job is full        ^------ stored -----'        |       stderr
//!                                  '---------------- room -------------------------------------------'
//! ```
//!
//! A result is printed after it is in the journal. How many are printed is in the journal, too, a little later: so every
//! result is printed at least once over all lives, and a client that is killed may print some twice.

mod clerk;
mod desk;
mod files;
mod input;
mod landing;
mod print;
mod private;
mod start;

use crate::address::Choice;
use crate::cli::RunArgs;
use crate::client;
use crate::exit::{Code, Failure};
use crate::jobs::book::Book;
use crate::jobs::disk;
use crate::jobs::folder::Fixed;
use crate::jobs::queue;
use crate::jobs::status::Status as Present;
use crate::process::{self, cannot_bind};
use crate::template::{self, Template};
use clerk::{Clerk, Word};
use desk::Desk;
pub use desk::{LOST, late};
use files::Files;
use input::{Input, Recipe, Rest};
use landing::Landing;
pub use print::{Finished, document};
use private::Private;
use rserpool_compute::JobId;
use rserpool_compute::durable::{DurableJob, Event};
use rserpool_compute::job::{self, Backups, Config};
use rserpool_compute::journal::Entry;
use rserpool_net::Handle;
use start::Start;
pub use start::{arguments, has_sources, resume, retry};
use std::ffi::OsString;
use std::sync::mpsc::{self, SyncSender};

/// What the main thread hears.
pub enum Heard {
    /// The job, in order.
    Events(Vec<Event>),
    /// The job's thread ended.
    Ended,
    /// A signal: stop for now.
    Interrupted,
    /// A signal: cancel the job.
    CancelAsked,
    /// The input thread: tasks are made of these values.
    Submitted(Vec<(u64, Vec<OsString>)>),
    /// The input thread: an end of a former life that was not printed, its place among all, and the task's values.
    Former(u64, Vec<OsString>, Box<Entry>),
    /// The input thread: all tasks are submitted; `Err`: it had to stop.
    InputEnded(Result<u64, Failure>),
}

/// Runs the tasks; what it returns is the exit code.
pub fn run(args: &RunArgs) -> Result<Code, Failure> {
    let (command, _) = template::split(args.words.clone());
    if command.is_empty() {
        return Err(Failure::new(Code::Usage, "there is no command before ':::'; see rsp run --help"));
    }
    work(args, Rest::Values, None, |fixed| Start::new(args, &command[0], fixed))
}

/// What makes argument lists of values.
pub fn template_of(args: &RunArgs) -> Template {
    let (command, sources) = template::split(args.words.clone());
    let each = (!args.each.is_empty()).then_some(sources.len());
    // Values of standard input are one source.
    Template::new(&command, (sources.len() + args.each.len()).max(1)).with_each(each)
}

/// Works on a job, with values from there. `former`: what it had before. `start` is asked how it begins when it is known
/// that there is a pool, and told what the job goes on with in every life.
fn work(
    args: &RunArgs,
    rest: Rest,
    former: Option<&Book>,
    start: impl FnOnce(&Fixed) -> Result<Start, Failure>,
) -> Result<Code, Failure> {
    let (_, mut sources) = template::split(args.words.clone());
    let mut choice = Choice::of(&args.registrars)?;
    let needs = args.limits.needs().map_err(|why| Failure::new(Code::Usage, why))?;
    let files = Files::prepare(args, &mut sources, rest == Rest::Values, former)?;
    let private = private::pool(args, &mut choice)?;
    // The journal is laid out while the workers start.
    let start = start(&files.fixed(&sources))?;
    let private = private.map(Private::wait).transpose()?;

    let net = client::sockets(&args.registrars, &choice)?;
    let mut random = process::random();
    let job_id = match &start.former {
        Some(former) => former.book.job,
        None => JobId(std::array::from_fn(|_| random.next_u64() as u8)),
    };
    let config = Config {
        paced: true,
        needs,
        retries: args.limits.retries,
        backups: if args.limits.backups == "idempotent" { Backups::Always } else { Backups::Never },
        ..Config::new(client::user(&args.registrars, &choice), args.pool, job_id)
    };
    let (teller, listener) = queue::queue();
    let (about, now, recorded) = (start.about.emit(), process::wall_millis(), start.name.is_some());
    let begun = start.former.as_ref().map(|former| {
        let book = &former.book;
        (book.state.clone(), book.writer.clone(), start.outputs_length)
    });
    let make = move |_: &rserpool_net::Bound| {
        let job = match begun {
            None if !recorded => DurableJob::unrecorded(config, random),
            None => DurableJob::begin(config, &about, now, random),
            Some((state, writer, outputs)) => DurableJob::resume(config, state, writer, outputs, now, random),
        };
        (job, teller)
    };
    let running = rserpool_net::spawn("job", net, make).map_err(|error| cannot_bind(&error))?;

    let (hear, heard) = mpsc::sync_channel(64);
    let (events_to, handle, store) = (hear.clone(), running.handle.clone(), start.disk);
    spawn("disk", move || {
        disk::run(store, &listener, &handle, &events_to);
        let _ = events_to.send(Heard::Ended);
    })?;
    let interrupt = hear.clone();
    crate::signals::on_interrupt(move || {
        let _ = interrupt.send(Heard::Interrupted);
    })?;
    let cancel = hear.clone();
    crate::signals::on_cancel(move || {
        let _ = cancel.send(Heard::CancelAsked);
    })?;
    // Tasks with files of their own have folders of their own, too.
    let directory = private
        .as_ref()
        .filter(|_| !files.need_folder())
        .map(|_| std::env::current_dir())
        .transpose()
        .map_err(|cause| Failure::new(Code::Usage, format!("cannot tell the present folder: {cause}")))?;
    let (room, has_room) = mpsc::channel();
    let recipe = Recipe {
        template: template_of(args),
        directory,
        files: files.clone(),
        limits: args.limits.clone(),
        call: args.call,
    };
    let clerk = Clerk::begin(files.clone(), post(running.handle.clone()));
    let clerk =
        clerk.map_err(|cause| Failure::new(Code::Failed, format!("cannot start a thread: {cause}")))?;
    let landing = Landing::new(files, job_id);
    let mut desk =
        Desk::new(args, &choice, job_id, recipe.clone(), (&start.former, start.rest), landing, clerk);
    desk.name = start.name;
    desk.outputs = start.outputs;
    desk.present = start.status.map(Present::new);
    let input = Input {
        recipe,
        sources,
        nul: args.null,
        former: start.former,
        rest: start.rest,
        handle: running.handle.clone(),
        has_room,
        hear: hear.clone(),
    };
    spawn("input", move || input.run())?;
    start.unbegun.begun();
    drop(hear);

    let ended = desk.until_over(&heard, &room, &running.handle);
    desk.progress.clear();
    // Let what was said last (acknowledgements, cancellations) leave before the process does.
    let _ = running.handle.ask_blocking(|_, _| ());
    if let Some(folder) = &start.folder {
        match &ended {
            Ok(Code::Interrupted) => folder.ends(Some("it was interrupted")),
            Ok(_) => {}
            Err(failure) => folder.ends(Some(&format!("status {}: {failure}", failure.code as u8))),
        }
    }
    drop(private);
    drop(start.owner);
    ended
}

/// The way from the clerk to the job.
fn post(handle: Handle<DurableJob>) -> impl Fn(Word) + Send + 'static {
    move |word| {
        // A job that has ended wants to hear nothing more.
        let _ = handle.post_blocking(move |job, now| {
            let mut job = job.transfers();
            match word {
                Word::Provide(transfer, octets) => job.provide(now, transfer, octets),
                Word::CannotProvide(item, why) => job.cannot_provide(now, item, &why),
                Word::Kept(transfer, octets) => job.kept(now, transfer, octets),
                Word::Saved(transfer) => job.saved(now, transfer),
                Word::CannotSave(transfer) => job.cannot_save(now, transfer),
            }
        });
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    match std::thread::Builder::new().name(name.into()).spawn(body) {
        Ok(_) => Ok(()),
        Err(cause) => Err(Failure::new(Code::Failed, format!("cannot start a thread: {cause}"))),
    }
}

/// The way from other threads of the run to the main thread.
pub type Hear = SyncSender<Heard>;

/// What the job's thread says when it does not take a task.
pub(crate) type Refused = job::SubmitError;
