//! Starting a guest, waiting for its end, and letting nothing of it survive.
//!
//! User-Mode Linux is a Linux kernel as a process. The guest sees all files of the machine outside; what it writes stays
//! in its memory, except in the shared folder. It lives in a PID namespace: whatever ends this process, or the thread
//! that started it, ends all of it. (`kill -9` of the kernel alone would leave its processes running outside.)

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Set in a guest.
pub const INSIDE: &str = "RSP_GUEST";

/// What is to be run in a guest.
pub struct Boot {
    /// A folder below [`shared`], emptied first: where the guest's console and the output of the command are found.
    pub folder: PathBuf,
    /// The program and its arguments. It runs in the present folder with the present environment.
    pub command: Vec<OsString>,
    /// The guest's memory in MiB. What is never touched costs nothing.
    pub memory: u32,
    /// How long the command may take before it, and then the guest, is ended.
    pub bound: Duration,
}

/// How it went.
#[derive(Debug)]
pub struct Ended {
    /// The exit status of the command: 128 + n if signal n ended it, 124 if it took too long. `None`: the guest itself
    /// failed.
    pub status: Option<i32>,
    /// What the command said on its standard output and error.
    pub output: String,
    /// What the kernel and its first process said.
    pub console: String,
}

/// The folder that guests share with the machine outside: `guest` in cargo's target folder.
///
/// # Panics
///
/// If this program is not where cargo puts test programs, `target/PROFILE/deps`.
pub fn shared() -> PathBuf {
    let program = std::env::current_exe().expect("a program has a path");
    program.ancestors().nth(3).expect("target/PROFILE/deps/PROGRAM").join("guest")
}

/// True in a guest.
pub fn inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

impl Boot {
    /// Boots a guest, runs the command in it, and waits for the end of both.
    ///
    /// # Errors
    ///
    /// If the job's files cannot be written or the guest cannot be started.
    pub fn run(&self) -> io::Result<Ended> {
        let _ = fs::remove_dir_all(&self.folder);
        fs::create_dir_all(&self.folder)?;
        let init = self.folder.join("init");
        fs::write(&init, include_str!("init.sh"))?;
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
        fs::write(self.folder.join("command"), self.script()?)?;

        // The kernel's own sockets have names of at most 107 octets, so they are not below the job's folder.
        let name = self.folder.file_name().unwrap_or_default().display().to_string();
        let sockets = std::env::temp_dir().join(format!("rsp-{}-{name}", std::process::id()));
        fs::create_dir_all(&sockets)?;
        let (mut console, said) = io::pipe()?;
        let mut guest = Command::new("setpriv");
        guest.args(["--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child=KILL", "--"]);
        guest.args(["sh", "-c", "\"$@\"; exit $?", "guest", "linux.uml"]);
        guest.args(self.kernel(&sockets)).current_dir("/");
        guest.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        let mut child = guest.spawn()?;
        // Its copies of the pipe's writing end go with it: the end of the pipe is the end of all processes of the guest.
        drop(guest);
        let (done, heard) = mpsc::channel();
        std::thread::spawn(move || {
            let mut octets = Vec::new();
            let _ = console.read_to_end(&mut octets);
            let _ = done.send(octets);
        });
        // The guest ends the command by itself in time; a guest that does not even do that is ended from outside.
        let heard = match heard.recv_timeout(self.bound + Duration::from_secs(60)) {
            Ok(octets) => octets,
            Err(_) => {
                child.kill()?;
                heard.recv_timeout(Duration::from_secs(10)).unwrap_or_default()
            }
        };
        child.wait()?;
        let _ = fs::remove_dir_all(&sockets);
        let console = String::from_utf8_lossy(&heard).into_owned();
        fs::write(self.folder.join("console"), &console)?;
        let read = |name: &str| {
            fs::read(self.folder.join(name)).map(|octets| String::from_utf8_lossy(&octets).into_owned())
        };
        let status = read("status").ok().and_then(|text| text.trim().parse().ok());
        Ok(Ended { status, output: read("output").unwrap_or_default(), console })
    }

    fn kernel(&self, sockets: &Path) -> Vec<String> {
        let job = self.folder.display();
        vec![
            format!("mem={}M", self.memory),
            "root=/dev/root".into(),
            "rootfstype=hostfs".into(),
            "rootflags=/".into(),
            "ro".into(),
            format!("init={job}/init"),
            format!("GUEST_JOB={job}"),
            format!("GUEST_SHARED={}", shared().display()),
            // Most of the time of a boot, and of no use here: a benchmark of RAID algorithms, a pool, old terminals.
            "initcall_blacklist=raid6_select_algo,init_zswap".into(),
            "pty.legacy_count=0".into(),
            format!("uml_dir={}", sockets.display()),
            format!("umid={}", self.folder.file_name().unwrap_or_default().display()),
            "noreboot".into(),
            "panic=-1".into(),
            "loglevel=5".into(),
            "con=null".into(),
            "con0=null,fd:1".into(),
            "ssl=null".into(),
        ]
    }

    /// The command as a shell script, for a guest starts with an empty environment.
    fn script(&self) -> io::Result<Vec<u8>> {
        let mut script = b"cd ".to_vec();
        quote(std::env::current_dir()?.as_os_str().as_encoded_bytes(), &mut script);
        script.extend(format!("\nexec timeout -k 5 {} env -i", self.bound.as_secs()).bytes());
        let inside = (INSIDE.into(), "1".into());
        for (name, value) in std::env::vars_os().chain([inside]) {
            script.push(b' ');
            let pair = [name.as_encoded_bytes(), b"=", value.as_encoded_bytes()].concat();
            quote(&pair, &mut script);
        }
        for word in &self.command {
            script.push(b' ');
            quote(word.as_encoded_bytes(), &mut script);
        }
        script.push(b'\n');
        Ok(script)
    }
}

fn quote(word: &[u8], script: &mut Vec<u8>) {
    script.push(b'\'');
    for &octet in word {
        match octet {
            b'\'' => script.extend(b"'\\''"),
            other => script.push(other),
        }
    }
    script.push(b'\'');
}
