//! π by throwing darts, on a pool: a hundred throws of a million darts, each its own seed.
//!
//! ```text
//! cargo run --release -p rserpool-net --example montecarlo                   all in this program
//! cargo run --release -p rserpool-net --example montecarlo -- worker HOST    a worker for the registrar at HOST
//! cargo run --release -p rserpool-net --example montecarlo -- HOST           the job, on the pool there
//! ```

use rserpool_net::pool::{Call, Function, Pool, Problem, Registrar, Worker};

/// Throws darts at a square and counts those within a quarter of a circle.
struct Darts;

impl Function for Darts {
    const NAME: &'static str = "darts";
    /// Seed and number of darts.
    type Input = (u64, u64);
    type Output = u64;
    /// Darts thrown, darts within, and the state of the dice.
    type Progress = (u64, u64, u64);

    fn call(&self, (seed, darts): (u64, u64), call: &mut Call<Self::Progress>) -> Result<u64, Problem> {
        let (mut thrown, mut within, mut dice) = call.saved().unwrap_or((0, 0, seed));
        while thrown < darts {
            let (x, y) = (unit(&mut dice), unit(&mut dice));
            within += u64::from(x * x + y * y < 1.0);
            thrown += 1;
            if thrown % 100_000 == 0 {
                if call.is_cancelled() {
                    return Err("nobody waits for it".into());
                }
                call.save(&(thrown, within, dice));
            }
        }
        Ok(within)
    }
}

/// The next number of 0 to 1 (SplitMix64).
fn unit(dice: &mut u64) -> f64 {
    *dice = dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *dice;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) as f64 / u64::MAX as f64
}

fn throw(registrars: &str) -> Result<(), Problem> {
    let (throws, darts) = (100, 1_000_000);
    let mut within = 0;
    for (done, result) in (1..)
        .zip(Pool::connect(registrars, "darts")?.map::<Darts>((1..=throws).map(move |seed| (seed, darts))))
    {
        within += result.output?;
        if done % 20 == 0 {
            println!("{done:>4} throws: {:.6}", 4.0 * within as f64 / (done * darts) as f64);
        }
    }
    Ok(())
}

fn main() -> Result<(), Problem> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["worker", registrar] => {
            Ok(Worker::new("darts").registrar(registrar).function(Darts).start()?.serve()?)
        }
        [registrar] => throw(registrar),
        _ => {
            let registrar = Registrar::start("127.0.0.1:0")?;
            let _worker = Worker::new("darts").registrar(registrar.address()).function(Darts).start()?;
            throw(&registrar.address())
        }
    }
}
