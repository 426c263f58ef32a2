//! A Node project: Debian's nodejs, the project under /app, node_modules exactly as the lock file
//! of npm, pnpm or yarn states it. A build script runs in a container without network; install
//! scripts stay unrun.

mod build;
mod fetch;
mod graph;
mod lock;
mod manifest;
mod package;
mod resolve;
mod start;
mod yarn_zip;

use super::draft::{APP_DIRECTORY, Draft, directory, file_from, link};
use super::settings::Project;
use super::static_site;
use super::suite::Suite;
use super::tree::{Tree, TreeKind};
use crate::BuildError;
use crate::plan::Entry;
use fetch::Registry;
use lock::Lock;
use manifest::Manifest;
use model::Digest;
use package::{Installation, Package, Wanted, programs};
use serde_json::Value;
use start::Start;
use std::collections::BTreeMap;
use std::path::Path;

pub fn plan(project: &Project) -> Result<Draft, BuildError> {
    let manifest = Manifest::read(project, "")?;
    let mut draft = Draft::default();
    draft.package("nodejs");
    draft.package("ca-certificates");
    draft.package("tzdata");
    draft.environment.insert("NODE_ENV".to_owned(), "production".to_owned());
    let lock = match Lock::read(project, &manifest)? {
        Some(lock) => Some(lock),
        None if manifest.dependencies(true).is_empty() => None,
        None => Some(resolve::lock(project, &manifest, &mut draft)?),
    };
    let installed = |development: bool| match &lock {
        Some(lock) => install(project, lock, development),
        None => Ok(Installed::default()),
    };
    let built = match build::is_needed(&manifest) {
        true => Some(build::run(project, &manifest, installed(true)?)?),
        false => None,
    };
    let tree = match &built {
        Some(built) => built,
        None => project.tree()?,
    };
    if built.is_some() {
        draft.inputs.push(("build".to_owned(), tree_digest(tree)?));
    }
    let needed = installed(false)?;
    if !project.start_is_stated() {
        match start::find(project, &manifest, tree, &needed.programs)? {
            Start::Command(command) => draft.command = command,
            Start::Site(directory) => {
                let mut site = static_site::plan_from(tree, &directory)?;
                site.note(format!("built by `{}`", manifest.script("build").unwrap_or_default()));
                site.inputs = draft.inputs;
                site.notes.extend(draft.notes);
                return Ok(site);
            }
        }
    }
    draft.add_tree(tree, "", APP_DIRECTORY);
    note_engine(&mut draft, project, &manifest);
    needed.place_into(&mut draft);
    Ok(draft)
}

fn tree_digest(tree: &Tree) -> Result<Digest, BuildError> {
    use sha2::Digest as _;
    let mut hasher = sha2::Sha256::new();
    tree.hash_into(&mut hasher)?;
    Ok(Digest::from_raw(hasher.finalize().into()))
}

/// node_modules as entries of an image.
#[derive(Debug, Default)]
pub struct Installed {
    entries: Vec<Entry>,
    inputs: Vec<(String, Digest)>,
    /// Packages that want to run something when they are installed.
    unrun: Vec<String>,
    /// Names in `node_modules/.bin` of the project.
    programs: Vec<String>,
}

impl Installed {
    fn place_into(self, draft: &mut Draft) {
        if !self.unrun.is_empty() {
            draft.note(format!(
                "install scripts are not run while building; these packages have one and may need it: {}",
                self.unrun.join(", ")
            ));
        }
        draft.base_extra.extend(self.entries);
        draft.inputs.extend(self.inputs);
    }
}

fn install(project: &Project, lock: &Lock, development: bool) -> Result<Installed, BuildError> {
    let registry = Registry::new(project)?;
    let fits = |package: &Package| registry.fits(package);
    let installation = lock.install("the lock file", &Wanted { development, fits: &fits })?;
    let mut installed = Installed::default();
    let mut programs: BTreeMap<String, String> = BTreeMap::new();
    let own: BTreeMap<&str, Vec<&str>> = linked_as(&installation);
    for package in &installation.packages {
        let (root, digest) = registry.fetch(package)?;
        let stated = Stated::read(package, &root)?;
        add_package(&mut installed, &root, package, &stated)?;
        check_native(package, &stated, &root)?;
        installed.inputs.push((package.place.clone(), digest));
        if stated.has_install_script {
            installed.unrun.push(package.name.clone());
        }
        let places = own.get(package.place.as_str()).into_iter().flatten().copied();
        for place in places.chain([package.place.as_str()]) {
            programs.extend(
                stated
                    .bin
                    .iter()
                    .map(|(name, file)| (bin_place(place, name), format!("../{}/{file}", own_name(place)))),
            );
        }
    }
    for (place, target) in &installation.links {
        installed.entries.push(link(format!("{APP_DIRECTORY}/{place}"), up_from(place, target)));
    }
    installed.programs = programs
        .keys()
        .filter_map(|place| place.strip_prefix("node_modules/.bin/"))
        .map(str::to_owned)
        .collect();
    for (place, target) in programs {
        installed.entries.push(link(format!("{APP_DIRECTORY}/{place}"), target));
    }
    if !installation.packages.is_empty() {
        installed.entries.push(directory(APP_DIRECTORY));
    }
    installed.unrun.sort();
    installed.unrun.dedup();
    Ok(installed)
}

/// Place of a package → the places of the project's own node_modules that lead to it.
fn linked_as(installation: &Installation) -> BTreeMap<&str, Vec<&str>> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (place, target) in &installation.links {
        if place.matches("node_modules/").count() == 1 {
            found.entry(target).or_default().push(place);
        }
    }
    found
}

/// What the lock, or where it is silent the package itself, says.
struct Stated {
    bin: BTreeMap<String, String>,
    has_install_script: bool,
}

impl Stated {
    fn read(package: &Package, root: &Path) -> Result<Self, BuildError> {
        if let (Some(bin), Some(has_install_script)) = (&package.bin, package.has_install_script) {
            return Ok(Self { bin: bin.clone(), has_install_script });
        }
        let text = super::tree::read_text_if_there(&root.join("package.json"))?.unwrap_or_default();
        // A package whose own manifest is broken has no programs and no scripts.
        let own: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        let scripts = ["preinstall", "install", "postinstall"];
        let scripted = scripts.iter().any(|name| own.get("scripts").is_some_and(|s| s.get(name).is_some()));
        Ok(Self {
            bin: package.bin.clone().unwrap_or_else(|| programs(&package.name, own.get("bin"))),
            has_install_script: scripted || root.join("binding.gyp").is_file(),
        })
    }
}

/// The name of a package within its node_modules: `@scope/name` or `name`.
fn own_name(place: &str) -> &str {
    place.rfind("node_modules/").map_or(place, |at| &place[at + "node_modules/".len()..])
}

/// `…/node_modules/.bin/NAME` of the node_modules that holds the package.
fn bin_place(place: &str, name: &str) -> String {
    let holder = place.rfind("node_modules/").map_or("", |at| &place[..at]);
    format!("{holder}node_modules/.bin/{name}")
}

/// A path from the directory of `place` to `target`, both relative to the project.
fn up_from(place: &str, target: &str) -> String {
    format!("{}{target}", "../".repeat(place.matches('/').count()))
}

fn add_package(
    installed: &mut Installed,
    root: &Path,
    package: &Package,
    stated: &Stated,
) -> Result<(), BuildError> {
    let place = format!("{APP_DIRECTORY}/{}", package.place);
    installed.entries.push(directory(&place));
    for file in &Tree::everything(root)?.files {
        let TreeKind::File { executable, .. } = file.kind else { continue };
        let program = stated.bin.values().any(|path| *path == file.path);
        let target = format!("{place}/{}", file.path);
        installed.entries.push(file_from(target, root.join(&file.path), executable || program));
    }
    Ok(())
}

/// A package that is compiled when installed, and brings nothing compiled, cannot work.
fn check_native(package: &Package, stated: &Stated, root: &Path) -> Result<(), BuildError> {
    if !stated.has_install_script || !root.join("binding.gyp").is_file() || root.join("prebuilds").is_dir() {
        return Ok(());
    }
    if package.optional {
        return Ok(());
    }
    Err(BuildError::input_hint(
        format!("the package {} is compiled when it is installed, which is not supported yet", package.name),
        "choose a package with prebuilt files, or build it with a Dockerfile (`x-juchu: {builder: dockerfile}`)",
    ))
}

fn note_engine(draft: &mut Draft, project: &Project, manifest: &Manifest) {
    let Some(wanted) = manifest.text("/engines/node") else { return };
    let least = wanted.trim_start_matches(['>', '=', '^', '~', 'v', ' ']).split(['.', ' ']).next();
    let suite = project.archive.suite.as_str();
    let has = Suite::find(suite).map(|suite| suite.node);
    if let (Some(Ok(least)), Some(has)) = (least.map(str::parse::<u64>), has)
        && least > has
        && !wanted.contains("||")
    {
        draft.note(format!("package.json asks for Node {wanted}, the suite {suite} has {has}"));
    }
}

/// The digest of the text of an integrity, for the image's inputs.
fn input_digest(integrity: &str) -> Digest {
    Digest::of(integrity.as_bytes())
}

#[cfg(test)]
mod tests;
