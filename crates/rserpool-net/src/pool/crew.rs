//! The threads of a worker, one per slot, and what a function is called with.

use super::{FAILED, Function, JSON, Problem, decode};
use rserpool_compute::service::{Fact, RunId, Wish};
use rserpool_compute::{Status, Stream, Work};
use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The largest portion of output told at a time.
const PORTION: usize = 64 * 1024;

/// One call of a function, as the function sees it.
pub struct Call<'a, P> {
    inner: Inner<'a>,
    progress: PhantomData<fn(P)>,
}

/// What a call is, whatever its function.
pub(super) struct Inner<'a> {
    run: RunId,
    checkpoint: Option<Vec<u8>>,
    crew: &'a Shared,
}

impl<P: serde::Serialize + serde::de::DeserializeOwned> Call<'_, P> {
    /// How far another worker had come with this input before it was lost; `None`: begin at the beginning.
    pub fn saved(&mut self) -> Option<P> {
        decode(self.inner.checkpoint.as_deref()?).ok()
    }

    /// Leaves word how far this call is, so that another worker can go on here. Word is passed on ten times a second
    /// at most; the latest counts. False if it has more than 4,096 octets: then the word before stays.
    pub fn save(&mut self, progress: &P) -> bool {
        match postcard::to_allocvec(progress) {
            // Without an octet there is nothing to go on from.
            Ok(state) if state.is_empty() => true,
            Ok(state) if state.len() <= rserpool_compute::cookie::STATE_MAX => {
                (self.inner.crew.tell)(vec![Fact::Checkpoint { run: self.inner.run, state }]);
                true
            }
            _ => false,
        }
    }

    /// True if nobody waits for the output any more: the job was cancelled, or another worker was faster. A function
    /// that takes long asks now and then, and returns anything.
    pub fn is_cancelled(&self) -> bool {
        lock(&self.inner.crew.running).get(&self.inner.run).is_some_and(|killed| *killed)
    }
}

/// Tells the service facts; false if the node is gone.
pub(super) type Tell = Arc<dyn Fn(Vec<Fact>) -> bool + Send + Sync>;

/// In which form values travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Postcard,
    Json,
}

/// A function without its types: from octets to octets, or to a text that says what went wrong.
pub(super) type Erased = Arc<dyn Fn(Form, &[u8], Inner<'_>) -> Result<Vec<u8>, String> + Send + Sync>;

pub(super) fn erased<F: Function>(function: F) -> Erased {
    Arc::new(move |form, input, inner| {
        let input = match form {
            Form::Postcard => decode(input).map_err(|error| error.to_string()),
            Form::Json => serde_json::from_slice(input).map_err(|error| error.to_string()),
        };
        let input = input.map_err(|error| {
            format!("the input is not what function '{}' of this worker takes: {error}", F::NAME)
        })?;
        let mut call = Call { inner, progress: PhantomData };
        let output = catch_unwind(AssertUnwindSafe(|| function.call(input, &mut call)));
        let output = output.unwrap_or_else(|panic| Err(told(&*panic)));
        let output = output.map_err(|problem| problem.to_string())?;
        let output = match form {
            Form::Postcard => postcard::to_allocvec(&output).map_err(|error| error.to_string()),
            Form::Json => serde_json::to_string(&output)
                .map(|text| format!("{text}\n").into_bytes())
                .map_err(|error| error.to_string()),
        };
        output.map_err(|error| format!("the output cannot be encoded: {error}"))
    })
}

fn told(panic: &(dyn Any + Send)) -> Problem {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the function panicked: {}", text.unwrap_or("it did not say why")).into()
}

struct Asked {
    run: RunId,
    function: String,
    input: Vec<u8>,
    checkpoint: Option<Vec<u8>>,
}

struct Shared {
    functions: BTreeMap<&'static str, Erased>,
    tell: Tell,
    /// Runs under way, and whether they were killed.
    running: Mutex<BTreeMap<RunId, bool>>,
}

/// The way to the threads. Dropped, they end after what they have begun.
pub(super) struct Crew {
    asked: Sender<Asked>,
    shared: Arc<Shared>,
}

impl Crew {
    /// Starts the threads.
    pub fn start(slots: u32, functions: BTreeMap<&'static str, Erased>, tell: Tell) -> io::Result<Self> {
        let (asked, next) = mpsc::channel();
        let next = Arc::new(Mutex::new(next));
        let shared = Arc::new(Shared { functions, tell, running: Mutex::default() });
        for number in 0..slots {
            let (next, shared) = (next.clone(), shared.clone());
            let body = move || serve(&next, &shared);
            std::thread::Builder::new().name(format!("call {number}")).spawn(body)?;
        }
        Ok(Self { asked, shared })
    }

    /// Carries out a wish of the service: in the node's thread, so it only queues.
    pub fn obey(&self, wish: Wish) {
        match wish {
            Wish::Start { run, work: Work::Call { function, input }, checkpoint, .. } => {
                lock(&self.shared.running).insert(run, false);
                // The threads live as long as this way to them.
                let _ = self.asked.send(Asked { run, function, input, checkpoint });
            }
            Wish::Start { run, .. } => self.end(run, "this worker calls functions and runs nothing else"),
            Wish::Kill { run } => {
                if let Some(killed) = lock(&self.shared.running).get_mut(&run) {
                    *killed = true;
                }
            }
            // Output is told whole, at the end; and whoever drains is watched by its application.
            _ => {}
        }
    }

    /// Tells every function that nobody waits for its output any more.
    pub fn give_up(&self) {
        lock(&self.shared.running).values_mut().for_each(|killed| *killed = true);
    }

    /// Ends a run that cannot begin. The node cannot be told in its own thread, which is where this is called.
    fn end(&self, run: RunId, why: &'static str) {
        let tell = self.shared.tell.clone();
        std::thread::spawn(move || {
            tell(vec![Fact::Ended { run, status: Status::CouldNotStart(why.into()) }])
        });
    }
}

fn serve(next: &Mutex<Receiver<Asked>>, shared: &Shared) {
    loop {
        let asked = lock(next).recv();
        let Ok(Asked { run, function, input, checkpoint }) = asked else { return };
        let mut facts = Vec::new();
        let (name, form) = match function.strip_suffix(JSON) {
            Some(name) => (name, Form::Json),
            None => (function.as_str(), Form::Postcard),
        };
        let status = match shared.functions.get(name) {
            None => {
                let names = shared.functions.keys().copied().collect::<Vec<_>>().join(", ");
                Status::CouldNotStart(format!("this worker has no function '{name}'; it has: {names}"))
            }
            Some(_) if lock(&shared.running).get(&run) == Some(&true) => Status::Cancelled,
            Some(called) => {
                let (stream, octets, status) =
                    match called(form, &input, Inner { run, checkpoint, crew: shared }) {
                        Ok(output) => (Stream::OUTPUT, output, Status::Exited(0)),
                        Err(why) => (Stream::ERROR, why.into_bytes(), Status::Exited(FAILED)),
                    };
                let portions = octets.chunks(PORTION);
                facts.extend(portions.map(|octets| Fact::Output { run, stream, octets: octets.to_vec() }));
                status
            }
        };
        lock(&shared.running).remove(&run);
        facts.push(Fact::Ended { run, status });
        if !(shared.tell)(facts) {
            return;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The values stay whole whatever a panicking thread did: nothing is changed in several steps.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
