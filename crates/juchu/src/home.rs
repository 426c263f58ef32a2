//! Where Juchu keeps things on this machine.
//!
//! Root keeps its state in `/var/lib/juchu` and its sockets in `/run/juchu`, others below
//! `$XDG_DATA_HOME` and `$XDG_RUNTIME_DIR`; `JUCHU_HOME` names one directory for both.

use model::Report;
use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Longest path of a Unix socket, without its closing zero (`sun_path` in `unix(7)`).
pub const SOCKET_PATH_MAX: usize = 107;
/// The longest name of a socket below the run-time directory.
const SOCKET_NAME_MAX: usize = 32;
const STATE_VARIABLE: &str = "JUCHU_STATE";
const RUNTIME_VARIABLE: &str = "JUCHU_RUNTIME";

/// The directories of one Juchu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// Survives a reboot: journal, images, volumes.
    pub state: PathBuf,
    /// Does not: sockets and locks.
    pub runtime: PathBuf,
}

/// What decides where a home is.
#[derive(Debug, Default)]
struct Given {
    /// `JUCHU_HOME`.
    named: Option<OsString>,
    /// `JUCHU_STATE` and `JUCHU_RUNTIME`: what a process that entered name spaces is told.
    both: Option<(OsString, OsString)>,
    uid: u32,
    here: Option<PathBuf>,
    person: Option<OsString>,
    data: Option<OsString>,
    runtime: Option<OsString>,
}

impl Given {
    fn of_process() -> Self {
        let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        Self {
            named: variable("JUCHU_HOME"),
            both: variable(STATE_VARIABLE).zip(variable(RUNTIME_VARIABLE)),
            uid: rustix::process::geteuid().as_raw(),
            here: env::current_dir().ok(),
            person: variable("HOME"),
            data: variable("XDG_DATA_HOME"),
            runtime: variable("XDG_RUNTIME_DIR"),
        }
    }

    /// Of a user, by the places that the desktop's specification names.
    fn of_user(&self) -> Result<Home, Report> {
        let absolute = |path: &Option<OsString>| path.as_ref().map(PathBuf::from).filter(|p| p.is_absolute());
        let data = absolute(&self.data).or_else(|| Some(absolute(&self.person)?.join(".local/share")));
        let data = data.ok_or_else(|| {
            Report::environment("neither HOME nor XDG_DATA_HOME says where this user's files are")
                .hint("JUCHU_HOME names a directory for everything")
        })?;
        let usual = PathBuf::from(format!("/run/user/{}", self.uid));
        let own =
            [absolute(&self.runtime), Some(usual)].into_iter().flatten().find(|dir| is_own(dir, self.uid));
        let runtime = match own {
            Some(dir) => dir.join("juchu"),
            None => PathBuf::from(format!("/tmp/juchu-{}", self.uid)),
        };
        if runtime.symlink_metadata().is_ok() && !is_own(&runtime, self.uid) {
            let error = format!("{} belongs to somebody else, or others may write there", runtime.display());
            return Err(Report::environment(error).hint("JUCHU_HOME names a directory for everything"));
        }
        Ok(Home { state: data.join("juchu"), runtime })
    }
}

/// A directory of that user in which nobody else can put anything.
fn is_own(dir: &Path, uid: u32) -> bool {
    dir.symlink_metadata().is_ok_and(|meta| meta.is_dir() && meta.uid() == uid && meta.mode() & 0o022 == 0)
}

impl Home {
    /// From the environment and the user of this process.
    pub fn discover() -> Result<Self, Report> {
        Self::choose(Given::of_process())
    }

    fn choose(given: Given) -> Result<Self, Report> {
        let home = match (&given.both, &given.named) {
            (Some((state, runtime)), _) => Self { state: state.into(), runtime: runtime.into() },
            (None, Some(named)) => {
                let named = given.here.map_or_else(|| named.into(), |here| here.join(named));
                Self { runtime: named.join("run"), state: named }
            }
            (None, None) if given.uid == 0 => {
                Self { state: "/var/lib/juchu".into(), runtime: "/run/juchu".into() }
            }
            (None, None) => given.of_user()?,
        };
        home.check_length()?;
        Ok(home)
    }

    /// For a process whose user or directories would lead it elsewhere.
    pub fn variables(&self) -> [(&'static str, &Path); 2] {
        [(STATE_VARIABLE, &self.state), (RUNTIME_VARIABLE, &self.runtime)]
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

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(named: Option<&str>, root: bool) -> Result<Home, Report> {
        let named = named.filter(|named| !named.is_empty()).map(OsString::from);
        let uid = if root { 0 } else { 4_000_000 };
        Home::choose(Given { named, uid, here: Some("/work".into()), ..Given::default() })
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
    fn a_user_has_a_home_below_its_own() {
        let directory = tempfile::tempdir().expect("a directory");
        let uid = directory.path().metadata().expect("there").uid();
        let text = |path: &str| Some(OsString::from(path));
        let given = || Given { uid: uid.max(1), person: text("/home/ann"), ..Given::default() };
        let home = given().of_user().expect("a home");
        assert_eq!(home.state, Path::new("/home/ann/.local/share/juchu"));
        let given = Given { uid, data: text("/data"), runtime: Some(directory.path().into()), ..given() };
        let home = given.of_user().expect("a home");
        assert_eq!(
            (home.state.as_path(), home.runtime),
            (Path::new("/data/juchu"), directory.path().join("juchu"))
        );
        let report = Given { uid: 1, ..Given::default() }.of_user().expect_err("nowhere");
        assert!(report.hints[0].contains("JUCHU_HOME"), "{report}");
    }

    #[test]
    fn a_run_time_directory_of_somebody_else_is_not_used() {
        let directory = tempfile::tempdir().expect("a directory");
        let uid = directory.path().metadata().expect("there").uid();
        assert!(is_own(directory.path(), uid) && !is_own(directory.path(), uid + 1));
        std::os::unix::fs::symlink(directory.path(), directory.path().join("link")).expect("a link");
        assert!(!is_own(&directory.path().join("link"), uid));
        assert!(!is_own(Path::new("/tmp"), 0), "anybody may write there");
    }

    #[test]
    fn what_a_process_is_told_wins() {
        let both = Some(("/s".into(), "/r".into()));
        let home = Home::choose(Given { both, named: Some("/h".into()), uid: 0, ..Given::default() });
        let home = home.expect("both");
        assert_eq!(home.variables().map(|(_, path)| path), [Path::new("/s"), Path::new("/r")]);
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
