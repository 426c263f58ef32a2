//! `cargo xtask bench`: the promised numbers, measured on this machine.
//!
//! Each bench gives rows of (number, promised, measured); `--write` puts them into the table of
//! SPECIFICATION.md, into the rows that name the bench and the number.

mod compose;
mod container;
mod cutover;
mod gateway;
pub mod harness;
mod home;
mod image;
mod journal;
mod judge;
mod monitor;
mod panel;
mod plan;
mod program;
mod pull;
mod ranges;
mod specification;
mod stack;
pub mod table;
mod watch;

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
    pub run: fn(&Options) -> Result<Vec<Measured>, Failure>,
}

/// What can be said after the names of benches.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `--write`: puts the figures into SPECIFICATION.md.
    pub write: bool,
    /// `--requests N`: a shorter or longer load, for benches that have one.
    pub requests: Option<u64>,
    /// `--minutes N`: a longer load, for benches that look at what grows.
    pub minutes: Option<u64>,
    /// `--only NAME`: one of those that are compared.
    pub only: Option<String>,
    /// `--program PATH`: another build than the present one.
    pub program: Option<String>,
}

impl Options {
    /// Takes the options out of the arguments; what is left are names.
    fn take<'a>(arguments: &[&'a str]) -> Result<(Self, Vec<&'a str>), Failure> {
        let (mut options, mut names) = (Self::default(), Vec::new());
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("`{argument}` needs a value"));
            match *argument {
                "--write" => options.write = true,
                "--requests" => options.requests = Some(value()?.parse()?),
                "--minutes" => options.minutes = Some(value()?.parse()?),
                "--only" => options.only = Some((*value()?).to_owned()),
                "--program" => options.program = Some((*value()?).to_owned()),
                other if other.starts_with('-') => return Err(format!("no option `{other}`").into()),
                name => names.push(name),
            }
        }
        Ok((options, names))
    }
}

/// All benches, in the order of SPECIFICATION.md.
pub const BENCHES: &[Bench] = &[
    plan::BENCH,
    compose::BENCH,
    program::HELP,
    container::BENCH,
    stack::BENCH,
    program::BUILD,
    journal::BENCH,
    cutover::BENCH,
    gateway::BENCH,
    watch::BENCH,
    image::BENCH,
    image::REPRODUCIBLE,
    pull::BENCH,
    monitor::BENCH,
    panel::BENCH,
    ranges::BENCH,
    judge::BENCH,
];

pub fn list() -> String {
    let mut table = Table::new(&["bench", "what it measures"]);
    for bench in BENCHES {
        table.row([bench.name, bench.about]);
    }
    table.to_text()
}

pub fn run(arguments: &[&str]) -> Outcome {
    let (options, names) = Options::take(arguments)?;
    let benches = chosen(&names)?;
    let mut table = Table::new(&["number", "promised", "measured", "kept", "bench"]);
    for bench in benches {
        eprintln!("{}: {}", bench.name, bench.about);
        for measured in (bench.run)(&options)? {
            if options.write {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_among_names() {
        let (options, names) =
            Options::take(&["cutover", "--requests", "500", "plan", "--write", "--minutes", "60"])
                .expect("valid");
        assert_eq!((options.requests, options.write, names), (Some(500), true, vec!["cutover", "plan"]));
        assert_eq!(options.minutes, Some(60));
        let failure = |arguments: &[&str]| Options::take(arguments).expect_err("not valid").to_string();
        assert_eq!(failure(&["cutover", "--requests"]), "`--requests` needs a value");
        assert_eq!(failure(&["cutover", "--fast"]), "no option `--fast`");
    }
}
