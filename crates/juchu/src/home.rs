//! Where Juchu keeps things on this machine.
//!
//! Root keeps its state in `/var/lib/juchu` and its sockets in `/run/juchu`; `JUCHU_HOME` names one
//! directory for both.

use model::Report;
use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Longest path of a Unix socket, without its closing zero (`sun_path` in `unix(7)`).
pub const SOCKET_PATH_MAX: usize = 107;
/// The longest name of a socket below the run-time directory.
const SOCKET_NAME_MAX: usize = 32;

/// The directories of one Juchu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// Survives a reboot: journal, images, volumes.
    pub state: PathBuf,
    /// Does not: sockets and locks.
    pub runtime: PathBuf,
}

impl Home {
    /// From the environment and the user of this process.
    pub fn discover() -> Result<Self, Report> {
        Self::choose(env::var_os("JUCHU_HOME"), rustix::process::geteuid().is_root(), env::current_dir().ok())
    }

    fn choose(named: Option<OsString>, root: bool, here: Option<PathBuf>) -> Result<Self, Report> {
        let home = match named.filter(|named| !named.is_empty()).map(PathBuf::from) {
            Some(named) => {
                let named = here.map_or_else(|| named.clone(), |here| here.join(&named));
                Self { runtime: named.join("run"), state: named }
            }
            None if root => Self { state: "/var/lib/juchu".into(), runtime: "/run/juchu".into() },
            None => return Err(needs_root()),
        };
        home.check_length()?;
        Ok(home)
    }

    /// The kernel cuts longer socket paths, so they are refused before anything is made.
    fn check_length(&self) -> Result<(), Report> {
        let length = self.runtime.as_os_str().as_bytes().len() + 1 + SOCKET_NAME_MAX;
        if length <= SOCKET_PATH_MAX {
            return Ok(());
        }
        let most = SOCKET_PATH_MAX - SOCKET_NAME_MAX - 1;
        let error = format!(
            "{} is too long for the sockets below it: {} bytes, at most {most}",
            self.runtime.display(),
            self.runtime.as_os_str().as_bytes().len()
        );
        Err(Report::environment(error).hint("name a shorter directory in JUCHU_HOME"))
    }

    /// A daemon of somebody else would build for minutes and then run nothing.
    pub fn check_rights() -> Result<(), Report> {
        match rustix::process::geteuid().is_root() {
            true => Ok(()),
            false => Err(needs_root()),
        }
    }

    /// The socket of the API.
    pub fn socket(&self) -> PathBuf {
        self.runtime.join("api.sock")
    }

    /// What the daemon says when nobody sits before it.
    pub fn daemon_log(&self) -> PathBuf {
        self.state.join("daemon.log")
    }

    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.state.join(name)
    }
}

fn needs_root() -> Report {
    Report::environment("juchu needs root to run containers on this machine")
        .hint("put `sudo` before the command; running without root is not there yet")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(named: Option<&str>, root: bool) -> Result<Home, Report> {
        Home::choose(named.map(Into::into), root, Some("/work".into()))
    }

    #[test]
    fn the_environment_wins_over_the_user() {
        let home = choose(Some("/srv/j"), false).expect("named");
        assert_eq!((home.state, home.runtime), ("/srv/j".into(), "/srv/j/run".into()));
        let home = choose(Some("j"), true).expect("relative");
        assert_eq!(home.socket(), Path::new("/work/j/run/api.sock"));
        let home = choose(Some(""), true).expect("empty is unset");
        assert_eq!(home.socket(), Path::new("/run/juchu/api.sock"));
        assert_eq!(home.daemon_log(), Path::new("/var/lib/juchu/daemon.log"));
        assert_eq!(home.join("journal"), Path::new("/var/lib/juchu/journal"));
    }

    #[test]
    fn without_root_the_way_is_shown() {
        let report = choose(None, false).expect_err("not root");
        assert!(report.hints[0].contains("sudo"), "{report}");
    }

    #[test]
    fn a_home_too_deep_for_sockets_is_refused_at_once() {
        let longest =
            "/".to_owned() + &"a".repeat(SOCKET_PATH_MAX - SOCKET_NAME_MAX - "/".len() - "//run".len());
        assert!(choose(Some(&longest), true).is_ok());
        let report = choose(Some(&(longest + "a")), true).expect_err("too long");
        assert!(report.hints[0].contains("JUCHU_HOME"), "{report}");
    }
}
