//! A Rust project: compiled in a build container without network, by this machine's toolchain or
//! Debian's, with its output kept in the cache and never in the project; the program gets the Debian
//! packages of the libraries it names.

mod container;
mod crates;
mod host;
mod messages;
mod outside;
mod toolchain;

pub use outside::outside_inputs;

use super::binary::add_packages;
use super::cache::Cache;
use super::draft::{APP_DIRECTORY, Draft, directory, file_from};
use super::libraries::packages_for;
use super::settings::Project;
use super::tree::file_digest;
use crate::BuildError;
use model::Digest;
use std::fs;
use std::path::{Path, PathBuf};

/// Directories beside a program that it usually reads while running.
pub const ASSET_DIRECTORIES: &[&str] = &["static", "templates", "assets", "migrations", "public", "config"];

pub fn plan(project: &Project) -> Result<Draft, BuildError> {
    let tree = project.tree()?;
    let mut draft = Draft::default();
    let programs = match project.spec.tools.host {
        true => host::compile(project, &mut draft)?,
        false => container::compile(project, &mut draft)?,
    };
    let built = choose(project, programs)?;
    let name = built.name.clone();
    let target = format!("/usr/local/bin/{name}");
    let kept = keep(project, &built.path)?;
    let beside = |_: &str| false;
    add_packages(&mut draft, packages_for(project, &kept.path, &name, &beside)?.unwrap_or_default());
    draft.inputs.push((name, kept.digest));
    draft.app.push(directory(APP_DIRECTORY));
    for asset in ASSET_DIRECTORIES.iter().filter(|asset| tree.below(asset).next().is_some()) {
        draft.add_tree(tree, asset, &format!("{APP_DIRECTORY}/{asset}"));
    }
    draft.app.push(file_from(target.clone(), kept.path, true));
    draft.command = vec![target];
    Ok(draft)
}

/// The program under a name of its own: the next compilation overwrites cargo's copy.
struct Kept {
    path: PathBuf,
    digest: Digest,
}

fn keep(project: &Project, built: &Path) -> Result<Kept, BuildError> {
    let digest = file_digest(built)?;
    let path = Cache::of(project.ctx).place("programs", digest.hex())?;
    if !path.is_file() {
        let temporary = crate::durable::temporary_beside(&path);
        fs::copy(built, &temporary).map_err(BuildError::io(format!("copy {}", built.display())))?;
        crate::durable::publish(&temporary, &path)?;
    }
    Ok(Kept { path, digest })
}

/// A program that cargo made.
#[derive(Debug)]
struct Built {
    name: String,
    path: PathBuf,
}

/// One program, or the one with the package's name.
fn choose(project: &Project, mut binaries: Vec<Built>) -> Result<Built, BuildError> {
    let own = package_name(project)?;
    if let Some(at) =
        binaries.iter().position(|b| Some(&b.name) == own.as_ref()).filter(|_| binaries.len() > 1)
    {
        return Ok(binaries.swap_remove(at));
    }
    match binaries.len() {
        1 => Ok(binaries.remove(0)),
        0 => Err(BuildError::input_hint(
            format!("{} makes no program, only a library", project.place()),
            "add src/main.rs, or build a package that has one",
        )),
        _ => {
            let names: Vec<&str> = binaries.iter().map(|b| b.name.as_str()).collect();
            Err(BuildError::input_hint(
                format!("{} makes several programs: {}", project.place(), names.join(", ")),
                "choose one with `build: {target: NAME}`",
            ))
        }
    }
}

fn package_name(project: &Project) -> Result<Option<String>, BuildError> {
    let text = project.tree()?.text("Cargo.toml")?.unwrap_or_default();
    let manifest: toml::Table = toml::from_str(&text)
        .map_err(|error| BuildError::input(format!("{}/Cargo.toml: {}", project.place(), error.message())))?;
    Ok(manifest.get("package").and_then(|p| p.get("name")).and_then(|n| n.as_str()).map(str::to_owned))
}

/// What `cargo build` is given in any case.
fn arguments(project: &Project, locked: bool) -> Vec<String> {
    let mut words = vec!["build", "--release", "--message-format=json-render-diagnostics"];
    if locked {
        words.push("--locked");
    }
    if let Some(binary) = project.spec.target.as_deref() {
        words.extend(["--bin", binary]);
    }
    words.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;
