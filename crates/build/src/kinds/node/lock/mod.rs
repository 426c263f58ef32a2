//! The lock file of a Node project: which tool wrote it, whether it agrees with package.json, and
//! what it installs.

mod berry;
pub mod npm;
mod pnpm;
mod yarn;

use super::graph::Style;
use super::manifest::Manifest;
use super::package::{Installation, Wanted};
use crate::BuildError;
use crate::kinds::settings::Project;

/// pnpm shows the project only what it asked for; yarn hoists.
const PNPM: Style = Style { store: ".pnpm", hoists: false };
const YARN: Style = Style { store: ".store", hoists: true };

/// Lock files in the order in which tools look for them, and the tool's name in `packageManager`.
const FILES: [(&str, &str); 5] = [
    ("npm-shrinkwrap.json", "npm"),
    ("package-lock.json", "npm"),
    ("pnpm-lock.yaml", "pnpm"),
    ("yarn.lock", "yarn"),
    ("bun.lock", "bun"),
];

pub enum Lock {
    Npm(npm::Lock),
    Pnpm(pnpm::Lock),
    Yarn(yarn::Lock, Manifest, Vec<Manifest>),
    Berry(berry::Lock, Vec<Manifest>),
}

impl Lock {
    /// Reads the project's lock, `None` when it has none, and compares it with its manifests.
    pub fn read(project: &Project, manifest: &Manifest) -> Result<Option<Self>, BuildError> {
        let Some((name, _)) = chosen(project, manifest)? else { return Ok(None) };
        let place = format!("{}/{name}", project.place());
        let text = project.tree()?.text(name)?.unwrap_or_default();
        Self::parse(project, manifest, name, &text, &place).map(Some)
    }

    pub fn parse(
        project: &Project,
        manifest: &Manifest,
        name: &str,
        text: &str,
        place: &str,
    ) -> Result<Self, BuildError> {
        match name {
            "pnpm-lock.yaml" => {
                let lock = pnpm::Lock::parse(text, place)?;
                lock.agrees(manifest)?;
                for other in manifests(project, &lock.directories())? {
                    lock.agrees(&other)?;
                }
                Ok(Self::Pnpm(lock))
            }
            "yarn.lock" if text.contains("__metadata:") => {
                let lock = berry::Lock::parse(text, place)?;
                let mut all = manifests(project, &lock.directories())?;
                all.push(manifest.clone());
                all.iter().try_for_each(|manifest| lock.agrees(manifest))?;
                Ok(Self::Berry(lock, all))
            }
            "yarn.lock" => {
                let lock = yarn::Lock::parse(text, place)?;
                let workspaces = manifest.workspaces(project)?;
                lock.agrees(manifest, &workspaces)?;
                workspaces.iter().try_for_each(|other| lock.agrees(other, &workspaces))?;
                Ok(Self::Yarn(lock, manifest.clone(), workspaces))
            }
            "bun.lock" => Err(BuildError::input_hint(
                format!("{place} is bun's, which is not read"),
                "make one that is: `npm install --package-lock-only`",
            )),
            _ => {
                let lock = npm::Lock::parse(text, place)?;
                lock.agrees(manifest)?;
                Ok(Self::Npm(lock))
            }
        }
    }

    pub fn install(&self, place: &str, wanted: &Wanted<'_>) -> Result<Installation, BuildError> {
        match self {
            Self::Npm(lock) => lock.install(wanted),
            Self::Pnpm(lock) => lock.graph(wanted.development)?.lay_out(place, &PNPM, wanted),
            Self::Yarn(lock, manifest, workspaces) => {
                lock.graph(manifest, workspaces, wanted.development)?.lay_out(place, &YARN, wanted)
            }
            Self::Berry(lock, manifests) => {
                lock.graph(manifests, wanted.development)?.lay_out(place, &YARN, wanted)
            }
        }
    }
}

fn manifests(project: &Project, directories: &[String]) -> Result<Vec<Manifest>, BuildError> {
    directories.iter().map(|directory| Manifest::read(project, directory)).collect()
}

/// The lock of the tool that `packageManager` names, else the only one there is.
fn chosen(
    project: &Project,
    manifest: &Manifest,
) -> Result<Option<(&'static str, &'static str)>, BuildError> {
    let tree = project.tree()?;
    let mut found: Vec<_> = FILES.into_iter().filter(|(name, _)| tree.has(name)).collect();
    let stated = manifest.text("/packageManager").and_then(|text| text.split('@').next());
    if let Some(one) = found.iter().find(|(_, tool)| Some(*tool) == stated) {
        return Ok(Some(*one));
    }
    found.dedup_by_key(|(_, tool)| *tool);
    match found[..] {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        _ => {
            let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
            Err(BuildError::input_hint(
                format!("{} has lock files of several tools: {}", project.place(), names.join(", ")),
                "remove those that are not used, or say which is by `\"packageManager\": \"pnpm@9.15.9\"` in package.json",
            ))
        }
    }
}
