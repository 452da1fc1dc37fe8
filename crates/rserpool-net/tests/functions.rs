//! Functions on a pool: everything a program sees of [`rserpool_net::pool`], over real sockets of this machine.

use futures_core::Stream;
use rserpool_net::pool::{Call, Error, Failure, Function, Pool, Problem, Registrar, Serving, Worker};
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Squares; refuses 13, panics at 666.
struct Square;

impl Function for Square {
    const NAME: &'static str = "square";
    type Input = u64;
    type Output = u64;
    type Progress = ();

    fn call(&self, number: u64, _: &mut Call<'_, ()>) -> Result<u64, Problem> {
        match number {
            13 => Err("unlucky".into()),
            666 => panic!("the number of the beast"),
            number => Ok(number * number),
        }
    }
}

fn registrar() -> Registrar {
    Registrar::start("127.0.0.1:0").expect("a port is free")
}

fn worker<F: Function>(registrar: &Registrar, function: F) -> Serving {
    let worker = Worker::new("functions").registrar(registrar.address()).slots(2).function(function);
    worker.start().expect("admitted")
}

fn pool(registrar: &Registrar) -> Pool {
    Pool::connect(registrar.address(), "functions").expect("the registrar answers")
}

#[test]
fn every_input_has_its_output_once_whichever_worker_computes_it() {
    let registrar = registrar();
    let _workers = [worker(&registrar, Square), worker(&registrar, Square)];
    let mut places = BTreeSet::new();
    for result in pool(&registrar).map::<Square>(1000..3000) {
        assert_eq!(result.output, Ok((1000 + result.place).pow(2)));
        assert!(result.worker.is_some() && result.attempts >= 1);
        assert!(places.insert(result.place), "{} came twice", result.place);
    }
    assert_eq!(places, (0..2000).collect());
    assert_eq!(pool(&registrar).map::<Square>([3, 1, 2]).in_order(), Ok(vec![9, 1, 4]));
    assert_eq!(pool(&registrar).map::<Square>([]).in_order(), Ok(vec![]));
}

#[test]
fn what_goes_wrong_in_a_function_is_told_and_not_tried_again() {
    let registrar = registrar();
    let _worker = worker(&registrar, Square);
    let mut results: Vec<_> = pool(&registrar).map::<Square>([12, 13, 666]).collect();
    results.sort_by_key(|result| result.place);
    let told: Vec<_> = results.iter().map(|result| (result.attempts, result.output.clone())).collect();
    let function = |why: &str| Err(Failure::Function(why.into()));
    let panicked = function("the function panicked: the number of the beast");
    assert_eq!(told, [(1, Ok(144)), (1, function("unlucky")), (1, panicked)]);
}

/// As [`Square`] by name, but of other types.
struct Impostor;

impl Function for Impostor {
    const NAME: &'static str = "square";
    type Input = (String, String);
    type Output = (String, String);
    type Progress = ();

    fn call(&self, input: (String, String), _: &mut Call<'_, ()>) -> Result<(String, String), Problem> {
        Ok(input)
    }
}

/// Nobody has it.
struct Unheard;

impl Function for Unheard {
    const NAME: &'static str = "unheard of";
    type Input = Vec<u8>;
    type Output = ();
    type Progress = ();

    fn call(&self, _: Vec<u8>, _: &mut Call<'_, ()>) -> Result<(), Problem> {
        Ok(())
    }
}

#[test]
fn a_function_nobody_has_and_values_of_other_types_are_told_apart() {
    let registrar = registrar();
    let _worker = worker(&registrar, Square);
    let failure = pool(&registrar).map::<Unheard>([vec![1]]).in_order().unwrap_err();
    assert!(
        matches!(&failure, Failure::GivenUp(why) if why.ends_with("has no function 'unheard of'; it has: square")),
        "{failure}"
    );
    let failure = pool(&registrar).map::<Impostor>([("a".into(), "b".into())]).in_order().unwrap_err();
    assert!(matches!(&failure, Failure::Function(why) if why.starts_with("the input is not")), "{failure}");
    let failure = pool(&registrar).map::<Unheard>([vec![0; 1 << 20]]).in_order().unwrap_err();
    assert!(matches!(failure, Failure::Input(_)), "{failure}");
}

/// Counts to its input, saving each step. At the first worker it stops at 7 and says so.
struct Count {
    reached: Mutex<Option<Sender<()>>>,
    began: Sender<Option<u64>>,
}

impl Function for Count {
    const NAME: &'static str = "count";
    const PURE: bool = false;
    type Input = u64;
    type Output = u64;
    type Progress = u64;

    fn call(&self, end: u64, call: &mut Call<'_, u64>) -> Result<u64, Problem> {
        let saved = call.saved();
        let _ = self.began.send(saved);
        for step in saved.unwrap_or(0)..end {
            assert!(call.save(&(step + 1)));
            if step + 1 == 7
                && let Some(reached) = self.reached.lock().expect("nobody panics").take()
            {
                let _ = reached.send(());
                while !call.is_cancelled() {
                    std::thread::yield_now();
                }
                return Err("cancelled".into());
            }
        }
        Ok(end)
    }
}

#[test]
fn a_call_goes_on_where_the_worker_that_left_had_saved_it() {
    let registrar = registrar();
    let (began, begins) = mpsc::channel();
    let (reached, is_reached) = mpsc::channel();
    let first = worker(&registrar, Count { reached: Mutex::new(Some(reached)), began: began.clone() });
    let results = pool(&registrar).map::<Count>([20]);
    is_reached.recv().expect("the first worker counts to 7");
    assert_eq!(begins.recv(), Ok(None));
    let _second = worker(&registrar, Count { reached: Mutex::new(None), began });
    // The word travels ten times a second; nobody can know when it has arrived, but leaving takes no shorter.
    first.leave(Duration::from_millis(500));
    assert_eq!(results.in_order(), Ok(vec![20]));
    assert_eq!(begins.recv(), Ok(Some(7)));
}

#[test]
fn without_workers_a_job_ends_with_its_patience() {
    let registrar = registrar();
    let pool = pool(&registrar).patience(Duration::from_millis(300));
    let outputs: Vec<_> = pool.map::<Square>([1, 2]).map(|result| result.output).collect();
    let why = format!("nobody serves in the pool (registrar {})", registrar.address());
    assert_eq!(outputs, [Err(Failure::NoWorkers(why.clone())), Err(Failure::NoWorkers(why))]);
}

#[test]
fn a_registrar_that_is_not_there_and_names_that_are_none_are_told_at_once() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port");
    let error = Pool::connect(free.to_string(), "functions").unwrap_err();
    assert_eq!(error.to_string(), format!("no registrar answers at {free}; start one with `rsp registrar`"));
    let registrar = registrar();
    assert!(matches!(Pool::connect(registrar.address(), ""), Err(Error::Handle(_))));
    assert!(matches!(Worker::new("p").registrar(registrar.address()).start(), Err(Error::NoFunction)));
    let lonely = Worker::new("p").registrar(free.to_string()).function(Square);
    let refused = lonely.patience(Duration::from_millis(300)).start();
    assert!(matches!(refused, Err(Error::NoRegistrar { .. })));
}

/// Never ends by itself; tells when it began and when it was told that nobody waits any more.
struct Endless(Sender<&'static str>);

impl Function for Endless {
    const NAME: &'static str = "endless";
    type Input = ();
    type Output = ();
    type Progress = ();

    fn call(&self, _: (), call: &mut Call<'_, ()>) -> Result<(), Problem> {
        let _ = self.0.send("began");
        while !call.is_cancelled() {
            std::thread::yield_now();
        }
        let _ = self.0.send("cancelled");
        Ok(())
    }
}

#[test]
fn whoever_drops_the_results_cancels_the_job() {
    let registrar = registrar();
    let (told, hears): (_, Receiver<_>) = mpsc::channel();
    let _worker = worker(&registrar, Endless(told));
    let results = pool(&registrar).map::<Endless>([()]);
    assert_eq!(hears.recv(), Ok("began"));
    drop(results);
    assert_eq!(hears.recv(), Ok("cancelled"));
}

#[test]
fn results_are_a_stream_too_and_inputs_are_taken_as_there_is_room() {
    let registrar = registrar();
    let _worker = worker(&registrar, Square);
    let taken = Arc::new(Mutex::new(0_u64));
    let count = taken.clone();
    let inputs = (0..150_000).inspect(move |_| {
        *count.lock().expect("nobody panics") += 1;
    });
    let mut results = pool(&registrar).map::<Square>(inputs);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let sum = runtime.block_on(async {
        let first = poll_fn(|cx| Pin::new(&mut results).poll_next(cx)).await.expect("there are some");
        // 100,000 tasks at a time, and results that nobody takes hold up the rest.
        assert!(*taken.lock().expect("nobody panics") < 150_000);
        let mut sum = first.output.unwrap_or_default();
        let mut left = 149_999;
        while let Some(result) = poll_fn(|cx| Pin::new(&mut results).poll_next(cx)).await {
            sum += result.output.unwrap_or_default();
            left -= 1;
        }
        assert_eq!(left, 0);
        sum
    });
    // Without 13² and 666².
    let all: u64 = (0..150_000_u64).map(|number| number * number).sum();
    assert_eq!(sum, all - 13 * 13 - 666 * 666);
}
