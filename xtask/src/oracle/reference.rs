//! The reference program: one Debian package, fetched, checked against its known sum and unpacked
//! below `target` without running anything of it.

use crate::{Failure, process, workspace};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const VERSION: &str = "2.40.3-3";
/// The pool keeps a version only while a release has it; the snapshot keeps all of them.
const POOL: &str = "https://deb.debian.org/debian/pool/main/d/docker-compose";
const SNAPSHOT: &str =
    "https://snapshot.debian.org/archive/debian/20251201T000000Z/pool/main/d/docker-compose";
/// Architectures with the SHA-256 of their package.
const SUMS: &[(&str, &str)] = &[
    ("amd64", "e7603d5e6df0f8404f7b03da478022b87d7b50644cffe68884b071e5cfc17fd3"),
    ("arm64", "a7c33f38d80c4fad61d426fd47e0b7f1e81ad4a643e4e4cee3401e6f8638d359"),
];
const PROGRAM: &str = "usr/libexec/docker/cli-plugins/docker-compose";
/// How long one file may take, as `timeout` writes it.
const LIMIT: &str = "30";

/// Docker Compose, ready to be asked.
#[derive(Debug, Clone)]
pub struct Reference {
    program: PathBuf,
}

/// What a program answered to `config --format json`.
#[derive(Debug, Clone)]
pub struct Answer {
    pub accepted: bool,
    /// The JSON.
    pub output: String,
    /// Errors without warnings.
    pub said: String,
}

impl Reference {
    /// The given program, or the package.
    pub fn provide(given: Option<PathBuf>) -> Result<Self, Failure> {
        if let Some(program) = given {
            return Ok(Self { program });
        }
        let directory = workspace::root().join("target/xtask/docker-compose").join(VERSION);
        let program = directory.join(PROGRAM);
        if !program.is_file() {
            fetch(&directory)?;
        }
        Ok(Self { program })
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Loads what `directory` holds; `arguments` stand before `config`.
    pub fn config(
        &self,
        directory: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Answer, Failure> {
        let arguments = [arguments, &["config", "--format", "json"]].concat();
        ask(&self.program, directory, &arguments, environment)
    }
}

/// Runs one of the programs with nothing but this environment.
pub fn ask(
    program: &Path,
    directory: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Result<Answer, Failure> {
    let output = Command::new("timeout")
        .arg(LIMIT)
        .arg(program)
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("timeout: {e}"))?;
    if matches!(output.status.code(), Some(124..=127)) {
        let said = String::from_utf8_lossy(&output.stderr);
        let program = program.display();
        return Err(format!("`{program} {}` did not answer: {}", arguments.join(" "), said.trim()).into());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let errors = said.lines().filter(|line| !line.contains("level=warning"));
    Ok(Answer {
        accepted: output.status.success(),
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
        said: errors.collect::<Vec<_>>().join("\n"),
    })
}

fn fetch(directory: &Path) -> Result<(), Failure> {
    let architecture = process::read(&workspace::root(), "dpkg", &["--print-architecture"])?;
    let architecture = architecture.trim();
    let sum = SUMS.iter().find(|(name, _)| *name == architecture).map(|(_, sum)| *sum);
    let sum = sum.ok_or_else(|| {
        format!("no docker-compose package is known for {architecture}; use `--reference PROGRAM`")
    })?;
    std::fs::create_dir_all(directory)?;
    let package = format!("docker-compose_{VERSION}_{architecture}.deb");
    let download = |from: &str| {
        let address = format!("{from}/{package}");
        process::run(directory, "curl", &["-fsSL", "--max-time", "600", "-o", &package, &address])
    };
    download(POOL).or_else(|_| download(SNAPSHOT))?;
    let said = process::read(directory, "sha256sum", &[&package])?;
    let found = said.split_whitespace().next().unwrap_or_default();
    if found != sum {
        std::fs::remove_file(directory.join(&package))?;
        return Err(format!("{package} has the sum {found}, {sum} was expected").into());
    }
    // No script of the package is run.
    process::run(directory, "dpkg-deb", &["-x", &package, "."])
}
