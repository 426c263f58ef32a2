//! Writes what the reference makes of each case of the corpus into the case.

use super::{Reference, on_all_cores};
use crate::{Failure, Outcome, workspace};
use std::path::{Path, PathBuf};
use testkit::TempDir;
use testkit::corpus::{Case, DIRECTORY, Golden, cases};

/// Asks the reference about all cases, or those whose name starts with one of `names`.
pub fn refresh(corpus: &Path, reference: &Reference, names: &[String]) -> Outcome {
    let chosen = chosen(corpus, names)?;
    let changed = on_all_cores(&chosen, |(path, case)| {
        let golden = ask(case, reference).map_err(|e| format!("{}: {e}", case.name))?;
        let mut updated = case.clone();
        match (&case.golden, &golden) {
            // Of several mistakes it may name another one each time.
            (Some(Golden::Refused(_)), Golden::Refused(_)) => {}
            _ => updated.golden = Some(golden),
        }
        let updated = updated.to_text();
        let changed = std::fs::read_to_string(path)? != updated;
        if changed {
            std::fs::write(path, updated)?;
        }
        Ok(changed.then(|| case.name.clone()))
    })?;
    let changed: Vec<String> = changed.into_iter().flatten().collect();
    for name in &changed {
        println!("{name}");
    }
    eprintln!("{} cases, {} results changed", chosen.len(), changed.len());
    Ok(())
}

/// Writes cases out as people would have them, and says how to ask the reference.
pub fn unpack(corpus: &Path, names: &[String]) -> Outcome {
    for (_, case) in chosen(corpus, names)? {
        let directory = workspace::root().join("target/xtask/cases").join(&case.name).join("project");
        if directory.exists() {
            std::fs::remove_dir_all(&directory)?;
        }
        case.unpack(&directory)?;
        let environment = case.environment().iter().map(|(n, v)| format!("{n}='{v}' ")).collect::<String>();
        let arguments = case.arguments().join(" ");
        println!("cd {}\n  {environment}docker-compose {arguments} config", directory.display());
    }
    Ok(())
}

fn chosen(corpus: &Path, names: &[String]) -> Result<Vec<(PathBuf, Case)>, Failure> {
    let mut all = cases(corpus)?;
    if let Some(name) = names.iter().find(|name| !all.iter().any(|(_, c)| c.name.starts_with(*name))) {
        return Err(format!("no case is called `{name}` or starts with it").into());
    }
    all.retain(|(_, case)| names.is_empty() || names.iter().any(|name| case.name.starts_with(name)));
    Ok(all)
}

fn ask(case: &Case, reference: &Reference) -> Result<Golden, Failure> {
    let place = TempDir::new();
    let directory = place.join(DIRECTORY.trim_start_matches('/'));
    case.unpack(&directory)?;
    let answer = reference.config(&directory, &case.arguments(), &case.environment())?;
    // The machine's path leaves no trace: the project seems to be at the root.
    let place = place.path().to_string_lossy().into_owned();
    let neutral = |text: &str| text.replace(&place, "").trim_end().to_owned() + "\n";
    Ok(match answer.accepted {
        true => Golden::Accepted(neutral(&answer.output)),
        false => Golden::Refused(neutral(&answer.said)),
    })
}
