//! `include`: other files with their own directory and environment, taken in as they are. What
//! both sides declare must be the same.

use crate::diagnostics::Pos;
use crate::env_file::Format;
use crate::merge;
use crate::project::read_env_file;
use crate::tree::{Node, Value};
use crate::unit::{Loader, Merged, Unit};
use std::path::{Path, PathBuf};

/// Includes within includes.
pub(crate) const MAX_INCLUDE_DEPTH: usize = 16;

impl Loader<'_> {
    /// Takes in every entry of `includes`; `root` is the file that has them.
    pub fn include(&mut self, includes: &Node, root: &Node, path: &Path, unit: &Unit, merged: &mut Merged) {
        for entry in includes.items() {
            if unit.chain.len() >= MAX_INCLUDE_DEPTH {
                self.sink
                    .error(entry.pos, format!("includes are nested deeper than {MAX_INCLUDE_DEPTH} levels"));
                return;
            }
            let Some(inner) = self.included_unit(entry, path, unit) else { continue };
            let imported = self.unit(&inner);
            for other in [root, &merged.tree] {
                self.conflicts(&imported.tree, other);
            }
            merged.origins.extend(imported.origins);
            let Node { value: Value::Map(mut map), pos, tag } = imported.tree else { continue };
            map.retain(|key, _| {
                matches!(key.as_str(), "services" | "networks" | "volumes" | "configs" | "secrets")
            });
            merge::merge(&mut merged.tree, Node { pos, tag, value: Value::Map(map) });
        }
    }

    fn included_unit(&mut self, entry: &Node, path: &Path, unit: &Unit) -> Option<Unit> {
        let texts = |key: &str| -> Vec<(PathBuf, Pos)> {
            let items = entry.get(key).map(Node::items).unwrap_or_default();
            items.iter().filter_map(|node| Some((PathBuf::from(node.as_text()?), node.pos))).collect()
        };
        let files = texts("path");
        let Some((first, _)) = files.first() else {
            self.sink.error_hint(entry.pos, "the include has no `path`", "write `- path: FILE`");
            return None;
        };
        let directory = match entry.get("project_directory").and_then(Node::as_text) {
            Some(directory) => PathBuf::from(directory),
            None => first.parent().unwrap_or(Path::new("/")).to_owned(),
        };
        let environment = self.included_environment(&directory, texts("env_file"), unit.environment);
        let mut chain = unit.chain.clone();
        chain.push(path.to_owned());
        let files = files.into_iter().map(|(file, pos)| (file, Some(pos))).collect();
        Some(Unit { files, directory, environment, chain })
    }

    /// The including environment, and below it what the environment files of the include say.
    fn included_environment(&mut self, directory: &Path, files: Vec<(PathBuf, Pos)>, outer: usize) -> usize {
        let own = directory.join(".env");
        let files = match files.is_empty() {
            false => files.into_iter().map(|(file, pos)| (file, Some(pos))).collect(),
            true if self.files.exists(&own) && !self.files.is_dir(&own) => vec![(own, None)],
            true => Vec::new(),
        };
        if files.is_empty() {
            return outer;
        }
        let outer = self.environment(outer);
        let mut values = std::collections::BTreeMap::new();
        for (file, at) in files {
            let lookup = |name: &str| outer.get(name).or_else(|| values.get(name)).cloned();
            if let Some(variables) = read_env_file(&file, Format::Dotenv, &lookup, at, self) {
                values.extend(variables);
            }
        }
        values.extend(outer.iter().map(|(name, value)| (name.clone(), value.clone())));
        self.add_environment(values)
    }

    fn conflicts(&mut self, imported: &Node, other: &Node) {
        for section in ["services", "networks", "volumes", "configs", "secrets"] {
            let Some(names) = other.get(section) else { continue };
            for (name, entry) in imported.get(section).into_iter().flat_map(Node::entries) {
                let Some(own) = names.as_map().and_then(|map| map.get(name)) else { continue };
                if same(&own.node, &entry.node) {
                    continue;
                }
                let what = section.trim_end_matches('s');
                let there = self.sink.file_of(entry.key);
                self.sink.error_hint(
                    own.key,
                    format!("the {what} `{name}` is also declared, otherwise, in the included {there}"),
                    "rename one of them, or change the included one in a second `-f` file",
                );
            }
        }
    }
}

/// Whether two values are the same, wherever they were written; null and `{}` are.
fn same(a: &Node, b: &Node) -> bool {
    let empty = |node: &Node| node.is_null() || node.as_map().is_some_and(|map| map.is_empty());
    match (&a.value, &b.value) {
        _ if empty(a) && empty(b) => true,
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(&a.node, &b.node)))
        }
        (a, b) => a == b,
    }
}
