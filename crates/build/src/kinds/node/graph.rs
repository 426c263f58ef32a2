//! Packages that a lock states as a graph, laid out so that each sees exactly what it asked for:
//! one directory per package in a store within node_modules, and links between them.
//!
//! ```text
//! node_modules/debug ─▶ .store/debug@4.4.3/node_modules/debug
//!                       .store/debug@4.4.3/node_modules/ms ─▶ .store/ms@2.1.3/node_modules/ms
//!                       .store/node_modules/ms             ─▶ the same, for what says too little
//! ```

use super::package::{Installation, PACKAGE_LIMIT, Package, Wanted, is_name, is_plain};
use crate::BuildError;
use model::Digest;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Longer names of directories are cut and end in a digest.
const DIRECTORY_NAME_LIMIT: usize = 100;

#[derive(Debug, Default)]
pub struct Graph {
    pub nodes: BTreeMap<String, GraphNode>,
    /// Directory of the project (empty: its root) → what it needs.
    pub importers: BTreeMap<String, BTreeMap<String, Target>>,
}

#[derive(Debug, Default)]
pub struct GraphNode {
    pub package: Package,
    pub dependencies: BTreeMap<String, Target>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A key of `nodes`.
    Package(String),
    /// A directory of the project.
    Directory(String),
}

/// Where the packages go, and who sees them.
pub struct Style {
    /// Directory within node_modules.
    pub store: &'static str,
    /// Whether the project also sees what only its packages need, as with tools that hoist.
    pub hoists: bool,
}

impl Graph {
    /// What the project needs, starting from its root and the directories it links to.
    pub fn lay_out(
        mut self,
        lock: &str,
        style: &Style,
        wanted: &Wanted<'_>,
    ) -> Result<Installation, BuildError> {
        let importers = self.reachable_importers();
        let keys = self.reachable(lock, &importers, wanted)?;
        let places: BTreeMap<&str, String> =
            keys.iter().map(|key| (key.as_str(), self.place(key, style))).collect();
        let mut links: BTreeMap<String, String> = BTreeMap::new();
        let lead = |target: &Target| match target {
            Target::Package(key) => places.get(key.as_str()).cloned(),
            Target::Directory(directory) => Some(directory.clone()),
        };
        for directory in &importers {
            let below = if directory.is_empty() { String::new() } else { format!("{directory}/") };
            for (name, target) in &self.importers[directory] {
                links.extend(lead(target).map(|to| (format!("{below}node_modules/{name}"), to)));
            }
        }
        for key in &keys {
            let own = places[key.as_str()].rsplit_once("node_modules/").expect("places end so").0;
            for (name, target) in &self.nodes[key].dependencies {
                links.extend(lead(target).map(|to| (format!("{own}node_modules/{name}"), to)));
            }
        }
        for key in &keys {
            let name = &self.nodes[key].package.name;
            let shown = |above: String| (format!("{above}node_modules/{name}"), places[key.as_str()].clone());
            let (place, to) = shown(format!("node_modules/{}/", style.store));
            links.entry(place).or_insert(to);
            if style.hoists {
                let (place, to) = shown(String::new());
                links.entry(place).or_insert(to);
            }
        }
        // A package never stands where a link to it would.
        links.retain(|place, to| place != to);
        let packages = keys.iter().map(|key| {
            let place = places[key.as_str()].clone();
            let node = self.nodes.remove(key).expect("reachable() answers keys of nodes");
            Package { place, ..node.package }
        });
        Ok(Installation { packages: packages.collect(), links: links.into_iter().collect() })
    }

    /// The root and what it links to; everything where the root itself needs nothing, as in a
    /// repository that only holds others.
    fn reachable_importers(&self) -> Vec<String> {
        let empty = self.importers.get("").is_none_or(BTreeMap::is_empty);
        let mut queue: VecDeque<String> = match empty {
            true => self.importers.keys().cloned().collect(),
            false => VecDeque::from([String::new()]),
        };
        let mut found = BTreeSet::new();
        while let Some(directory) = queue.pop_front() {
            let Some(needs) = self.importers.get(&directory) else { continue };
            if found.insert(directory) {
                queue.extend(needs.values().filter_map(|target| match target {
                    Target::Directory(directory) => Some(directory.clone()),
                    Target::Package(_) => None,
                }));
            }
        }
        found.into_iter().collect()
    }

    /// Keys of what the importers need and what runs on the machine, in one order.
    fn reachable(
        &self,
        lock: &str,
        importers: &[String],
        wanted: &Wanted<'_>,
    ) -> Result<Vec<String>, BuildError> {
        let mut found = BTreeSet::new();
        let mut queue: Vec<&Target> =
            importers.iter().flat_map(|directory| self.importers[directory].values()).collect();
        let mut refused = BTreeSet::new();
        while let Some(target) = queue.pop() {
            let key = match target {
                Target::Directory(directory) if directory.is_empty() || is_plain(directory) => continue,
                Target::Directory(directory) => return Err(outside(lock, directory)),
                Target::Package(key) => key,
            };
            if found.contains(key) || refused.contains(key) {
                continue;
            }
            let node = self.nodes.get(key).ok_or_else(|| {
                BuildError::input_hint(format!("{lock} names `{key}` without describing it"), "make it anew")
            })?;
            if !is_name(&node.package.name) || node.dependencies.keys().any(|name| !is_name(name)) {
                return Err(BuildError::input(format!("{lock} has `{key}`, which is not a package's name")));
            }
            if !(wanted.fits)(&node.package)? {
                refused.insert(key.clone());
                continue;
            }
            found.insert(key.clone());
            if found.len() > PACKAGE_LIMIT {
                return Err(BuildError::input(format!("{lock} names more than {PACKAGE_LIMIT} packages")));
            }
            queue.extend(node.dependencies.values());
        }
        Ok(found.into_iter().collect())
    }

    fn place(&self, key: &str, style: &Style) -> String {
        let mut directory: String = key
            .chars()
            .filter_map(|c| match c {
                ')' => None,
                '(' => Some('_'),
                c if c.is_alphanumeric() || matches!(c, '@' | '.' | '-' | '_') => Some(c),
                _ => Some('+'),
            })
            .collect();
        if directory.len() > DIRECTORY_NAME_LIMIT {
            let end = directory.floor_char_boundary(DIRECTORY_NAME_LIMIT - 20);
            directory.truncate(end);
            directory.push('_');
            directory.push_str(Digest::of(key.as_bytes()).short());
        }
        format!("node_modules/{}/{directory}/node_modules/{}", style.store, self.nodes[key].package.name)
    }
}

fn outside(lock: &str, directory: &str) -> BuildError {
    BuildError::input_hint(
        format!("{lock} takes a package from `{directory}`, outside the project"),
        "make the directory above both the build context",
    )
}
