//! Where a value came from: every place that says something about it, in the order in which files
//! are laid over each other, with the variables in it; or that no file says it.

use super::place::{self, Segment, Stated, Stopped};
use super::printed::{Language, Printed};
use super::{Resolved, convert, json, variables, yaml};
use crate::diagnostics::Pos;
use crate::suggest;
use crate::trace::{EnvLine, Layer, Role, Trace};
use crate::tree::{Node, Tag};
use model::Span;
use std::path::{Path, PathBuf};

/// What is known of a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The path with its section, such as `services.web.image`.
    pub path: String,
    pub value: serde_json::Value,
    /// The value as YAML, with a line break at its end.
    pub yaml: String,
    /// In order; empty for what no file says.
    pub steps: Vec<Step>,
    /// For what no file says: what it was filled in for.
    pub filled_in_for: Option<Span>,
}

/// A place that says something about the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub place: Span,
    /// As it is written there, where that is a text or a number.
    pub written: Option<String>,
    pub part: Part,
    pub variables: Vec<Used>,
}

/// What a place does to what was there before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Nothing was there.
    First,
    /// It replaces what was there.
    Over,
    /// It is merged with what was there.
    Merged,
    /// `!reset` or `!override` takes away what was there.
    TakenAway,
    /// `!override`: what was there is taken away, this stands in its place.
    Override,
    /// A line of an environment file of the service.
    EnvFile,
}

/// A variable in what is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    pub name: String,
    pub source: Source,
}

/// Where a variable got its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The environment of the person or program that asked.
    Environment,
    /// A line of an environment file.
    Line(Span),
    /// The name of the project.
    ProjectName,
    /// It is not set; the expression says what stands instead.
    Default,
    /// It is not set, and nothing stands instead.
    Unset,
}

/// A path that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UnknownPath {
    pub message: String,
    pub hint: String,
}

impl Resolved {
    /// Where the value at `path` came from: `SERVICE.KEY`, `networks.NAME.KEY`; items of lists by
    /// their number, from 0, or by what they are called. Loaded without `trace` nothing is known of
    /// the places.
    pub fn explain(&self, path: &str) -> Result<Explanation, UnknownPath> {
        let tree = self.filled();
        if path.is_empty() {
            let services = tree.get("services").into_iter().flat_map(Node::entries);
            let service = services.map(|(name, _)| name.as_str()).next().unwrap_or("SERVICE");
            let hint = format!("name a value, such as `{service}.image`");
            return Err(UnknownPath { message: "the path is empty".to_owned(), hint });
        }
        let empty = Trace::default();
        let teller = Teller { resolved: self, trace: self.about.trace.as_ref().unwrap_or(&empty) };
        let (segments, node) = match locate(&tree, path) {
            Ok(found) => found,
            Err(stopped) => return teller.taken_away(path).ok_or_else(|| unknown(path, &stopped)),
        };
        let printed = self.printed();
        let shown = look_up(&printed, &segments).cloned().unwrap_or_else(|| convert::anything(node));
        let steps = teller.steps(&segments, node);
        Ok(Explanation {
            path: shown_path(&segments),
            value: json::value(&shown),
            yaml: yaml::text(&shown),
            filled_in_for: teller.span(node.pos).filter(|_| steps.is_empty()),
            steps,
        })
    }
}

/// A service by its name alone, or anything from the top.
fn locate<'t>(tree: &'t Node, path: &str) -> Result<(Vec<Segment>, &'t Node), Stopped> {
    let from_top = match place::find(tree, path) {
        Ok(found) => return Ok(found),
        Err(stopped) => stopped,
    };
    let Some(services) = tree.get("services") else { return Err(from_top) };
    match place::find(services, path) {
        Ok((segments, node)) => Ok((within_services(segments), node)),
        Err(stopped) if from_top.reached.is_empty() => Err(stopped),
        Err(_) => Err(from_top),
    }
}

fn within_services(segments: Vec<Segment>) -> Vec<Segment> {
    [vec![Segment::Key("services".to_owned())], segments].concat()
}

fn unknown(path: &str, stopped: &Stopped) -> UnknownPath {
    let bare = stopped.rest.trim_start_matches('[');
    let word = bare.split(['.', '[', ']']).next().unwrap_or_default();
    let at = match stopped.reached.is_empty() {
        true => String::new(),
        false => format!(" of `{}`", shown_path(&stopped.reached)),
    };
    let known = || stopped.known.iter().map(String::as_str);
    let hint = match (suggest::hint(word, known()), stopped.known.is_empty()) {
        (Some(hint), _) => hint,
        (None, true) => "what stands before it has nothing below it".to_owned(),
        (None, false) => format!("there is {}", known().collect::<Vec<_>>().join(", ")),
    };
    UnknownPath { message: format!("`{path}` is not there: there is no `{word}`{at}"), hint }
}

fn shown_path(segments: &[Segment]) -> String {
    let mut path = String::new();
    for segment in segments {
        match segment {
            Segment::Key(key) if path.is_empty() => path += key,
            Segment::Key(key) => path += &format!(".{key}"),
            Segment::Item(item) => path += &format!("[{}]", item.index),
        }
    }
    path
}

/// The same place in what is printed.
fn look_up<'p>(printed: &'p Printed, segments: &[Segment]) -> Option<&'p Printed> {
    segments.iter().try_fold(printed, |printed, segment| match (segment, printed) {
        (Segment::Item(item), Printed::List(list)) => list.get(item.index),
        (Segment::Key(key), printed) => {
            let entries = printed.entries(Language::Yaml).into_iter();
            entries.filter(|(name, _)| name == key).map(|(_, value)| value).next()
        }
        _ => None,
    })
}

struct Teller<'r> {
    resolved: &'r Resolved,
    trace: &'r Trace,
}

impl Teller<'_> {
    /// A place that files speak of and that is empty in the end.
    fn taken_away(&self, path: &str) -> Option<Explanation> {
        let found = |layer: &Layer| {
            let (segments, node) = locate(&layer.document, path).ok()?;
            Some((segments, node.clone()))
        };
        let (segments, node) = self.trace.layers.iter().find_map(found)?;
        let steps = self.steps(&segments, &node);
        Some(Explanation {
            path: shown_path(&segments),
            value: serde_json::Value::Null,
            yaml: "null\n".to_owned(),
            steps,
            filled_in_for: None,
        })
    }

    fn steps(&self, segments: &[Segment], node: &Node) -> Vec<Step> {
        let is_container = node.as_map().is_some() || node.as_list().is_some();
        let is_merged = is_container && !is_replaced(segments);
        let mut steps = self.env_file_lines(segments);
        for layer in self.trace.layers.iter().filter(|layer| layer.role != Role::Extended) {
            if let [Segment::Key(section), Segment::Key(service), ..] = segments
                && section == "services"
            {
                for (path, base) in self.bases(&layer.path, service) {
                    let mut there = segments.to_vec();
                    there[1] = Segment::Key(base);
                    for layer in self.trace.layers.iter().filter(|other| other.path == path) {
                        self.tell(&layer.document, &there, is_merged, &mut steps);
                    }
                }
            }
            self.tell(&layer.document, segments, is_merged, &mut steps);
        }
        steps
    }

    /// The services under a service, the lowest first. A chain is as long as the loader allowed.
    fn bases(&self, path: &Path, service: &str) -> Vec<(PathBuf, String)> {
        let mut chain: Vec<(PathBuf, String)> = Vec::new();
        let mut current = (path.to_owned(), service.to_owned());
        while let Some(found) = self.trace.extensions.iter().find(|found| found.service == current) {
            if chain.contains(&found.base) {
                break;
            }
            chain.push(found.base.clone());
            current = found.base.clone();
        }
        chain.reverse();
        chain
    }

    fn tell(&self, document: &Node, segments: &[Segment], is_merged: bool, steps: &mut Vec<Step>) {
        for stated in place::stated(document, segments) {
            let first = !steps.iter().any(|step| step.part != Part::TakenAway);
            let (pos, written, part) = match stated {
                Stated::Reset(pos) => (pos, None, Part::TakenAway),
                Stated::Name(node) => (node.pos, Some(node), Part::Over),
                Stated::Value(node, pos) if node.tag == Tag::Override => (pos, Some(node), Part::Override),
                Stated::Value(node, pos) if is_merged => (pos, Some(node), Part::Merged),
                Stated::Value(node, pos) => (pos, Some(node), Part::Over),
            };
            let part = if first && matches!(part, Part::Over | Part::Merged) { Part::First } else { part };
            let Some(place) = self.span(pos) else { continue };
            let text = written.and_then(Node::scalar_text);
            let bare = matches!(stated, Stated::Name(_)) && is_variable_place(segments);
            let variables = match (&text, bare) {
                (_, true) => vec![self.used(last_key(segments), false)],
                (Some(text), false) => self.variables(text),
                (None, false) => Vec::new(),
            };
            if !steps.iter().any(|step| step.place == place && step.part != Part::EnvFile) {
                steps.push(Step { place, written: text, part, variables });
            }
        }
    }

    fn variables(&self, text: &str) -> Vec<Used> {
        let found = variables::of(text).into_iter();
        found.map(|(name, variable)| self.used(&name, !variable.default.is_empty())).collect()
    }

    fn used(&self, name: &str, has_default: bool) -> Used {
        let line = self.trace.lines.iter().rev().find(|line| !line.of_service && line.name == name);
        let source = if name == "COMPOSE_PROJECT_NAME" {
            Source::ProjectName
        } else if self.resolved.about.outer.contains_key(name) {
            Source::Environment
        } else if let Some(span) = line.and_then(|line| self.span(line.pos)) {
            Source::Line(span)
        } else if has_default {
            Source::Default
        } else {
            Source::Unset
        };
        Used { name: name.to_owned(), source }
    }

    /// Lines of the service's environment files that give the variable, in their order.
    fn env_file_lines(&self, segments: &[Segment]) -> Vec<Step> {
        let [Segment::Key(section), Segment::Key(service), Segment::Key(key), Segment::Key(name)] = segments
        else {
            return Vec::new();
        };
        if section != "services" || !matches!(key.as_str(), "environment" | "labels") {
            return Vec::new();
        }
        let file_key = if key == "environment" { "env_file" } else { "label_file" };
        let service = self.resolved.tree.get("services").and_then(|services| services.get(service));
        let files = service.and_then(|service| service.get(file_key)).map(Node::items).unwrap_or_default();
        let asked: Vec<Pos> =
            files.iter().map(|file| file.get("path").map_or(file.pos, |path| path.pos)).collect();
        let of_this = |line: &&EnvLine| {
            line.of_service && line.name == *name && line.at.is_some_and(|at| asked.contains(&at))
        };
        let spans = self.trace.lines.iter().filter(of_this).filter_map(|line| self.span(line.pos));
        spans.map(|place| Step { place, written: None, part: Part::EnvFile, variables: Vec::new() }).collect()
    }

    fn span(&self, pos: Pos) -> Option<Span> {
        let file = self.trace.files.get(pos.file as usize)?.clone();
        (pos.line > 0).then(|| Span { file, line: pos.line, column: pos.column.max(1), length: pos.length })
    }
}

/// Lists that are one value, and items of lists: a later one takes the place of an earlier one.
fn is_replaced(segments: &[Segment]) -> bool {
    match segments.last() {
        Some(Segment::Key(key)) => {
            segments.len() > 2 && matches!(key.as_str(), "command" | "entrypoint" | "test")
        }
        Some(Segment::Item(_)) | None => true,
    }
}

/// Whether a name without a value is asked of the environment there.
fn is_variable_place(segments: &[Segment]) -> bool {
    segments
        .iter()
        .any(|segment| matches!(segment, Segment::Key(key) if key == "environment" || key == "args"))
}

fn last_key(segments: &[Segment]) -> &str {
    segments
        .iter()
        .rev()
        .find_map(|segment| match segment {
            Segment::Key(key) => Some(key.as_str()),
            Segment::Item(_) => None,
        })
        .unwrap_or_default()
}
