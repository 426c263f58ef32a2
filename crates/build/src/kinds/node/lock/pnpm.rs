//! `pnpm-lock.yaml`, versions 6 and 9: packages by name and version, with what each was resolved to.

use crate::BuildError;
use crate::kinds::node::graph::{Graph, GraphNode, Target};
use crate::kinds::node::manifest::Manifest;
use crate::kinds::node::package::{Check, Package, Platform};
use crate::kinds::yaml;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

const MAKE_ANEW: &str = "make it anew with pnpm 8 or later: `pnpm install --lockfile-only`";

pub struct Lock {
    document: Value,
    place: String,
    version: u32,
}

impl Lock {
    pub fn parse(text: &str, place: &str) -> Result<Self, BuildError> {
        let document = yaml::parse(text)
            .map_err(|reason| BuildError::input_hint(format!("{place}: {reason}"), MAKE_ANEW))?;
        let stated = document.get("lockfileVersion").and_then(Value::as_str).unwrap_or("0");
        let version = stated.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
        if !matches!(version, 6 | 9) {
            return Err(BuildError::input_hint(
                format!("{place} has version {stated}, only 6 and 9 are read"),
                MAKE_ANEW,
            ));
        }
        if let Some(patched) = map(&document, "patchedDependencies").and_then(|map| map.keys().next()) {
            return Err(BuildError::input_hint(
                format!("{place} patches `{patched}`, and patches are not applied"),
                "publish the patched package under a name of its own, or vendor it as a workspace package",
            ));
        }
        Ok(Self { document, place: place.to_owned(), version })
    }

    /// Refuses a lock whose importers ask for something else than their manifests.
    pub fn agrees(&self, manifest: &Manifest) -> Result<(), BuildError> {
        if map(&self.document, "overrides").is_some() {
            return Ok(()); // these change what importers ask for
        }
        let directory = if manifest.directory.is_empty() { "." } else { &manifest.directory };
        let importer = self.importers().find(|(name, _)| *name == directory).map(|(_, importer)| importer);
        manifest.agrees(&self.place, "pnpm install --lockfile-only", |name, _| {
            let entry = GROUPS.iter().find_map(|group| importer?.get(group)?.get(name))?;
            Some(text(entry, "specifier").unwrap_or_default().to_owned())
        })
    }

    /// Directories of the workspace.
    pub fn directories(&self) -> Vec<String> {
        let other = self.importers().map(|(name, _)| name).filter(|name| *name != ".");
        other.map(str::to_owned).collect()
    }

    fn importers(&self) -> impl Iterator<Item = (&str, &Value)> {
        let several = map(&self.document, "importers");
        // A project without a workspace states its own needs at the top in version 6.
        let one = several.is_none().then_some((".", &self.document));
        several.into_iter().flatten().map(|(name, value)| (name.as_str(), value)).chain(one)
    }

    pub fn graph(&self, development: bool) -> Result<Graph, BuildError> {
        let described = if self.version == 9 { "snapshots" } else { "packages" };
        let described = map(&self.document, described);
        let mut graph = Graph::default();
        for (key, value) in described.into_iter().flatten() {
            let key = key.strip_prefix('/').unwrap_or(key);
            graph.nodes.insert(key.to_owned(), self.node(key, value)?);
        }
        let known = |name: &str, reference: &str, from: &str| self.target(described, name, reference, from);
        for (key, value) in described.into_iter().flatten() {
            let key = key.strip_prefix('/').unwrap_or(key);
            let needs = [map(value, "dependencies"), map(value, "optionalDependencies")];
            let needs = needs.into_iter().flatten().flatten();
            let needs = needs.filter_map(|(name, reference)| Some((name, reference.as_str()?)));
            let found = needs.map(|(name, reference)| Ok((name.clone(), known(name, reference, "")?)));
            graph.nodes.get_mut(key).expect("it was put there above").dependencies =
                found.collect::<Result<_, BuildError>>()?;
        }
        for (directory, importer) in self.importers() {
            let directory = if directory == "." { "" } else { directory };
            let mut needs = BTreeMap::new();
            for group in &GROUPS[..if development { 3 } else { 2 }] {
                for (name, entry) in map(importer, group).into_iter().flatten() {
                    let reference = text(entry, "version").unwrap_or_default();
                    needs.insert(name.clone(), known(name, reference, directory)?);
                }
            }
            graph.importers.insert(directory.to_owned(), needs);
        }
        Ok(graph)
    }

    /// What `name: reference` of a package or an importer means.
    fn target(
        &self,
        described: Option<&Map<String, Value>>,
        name: &str,
        reference: &str,
        from: &str,
    ) -> Result<Target, BuildError> {
        if let Some(path) = reference.strip_prefix("link:") {
            return Ok(Target::Directory(joined(from, path)));
        }
        let has = |key: &str| {
            described.is_some_and(|map| map.contains_key(key) || map.contains_key(&format!("/{key}")))
        };
        let plain = reference.strip_prefix('/').unwrap_or(reference);
        let own = format!("{name}@{plain}");
        match (has(&own), has(plain)) {
            (true, _) => Ok(Target::Package(own)),
            (_, true) => Ok(Target::Package(plain.to_owned())),
            _ => Err(BuildError::input_hint(
                format!("{} resolves `{name}` to `{reference}`, which it does not describe", self.place),
                MAKE_ANEW,
            )),
        }
    }

    fn node(&self, key: &str, value: &Value) -> Result<GraphNode, BuildError> {
        let bare = key.split('(').next().unwrap_or(key);
        // Version 9 states what does not depend on peers apart.
        let about = if self.version == 9 {
            map(&self.document, "packages").and_then(|m| m.get(bare))
        } else {
            Some(value)
        };
        let about = about.unwrap_or(&Value::Null);
        let (name, version) = split_key(bare);
        let resolution = about.get("resolution").unwrap_or(&Value::Null);
        let unusable = ["repo", "directory"].iter().find_map(|kind| text(resolution, kind));
        if let Some(source) = unusable {
            return Err(BuildError::input_hint(
                format!("{} takes `{name}` from `{source}`, not from a registry", self.place),
                "publish it to a registry, or make it a package of the workspace",
            ));
        }
        let package = Package {
            name: text(about, "name").unwrap_or(name).to_owned(),
            version: text(about, "version").unwrap_or(version).to_owned(),
            resolved: text(resolution, "tarball").map(str::to_owned),
            check: text(resolution, "integrity").map_or(Check::Missing, |i| Check::Integrity(i.to_owned())),
            optional: text(value, "optional") == Some("true"),
            platform: Platform::Stated {
                os: list(about, "os"),
                cpu: list(about, "cpu"),
                libc: list(about, "libc"),
            },
            ..Package::default()
        };
        Ok(GraphNode { package, dependencies: BTreeMap::new() })
    }
}

const GROUPS: [&str; 3] = ["dependencies", "optionalDependencies", "devDependencies"];

fn map<'a>(value: &'a Value, key: &str) -> Option<&'a Map<String, Value>> {
    value.get(key).and_then(Value::as_object)
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

fn list(value: &Value, key: &str) -> Vec<String> {
    let items = value.get(key).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// `@scope/name@version`.
fn split_key(key: &str) -> (&str, &str) {
    let at = key.char_indices().skip(1).find(|(_, c)| *c == '@').map_or(key.len(), |(at, _)| at);
    (&key[..at], key[at..].trim_start_matches('@'))
}

/// `path` as seen from the directory `from`; what leads out of the project keeps its dots.
fn joined(from: &str, path: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
