//! Without root: this process enters the name spaces of its user, in which it is root.

use host::Unprivileged;
use host::rootless::{self, RootlessError};
use juchu::home::Home;
use model::{ErrorKind, Report};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The role in which this program enters the name spaces first and then does what was asked.
pub const ROLE: &str = "inside";

/// What this process has entered.
static ENTERED: OnceLock<Unprivileged> = OnceLock::new();

/// Absent where this is root of the machine, and where no name space was entered.
pub fn entered() -> Option<&'static Unprivileged> {
    ENTERED.get()
}

/// Whether limits can be had at all.
pub fn may_limit() -> bool {
    match entered() {
        Some(user) => user.groups.is_ok(),
        None => rustix::process::geteuid().is_root(),
    }
}

/// The network in which instances are, where that is not the one of this process.
pub fn network(home: &Home) -> Option<PathBuf> {
    entered().map(|_| rootless::network_file(&home.runtime))
}

/// Enters the name spaces, unless this is root. Must be called before any thread exists.
pub fn enter(home: &Home, groups: Groups) -> Result<(), Report> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let executable = juchu::program::path()
        .map_err(|error| Report::environment(format!("find this program's own file: {error}")))?;
    // Asked for before entering: groups are given to users of the machine.
    let groups = match groups {
        Groups::Wanted => rootless::delegated(),
        Groups::Unused => Err("no control group was asked for".to_owned()),
    };
    let inside = rootless::enter(&home.runtime, &executable, &[home.socket(), crate::router::socket(home)])
        .map_err(report)?;
    net::live_in(inside.network);
    // A process enters once.
    let _ = ENTERED.set(Unprivileged { groups, has_ranges: inside.has_ranges });
    Ok(())
}

/// Whether this process will start instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Groups {
    Wanted,
    Unused,
}

fn report(error: RootlessError) -> Report {
    Report::from_error(ErrorKind::Environment, &error)
        .hint("`juchu doctor` says what this machine lacks for running without root")
        .hint("`sudo juchu …` runs as root")
}

/// Set to why there are no name spaces, for a process that goes on without them.
const WITHOUT: &str = "JUCHU_OUTSIDE";

/// Does what this command line says once more, inside. Returns where that cannot be: making an image
/// needs no name space until a build command is to run in a container.
pub fn again(home: &Home) {
    if std::env::var_os(WITHOUT).is_some() {
        return;
    }
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Ok(program) = juchu::program::path() {
        // What cannot be run again goes on as it is.
        let _ = Command::new(program).arg(ROLE).args(arguments).envs(home.variables()).exec();
    }
}

/// The first act of a process started by [`again`].
pub fn enter_if_possible() {
    let entered = Home::discover().and_then(|home| enter(&home, Groups::Wanted));
    let Err(report) = entered else { return };
    let arguments: Vec<OsString> = std::env::args_os().skip(2).collect();
    if let Ok(program) = juchu::program::path() {
        // From the start, because a half-entered process is of no use.
        let error = Command::new(program).args(arguments).env(WITHOUT, &report.error).exec();
        eprintln!("error: {}: {error}", report.error);
        std::process::exit(report.kind.exit_code().into());
    }
}
