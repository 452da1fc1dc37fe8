//! CalcApp on a machine: its statistics as a table, as JSON, and as RSPLIB's files.

use super::cli::{ClientCalcapp, ServeArgs, ServeCalcapp, StatisticsFiles};
use super::user::{Front, Plan, Turn};
use super::{element, pool, user};
use crate::exit::{Code, Failure};
use crate::process::{self, cannot_print};
use comfy_table::Table;
use rserpool::{Random, Time};
use rserpool_compute::application::calcapp::{
    Calculator, Completed, Config, Counts, Customer, CustomerConfig, CustomerEvent, JobRecord, Spread,
    Summary, Usage,
};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, UNIX_EPOCH};

/// `rsp serve calcapp`.
pub fn serve(args: &ServeCalcapp) -> Result<(), Failure> {
    if !(0.0..=1.0).contains(&args.clean_shutdown) {
        return Err(Failure::new(Code::Usage, "--clean-shutdown takes a probability from 0 to 1"));
    }
    let plan = element::Plan::new("calcapp", pool(args.common.pool, "CalcAppPool"));
    let config = Config {
        capacity: args.capacity,
        jobs_max: args.jobs as usize,
        keep_alive_interval: args.keep_alive_interval,
        keep_alive_timeout: args.keep_alive_timeout,
        cookie_interval: args.cookie_interval,
        cookie_calculations: args.cookie_calculations,
        clean_shutdown_permille: (args.clean_shutdown * 1000.0).round() as u32,
    };
    let object = args.files.object.clone().unwrap_or_else(|| "scenario.calcapppoolelement[0]".into());
    let header = "ObjectName PID PoolElementIdentifier CurrentTimeStamp Runtime   AvailableCalculations UsedCalculations \
                  Utilization   CurrentJobs MaxJobs";
    let mut vector = Vector::create(&args.files, header)?;
    let id = args.common.id.unwrap_or_else(|| process::random().nonzero_u32());
    let common = ServeArgs { id: Some(id), ..args.common.clone() };
    let (jobs_max, name) = (args.jobs, object.clone());
    let record = move |wishes: Receiver<Completed>, _| {
        for Completed { usage, .. } in wishes {
            let line = format!(
                "{name} {} {id:#010x} {:.6} {:.6}   {} {} {:.6}   {} {jobs_max}",
                std::process::id(),
                unix_now(),
                usage.uptime.as_secs_f64(),
                usage.available,
                usage.used,
                usage.utilisation(),
                usage.jobs,
            );
            if let Some(Err(failure)) = vector.as_mut().map(|vector| vector.line(&line)) {
                process::say(format!("{failure}; no more lines are written"));
                vector = None;
            }
        }
    };
    let (sender, last) = mpsc::channel();
    element::run(&common, plan, Calculator::new(config, process::random()), record, move |node, now| {
        node.with_service(now, |calculator, replies| calculator.shut_down(now, replies));
        let _ = sender.send(node.service().usage());
    })?;
    if let (Ok(usage), Some(path)) = (last.try_recv(), &args.files.scalar) {
        write_scalars(path, &object, &element_scalars(&usage, args))?;
    }
    Ok(())
}

fn element_scalars(usage: &Usage, args: &ServeCalcapp) -> Vec<(String, f64)> {
    let scalars = [
        ("Service Uptime", usage.uptime.as_secs_f64()),
        ("Service Capacity", args.capacity as f64),
        ("Service Max Jobs", f64::from(args.jobs)),
        ("Total Used Capacity", usage.used as f64),
        ("Total Wasted Capacity", usage.wasted() as f64),
        ("Total Jobs Accepted", usage.accepted as f64),
        ("Total Jobs Rejected", usage.rejected as f64),
        ("Utilization", usage.utilisation()),
    ];
    scalars.map(|(name, value)| (format!("CalcAppPE {name}"), value)).into()
}

/// `rsp client calcapp`.
pub fn client(args: &ClientCalcapp) -> Result<Code, Failure> {
    let plan =
        Plan { runtime: args.runtime, ..Plan::new(&args.common, pool(args.common.pool, "CalcAppPool")) };
    let job_interval = Duration::try_from_secs_f64(args.job_interval)
        .map_err(|_| Failure::new(Code::Usage, "--job-interval takes a number of seconds, 0 or more"))?;
    let config = CustomerConfig {
        job_interval,
        job_size: args.job_size,
        jobs: args.jobs,
        keep_alive_interval: args.keep_alive_interval,
        keep_alive_timeout: args.keep_alive_timeout,
        ..CustomerConfig::new(plan.pool)
    };
    let header = "ObjectName PID JobID JobSize JobInterval   QueueLength QueuingDelay StartupDelay ProcessingTime \
                  HandlingTime HandlingSpeed   QueuingTimeStamp StartupTimeStamp AcceptTimeStamp CompleteTimeStamp";
    let front = JobsFront {
        args: args.clone(),
        object: args.files.object.clone().unwrap_or_else(|| "scenario.calcapppooluser[0]".into()),
        vector: Vector::create(&args.files, header)?,
        summary: Summary::default(),
        counts: Counts::default(),
        zero: None,
    };
    let seed = args.seed;
    let make = move |random: Random| Customer::new(config, seed.map_or(random, Random::from_seed));
    user::run(&plan, make, front, |_, _| Ok(()))
}

struct JobsFront {
    args: ClientCalcapp,
    object: String,
    vector: Option<Vector>,
    summary: Summary,
    counts: Counts,
    /// The node's zero, in seconds since 1970.
    zero: Option<f64>,
}

impl Front<Customer> for JobsFront {
    fn hear(&mut self, now: Time, event: CustomerEvent) -> Result<Turn, Failure> {
        match event {
            CustomerEvent::Completed(job, counts) => {
                self.counts = counts;
                self.summary.add(&job);
                self.job(now, &job)?;
                Ok(Turn::On)
            }
            CustomerEvent::Accepted(job) => {
                if self.args.common.verbose {
                    process::say(format!("{now} job {job} is accepted"));
                }
                Ok(Turn::On)
            }
            CustomerEvent::Session(event) => Ok(Turn::Session(event)),
            CustomerEvent::Done(counts) => {
                self.counts = counts;
                Ok(Turn::Over(Code::Done))
            }
        }
    }

    fn close(&mut self) -> Result<(), Failure> {
        if let Some(path) = &self.args.files.scalar {
            write_scalars(path, &self.object, &user_scalars(&self.summary, &self.counts))?;
        }
        let text = if self.args.json {
            json!({"summary": self.json()}).to_string()
        } else {
            self.table().trim_fmt()
        };
        print(&text)
    }
}

impl JobsFront {
    fn job(&mut self, now: Time, job: &JobRecord) -> Result<(), Failure> {
        let seconds = |span: Duration| span.as_secs_f64();
        if let Some(vector) = &mut self.vector {
            let zero = *self.zero.get_or_insert_with(|| unix_now() - now.as_nanos() as f64 / 1e9);
            let moment = |time: Time| zero + time.as_nanos() as f64 / 1e9;
            vector.line(&format!(
                "{} {} {} {} {:.6}   {} {:.6} {:.6} {:.6} {:.6} {:.6}   {:.6} {:.6} {:.6} {:.6}",
                self.object,
                std::process::id(),
                job.job,
                job.size,
                seconds(job.interval),
                job.queue_length,
                seconds(job.queuing()),
                seconds(job.startup()),
                seconds(job.processing()),
                seconds(job.handling()),
                job.handling_speed(),
                moment(job.queued),
                moment(job.started),
                moment(job.accepted),
                moment(job.completed),
            ))?;
        }
        let line = if self.args.json {
            json!({
                "job": job.job,
                "size": job.size,
                "interval": seconds(job.interval),
                "queue_length": job.queue_length,
                "queuing": seconds(job.queuing()),
                "startup": seconds(job.startup()),
                "processing": seconds(job.processing()),
                "handling": seconds(job.handling()),
                "handling_speed": job.handling_speed(),
                "failovers": job.failovers,
            })
            .to_string()
        } else {
            format!(
                "job {} of {} calculations: {:.3} s in the queue, {:.3} s to start, {:.3} s at work, {} fail-overs, {:.0} \
                 calculations/s",
                job.job,
                job.size,
                seconds(job.queuing()),
                seconds(job.startup()),
                seconds(job.processing()),
                job.failovers,
                job.handling_speed(),
            )
        };
        print(&line)
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        let summary = &self.summary;
        table.set_header(["seconds", "mean", "min", "max", "deviation"]);
        let parts = [
            ("queuing", &summary.queuing),
            ("startup", &summary.startup),
            ("processing", &summary.processing),
            ("handling", &summary.handling),
        ];
        for (name, spread) in parts {
            let numbers = [spread.mean(), spread.min, spread.max, spread.deviation()];
            let numbers = numbers.map(|number| format!("{number:.6}"));
            table.add_row([&[name.to_string()][..], &numbers].concat());
        }
        let counts = &self.counts;
        table.add_row([
            format!("{} jobs", summary.jobs),
            format!("{:.0} calculations/s handled", summary.handling_speed()),
            format!("{:.0} processed", summary.processing_speed()),
            format!("{} fail-overs, {} by cookie", counts.failovers, counts.cookie_echoes),
            format!("{} rejects", counts.rejects),
        ]);
        table
    }

    fn json(&self) -> Value {
        let spread = |spread: &Spread| {
            json!({
                "total": spread.total,
                "mean": spread.mean(),
                "min": spread.min,
                "max": spread.max,
                "deviation": spread.deviation(),
                "variance": spread.variance(),
            })
        };
        let (summary, counts) = (&self.summary, &self.counts);
        json!({
            "jobs": summary.jobs,
            "size": summary.size,
            "queuing": spread(&summary.queuing),
            "startup": spread(&summary.startup),
            "processing": spread(&summary.processing),
            "handling": spread(&summary.handling),
            "processing_speed": summary.processing_speed(),
            "handling_speed": summary.handling_speed(),
            "queued": counts.queued,
            "started": counts.started,
            "requests": counts.requests,
            "accepts": counts.accepts,
            "rejects": counts.rejects,
            "completes": counts.completes,
            "keep_alives": counts.keep_alives,
            "keep_alive_acks": counts.keep_alive_acks,
            "selections": counts.selections,
            "unreachables": counts.unreachables,
            "cookie_echoes": counts.cookie_echoes,
            "failovers": counts.failovers,
        })
    }
}

fn user_scalars(summary: &Summary, counts: &Counts) -> Vec<(String, f64)> {
    let scalars = [
        ("Total Queuing Time", summary.queuing.total),
        ("Total Startup Time", summary.startup.total),
        ("Total Processing Time", summary.processing.total),
        ("Total Handling Time", summary.handling.total),
        ("Average Processing Speed", summary.processing_speed()),
        ("Average Handling Speed", summary.handling_speed()),
        ("Total Jobs Queued", counts.queued as f64),
        ("Total Jobs Started", counts.started as f64),
        ("Total Jobs Completed", summary.jobs as f64),
        ("Total Job Size Queued", counts.size_queued as f64),
        ("Total Job Size Started", counts.size_started as f64),
        ("Total Job Size Completed", summary.size as f64),
        ("Total CalcAppRequests", counts.requests as f64),
        ("Total CalcAppAccepts", counts.accepts as f64),
        ("Total CalcAppRejects", counts.rejects as f64),
        ("Total CalcAppCompletes", counts.completes as f64),
        ("Total CalcAppKeepAlives", counts.keep_alives as f64),
        ("Total CalcAppKeepAliveAcks", counts.keep_alive_acks as f64),
    ];
    scalars.map(|(name, value)| (format!("CalcAppPU {name}"), value)).into()
}

/// RSPLIB's vector file: a header, then numbered lines.
struct Vector {
    file: BufWriter<File>,
    lines: u64,
    path: String,
}

impl Vector {
    fn create(files: &StatisticsFiles, header: &str) -> Result<Option<Self>, Failure> {
        let Some(path) = &files.vector else { return Ok(None) };
        let file = File::create(path).map_err(|cause| cannot_write(path, &cause))?;
        let mut vector = Self { file: BufWriter::new(file), lines: 0, path: path.display().to_string() };
        vector.write(header)?;
        Ok(Some(vector))
    }

    fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.lines += 1;
        self.write(&format!("{:06} {text}", self.lines))
    }

    /// A line at a time, so that it is there however this process ends.
    fn write(&mut self, text: &str) -> Result<(), Failure> {
        let written = writeln!(self.file, "{text}").and_then(|()| self.file.flush());
        written.map_err(|cause| cannot_write(Path::new(&self.path), &cause))
    }
}

/// RSPLIB's scalar file.
fn write_scalars(path: &Path, object: &str, scalars: &[(String, f64)]) -> Result<(), Failure> {
    let mut text = "run 1 \"scenario\"\n".to_string();
    for (name, value) in scalars {
        text += &format!("scalar \"{object}\" \"{name}\" {value}\n");
    }
    std::fs::write(path, text).map_err(|cause| cannot_write(path, &cause))
}

fn cannot_write(path: &Path, cause: &io::Error) -> Failure {
    Failure::new(Code::CannotWrite, format!("cannot write {}: {cause}; choose another file", path.display()))
}

fn print(line: &str) -> Result<(), Failure> {
    writeln!(io::stdout().lock(), "{line}").map_err(|cause| cannot_print(&cause))
}

fn unix_now() -> f64 {
    UNIX_EPOCH.elapsed().map_or(0.0, |since| since.as_secs_f64())
}
