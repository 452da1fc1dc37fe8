//! `rsp demo`: a picture computed through a pool whose parts die meanwhile, and the proof that nothing was lost.

mod faults;
mod image;
mod pool;

use crate::address::{Choice, Target};
use crate::ask::Answer;
use crate::cli::{DemoArgs, Registrars};
use crate::client;
use crate::exit::{Code, Failure};
use crate::process::{self, cannot_bind, say};
use crate::progress::Progress;
use faults::{Faults, Next};
use pool::Pool;
use rserpool::{ElementId, PoolHandle};
use rserpool_compute::fractal::{Picture, Rect, Scene};
use rserpool_compute::job::{Config, Counts, Event, Job};
use rserpool_compute::{Attempt, JobId, Stream, TaskId, Work};
use rserpool_net::{Handle, Running};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Sides of a tile, in pixels: small enough that a lost one is soon repeated, large enough to hide the way to a worker.
const TILE: u32 = 128;

/// The fewest tiles that leave something to do between the moments of the story.
const TILES_MIN: usize = 20;

/// How long the job may stand still before the demo gives up: far more than any fail-over takes.
const STILL_MAX: Duration = Duration::from_secs(60);

/// How long the demo waits at the end for the late result of the continued worker.
const LATE_MAX: Duration = Duration::from_secs(20);

/// How often another client is tried to get one whose registrar is a worker's home, too.
const CLIENTS_MAX: usize = 20;

enum Heard {
    Event(Event),
    Interrupted,
}

/// Runs the demo.
pub fn run(args: &DemoArgs) -> Result<Code, Failure> {
    let scene = scene(args)?;
    let target = image::Target::prepare(&args.out)?;
    let (hear, heard) = mpsc::sync_channel(4096);
    let interrupt = hear.clone();
    crate::signals::on_interrupt(move || {
        let _ = interrupt.send(Heard::Interrupted);
    })?;

    let tiles: Vec<Rect> = scene.tiles(TILE, TILE).collect();
    if !args.calm && tiles.len() < TILES_MIN {
        let message = format!(
            "{} tiles are too few for a story by progress, which needs {TILES_MIN}: choose a larger --size, or --calm",
            tiles.len()
        );
        return Err(Failure::new(Code::Usage, message));
    }
    let pool = Pool::start(args.profile)?;
    say(format!(
        "2 registrars and {} workers are up; {}x{} pixels in {} tiles",
        pool.workers().count(),
        scene.width,
        scene.height,
        tiles.len()
    ));
    let registrars = Registrars { profile: args.profile, ..Registrars::default() };
    let targets = pool.registrars().into_iter().map(|at| Target { at, protocol: None }).collect();
    let choice = Choice { targets, named: true };
    let works: Vec<Work> = tiles.iter().map(|&rect| Work::Tile { scene: scene.clone(), rect }).collect();
    let (running, spared) = client(&registrars, &choice, &pool, &works, &hear, &heard)?;

    let mut demo = Demo::new(args, &scene, &tiles, &pool, &choice, &registrars, spared);
    let ended = demo.until_over(&heard, &running.handle);
    demo.progress.clear();
    let counts = ended?;
    // If the story did not come to its end, that is what there is to tell.
    let survivors = if args.calm || !demo.faults.is_over() { None } else { Some(demo.survivors()?) };
    let through_pool = demo.begun.elapsed();
    let workers = running.handle.ask_blocking(|job, _| job.workers().clone()).unwrap_or_default();
    let (picture, faults) = (demo.picture, demo.faults);
    drop(pool);

    say("computing the same picture in this process, without a pool …");
    let alone = Instant::now();
    let expected = image::png(&image::without_a_pool(&scene, &tiles))?;
    let alone = alone.elapsed();
    let octets = image::png(&picture)?;
    let is_identical = octets == expected;
    target.write(&octets)?;

    println!("{:<10} {:>6}  fate", "worker", "tiles");
    for (worker, its) in &workers {
        println!("{worker:<10} {:>6}  {}", its.accepted, faults.fate(*worker));
    }
    println!();
    println!("tiles accepted          {:>8} of {}", counts.accepted, tiles.len());
    println!("tasks lost              {:>8}", tiles.len() as u64 - counts.accepted);
    println!("fail-overs              {:>8}", counts.failovers);
    println!("late results discarded  {:>8}", counts.late);
    println!("time through the pool   {:>8.2} s", through_pool.as_secs_f64());
    println!("time without a pool     {:>8.2} s", alone.as_secs_f64());
    let verdict = if is_identical { "identical, octet by octet, to" } else { "DIFFERENT from" };
    println!("{} is {verdict} the picture computed without a pool", args.out.display());
    if let Some(survivors) = survivors {
        println!("the surviving registrar knows the {survivors} living workers, and nobody else");
    }

    let mut complaints = if args.calm { Vec::new() } else { faults.complaints() };
    if !is_identical {
        complaints.push("the pictures differ".into());
    }
    if counts.accepted != tiles.len() as u64 {
        complaints.push("tiles were lost".into());
    }
    if complaints.is_empty() {
        return Ok(Code::Done);
    }
    Err(Failure::new(
        Code::Failed,
        format!("the demo did not show what it should: {}", complaints.join("; ")),
    ))
}

/// The scene of the command line.
fn scene(args: &DemoArgs) -> Result<Scene, Failure> {
    let mut scene = match &args.scene {
        None => Scene::default(),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|cause| {
                Failure::new(Code::Usage, format!("cannot read --scene {}: {cause}", path.display()))
            })?;
            text.parse().map_err(|error| {
                Failure::new(Code::Usage, format!("--scene {}: {error}; see docs/scene.md", path.display()))
            })?
        }
    };
    if let Some(size) = &args.size {
        let sides = size
            .split_once('x')
            .and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
        let Some((width, height)) = sides else {
            return Err(Failure::new(
                Code::Usage,
                format!("--size {size}: give WIDTHxHEIGHT, such as 1280x720"),
            ));
        };
        (scene.width, scene.height) = (width, height);
        scene.check().map_err(|why| Failure::new(Code::Usage, format!("--size {size}: {why}")))?;
    }
    Ok(scene)
}

/// Starts the client with all tiles. Which registrar it asks is chance, as for the workers; for the story it has to be
/// one that is the home of a worker, too, so another client is tried if it is not. That worker is spared.
fn client(
    registrars: &Registrars,
    choice: &Choice,
    pool: &Pool,
    works: &[Work],
    hear: &mpsc::SyncSender<Heard>,
    heard: &Receiver<Heard>,
) -> Result<(Running<Job>, ElementId), Failure> {
    for _ in 0..CLIENTS_MAX {
        let running = start(registrars, choice, works, hear)?;
        loop {
            match heard.recv_timeout(STILL_MAX) {
                Ok(Heard::Event(Event::WorkerJoined { .. })) => break,
                Ok(Heard::Event(_)) => {}
                Ok(Heard::Interrupted) => return Err(Failure::new(Code::Interrupted, "interrupted")),
                Err(_) => return Err(Failure::new(Code::Failed, "no worker joins the job")),
            }
        }
        if let Some(at) = home(&running.handle)
            && let Some(&spared) = homed_at(registrars, choice, pool, at)?.first()
        {
            return Ok((running, spared));
        }
        running.stop();
        while heard.try_recv().is_ok() {}
    }
    Err(Failure::new(Code::Failed, "no client found a registrar that is the home of a worker"))
}

/// Starts a job in which task N computes tile N - 1.
fn start(
    registrars: &Registrars,
    choice: &Choice,
    works: &[Work],
    hear: &mpsc::SyncSender<Heard>,
) -> Result<Running<Job>, Failure> {
    let mut random = process::random();
    let job_id = JobId(std::array::from_fn(|_| random.next_u64() as u8));
    let handle = PoolHandle::new(pool::NAME).expect("a short name");
    // However slow the machine is, the continued worker shall find somebody who hears that it is late.
    let late_patience = Duration::from_secs(3600);
    let config = Config { late_patience, ..Config::new(client::user(registrars, choice), handle, job_id) };
    let (events, mut told) = rserpool_net::events(1024);
    let make = move |_: &rserpool_net::Bound| (Job::new(config, random), events);
    let net = client::sockets(registrars, choice)?;
    let running = rserpool_net::spawn("job", net, make).map_err(|error| cannot_bind(&error))?;
    let hear = hear.clone();
    std::thread::spawn(move || {
        while let Some((_, event)) = told.blocking_recv() {
            if hear.send(Heard::Event(event)).is_err() {
                return;
            }
        }
    });
    let (works, count) = (works.to_vec(), works.len());
    let submit = move |job: &mut Job, now| {
        works.iter().zip(1..).try_for_each(|(work, task)| job.submit(now, TaskId(task), work))
    };
    match running.handle.ask_blocking(submit) {
        Ok(Ok(())) => Ok(running),
        Ok(Err(error)) => {
            let message = format!("{count} tiles cannot be submitted: {error}; choose a smaller --size");
            Err(Failure::new(Code::Usage, message))
        }
        Err(_) => Err(Failure::new(Code::Failed, "the job's thread ended; this is a bug")),
    }
}

/// Where the registrar is that the client asks.
fn home(handle: &Handle<Job>) -> Option<SocketAddr> {
    handle.ask_blocking(|job, _| job.registrar().and_then(|at| at.socket_addresses().next())).ok().flatten()
}

/// The workers whose home is the registrar at this address, as itself says.
fn homed_at(
    registrars: &Registrars,
    choice: &Choice,
    pool: &Pool,
    at: SocketAddr,
) -> Result<Vec<ElementId>, Failure> {
    let only = Choice { targets: vec![Target { at, protocol: None }], named: true };
    let handle = PoolHandle::new(pool::NAME).expect("a short name");
    match crate::pool::ask(registrars, &only, Some(handle))? {
        Answer::Listing(listing) => {
            let id = pool.registrar_at(at);
            let elements = listing.pools.iter().flat_map(|(_, elements)| elements);
            Ok(elements.filter(|element| Some(element.home) == id).map(|element| element.id).collect())
        }
        _ => Err(client::no_registrar(choice)),
    }
}

struct Demo<'a> {
    args: &'a DemoArgs,
    tiles: &'a [Rect],
    pool: &'a Pool,
    choice: &'a Choice,
    registrars: &'a Registrars,
    /// A worker whose home is the client's: neither killed nor stopped, so that it loses its registrar.
    spared: ElementId,
    picture: Picture,
    /// What attempts put out so far.
    colours: BTreeMap<Attempt, Vec<u8>>,
    accepted: u64,
    faults: Faults,
    begun: Instant,
    progress: Progress,
}

impl<'a> Demo<'a> {
    fn new(
        args: &'a DemoArgs,
        scene: &'a Scene,
        tiles: &'a [Rect],
        pool: &'a Pool,
        choice: &'a Choice,
        registrars: &'a Registrars,
        spared: ElementId,
    ) -> Self {
        let mut progress = Progress::new("tiles");
        progress.total(tiles.len() as u64);
        Self {
            args,
            tiles,
            pool,
            choice,
            registrars,
            spared,
            picture: Picture::of(scene),
            colours: BTreeMap::new(),
            accepted: 0,
            faults: Faults::default(),
            begun: Instant::now(),
            progress,
        }
    }

    fn percent(&self) -> u64 {
        self.accepted * 100 / self.tiles.len() as u64
    }

    fn until_over(&mut self, heard: &Receiver<Heard>, handle: &Handle<Job>) -> Result<Counts, Failure> {
        let mut is_told = false;
        let mut all_accepted = None;
        loop {
            let all = self.accepted == self.tiles.len() as u64;
            if all && all_accepted.is_none() {
                all_accepted = Some(Instant::now());
            }
            let late_is_over = all_accepted.is_some_and(|since| since.elapsed() > LATE_MAX);
            if all && !is_told && (self.args.calm || self.faults.is_over() || late_is_over) {
                is_told = true;
                let _ = handle.post_blocking(|job, now| job.finish(now));
            }
            let patience = if all { Duration::from_secs(1) } else { STILL_MAX };
            match heard.recv_timeout(patience) {
                Ok(Heard::Event(Event::Finished(counts))) => return Ok(counts),
                Ok(Heard::Event(event)) => self.hear(event, handle)?,
                Ok(Heard::Interrupted) => {
                    let done = self.accepted;
                    return Err(Failure::new(Code::Interrupted, format!("interrupted after {done} tiles")));
                }
                Err(RecvTimeoutError::Timeout) if all => self.proceed(None, handle)?,
                Err(RecvTimeoutError::Timeout) => {
                    let (done, of) = (self.accepted, self.tiles.len());
                    let message = format!("nothing happened for {STILL_MAX:?} after {done} of {of} tiles");
                    return Err(Failure::new(Code::Failed, message));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::new(Code::Failed, "the job's thread ended; this is a bug"));
                }
            }
        }
    }

    fn hear(&mut self, event: Event, handle: &Handle<Job>) -> Result<(), Failure> {
        match event {
            Event::Started { worker, .. } => self.proceed(Some(worker), handle)?,
            Event::Chunk { attempt, stream: Stream::OUTPUT, octets } => {
                self.colours.entry(attempt).or_default().extend(octets);
            }
            Event::Continued { attempt, of, octets } => {
                let before = Attempt { number: of, ..attempt };
                let mut colours = self.colours.remove(&before).unwrap_or_default();
                colours.truncate(usize::try_from(octets).unwrap_or(usize::MAX));
                self.colours.insert(attempt, colours);
            }
            Event::Dropped { attempt } => drop(self.colours.remove(&attempt)),
            Event::Accepted { attempt, status, .. } => {
                let colours = self.colours.remove(&attempt).unwrap_or_default();
                let tile = &self.tiles[attempt.task.0 as usize - 1];
                if !status.is_success() {
                    return Err(Failure::new(Code::Failed, format!("tile {}: {status}", attempt.task)));
                }
                self.picture
                    .place(tile, &colours)
                    .map_err(|error| Failure::new(Code::Failed, format!("tile {}: {error}", attempt.task)))?;
                self.accepted += 1;
                self.progress.done(self.accepted);
                self.proceed(None, handle)?;
            }
            Event::Failed { task, cause } => {
                return Err(Failure::new(Code::Failed, format!("tile {task} was lost: {cause}")));
            }
            Event::WorkerLost { worker, cause, tasks } => {
                self.faults.noticed(worker, tasks);
                self.progress.say(&format!(
                    "{} lost worker {worker} ({cause:?}); its {tasks} unfinished tiles run elsewhere",
                    self.moment()
                ));
            }
            Event::Discarded { attempt, worker } => {
                self.faults.discarded(worker);
                self.progress.say(&format!(
                    "{} worker {worker} delivered tile {} too late: discarded",
                    self.moment(),
                    attempt.task
                ));
            }
            _ => {}
        }
        Ok(())
    }

    /// Does what the story wants next. `begun`: this worker has just begun a tile.
    fn proceed(&mut self, begun: Option<ElementId>, handle: &Handle<Job>) -> Result<(), Failure> {
        if self.args.calm {
            return Ok(());
        }
        let fresh = begun.filter(|worker| *worker != self.spared && !self.faults.has_hit(*worker));
        let done = match (self.faults.next(self.percent()), fresh) {
            (Next::Kill, Some(worker)) => self.faults.kill(self.pool, worker),
            (Next::Stop, Some(worker)) => self.faults.stop(self.pool, worker),
            (Next::KillRegistrar, _) => match home(handle) {
                Some(at) => {
                    let homed = homed_at(self.registrars, self.choice, self.pool, at)?;
                    let living = homed.into_iter().filter(|worker| !self.faults.has_hit(*worker)).count();
                    self.faults.kill_registrar(self.pool, at, living)
                }
                None => None, // between two registrars: the next tile brings us here again
            },
            (Next::Continue, _) => self.faults.resume(self.pool),
            _ => None,
        };
        if let Some(line) = done {
            self.progress.say(&format!("{} {line}", self.moment()));
        }
        Ok(())
    }

    /// The time since the start and the part of the tiles accepted: `  4.2 s  40 %`.
    fn moment(&self) -> String {
        format!("{:5.1} s {:3} %", self.begun.elapsed().as_secs_f64(), self.percent())
    }

    /// Waits until the surviving registrar knows the living workers and nobody else; how many they are.
    fn survivors(&self) -> Result<usize, Failure> {
        let survivor = self.pool.registrars().into_iter().find(|at| !self.faults.killed_registrar(*at));
        let Some(survivor) = survivor else {
            return Err(Failure::new(Code::Failed, "no registrar survived"));
        };
        let expected: Vec<ElementId> =
            self.pool.workers().filter(|worker| !self.faults.has_killed(*worker)).collect();
        let since = Instant::now();
        loop {
            let known = homed_at(self.registrars, self.choice, self.pool, survivor)?;
            if known == expected {
                return Ok(known.len());
            }
            if since.elapsed() > LATE_MAX {
                let message = format!("the surviving registrar knows {known:?} instead of {expected:?}");
                return Err(Failure::new(Code::Failed, message));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
