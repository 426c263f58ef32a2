//! Where things are, and what cargo says about the workspace.

use crate::Failure;
use crate::process::read;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the root").to_owned()
}

/// One crate of the workspace as its manifest says.
#[derive(Debug)]
pub struct Crate {
    pub directory: PathBuf,
    pub dependencies: Vec<Dependency>,
}

#[derive(Debug)]
pub struct Dependency {
    pub name: String,
    /// Used by tests alone.
    pub development: bool,
}

/// All crates of the workspace by name. Needs no network.
pub fn crates() -> Result<BTreeMap<String, Crate>, Failure> {
    let text = read(&root(), "cargo", &["metadata", "--format-version=1", "--no-deps", "--offline"])?;
    let metadata: Value = serde_json::from_str(&text)?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
    Ok(packages.iter().filter_map(parse_crate).collect())
}

fn parse_crate(package: &Value) -> Option<(String, Crate)> {
    let manifest = Path::new(package["manifest_path"].as_str()?);
    let dependencies = package["dependencies"].as_array()?.iter().filter_map(parse_dependency).collect();
    let directory = manifest.parent()?.to_owned();
    Some((package["name"].as_str()?.to_owned(), Crate { directory, dependencies }))
}

fn parse_dependency(dependency: &Value) -> Option<Dependency> {
    Some(Dependency {
        name: dependency["name"].as_str()?.to_owned(),
        development: dependency["kind"].as_str() == Some("dev"),
    })
}

/// All files below `directory` whose name ends in `suffix`, sorted, without hidden ones and `target`.
pub fn files(directory: &Path, suffix: &str) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).map_err(|e| format!("{}: {e}", directory.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let skipped = name.starts_with('.') || name == "target" || name == "node_modules";
            match path.is_dir() {
                _ if skipped => {}
                true => open.push(path),
                false if name.ends_with(suffix) => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    Ok(found)
}
