//! `package.json`: what a project needs, its workspaces, its scripts, and whether a lock still
//! agrees with it.

use crate::BuildError;
use crate::kinds::ignore::glob;
use crate::kinds::settings::Project;
use crate::kinds::tree::Tree;
use serde_json::Value;
use std::collections::BTreeMap;

const WORKSPACE_LIMIT: usize = 500;

/// One `package.json`; an empty one where there is none.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Relative to the project, empty for its own.
    pub directory: String,
    value: Value,
}

impl Manifest {
    pub fn read(project: &Project, directory: &str) -> Result<Self, BuildError> {
        let directory = directory.trim_matches('/').to_owned();
        let path = match directory.as_str() {
            "" => "package.json".to_owned(),
            directory => format!("{directory}/package.json"),
        };
        let place = format!("{}/{path}", project.place());
        let Some(text) = project.tree()?.text(&path)? else {
            return Ok(Self { directory, value: Value::Null });
        };
        let value: Value = serde_json::from_str(&text)
            .map_err(|e| BuildError::input(format!("{place}:{}:{}: {e}", e.line(), e.column())))?;
        match value.is_object() {
            true => Ok(Self { directory, value }),
            false => Err(BuildError::input(format!("{place} is not a JSON object"))),
        }
    }

    /// A text by its JSON pointer.
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.value.pointer(pointer).and_then(Value::as_str)
    }

    pub fn name(&self) -> &str {
        self.text("/name").unwrap_or("")
    }

    pub fn script(&self, name: &str) -> Option<&str> {
        self.value.get("scripts")?.get(name)?.as_str().filter(|text| !text.trim().is_empty())
    }

    /// Name and range of everything it needs to run, and with `development` to be built.
    pub fn dependencies(&self, development: bool) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        if development {
            found.extend(self.ranges("devDependencies"));
        }
        found.extend(self.ranges("dependencies"));
        found.extend(self.ranges("optionalDependencies"));
        found
    }

    pub fn optional(&self) -> BTreeMap<String, String> {
        self.ranges("optionalDependencies").collect()
    }

    fn ranges(&self, key: &str) -> impl Iterator<Item = (String, String)> {
        let map = self.value.get(key).and_then(Value::as_object);
        map.into_iter().flatten().filter_map(|(name, range)| Some((name.clone(), range.as_str()?.to_owned())))
    }

    /// The packages of the workspace that this manifest opens, by npm's and yarn's key.
    pub fn workspaces(&self, project: &Project) -> Result<Vec<Manifest>, BuildError> {
        let listed = match self.value.get("workspaces") {
            Some(Value::Object(map)) => map.get("packages"),
            other => other,
        };
        let patterns: Vec<&str> =
            listed.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let directories = matching(project.tree()?, &patterns);
        if directories.len() > WORKSPACE_LIMIT {
            return Err(BuildError::input(format!(
                "the workspace of {} has more than {WORKSPACE_LIMIT} packages",
                project.place()
            )));
        }
        directories.iter().map(|directory| Manifest::read(project, directory)).collect()
    }

    fn file(&self) -> String {
        match self.directory.as_str() {
            "" => "package.json".to_owned(),
            directory => format!("{directory}/package.json"),
        }
    }

    /// Refuses a lock that was made for another manifest. `locked` gives the range that the lock
    /// has for a name, `None` when it has none.
    pub fn agrees(
        &self,
        lock: &str,
        command: &str,
        locked: impl Fn(&str, &str) -> Option<String>,
    ) -> Result<(), BuildError> {
        for (name, range) in self.dependencies(true) {
            let found = locked(&name, &range);
            if found.as_deref() == Some(range.as_str()) {
                continue;
            }
            let has = found.map_or("does not have it".to_owned(), |found| format!("has `{found}`"));
            return Err(BuildError::input_hint(
                format!(
                    "{lock} does not match {}: it asks for `{name}` {range}, the lock {has}",
                    self.file()
                ),
                format!("run `{command}` and keep both files"),
            ));
        }
        Ok(())
    }
}

/// Directories with a package.json that one of the patterns names.
fn matching(tree: &Tree, patterns: &[&str]) -> Vec<String> {
    let directories = tree.files.iter().filter_map(|file| file.path.strip_suffix("/package.json"));
    let tidy = |pattern: &str| pattern.trim_start_matches("./").trim_end_matches('/').to_owned();
    let (out, within): (Vec<&str>, Vec<&str>) = patterns.iter().partition(|pattern| pattern.starts_with('!'));
    directories
        .filter(|directory| within.iter().any(|pattern| glob(&tidy(pattern), directory)))
        .filter(|directory| !out.iter().any(|pattern| glob(&tidy(&pattern[1..]), directory)))
        .map(str::to_owned)
        .collect()
}
