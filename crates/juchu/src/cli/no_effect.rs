//! What a Compose file says and nobody acts on, in one block: a line for each kind, with its place.

use super::screen::{Hue, Paint, safe};
use model::diagnostic::NoEffect;
use model::{Diagnostic, Span};
use std::fmt::Write;

/// Owners and places of one kind that are named; the rest is counted.
const NAMED_MAX: usize = 3;
/// Kinds that are listed; the rest is counted.
const KINDS_MAX: usize = 25;

/// Those of one key and one reason.
struct Kind<'a> {
    what: &'a NoEffect,
    owners: Vec<&'a str>,
    places: Vec<&'a Span>,
}

/// The block for these diagnostics; nothing for none.
pub fn text(diagnostics: &[&Diagnostic], paint: Paint) -> String {
    let kinds = kinds(diagnostics);
    if kinds.is_empty() {
        return String::new();
    }
    let lines: Vec<(String, String)> = kinds.iter().take(KINDS_MAX).map(line).collect();
    let wide = lines.iter().map(|(key, _)| key.chars().count()).max().unwrap_or_default();
    let word = paint.on(Hue::Warn, "warning:");
    let mut text = format!("{word} {} no effect here:\n", counted(kinds.len(), "key"));
    for ((key, places), kind) in lines.iter().zip(&kinds) {
        let why = safe(&kind.what.why);
        let _ = writeln!(text, "  {key:wide$}  {why} {}", paint.on(Hue::Quiet, &format!("({places})")));
    }
    if kinds.len() > KINDS_MAX {
        let _ = writeln!(text, "  and {} more", kinds.len() - KINDS_MAX);
    }
    text
}

fn kinds<'a>(diagnostics: &[&'a Diagnostic]) -> Vec<Kind<'a>> {
    let mut kinds: Vec<Kind<'a>> = Vec::new();
    for diagnostic in diagnostics {
        let Some(what) = &diagnostic.no_effect else { continue };
        let known = kinds.iter().position(|kind| kind.what.key == what.key && kind.what.why == what.why);
        let index = known.unwrap_or_else(|| {
            kinds.push(Kind { what, owners: Vec::new(), places: Vec::new() });
            kinds.len() - 1
        });
        let kind = &mut kinds[index];
        if !what.owner.is_empty() && !kind.owners.contains(&what.owner.as_str()) {
            kind.owners.push(&what.owner);
        }
        kind.places.extend(diagnostic.span.as_ref());
    }
    kinds
}

/// `web, db: deploy.placement`, and where that is.
fn line(kind: &Kind<'_>) -> (String, String) {
    let key = &kind.what.key;
    let key = match &kind.owners[..] {
        [] => key.clone(),
        owners => format!("{}: {key}", listed(owners)),
    };
    (safe(&key).into_owned(), safe(&places(&kind.places)).into_owned())
}

/// `compose.yaml:3:5, 9:5`: a file is named again only where it is another.
fn places(spans: &[&Span]) -> String {
    let mut file = "";
    let mut shown = Vec::new();
    for span in spans {
        let is_same = std::mem::replace(&mut file, &span.file) == span.file;
        shown.push(if is_same { format!("{}:{}", span.line, span.column) } else { span.to_string() });
    }
    listed(&shown.iter().map(String::as_str).collect::<Vec<_>>())
}

fn listed(all: &[&str]) -> String {
    let mut text = all.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    if all.len() > NAMED_MAX {
        let _ = write!(text, " and {} more", all.len() - NAMED_MAX);
    }
    text
}

fn counted(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun} has") } else { format!("{number} {noun}s have") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &str, owner: &str, why: &str, line: u32) -> Diagnostic {
        let span = Span { file: "compose.yaml".to_owned(), line, column: 5, length: 0 };
        Diagnostic::no_effect(key, owner, why, Some(span))
    }

    #[test]
    fn what_is_alike_is_one_line() {
        let mut all: Vec<_> =
            (1..=5).map(|n| one("deploy.placement", &format!("s{n}"), "there is one machine", n)).collect();
        all.push(one("isolation", "s1", "a key of Windows", 9));
        all.push(one("models", "", "nothing here runs models", 10));
        let all: Vec<_> = all.iter().collect();
        insta::assert_snapshot!(text(&all, Paint(false)), @"
        warning: 3 keys have no effect here:
          s1, s2, s3 and 2 more: deploy.placement  there is one machine (compose.yaml:1:5, 2:5, 3:5 and 2 more)
          s1: isolation                            a key of Windows (compose.yaml:9:5)
          models                                   nothing here runs models (compose.yaml:10:5)
        ");
        assert_eq!(text(&[], Paint(false)), "");
    }
}
