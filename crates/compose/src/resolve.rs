//! Values from outside the file: `env_file`, `label_file`, and environment names without a value.

use crate::diagnostics::Pos;
use crate::env_file::Format;
use crate::project::read_env_file;
use crate::tree::{Entry, Map, Node, Value};
use crate::unit::{Loader, Merged};
use std::collections::BTreeMap;
use std::path::Path;

/// Names in lists of a unit's `environment` get the value its own environment has for them.
pub(crate) fn listed(root: &mut Node, environment: &BTreeMap<String, String>) {
    for (_, entry) in root.get_mut("services").into_iter().flat_map(Node::entries_mut) {
        let Some(Node { value: Value::List(list), .. }) = entry.node.get_mut("environment") else { continue };
        for item in list {
            if let Value::Text(name) = &item.value
                && let Some(value) = environment.get(name)
            {
                item.value = Value::Text(format!("{name}={value}"));
            }
        }
    }
}

/// Completes `environment` and `labels` of every service.
pub(crate) fn resolve(merged: &mut Merged, loader: &mut Loader<'_>) {
    if let Some(trace) = &mut loader.trace {
        trace.of_services = true;
    }
    let environment = loader.environment(PROJECT);
    for (_, entry) in merged.tree.get_mut("services").into_iter().flat_map(Node::entries_mut) {
        environment_of(&mut entry.node, &environment, loader);
        labels_of(&mut entry.node, loader);
        build_args(&mut entry.node, &environment);
    }
}

/// Index of the project's own environment.
const PROJECT: usize = 0;

fn environment_of(service: &mut Node, outer: &BTreeMap<String, String>, loader: &mut Loader<'_>) {
    let mut declared = service.get("environment").cloned();
    for (name, entry) in declared.iter_mut().flat_map(Node::entries_mut) {
        if let (true, Some(value)) = (entry.node.is_null(), outer.get(name)) {
            entry.node.value = Value::Text(value.clone());
        }
    }
    let files = service.get("env_file").filter(|_| !loader.skip.env_files).cloned();
    let mut values = Map::new();
    for file in files.iter().flat_map(Node::items) {
        for (name, value, pos) in env_file(file, outer, declared.as_ref(), &values, loader) {
            values.insert(name, Entry { key: pos, node: Node::text(pos, value) });
        }
    }
    let pos = declared.as_ref().or(files.as_ref()).map_or(service.pos, |node| node.pos);
    if let Some(Node { value: Value::Map(map), .. }) = declared {
        values.extend(map);
    }
    service.set("environment", Node::new(pos, Value::Map(values)));
}

fn env_file(
    file: &Node,
    outer: &BTreeMap<String, String>,
    declared: Option<&Node>,
    earlier: &Map,
    loader: &mut Loader<'_>,
) -> Vec<(String, String, Pos)> {
    let Some(path) = file.get("path") else { return Vec::new() };
    let Some(text) = path.as_text() else { return Vec::new() };
    let required = file.get("required").and_then(Node::as_bool).unwrap_or(true);
    if !required && !loader.files.exists(Path::new(text)) {
        return Vec::new();
    }
    let format = match file.get("format").map(|node| (node.pos, node.as_text().unwrap_or_default())) {
        None | Some((_, "")) => Format::Dotenv,
        Some((_, "raw")) => Format::Raw,
        Some((pos, other)) => {
            let message = format!("`{other}` is not a format of environment files");
            loader.sink.error_hint(pos, message, "use `raw`, or leave the key out");
            return Vec::new();
        }
    };
    // The project's environment first, then the service's own, then what files before said.
    let lookup = |name: &str| {
        let own = || declared.and_then(|node| node.get(name)?.scalar_text());
        let before = || earlier.get(name).and_then(|entry| entry.node.scalar_text());
        outer.get(name).cloned().or_else(own).or_else(before)
    };
    let variables = read_env_file(Path::new(text), format, &lookup, Some(path.pos), loader);
    variables.into_iter().flatten().map(|(name, value)| (name, value, path.pos)).collect()
}

fn labels_of(service: &mut Node, loader: &mut Loader<'_>) {
    let Some(files) = service.get("label_file").cloned() else { return };
    let mut values = Map::new();
    for path in files.items() {
        let Some(text) = path.as_text() else { continue };
        let lookup = |name: &str| values.get(name).and_then(|entry: &Entry| entry.node.scalar_text());
        let labels = read_env_file(Path::new(text), Format::Dotenv, &lookup, Some(path.pos), loader);
        for (name, value) in labels.into_iter().flatten() {
            values.insert(name, Entry { key: path.pos, node: Node::text(path.pos, value) });
        }
    }
    let declared = service.get("labels").cloned();
    values.extend(declared.iter().flat_map(Node::entries).map(|(key, entry)| (key.clone(), entry.clone())));
    service.set("labels", Node::new(files.pos, Value::Map(values)));
}

/// A build argument without a value comes from the environment; without one there it is not passed.
fn build_args(service: &mut Node, outer: &BTreeMap<String, String>) {
    let args = service.get_mut("build").and_then(|build| build.get_mut("args")).and_then(Node::as_map_mut);
    let Some(args) = args else { return };
    for (name, entry) in args.iter_mut().filter(|(_, entry)| entry.node.is_null()) {
        if let Some(value) = outer.get(name) {
            entry.node.value = Value::Text(value.clone());
        }
    }
    args.retain(|_, entry| !entry.node.is_null());
}
