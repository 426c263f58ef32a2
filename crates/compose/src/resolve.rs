//! Values from outside the file: `env_file`, `label_file`, and environment names without a value.

use crate::diagnostics::Pos;
use crate::env_file::Format;
use crate::project::read_env_file;
use crate::tree::{Entry, Map, Node, Value};
use crate::unit::{Loader, Merged};
use std::collections::BTreeMap;
use std::path::Path;

/// Completes `environment` and `labels` of every service.
pub(crate) fn resolve(merged: &mut Merged, loader: &mut Loader<'_>) {
    let Merged { tree, origins } = merged;
    let Some(services) = tree.get_mut("services") else { return };
    for (name, entry) in services.entries_mut() {
        let origin = origins.get(&format!("services/{name}")).copied().unwrap_or(0);
        let environment = loader.environment(origin);
        environment_of(&mut entry.node, &environment, loader);
        labels_of(&mut entry.node, &environment, loader);
        build_args(&mut entry.node, &environment);
    }
}

fn environment_of(service: &mut Node, outer: &BTreeMap<String, String>, loader: &mut Loader<'_>) {
    let mut values = Map::new();
    let files = service.get("env_file").cloned();
    for file in files.iter().flat_map(Node::items) {
        for (name, value, pos) in env_file(file, outer, &values, loader) {
            values.insert(name, Entry { key: pos, node: Node::text(pos, value) });
        }
    }
    let declared = service.get("environment").cloned();
    for (name, entry) in declared.iter().flat_map(Node::entries) {
        let mut entry = entry.clone();
        if entry.node.is_null() {
            if let Some(value) = outer.get(name) {
                entry.node.value = Value::Text(value.clone());
            }
        }
        values.insert(name.clone(), entry);
    }
    let pos = declared.or(files).map_or(service.pos, |node| node.pos);
    service.set("environment", Node::new(pos, Value::Map(values)));
}

fn env_file(
    file: &Node,
    outer: &BTreeMap<String, String>,
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
    let lookup = |name: &str| {
        let before = || earlier.get(name).and_then(|entry| entry.node.as_text());
        outer.get(name).map(String::as_str).or_else(before).map(str::to_owned)
    };
    let variables = read_env_file(Path::new(text), format, &lookup, Some(path.pos), loader);
    variables.into_iter().flatten().map(|(name, value)| (name, value, path.pos)).collect()
}

fn labels_of(service: &mut Node, outer: &BTreeMap<String, String>, loader: &mut Loader<'_>) {
    let Some(files) = service.get("label_file").cloned() else { return };
    let mut values = Map::new();
    for path in files.items() {
        let Some(text) = path.as_text() else { continue };
        let lookup = |name: &str| outer.get(name).cloned();
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
