//! `yarn.lock` of yarn 1: a form of its own, ranges to versions; workspaces stand in the manifests.

use crate::BuildError;
use crate::kinds::node::graph::{Graph, GraphNode, Target};
use crate::kinds::node::manifest::Manifest;
use crate::kinds::node::package::{Check, Package};
use std::collections::BTreeMap;

const MAKE_ANEW: &str = "make it anew: `yarn install`";

#[derive(Debug)]
pub struct Lock {
    entries: Vec<Entry>,
    /// `name@range` → entry.
    by_pattern: BTreeMap<String, usize>,
    place: String,
}

#[derive(Debug, Default)]
struct Entry {
    patterns: Vec<String>,
    fields: BTreeMap<String, String>,
    dependencies: BTreeMap<String, String>,
    optional: BTreeMap<String, String>,
}

impl Lock {
    pub fn parse(content: &str, place: &str) -> Result<Self, BuildError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut section = String::new();
        for (at, line) in content.lines().enumerate() {
            let body = line.trim();
            if body.is_empty() || body.starts_with('#') {
                continue;
            }
            let wrong = || {
                BuildError::input_hint(format!("{place}:{}: `{body}` is not of yarn 1", at + 1), MAKE_ANEW)
            };
            let words = words(body).ok_or_else(wrong)?;
            match (line.len() - line.trim_start().len(), entries.last_mut()) {
                (0, _) => {
                    let patterns = words.iter().map(|word| word.trim_end_matches(':').to_owned()).collect();
                    entries.push(Entry { patterns, ..Entry::default() });
                    section.clear();
                }
                (2, Some(entry)) => match &words[..] {
                    [head] if head.ends_with(':') => section = head.trim_end_matches(':').to_owned(),
                    [key, value] => drop(entry.fields.insert(key.clone(), value.clone())),
                    _ => return Err(wrong()),
                },
                (4, Some(entry)) => match (&words[..], section.as_str()) {
                    ([name, range], "dependencies") => {
                        drop(entry.dependencies.insert(name.clone(), range.clone()))
                    }
                    ([name, range], "optionalDependencies") => {
                        drop(entry.optional.insert(name.clone(), range.clone()))
                    }
                    ([_, _], _) => {}
                    _ => return Err(wrong()),
                },
                _ => return Err(wrong()),
            }
        }
        let patterns = |(at, entry): (usize, &Entry)| {
            entry.patterns.iter().map(move |p| (p.clone(), at)).collect::<Vec<_>>()
        };
        let by_pattern = entries.iter().enumerate().flat_map(patterns).collect();
        Ok(Self { entries, by_pattern, place: place.to_owned() })
    }

    /// Refuses a lock that has no entry for what a manifest asks for.
    pub fn agrees(&self, manifest: &Manifest, workspaces: &[Manifest]) -> Result<(), BuildError> {
        manifest.agrees(&self.place, "yarn install", |name, range| {
            let ours = workspaces.iter().any(|other| other.name() == name);
            let other = || {
                let prefix = format!("{name}@");
                self.by_pattern.keys().find_map(|pattern| pattern.strip_prefix(&prefix)).map(str::to_owned)
            };
            match ours || self.by_pattern.contains_key(&format!("{name}@{range}")) {
                true => Some(range.to_owned()),
                false => other(),
            }
        })
    }

    pub fn graph(
        &self,
        manifest: &Manifest,
        workspaces: &[Manifest],
        development: bool,
    ) -> Result<Graph, BuildError> {
        let mut graph = Graph::default();
        let targets = |needs: &BTreeMap<String, String>| -> Result<BTreeMap<String, Target>, BuildError> {
            needs
                .iter()
                .map(|(name, range)| Ok((name.clone(), self.target(name, range, workspaces)?)))
                .collect()
        };
        for (at, entry) in self.entries.iter().enumerate() {
            let mut dependencies = targets(&entry.dependencies)?;
            dependencies.extend(targets(&entry.optional)?);
            graph.nodes.insert(self.key(at), GraphNode { package: self.package(entry), dependencies });
        }
        let optional: Vec<String> = self.optional_keys(manifest, workspaces);
        optional.iter().for_each(|key| {
            if let Some(node) = graph.nodes.get_mut(key) {
                node.package.optional = true;
            }
        });
        graph.importers.insert(String::new(), targets(&manifest.dependencies(development))?);
        for other in workspaces {
            // What a package of the workspace needs to be built, only its own build needs.
            graph.importers.insert(other.directory.clone(), targets(&other.dependencies(development))?);
        }
        Ok(graph)
    }

    fn optional_keys(&self, manifest: &Manifest, workspaces: &[Manifest]) -> Vec<String> {
        let of_manifests = workspaces.iter().chain([manifest]).flat_map(Manifest::optional);
        let of_entries = self.entries.iter().flat_map(|entry| entry.optional.clone());
        let found = of_manifests.chain(of_entries);
        found
            .filter_map(|(name, range)| Some(self.key(*self.by_pattern.get(&format!("{name}@{range}"))?)))
            .collect()
    }

    fn target(&self, name: &str, range: &str, workspaces: &[Manifest]) -> Result<Target, BuildError> {
        if let Some(at) = self.by_pattern.get(&format!("{name}@{range}")) {
            return Ok(Target::Package(self.key(*at)));
        }
        match workspaces.iter().find(|other| other.name() == name) {
            Some(other) => Ok(Target::Directory(other.directory.clone())),
            None => Err(BuildError::input_hint(
                format!("{} has no version for `{name}` {range}", self.place),
                "run `yarn install` and keep yarn.lock",
            )),
        }
    }

    fn key(&self, at: usize) -> String {
        let package = self.package(&self.entries[at]);
        // The same version from two places is two packages.
        match &package.resolved {
            Some(url) if url.contains("/-/") => format!("{}@{}", package.name, package.version),
            Some(url) => format!("{}@{url}", package.name),
            None => format!("{}@{}", package.name, package.version),
        }
    }

    fn package(&self, entry: &Entry) -> Package {
        let field = |name: &str| entry.fields.get(name).cloned();
        let resolved = field("resolved").map(|url| url.split('#').next().unwrap_or_default().to_owned());
        Package {
            name: name_of(entry.patterns.first().map_or("", String::as_str)),
            version: field("version").unwrap_or_default(),
            // The address of yarn's own domain leads to the same registry.
            resolved: resolved
                .map(|url| url.replacen("https://registry.yarnpkg.com", "https://registry.npmjs.org", 1)),
            check: field("integrity").map_or(Check::Missing, Check::Integrity),
            ..Package::default()
        }
    }
}

/// `@scope/name@range`, or for an alias what it stands for: `number@npm:is-number@^7`.
fn name_of(pattern: &str) -> String {
    let split = |text: &str| text.char_indices().skip(1).find(|(_, c)| *c == '@').map(|(at, _)| at);
    let (name, range) = split(pattern).map_or((pattern, ""), |at| (&pattern[..at], &pattern[at + 1..]));
    match range.strip_prefix("npm:") {
        Some(real) => split(real).map_or(real, |at| &real[..at]).to_owned(),
        None => name.to_owned(),
    }
}

/// Words, quoted or not, separated by spaces and commas.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let word = if rest.starts_with('"') {
            let end = 1 + rest[1..].find('"')?;
            let word = rest[1..end].to_owned();
            rest = &rest[end + 1..];
            match rest.strip_prefix(':') {
                Some(after) => {
                    rest = after;
                    word + ":"
                }
                None => word,
            }
        } else {
            let end = rest.find([' ', ',']).unwrap_or(rest.len());
            let word = rest[..end].to_owned();
            rest = &rest[end..];
            word
        };
        words.push(word);
        rest = rest.trim_start_matches([' ', ',']);
    }
    (!words.is_empty()).then_some(words)
}
