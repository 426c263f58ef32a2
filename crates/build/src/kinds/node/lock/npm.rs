//! package-lock.json, versions 1 to 3: where each package lies and what it is.

use crate::BuildError;
use crate::kinds::node::manifest::Manifest;
use crate::kinds::node::package::{
    Check, Installation, PACKAGE_LIMIT, Package, Platform, Wanted, is_plain, programs,
};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

const MAKE_ANEW: &str = "make it anew: `npm install --package-lock-only`";
const NESTING_LIMIT: usize = 64;

pub struct Lock {
    packages: Vec<Listed>,
    /// Directory of the project → ranges by name, as the lock was made for; none in version 1.
    manifests: Option<BTreeMap<String, BTreeMap<String, String>>>,
    place: String,
}

struct Listed {
    package: Package,
    development: bool,
    bundled: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    lockfile_version: u64,
    #[serde(default)]
    packages: BTreeMap<String, Raw>,
    #[serde(default)]
    dependencies: BTreeMap<String, RawOne>,
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
    bin: Option<Value>,
    os: OneOrMany,
    cpu: OneOrMany,
    libc: OneOrMany,
    dependencies: BTreeMap<String, String>,
    dev_dependencies: BTreeMap<String, String>,
    optional_dependencies: BTreeMap<String, String>,
}

/// An entry of version 1.
#[derive(Deserialize, Default)]
#[serde(default)]
struct RawOne {
    version: String,
    resolved: Option<String>,
    integrity: Option<String>,
    dev: bool,
    optional: bool,
    bundled: bool,
    dependencies: BTreeMap<String, RawOne>,
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
            let message = format!("{place}:{}:{}: {error}", error.line(), error.column());
            BuildError::input_hint(message, MAKE_ANEW)
        })?;
        let mut lock = Self { packages: Vec::new(), manifests: None, place: place.to_owned() };
        match document.lockfile_version {
            1 => lock.add_version_1("", document.dependencies, 0)?,
            2 | 3 => lock.add(document.packages)?,
            other => {
                return Err(BuildError::input_hint(
                    format!("{place} has version {other}, only 1 to 3 are read"),
                    MAKE_ANEW,
                ));
            }
        }
        match lock.packages.len() > PACKAGE_LIMIT {
            true => Err(BuildError::input(format!("{place} names more than {PACKAGE_LIMIT} packages"))),
            false => Ok(lock),
        }
    }

    fn add(&mut self, packages: BTreeMap<String, Raw>) -> Result<(), BuildError> {
        let mut manifests = BTreeMap::new();
        for (place, raw) in packages {
            if !place.contains("node_modules/") {
                let mut ranges = raw.dev_dependencies.clone();
                ranges.extend(raw.dependencies.clone());
                ranges.extend(raw.optional_dependencies.clone());
                manifests.insert(place.clone(), ranges);
            }
            if !place.is_empty() {
                self.packages.push(listed(place, raw, &self.place)?);
            }
        }
        self.manifests = Some(manifests);
        Ok(())
    }

    /// Version 1 nests packages as node_modules nests directories.
    fn add_version_1(
        &mut self,
        above: &str,
        packages: BTreeMap<String, RawOne>,
        depth: usize,
    ) -> Result<(), BuildError> {
        if depth > NESTING_LIMIT {
            return Err(BuildError::input(format!("{} is nested too deep", self.place)));
        }
        for (name, one) in packages {
            let place = format!("{above}node_modules/{name}");
            let link =
                one.version.strip_prefix("file:").filter(|path| !path.ends_with(".tgz")).map(str::to_owned);
            let below = link.clone().unwrap_or_else(|| place.clone());
            let alias = one.version.strip_prefix("npm:").and_then(|alias| alias.rsplit_once('@'));
            let (real, version) = alias.unwrap_or((&name, &one.version));
            let remote = version.contains("://").then(|| version.to_owned());
            let raw = Raw {
                name: Some(real.to_owned()),
                version: Some(version.to_owned()),
                link: link.is_some(),
                resolved: link.or(one.resolved).or(remote),
                integrity: one.integrity,
                dev: one.dev,
                optional: one.optional,
                in_bundle: one.bundled,
                ..Raw::default()
            };
            let mut found = listed(place, raw, &self.place)?;
            // What only package.json and the registry say.
            found.package.bin = None;
            found.package.has_install_script = None;
            found.package.platform = Platform::Unknown;
            self.packages.push(found);
            self.add_version_1(&format!("{below}/"), one.dependencies, depth + 1)?;
        }
        Ok(())
    }

    /// Refuses a lock that was made for another manifest.
    pub fn agrees(&self, manifest: &Manifest) -> Result<(), BuildError> {
        let Some(manifests) = &self.manifests else {
            let names = || self.packages.iter().map(|listed| listed.package.place.as_str());
            return manifest.agrees(&self.place, "npm install --package-lock-only", |name, range| {
                names().any(|place| place == format!("node_modules/{name}")).then(|| range.to_owned())
            });
        };
        let ranges = manifests.get(&manifest.directory);
        manifest.agrees(&self.place, "npm install --package-lock-only", |name, _| ranges?.get(name).cloned())
    }

    /// The packages that are wanted, each where the lock places it.
    pub fn install(&self, wanted: &Wanted<'_>) -> Result<Installation, BuildError> {
        let mut left_out: Vec<String> = Vec::new();
        let mut installation = Installation::default();
        for listed in &self.packages {
            let package = &listed.package;
            let inside_left_out = left_out.iter().any(|place| package.place.starts_with(place.as_str()));
            if listed.development && !wanted.development || listed.bundled || inside_left_out {
                continue;
            }
            if !(wanted.fits)(package)? {
                left_out.push(format!("{}/", package.place));
            } else if let Some(target) = &package.link {
                installation.links.push((package.place.clone(), target.clone()));
            } else if package.place.contains("node_modules/") {
                installation.packages.push(package.clone());
            }
        }
        Ok(installation)
    }
}

fn listed(place: String, raw: Raw, file: &str) -> Result<Listed, BuildError> {
    if !is_plain(&place) {
        return Err(BuildError::input(format!("{file} places a package at `{place}`, outside the project")));
    }
    let link = if raw.link { raw.resolved.clone() } else { None };
    if let Some(target) = link.as_deref().filter(|target| !is_plain(target)) {
        return Err(BuildError::input_hint(
            format!("{file} takes `{place}` from `{target}`, outside the project"),
            "make the directory above both the build context",
        ));
    }
    let own = place.rfind("node_modules/").map_or(place.as_str(), |at| &place[at + "node_modules/".len()..]);
    let name = raw.name.unwrap_or_else(|| own.to_owned());
    let package = Package {
        bin: Some(programs(&name, raw.bin.as_ref())),
        name,
        version: raw.version.unwrap_or_default(),
        resolved: raw.resolved,
        check: raw.integrity.map_or(Check::Missing, Check::Integrity),
        link,
        has_install_script: Some(raw.has_install_script),
        optional: raw.optional || raw.dev_optional,
        platform: Platform::Stated { os: raw.os.list(), cpu: raw.cpu.list(), libc: raw.libc.list() },
        place,
    };
    Ok(Listed { package, development: raw.dev || raw.dev_optional, bundled: raw.in_bundle })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::settings::Machine;

    fn parse(packages: &str) -> Result<Lock, String> {
        let text = format!(r#"{{"lockfileVersion": 3, "packages": {{"": {{}}, {packages}}}}}"#);
        Lock::parse(&text, "lock").map_err(|error| error.to_string())
    }

    fn install(lock: &Lock) -> Installation {
        let fits = |package: &Package| Ok(package.platform.fits(Machine::X86_64).unwrap_or(true));
        lock.install(&Wanted { development: false, fits: &fits }).unwrap()
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
        let installation = install(&lock);
        let places: Vec<_> = installation.packages.iter().map(|p| p.place.as_str()).collect();
        assert_eq!(places, ["node_modules/@s/c", "node_modules/a", "node_modules/notwin"]);
        let bins = |at: usize| installation.packages[at].bin.clone().unwrap();
        assert_eq!(bins(0).keys().collect::<Vec<_>>(), ["c"]);
        assert_eq!(bins(1)["a"], "cli.js");
        assert_eq!(installation.links, [("node_modules/ws".to_owned(), "packages/ws".to_owned())]);
    }

    #[test]
    fn version_1_nests_what_lies_deeper() {
        let lock = Lock::parse(
            r#"{"lockfileVersion": 1, "dependencies": {
                "a": {"version": "1.0.0", "dependencies": {"b": {"version": "2.0.0"}}},
                "n": {"version": "npm:@s/real@7.0.0"}, "t": {"version": "1.0.0", "dev": true},
                "w": {"version": "file:packages/w", "dependencies": {"ms": {"version": "2.0.0"}}}}}"#,
            "lock",
        )
        .unwrap();
        let installation = install(&lock);
        let all = installation.packages.iter().map(|p| format!("{} {} {}", p.place, p.name, p.version));
        assert_eq!(
            all.collect::<Vec<_>>(),
            [
                "node_modules/a a 1.0.0",
                "node_modules/a/node_modules/b b 2.0.0",
                "node_modules/n @s/real 7.0.0",
                "packages/w/node_modules/ms ms 2.0.0",
            ]
        );
        assert_eq!(installation.links, [("node_modules/w".to_owned(), "packages/w".to_owned())]);
    }

    #[test]
    fn unknown_and_hostile_locks_are_refused() {
        let odd = Lock::parse(r#"{"lockfileVersion": 9}"#, "lock").map(|_| ()).unwrap_err().to_string();
        assert_eq!(odd, "lock has version 9, only 1 to 3 are read");
        assert!(parse(r#""../x": {}"#).map(|_| ()).unwrap_err().contains("outside the project"));
        assert!(parse(r#""node_modules/x": {"link": true, "resolved": "../x"}"#).is_err());
        assert!(Lock::parse("{", "lock").map(|_| ()).unwrap_err().to_string().starts_with("lock:1:1"));
    }
}
