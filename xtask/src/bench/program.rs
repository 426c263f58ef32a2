//! The program itself: how long it takes to build from nothing, and to say its help.

use super::harness::{Contender, compare, interleave, milliseconds};
use super::{Bench, Measured, Options};
use crate::process::run;
use crate::{Failure, workspace};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

pub const HELP: Bench = Bench { name: "help", about: "`juchu --help`, a whole process", run: help };
pub const BUILD: Bench = Bench {
    name: "build",
    about: "a clean release build, into a directory of its own (minutes)",
    run: build,
};

const HELP_ROUNDS: usize = 100;

/// The release build of the program, made if need be.
pub fn release() -> Result<PathBuf, Failure> {
    run(&workspace::root(), "cargo", &["build", "--quiet", "--release", "-p", "juchu"])?;
    Ok(workspace::root().join("target/release/juchu"))
}

fn help(_: &Options) -> Result<Vec<Measured>, Failure> {
    let program = release()?.to_string_lossy().into_owned();
    // A process that does nothing shows how much of the figure is the machine's.
    let series = interleave(
        5,
        HELP_ROUNDS,
        vec![
            Contender::command("true", "true", &[]),
            Contender::command("juchu --help", &program, &["--help"]),
        ],
    )?;
    eprint!("{}", compare(&series).to_text());
    let median = series[1].wall_median();
    Ok(vec![Measured {
        number: "`juchu --help`",
        promised: "≤ 20 ms",
        value: milliseconds(median),
        kept: Some(median.as_millis() <= 20),
    }])
}

fn build(_: &Options) -> Result<Vec<Measured>, Failure> {
    let directory = workspace::root().join(format!("target/bench-build-{}", std::process::id()));
    let built = timed_build(&directory);
    // What is left of it is worth gigabytes.
    std::fs::remove_dir_all(&directory)?;
    let (seconds, bytes) = built?;
    Ok(vec![Measured {
        number: "clean release build on 2 cores",
        promised: "≤ 8 min",
        value: format!("{:.1} min, {:.1} MiB", seconds / 60.0, bytes as f64 / f64::from(1 << 20)),
        kept: Some(seconds <= 480.0),
    }])
}

/// Seconds it took on two cores with every dependency at hand, and the size of the program.
fn timed_build(directory: &Path) -> Result<(f64, u64), Failure> {
    let root = workspace::root();
    run(&root, "cargo", &["fetch", "--quiet", "--locked"])?;
    let start = Instant::now();
    let status = Command::new("cargo")
        .args(["build", "--quiet", "--release", "--jobs=2", "-p", "juchu"])
        .current_dir(&root)
        .env("CARGO_TARGET_DIR", directory)
        .status()?;
    if !status.success() {
        return Err(format!("the release build failed: {status}").into());
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok((seconds, std::fs::metadata(directory.join("release/juchu"))?.len()))
}
