//! `cargo xtask bench`: the promised numbers, measured on this machine.
//!
//! Each bench gives rows of (number, promised, measured); `--write` puts them into the table of
//! SPECIFICATION.md, into the rows that name the bench and the number.

mod container;
pub mod harness;
mod home;
mod journal;
mod plan;
mod program;
mod specification;
mod stack;
pub mod table;

use crate::{Failure, Outcome};
use table::Table;

/// One promised number and what was measured.
#[derive(Debug, Clone)]
pub struct Measured {
    /// As in the first column of SPECIFICATION.md.
    pub number: &'static str,
    pub promised: &'static str,
    /// With its unit, and what it is compared with.
    pub value: String,
    /// Whether the promise is kept; `None` where nothing is promised.
    pub kept: Option<bool>,
}

pub struct Bench {
    pub name: &'static str,
    pub about: &'static str,
    pub run: fn() -> Result<Vec<Measured>, Failure>,
}

/// All benches, in the order of SPECIFICATION.md.
pub const BENCHES: &[Bench] =
    &[plan::BENCH, program::HELP, container::BENCH, stack::BENCH, program::BUILD, journal::BENCH];

pub fn list() -> String {
    let mut table = Table::new(&["bench", "what it measures"]);
    for bench in BENCHES {
        table.row([bench.name, bench.about]);
    }
    table.to_text()
}

pub fn run(arguments: &[&str]) -> Outcome {
    let write = arguments.contains(&"--write");
    let names: Vec<&str> = arguments.iter().copied().filter(|a| *a != "--write").collect();
    let benches = chosen(&names)?;
    let mut table = Table::new(&["number", "promised", "measured", "kept", "bench"]);
    for bench in benches {
        eprintln!("{}: {}", bench.name, bench.about);
        for measured in (bench.run)()? {
            if write {
                specification::write(bench.name, &measured)?;
            }
            let kept = measured.kept.map_or("", |kept| if kept { "yes" } else { "NO" });
            table.row([measured.number, measured.promised, &measured.value, kept, bench.name]);
        }
    }
    print!("{}", table.to_text());
    Ok(())
}

fn chosen(names: &[&str]) -> Result<Vec<&'static Bench>, Failure> {
    if names.contains(&"all") {
        return Ok(BENCHES.iter().collect());
    }
    let find = |name: &&str| {
        BENCHES
            .iter()
            .find(|b| b.name == *name)
            .ok_or_else(|| format!("no bench `{name}`\n\n{}", list()).into())
    };
    names.iter().map(find).collect()
}
