//! What a Rust project reads beside its directory: crates named by path, and the manifest and lock
//! of a workspace above it.

use crate::BuildError;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Crates outside the context that a project may name by path, directly or through others.
const OUTSIDE_LIMIT: usize = 64;

/// What a Rust project reads outside its context: crates named by path, and the manifest and lock
/// of a workspace above it. Their bytes are inputs too.
pub fn outside_inputs(root: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let mut found = BTreeSet::new();
    let mut queue = vec![root.to_owned()];
    while let Some(directory) = queue.pop() {
        for path in path_dependencies(&directory) {
            if !path.starts_with(root) && found.insert(path.clone()) {
                queue.push(path);
            }
        }
        if found.len() > OUTSIDE_LIMIT {
            return Err(BuildError::input_hint(
                format!("{} names more than {OUTSIDE_LIMIT} crates outside it by path", root.display()),
                "make the directory above them the build context",
            ));
        }
    }
    let manifests =
        root.ancestors().skip(1).flat_map(|above| [above.join("Cargo.toml"), above.join("Cargo.lock")]);
    found.extend(manifests.filter(|path| path.is_file()));
    Ok(found.into_iter().collect())
}

/// Directories that a manifest names with `path = …`, also for targets and the workspace; a
/// manifest that cannot be read is cargo's to complain about.
fn path_dependencies(directory: &Path) -> Vec<PathBuf> {
    fn collect(value: &toml::Value, found: &mut Vec<String>) {
        match value {
            toml::Value::Table(table) => {
                found.extend(table.get("path").and_then(|path| path.as_str()).map(str::to_owned));
                table.values().for_each(|value| collect(value, found));
            }
            toml::Value::Array(list) => list.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let text = fs::read_to_string(directory.join("Cargo.toml")).unwrap_or_default();
    let Ok(manifest) = toml::from_str::<toml::Table>(&text) else { return Vec::new() };
    let mut found = Vec::new();
    collect(&toml::Value::Table(manifest), &mut found);
    found
        .iter()
        .filter_map(|path| directory.join(path).canonicalize().ok())
        .filter(|path| path.is_dir())
        .collect()
}

/// The directory of the workspace that the project belongs to; its own when there is none.
pub fn workspace(root: &Path) -> PathBuf {
    let declares = |directory: &&Path| {
        let text = fs::read_to_string(directory.join("Cargo.toml")).unwrap_or_default();
        toml::from_str::<toml::Table>(&text).is_ok_and(|manifest| manifest.contains_key("workspace"))
    };
    root.ancestors().find(declares).unwrap_or(root).to_owned()
}
