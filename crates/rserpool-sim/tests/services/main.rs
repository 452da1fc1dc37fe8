//! The application services in the simulated world: the same code as on real machines, with elements that crash or hang
//! while they serve.

mod scene;

use rserpool::user::Event as User;
use rserpool::{Random, Time};
use rserpool_compute::application::calcapp::{self, Calculator, Customer, CustomerConfig, CustomerEvent};
use rserpool_compute::application::fractal::{
    self, Compute, Generator, Painter, PainterConfig, PainterEvent, PainterFact, Parameter, Points,
};
use rserpool_compute::application::pingpong::{self, PingPong, Pinger, PingerConfig, PingerEvent};
use rserpool_compute::application::plain::{
    self, Kind, Lines, LinesConfig, LinesEvent, LinesFact, Listen, ListenConfig, ListenEvent, Plain, TimeIs,
    WhatTime,
};
use rserpool_compute::application::scripting::{
    self, Fact, Host, Submitter, SubmitterConfig, SubmitterEvent, Trouble, Wish,
};
use scene::{Scene, World};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// Every scenario plays with these seeds.
const SEEDS: std::ops::Range<u64> = 0..10;

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn reply_numbers_go_on_when_the_element_crashes() {
    for seed in SEEDS {
        let service = |_| PingPong::new(pingpong::Config::default());
        let application = |handle| {
            Pinger::new(PingerConfig {
                handle,
                interval: Duration::from_millis(500),
                count: Some(20),
                patience: s(5),
                data: b"x".to_vec(),
            })
        };
        let mut scene = Scene::new(seed, 3, service, application, None);
        let replies = |scene: &Scene<PingPong, Pinger>| -> Vec<u64> {
            let reply = |(_, event): &(Time, PingerEvent)| match event {
                PingerEvent::Pong { reply, .. } => Some(*reply),
                _ => None,
            };
            scene.told.iter().filter_map(reply).collect()
        };
        for crashes in 1..=2 {
            scene.until("some answers", |scene| replies(scene).len() == crashes * 5);
            let number = scene.serving()[0];
            scene.crash(number);
        }
        scene.until("all answers", |scene| scene.told.iter().any(|(_, event)| *event == PingerEvent::Done));
        // The cookie of the last answer may have died with its element: then that number comes twice. None is left out.
        let replies = replies(&scene);
        let steps: Vec<u64> = replies.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(steps.iter().all(|step| *step <= 1), "seed {seed}: {replies:?}");
        assert!(steps.iter().filter(|step| **step == 0).count() <= 2, "seed {seed}: {replies:?}");
    }
}

#[test]
fn lines_are_echoed_once_each_though_elements_crash_and_hang() {
    for seed in SEEDS {
        let service = |_| Plain::new(plain::Config::new(Kind::Echo));
        let application = |handle| Lines::new(LinesConfig { handle, answered: true, patience: s(2) });
        let mut scene = Scene::new(seed, 3, service, application, None);
        let mut given = 0;
        let answers = |scene: &Scene<Plain, Lines>| -> Vec<Vec<u8>> {
            let answer = |(_, event): &(Time, LinesEvent)| match event {
                LinesEvent::Answer { bytes, expected } => Some((bytes.clone(), *expected)),
                _ => None,
            };
            let answers: Vec<_> = scene.told.iter().filter_map(answer).collect();
            assert!(answers.iter().all(|(_, expected)| *expected));
            answers.into_iter().map(|(bytes, _)| bytes).collect()
        };
        for trouble in 0..3 {
            for _ in 0..10 {
                let asked = move |scene: &Scene<Plain, Lines>| {
                    scene.told.iter().filter(|(_, event)| *event == LinesEvent::More).count() > given
                };
                scene.until("it wants a line", asked);
                scene.informs(LinesFact::Line(format!("line {given}\n").into_bytes()));
                given += 1;
            }
            // Right after the lines, so some are on their way.
            let number = scene.serving()[0];
            match trouble {
                0 => scene.crash(number),
                1 => scene.pause(number),
                _ => {}
            }
            scene.until("all are answered", |scene| answers(scene).len() == given);
        }
        scene.informs(LinesFact::End);
        scene.until("it ends", |scene| scene.told.iter().any(|(_, event)| *event == LinesEvent::Done));
        let expected: Vec<Vec<u8>> = (0..30).map(|number| format!("line {number}\n").into_bytes()).collect();
        assert_eq!(answers(&scene), expected, "seed {seed}");
    }
}

#[test]
fn who_asked_for_the_time_is_content_when_the_session_ends() {
    let clock: World<Plain> = Box::new(|_, WhatTime(session)| vec![(s(0), TimeIs(session, "noon\n".into()))]);
    let service = |_| Plain::new(plain::Config::new(Kind::Daytime));
    let application = |handle| Listen::new(ListenConfig { handle, once: true, patience: s(5) });
    let mut scene = Scene::new(1, 2, service, application, Some(clock));
    scene.until("it ends", |scene| scene.told.iter().any(|(_, event)| *event == ListenEvent::Done));
    scene.passes(s(5));
    let said: Vec<_> = scene.told.iter().filter(|(_, event)| matches!(event, ListenEvent::Said(_))).collect();
    assert_eq!(said.len(), 1, "nobody else is asked: {said:?}");
}

#[test]
fn characters_go_on_with_another_element() {
    let service = |_| Plain::new(plain::Config::new(Kind::CharGen));
    let application = |handle| Listen::new(ListenConfig { handle, once: false, patience: s(5) });
    let mut scene = Scene::new(1, 2, service, application, None);
    let heard = |scene: &Scene<Plain, Listen>| {
        scene.told.iter().filter(|(_, event)| matches!(event, ListenEvent::Said(_))).count()
    };
    scene.until("some have come", |scene| heard(scene) == 100);
    scene.crash(scene.serving()[0]);
    let before = heard(&scene);
    scene.until("more have come", |scene| heard(scene) >= before + 100);
}

fn customer(seed: u64, jobs: u64) -> impl FnOnce(rserpool::PoolHandle) -> Customer {
    move |handle| {
        let config = CustomerConfig {
            job_interval: s(1),
            job_size: 5_000_000,
            jobs: Some(jobs),
            ..CustomerConfig::new(handle)
        };
        Customer::new(config, Random::from_seed(seed))
    }
}

fn completed(scene: &Scene<Calculator, Customer>) -> impl Iterator<Item = &calcapp::JobRecord> {
    scene.told.iter().filter_map(|(_, event)| match event {
        CustomerEvent::Completed(job, _) => Some(job),
        _ => None,
    })
}

#[test]
fn a_job_goes_on_where_its_last_cookie_was() {
    for seed in SEEDS {
        for hangs in [false, true] {
            let service = |_| {
                let config = calcapp::Config {
                    cookie_interval: Duration::from_millis(200),
                    capacity: 1_000_000,
                    ..calcapp::Config::default()
                };
                Calculator::new(config, Random::from_seed(0))
            };
            let mut scene = Scene::new(seed, 2, service, customer(seed, 3), None);
            let at_work = |scene: &Scene<Calculator, Customer>| {
                let used = |number: &usize| scene.service(*number).usage().used;
                scene
                    .serving()
                    .iter()
                    .any(|number| scene.service(*number).usage().jobs > 0 && used(number) > 300_000)
            };
            scene.until("a job is well under way", at_work);
            let victim = scene.serving()[0];
            if hangs {
                scene.pause(victim)
            } else {
                scene.crash(victim)
            }
            scene.until("all are complete", |scene| completed(scene).count() == 3);
            let Some((_, CustomerEvent::Done(counts))) = scene.told.last() else { panic!("seed {seed}") };
            assert!(counts.cookie_echoes >= 1, "seed {seed}, hangs: {hangs}: {counts:?}");
            let usage = scene.service(1 - victim).usage();
            let sizes: u64 = completed(&scene).map(|job| job.size).sum();
            assert_eq!(usage.resumed, 1, "seed {seed}");
            assert!(usage.used < sizes, "seed {seed}: the other element has not computed everything anew");
            let failed = completed(&scene).find(|job| job.failovers > 0).expect("one lost its element");
            assert!(failed.startup() > Duration::ZERO && failed.handling() >= failed.processing());
        }
    }
}

#[test]
fn a_picture_is_complete_and_right_whatever_dies() {
    for seed in SEEDS {
        let picture = Parameter { width: 160, height: 120, iterations: 60, ..Parameter::default() };
        // Computing takes its time, and a slice is rarely complete.
        let compute: World<Generator> = Box::new(|_, wish: Compute| {
            let mut left = 700;
            let fact = wish.carry_out(|| {
                left -= 1;
                left == 0
            });
            vec![(Duration::from_millis(50), fact)]
        });
        let service = |_| Generator::new(fractal::Config::default());
        let application = |handle| Painter::new(PainterConfig { handle, sessions: 3, receive_timeout: s(5) });
        let mut scene = Scene::new(seed, 3, service, application, Some(compute));
        scene.informs(PainterFact::Paint(picture));
        scene.until("some element is at work", |scene| !scene.serving().is_empty());
        scene.passes(Duration::from_millis(200));
        let victims = scene.serving();
        scene.crash(victims[0]);
        scene.passes(Duration::from_millis(100));
        if let Some(other) = scene.serving().first().copied() {
            scene.pause(other);
        }
        let painted = |scene: &Scene<Generator, Painter>| {
            scene.told.iter().find_map(|(_, event)| match event {
                PainterEvent::Painted(picture) => Some(picture.clone()),
                PainterEvent::Session(_) => None,
            })
        };
        scene.until("the picture is complete", |scene| painted(scene).is_some());
        let painted = painted(&scene).expect("it is");
        assert!(painted.failovers >= 1 && painted.resumed >= 1, "seed {seed}: {}", painted.failovers);
        assert_eq!(painted.invalid, 0, "seed {seed}");
        for part in painted.parts {
            assert!(Points::new(part.parameter, 0).eq(part.values), "seed {seed}: part at {:?}", part.corner);
        }
    }
}

/// A world of scripting: each element has its files and its cache in memory; programs take two seconds and write how
/// large their files were.
fn machine() -> World<Host> {
    type Files = BTreeMap<(usize, u64), (usize, usize, bool)>;
    let files = Rc::new(RefCell::new(Files::new()));
    let caches = Rc::new(RefCell::new(std::collections::BTreeSet::new()));
    Box::new(move |element, wish| {
        let mut files = files.borrow_mut();
        match wish {
            Wish::Prepare(run) => {
                files.insert((element, run.0), (0, 0, false));
                vec![]
            }
            Wish::Store(run, which, octets) => {
                let entry = files.get_mut(&(element, run.0)).expect("prepared");
                match which {
                    scripting::File::Input => entry.0 += octets.len(),
                    scripting::File::Environment => entry.1 += octets.len(),
                }
                vec![]
            }
            Wish::Lookup(run, hash) => {
                let found = caches.borrow().contains(&(element, hash));
                vec![(Duration::from_millis(1), Fact::Found(run, found))]
            }
            Wish::Check(run, hash) => {
                caches.borrow_mut().insert((element, hash));
                vec![(Duration::from_millis(1), Fact::Checked(run, true))]
            }
            Wish::Start(run) => vec![(s(2), Fact::Ended(run, 0))],
            Wish::Read(run, _) => {
                let entry = files.get_mut(&(element, run.0)).expect("prepared");
                let output = if entry.2 { Vec::new() } else { format!("{} octets", entry.0).into_bytes() };
                entry.2 = true;
                vec![(Duration::from_millis(1), Fact::Output(run, output))]
            }
            Wish::Remove(run) => {
                assert!(files.remove(&(element, run.0)).is_some(), "removed once");
                vec![(Duration::from_millis(1), Fact::Removed(run))]
            }
        }
    })
}

#[test]
fn a_program_runs_elsewhere_when_its_element_dies_and_its_output_comes_once() {
    for seed in SEEDS {
        let service = |_| Host::new(scripting::Config::default());
        let application = move |handle| {
            let mut config = SubmitterConfig::new(handle, vec![7; 40_000].into());
            config.environment = Some(([9; 20], vec![1; 20_000].into()));
            Submitter::new(config, Random::from_seed(seed))
        };
        let mut scene = Scene::new(seed, 2, service, application, Some(machine()));
        let count = |scene: &Scene<Host, Submitter>, wanted: &dyn Fn(&SubmitterEvent) -> bool| {
            scene.told.iter().filter(|(_, event)| wanted(event)).count()
        };
        scene.until("it runs", |scene| count(scene, &|event| *event == SubmitterEvent::Working) == 1);
        scene.passes(s(1));
        scene.crash(scene.serving()[0]);
        scene.until("it is done", |scene| count(scene, &|event| *event == SubmitterEvent::Done(0)) == 1);
        let again = |event: &SubmitterEvent| *event == SubmitterEvent::Again(Trouble::Lost);
        assert_eq!(count(&scene, &again), 1, "seed {seed}");
        let uploads = |event: &SubmitterEvent| *event == SubmitterEvent::Environment { needed: true };
        assert_eq!(count(&scene, &uploads), 2, "seed {seed}: each element needs the environment once");
        let output: Vec<u8> = scene
            .told
            .iter()
            .skip_while(|(_, event)| !again(event))
            .filter_map(|(_, event)| match event {
                SubmitterEvent::Output(octets) => Some(octets.clone()),
                _ => None,
            })
            .flatten()
            .collect();
        assert_eq!(output, b"40000 octets", "seed {seed}");
    }
}

#[test]
fn a_user_is_told_what_becomes_of_its_sessions() {
    let service = |_| Plain::new(plain::Config::new(Kind::Echo));
    let application = |handle| Lines::new(LinesConfig { handle, answered: true, patience: s(2) });
    let mut scene = Scene::new(3, 1, service, application, None);
    let is = |scene: &Scene<Plain, Lines>, wanted: fn(&User) -> bool| {
        scene.told.iter().any(|(_, event)| matches!(event, LinesEvent::Session(event) if wanted(event)))
    };
    scene.until("it has an element", |scene| is(scene, |event| matches!(event, User::Connected { .. })));
    scene.crash(0);
    scene.until("the loss is told", |scene| is(scene, |event| matches!(event, User::FailingOver { .. })));
    scene.until("nobody is left", |scene| is(scene, |event| matches!(event, User::Waiting { .. })));
    assert!(scene.now() > Time::ZERO);
}
