//! Which builder of Dockerfiles this machine has.

use std::path::{Path, PathBuf};

/// How to get one, for people.
pub const INSTALL: &str = "apt install buildah runc";

/// Where programs of the system are, also when `PATH` does not say so.
const SYSTEM: [&str; 4] = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Buildah,
    Podman,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    pub kind: Kind,
    pub path: PathBuf,
    /// What runs the containers of `RUN`; without one they only change their root.
    pub runtime: Option<PathBuf>,
}

impl Tool {
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Buildah => "buildah",
            Kind::Podman => "podman",
        }
    }
}

/// The first that is in `path`, a list as in the variable `PATH`, which is believed alone unless it
/// is empty.
pub fn find(path: &str) -> Option<Tool> {
    let directories: Vec<PathBuf> = match path {
        "" => SYSTEM.map(PathBuf::from).to_vec(),
        path => std::env::split_paths(path).collect(),
    };
    let (kind, path) = [(Kind::Buildah, "buildah"), (Kind::Podman, "podman")]
        .into_iter()
        .find_map(|(kind, name)| Some((kind, program(&directories, name)?)))?;
    let system = SYSTEM.map(PathBuf::from);
    let runtime = program(&directories, "runc").or_else(|| program(&system, "runc"));
    Some(Tool { kind, path, runtime })
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

    #[test]
    fn buildah_goes_before_podman_and_only_programs_count() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().to_str().expect("text");
        let make = |name: &str, mode: u32| {
            fs::write(directory.path().join(name), "").expect("written");
            fs::set_permissions(directory.path().join(name), fs::Permissions::from_mode(mode)).expect("set");
        };
        assert_eq!(find(path), None);
        make("buildah", 0o644);
        make("podman", 0o755);
        assert_eq!(find(path).expect("podman").kind, Kind::Podman);
        make("runc", 0o755);
        make("buildah", 0o755);
        let tool = find(path).expect("buildah");
        assert_eq!((tool.name(), tool.runtime), ("buildah", Some(directory.path().join("runc"))));
    }
}
