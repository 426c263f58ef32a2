//! Without root: a user name space in which this user is root, with mounts and a network of its
//! own, kept open by one small process (the keeper) for as long as anything runs inside.
//!
//! ```text
//!  host's network ─ daemon, gateway (published ports) ─ both inside: user and mount name space
//!  own network   ─ bridges, instances, gateway (between services) ─ pasta ─▶ outside
//! ```

mod delegation;
mod ids;
mod keeper;
mod lacks;
mod outbound;
mod record;

pub use delegation::delegated;
pub use ids::IdMap;
pub use keeper::main as keeper_main;
pub use lacks::{groups as lack_of_groups, lacks};

use crate::{durable, sys};
use ids::Maps;
use record::Kept;
use rustix::fs::{FlockOperation, flock};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long another process may take to make the name spaces.
const TURN_LIMIT: Duration = Duration::from_secs(20);
const TURN_LOOK: Duration = Duration::from_millis(5);

#[derive(Debug, thiserror::Error)]
pub enum RootlessError {
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("another command is making the name spaces and does not come to an end")]
    Busy,
    /// The keeper could not make them, in its words.
    #[error("{0}")]
    Keeper(String),
    #[error("{program} failed: {said}")]
    Map { program: &'static str, said: String },
}

impl RootlessError {
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// The name spaces that this process has entered.
#[derive(Debug)]
pub struct Inside {
    /// Files of others than root can be told apart; otherwise all belong to this user.
    pub has_ranges: bool,
    /// A network of its own; this process itself stays in the host's.
    pub network: OwnedFd,
}

/// Where the network of the name spaces can be opened once they are entered.
pub fn network_file(runtime: &Path) -> PathBuf {
    runtime.join("own-network")
}

/// Enters the name spaces of this user for a run-time directory, making them when nobody has yet.
/// Must be called before any thread exists; the process is root inside afterwards. `executable` is
/// this program, run again as the keeper; who listens at one of `sockets` is inside already, should the
/// keeper have been killed.
pub fn enter(runtime: &Path, executable: &Path, sockets: &[PathBuf]) -> Result<Inside, RootlessError> {
    durable::make_private_dir(runtime).map_err(RootlessError::io(format!("make {}", runtime.display())))?;
    let _turn = turn(runtime)?;
    if let Some(kept) = Kept::alive(runtime) {
        let kept = outbound::ensure(runtime, kept);
        return join(kept.keeper.pid, kept.has_ranges, runtime);
    }
    let before = Kept::read(runtime);
    if let Some((kept, pid)) = before.as_ref().zip(sockets.iter().find_map(|socket| listener(socket))) {
        return join(pid, kept.has_ranges, runtime);
    }
    before.iter().for_each(Kept::end_outbound);
    let kept = outbound::ensure(runtime, make(runtime, executable)?);
    join(kept.keeper.pid, kept.has_ranges, runtime)
}

/// The process that listens at a socket.
fn listener(socket: &Path) -> Option<i32> {
    let stream = std::os::unix::net::UnixStream::connect(socket).ok()?;
    let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
    (peer.uid == rustix::process::geteuid()).then(|| peer.pid.as_raw_nonzero().get())
}

/// Held by whoever makes, enters or ends the name spaces.
fn turn(runtime: &Path) -> Result<File, RootlessError> {
    let path = record::lock(runtime);
    let open = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = open.map_err(RootlessError::io(format!("open {}", path.display())))?;
    let deadline = Instant::now() + TURN_LIMIT;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            // A lock that is waited for knows no time limit.
            Err(_) if Instant::now() < deadline => std::thread::sleep(TURN_LOOK),
            Err(_) => return Err(RootlessError::Busy),
        }
    }
}

fn make(runtime: &Path, executable: &Path) -> Result<Kept, RootlessError> {
    let maps = Maps::of_this_user();
    let keeper = keeper::start(runtime, executable, &maps)?;
    let kept = Kept {
        version: 1,
        boot_id: record::boot_id()?,
        keeper,
        outbound: None,
        has_ranges: maps.has_ranges(),
    };
    kept.write(runtime)?;
    Ok(kept)
}

fn join(member: i32, has_ranges: bool, runtime: &Path) -> Result<Inside, RootlessError> {
    let open = |kind: &str| {
        let path = format!("/proc/{member}/ns/{kind}");
        File::open(&path).map_err(RootlessError::io(format!("open {path}")))
    };
    let (user, mounts) = (open("user")?, open("mnt")?);
    let directory = std::env::current_dir().ok();
    let enter =
        |file: &File, kind| move_into_link_name_space(file.as_fd(), Some(kind)).map_err(io::Error::from);
    enter(&user, LinkNameSpaceType::User).map_err(RootlessError::io("enter the user name space"))?;
    enter(&mounts, LinkNameSpaceType::Mount).map_err(RootlessError::io("enter the mount name space"))?;
    if has_ranges {
        // Groups of the person are nobody's inside, and what runs there must not have them.
        sys::drop_groups().map_err(RootlessError::io("give up supplementary groups"))?;
    }
    if let Some(directory) = directory {
        go_back(&directory);
    }
    let path = network_file(runtime);
    let network = File::open(&path).map_err(RootlessError::io(format!("open {}", path.display())))?;
    Ok(Inside { has_ranges, network: network.into() })
}

/// Entering mounts leads to their root; the directory is the same one there.
#[expect(clippy::disallowed_methods, reason = "there is one thread, and it restores what it had")]
fn go_back(directory: &Path) {
    // It may have been removed meanwhile; then nothing relative is meant any more.
    let _ = std::env::set_current_dir(directory);
}

/// A program of the system, looked for where `PATH` says and where such programs usually are.
fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Runs a program to its end; its last line of complaint when it fails.
fn run(program: &'static str, arguments: &[String]) -> Result<(), RootlessError> {
    let missing = || RootlessError::Map { program, said: "it is not installed".to_owned() };
    let output = Command::new(find_program(program).ok_or_else(missing)?)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(RootlessError::io(format!("run {program}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    Err(RootlessError::Map { program, said: last.trim().to_owned() })
}

/// The process that keeps the name spaces of a run-time directory, if there is one.
pub fn keeper(runtime: &Path) -> Option<i32> {
    Kept::alive(runtime).map(|kept| kept.keeper.pid)
}

/// Whether this process may act upon another as root of the name space that both are in.
pub fn is_inside_with(pid: i32) -> bool {
    let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/user")).ok();
    of("self").is_some_and(|own| of(&pid.to_string()) == Some(own))
}
