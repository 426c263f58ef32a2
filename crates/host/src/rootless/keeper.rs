//! The keeper: makes the name spaces, holds them open, and ends when nobody is inside any more.
//!
//! Daemon, gateway and instances may all die and come back; what they share of the kernel lives
//! as long as this process, which does nothing but look once in a while.

use super::ids::Maps;
use super::record::{Kept, lock};
use super::{RootlessError, network_file};
use crate::record::ProcessId;
use crate::{process, sys};
use rustix::fs::{FlockOperation, flock};
use rustix::mount::mount_bind;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// The role of the program, as its first argument.
pub const ROLE: &str = "keeper";
/// Between two looks whether anybody is inside.
const LOOK: Duration = Duration::from_secs(60);
/// Processes looked through.
const PROCESSES_MAX: usize = 1 << 20;
/// Longest word between the keeper and who starts it.
const WORD_MAX: u64 = 4096;

/// In the place of the directory.
const PROBE: &str = "--probe";
const MADE: &str = "made";
const READY: &str = "ready";

/// Starts a keeper and gives it its users; returns when the name spaces stand.
pub fn start(runtime: &Path, executable: &Path, maps: &Maps) -> Result<ProcessId, RootlessError> {
    let failed = || RootlessError::io("start the keeper of the name spaces");
    let mut child = Command::new(executable)
        .arg(ROLE)
        .arg(runtime)
        .current_dir("/")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(failed())?;
    let pid = child.id() as i32;
    let mut say = child.stdin.take().ok_or_else(|| failed()(io::ErrorKind::BrokenPipe.into()))?;
    let heard = child.stdout.take().ok_or_else(|| failed()(io::ErrorKind::BrokenPipe.into()))?;
    let mut heard = BufReader::new(heard.take(WORD_MAX));
    let made = expect(&mut heard, MADE)
        .and_then(|()| maps.apply(pid))
        .and_then(|()| say.write_all(b"\n").map_err(failed()))
        .and_then(|()| expect(&mut heard, READY));
    if let Err(error) = made {
        // Of no use to anybody; it may have ended already.
        let _ = child.kill();
        let _ = child.wait();
        return Err(error);
    }
    process::identify(pid).ok_or_else(|| failed()(io::ErrorKind::NotFound.into()))
}

/// Whether this user can have name spaces, tried in a process that ends with the answer.
pub fn probe(executable: &Path) -> Result<(), String> {
    let output = Command::new(executable)
        .args([ROLE, PROBE])
        .current_dir("/")
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
    }
}

fn try_out() -> io::Result<()> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    sys::new_user_namespace()?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    sys::new_network_namespace()?;
    // Where name spaces are allowed but mean nothing, this is what fails.
    sys::new_mount_namespace()
}

fn expect(heard: &mut impl BufRead, word: &str) -> Result<(), RootlessError> {
    let mut line = String::new();
    heard.read_line(&mut line).map_err(RootlessError::io("listen to the keeper of the name spaces"))?;
    match line.trim_end() {
        said if said == word => Ok(()),
        "" => Err(RootlessError::Keeper("the keeper of the name spaces ended without a word".to_owned())),
        said => Err(RootlessError::Keeper(said.to_owned())),
    }
}

/// `juchu keeper DIR`. Must run before any thread exists.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(runtime) = arguments.next().map(PathBuf::from) else {
        eprintln!("error: the keeper is started by juchu itself\nhint: run `juchu up` instead");
        return ExitCode::from(2);
    };
    let done = match runtime.as_os_str() == PROBE {
        true => return probed(try_out()),
        false => make(&runtime),
    };
    match done {
        Ok(()) => keep(&runtime),
        Err(reason) => {
            println!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn probed(tried: io::Result<()>) -> ExitCode {
    match tried {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn make(runtime: &Path) -> Result<(), String> {
    let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    sys::new_user_namespace().map_err(failed("make a user name space"))?;
    say(MADE).map_err(failed("speak"))?;
    // An answer means that the users are there; none, that nobody waits any more.
    let mut answer = [0];
    io::stdin().read_exact(&mut answer).map_err(failed("wait for the users of the name space"))?;
    sys::new_network_namespace().map_err(failed("make a network name space"))?;
    sys::new_mount_namespace().map_err(failed("make a mount name space"))?;
    net::bring_up_loopback().map_err(|error| crate::container::chain(&error))?;
    let file = network_file(runtime);
    File::create(&file)
        .and_then(|_| Ok(mount_bind("/proc/self/ns/net", &file)?))
        .map_err(|error| format!("show the network at {}: {error}", file.display()))?;
    say(READY).map_err(failed("speak"))
}

fn say(word: &str) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{word}")?;
    out.flush()
}

/// Looks until nobody is inside at two looks in a row.
fn keep(runtime: &Path) -> ExitCode {
    sys::set_process_name(c"juchu-keeper");
    let _ = rustix::process::setsid();
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        use std::os::fd::AsFd;
        // Whoever started it must not wait for the end of these.
        let _ = sys::replace_fd(null.as_fd(), 0);
        let _ = sys::replace_fd(null.as_fd(), 1);
    }
    crate::memory::trim_alone();
    let mut was_empty = false;
    loop {
        // Processes inside are not its children: nothing tells when the last one ends.
        std::thread::sleep(LOOK);
        let is_empty = !is_anybody_inside();
        if is_empty && was_empty && end(runtime) {
            return ExitCode::SUCCESS;
        }
        was_empty = is_empty;
    }
}

/// Ends, unless somebody enters at this moment.
fn end(runtime: &Path) -> bool {
    let Ok(file) = File::options().read(true).write(true).open(lock(runtime)) else { return true };
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() || is_anybody_inside() {
        return false;
    }
    let own = std::process::id() as i32;
    if let Some(kept) = Kept::alive(runtime).filter(|kept| kept.keeper.pid == own) {
        kept.end_outbound();
        Kept::remove(runtime);
    }
    true
}

/// Whether another process is in this user name space, or in one below that it can see into.
fn is_anybody_inside() -> bool {
    let own_pid = std::process::id();
    let Ok(own) = fs::read_link("/proc/self/ns/user") else { return true };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten().take(PROCESSES_MAX);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != own_pid).any(|pid| {
        let is_same = fs::read_link(format!("/proc/{pid}/ns/user")).is_ok_and(|other| other == own);
        is_same && !is_carrier(pid)
    })
}

/// Who carries what goes out is there for the others.
fn is_carrier(pid: u32) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    super::outbound::PROGRAMS.iter().any(|program| name.trim().starts_with(program))
}
