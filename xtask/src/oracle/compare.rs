//! Compares both programs over any Compose files: who accepts what, and where the results differ.

use super::on_all_cores;
use super::reference::{Answer, Reference, ask};
use crate::{Failure, Outcome, process, workspace};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use testkit::corpus::HOME;
use testkit::json::{Difference, differences};

/// Paths that are listed at most, the most frequent first.
const MAX_PATHS: usize = 60;

/// One file and what both programs made of it.
struct Compared {
    file: PathBuf,
    verdict: Verdict,
}

enum Verdict {
    BothRefuse,
    /// What ours said.
    OursRefuses(String),
    /// What the reference said.
    OursAccepts(String),
    BothAccept(Vec<Difference>),
}

pub fn run(reference: &Reference, program: Option<PathBuf>, names: &[String]) -> Outcome {
    let program = program.map_or_else(build, |path| Ok(std::path::absolute(path)?))?;
    let files = compose_files(names)?;
    let compared = on_all_cores(&files, |file| compare(reference, &program, file))?;
    print!("{}", report(&compared));
    let differs = |one: &&Compared| match &one.verdict {
        Verdict::BothRefuse => false,
        Verdict::BothAccept(differences) => !differences.is_empty(),
        Verdict::OursRefuses(_) | Verdict::OursAccepts(_) => true,
    };
    match compared.iter().filter(differs).count() {
        0 => Ok(()),
        some => Err(format!("{some} of {} files differ", compared.len()).into()),
    }
}

fn build() -> Result<PathBuf, Failure> {
    let root = workspace::root();
    process::run(&root, "cargo", &["build", "--quiet", "-p", "juchu"])?;
    Ok(root.join("target/debug/juchu"))
}

/// Files as named, and those below directories that are called like Compose files.
fn compose_files(names: &[String]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for name in names {
        let path = std::path::absolute(name)?;
        if path.is_file() {
            found.push(path);
            continue;
        }
        let all = [".yaml", ".yml"].map(|suffix| workspace::files(&path, suffix));
        for file in all.into_iter().collect::<Result<Vec<_>, _>>()?.concat() {
            let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
            if name.contains("compose") {
                found.push(file);
            }
        }
    }
    match found.is_empty() {
        true => Err("no Compose files there".into()),
        false => Ok(found),
    }
}

fn compare(reference: &Reference, program: &Path, file: &Path) -> Result<Compared, Failure> {
    let directory = file.parent().ok_or("a file is in a directory")?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let environment = [("HOME", HOME), ("NO_COLOR", "1"), ("JUCHU_HOME", "/nonexistent")];
    let theirs = reference.config(directory, &["-f", &name], &environment)?;
    let ours = ask(program, directory, &["config", "-f", &name, "--format", "json"], &environment)?;
    let verdict = verdict(&theirs, &ours).map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(Compared { file: file.to_owned(), verdict })
}

fn verdict(theirs: &Answer, ours: &Answer) -> Result<Verdict, Failure> {
    let first = |said: &str| said.lines().next().unwrap_or_default().to_owned();
    Ok(match (theirs.accepted, ours.accepted) {
        (false, false) => Verdict::BothRefuse,
        (true, false) => Verdict::OursRefuses(first(&ours.said)),
        (false, true) => Verdict::OursAccepts(first(&theirs.said)),
        (true, true) => {
            let json = |answer: &Answer| serde_json::from_str::<Value>(&answer.output);
            Verdict::BothAccept(differences(&json(theirs)?, &json(ours)?))
        }
    })
}

fn report(compared: &[Compared]) -> String {
    let mut text = String::new();
    let (mut refused, mut equal, mut accepted) = (0, 0, 0);
    let mut paths: BTreeMap<String, (usize, &Path, &Difference)> = BTreeMap::new();
    for Compared { file, verdict } in compared {
        match verdict {
            Verdict::BothRefuse => refused += 1,
            Verdict::OursRefuses(said) => {
                text.push_str(&format!("refused by juchu alone: {}\n    {said}\n", file.display()));
            }
            Verdict::OursAccepts(said) => {
                text.push_str(&format!("accepted by juchu alone: {}\n    {said}\n", file.display()));
            }
            Verdict::BothAccept(found) => {
                accepted += 1;
                equal += usize::from(found.is_empty());
                for difference in found {
                    paths.entry(shape(&difference.path)).or_insert((0, file, difference)).0 += 1;
                }
            }
        }
    }
    let mut paths: Vec<_> = paths.into_iter().collect();
    paths.sort_by_key(|(_, (count, ..))| std::cmp::Reverse(*count));
    for (path, (count, file, difference)) in paths.iter().take(MAX_PATHS) {
        let show = |value: &Option<Value>| value.as_ref().map_or("nothing".to_owned(), Value::to_string);
        let (theirs, ours) = (show(&difference.left), show(&difference.right));
        let file = file.display();
        text.push_str(&format!(
            "{count:>6} × {path}, as in {file}\n         docker-compose {theirs}\n         juchu {ours}\n"
        ));
    }
    let total = compared.len();
    text + &format!(
        "{total} files: both refuse {refused}, both accept {accepted}, of these {equal} with the same result\n"
    )
}

/// The path without names that people chose and without positions in lists.
fn shape(path: &str) -> String {
    let mut parts: Vec<String> =
        path.split('.').map(|part| part.split('[').next().unwrap_or(part).to_owned()).collect();
    if parts.len() > 2 {
        parts[2] = "*".to_owned();
    }
    let maps = ["environment", "labels", "annotations", "depends_on", "networks", "args", "driver_opts"];
    if let Some(at) = (3..parts.len()).find(|at| maps.contains(&parts[*at].as_str()))
        && at + 1 < parts.len()
    {
        parts.truncate(at + 2);
        parts[at + 1] = "*".to_owned();
    }
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(output: Option<&str>) -> Answer {
        Answer {
            accepted: output.is_some(),
            output: output.unwrap_or_default().to_owned(),
            said: "no services\nmore".to_owned(),
        }
    }

    #[test]
    fn both_kinds_of_difference_are_told() {
        let pairs = [
            (Some(r#"{"services":{"a":{"image":"x"}}}"#), Some(r#"{"services":{"a":{"image":"y"}}}"#)),
            (Some("{}"), None),
            (None, Some("{}")),
            (None, None),
        ];
        let compared = pairs.map(|(theirs, ours)| Compared {
            file: "/f".into(),
            verdict: verdict(&answer(theirs), &answer(ours)).expect("JSON"),
        });
        let expect = "\
refused by juchu alone: /f
    no services
accepted by juchu alone: /f
    no services
     1 × .services.*.image, as in /f
         docker-compose \"x\"
         juchu \"y\"
4 files: both refuse 1, both accept 1, of these 0 with the same result
";
        assert_eq!(report(&compared), expect);
    }

    #[test]
    fn a_shape_has_no_names_of_peoples_own() {
        assert_eq!(shape(".services.web.ports[3].mode"), ".services.*.ports.mode");
        assert_eq!(shape(".services.web.labels.a.b"), ".services.*.labels.*");
        assert_eq!(shape(".name"), ".name");
    }
}
