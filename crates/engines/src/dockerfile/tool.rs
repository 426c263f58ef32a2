//! Which builder of Dockerfiles this machine has. Programs that keep a build's limits go before
//! daemons, which keep them to themselves.

use super::api::{self, Socket};
use model::Report;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How to get one, for people.
pub const INSTALL: &str = "apt install buildah runc";
/// The variable that chooses one.
pub const CHOICE: &str = "JUCHU_DOCKERFILES";
const CHOICES: &str = "`buildah`, `podman`, `buildkit` or `docker`";

/// Where programs of the system are, also when `PATH` does not say so.
const SYSTEM: [&str; 4] = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"];
/// How long BuildKit's client may take to find its daemon.
const WORKERS_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Buildah,
    Podman,
    BuildKit,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    pub kind: Kind,
    pub path: PathBuf,
    /// What runs the containers of `RUN`; without one they only change their root.
    pub runtime: Option<PathBuf>,
}

/// What builds here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Builder {
    Program(Tool),
    Daemon(Socket),
}

impl Builder {
    /// As it is called in what people read.
    pub fn name(&self) -> String {
        match self {
            Self::Program(Tool { kind: Kind::Buildah, .. }) => "buildah".to_owned(),
            Self::Program(Tool { kind: Kind::Podman, .. }) => "podman".to_owned(),
            Self::Program(Tool { kind: Kind::BuildKit, .. }) => "BuildKit".to_owned(),
            Self::Daemon(socket) => format!("the daemon at {}", socket.path.display()),
        }
    }

    /// The program or the socket.
    pub fn path(&self) -> &Path {
        match self {
            Self::Program(tool) => &tool.path,
            Self::Daemon(socket) => &socket.path,
        }
    }
}

/// The first that is there: buildah, podman, BuildKit, a daemon with Docker's API; or the one that
/// the environment chooses.
pub fn find(environment: &BTreeMap<String, String>) -> Result<Option<Builder>, Report> {
    let programs = Programs::new(environment);
    let chosen = environment.get(CHOICE).map(String::as_str).filter(|choice| !choice.is_empty());
    let found = match chosen {
        None => {
            match [Kind::Buildah, Kind::Podman, Kind::BuildKit].into_iter().find_map(|k| programs.find(k)) {
                Some(tool) => Some(Builder::Program(tool)),
                None => daemon(environment)?,
            }
        }
        Some("buildah") => programs.find(Kind::Buildah).map(Builder::Program),
        Some("podman") => programs.find(Kind::Podman).map(Builder::Program),
        Some("buildkit") => programs.find(Kind::BuildKit).map(Builder::Program),
        Some("docker") => daemon(environment)?,
        Some(other) => {
            return Err(Report::usage(format!("{CHOICE} is `{other}`, which is no builder"))
                .hint(format!("choose {CHOICES}, or unset it")));
        }
    };
    match (chosen, found) {
        (Some(chosen), None) => Err(Report::usage(format!(
            "{CHOICE} chooses {chosen}, and nothing of it answers on this machine"
        ))
        .hint(format!("install or start it, choose another of {CHOICES}, or unset it"))),
        (_, found) => Ok(found),
    }
}

/// A socket at which Docker's API is spoken.
fn daemon(environment: &BTreeMap<String, String>) -> Result<Option<Builder>, Report> {
    let set = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    let sockets = match set("DOCKER_HOST") {
        Some(host) => match host.strip_prefix("unix://") {
            Some(path) => vec![PathBuf::from(path)],
            None => {
                return Err(Report::usage(format!("DOCKER_HOST is `{host}`, which is no Unix socket"))
                    .hint("Dockerfiles are built on this machine: set it to `unix:///PATH`, or unset it"));
            }
        },
        None => {
            let own = set("XDG_RUNTIME_DIR").map(Path::new);
            let mut sockets = vec![PathBuf::from("/var/run/docker.sock")];
            sockets.extend(own.map(|own| own.join("docker.sock")));
            sockets.push("/run/podman/podman.sock".into());
            sockets.extend(own.map(|own| own.join("podman/podman.sock")));
            sockets
        }
    };
    let found = sockets.into_iter().find(|path| path.exists() && api::answers(path));
    Ok(found.map(|path| Builder::Daemon(Socket { path })))
}

struct Programs<'a> {
    directories: Vec<PathBuf>,
    environment: &'a BTreeMap<String, String>,
}

impl<'a> Programs<'a> {
    /// In `PATH`, which is believed alone unless it is empty.
    fn new(environment: &'a BTreeMap<String, String>) -> Self {
        let directories = match environment.get("PATH").map(String::as_str).unwrap_or_default() {
            "" => SYSTEM.map(PathBuf::from).to_vec(),
            path => std::env::split_paths(path).collect(),
        };
        Self { directories, environment }
    }

    fn find(&self, kind: Kind) -> Option<Tool> {
        let name = match kind {
            Kind::Buildah => "buildah",
            Kind::Podman => "podman",
            Kind::BuildKit => "buildctl",
        };
        let path = program(&self.directories, name)?;
        if kind == Kind::BuildKit && !self.has_workers(&path) {
            return None;
        }
        let system = SYSTEM.map(PathBuf::from);
        let runtime = program(&self.directories, "runc").or_else(|| program(&system, "runc"));
        Some(Tool { kind, path, runtime })
    }

    /// Whether a daemon answers BuildKit's client.
    fn has_workers(&self, client: &Path) -> bool {
        let mut command = Command::new(client);
        command.args(["debug", "workers"]).env_clear();
        let passed = ["PATH", "HOME", "XDG_RUNTIME_DIR", "BUILDKIT_HOST"];
        command.envs(self.environment.iter().filter(|(name, _)| passed.contains(&name.as_str())));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(mut child) = command.spawn() else { return false };
        let end = Instant::now() + WORKERS_LIMIT;
        while Instant::now() < end {
            match child.try_wait() {
                Ok(Some(status)) => return status.success(),
                Ok(None) => std::thread::sleep(Duration::from_millis(20)),
                Err(_) => break,
            }
        }
        // It may have ended by itself in the meantime.
        let _ = child.kill();
        let _ = child.wait();
        false
    }
}

fn program(directories: &[PathBuf], name: &str) -> Option<PathBuf> {
    directories.iter().map(|directory| directory.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    struct Room(tempfile::TempDir);

    impl Room {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a directory"))
        }
        fn make(&self, name: &str, mode: u32, text: &str) {
            let path = self.0.path().join(name);
            fs::write(&path, text).expect("written");
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
        }
        fn find(&self, more: &[(&str, &str)]) -> Result<Option<Builder>, Report> {
            let path = self.0.path().to_str().expect("text");
            // No socket of this machine.
            let nothing = format!("unix://{path}/nothing");
            let mut environment =
                BTreeMap::from([("PATH".to_owned(), path.to_owned()), ("DOCKER_HOST".to_owned(), nothing)]);
            environment.extend(more.iter().map(|(name, value)| (name.to_string(), value.to_string())));
            find(&environment)
        }
        fn name(&self, more: &[(&str, &str)]) -> String {
            self.find(more).expect("no error").expect("a builder").name()
        }
    }

    #[test]
    fn the_first_program_counts_unless_another_is_chosen() {
        let room = Room::new();
        assert_eq!(room.find(&[]).expect("no error"), None);
        room.make("buildah", 0o644, "");
        room.make("buildctl", 0o755, "#!/bin/sh\nexit 1\n");
        assert_eq!(room.find(&[]).expect("no error"), None, "no file that cannot be run, no client alone");
        room.make("buildctl", 0o755, "#!/bin/sh\n[ \"$1 $2\" = 'debug workers' ]\n");
        assert_eq!(room.name(&[]), "BuildKit");
        room.make("podman", 0o755, "");
        assert_eq!(room.name(&[]), "podman");
        room.make("buildah", 0o755, "");
        assert_eq!(room.name(&[]), "buildah");
        assert_eq!(room.name(&[(CHOICE, "podman")]), "podman");
        assert_eq!(room.name(&[(CHOICE, "buildkit")]), "BuildKit");
        room.make("runc", 0o755, "");
        let Ok(Some(Builder::Program(tool))) = room.find(&[]) else { panic!("a program") };
        assert_eq!(tool.runtime, Some(room.0.path().join("runc")));
    }

    #[test]
    fn a_choice_that_cannot_be_is_told() {
        let room = Room::new();
        let refused = |more: &[(&str, &str)]| room.find(more).expect_err("refused").error;
        assert!(refused(&[(CHOICE, "make")]).contains("`make`, which is no builder"));
        assert!(refused(&[(CHOICE, "docker")]).contains("nothing of it answers"));
        assert!(refused(&[("DOCKER_HOST", "tcp://h:1")]).contains("which is no Unix socket"));
        let silent = room.0.path().join("silent");
        let _socket = std::os::unix::net::UnixListener::bind(&silent).expect("a socket");
        let host = format!("unix://{}", silent.display());
        assert_eq!(room.find(&[("DOCKER_HOST", &host)]).expect("no error"), None, "it never answers");
    }
}
