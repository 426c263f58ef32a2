//! `cargo xtask fuzz`: searches bytes that make a parser of the gateway break its word, with
//! libFuzzer on stable Rust. What is found stays under `target/fuzz`, and is printed.

use crate::{Failure, Outcome, process, workspace};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const CRATE: &str = "crates/gateway/fuzz";
/// Instrumentation that libFuzzer reads: which edges were taken, and what was compared.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";
const MAX_BYTES: u32 = 1_024;
/// One input may take so long, in seconds, and the search so much memory, in MiB.
const INPUT_LIMIT_S: u32 = 5;
const MEMORY_LIMIT_MIB: u32 = 1_024;

#[derive(Debug, PartialEq, Eq)]
struct Options {
    targets: Vec<String>,
    /// How long each parser is searched.
    seconds: u32,
}

impl Options {
    fn take(arguments: &[&str]) -> Result<Self, Failure> {
        let mut options = Self { targets: Vec::new(), seconds: 60 };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match *argument {
                "--seconds" => {
                    let value = arguments.next().ok_or("`--seconds` needs a number")?;
                    options.seconds =
                        value.parse().map_err(|_| format!("`{value}` is no number of seconds"))?;
                }
                option if option.starts_with('-') => return Err(format!("no option `{option}`").into()),
                target => options.targets.push(target.to_owned()),
            }
        }
        Ok(options)
    }
}

pub fn run(arguments: &[&str]) -> Outcome {
    let options = Options::take(arguments)?;
    let all = parsers()?;
    if let Some(unknown) = options.targets.iter().find(|target| !all.contains(target)) {
        return Err(format!("no parser `{unknown}`; there are {}", all.join(", ")).into());
    }
    let place = workspace::root().join("target/fuzz");
    let programs = build(&place)?;
    let chosen = if options.targets.is_empty() { &all } else { &options.targets };
    for target in chosen {
        search(&programs, &place, target, options.seconds)?;
    }
    Ok(())
}

/// Builds the programs with the versions of the workspace, and returns where they are.
fn build(place: &Path) -> Result<PathBuf, Failure> {
    let directory = workspace::root().join(CRATE);
    fs::copy(workspace::root().join("Cargo.lock"), directory.join("Cargo.lock"))?;
    let host = process::read(&directory, "rustc", &["--print", "host-tuple"])?;
    let host = host.trim();
    let mut command = Command::new("cargo");
    command.current_dir(&directory).args(["build", "--release", "--target", host]);
    command.arg("--target-dir").arg(place).env("RUSTFLAGS", FLAGS);
    if !command.status()?.success() {
        return Err("the programs of the search could not be built".into());
    }
    Ok(place.join(host).join("release"))
}

/// The parsers there are programs for.
fn parsers() -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for entry in fs::read_dir(workspace::root().join(CRATE).join("targets"))? {
        names.extend(entry?.path().file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort_unstable();
    Ok(names)
}

fn search(programs: &Path, place: &Path, target: &str, seconds: u32) -> Outcome {
    println!("{target}: {seconds} s");
    let found = place.join("found").join(target);
    let corpus = place.join("corpus").join(target);
    fs::create_dir_all(&found)?;
    fs::create_dir_all(&corpus)?;
    let status = Command::new(programs.join(target))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={MAX_BYTES}"))
        .arg(format!("-timeout={INPUT_LIMIT_S}"))
        .arg(format!("-rss_limit_mb={MEMORY_LIMIT_MIB}"))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg("-print_final_stats=1")
        .arg("-verbosity=0")
        .arg(&corpus)
        .env("JUCHU_FUZZ_SEEDS", &corpus)
        .status()?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{target}: an input broke it; it lies in {}", found.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let taken = |arguments: &[&str]| Options::take(arguments).map_err(|error| error.to_string());
        assert_eq!(taken(&[]), Ok(Options { targets: vec![], seconds: 60 }));
        let chosen = Options { targets: vec!["proxy".into(), "names".into()], seconds: 5 };
        assert_eq!(taken(&["proxy", "--seconds", "5", "names"]), Ok(chosen));
        assert_eq!(taken(&["--seconds", "x"]), Err("`x` is no number of seconds".into()));
        assert_eq!(taken(&["--what"]), Err("no option `--what`".into()));
    }
}
