//! Starting programs: what is the same for all of them is laid out once.
//!
//! Most of a short task is the start of its process. `std::process::Command` copies the whole environment for each, and opens
//! `/dev/null`; this does neither, and looks the program up before there is a process, not by failing to execute it.

use super::{Order, TAG};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::{Pid, Resource, Rlimit};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// Where programs are if `PATH` does not tell.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What scripts are for.
const SHELL: &CStr = c"/bin/sh";

/// Starts programs with this process's environment and nothing to read.
pub(super) struct Launcher {
    null: File,
    /// Name, and the whole entry.
    environment: Vec<(OsString, CString)>,
    /// Signals programs are not to inherit as we have them: all but those that are ignored here by whoever started us.
    by_default: SigSet,
    /// The open files programs may have, which is as many as this process was allowed when it began.
    files: Rlimit,
}

impl Launcher {
    pub(super) fn new() -> io::Result<Self> {
        let entry = |(name, value): (OsString, OsString)| Some((name.clone(), entry(&name, &value).ok()?));
        Ok(Self {
            null: File::open("/dev/null")?,
            environment: std::env::vars_os().filter_map(entry).collect(),
            by_default: not_ignored(),
            files: rustix::process::getrlimit(Resource::Nofile),
        })
    }

    /// Starts a program in a process group of its own, with these as its standard output and error. `tag` marks it.
    pub(super) fn start(&self, order: &Order, tag: &str, outputs: &[OwnedFd; 2]) -> io::Result<Pid> {
        // The keeper does nothing else with its folder; it holds nobody's for longer than this.
        std::env::set_current_dir(&order.directory)?;
        let started = self.start_here(order, tag, outputs);
        let _ = std::env::set_current_dir("/");
        started
    }

    fn start_here(&self, order: &Order, tag: &str, outputs: &[OwnedFd; 2]) -> io::Result<Pid> {
        let variables = order.variables.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()));
        // The last one of a name counts.
        let variables: BTreeMap<&OsStr, &OsStr> = variables.chain([(TAG.as_ref(), tag.as_ref())]).collect();
        let inherited = self.environment.iter().filter(|(name, _)| !variables.contains_key(name.as_os_str()));

        let path = variables.get(OsStr::new("PATH")).map(|path| OsStr::to_owned(path));
        let path = path.or_else(|| std::env::var_os("PATH"));
        let program = find(&order.arguments[0], &path.unwrap_or_else(|| DEFAULT_PATH.into()))?;
        let program = CString::new(program.into_os_string().into_vec())?;
        let arguments = order.arguments.iter().map(|argument| CString::new(argument.as_bytes()));
        let mut arguments = arguments.collect::<Result<Vec<_>, _>>()?;
        let added =
            variables.iter().map(|(name, value)| entry(name, value)).collect::<io::Result<Vec<_>>>()?;
        let environment: Vec<&CStr> =
            inherited.map(|(_, entry)| entry.as_c_str()).chain(added.iter().map(CString::as_c_str)).collect();

        with_niceness(order.nice, || match self.spawn(&program, &arguments, &environment, outputs) {
            // A script that does not say whose it is: the shell's, as execvp(3) has it.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
                arguments.splice(..1, [SHELL.to_owned(), program]);
                self.spawn(SHELL, &arguments, &environment, outputs)
            }
            started => started,
        })?
    }

    fn spawn(
        &self,
        program: &CStr,
        arguments: &[CString],
        environment: &[&CStr],
        [stdout, stderr]: &[OwnedFd; 2],
    ) -> io::Result<Pid> {
        let mut files = PosixSpawnFileActions::init()?;
        for (place, file) in (0..).zip([self.null.as_raw_fd(), stdout.as_raw_fd(), stderr.as_raw_fd()]) {
            files.add_dup2(file, place)?;
        }
        let mut attributes = PosixSpawnAttr::init()?;
        attributes.set_flags(
            PosixSpawnFlags::POSIX_SPAWN_SETPGROUP
                | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF
                | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK,
        )?;
        attributes.set_pgroup(nix::unistd::Pid::from_raw(0))?;
        attributes.set_sigdefault(&self.by_default)?;
        attributes.set_sigmask(&SigSet::empty())?;
        // A program is not to notice how many files its keeper may have.
        let own = rustix::process::getrlimit(Resource::Nofile);
        let limit = |limit: &Rlimit| {
            if own != self.files {
                // It is not above the maximum, so that it cannot fail.
                let _ = rustix::process::setrlimit(Resource::Nofile, *limit);
            }
        };
        limit(&self.files);
        let started = posix_spawn(program, &files, &attributes, arguments, environment);
        limit(&own);
        let started = started?;
        Pid::from_raw(started.as_raw()).ok_or_else(|| io::Error::other("it has no process"))
    }
}

/// An entry of an environment.
fn entry(name: &OsStr, value: &OsStr) -> io::Result<CString> {
    Ok(CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())?)
}

/// Where a program is: in the first folder of a search path that has an executable file of this name, unless its name says.
fn find(name: &OsStr, path: &OsStr) -> io::Result<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Ok(name.into());
    }
    let mut missing = io::ErrorKind::NotFound;
    for candidate in std::env::split_paths(path).map(|folder| folder.join(name)) {
        match accessat(CWD, &candidate, Access::EXEC_OK, AtFlags::empty()) {
            Ok(()) if candidate.is_file() => return Ok(candidate),
            Err(rustix::io::Errno::ACCESS) => missing = io::ErrorKind::PermissionDenied,
            _ => {}
        }
    }
    Err(missing.into())
}

/// The signals that are not ignored here. Rust's runtime ignores one of them for its own purposes.
fn not_ignored() -> SigSet {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let mut signals = SigSet::all();
    for signal in Signal::iterator().filter(|signal| *signal != Signal::SIGPIPE) {
        if ignored & (1 << (signal as i32 - 1)) != 0 {
            signals.remove(signal);
        }
    }
    signals
}

/// Does something with at least this niceness, which a process that is started by it inherits: on Linux a thread has a
/// niceness of its own.
fn with_niceness<T: Send>(nice: u8, act: impl FnOnce() -> T + Send) -> io::Result<T> {
    if nice == 0 {
        return Ok(act());
    }
    let act = || {
        let present = rustix::process::getpriority_process(None).unwrap_or_default();
        // At worst it is as important as we are.
        let _ = rustix::process::setpriority_process(None, present.max(nice.into()));
        act()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, act)?;
        thread.join().map_err(|_| io::Error::other("the thread that starts it panicked"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_where_its_path_says() {
        let folder = tempfile::tempdir().expect("room");
        let (first, second) = (folder.path().join("a"), folder.path().join("b"));
        for folder in [&first, &second] {
            std::fs::create_dir(folder).expect("room");
        }
        let path = std::env::join_paths([&first, &second]).expect("no colon");
        let kind = |name: &str| find(name.as_ref(), &path).map_err(|error| error.kind());
        assert_eq!(kind("tool"), Err(io::ErrorKind::NotFound));
        std::fs::create_dir(first.join("tool")).expect("room");
        assert_eq!(kind("tool"), Err(io::ErrorKind::NotFound), "a folder is no program");
        std::fs::write(second.join("tool"), "").expect("room");
        assert_eq!(kind("tool"), Err(io::ErrorKind::PermissionDenied));
        std::fs::copy("/bin/true", second.join("tool")).expect("room");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(second.join("tool"), executable).expect("ours");
        assert_eq!(kind("tool"), Ok(second.join("tool")));
        assert_eq!(kind("./tool"), Ok("./tool".into()));
    }

    #[test]
    fn of_variables_with_one_name_a_program_gets_the_last_and_of_others_what_is_here() {
        let variables = [
            ("RSP_TEST", "1"),
            ("PATH", "/nowhere"),
            ("RSP_TEST", "2"),
            (TAG, "mine"),
            ("PATH", "/usr/bin:/bin"),
        ];
        let variables = variables.map(|(name, value)| (name.into(), value.into())).to_vec();
        let order = Order { arguments: vec!["env".into()], variables, ..Order::default() };
        let output = tempfile::NamedTempFile::new().expect("room");
        let outputs = [(); 2].map(|()| output.reopen().expect("ours").into());
        let launcher = Launcher::new().expect("no limit is reached");
        let program = launcher.start_here(&order, "the-tag", &outputs).expect("env is everywhere");
        rustix::process::waitpid(Some(program), rustix::process::WaitOptions::empty()).expect("our child");

        let text = std::fs::read_to_string(output.path()).expect("ours");
        let of = |name: &str| -> Vec<_> {
            text.lines()
                .filter_map(|line| line.split_once('='))
                .filter(|(left, _)| *left == name)
                .map(|(_, right)| right)
                .collect()
        };
        assert_eq!(
            (of("RSP_TEST"), of("PATH"), of(TAG)),
            (vec!["2"], vec!["/usr/bin:/bin"], vec!["the-tag"])
        );
        assert_eq!(of("CARGO_PKG_NAME"), [env!("CARGO_PKG_NAME")], "cargo runs this test");
    }
}
