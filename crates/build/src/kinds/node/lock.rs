//! package-lock.json, versions 2 and 3: where each package lies and what it is.

use crate::BuildError;
use crate::kinds::settings::Machine;
use serde::Deserialize;
use std::collections::BTreeMap;

const PACKAGE_LIMIT: usize = 20_000;

pub struct Lock {
    packages: Vec<Package>,
}

/// One entry under `packages`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Relative to the project: `node_modules/a/node_modules/@b/c`.
    pub place: String,
    pub name: String,
    pub version: String,
    pub resolved: Option<String>,
    pub integrity: Option<String>,
    /// A workspace or `file:` dependency: the directory it stands for.
    pub link: Option<String>,
    /// Program name → file in the package.
    pub bin: BTreeMap<String, String>,
    pub has_install_script: bool,
    pub optional: bool,
    development: bool,
    bundled: bool,
    os: Vec<String>,
    cpu: Vec<String>,
    libc: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    lockfile_version: u64,
    #[serde(default)]
    packages: BTreeMap<String, Raw>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Raw {
    name: Option<String>,
    version: Option<String>,
    resolved: Option<String>,
    integrity: Option<String>,
    link: bool,
    dev: bool,
    optional: bool,
    dev_optional: bool,
    in_bundle: bool,
    has_install_script: bool,
    bin: Option<serde_json::Value>,
    os: OneOrMany,
    cpu: OneOrMany,
    libc: OneOrMany,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl OneOrMany {
    fn list(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

impl Lock {
    pub fn parse(text: &str, place: &str) -> Result<Self, BuildError> {
        let document: Document = serde_json::from_str(text).map_err(|error| {
            BuildError::input_hint(
                format!("{place}:{}:{}: {error}", error.line(), error.column()),
                "make it anew: `npm install --package-lock-only`",
            )
        })?;
        if !(2..=3).contains(&document.lockfile_version) {
            return Err(BuildError::input_hint(
                format!("{place} has version {}, only 2 and 3 are read", document.lockfile_version),
                "make it anew with npm 7 or later: `npm install --package-lock-only`",
            ));
        }
        if document.packages.len() > PACKAGE_LIMIT {
            return Err(BuildError::input(format!("{place} names more than {PACKAGE_LIMIT} packages")));
        }
        let entries = document.packages.into_iter().filter(|(key, _)| !key.is_empty());
        let packages = entries.map(|(key, raw)| package(key, raw, place)).collect::<Result<_, _>>()?;
        Ok(Self { packages })
    }

    /// What runs on `machine`, without development dependencies.
    pub fn production(&self, machine: Machine) -> Vec<Package> {
        let mut left_out: Vec<String> = Vec::new();
        let mut wanted = Vec::new();
        for package in &self.packages {
            let inside_left_out = left_out.iter().any(|place| package.place.starts_with(place.as_str()));
            if package.development || package.bundled || inside_left_out {
                continue;
            }
            if !package.fits(machine) {
                left_out.push(format!("{}/", package.place));
                continue;
            }
            wanted.push(package.clone());
        }
        wanted
    }
}

impl Package {
    fn fits(&self, machine: Machine) -> bool {
        let cpu = match machine {
            Machine::X86_64 => "x64",
            Machine::Aarch64 => "arm64",
        };
        allowed(&self.os, "linux") && allowed(&self.cpu, cpu) && allowed(&self.libc, "glibc")
    }
}

/// npm's rule: a `!name` forbids, a plain name allows only what is named.
fn allowed(list: &[String], value: &str) -> bool {
    let forbidden = list.iter().any(|item| item.strip_prefix('!') == Some(value));
    let mut named = list.iter().filter(|item| !item.starts_with('!')).peekable();
    !forbidden && (named.peek().is_none() || named.any(|item| item == value || item == "any"))
}

fn package(place: String, raw: Raw, file: &str) -> Result<Package, BuildError> {
    let plain =
        |path: &str| !path.starts_with('/') && !path.split('/').any(|part| matches!(part, "" | "." | ".."));
    if !plain(&place) {
        return Err(BuildError::input(format!("{file} places a package at `{place}`, outside the project")));
    }
    let link = if raw.link { raw.resolved.clone() } else { None };
    if let Some(target) = link.as_deref().filter(|target| !plain(target)) {
        return Err(BuildError::input_hint(
            format!("{file} takes `{place}` from `{target}`, outside the project"),
            "make the directory above both the build context",
        ));
    }
    let own = place.rfind("node_modules/").map_or(place.as_str(), |at| &place[at + "node_modules/".len()..]);
    let name = raw.name.unwrap_or_else(|| own.to_owned());
    let bin = programs(&name, raw.bin.as_ref());
    Ok(Package {
        name,
        version: raw.version.unwrap_or_default(),
        resolved: raw.resolved,
        integrity: raw.integrity,
        link,
        bin,
        has_install_script: raw.has_install_script,
        optional: raw.optional || raw.dev_optional,
        development: raw.dev || raw.dev_optional,
        bundled: raw.in_bundle,
        os: raw.os.list(),
        cpu: raw.cpu.list(),
        libc: raw.libc.list(),
        place,
    })
}

/// `bin` as a map or as one path for the package's own name; anything that is not plain is left out.
fn programs(name: &str, bin: Option<&serde_json::Value>) -> BTreeMap<String, String> {
    use serde_json::Value;
    let own = name.rsplit('/').next().unwrap_or(name).to_owned();
    let pairs: Vec<(String, String)> = match bin {
        Some(Value::String(path)) => vec![(own, path.clone())],
        Some(Value::Object(map)) => {
            map.iter().filter_map(|(name, path)| Some((name.clone(), path.as_str()?.to_owned()))).collect()
        }
        _ => Vec::new(),
    };
    let tidy = |path: String| path.trim_start_matches("./").to_owned();
    let plain =
        |text: &str| !text.is_empty() && !text.starts_with('/') && !text.split('/').any(|part| part == "..");
    pairs
        .into_iter()
        .map(|(name, path)| (name, tidy(path)))
        .filter(|(name, path)| plain(name) && !name.contains('/') && plain(path))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(packages: &str) -> Result<Lock, String> {
        let text = format!(r#"{{"lockfileVersion": 3, "packages": {{"": {{}}, {packages}}}}}"#);
        Lock::parse(&text, "lock").map_err(|error| error.to_string())
    }

    #[test]
    fn only_what_runs_here_is_wanted() {
        let lock = parse(
            r#""node_modules/a": {"version": "1.0.0", "bin": "./cli.js"},
               "node_modules/b": {"version": "1.0.0", "dev": true},
               "node_modules/mac": {"version": "1.0.0", "os": ["darwin"], "optional": true},
               "node_modules/mac/node_modules/x": {"version": "1.0.0"},
               "node_modules/notwin": {"version": "1.0.0", "os": ["!win32"], "cpu": "any"},
               "node_modules/musl": {"version": "1.0.0", "libc": ["musl"]},
               "node_modules/@s/c": {"version": "1.0.0", "bin": {"c": "bin/c.js", "../evil": "x"}},
               "node_modules/ws": {"link": true, "resolved": "packages/ws"}"#,
        )
        .unwrap();
        let wanted = lock.production(Machine::X86_64);
        let places: Vec<_> = wanted.iter().map(|p| p.place.as_str()).collect();
        assert_eq!(places, ["node_modules/@s/c", "node_modules/a", "node_modules/notwin", "node_modules/ws"]);
        assert_eq!(wanted[0].bin.keys().collect::<Vec<_>>(), ["c"]);
        assert_eq!(wanted[1].bin["a"], "cli.js");
        assert_eq!(wanted[3].link.as_deref(), Some("packages/ws"));
    }

    #[test]
    fn old_and_hostile_locks_are_refused() {
        let old = Lock::parse(r#"{"lockfileVersion": 1}"#, "lock").map(|_| ()).unwrap_err().to_string();
        assert_eq!(old, "lock has version 1, only 2 and 3 are read");
        assert!(parse(r#""../x": {}"#).map(|_| ()).unwrap_err().contains("outside the project"));
        assert!(parse(r#""node_modules/x": {"link": true, "resolved": "../x"}"#).is_err());
        assert!(Lock::parse("{", "lock").map(|_| ()).unwrap_err().to_string().starts_with("lock:1:1"));
    }
}
