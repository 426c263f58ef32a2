//! The packages in an image, as its own files tell: Debian's records, the metadata of installed
//! Python distributions and Node modules. What was compiled in leaves no such trace.

use crate::error::BuildError;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Larger records than this are no package's.
const MAX_RECORD_BYTES: u64 = 64 << 20;
const MAX_DEPTH: usize = 64;
const MAX_FILES: usize = 2_000_000;
const MAX_LICENCES: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ecosystem {
    Debian,
    Python,
    Node,
    Rust,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    pub ecosystem: Ecosystem,
    pub name: String,
    pub version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// Debian's source package and its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<(String, String)>,
    /// As the package states them; not always SPDX identifiers.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub licences: BTreeSet<String>,
    /// Of the file the lock file names, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl Package {
    pub fn new(ecosystem: Ecosystem, name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            ecosystem,
            name: name.into(),
            version: version.into(),
            architecture: None,
            source: None,
            licences: BTreeSet::new(),
            sha256: None,
        }
    }
}

/// The packages of unpacked layers, lowest first, sorted.
pub fn packages(layers: &[PathBuf]) -> Result<Vec<Package>, BuildError> {
    let mut found = BTreeSet::new();
    // One file with all of them is the whole truth of the layer that has it last.
    let status = layers.iter().rev().map(|layer| layer.join("var/lib/dpkg/status")).find(|f| f.is_file());
    if let Some(status) = status {
        found.extend(debian(&read(&status)?.unwrap_or_default()));
    }
    for layer in layers {
        let mut records = Vec::new();
        let directory = layer.join("var/lib/dpkg/status.d");
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            records.push(entry.path());
        }
        for record in records.iter().filter(|record| record.extension().is_none_or(|e| e != "md5sums")) {
            found.extend(debian(&read(record)?.unwrap_or_default()));
        }
        let mut walk = Walk { found: BTreeSet::new(), files: 0 };
        walk.directory(layer, 0)?;
        found.append(&mut walk.found);
    }
    Ok(found.into_iter().map(|package| with_licences(package, layers)).collect())
}

/// Debian's code name, as the image states it.
pub fn distribution(layers: &[PathBuf]) -> Option<String> {
    let text =
        layers.iter().rev().find_map(|layer| read(&layer.join("usr/lib/os-release")).ok().flatten())?;
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(name.trim_matches('"').to_owned()).filter(|name| !name.is_empty())
}

/// Rust packages that a lock file names; what is compiled in cannot be read from the image.
pub fn of_cargo_lock(text: &str) -> Vec<Package> {
    let lock: toml::Table = text.parse().unwrap_or_default();
    let packages = lock.get("package").and_then(toml::Value::as_array).cloned().unwrap_or_default();
    let mut found: Vec<Package> = packages
        .iter()
        .filter(|package| package.get("source").is_some())
        .filter_map(|package| {
            let text = |key: &str| package.get(key).and_then(toml::Value::as_str).map(str::to_owned);
            let mut one = Package::new(Ecosystem::Rust, text("name")?, text("version")?);
            one.sha256 = text("checksum").filter(|sum| sum.len() == 64);
            Some(one)
        })
        .collect();
    found.sort();
    found
}

/// Paragraphs of `Field: value`, one for each package.
fn debian(text: &str) -> Vec<Package> {
    text.split("\n\n").filter_map(paragraph).collect()
}

fn paragraph(text: &str) -> Option<Package> {
    let fields = fields(text);
    let field = |name: &str| fields.get(name).map(String::as_str).filter(|v| !v.is_empty());
    if field("Status").is_some_and(|status| !status.ends_with(" installed")) {
        return None;
    }
    let (name, version) = (field("Package")?, field("Version")?);
    let mut package = Package::new(Ecosystem::Debian, name, version);
    package.architecture = field("Architecture").map(str::to_owned);
    let source = field("Source").unwrap_or(name);
    let (source, other) = source.split_once(" (").unwrap_or((source, version));
    package.source = Some((source.to_owned(), other.trim_end_matches(')').to_owned()));
    Some(package)
}

/// The fields of one paragraph; of those that go on, the first line.
fn fields(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().take_while(|line| !line.is_empty());
    let pairs = lines.filter(|line| !line.starts_with([' ', '\t'])).filter_map(|line| line.split_once(':'));
    let mut found = BTreeMap::new();
    for (key, value) in pairs {
        found.entry(key.to_owned()).or_insert_with(|| value.trim().to_owned());
    }
    found
}

/// Debian keeps licences in a file of their own, mostly in a form for machines.
fn with_licences(mut package: Package, layers: &[PathBuf]) -> Package {
    if package.ecosystem != Ecosystem::Debian {
        return package;
    }
    let path = format!("usr/share/doc/{}/copyright", package.name);
    let text = layers.iter().rev().find_map(|layer| read(&layer.join(&path)).ok().flatten());
    let Some(text) = text.filter(|text| text.lines().next().is_some_and(|l| l.starts_with("Format:"))) else {
        return package;
    };
    let stated = text.lines().filter_map(|line| line.strip_prefix("License:")).map(str::trim);
    let stated = stated.filter(|l| !l.is_empty()).take(MAX_LICENCES);
    package.licences = stated.map(str::to_owned).collect();
    package
}

struct Walk {
    found: BTreeSet<Package>,
    files: usize,
}

impl Walk {
    fn directory(&mut self, directory: &Path, depth: usize) -> Result<(), BuildError> {
        if depth > MAX_DEPTH {
            return Ok(());
        }
        let failed = || BuildError::io(format!("read {}", directory.display()));
        for entry in fs::read_dir(directory).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            self.files += 1;
            if self.files > MAX_FILES || !entry.file_type().map_err(failed())?.is_dir() {
                continue;
            }
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if name.ends_with(".dist-info") {
                self.found.extend(read(&path.join("METADATA"))?.as_deref().and_then(python));
            } else if is_node_module(&path) {
                self.found.extend(read(&path.join("package.json"))?.as_deref().and_then(node));
            }
            self.directory(&path, depth + 1)?;
        }
        Ok(())
    }
}

/// `node_modules/NAME`, or `node_modules/@SCOPE/NAME`.
fn is_node_module(path: &Path) -> bool {
    let mut above = path.iter().rev().skip(1);
    let (first, second) = (above.next().unwrap_or_default(), above.next().unwrap_or_default());
    let scoped = first.to_string_lossy().starts_with('@');
    (if scoped { second } else { first }) == "node_modules"
}

fn python(text: &str) -> Option<Package> {
    let fields = fields(text);
    let field = |name: &str| fields.get(name).filter(|v| !v.is_empty() && *v != "UNKNOWN");
    let name = field("Name")?.to_ascii_lowercase().replace(['_', '.'], "-");
    let mut package = Package::new(Ecosystem::Python, name, field("Version")?.as_str());
    package.licences = field("License-Expression").or(field("License")).cloned().into_iter().collect();
    Some(package)
}

fn node(text: &str) -> Option<Package> {
    let manifest: serde_json::Value = serde_json::from_str(text).ok()?;
    let field = |key: &str| manifest.get(key).and_then(serde_json::Value::as_str);
    let mut package = Package::new(Ecosystem::Node, field("name")?, field("version")?);
    package.licences = field("license").map(str::to_owned).into_iter().collect();
    Some(package)
}

fn read(path: &Path) -> Result<Option<String>, BuildError> {
    // A link may lead out of the layer.
    let Ok(about) = fs::symlink_metadata(path) else { return Ok(None) };
    if !about.is_file() || about.len() > MAX_RECORD_BYTES {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_RECORD_BYTES).read_to_end(&mut bytes))
        .map_err(BuildError::io(format!("read {}", path.display())))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> String {
        let layer = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = layer.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let packages = packages(&[layer.path().to_owned()]).unwrap();
        let one = |p: &Package| {
            let licences = p.licences.iter().cloned().collect::<Vec<_>>().join("+");
            let source = p.source.as_ref().map(|(n, v)| format!("{n}={v}")).unwrap_or_default();
            format!("{:?} {} {} {source} {licences}", p.ecosystem, p.name, p.version)
        };
        packages.iter().map(one).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn debian_packages_come_with_source_and_licences() {
        let files = [
            (
                "var/lib/dpkg/status.d/libc6",
                "Package: libc6\nSource: glibc\nVersion: 2.41-1\nArchitecture: amd64\n",
            ),
            ("var/lib/dpkg/status.d/a.md5sums", "Package: wrong\nVersion: 1\n"),
            ("var/lib/dpkg/status.d/zlib1g", "Package: zlib1g\nSource: zlib (1:1.3)\nVersion: 1:1.3+b1\n"),
            ("usr/share/doc/libc6/copyright", "Format: https://x\nFiles: *\nLicense: LGPL-2.1+\n text\n"),
            ("usr/share/doc/zlib1g/copyright", "License: in prose\n"),
        ];
        assert_eq!(
            found(&files),
            "Debian libc6 2.41-1 glibc=2.41-1 LGPL-2.1+\nDebian zlib1g 1:1.3+b1 zlib=1:1.3 "
        );
        let removed = "Package: a\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: b\nStatus: install ok installed\nVersion: 2\n";
        assert_eq!(found(&[("var/lib/dpkg/status", removed)]), "Debian b 2 b=2 ");
    }

    #[test]
    fn language_packages_are_found_where_they_are_installed() {
        let files = [
            (
                "app/lib/Flask-3.0.dist-info/METADATA",
                "Metadata-Version: 2.1\nName: Flask\nVersion: 3.0\nLicense-Expression: BSD-3-Clause\n\nName: text\n",
            ),
            ("app/node_modules/a/package.json", r#"{"name":"a","version":"1.0.0","license":"MIT"}"#),
            ("app/node_modules/@s/b/package.json", r#"{"name":"@s/b","version":"2.0.0"}"#),
            ("app/node_modules/a/node_modules/c/package.json", r#"{"name":"c","version":"3.0.0"}"#),
            ("app/node_modules/a/test/package.json", r#"{"name":"fixture","version":"0.0.0"}"#),
            ("app/package.json", r#"{"name":"own","version":"0.0.0"}"#),
            ("app/node_modules/broken/package.json", "{"),
        ];
        assert_eq!(
            found(&files),
            "Python flask 3.0  BSD-3-Clause\nNode @s/b 2.0.0  \nNode a 1.0.0  MIT\nNode c 3.0.0  "
        );
    }

    #[test]
    fn a_lock_file_names_what_is_compiled_in() {
        let sum = "0".repeat(64);
        let text = format!(
            "version = 4\n[[package]]\nname = \"own\"\nversion = \"0.1.0\"\n[[package]]\nname = \"libc\"\nversion = \"0.2.1\"\nsource = \"registry+x\"\nchecksum = \"{sum}\"\n"
        );
        let packages = of_cargo_lock(&text);
        assert_eq!(packages.len(), 1);
        assert_eq!((packages[0].name.as_str(), packages[0].sha256.as_deref()), ("libc", Some(sum.as_str())));
        assert!(of_cargo_lock("not a lock file").is_empty());
    }
}
