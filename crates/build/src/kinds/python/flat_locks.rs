//! Lock files that are lists: `pylock.toml` (PEP 751), `pdm.lock` and `Pipfile.lock`. What a package
//! applies to stands at the package itself.

use super::index::percent_decoded;
use super::locks::{Locked, packages, parse, tables, text};
use super::requirement::{evaluate, normalise};
use super::target::Target;
use crate::BuildError;
use std::collections::BTreeMap;
use toml::{Table, Value};

/// The packages of `pylock.toml` that its default groups need.
pub fn pylock(content: &str, target: &Target) -> Result<Vec<Locked>, BuildError> {
    let lock = parse("pylock.toml", content)?;
    let version = text(&lock, "lock-version").unwrap_or("");
    if !version.starts_with("1.") {
        return Err(BuildError::input_hint(
            format!("pylock.toml has lock-version `{version}`, only 1 is read"),
            "make it anew with the tool that wrote it",
        ));
    }
    let wanted = tables(&lock, "packages").filter(|package| applies(package, target));
    // The project itself lies in the image anyway.
    let wanted = wanted.filter(|package| own_directory(package).is_none_or(|path| path != "."));
    wanted.map(pylock_package).collect()
}

fn applies(package: &Table, target: &Target) -> bool {
    text(package, "marker").is_none_or(|marker| evaluate(marker, target, ""))
}

fn own_directory(package: &Table) -> Option<&str> {
    package.get("directory")?.get("path")?.as_str()
}

fn pylock_package(package: &Table) -> Result<Locked, BuildError> {
    let name = normalise(text(package, "name").unwrap_or(""));
    let sdist = package.get("sdist").and_then(Value::as_table);
    let archive = package.get("archive").and_then(Value::as_table);
    if package.contains_key("vcs") || package.contains_key("directory") {
        return Err(elsewhere("pylock.toml", &name));
    }
    let file = |entry: &Table| {
        let url = text(entry, "url")?;
        let hash = entry.get("hashes")?.get("sha256")?.as_str()?.to_ascii_lowercase();
        let file = text(entry, "name").map(str::to_owned);
        let file =
            file.or_else(|| Some(percent_decoded(url.split(['?', '#']).next()?.rsplit('/').next()?)))?;
        Some((file, url.to_owned(), hash))
    };
    let files: Vec<_> = tables(package, "wheels").chain(sdist).chain(archive).filter_map(file).collect();
    Ok(Locked {
        version: text(package, "version").unwrap_or("").to_owned(),
        hashes: files.iter().map(|file| file.2.clone()).collect(),
        files,
        name,
    })
}

fn elsewhere(lock: &str, name: &str) -> BuildError {
    BuildError::input_hint(
        format!("{lock} takes `{name}` from a directory or from Git, which is not supported yet"),
        "publish it to an index, or copy it into the project",
    )
}

/// The group `default` of `pdm.lock`.
pub fn pdm(content: &str, target: &Target) -> Result<Vec<Locked>, BuildError> {
    let lock = parse("pdm.lock", content)?;
    let mut found = BTreeMap::new();
    for package in packages(&lock).filter(|package| applies(package, target) && in_default(package)) {
        let name = normalise(text(package, "name").unwrap_or(""));
        if package.contains_key("git") || package.contains_key("path") {
            return Err(elsewhere("pdm.lock", &name));
        }
        let hash = |file: &Table| Some(text(file, "hash")?.strip_prefix("sha256:")?.to_ascii_lowercase());
        let locked = Locked {
            name: name.clone(),
            version: text(package, "version").unwrap_or("").to_owned(),
            hashes: tables(package, "files").filter_map(hash).collect(),
            files: Vec::new(),
        };
        // Once more for each extra: the files are the same.
        found.entry(name).or_insert(locked);
    }
    Ok(found.into_values().collect())
}

/// Locks without groups at their packages are of one group.
fn in_default(package: &Table) -> bool {
    let groups = package.get("groups").and_then(Value::as_array);
    groups.is_none_or(|groups| groups.iter().any(|group| group.as_str() == Some("default")))
}

/// `default` of `Pipfile.lock`.
pub fn pipfile(content: &str, target: &Target) -> Result<Vec<Locked>, BuildError> {
    use serde_json::Value;
    let lock: Value = serde_json::from_str(content).map_err(|error| {
        BuildError::input_hint(
            format!("Pipfile.lock:{}:{}: {error}", error.line(), error.column()),
            "make it anew: `pipenv lock`",
        )
    })?;
    let mut found = Vec::new();
    for (name, package) in lock.get("default").and_then(Value::as_object).into_iter().flatten() {
        let text = |key: &str| package.get(key).and_then(Value::as_str);
        if text("markers").is_some_and(|marker| !evaluate(marker, target, "")) {
            continue;
        }
        let Some(version) = text("version").and_then(|version| version.strip_prefix("==")) else {
            return Err(elsewhere("Pipfile.lock", name));
        };
        let hashes = package.get("hashes").and_then(Value::as_array).into_iter().flatten();
        let hashes =
            hashes.filter_map(|hash| hash.as_str()?.strip_prefix("sha256:").map(str::to_ascii_lowercase));
        found.push(Locked {
            name: normalise(name),
            version: version.to_owned(),
            hashes: hashes.collect(),
            files: Vec::new(),
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::settings::Machine;

    fn check(found: Result<Vec<Locked>, BuildError>, expect: &str) {
        let text = match found {
            Ok(list) => list
                .iter()
                .map(|l| format!("{}=={}/{}", l.name, l.version, l.hashes.len()))
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => error.to_string(),
        };
        assert_eq!(text, expect);
    }

    fn target() -> Target {
        Target { version: (3, 13), machine: Machine::X86_64, glibc: (2, 41) }
    }

    #[test]
    fn pylock_is_read_by_its_markers() {
        // As uv 0.9 exports it.
        let lock = include_str!("../../../tests/projects/python/pylock.toml");
        check(pylock(lock, &target()), "python-dateutil==4.0.0/2 redis==8.1.0/2 tzdata==2026.6/2");
        let grouped = "lock-version = '1.0'\n[[packages]]\nname = 'a'\nversion = '1'\nmarker = \"'dev' in dependency_groups\"\n\
            [[packages]]\nname = 'own'\ndirectory = { path = '.' }\n";
        check(pylock(grouped, &target()), "");
        let git = "lock-version = '1.0'\n[[packages]]\nname = 'a'\nvcs = { type = 'git', url = 'x' }\n";
        check(
            pylock(git, &target()),
            "pylock.toml takes `a` from a directory or from Git, which is not supported yet",
        );
        check(
            pylock("lock-version = '2.0'", &target()),
            "pylock.toml has lock-version `2.0`, only 1 is read",
        );
    }

    #[test]
    fn pdm_locks_give_the_default_group() {
        let lock = "[metadata]\ngroups = ['default', 'dev']\n\
            [[package]]\nname = 'Redis'\nversion = '5.0'\ngroups = ['default']\nfiles = [{file = 'redis.whl', hash = 'sha256:AB'}]\n\
            [[package]]\nname = 'redis'\nversion = '5.0'\nextras = ['hiredis']\ngroups = ['default']\nfiles = [{file = 'redis.whl', hash = 'sha256:ab'}]\n\
            [[package]]\nname = 'async-timeout'\nversion = '4'\ngroups = ['default']\nmarker = \"python_full_version < '3.11.3'\"\n\
            [[package]]\nname = 'pytest'\nversion = '8'\ngroups = ['dev']\n";
        check(pdm(lock, &target()), "redis==5.0/1");
    }

    #[test]
    fn pipenv_locks_give_what_is_no_development() {
        let lock = r#"{"default": {"Redis": {"hashes": ["sha256:AB", "sha256:cd"], "markers": "python_version >= '3.7'", "version": "==5.0"},
            "old": {"markers": "python_version < '3.7'", "version": "==1"}}, "develop": {"pytest": {"version": "==8"}}}"#;
        check(pipfile(lock, &target()), "redis==5.0/2");
        check(
            pipfile(r#"{"default": {"a": {"git": "x"}}}"#, &target()),
            "Pipfile.lock takes `a` from a directory or from Git, which is not supported yet",
        );
    }
}
