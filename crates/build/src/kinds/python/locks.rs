//! Lock files of uv and Poetry: which packages an image of the project holds, exactly.

use super::requirement::{Requirement, evaluate, normalise};
use super::target::Target;
use super::version::satisfies;
use crate::BuildError;
use std::collections::{BTreeMap, BTreeSet};
use toml::{Table, Value};

/// One package that a lock names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    pub name: String,
    pub version: String,
    /// SHA-256 of its files, lower-case hexadecimal.
    pub hashes: Vec<String>,
    /// Addresses of its files, where the lock gives them: `(file name, URL, SHA-256)`.
    pub files: Vec<(String, String, String)>,
}

pub fn parse(name: &str, text: &str) -> Result<Table, BuildError> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1));
        BuildError::input_hint(
            format!("{name}:{line}: {}", error.message()),
            "make it anew with the tool that wrote it",
        )
    })
}

pub fn packages(lock: &Table) -> impl Iterator<Item = &Table> {
    lock.get("package").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table)
}

pub fn text<'a>(table: &'a Table, key: &str) -> Option<&'a str> {
    table.get(key).and_then(Value::as_str)
}

pub fn tables<'a>(table: &'a Table, key: &str) -> impl Iterator<Item = &'a Table> {
    table.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table)
}

/// What the project itself needs to run, from `uv.lock`: its dependencies without groups and extras.
pub fn uv(content: &str, target: &Target) -> Result<Vec<Locked>, BuildError> {
    let lock = parse("uv.lock", content)?;
    let mut by_name: BTreeMap<String, Vec<&Table>> = BTreeMap::new();
    for package in packages(&lock) {
        by_name.entry(normalise(text(package, "name").unwrap_or(""))).or_default().push(package);
    }
    let is_root = |package: &&Table| {
        let source = package.get("source").and_then(Value::as_table);
        source
            .is_some_and(|s| ["virtual", "editable", "directory"].iter().any(|key| text(s, key) == Some(".")))
    };
    let roots: Vec<&Table> = packages(&lock).filter(is_root).collect();
    let [root] = roots[..] else {
        return Err(BuildError::input_hint(
            "uv.lock does not say which of its packages is the project",
            "run `uv lock` in the directory that `build:` names",
        ));
    };
    let mut walk = UvWalk { by_name: &by_name, target, found: BTreeMap::new(), seen: BTreeSet::new() };
    walk.dependencies(root, "dependencies")?;
    Ok(walk.found.into_values().collect())
}

struct UvWalk<'a> {
    by_name: &'a BTreeMap<String, Vec<&'a Table>>,
    target: &'a Target,
    found: BTreeMap<String, Locked>,
    /// Package and extra already followed.
    seen: BTreeSet<(String, String)>,
}

impl<'a> UvWalk<'a> {
    fn dependencies(&mut self, package: &Table, key: &str) -> Result<(), BuildError> {
        for dependency in tables(package, key) {
            if text(dependency, "marker").is_some_and(|marker| !evaluate(marker, self.target, "")) {
                continue;
            }
            let name = normalise(text(dependency, "name").unwrap_or(""));
            let chosen = self.choose(&name, text(dependency, "version"))?;
            let extras = dependency.get("extra").and_then(Value::as_array).into_iter().flatten();
            let extras: Vec<&str> = extras.filter_map(Value::as_str).collect();
            self.package(&name, chosen, &extras)?;
        }
        Ok(())
    }

    fn package(&mut self, name: &str, package: &Table, extras: &[&str]) -> Result<(), BuildError> {
        if self.seen.insert((name.to_owned(), String::new())) {
            self.found.insert(name.to_owned(), uv_locked(name, package)?);
            self.dependencies(package, "dependencies")?;
        }
        for extra in extras {
            let optional = package.get("optional-dependencies").and_then(Value::as_table);
            let first = self.seen.insert((name.to_owned(), (*extra).to_owned()));
            if let (true, Some(optional)) = (first, optional) {
                self.dependencies(optional, extra)?;
            }
        }
        Ok(())
    }

    /// The package of that name; where a lock has several, by version or by their markers.
    fn choose(&self, name: &str, version: Option<&str>) -> Result<&'a Table, BuildError> {
        let all = self.by_name.get(name).map_or(&[][..], Vec::as_slice);
        let fits = |package: &&&Table| match version {
            Some(version) => text(package, "version") == Some(version),
            None => {
                let markers = package.get("resolution-markers").and_then(Value::as_array);
                markers.is_none_or(|list| {
                    list.iter().filter_map(Value::as_str).any(|marker| evaluate(marker, self.target, ""))
                })
            }
        };
        all.iter().find(fits).or(all.first()).copied().ok_or_else(|| {
            BuildError::input_hint(format!("uv.lock names `{name}` without describing it"), "run `uv lock`")
        })
    }
}

fn uv_locked(name: &str, package: &Table) -> Result<Locked, BuildError> {
    let source = package.get("source").and_then(Value::as_table);
    if !source.is_some_and(|s| s.contains_key("registry") || s.contains_key("url")) {
        return Err(BuildError::input_hint(
            format!("uv.lock takes `{name}` from a directory or from Git, which is not supported yet"),
            "publish it to an index, or copy it into the project",
        ));
    }
    let file = |wheel: &Table| {
        let url = text(wheel, "url")?;
        let hash = text(wheel, "hash")?.strip_prefix("sha256:")?.to_ascii_lowercase();
        let name = super::index::percent_decoded(url.split(['?', '#']).next()?.rsplit('/').next()?);
        Some((name, url.to_owned(), hash))
    };
    let sdist = package.get("sdist").and_then(Value::as_table);
    let files: Vec<_> = tables(package, "wheels").chain(sdist).filter_map(file).collect();
    Ok(Locked {
        name: name.to_owned(),
        version: text(package, "version").unwrap_or("").to_owned(),
        hashes: files.iter().map(|file| file.2.clone()).collect(),
        files,
    })
}

/// The main group of `poetry.lock`, for lock versions that say it (Poetry 2) or can be walked (1.x).
pub fn poetry(content: &str, pyproject: &Table, target: &Target) -> Result<Vec<Locked>, BuildError> {
    let lock = parse("poetry.lock", content)?;
    let all: BTreeMap<String, &Table> =
        packages(&lock).map(|p| (normalise(text(p, "name").unwrap_or("")), p)).collect();
    let mut found = BTreeMap::new();
    let mut queue: Vec<(String, BTreeSet<String>)> = poetry_roots(pyproject, target);
    let mut steps = 0;
    while let Some((name, extras)) = queue.pop() {
        let Some(package) = all.get(&name) else { continue };
        steps += 1;
        if found.contains_key(&name) && extras.is_empty() || steps > super::requirements::REQUIREMENT_LIMIT {
            continue;
        }
        found.insert(name.clone(), poetry_locked(&name, package));
        for (dependency, value) in package.get("dependencies").and_then(Value::as_table).into_iter().flatten()
        {
            for (marker, more) in poetry_constraints(value) {
                let applies = |extra: &str| evaluate(marker, target, extra);
                if marker.is_empty() || applies("") || extras.iter().any(|extra| applies(extra)) {
                    queue.push((normalise(dependency), more));
                }
            }
        }
    }
    Ok(found.into_values().collect())
}

/// `"^1.0"`, `{version, markers, extras}` or a list of these: each with its marker and extras.
fn poetry_constraints(value: &Value) -> Vec<(&str, BTreeSet<String>)> {
    match value {
        Value::Array(list) => list.iter().flat_map(poetry_constraints).collect(),
        Value::Table(table)
            if table.get("optional").and_then(Value::as_bool) == Some(true)
                && !table.contains_key("markers") =>
        {
            Vec::new()
        }
        Value::Table(table) => {
            let extras = table.get("extras").and_then(Value::as_array).into_iter().flatten();
            let extras = extras.filter_map(Value::as_str).map(normalise).collect();
            vec![(text(table, "markers").unwrap_or(""), extras)]
        }
        _ => vec![("", BTreeSet::new())],
    }
}

fn poetry_roots(pyproject: &Table, target: &Target) -> Vec<(String, BTreeSet<String>)> {
    let declared = super::project_dependencies(pyproject);
    let standard = declared.iter().filter_map(|line| Requirement::parse(line));
    let mut roots: Vec<_> = standard
        .filter(|r| r.applies(target, &BTreeSet::new()))
        .map(|r| (r.name.clone(), r.extras))
        .collect();
    let own = pyproject
        .get("tool")
        .and_then(|tool| tool.get("poetry"))
        .and_then(|poetry| poetry.get("dependencies"));
    for (name, value) in
        own.and_then(Value::as_table).into_iter().flatten().filter(|(name, _)| *name != "python")
    {
        for (marker, extras) in poetry_constraints(value) {
            if marker.is_empty() || evaluate(marker, target, "") {
                roots.push((normalise(name), extras));
            }
        }
    }
    roots
}

fn poetry_locked(name: &str, package: &Table) -> Locked {
    let hash = |file: &Table| Some(text(file, "hash")?.strip_prefix("sha256:")?.to_ascii_lowercase());
    Locked {
        name: name.to_owned(),
        version: text(package, "version").unwrap_or("").to_owned(),
        hashes: tables(package, "files").filter_map(hash).collect(),
        files: Vec::new(),
    }
}

/// Refuses a lock that has no fitting version of something that the project asks for.
pub fn agrees(
    lock: &str,
    command: &str,
    declared: &[String],
    locked: &[Locked],
    target: &Target,
) -> Result<(), BuildError> {
    let asked = declared.iter().filter_map(|line| Requirement::parse(line));
    for requirement in asked.filter(|requirement| requirement.applies(target, &BTreeSet::new())) {
        let found = locked.iter().find(|package| package.name == requirement.name);
        let has = match found {
            Some(package) if satisfies(&package.version, &requirement.specifiers) != Some(false) => continue,
            Some(package) => format!("has {}", package.version),
            None => "does not have it".to_owned(),
        };
        return Err(BuildError::input_hint(
            format!(
                "{lock} does not match pyproject.toml: it asks for `{}{}`, the lock {has}",
                requirement.name, requirement.specifiers
            ),
            format!("run `{command}` and keep both files"),
        ));
    }
    Ok(())
}

/// `requires-python` that the suite's Python does not satisfy.
pub fn wants_other_python(pyproject: &Table, target: &Target) -> Option<String> {
    let wanted = pyproject.get("project").and_then(|p| p.get("requires-python")).and_then(Value::as_str)?;
    (satisfies(&format!("{}.99", target.version_text()), wanted) == Some(false)).then(|| wanted.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::settings::Machine;

    fn target() -> Target {
        Target { version: (3, 13), machine: Machine::X86_64, glibc: (2, 41) }
    }

    fn names(locked: &[Locked]) -> Vec<String> {
        locked.iter().map(|l| format!("{}=={}", l.name, l.version)).collect()
    }

    #[test]
    fn uv_locks_give_what_the_project_needs_and_no_more() {
        let lock = r#"
version = 1
[[package]]
name = "app"
version = "0.1"
source = { virtual = "." }
dependencies = [
  { name = "web", extra = ["fast"] },
  { name = "winonly", marker = "sys_platform == 'win32'" },
]
[package.dev-dependencies]
dev = [{ name = "pytest" }]
[[package]]
name = "web"
version = "2.0"
source = { registry = "https://pypi.org/simple" }
dependencies = [{ name = "base" }]
wheels = [{ url = "https://h/web-2.0-py3-none-any.whl", hash = "sha256:AA", size = 1 }]
[package.optional-dependencies]
fast = [{ name = "speed" }]
[[package]]
name = "base"
version = "1.0"
source = { registry = "https://pypi.org/simple" }
[[package]]
name = "speed"
version = "3.0"
source = { registry = "https://pypi.org/simple" }
resolution-markers = ["python_version < '3.10'"]
[[package]]
name = "speed"
version = "4.0"
source = { registry = "https://pypi.org/simple" }
resolution-markers = ["python_version >= '3.10'"]
[[package]]
name = "winonly"
version = "1"
source = { registry = "https://pypi.org/simple" }
[[package]]
name = "pytest"
version = "8"
source = { registry = "https://pypi.org/simple" }
"#;
        let locked = uv(lock, &target()).unwrap();
        assert_eq!(names(&locked), ["base==1.0", "speed==4.0", "web==2.0"]);
        assert_eq!(locked[2].files[0].0, "web-2.0-py3-none-any.whl");
        assert_eq!(locked[2].hashes, ["aa"]);
        assert!(uv("version = 1", &target()).is_err());
        assert!(uv("not toml [", &target()).unwrap_err().to_string().starts_with("uv.lock:1"));
    }

    #[test]
    fn poetry_locks_are_walked_from_the_project() {
        let pyproject = toml::from_str::<Table>(
            "[tool.poetry.dependencies]\npython = '^3.12'\nFlask = '^3'\n[tool.poetry.group.dev.dependencies]\npytest = '*'\n",
        )
        .unwrap();
        let lock = r#"
[[package]]
name = "flask"
version = "3.0"
files = [{ file = "flask-3.0-py3-none-any.whl", hash = "sha256:bb" }]
[package.dependencies]
Werkzeug = ">=3"
colorama = { version = "*", markers = "platform_system == 'Windows'" }
[[package]]
name = "werkzeug"
version = "3.1"
files = []
[[package]]
name = "colorama"
version = "1"
files = []
[[package]]
name = "pytest"
version = "8"
files = []
"#;
        let locked = poetry(lock, &pyproject, &target()).unwrap();
        assert_eq!(names(&locked), ["flask==3.0", "werkzeug==3.1"]);
        assert_eq!(locked[0].hashes, ["bb"]);
    }
}
