//! Running other programs: always by argument vector, with their output where it belongs.

use crate::{Failure, Outcome};
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs a program with our own standard streams; says on standard error what is run.
pub fn run(directory: &Path, program: &str, arguments: &[&str]) -> Outcome {
    eprintln!("$ {program} {}", arguments.join(" "));
    let status = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .status()
        .map_err(|e| format!("{program}: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{program} {}`: {status}", arguments.join(" ")).into())
    }
}

/// Standard output of a program; its standard error becomes part of the failure.
pub fn read(directory: &Path, program: &str, arguments: &[&str]) -> Result<String, Failure> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .output()
        .map_err(|e| format!("{program}: {e}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`{program} {}`: {}", arguments.join(" "), said.trim()).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Whether a program is there and answers `arguments` with success.
pub fn answers(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
