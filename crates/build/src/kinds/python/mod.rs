//! A Python project: the suite's own Python, the project under /app, its dependencies as wheels.
//!
//! Where the versions are fixed (uv.lock, poetry.lock, or requirements pinned with `==` and
//! complete), the wheels are fetched by us; only a choice needs pip and a build container.

mod flat_locks;
mod index;
mod install;
mod locks;
mod pinned;
mod pip;
mod requirement;
mod requirements;
mod start;
pub use start::words;
mod target;
mod version;

use super::cache::Cache;
use super::draft::{APP_DIRECTORY, Draft, link};
use super::settings::Project;
use crate::BuildError;
use model::Digest;
use requirements::Requirements;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use target::{Target, WheelName};
use toml::{Table, Value};

/// A wheel in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wheel {
    /// Normalised.
    pub name: String,
    pub version: String,
    pub path: PathBuf,
    /// Lower-case hexadecimal.
    pub sha256: String,
}

impl Wheel {
    pub fn at(path: PathBuf, sha256: &str) -> Result<Self, BuildError> {
        let file = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        let name =
            WheelName::parse(file).ok_or_else(|| BuildError::malformed(file, "not the name of a wheel"))?;
        Ok(Self { name: name.name, version: name.version, path, sha256: sha256.to_owned() })
    }
}

pub fn plan(project: &Project) -> Result<Draft, BuildError> {
    let tree = project.tree()?;
    let target = Target::of(project)?;
    let pyproject = pyproject(project)?;
    let mut draft = Draft::default();
    for package in ["python3", "ca-certificates", "tzdata", "media-types"] {
        draft.package(package);
    }
    draft.environment.insert("PYTHONUNBUFFERED".to_owned(), "1".to_owned());
    draft.environment.insert("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned());
    draft.environment.insert("LANG".to_owned(), "C.UTF-8".to_owned());
    let path = if tree.below("src").next().is_some() { "/app:/app/src" } else { APP_DIRECTORY };
    draft.environment.insert("PYTHONPATH".to_owned(), path.to_owned());
    draft.base_extra.push(link("/usr/local/bin/python", "/usr/bin/python3"));
    draft.add_tree(tree, "", APP_DIRECTORY);
    if let Some(wanted) = locks::wants_other_python(&pyproject, &target) {
        draft.note(format!(
            "pyproject.toml asks for Python {wanted}, the suite {} has {}",
            project.archive.suite,
            target.version_text()
        ));
    }
    let wheels = wheels(project, &target, &pyproject, &mut draft)?;
    for wheel in &wheels {
        install::add(&mut draft, project.ctx, &target, wheel)?;
        let digest =
            Digest::new(format!("sha256:{}", wheel.sha256)).map_err(|e| BuildError::input(e.to_string()))?;
        draft.inputs.push((wheel.name.clone(), digest));
    }
    if !project.start_is_stated() {
        start::find(&mut draft, project, &pyproject, &wheels)?;
        if draft.command.is_empty() {
            return Err(BuildError::input_hint(
                format!("nothing says what the Python project in {} runs", project.place()),
                "add `command: [\"python3\", \"FILE.py\"]` to the service, a Procfile with `web:`, or main.py",
            ));
        }
    }
    Ok(draft)
}

fn pyproject(project: &Project) -> Result<Table, BuildError> {
    let Some(text) = project.tree()?.text("pyproject.toml")? else { return Ok(Table::new()) };
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
        BuildError::input(format!("{}/pyproject.toml:{line}: {}", project.place(), error.message()))
    })
}

/// `[project] dependencies`.
fn project_dependencies(pyproject: &Table) -> Vec<String> {
    let list =
        pyproject.get("project").and_then(|project| project.get("dependencies")).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The first of: a lock file of uv, Poetry, PDM, PEP 751 or pipenv, requirements.txt, pyproject.toml.
fn wheels(
    project: &Project,
    target: &Target,
    pyproject: &Table,
    draft: &mut Draft,
) -> Result<Vec<Wheel>, BuildError> {
    let tree = project.tree()?;
    let read = |name: &str| tree.text(name);
    let locked = match () {
        () if tree.has("uv.lock") => {
            let locked = locks::uv(&read("uv.lock")?.unwrap_or_default(), target)?;
            Some(("uv.lock", "uv lock", locked))
        }
        () if tree.has("poetry.lock") => {
            let locked = locks::poetry(&read("poetry.lock")?.unwrap_or_default(), pyproject, target)?;
            Some(("poetry.lock", "poetry lock", locked))
        }
        () if tree.has("pdm.lock") => {
            let locked = flat_locks::pdm(&read("pdm.lock")?.unwrap_or_default(), target)?;
            Some(("pdm.lock", "pdm lock", locked))
        }
        () if tree.has("pylock.toml") => {
            let locked = flat_locks::pylock(&read("pylock.toml")?.unwrap_or_default(), target)?;
            Some(("pylock.toml", "uv export --format pylock.toml -o pylock.toml", locked))
        }
        () if tree.has("Pipfile.lock") => {
            let locked = flat_locks::pipfile(&read("Pipfile.lock")?.unwrap_or_default(), target)?;
            Some(("Pipfile.lock", "pipenv lock", locked))
        }
        () => None,
    };
    if let Some((name, command, locked)) = locked {
        locks::agrees(name, command, &project_dependencies(pyproject), &locked, target)?;
        return pinned::locked(project, target, name, &locked);
    }
    if let Some(odd) = ["Pipfile", "setup.py", "setup.cfg"].iter().find(|name| tree.has(name))
        && !tree.has("requirements.txt")
        && !tree.has("pyproject.toml")
    {
        return Err(BuildError::input_hint(
            format!("{odd} in {} is not read yet", project.place()),
            "write the dependencies to requirements.txt (`pip freeze > requirements.txt`)",
        ));
    }
    let mut requirements = Requirements::default();
    if tree.has("requirements.txt") {
        requirements = Requirements::read(tree, "requirements.txt")?;
    }
    if !tree.has("requirements.txt") || requirements.includes_itself {
        requirements.lines.extend(Requirements::from_list(&project_dependencies(pyproject)).lines);
    }
    if requirements.is_empty() {
        return Ok(Vec::new());
    }
    resolve(project, target, &requirements, draft)
}

/// Wheels that pip builds from sources of exact versions and digests; kept like what it chooses.
fn built_from_source(
    project: &Project,
    target: &Target,
    sources: &[&locks::Locked],
) -> Result<Vec<Wheel>, BuildError> {
    let line = |package: &&locks::Locked| {
        let hashes = package.hashes.iter().map(|hash| format!(" --hash=sha256:{hash}")).collect::<String>();
        format!("{}=={}{hashes}", package.name, package.version)
    };
    let requirements = Requirements::from_list(&sources.iter().map(line).collect::<Vec<_>>());
    let indexes = index::Indexes::new(project.ctx, &[]);
    let name = format!("{}-source.json", resolution_key(project, target, &requirements, &indexes));
    if let Some(wheels) = known(project, &name) {
        return Ok(wheels);
    }
    let wheels = pip::wheels(project, &requirements, pip::Dependencies::LeftOut)?;
    keep(project, &name, &wheels)?;
    Ok(wheels)
}

fn keep(project: &Project, name: &str, wheels: &[Wheel]) -> Result<PathBuf, BuildError> {
    let list = wheels
        .iter()
        .map(|wheel| ResolvedWheel { file: file_name(&wheel.path), sha256: wheel.sha256.clone() });
    Cache::of(project.ctx).write(RESOLVED, name, &Resolved { wheels: list.collect() })
}

/// What was chosen for one set of requirements, kept in the cache.
#[derive(Serialize, Deserialize)]
struct Resolved {
    wheels: Vec<ResolvedWheel>,
}

#[derive(Serialize, Deserialize)]
struct ResolvedWheel {
    file: String,
    sha256: String,
}

const RESOLVED: &str = "resolved-python";

fn resolve(
    project: &Project,
    target: &Target,
    requirements: &Requirements,
    draft: &mut Draft,
) -> Result<Vec<Wheel>, BuildError> {
    let indexes = index::Indexes::new(project.ctx, &requirements.indexes);
    let key = resolution_key(project, target, requirements, &indexes);
    let name = format!("{key}.json");
    if let Some(wheels) = known(project, &name) {
        return Ok(wheels);
    }
    let wheels = match pinned::requirements(project, target, requirements, &indexes)? {
        Some(wheels) => wheels,
        None => {
            project.refuse_without_lock("list of requirements with `==`", "pip-compile --generate-hashes")?;
            let wheels = pip::wheels(project, requirements, pip::Dependencies::Followed)?;
            draft.note(format!(
                "the requirements leave a choice; {} packages were chosen once and are kept until the requirements change",
                wheels.len()
            ));
            wheels
        }
    };
    let path = keep(project, &name, &wheels)?;
    if let Some(note) = draft.notes.last_mut().filter(|note| note.starts_with("the requirements leave")) {
        note.push_str(&format!(" (list: {})", path.display()));
    }
    Ok(wheels)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn resolution_key(
    project: &Project,
    target: &Target,
    requirements: &Requirements,
    indexes: &index::Indexes,
) -> String {
    let parts = (
        requirements.flattened(),
        requirements.flattened_constraints(),
        format!("{target:?} {:?} {:?}", indexes.addresses(), project.image().packages),
    );
    Digest::of(format!("{parts:?}").as_bytes()).hex().to_owned()
}

/// The kept list, when every file of it is still there.
fn known(project: &Project, name: &str) -> Option<Vec<Wheel>> {
    let resolved: Resolved = Cache::of(project.ctx).read(RESOLVED, name)?;
    let wheels = resolved.wheels.iter().map(|kept| {
        let path = index::wheel_path(project.ctx, &kept.sha256, &kept.file).ok()?;
        path.is_file().then(|| Wheel::at(path, &kept.sha256).ok())?
    });
    wheels.collect()
}

#[cfg(test)]
mod tests;
