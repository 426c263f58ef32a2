//! How long the program itself takes: its help, and reading and planning a file of 20 services.

use super::harness::{Contender, compare, interleave, milliseconds};
use super::home::program;
use super::{Bench, Measured};
use crate::process::{read, run};
use crate::{Failure, workspace};
use std::time::Duration;

pub const BENCH: Bench =
    Bench { name: "start", about: "the program's own start, and a file of 20 services", run: measure };

fn measure() -> Result<Vec<Measured>, Failure> {
    let program = program()?.display().to_string();
    let series = interleave(3, 40, vec![Contender::command("juchu --help", &program, &["--help"])])?;
    eprint!("{}", compare(&series).to_text());
    let help = series[0].wall_median();
    let root = workspace::root();
    run(&root, "cargo", &["build", "--quiet", "--release", "-p", "juchu", "--example", "parse_and_plan"])?;
    let example = root.join("target/release/examples/parse_and_plan");
    let said = read(&root, &example.to_string_lossy(), &[])?;
    eprint!("{said}");
    let micros = said.split_whitespace().find_map(|word| word.parse::<u64>().ok());
    let parsed = Duration::from_micros(micros.ok_or("the example did not say its time")?);
    Ok(vec![
        Measured {
            number: "parse and plan of 20 services",
            promised: "≤ 20 ms",
            value: milliseconds(parsed),
            kept: Some(parsed <= Duration::from_millis(20)),
        },
        Measured {
            number: "`juchu --help`",
            promised: "≤ 20 ms",
            value: milliseconds(help),
            kept: Some(help <= Duration::from_millis(20)),
        },
    ])
}
