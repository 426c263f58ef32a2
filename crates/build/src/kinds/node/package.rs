//! What node_modules will hold, whichever tool wrote the lock.

use crate::BuildError;
use crate::kinds::settings::Machine;
use std::collections::BTreeMap;

/// More packages than this are a mistake.
pub const PACKAGE_LIMIT: usize = 20_000;

/// Packages and links by their places, all relative to the project.
#[derive(Debug, Default)]
pub struct Installation {
    pub packages: Vec<Package>,
    /// Place and the place it leads to.
    pub links: Vec<(String, String)>,
}

/// One package of a registry, or with `link` a directory of the project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Package {
    /// `node_modules/a/node_modules/@b/c`.
    pub place: String,
    pub name: String,
    pub version: String,
    /// The address of its archive where the lock has one.
    pub resolved: Option<String>,
    pub check: Check,
    /// A workspace or `file:` dependency: the directory it stands for.
    pub link: Option<String>,
    /// Program name → file in the package; `None` where only its package.json says.
    pub bin: Option<BTreeMap<String, String>>,
    pub has_install_script: Option<bool>,
    pub optional: bool,
    pub platform: Platform,
}

/// How the bytes of a package are known to be right.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Check {
    /// Digests of its archive, in the form of subresource integrity.
    Integrity(String),
    /// SHA-512 in hexadecimal of the zip file without compression that yarn makes of it.
    YarnZip(String),
    /// The lock's own check cannot be repeated; the registry is asked for the digest.
    Registry,
    #[default]
    Missing,
}

/// Where a package runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Platform {
    /// The lock does not say; an optional package has to be asked for.
    #[default]
    Unknown,
    Stated {
        os: Vec<String>,
        cpu: Vec<String>,
        libc: Vec<String>,
    },
}

impl Platform {
    /// `None` when it is not known.
    pub fn fits(&self, machine: Machine) -> Option<bool> {
        let Self::Stated { os, cpu, libc } = self else { return None };
        let processor = match machine {
            Machine::X86_64 => "x64",
            Machine::Aarch64 => "arm64",
        };
        Some(allowed(os, "linux") && allowed(cpu, processor) && allowed(libc, "glibc"))
    }
}

/// npm's rule: a `!name` forbids, a plain name allows only what is named.
fn allowed(list: &[String], value: &str) -> bool {
    let forbidden = list.iter().any(|item| item.strip_prefix('!') == Some(value));
    let mut named = list.iter().filter(|item| !item.starts_with('!')).peekable();
    !forbidden && (named.peek().is_none() || named.any(|item| item == value || item == "any"))
}

/// What is wanted of a lock.
pub struct Wanted<'a> {
    /// Also what only building needs.
    pub development: bool,
    /// Whether a package runs on the machine the image is for.
    pub fits: &'a dyn Fn(&Package) -> Result<bool, BuildError>,
}

/// `a/b` without anything that leads elsewhere.
pub fn is_plain(path: &str) -> bool {
    !path.starts_with('/') && !path.split('/').any(|part| matches!(part, "" | "." | ".."))
}

/// A package's name as registries allow it: `name` or `@scope/name`.
pub fn is_name(name: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\\', '\0']);
    match name.strip_prefix('@').map(|rest| rest.split_once('/')) {
        None => plain(name) && !name.contains('/'),
        Some(Some((scope, own))) => plain(scope) && plain(own) && !own.contains('/'),
        Some(None) => false,
    }
}

/// `bin` as a map or as one path for the package's own name; anything that is not plain is left out.
pub fn programs(name: &str, bin: Option<&serde_json::Value>) -> BTreeMap<String, String> {
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
    pairs
        .into_iter()
        .map(|(name, path)| (name, tidy(path)))
        .filter(|(name, path)| is_plain(name) && !name.contains('/') && is_plain(path))
        .collect()
}
