//! `juchu plan`: what would change.

use super::args::{ChangeArgs, Plan, StackArgs};
use super::change::{Wanted, declared};
use super::history::differences_text;
use super::reach;
use super::screen::{Hue, Outcome, Paint, Screen, safe};
use crate::home::Home;
use run::control::Preview;
use std::fmt::Write;
use store::record::v1::Intent;

pub async fn plan(screen: &Screen, home: &Home, args: Plan, stack: StackArgs) -> Outcome {
    let declared = declared(screen, &args.targets, &stack)?;
    let client = reach::started(home, screen).await?;
    let intent = if args.deploy { Intent::Deploy } else { Intent::Up };
    let (name, change) = (declared.stack.name.clone(), ChangeArgs::default());
    let (services, declared) = (declared.services, Some(declared.stack));
    let wanted = Wanted { stack: name, services, intent, declared, args: &change };
    let preview = client.preview(&wanted.request()).await?;
    let word = if args.deploy { "`juchu deploy`" } else { "`juchu up`" };
    show(screen, &preview, args.output.json, word)
}

/// What would be done; `command` does it.
pub fn show(screen: &Screen, preview: &Preview, json: bool, command: &str) -> Outcome {
    if json {
        return screen.json(preview);
    }
    preview.warnings.iter().for_each(|warning| screen.warn(safe(warning)));
    screen.print(&preview_text(preview, screen.out))?;
    if !preview.steps.is_empty() {
        screen.hint(format!("{command} does it"));
    }
    Ok(())
}

fn preview_text(preview: &Preview, paint: Paint) -> String {
    if preview.differences.is_empty() && preview.steps.is_empty() {
        return "Nothing would change.\n".to_owned();
    }
    let mut text = differences_text(&preview.differences, "", paint);
    if !preview.steps.is_empty() {
        let title = if text.is_empty() { "Steps" } else { "\nSteps" };
        let _ = writeln!(text, "{}", paint.on(Hue::Strong, title));
    }
    let wide = preview.steps.len().to_string().len();
    for (number, step) in preview.steps.iter().enumerate() {
        let _ = writeln!(text, "  {:wide$}. {}", number + 1, safe(step));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use console::fake::FakeControl;

    #[test]
    fn a_plan_is_a_diff_and_its_steps() {
        let preview = FakeControl::guestbook().held().preview.clone().expect("it has one");
        insta::assert_snapshot!(preview_text(&preview, Paint(false)), @"
        ~ web replicas: 1 → 2
        + web environment.DEBUG: 1
        - migrate: python 3.11

        Steps
          1. start web 2
          2. remove migrate 1
        ");
        let painted = preview_text(&preview, Paint(true));
        assert!(painted.contains("\u{1b}[32m+\u{1b}[0m web environment.DEBUG: 1"), "{painted}");
    }

    #[test]
    fn nothing_to_do_is_said() {
        let preview = Preview { differences: vec![], steps: vec![], warnings: vec![] };
        assert_eq!(preview_text(&preview, Paint(false)), "Nothing would change.\n");
    }
}
