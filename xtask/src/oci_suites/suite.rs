//! Running a suite, case by case, each in a mount name space of its own: some cases mount into the
//! machine's file tree, and what they leave there must go with them.

use super::case::{Verdict, of_contest, of_tap};
use crate::Failure;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use testkit::TempDir;

/// How long one program of a suite may take.
const LIMIT_SECONDS: &str = "120";

/// A public suite, built.
pub enum Suite {
    /// `validation/*/*.t`, `runtimetest` and the root file systems beside them.
    RuntimeTools(PathBuf),
    /// `contest`, `runtimetest` (linked statically) and `bundle.tar.gz`.
    Contest(PathBuf),
}

/// What is judged.
pub struct Runtime {
    pub name: &'static str,
    pub program: PathBuf,
}

impl Suite {
    pub fn name(&self) -> &'static str {
        match self {
            Self::RuntimeTools(_) => "runtime-tools validation",
            Self::Contest(_) => "youki contest",
        }
    }

    /// Every case with its verdict; `say` gets the output of what did not pass.
    pub fn judge(
        &self,
        runtime: &Runtime,
        names: &[String],
        say: &mut dyn FnMut(&str, &str),
    ) -> Result<Vec<(String, Verdict)>, Failure> {
        let mut cases = Vec::new();
        for part in self.parts()? {
            if !names.is_empty() && !names.contains(&part) {
                continue;
            }
            let (text, succeeded) = self.run(runtime, &part)?;
            let judged = match self {
                Self::RuntimeTools(_) => vec![(part.clone(), of_tap(&text, succeeded))],
                Self::Contest(_) => of_contest(&part, &text, succeeded),
            };
            if judged.iter().any(|(_, verdict)| *verdict == Verdict::Failed) {
                say(&part, &text);
            }
            cases.extend(judged);
        }
        Ok(cases)
    }

    /// What can be run by itself: programs of the one, groups of the other.
    fn parts(&self) -> Result<Vec<String>, Failure> {
        let mut parts: Vec<String> = match self {
            Self::RuntimeTools(dir) => {
                let programs = crate::workspace::files(&dir.join("validation"), ".t")?;
                programs.iter().filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect()
            }
            Self::Contest(dir) => {
                let program = dir.join("contest");
                let said = crate::process::read(dir, &program.to_string_lossy(), &["list"])?;
                said.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
            }
        };
        parts.sort();
        parts.dedup();
        if parts.is_empty() {
            Err(format!("{}: nothing to run there", self.name()).into())
        } else {
            Ok(parts)
        }
    }

    fn run(&self, runtime: &Runtime, part: &str) -> Result<(String, bool), Failure> {
        match self {
            Self::RuntimeTools(dir) => {
                let program = dir.join(format!("validation/{part}/{part}.t"));
                apart(dir, &[program.as_os_str()], &[("RUNTIME", runtime.program.as_os_str())])
            }
            Self::Contest(dir) => {
                let (contest, inside) = (dir.join("contest"), dir.join("runtimetest"));
                let words: [&OsStr; 8] = [
                    contest.as_os_str(),
                    "run".as_ref(),
                    "--runtime".as_ref(),
                    runtime.program.as_os_str(),
                    "--runtimetest".as_ref(),
                    inside.as_os_str(),
                    "-t".as_ref(),
                    part.as_ref(),
                ];
                // Some cases know what runc does otherwise.
                let kind = if runtime.name == "runc" { "runc" } else { "youki" };
                apart(dir, &words, &[("RUNTIME_KIND", kind.as_ref())])
            }
        }
    }
}

/// Runs a program in `dir` with mounts and temporary files of its own; answers what it said.
fn apart(dir: &Path, words: &[&OsStr], environment: &[(&str, &OsStr)]) -> Result<(String, bool), Failure> {
    let own = TempDir::new();
    let output = own.join("output");
    // A file: what it leaves running would hold a pipe open.
    let file = File::create(&output)?;
    let status = Command::new("timeout")
        .args(["--kill-after=5", LIMIT_SECONDS, "unshare", "--mount", "--propagation", "private"])
        .args(words)
        .current_dir(dir)
        .env("TMPDIR", own.path())
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .map_err(|error| format!("timeout: {error}"))?;
    Ok((String::from_utf8_lossy(&fs::read(&output)?).into_owned(), status.success()))
}

/// The suites want one program; ours is a command of `juchu`.
pub fn wrap(program: &Path, dir: &Path) -> Result<PathBuf, Failure> {
    let path = dir.join("juchu-oci");
    fs::write(&path, format!("#!/bin/sh\nexec '{}' oci \"$@\"\n", program.display()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}
