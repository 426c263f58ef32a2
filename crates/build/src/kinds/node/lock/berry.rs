//! `yarn.lock` of yarn 2 and later: YAML, descriptors to resolutions, workspaces included. Its
//! checksums are of the zip files that yarn makes, see `yarn_zip`.

use crate::BuildError;
use crate::kinds::node::graph::{Graph, GraphNode, Target};
use crate::kinds::node::manifest::Manifest;
use crate::kinds::node::package::{Check, Package, Platform, programs};
use crate::kinds::yaml;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

const MAKE_ANEW: &str = "make it anew: `yarn install --mode=update-lockfile`";

pub struct Lock {
    entries: Vec<Value>,
    /// Descriptor such as `debug@npm:^4.3.4` → entry.
    by_descriptor: BTreeMap<String, usize>,
    place: String,
}

impl Lock {
    pub fn parse(content: &str, place: &str) -> Result<Self, BuildError> {
        let document = yaml::parse(content)
            .map_err(|reason| BuildError::input_hint(format!("{place}: {reason}"), MAKE_ANEW))?;
        let Value::Object(map) = document else {
            return Err(BuildError::input_hint(format!("{place} is empty"), MAKE_ANEW));
        };
        let (mut entries, mut by_descriptor) = (Vec::new(), BTreeMap::new());
        for (key, value) in map.into_iter().filter(|(key, _)| key != "__metadata") {
            by_descriptor.extend(key.split(", ").map(|descriptor| (descriptor.to_owned(), entries.len())));
            entries.push(value);
        }
        Ok(Self { entries, by_descriptor, place: place.to_owned() })
    }

    /// Directories of the workspace, without the root.
    pub fn directories(&self) -> Vec<String> {
        let found = self.entries.iter().filter_map(workspace_directory);
        found.filter(|directory| !directory.is_empty()).map(str::to_owned).collect()
    }

    pub fn agrees(&self, manifest: &Manifest) -> Result<(), BuildError> {
        let own = |entry: &&Value| workspace_directory(entry) == Some(manifest.directory.as_str());
        let entry = self.entries.iter().find(own);
        manifest.agrees(&self.place, "yarn install --mode=update-lockfile", |name, range| {
            let has = text(entry?.get("dependencies")?, name)?;
            // A plain range is one of npm.
            let same = has == range || has.strip_prefix("npm:") == Some(range);
            Some(if same { range.to_owned() } else { has.to_owned() })
        })
    }

    pub fn graph(&self, manifests: &[Manifest], development: bool) -> Result<Graph, BuildError> {
        let mut graph = Graph::default();
        for entry in &self.entries {
            let needs = map(entry, "dependencies").into_iter().flatten();
            let needs = needs.filter_map(|(name, range)| Some((name, range.as_str()?)));
            if let Some(directory) = workspace_directory(entry) {
                let wanted = manifests.iter().find(|manifest| manifest.directory == directory);
                let wanted = wanted.map(|manifest| manifest.dependencies(development)).unwrap_or_default();
                let needs = needs.filter(|(name, _)| wanted.contains_key(*name));
                let found = needs.map(|(name, range)| Ok((name.clone(), self.target(name, range)?)));
                graph.importers.insert(directory.to_owned(), found.collect::<Result<_, BuildError>>()?);
                continue;
            }
            let Some(resolution) = text(entry, "resolution") else { continue };
            if resolution.contains("@patch:") {
                continue; // yarn's own patches are for Plug'n'Play, which is not used
            }
            let dependencies: BTreeMap<_, _> = needs
                .map(|(name, range)| Ok((name.clone(), self.target(name, range)?)))
                .collect::<Result<_, BuildError>>()?;
            let package = self.package(resolution, entry)?;
            graph.nodes.insert(resolution.to_owned(), GraphNode { package, dependencies });
        }
        Ok(graph)
    }

    fn target(&self, name: &str, range: &str) -> Result<Target, BuildError> {
        if range.starts_with("patch:") {
            return Err(BuildError::input_hint(
                format!("{} patches `{name}`, and patches are not applied", self.place),
                "publish the patched package under a name of its own, or vendor it as a workspace package",
            ));
        }
        let entry = self.by_descriptor.get(&format!("{name}@{range}"));
        // A range that a workspace satisfies is resolved to it.
        let entry = entry.map(|at| &self.entries[*at]).ok_or_else(|| {
            BuildError::input_hint(format!("{} has no version for `{name}` {range}", self.place), MAKE_ANEW)
        })?;
        Ok(match workspace_directory(entry) {
            Some(directory) => Target::Directory(directory.to_owned()),
            None => Target::Package(text(entry, "resolution").unwrap_or_default().to_owned()),
        })
    }

    fn package(&self, resolution: &str, entry: &Value) -> Result<Package, BuildError> {
        let at =
            resolution.char_indices().skip(1).find(|(_, c)| *c == '@').map_or(resolution.len(), |(at, _)| at);
        let (name, source) = (&resolution[..at], resolution[at..].trim_start_matches('@'));
        let Some(version) = source.strip_prefix("npm:") else {
            return Err(BuildError::input_hint(
                format!("{} takes `{name}` from `{source}`, not from a registry", self.place),
                "publish it to a registry, or make it a package of the workspace",
            ));
        };
        Ok(Package {
            name: name.to_owned(),
            version: version.split("::").next().unwrap_or(version).to_owned(),
            check: match text(entry, "checksum").and_then(|sum| sum.rsplit_once('/')) {
                // `10c0`: the form of the zip file, and compression 0, which can be repeated exactly.
                Some(("10c0", sum)) => Check::YarnZip(sum.to_owned()),
                _ => Check::Registry,
            },
            bin: Some(programs(name, entry.get("bin"))),
            platform: conditions(text(entry, "conditions").unwrap_or("")),
            optional: entry.get("conditions").is_some(),
            ..Package::default()
        })
    }
}

/// `os=linux & (cpu=x64 | cpu=arm64) & libc=glibc`.
fn conditions(stated: &str) -> Platform {
    let values = |key: &str| {
        let parts = stated.split(['&', '|', '(', ')']).map(str::trim);
        parts.filter_map(|part| Some(part.strip_prefix(key)?.strip_prefix('=')?.to_owned())).collect()
    };
    Platform::Stated { os: values("os"), cpu: values("cpu"), libc: values("libc") }
}

fn workspace_directory(entry: &Value) -> Option<&str> {
    let directory = text(entry, "resolution")?.rsplit_once("@workspace:")?.1;
    Some(if directory == "." { "" } else { directory })
}

fn map<'a>(value: &'a Value, key: &str) -> Option<&'a Map<String, Value>> {
    value.get(key).and_then(Value::as_object)
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}
