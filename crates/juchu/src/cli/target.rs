//! Which stack and which services a command means.

use super::args::StackArgs;
use super::load;
use console::client::Client;
use model::{Report, ServiceName, StackName};
use run::control::StackStatus;
use std::env;

/// The furthest spelling that is still taken for a slip.
const SLIP_MAX: usize = 2;

/// `-p`, else the Compose file in this directory, else the only stack there is.
pub async fn stack(client: &Client, args: &StackArgs) -> Result<StackName, Report> {
    if let Some(name) = &args.rest.project_name {
        return StackName::new(name.as_str()).map_err(|error| Report::usage(error.to_string()));
    }
    let loaded = load::quietly(args, None)?;
    if let Some(stack) = loaded.stack {
        return Ok(stack.name);
    }
    if !args.files.is_empty() {
        let first = loaded
            .diagnostics
            .iter()
            .chain(&loaded.refusals)
            .find(|d| d.is_error())
            .map(|d| d.message.clone());
        return Err(Report::usage(first.unwrap_or_else(|| "the Compose file cannot be read".to_owned()))
            .hint("`juchu config` shows every problem; `-p NAME` names the stack without its file"));
    }
    among(client.stacks().await.map_err(Report::from)?)
}

/// Without a file that can be read: the one that came from this directory, or the only one.
fn among(stacks: Vec<StackStatus>) -> Result<StackName, Report> {
    let here = env::current_dir().unwrap_or_default();
    let mut from_here = stacks.iter().filter(|stack| here.as_os_str() == stack.directory.as_str());
    match (from_here.next(), stacks.as_slice()) {
        (Some(stack), _) => Ok(stack.name.clone()),
        (None, [only]) => Ok(only.name.clone()),
        (None, []) => Err(Report::usage("no Compose file is here and no stack is known")
            .hint("change to a folder with a compose.yaml and run `juchu up`")),
        (None, several) => {
            let names: Vec<_> = several.iter().map(|stack| stack.name.as_str()).collect();
            Err(Report::usage(format!("no Compose file is here and there are {} stacks", names.len()))
                .hint(format!("name one with `-p`: {}", names.join(", "))))
        }
    }
}

/// The services named, each of which must be known.
pub fn services<'a>(
    named: &[String],
    known: impl IntoIterator<Item = &'a ServiceName>,
) -> Result<Vec<ServiceName>, Report> {
    let known: Vec<_> = known.into_iter().collect();
    named.iter().map(|name| one(name, &known)).collect()
}

fn one(name: &str, known: &[&ServiceName]) -> Result<ServiceName, Report> {
    if let Some(found) = known.iter().find(|service| service.as_str() == name) {
        return Ok((*found).clone());
    }
    let mut report = Report::usage(format!("there is no service `{name}`"));
    if let Some(near) = nearest(name, known.iter().map(|service| service.as_str())) {
        report = report.hint(format!("did you mean `{near}`?"));
    }
    let names: Vec<_> = known.iter().map(|service| service.as_str()).collect();
    Err(report.hint(match names.is_empty() {
        true => "the stack has no services".to_owned(),
        false => format!("the services are {}", names.join(", ")),
    }))
}

/// The services named, of a stack that runs.
pub async fn running_services(
    client: &Client,
    stack: &StackName,
    named: &[String],
) -> Result<Vec<ServiceName>, Report> {
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let status = client.stack(stack).await.map_err(Report::from)?;
    services(named, status.services.iter().map(|service| &service.name))
}

/// Whether a name is a slip of the pen away from one of these.
pub fn is_nearly_one<'a>(name: &str, known: impl Iterator<Item = &'a ServiceName>) -> bool {
    nearest(name, known.map(|service| service.as_str())).is_some()
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.map(|candidate| (distance(name, candidate), candidate));
    scored.filter(|(far, candidate)| *far <= SLIP_MAX.min(candidate.len() / 2)).min().map(|(_, near)| near)
}

/// Letters to add, remove, change or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = match (i, j) {
                (0, j) => j,
                (i, 0) => i,
                (i, j) => {
                    let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                    let mut least = change.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                    if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                        least = least.min(rows[i - 2][j - 2] + 1);
                    }
                    least
                }
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<ServiceName> {
        ["cache", "db", "web"].map(|name| ServiceName::new(name).expect("valid")).to_vec()
    }

    #[test]
    fn a_slip_is_answered_with_the_nearest_name() {
        let ask = |name: &str| services(&[name.to_owned()], &known()).map_err(|report| report.to_string());
        assert_eq!(ask("web").map(|s| s.len()), Ok(1));
        let expected = "error: there is no service `wbe`\nhint: did you mean `web`?\n\
                        hint: the services are cache, db, web";
        assert_eq!(ask("wbe"), Err(expected.to_owned()));
        let far = ask("frontend").expect_err("unknown");
        assert!(!far.contains("did you mean") && far.contains("cache, db, web"), "{far}");
        assert!(ask(&"x".repeat(500)).is_err());
    }

    #[test]
    fn the_only_stack_is_meant_and_several_are_listed() {
        let mut one = console::fake::guestbook_status();
        assert_eq!(among(vec![one.clone()]).expect("the only one").as_str(), "guestbook");
        assert!(among(vec![]).expect_err("none").hints[0].contains("juchu up"));
        let mut other = one.clone();
        other.name = StackName::new("shop").expect("valid");
        let several = among(vec![one.clone(), other.clone()]).expect_err("two");
        assert_eq!(several.hints, ["name one with `-p`: guestbook, shop"]);
        one.directory = env::current_dir().expect("here").display().to_string();
        assert_eq!(among(vec![other, one]).expect("from here").as_str(), "guestbook");
    }
}
