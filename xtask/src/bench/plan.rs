//! How long reading and planning a file of 20 services takes.

use super::harness::milliseconds;
use super::{Bench, Measured, Options};
use crate::process::{read, run};
use crate::{Failure, workspace};
use std::time::Duration;

pub const BENCH: Bench =
    Bench { name: "plan", about: "reading and planning a Compose file of 20 services", run: measure };

fn measure(_: &Options) -> Result<Vec<Measured>, Failure> {
    let root = workspace::root();
    run(&root, "cargo", &["build", "--quiet", "--release", "-p", "juchu", "--example", "parse_and_plan"])?;
    let example = root.join("target/release/examples/parse_and_plan");
    let said = read(&root, &example.to_string_lossy(), &[])?;
    eprint!("{said}");
    let micros = said.split_whitespace().find_map(|word| word.parse::<u64>().ok());
    let parsed = Duration::from_micros(micros.ok_or("the example did not say its time")?);
    Ok(vec![Measured {
        number: "parse and plan of 20 services",
        promised: "≤ 20 ms",
        value: milliseconds(parsed),
        kept: Some(parsed <= Duration::from_millis(20)),
    }])
}
