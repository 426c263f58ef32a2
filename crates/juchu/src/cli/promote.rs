//! `juchu promote`: what runs in one stack, with the values of another.

use super::args::{Promote, StackArgs};
use super::change::{Wanted, to_the_end};
use super::ending::Asked;
use super::screen::{Outcome, Screen};
use super::{load, plan, reach, target};
use crate::home::Home;
use model::{Report, StackName};
use run::control::ChangeRequest;
use store::record::v1::Intent;

pub async fn promote(screen: &Screen, home: &Home, args: Promote, stack: StackArgs) -> Outcome {
    let to = StackName::new(args.to.as_str()).map_err(|error| Report::usage(error.to_string()))?;
    let client = reach::running(home).await?;
    let from = target::stack(&client, &stack).await?;
    refuse_itself(&from, &to)?;
    // Asked for its name alone: a stack that is not there is told before the file is read.
    client.stack(&from).await?;
    let there = declared_as(&to, stack);
    let declared = load::load_present(screen, &there, None)?;
    let services = target::services(&args.services, declared.services.keys())?;
    let intent = Intent::Promote { release: args.release.map(|release| release.0) };
    let wanted = Wanted { stack: to, services, intent, declared: Some(declared), args: &args.change };
    let request = ChangeRequest { from: Some(from), ..wanted.request() };
    if args.dry_run {
        let preview = client.preview(&request).await?;
        return plan::show(screen, &preview, args.change.json, "the same without `--dry-run`");
    }
    let asked = Asked::of(&request, &there, None);
    to_the_end(screen, home, &client, request, &asked, args.change.json).await
}

/// The same files under the other name.
fn declared_as(to: &StackName, mut stack: StackArgs) -> StackArgs {
    stack.rest.project_name = Some(to.to_string());
    stack
}

fn refuse_itself(from: &StackName, to: &StackName) -> Result<(), Report> {
    if from != to {
        return Ok(());
    }
    Err(Report::usage(format!("{to} cannot be promoted to itself"))
        .hint(format!("name the stack that the images come from: `juchu -p STACK promote {to}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_not_promoted_to_itself() {
        let name = |text| StackName::new(text).expect("valid");
        assert_eq!(refuse_itself(&name("staging"), &name("production")), Ok(()));
        let report = refuse_itself(&name("shop"), &name("shop")).expect_err("the same");
        assert_eq!(report.hints, ["name the stack that the images come from: `juchu -p STACK promote shop`"]);
    }
}
