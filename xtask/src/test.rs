//! `cargo xtask test`: all tests, by cargo-nextest where it is installed, else by cargo itself.
//!
//! A test whose path has a module named `slow` takes seconds or needs the machine for itself: it
//! runs after the others, alone. The last line printed is the runner's own summary.

use crate::process::answers;
use crate::{Failure, Outcome, packages, pure_v2, workspace};
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    All,
    Fast,
    Slow,
}

const SLOW: &str = "slow::";
const ONE_BY_ONE: &str = "--test-threads=1";

pub fn run(set: Set) -> Outcome {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(packages::provide()?.into_iter().chain(std::env::split_paths(&path)))?;
    if answers("cargo", &["nextest", "--version"]) {
        with_nextest(set, &path)
    } else {
        with_cargo(set, &path)
    }
}

/// `.config/nextest.toml` puts the slow ones last and alone.
fn with_nextest(set: Set, path: &OsStr) -> Outcome {
    let filter = match set {
        Set::All => "all()",
        Set::Fast => "not test(/(^|::)slow::/)",
        Set::Slow => "test(/(^|::)slow::/)",
    };
    if set != Set::Slow {
        examples_in_docs(path)?;
    }
    let passed = cargo(&["nextest", "run", "--workspace", "--no-fail-fast", "-E", filter], path)?;
    finish(
        passed.failed | other_machines_fail(set),
        passed.lines.iter().rfind(|line| line.trim_start().starts_with("Summary [")).cloned(),
    )
}

/// Without a process for each test: one after the other, because they share more than they would.
fn with_cargo(set: Set, path: &OsStr) -> Outcome {
    // `cargo test` makes test programs of the examples; some tests run the examples themselves.
    if cargo(&["build", "--workspace", "--examples"], path)?.failed {
        return Err("an example cannot be built".into());
    }
    let mut total = Totals::default();
    let mut failed = false;
    let mut pass = |arguments: &[&str]| -> Outcome {
        let all = ["test", "--workspace", "--all-targets", "--no-fail-fast", "--"];
        let ran = cargo(&[&all, arguments].concat(), path)?;
        total.add(&ran.lines);
        failed |= ran.failed;
        Ok(())
    };
    if set != Set::Slow {
        examples_in_docs(path)?;
        pass(&["--skip", SLOW, ONE_BY_ONE])?;
    }
    if set != Set::Fast {
        pass(&[SLOW, ONE_BY_ONE])?;
    }
    failed |= other_machines_fail(set);
    finish(failed, Some(total.line(failed)))
}

/// Where they cannot be had, that is told; only in CI it is a failure.
fn other_machines_fail(set: Set) -> bool {
    if set == Set::Fast {
        return false;
    }
    let Err(failure) = pure_v2::run_all() else { return false };
    eprintln!("error: {failure}");
    std::env::var_os("CI").is_some()
}

fn examples_in_docs(path: &OsStr) -> Outcome {
    if cargo(&["test", "--workspace", "--doc", "--quiet"], path)?.failed {
        return Err("an example in the documentation fails".into());
    }
    Ok(())
}

fn finish(failed: bool, summary: Option<String>) -> Outcome {
    if failed {
        // The summary stays the last line on standard output; this goes to standard error.
        eprintln!("error: some tests fail");
    }
    println!("{}", summary.ok_or("the test runner printed no summary")?.trim());
    if failed { std::process::exit(1) } else { Ok(()) }
}

struct Ran {
    failed: bool,
    /// What it said, as far as summaries go.
    lines: Vec<String>,
}

/// Runs cargo; its output passes through as it comes and the summary lines are kept.
fn cargo(arguments: &[&str], path: &OsStr) -> Result<Ran, Failure> {
    eprintln!("$ cargo {}", arguments.join(" "));
    let mut child = Command::new("cargo")
        .args(arguments)
        .env("PATH", path)
        .current_dir(workspace::root())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or("no standard output")?;
    let errors = child.stderr.take().ok_or("no standard error")?;
    let lines = std::thread::scope(|scope| {
        let errors = scope.spawn(|| pass_on(errors, &mut std::io::stderr()));
        let mut lines = pass_on(output, &mut std::io::stdout());
        lines.extend(errors.join().unwrap_or_default());
        lines
    });
    Ok(Ran { failed: !child.wait()?.success(), lines })
}

fn pass_on(from: impl std::io::Read, to: &mut impl std::io::Write) -> Vec<String> {
    let mut kept = Vec::new();
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        // A closed output is no reason to stop the tests.
        let _ = to.write_all(&line).and_then(|()| to.flush());
        let text = String::from_utf8_lossy(&line);
        if text.contains("Summary [") || text.starts_with("test result:") {
            kept.push(text.into_owned());
        }
        line.clear();
    }
    kept
}

/// Sums of cargo's `test result:` lines, of which it prints one per program.
#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Totals {
    fn add(&mut self, lines: &[String]) {
        for line in lines {
            for part in line.split([';', '.']) {
                match part.split_whitespace().collect::<Vec<_>>()[..] {
                    [number, "passed"] => self.passed += number.parse().unwrap_or(0),
                    [number, "failed"] => self.failed += number.parse().unwrap_or(0),
                    [number, "ignored"] => self.ignored += number.parse().unwrap_or(0),
                    _ => {}
                }
            }
        }
    }

    fn line(&self, failed: bool) -> String {
        let word = if failed { "FAILED" } else { "ok" };
        format!(
            "test result: {word}. {} passed; {} failed; {} ignored",
            self.passed, self.failed, self.ignored
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_programs_are_summed() {
        let mut totals = Totals::default();
        totals.add(&[
            "test result: ok. 8 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.25s".into(),
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s".into(),
        ]);
        assert_eq!(totals, Totals { passed: 11, failed: 2, ignored: 1 });
        assert_eq!(totals.line(true), "test result: FAILED. 11 passed; 2 failed; 1 ignored");
    }
}
