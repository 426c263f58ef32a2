//! Debian packages that tests and benches call: the one list of them.
//!
//! Tests ask for them by `testkit::needs(BINARY, PACKAGE)`; a test keeps the list complete.

use crate::{Failure, Outcome, process, workspace};
use std::path::PathBuf;

pub struct Package {
    pub name: &'static str,
    pub why: &'static str,
    /// A single program that needs no more than the C library and whose package would start a
    /// service: it is unpacked below `target` instead of being installed.
    pub unpacked: bool,
}

const fn installed(name: &'static str, why: &'static str) -> Package {
    Package { name, why, unpacked: false }
}

const fn unpacked(name: &'static str, why: &'static str) -> Package {
    Package { name, why, unpacked: true }
}

pub const PACKAGES: &[Package] = &[
    installed("iproute2", "looks at the networks that tests make"),
    installed("nftables", "looks at the firewall rules of these networks"),
    installed("skopeo", "reads the images that we build, as others do"),
    installed("podman", "runs containers through our OCI command line"),
    installed("runc", "the OCI runtime that ours is compared with"),
    unpacked("docker-registry", "a registry to pull images from"),
];

/// Gets what is missing, where there is `apt-get`. Returns directories for the front of `PATH`.
pub fn provide() -> Result<Vec<PathBuf>, Failure> {
    if !process::answers("apt-get", &["--version"]) {
        return Ok(Vec::new());
    }
    let missing = || PACKAGES.iter().filter(|package| !is_installed(package.name));
    let names: Vec<&str> = missing().filter(|p| !p.unpacked).map(|p| p.name).collect();
    if !names.is_empty() {
        install(&names)?;
    }
    missing().filter(|p| p.unpacked).map(|package| unpack(package.name)).collect()
}

fn install(names: &[&str]) -> Outcome {
    // SAFETY: geteuid has no preconditions and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("warning: some tests will be skipped without: {}", names.join(" "));
        eprintln!("hint: sudo apt-get install {}", names.join(" "));
        return Ok(());
    }
    apt_get(&workspace::root(), &[&["install", "-y", "--no-install-recommends"], names].concat())
}

/// The directory of the package's programs.
fn unpack(name: &str) -> Result<PathBuf, Failure> {
    let directory = workspace::root().join("target/xtask").join(name);
    let programs = directory.join("usr/bin");
    if programs.is_dir() {
        return Ok(programs);
    }
    let download = directory.join("download");
    std::fs::create_dir_all(&download)?;
    apt_get(&download, &["download", name])?;
    let package = workspace::files(&download, ".deb")?.pop().ok_or("apt-get left no package")?;
    process::run(&directory, "dpkg-deb", &["-x", &package.to_string_lossy(), "."])?;
    Ok(programs)
}

/// The lists of a fresh machine are empty or old; only when something is not found are they
/// fetched.
fn apt_get(directory: &std::path::Path, arguments: &[&str]) -> Outcome {
    // Without a terminal, and as root also when the directory is not open to apt's own user.
    let command = ["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "APT::Sandbox::User=root"];
    let run = |arguments: &[&str]| process::run(directory, "env", &[&command, arguments].concat());
    run(arguments).or_else(|_| run(&["update"]).and_then(|()| run(arguments)))
}

fn is_installed(package: &str) -> bool {
    process::read(&workspace::root(), "dpkg-query", &["-W", "-f=${db:Status-Status}", package])
        .is_ok_and(|status| status == "installed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_package_stands_in_the_list_once_with_its_reason() {
        let names: BTreeSet<&str> = PACKAGES.iter().map(|package| package.name).collect();
        assert_eq!(names.len(), PACKAGES.len());
        assert!(PACKAGES.iter().all(|package| !package.why.is_empty()));
    }
}
