//! `include`: other files with their own directory and environment, taken in as they are. What
//! both sides declare must be the same.

use crate::diagnostics::Pos;
use crate::env_file::Format;
use crate::project::read_env_file;
use crate::tree::{Node, Value};
use crate::unit::{Loader, Merged, Unit};
use std::path::{Path, PathBuf};

/// Includes within includes.
pub(crate) const MAX_INCLUDE_DEPTH: usize = 16;

/// What is taken in of an included file.
const SECTIONS: [&str; 6] = ["services", "networks", "volumes", "configs", "secrets", "models"];

impl Loader<'_> {
    /// Takes every entry of `includes` into `root`, the file that has them.
    pub fn include(
        &mut self,
        includes: &Node,
        root: &mut Node,
        path: &Path,
        unit: &Unit,
        merged: &mut Merged,
    ) {
        if !includes.is_null() && includes.as_list().is_none() {
            let message = format!("`include` must be a list, this is {}", includes.kind());
            return self.sink.error_hint(includes.pos, message, "write `include: [FILE]`");
        }
        for entry in includes.items() {
            if unit.chain.len() >= MAX_INCLUDE_DEPTH {
                self.sink
                    .error(entry.pos, format!("includes are nested deeper than {MAX_INCLUDE_DEPTH} levels"));
                return;
            }
            let Some(inner) = self.included_unit(entry, path, unit) else { continue };
            let imported = self.unit(&inner);
            merged.origins.extend(imported.origins);
            for section in SECTIONS {
                let found = imported.tree.get(section).filter(|node| node.as_map().is_some());
                if let Some(found) = found {
                    self.take_in(found, section, root);
                }
            }
        }
    }

    /// What both sides declare must be the same.
    fn take_in(&mut self, imported: &Node, section: &str, root: &mut Node) {
        if root.get(section).is_none() {
            root.set(section, Node::map(imported.pos, []));
        }
        for (name, entry) in imported.entries() {
            let Some(own) = root.get_mut(section).and_then(Node::as_map_mut) else { return };
            match own.get(name) {
                None => {
                    own.insert(name.clone(), entry.clone());
                }
                Some(own) if same(&own.node, &entry.node) => {}
                Some(own) => {
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

    fn included_unit(&mut self, entry: &Node, path: &Path, unit: &Unit) -> Option<Unit> {
        let (files, environment_files) = match entry.value {
            Value::Text(_) => (vec![self.included_path(entry, unit)?], Vec::new()),
            Value::Map(_) => {
                (self.included_paths(entry, "path", unit)?, self.included_paths(entry, "env_file", unit)?)
            }
            Value::Invalid => return None,
            _ => {
                let message = format!("an include is text or a mapping, this is {}", entry.kind());
                self.sink.error_hint(entry.pos, message, "write `- FILE` or `- path: FILE`");
                return None;
            }
        };
        for (key, known) in entry.entries() {
            if !matches!(key.as_str(), "path" | "env_file" | "project_directory") {
                self.sink.warning(known.key, format!("`{key}` of an include is not known and has no effect"));
            }
        }
        if files.is_empty() {
            self.sink.warning_hint(entry.pos, "the include names no file", "write `- path: FILE`");
        }
        let named = entry.get("project_directory");
        let directory = match (named, files.first()) {
            (Some(directory), _) => self.included_path(directory, unit)?.0,
            (None, Some((first, _))) => first.parent().unwrap_or(Path::new("/")).to_owned(),
            (None, None) => unit.directory.clone(),
        };
        let environment = self.included_environment(&directory, environment_files, unit.environment);
        // The reference takes what is not a directory for a file in one, unless it is an absolute path.
        let is_relative = named.and_then(Node::as_text).is_some_and(|text| !text.starts_with('/'));
        let directory = match directory.parent() {
            Some(parent) if is_relative && !self.files.is_dir(&directory) => parent.to_owned(),
            _ => directory,
        };
        let mut chain = unit.chain.clone();
        chain.push(path.to_owned());
        let files = files.into_iter().map(|(file, pos)| (file, Some(pos))).collect();
        Some(Unit { files, directory, environment, chain })
    }

    /// A text, or each text of a list, as paths.
    fn included_paths(&mut self, entry: &Node, key: &str, unit: &Unit) -> Option<Vec<(PathBuf, Pos)>> {
        match entry.get(key) {
            None => Some(Vec::new()),
            Some(Node { value: Value::List(list), .. }) => {
                list.iter().map(|node| self.included_path(node, unit)).collect()
            }
            Some(node) => Some(vec![self.included_path(node, unit)?]),
        }
    }

    fn included_path(&mut self, node: &Node, unit: &Unit) -> Option<(PathBuf, Pos)> {
        match node.as_text() {
            Some(text) => Some((self.absolute(text, &unit.directory, unit.environment), node.pos)),
            None => {
                let message = format!("a path of an include is text, this is {}", node.kind());
                self.sink.error(node.pos, message);
                None
            }
        }
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
}

/// Whether two values are the same, wherever they were written.
fn same(a: &Node, b: &Node) -> bool {
    match (&a.value, &b.value) {
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(&a.node, &b.node)))
        }
        (a, b) => a == b,
    }
}
