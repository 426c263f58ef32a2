//! Two images beside each other: files, packages and configuration, told apart.

use crate::document::{Config, Manifest};
use crate::error::BuildError;
use crate::inventory::{self, Ecosystem, Package};
use crate::layout::Layout;
use crate::listing::{Listed, ListedKind, Listing, list};
use crate::store::ImageStore;
use model::Digest;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

/// How the second image differs from the first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    pub files: Vec<FileDifference>,
    pub packages: Vec<PackageDifference>,
    pub configuration: Vec<ConfigDifference>,
    /// Layers with the same files in other bytes: another order, other headers, another packing.
    pub packing: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileDifference {
    /// Absolute in the image.
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Listed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Listed>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackageDifference {
    pub ecosystem: Ecosystem,
    pub name: String,
    /// Versions; several where an application carries several.
    pub before: Vec<String>,
    pub after: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigDifference {
    /// As in the image configuration: `config.Env.PATH`.
    pub key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

impl Comparison {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Compares two images, each in its store, which may be the same.
pub fn compare(
    before: (&ImageStore, &Digest),
    after: (&ImageStore, &Digest),
    cancel: &AtomicBool,
) -> Result<Comparison, BuildError> {
    let (one, other) = (Side::read(before, cancel)?, Side::read(after, cancel)?);
    let files = files(&one.listing, &other.listing);
    let touched: BTreeSet<usize> =
        files.iter().flat_map(|f| f.before.iter().chain(&f.after)).map(|listed| listed.layer).collect();
    let other_bytes = one.diff_ids.iter().zip(&other.diff_ids).zip(1..).filter(|((a, b), _)| a != b);
    Ok(Comparison {
        packing: other_bytes.map(|(_, n)| n).filter(|n| !touched.contains(n)).collect(),
        files,
        packages: packages(&one.packages, &other.packages),
        configuration: configuration(&one.config, &other.config),
    })
}

struct Side {
    listing: Listing,
    diff_ids: Vec<Digest>,
    packages: Vec<Package>,
    config: Value,
}

impl Side {
    fn read((store, digest): (&ImageStore, &Digest), cancel: &AtomicBool) -> Result<Self, BuildError> {
        let layout: &Layout = store.layout();
        let manifest: Manifest = layout.document(digest)?;
        let config: Config = layout.document(&manifest.config.digest)?;
        let layers: Vec<PathBuf> =
            config.rootfs.diff_ids.iter().map(|id| store.layer_dir(id)).collect::<Result<_, _>>()?;
        Ok(Self {
            listing: list(layout, &manifest, cancel)?,
            packages: inventory::packages(&layers)?,
            diff_ids: config.rootfs.diff_ids,
            config: layout.document(&manifest.config.digest)?,
        })
    }
}

fn files(before: &Listing, after: &Listing) -> Vec<FileDifference> {
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differ = |a: &Listed, b: &Listed| {
        (&a.kind, a.mode, a.uid, a.gid, a.modified) != (&b.kind, b.mode, b.uid, b.gid, b.modified)
    };
    let mut found = Vec::new();
    for path in paths {
        let (a, b) = (before.get(path), after.get(path));
        if a.zip(b).is_none_or(|(a, b)| differ(a, b)) {
            found.push(FileDifference { path: format!("/{path}"), before: a.cloned(), after: b.cloned() });
        }
    }
    found
}

fn packages(before: &[Package], after: &[Package]) -> Vec<PackageDifference> {
    let versions = |packages: &[Package]| {
        let mut found: BTreeMap<(Ecosystem, String), BTreeSet<String>> = BTreeMap::new();
        for package in packages {
            let versions = found.entry((package.ecosystem, package.name.clone())).or_default();
            versions.insert(package.version.clone());
        }
        found
    };
    let (before, after) = (versions(before), versions(after));
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let of = |all: &BTreeMap<_, BTreeSet<String>>, key| -> Vec<String> {
        all.get(key).into_iter().flatten().cloned().collect()
    };
    names
        .into_iter()
        .map(|key| PackageDifference {
            ecosystem: key.0,
            name: key.1.clone(),
            before: of(&before, key),
            after: of(&after, key),
        })
        .filter(|difference| difference.before != difference.after)
        .collect()
}

/// Everything of the configuration that does not follow from the layers.
fn configuration(before: &Value, after: &Value) -> Vec<ConfigDifference> {
    let (before, after) = (flat(before), flat(after));
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut found = Vec::new();
    for key in keys {
        let (a, b) = (before.get(key), after.get(key));
        if a != b {
            found.push(ConfigDifference { key: key.clone(), before: a.cloned(), after: b.cloned() });
        }
    }
    found
}

fn flat(config: &Value) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let top = config.as_object().into_iter().flatten();
    for (key, value) in top.filter(|(key, _)| !matches!(key.as_str(), "rootfs" | "history")) {
        match value.as_object() {
            None => {
                found.insert(key.clone(), value.clone());
            }
            Some(object) => object.iter().for_each(|(inner, value)| spread(&mut found, key, inner, value)),
        }
    }
    found
}

fn spread(found: &mut BTreeMap<String, Value>, outer: &str, key: &str, value: &Value) {
    let name = format!("{outer}.{key}");
    match (key, value) {
        ("Env", Value::Array(variables)) => {
            for variable in variables.iter().filter_map(Value::as_str) {
                let (variable, value) = variable.split_once('=').unwrap_or((variable, ""));
                found.insert(format!("{name}.{variable}"), Value::from(value));
            }
        }
        ("Labels" | "ExposedPorts" | "Volumes", Value::Object(map)) => {
            found.extend(map.iter().map(|(k, v)| (format!("{name}.{k}"), v.clone())));
        }
        _ => {
            found.insert(name, value.clone());
        }
    }
}

/// What of a file is different, in words: `content, mode 0644 → 0755`.
pub fn words(difference: &FileDifference) -> String {
    let (before, after) = match (&difference.before, &difference.after) {
        (Some(before), Some(after)) => (before, after),
        (None, Some(after)) => return format!("added, {}", kind_word(&after.kind)),
        (Some(before), None) => return format!("removed, {}", kind_word(&before.kind)),
        (None, None) => return String::new(),
    };
    let mut said = Vec::new();
    match (&before.kind, &after.kind) {
        (a, b) if a == b => {}
        (ListedKind::File { size: a, .. }, ListedKind::File { size: b, .. }) if a == b => {
            said.push("content".to_owned());
        }
        (ListedKind::File { size: a, .. }, ListedKind::File { size: b, .. }) => {
            said.push(format!("content, {} → {}", model::Bytes(*a), model::Bytes(*b)));
        }
        (a, b) => said.push(format!("{} → {}", kind_word(a), kind_word(b))),
    }
    if before.mode != after.mode {
        said.push(format!("mode {:04o} → {:04o}", before.mode, after.mode));
    }
    if (before.uid, before.gid) != (after.uid, after.gid) {
        said.push(format!("owner {}:{} → {}:{}", before.uid, before.gid, after.uid, after.gid));
    }
    if before.modified != after.modified {
        said.push(format!("time {} → {}", before.modified, after.modified));
    }
    said.join(", ")
}

fn kind_word(kind: &ListedKind) -> String {
    match kind {
        ListedKind::File { size, .. } => format!("file of {}", model::Bytes(*size)),
        ListedKind::Directory => "directory".to_owned(),
        ListedKind::Symlink { target } => format!("link to {target}"),
        ListedKind::Hardlink { target } => format!("same file as {target}"),
        ListedKind::Other { .. } => "device or pipe".to_owned(),
    }
}
