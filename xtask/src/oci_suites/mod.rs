//! `cargo xtask oci-suites`: the public suites for OCI runtimes over `juchu oci`, beside Debian's
//! runc and crun, so that a failure of the machine is told from one of ours.

mod case;
mod suite;

use crate::bench::table::Table;
use crate::{Failure, Outcome, process, workspace};
use case::Verdict;
use std::collections::BTreeMap;
use std::path::PathBuf;
use suite::{Runtime, Suite};
use testkit::TempDir;

/// What can be said after `oci-suites`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    runtime_tools: Option<PathBuf>,
    contest: Option<PathBuf>,
    /// The build of juchu that is judged; without it one is made.
    program: Option<PathBuf>,
    /// Judge this one alone.
    only: Option<String>,
    /// Also print what was said by cases that did not pass.
    verbose: bool,
    /// Programs or groups; all without any.
    names: Vec<String>,
}

impl Options {
    fn take(arguments: &[&str]) -> Result<Self, Failure> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("`{argument}` needs a value"));
            match *argument {
                "--runtime-tools" => options.runtime_tools = Some(value()?.into()),
                "--contest" => options.contest = Some(value()?.into()),
                "--program" => options.program = Some(value()?.into()),
                "--only" => options.only = Some((*value()?).to_owned()),
                "--verbose" => options.verbose = true,
                other if other.starts_with('-') => return Err(format!("no option `{other}`").into()),
                name => options.names.push(name.to_owned()),
            }
        }
        if options.runtime_tools.is_none() && options.contest.is_none() {
            return Err("say where a suite is built: `--runtime-tools DIR`, `--contest DIR`".into());
        }
        Ok(options)
    }

    fn suites(&self) -> Result<Vec<Suite>, Failure> {
        let at = |dir: &Option<PathBuf>| {
            let found = dir.as_ref().map(|dir| (dir.canonicalize(), dir.display().to_string()));
            found.map(|(path, name)| path.map_err(|error| format!("{name}: {error}"))).transpose()
        };
        let tools = at(&self.runtime_tools)?.map(Suite::RuntimeTools);
        let contest = at(&self.contest)?.map(Suite::Contest);
        Ok(tools.into_iter().chain(contest).collect())
    }

    /// Ours first, then those of Debian that are installed.
    fn runtimes(&self, dir: &TempDir) -> Result<Vec<Runtime>, Failure> {
        let program = match &self.program {
            Some(program) => {
                program.canonicalize().map_err(|error| format!("{}: {error}", program.display()))?
            }
            None => {
                process::run(&workspace::root(), "cargo", &["build", "--quiet", "-p", "juchu"])?;
                workspace::root().join("target/debug/juchu")
            }
        };
        let mut runtimes = vec![Runtime { name: "juchu", program: suite::wrap(&program, dir.path())? }];
        for (name, path) in [("runc", "/usr/sbin/runc"), ("crun", "/usr/bin/crun")] {
            match process::answers(path, &["--version"]) {
                true => runtimes.push(Runtime { name, program: path.into() }),
                false => eprintln!("{path} is not there; the table goes without it"),
            }
        }
        runtimes.retain(|runtime| self.only.as_deref().is_none_or(|only| only == runtime.name));
        Ok(runtimes)
    }
}

pub fn run(arguments: &[&str]) -> Outcome {
    let options = Options::take(arguments)?;
    let dir = TempDir::new();
    let runtimes = options.runtimes(&dir)?;
    let mut table = Table::new(&["suite", "runtime", "passed", "failed", "not applicable"]);
    let mut findings = String::new();
    for suite in options.suites()? {
        let mut all: BTreeMap<String, BTreeMap<&str, Verdict>> = BTreeMap::new();
        for runtime in &runtimes {
            eprintln!("{} over {}", suite.name(), runtime.name);
            let mut say = |part: &str, text: &str| {
                if options.verbose {
                    println!("== {} over {}: {part}\n{text}", suite.name(), runtime.name);
                }
            };
            let cases = suite.judge(runtime, &options.names, &mut say)?;
            let count = |wanted| cases.iter().filter(|(_, verdict)| *verdict == wanted).count().to_string();
            table.row([
                suite.name().to_owned(),
                runtime.name.to_owned(),
                count(Verdict::Passed),
                count(Verdict::Failed),
                count(Verdict::NotApplicable),
            ]);
            for (name, verdict) in cases {
                all.entry(name).or_default().insert(runtime.name, verdict);
            }
        }
        findings.push_str(&compare(suite.name(), &all));
    }
    println!("{}{findings}", table.to_text());
    Ok(())
}

/// The cases that ours does not pass: first those that another does.
fn compare(suite: &str, cases: &BTreeMap<String, BTreeMap<&str, Verdict>>) -> String {
    let failed = cases.iter().filter(|(_, verdicts)| verdicts.get("juchu") == Some(&Verdict::Failed));
    let (others, machine): (Vec<_>, Vec<_>) =
        failed.partition(|(_, verdicts)| verdicts.values().any(|verdict| *verdict == Verdict::Passed));
    let mut text = String::new();
    for (title, list) in [("fails here and passes elsewhere", others), ("passes nowhere", machine)] {
        for (name, _) in list {
            text.push_str(&format!("{suite}: {title}: {name}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_has_to_be_named() {
        let options = Options::take(&["--contest", "d", "--only", "juchu", "hooks"]).expect("valid");
        assert_eq!((options.contest, options.only), (Some("d".into()), Some("juchu".into())));
        assert_eq!(options.names, ["hooks"]);
        assert!(Options::take(&["hooks"]).is_err());
        assert!(Options::take(&["--contest"]).is_err());
    }

    #[test]
    fn a_failure_of_ours_is_told_from_one_of_the_machine() {
        let case = |juchu, runc| BTreeMap::from([("juchu", juchu), ("runc", runc)]);
        let cases = BTreeMap::from([
            ("a".to_owned(), case(Verdict::Failed, Verdict::Failed)),
            ("b".to_owned(), case(Verdict::Failed, Verdict::Passed)),
            ("c".to_owned(), case(Verdict::Passed, Verdict::Failed)),
        ]);
        let expect = "s: fails here and passes elsewhere: b\ns: passes nowhere: a\n";
        assert_eq!(compare("s", &cases), expect);
    }
}
