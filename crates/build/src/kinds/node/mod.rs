//! A Node project: Debian's nodejs, the project under /app, node_modules exactly as
//! package-lock.json states it. Nothing is run while building: install scripts stay unrun.

mod fetch;
mod lock;

use super::detect::NODE_STARTS;
use super::draft::{APP_DIRECTORY, Draft, directory, file_from, link};
use super::python_words;
use super::settings::Project;
use super::suite::Suite;
use super::tree::{Tree, TreeKind};
use crate::BuildError;
use lock::{Lock, Package};
use model::Digest;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

pub fn plan(project: &Project) -> Result<Draft, BuildError> {
    let tree = project.tree()?;
    let manifest = manifest(project)?;
    let mut draft = Draft::default();
    draft.package("nodejs");
    draft.package("ca-certificates");
    draft.package("tzdata");
    draft.environment.insert("NODE_ENV".to_owned(), "production".to_owned());
    draft.add_tree(tree, "", APP_DIRECTORY);
    if let Some(lock) = read_lock(project, &manifest)? {
        install(&mut draft, project, &lock)?;
    }
    note_engine(&mut draft, project, &manifest);
    if !project.start_is_stated() {
        draft.command = start(project, &manifest)?;
    }
    Ok(draft)
}

fn manifest(project: &Project) -> Result<Value, BuildError> {
    let Some(text) = project.tree()?.text("package.json")? else { return Ok(Value::Null) };
    let value: Value = serde_json::from_str(&text).map_err(|error| {
        BuildError::input(format!(
            "{}/package.json:{}:{}: {error}",
            project.place(),
            error.line(),
            error.column()
        ))
    })?;
    match value.is_object() {
        true => Ok(value),
        false => Err(BuildError::input(format!("{}/package.json is not a JSON object", project.place()))),
    }
}

fn has_dependencies(manifest: &Value) -> bool {
    let filled = |key: &str| manifest.get(key).and_then(Value::as_object).is_some_and(|map| !map.is_empty());
    filled("dependencies") || filled("optionalDependencies")
}

fn read_lock(project: &Project, manifest: &Value) -> Result<Option<Lock>, BuildError> {
    let tree = project.tree()?;
    for name in ["package-lock.json", "npm-shrinkwrap.json"] {
        if let Some(text) = tree.text(name)? {
            return Lock::parse(&text, &format!("{}/{name}", project.place())).map(Some);
        }
    }
    if !has_dependencies(manifest) {
        return Ok(None);
    }
    let other = ["yarn.lock", "pnpm-lock.yaml", "bun.lock", "bun.lockb"].iter().find(|name| tree.has(name));
    Err(match other {
        Some(name) => BuildError::input_hint(
            format!("{}/{name} is not read yet, only package-lock.json is", project.place()),
            "run `npm install --package-lock-only` and keep both files",
        ),
        None => BuildError::input_hint(
            format!("{} has dependencies but no package-lock.json", project.place()),
            "run `npm install --package-lock-only`, so that every build installs the same versions",
        ),
    })
}

fn install(draft: &mut Draft, project: &Project, lock: &Lock) -> Result<(), BuildError> {
    let registry = fetch::Registry::new(project)?;
    let wanted = lock.production(project.ctx.machine);
    let mut unrun = Vec::new();
    let mut programs: BTreeMap<String, String> = BTreeMap::new();
    for package in &wanted {
        let place = format!("{APP_DIRECTORY}/{}", package.place);
        if let Some(target) = &package.link {
            draft.app.push(link(&place, up_from(&package.place, target)));
        } else if package.place.starts_with("node_modules/") || package.place.contains("/node_modules/") {
            let (root, digest) = registry.fetch(package)?;
            add_package(draft, &root, &place, package)?;
            check_native(package, &root)?;
            draft.inputs.push((package.place.clone(), digest));
        }
        if package.has_install_script {
            unrun.push(package.name.clone());
        }
        for (name, target) in &package.bin {
            programs
                .insert(bin_place(&package.place, name), format!("../{}/{target}", own_name(&package.place)));
        }
    }
    for (place, target) in programs {
        draft.base_extra.push(link(format!("{APP_DIRECTORY}/{place}"), target));
    }
    if !wanted.is_empty() {
        draft.base_extra.push(directory(APP_DIRECTORY));
    }
    if !unrun.is_empty() {
        unrun.dedup();
        draft.note(format!(
            "install scripts are not run while building; these packages have one and may need it: {}",
            unrun.join(", ")
        ));
    }
    Ok(())
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

fn add_package(draft: &mut Draft, root: &Path, place: &str, package: &Package) -> Result<(), BuildError> {
    let tree = Tree::everything(root)?;
    draft.base_extra.push(directory(place));
    for file in &tree.files {
        let TreeKind::File { executable, .. } = file.kind else { continue };
        let program = package.bin.values().any(|path| *path == file.path);
        let target = format!("{place}/{}", file.path);
        draft.base_extra.push(file_from(target, root.join(&file.path), executable || program));
    }
    Ok(())
}

/// A package that is compiled when installed, and brings nothing compiled, cannot work.
fn check_native(package: &Package, root: &Path) -> Result<(), BuildError> {
    if !package.has_install_script || !root.join("binding.gyp").is_file() || root.join("prebuilds").is_dir() {
        return Ok(());
    }
    Err(BuildError::input_hint(
        format!("the package {} is compiled when it is installed, which is not supported yet", package.name),
        "choose a package with prebuilt files, or build it with a Dockerfile (`x-juchu: {builder: dockerfile}`)",
    ))
}

fn note_engine(draft: &mut Draft, project: &Project, manifest: &Value) {
    let Some(wanted) = manifest.pointer("/engines/node").and_then(Value::as_str) else { return };
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

/// `scripts.start` when it is `node FILE …`, else `main`, else a file by one of the usual names.
fn start(project: &Project, manifest: &Value) -> Result<Vec<String>, BuildError> {
    let tree = project.tree()?;
    let script = manifest.pointer("/scripts/start").and_then(Value::as_str);
    if let Some(words) = script.and_then(python_words)
        && words[0] == "node"
        && words.len() > 1
    {
        return Ok(words);
    }
    let main =
        manifest.get("main").and_then(Value::as_str).map(|main| main.trim_start_matches("./").to_owned());
    let main =
        main.into_iter().flat_map(|main| [main.clone(), format!("{main}.js"), format!("{main}/index.js")]);
    let usual = NODE_STARTS.iter().map(|name| (*name).to_owned());
    if let Some(file) = main.chain(usual).find(|name| tree.has(name)) {
        return Ok(vec!["node".to_owned(), file]);
    }
    Err(match script {
        Some(script) => BuildError::input_hint(
            format!(
                "the start script of {} is `{script}`, and only `node FILE` is run without a shell",
                project.place()
            ),
            "add `command: [\"node\", \"FILE.js\"]` to the service; compile TypeScript and bundles before building",
        ),
        None => BuildError::input_hint(
            format!("nothing says what the Node project in {} runs", project.place()),
            "add `command: [\"node\", \"FILE.js\"]` to the service, `\"start\": \"node FILE.js\"` to package.json, or server.js",
        ),
    })
}

/// The digest of the text of an integrity, for the image's inputs.
fn input_digest(integrity: &str) -> Digest {
    Digest::of(integrity.as_bytes())
}

#[cfg(test)]
mod tests;
