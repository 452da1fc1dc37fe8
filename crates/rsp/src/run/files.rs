//! The files of a job: what its tasks take along, and where what they leave lands.
//!
//! ```text
//!   --input a          common: described once, sent once to each worker
//!   --input {}.cfg     per task: described when the task is made
//!   --each 'x/*.pov'   a source of values; each file is its task's input
//!   --env DIR          a tree
//!   --output NAME      comes back, lands in OUT/TASK/NAME, or in OUT/NAME if it differs by task
//! ```

use super::input;
use crate::cli::RunArgs;
use crate::exit::{Code, Failure};
use crate::files::names::{Taken, in_task, matching};
use crate::files::picks::{self, Picks, is_pattern};
use crate::files::{Source, Stamp, describe};
use crate::jobs::book::Book;
use crate::jobs::folder::Fixed;
use crate::template;
use rserpool_compute::item::wrong_name;
use rserpool_compute::{Command, Item, Pick, Placed};
use rustix::fs::Access;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The files of a job. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Files(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Inputs all tasks share.
    common: Vec<Placed>,
    /// Inputs that differ by task, with places for values.
    own: Vec<OsString>,
    env: Option<Item>,
    outputs: Vec<OsString>,
    out: PathBuf,
    /// Where values of `--each` begin, and whether there are any.
    each: usize,
    has_each: bool,
    /// Paths and digests of what all tasks share.
    shared: Vec<Vec<OsString>>,
    /// Where the octets of items are.
    sources: Mutex<BTreeMap<Item, (PathBuf, Stamp)>>,
}

impl Files {
    /// Looks at everything that can be looked at before the first task: adds the sources of `--each`, describes what is
    /// common, and refuses outputs that would be in each other's way. `more`: values are still to come. `former`: what the
    /// job had before this life of its client.
    pub fn prepare(
        args: &RunArgs,
        sources: &mut Vec<Vec<OsString>>,
        more: bool,
        former: Option<&Book>,
    ) -> Result<Self, Failure> {
        let usage = |why: String| Failure::new(Code::Usage, why);
        let each = sources.len();
        match former {
            None => {
                for pattern in &args.each {
                    sources.push(matching(pattern).map_err(usage)?);
                }
            }
            // A job goes on with the files it was begun with: what matches by now may be less, or more, its own outputs
            // among it, and values are passed over by their number.
            Some(book) if more && !args.each.is_empty() => {
                sources.extend(book.folder.matched(args.each.len())?);
            }
            Some(_) => {}
        }
        let (own, common) = args.input.iter().cloned().partition::<Vec<_>, _>(|input| has_place(input));
        let mut inner = Inner {
            own,
            outputs: args.output.clone(),
            out: args.out.clone(),
            each,
            has_each: !args.each.is_empty(),
            ..Inner::default()
        };
        for output in &args.output {
            check_output(output).map_err(usage)?;
        }
        if !args.output.is_empty() {
            let writable = std::fs::create_dir_all(&args.out)
                .and_then(|()| Ok(rustix::fs::access(&args.out, Access::WRITE_OK | Access::EXEC_OK)?));
            writable.map_err(|cause| {
                let message = format!("cannot write in --out {}: {cause}", args.out.display());
                Failure::new(Code::CannotWrite, message)
            })?;
        }
        if more && args.output.iter().any(|output| has_place(output)) && sources.is_empty() {
            // Whether outputs are in each other's way shows when all values are there. Standard input has only those that
            // no former life took, while a source begins with the first.
            let mut values = former.map(Book::values).transpose()?.unwrap_or_default().concat();
            values.extend(input::all_values(args.null)?);
            sources.push(values);
        }
        for path in common {
            let placed = inner.place(&path, false).map_err(usage)?;
            inner.shared.push(vec![path, placed.item.digest.to_string().into()]);
            inner.common.push(placed);
        }
        check_names(&inner.common).map_err(usage)?;
        if let Some(env) = &args.env {
            if !env.is_dir() {
                return Err(usage(format!("--env {} is no folder", env.display())));
            }
            let item = inner.describe(env).map_err(usage)?;
            inner.shared.push(vec![env.clone().into(), item.digest.to_string().into()]);
            inner.env = Some(item);
        }
        let files = Self(Arc::new(inner));
        if more {
            files.check_collisions(sources).map_err(usage)?;
        }
        Ok(files)
    }

    /// What the job goes on with in every life, of all these sources.
    pub fn fixed(&self, sources: &[Vec<OsString>]) -> Fixed {
        let inner = &self.0;
        let each = if inner.has_each { sources[inner.each..].to_vec() } else { Vec::new() };
        Fixed { each, shared: inner.shared.clone() }
    }

    /// True if tasks need a folder of their own.
    pub fn need_folder(&self) -> bool {
        let inner = &self.0;
        let none = inner.common.is_empty() && inner.own.is_empty() && inner.outputs.is_empty();
        !none || inner.has_each
    }

    /// Where outputs land.
    pub fn out(&self) -> &Path {
        &self.0.out
    }

    /// Gives a command the files of the task with these values. Fails, for people, if one cannot be read.
    pub fn dress(&self, values: &[OsString], command: &mut Command) -> Result<(), String> {
        let inner = &self.0;
        command.inputs = inner.common.clone();
        for file in values.iter().skip(inner.each).filter(|_| inner.has_each) {
            command.inputs.push(inner.place(file, true)?);
        }
        for input in &inner.own {
            let path = inner.expand(input, values);
            command.inputs.push(inner.place(&path, true)?);
        }
        check_names(&command.inputs)?;
        command.env = inner.env;
        command.collect = inner.collected(values)?;
        Ok(())
    }

    /// Where an output of the task with these values lands; `None`: nobody asked for it.
    pub fn target(&self, task: u64, values: &[OsString], name: &[u8]) -> Result<Option<PathBuf>, String> {
        let picks = Picks::new(&self.0.collected(values)?)?;
        Ok(picks.place(name).map(|place| {
            let name = Path::new(OsStr::from_bytes(name));
            if has_place(&self.0.outputs[place]) {
                self.0.out.join(name)
            } else {
                self.0.out.join(task.to_string()).join(name)
            }
        }))
    }

    /// The octets of an item, from the beginning. Fails, for people, if it changed, or never was one of ours.
    pub fn open(&self, item: &Item) -> Result<Source, String> {
        let known = lock(&self.0.sources).get(item).cloned();
        let Some((path, stamp)) = known else {
            return Err("a worker asked for a file nobody offered".into());
        };
        Source::open(&path, item.form, stamp)
    }

    fn check_collisions(&self, sources: &[Vec<OsString>]) -> Result<(), String> {
        let outputs = &self.0.outputs;
        let plain: Vec<_> = outputs.iter().filter(|output| !has_place(output)).collect();
        for (place, output) in plain.iter().enumerate() {
            if plain[..place].contains(output) {
                return Err(format!("--output {} is named twice", Path::new(output).display()));
            }
        }
        if plain.len() == outputs.len() {
            return Ok(()); // each task has a folder of its own
        }
        let mut taken = Taken::default();
        let mut count = 0;
        for values in template::combinations(sources) {
            count += 1;
            for pick in self.0.collected_with_places(&values)? {
                match pick {
                    Pick::Named(name) => taken.note(count, name, false)?,
                    Pick::Like(pattern) => {
                        let special = pattern.bytes().position(|octet| is_pattern(&[octet]) || octet == b'{');
                        let before = pattern.as_bytes()[..special.unwrap_or(pattern.len())].to_vec();
                        taken.note(count, before, true)?;
                    }
                }
            }
        }
        if !plain.is_empty() {
            for task in 1..=count {
                taken.note(task, task.to_string().into_bytes(), false)?;
            }
        }
        taken.check()
    }
}

impl Inner {
    /// A file or folder of ours, as an item in a task's folder.
    fn place(&self, path: &OsStr, own: bool) -> Result<Placed, String> {
        let shown = Path::new(path).display();
        let name =
            in_task(path).ok_or_else(|| format!("input {shown} has no name a task could call it by"))?;
        let item = self.describe(Path::new(path)).map_err(|why| format!("input {shown}: {why}"))?;
        let mode = Path::new(path).metadata().map_or(0, |metadata| metadata.permissions().mode());
        Ok(Placed { name, item, own, executable: mode & 0o111 != 0 })
    }

    fn describe(&self, path: &Path) -> Result<Item, String> {
        let (item, stamp) = describe(path)?;
        let path = path.canonicalize().map_err(|cause| format!("cannot find {}: {cause}", path.display()))?;
        lock(&self.sources).insert(item, (path, stamp));
        Ok(item)
    }

    fn expand(&self, text: &OsStr, values: &[OsString]) -> OsString {
        OsString::from_vec(template::expand(text.as_bytes(), values, self.has_each.then_some(self.each)))
    }

    /// What the task with these values has to leave.
    fn collected(&self, values: &[OsString]) -> Result<Vec<Pick>, String> {
        self.outputs.iter().map(|output| self.pick(output, values)).collect()
    }

    fn collected_with_places(&self, values: &[OsString]) -> Result<Vec<Pick>, String> {
        let differ = self.outputs.iter().filter(|output| has_place(output));
        differ.map(|output| self.pick(output, values)).collect()
    }

    fn pick(&self, output: &OsStr, values: &[OsString]) -> Result<Pick, String> {
        let shown = Path::new(output).display();
        if is_pattern(output.as_bytes()) {
            // In a pattern a value stands for itself, whatever is in it.
            let escape = |value: &OsString| Some(OsString::from(globset::escape(value.to_str()?)));
            let values = if has_place(output) { values } else { &[] };
            let escaped: Option<Vec<_>> = values.iter().map(escape).collect();
            let escaped = escaped.ok_or_else(|| format!("--output {shown}: a value in it is not UTF-8"))?;
            let pattern = self.expand(output, &escaped);
            let pattern = pattern.into_string().map_err(|_| format!("--output {shown} is not UTF-8"))?;
            picks::matcher(&pattern)?;
            return Ok(Pick::Like(pattern));
        }
        let name = self.expand(output, values).into_vec();
        match wrong_name(&name) {
            Some(rule) => Err(format!("--output {shown}: {} {rule}", String::from_utf8_lossy(&name))),
            None => Ok(Pick::Named(name)),
        }
    }
}

/// Each input of a task has a name of its own, and none would be inside of what the task shares with others.
fn check_names(inputs: &[Placed]) -> Result<(), String> {
    let shown = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let mut names: Vec<_> = inputs.iter().map(|placed| (&placed.name[..], placed.own)).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(format!("two inputs of a task would both be {} in its folder", shown(twice[0].0)));
    }
    for (name, _) in &names {
        let ends = name.iter().enumerate().filter(|(_, octet)| **octet == b'/').map(|(end, _)| end);
        for folder in ends.map(|end| &name[..end]) {
            if names.binary_search(&(folder, false)).is_ok() {
                return Err(format!(
                    "input {} would be inside of the shared input {}",
                    shown(name),
                    shown(folder)
                ));
            }
        }
    }
    Ok(())
}

fn check_output(output: &OsStr) -> Result<(), String> {
    let shown = Path::new(output).display();
    if is_pattern(output.as_bytes()) {
        let text = output.to_str().ok_or_else(|| format!("--output {shown} is not UTF-8"))?;
        picks::matcher(&text.replace("{}", "").replace("{in}", ""))?;
    } else if let Some(rule) = wrong_name(output.as_bytes()) {
        return Err(format!("--output {shown} {rule}"));
    }
    Ok(())
}

/// True if a value goes into this text.
fn has_place(text: &OsStr) -> bool {
    template::has_place(text.as_bytes()) || text.as_bytes().windows(4).any(|four| four == b"{in}")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The values stay whole whatever a panicking thread did: nothing is changed in several steps.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
