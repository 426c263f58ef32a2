//! How long the program takes to build from nothing.

use super::{Bench, Measured};
use crate::process::run;
use crate::{Failure, workspace};
use std::time::{Duration, Instant};

pub const BENCH: Bench =
    Bench { name: "compile", about: "a clean release build, downloads already there", run: measure };

const PROMISED: Duration = Duration::from_secs(8 * 60);

fn measure() -> Result<Vec<Measured>, Failure> {
    let root = workspace::root();
    run(&root, "cargo", &["fetch", "--quiet", "--locked"])?;
    let directory = root.join(format!("target/bench-compile-{}", std::process::id()));
    let target = directory.display().to_string();
    let begun = Instant::now();
    let built = run(
        &root,
        "cargo",
        &["build", "--quiet", "--release", "--locked", "--offline", "-p", "juchu", "--target-dir", &target],
    );
    let took = begun.elapsed();
    std::fs::remove_dir_all(&directory)?;
    built?;
    Ok(vec![Measured {
        number: "clean release build on 2 cores",
        promised: "≤ 8 min",
        value: format!("{} min {} s", took.as_secs() / 60, took.as_secs() % 60),
        kept: Some(took <= PROMISED),
    }])
}
