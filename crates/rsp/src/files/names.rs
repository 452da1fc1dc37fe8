//! What files are called: on the client, in a task's folder, and where outputs land.

use super::picks::matcher;
use rserpool_compute::item::wrong_name;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What a file of the client is called in a task's folder: as it is, if that stays inside, else by its last part.
pub fn in_task(path: &OsStr) -> Option<Vec<u8>> {
    let mut name = path.as_bytes();
    while let Some(rest) = name.strip_prefix(b"./") {
        name = rest;
    }
    let name = name.strip_suffix(b"/").unwrap_or(name);
    if wrong_name(name).is_none() {
        return Some(name.to_vec());
    }
    let last = Path::new(path).file_name()?.as_bytes().to_vec();
    wrong_name(&last).is_none().then_some(last)
}

/// The files a pattern matches, sorted. Names that begin with a dot only if the pattern says so.
pub fn matching(pattern: &str) -> Result<Vec<OsString>, String> {
    let cannot =
        |at: &Path, cause: io::Error| format!("--each '{pattern}': cannot read {}: {cause}", at.display());
    let glob = matcher(pattern)?;
    let parts: Vec<&str> = pattern.split('/').collect();
    let literal =
        parts.iter().take_while(|part| !super::picks::is_pattern(part.as_bytes()) && !part.contains('{'));
    let literal = literal.count().min(parts.len() - 1);
    let start = match parts[..literal].join("/") {
        top if top.is_empty() && pattern.starts_with('/') => PathBuf::from("/"),
        top => PathBuf::from(top),
    };
    let depth = if pattern.contains("**") { usize::MAX } else { parts.len() - literal };
    let dots = parts[literal..].iter().any(|part| part.starts_with('.'));
    let mut found = Vec::new();
    let mut folders = vec![(start, depth)];
    while let Some((folder, depth)) = folders.pop() {
        let shown = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
        let entries = match std::fs::read_dir(shown) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(|cause| cannot(shown, cause))?,
        };
        for entry in entries {
            let entry = entry.map_err(|cause| cannot(shown, cause))?;
            if entry.file_name().as_bytes().starts_with(b".") && !dots {
                continue;
            }
            let path = folder.join(entry.file_name());
            let metadata = path.metadata(); // of what a link leads to
            if metadata.as_ref().is_ok_and(std::fs::Metadata::is_dir) {
                if depth > 1 && !entry.path().is_symlink() {
                    folders.push((path, depth - 1));
                }
            } else if metadata.is_ok_and(|metadata| metadata.is_file()) && glob.is_match(&path) {
                found.push(path.into_os_string());
            }
        }
    }
    found.sort();
    if found.is_empty() {
        let place = std::env::current_dir().map_or(String::new(), |at| format!(" (from {})", at.display()));
        return Err(format!("--each '{pattern}' matches no file{place}"));
    }
    Ok(found)
}

/// Tells when outputs of two tasks would land in one place.
#[derive(Default)]
pub struct Taken {
    names: std::collections::BTreeMap<Vec<u8>, (u64, bool)>,
}

impl Taken {
    /// Notes where an output of a task lands; of a pattern (`like`), what stands before its first special octet.
    pub fn note(&mut self, task: u64, name: Vec<u8>, like: bool) -> Result<(), String> {
        match self.names.insert(name.clone(), (task, like)) {
            Some((other, _)) => Err(clash(&name, other, task)),
            None => Ok(()),
        }
    }

    /// When all are noted: none may be in another's way.
    pub fn check(&self) -> Result<(), String> {
        for (name, &(task, like)) in &self.names {
            let mut folder = name.clone();
            if !like {
                folder.push(b'/'); // what is below a file
            }
            let mut behind = self.names.range(folder.clone()..).filter(|(other, _)| *other != name);
            if let Some((other, (its, _))) = behind.next()
                && other.starts_with(&folder)
                && *its != task
            {
                return Err(clash(name, task, *its));
            }
        }
        Ok(())
    }
}

fn clash(name: &[u8], one: u64, other: u64) -> String {
    let name = OsString::from_vec(name.to_vec());
    format!(
        "the outputs of tasks {one} and {other} would both land at {}; make them differ with {{}}, or leave {{}} out to \
         have a folder per task",
        Path::new(&name).display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_name_in_the_task_if_that_stays_inside() {
        let name = |path: &str| in_task(path.as_ref()).map(|name| String::from_utf8(name).expect("text"));
        assert_eq!(name("a/b.pov").as_deref(), Some("a/b.pov"));
        assert_eq!(name("././b/").as_deref(), Some("b"));
        assert_eq!(name("/data/b.pov").as_deref(), Some("b.pov"));
        assert_eq!(name("../x/b.pov").as_deref(), Some("b.pov"));
        assert_eq!((name("/"), name(".."), name("")), (None, None, None));
    }

    #[test]
    fn matches_are_sorted_files_and_none_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let top = folder.path().to_str().expect("text");
        for name in ["b.pov", "a.pov", ".hidden.pov", "a.txt"] {
            std::fs::write(folder.path().join(name), "").expect("room");
        }
        std::fs::create_dir_all(folder.path().join("d.pov/e")).expect("room");
        std::fs::write(folder.path().join("d.pov/e/c.pov"), "").expect("room");
        let found = |pattern: &str| -> Vec<String> {
            let all = matching(&format!("{top}/{pattern}")).expect("some");
            all.iter().map(|path| path.to_string_lossy().replace(&format!("{top}/"), "")).collect()
        };
        assert_eq!(found("*.pov"), ["a.pov", "b.pov"]);
        assert_eq!(found("**/*.pov"), ["a.pov", "b.pov", "d.pov/e/c.pov"]);
        assert_eq!(found("a.txt"), ["a.txt"]);
        assert_eq!(found(".*"), [".hidden.pov"]);
        assert_eq!(found("{a,b}.pov"), ["a.pov", "b.pov"]);
        assert!(matching(&format!("{top}/*.png")).expect_err("none").contains("matches no file"));
        assert!(matching(&format!("{top}/no/*.png")).is_err());
    }

    #[test]
    fn outputs_in_each_others_way_are_found() {
        let clash = |all: &[(u64, &str, bool)]| {
            let mut taken = Taken::default();
            let noted =
                all.iter().try_for_each(|(task, name, like)| taken.note(*task, (*name).into(), *like));
            noted.and_then(|()| taken.check()).is_err()
        };
        assert!(clash(&[(1, "a.png", false), (2, "a.png", false)]));
        assert!(clash(&[(1, "a", false), (2, "a-b", false), (2, "a/b", false)]));
        assert!(clash(&[(1, "a-", true), (2, "a-b-", true)]));
        assert!(clash(&[(1, "a/", true), (2, "a/x", false)]));
        assert!(!clash(&[(1, "a.png", false), (2, "a.png.png", false), (3, "b", false)]));
        assert!(!clash(&[(1, "a/", true), (2, "b/", true)]));
    }
}
