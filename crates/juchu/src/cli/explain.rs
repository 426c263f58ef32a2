//! `juchu config --explain`: a value of a Compose file and where it came from.

use super::screen::{Hue, Outcome, Paint, Screen, safe};
use compose::{Explanation, Part, Resolved, Source, Step};
use console::text::cut;
use model::Report;
use serde_json::json;
use std::fmt::Write;

/// Characters of a written value that are shown.
const WRITTEN_MAX: usize = 100;

pub fn explain(screen: &Screen, resolved: &Resolved, path: &str, as_json: bool) -> Outcome<String> {
    let known = resolved.explain(path).map_err(|unknown| {
        let hint = unknown.hint.clone();
        Report::usage(unknown.message).hint(hint)
    })?;
    Ok(match as_json {
        true => json_text(&known),
        false => text(&known, screen.out),
    })
}

fn text(known: &Explanation, paint: Paint) -> String {
    let path = paint.on(Hue::Strong, &safe(&known.path));
    let value = safe(&known.yaml);
    let mut text = match value.trim_end_matches('\n').contains('\n') || known.value.is_object() {
        false => format!("{path}: {value}"),
        true => {
            let lines = value.lines().map(|line| format!("  {line}\n"));
            format!("{path}:\n{}", lines.collect::<String>())
        }
    };
    text.push('\n');
    if known.steps.is_empty() {
        let place = known.filled_in_for.as_ref().map(|place| format!(", for what stands at {place}"));
        let place = safe(&place.unwrap_or_default()).into_owned();
        let _ = writeln!(text, "  in no file: it is what Compose fills in where nothing is said{place}");
    }
    for step in &known.steps {
        text += &step_text(step, paint);
    }
    text
}

fn step_text(step: &Step, paint: Paint) -> String {
    let place = paint.on(Hue::Quiet, &safe(&step.place.to_string()));
    let does = match step.part {
        Part::First => "says it",
        Part::Over => "replaces it",
        Part::Merged => "adds to it",
        Part::TakenAway => "takes away what was there",
        Part::Override => "takes away what was there and says it",
        Part::EnvFile => "gives it, as a line of an environment file",
    };
    let written = match step.written.as_deref().and_then(|written| written.lines().next()) {
        Some(line) => format!(": {}", safe(&cut(line, WRITTEN_MAX))),
        None => String::new(),
    };
    let mut text = format!("  {place}  {does}{written}\n");
    for used in &step.variables {
        let from = match &used.source {
            Source::Environment => "from the environment".to_owned(),
            Source::Line(place) => format!("from {place}"),
            Source::ProjectName => "is the name of the project".to_owned(),
            Source::Default => "is not set: its default stands".to_owned(),
            Source::Unset => "is not set".to_owned(),
        };
        let _ = writeln!(text, "    {} {}", safe(&used.name), safe(&from));
    }
    text
}

fn json_text(known: &Explanation) -> String {
    let steps: Vec<_> = known.steps.iter().map(step_json).collect();
    let place = |span: &model::Span| json!({"file": span.file, "line": span.line, "column": span.column});
    let document = json!({
        "path": known.path, "value": known.value, "steps": steps,
        "filled_in_for": known.filled_in_for.as_ref().map(place),
    });
    let mut text = serde_json::to_string_pretty(&document).expect("its keys are texts");
    text.push('\n');
    text
}

fn step_json(step: &Step) -> serde_json::Value {
    let part = match step.part {
        Part::First => "first",
        Part::Over => "replaces",
        Part::Merged => "merges",
        Part::TakenAway => "takes-away",
        Part::Override => "overrides",
        Part::EnvFile => "env-file",
    };
    let place = |span: &model::Span| json!({"file": span.file, "line": span.line, "column": span.column});
    let variables: Vec<_> = step
        .variables
        .iter()
        .map(|used| {
            let (from, line) = match &used.source {
                Source::Environment => ("environment", None),
                Source::Line(span) => ("file", Some(place(span))),
                Source::ProjectName => ("project-name", None),
                Source::Default => ("default", None),
                Source::Unset => ("unset", None),
            };
            json!({"name": used.name, "from": from, "place": line})
        })
        .collect();
    json!({"place": place(&step.place), "part": part, "written": step.written, "variables": variables})
}
