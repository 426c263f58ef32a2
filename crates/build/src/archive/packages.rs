//! An opened archive: packages resolved against its suites and fetched into the cache.

use super::choice::{ArchiveChoice, SuiteAddress};
use super::index::Index;
use super::openpgp::Keyring;
use super::{resolve, suite};
use crate::download::{self, Wanted};
use crate::durable;
use crate::error::BuildError;
use crate::http::Http;
use crate::job::{Job, go_on};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::SystemTime;

/// The keys with which Debian signs, from its package `debian-archive-keyring`.
const DEBIAN_KEYS: [&[u8]; 6] = [
    include_bytes!("keys/debian-archive-bookworm-automatic.gpg"),
    include_bytes!("keys/debian-archive-bookworm-security-automatic.gpg"),
    include_bytes!("keys/debian-archive-bookworm-stable.gpg"),
    include_bytes!("keys/debian-archive-trixie-automatic.gpg"),
    include_bytes!("keys/debian-archive-trixie-security-automatic.gpg"),
    include_bytes!("keys/debian-archive-trixie-stable.gpg"),
];
const PARALLEL_DOWNLOADS: usize = 4;
const MAX_PACKAGE_BYTES: u64 = 2 << 30;

/// One package to be unpacked, as the signed index states it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedPackage {
    pub name: String,
    pub version: String,
    pub architecture: String,
    pub sha256: String,
    pub size: u64,
    pub url: String,
}

/// An archive whose lists are believed.
pub struct Archive<'a> {
    http: &'a Http,
    packages: PathBuf,
}

/// What an image is to have.
pub struct Wishes<'a> {
    pub packages: &'a [String],
    /// Not to be drawn in by dependencies.
    pub exclude: &'a [String],
}

/// Counted up whenever the same lists and wishes give other packages.
const RESOLVER_VERSION: u32 = 1;

impl<'a> Archive<'a> {
    /// Opens the archive and resolves what is wanted (`name` or `name=version`, with all they need,
    /// ordered by name), with `cache` for what is fetched. `refresh` asks the archive even when it
    /// was asked within the last hour. What follows from the same signed lists is not worked out
    /// twice: these need not even be read.
    pub fn resolved(
        choice: &ArchiveChoice,
        wishes: &Wishes<'_>,
        cache: &Path,
        http: &'a Http,
        refresh: bool,
        job: &Job<'_>,
    ) -> Result<(Self, Vec<ResolvedPackage>), BuildError> {
        for directory in ["lists", "index", "packages", "resolved"] {
            durable::create_directories(&cache.join(directory))?;
        }
        let keyring = keyring(choice.keyring.as_deref())?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let context = suite::Context { http, cache, keyring: &keyring, now, refresh };
        let archive = Self { http, packages: cache.join("packages") };
        if !refresh
            && let Some(record) = record(choice, wishes, &context, job)?
            && let Some(known) = read_record(&record)
        {
            return Ok((archive, known));
        }
        let (suites, indexes) = open_suites(choice, &context, job)?;
        let resolved = resolve(&suites, &indexes, wishes, &choice.suite)?;
        // Named by the lists that were read, which may be newer than those of a moment ago.
        let context = suite::Context { refresh: false, ..context };
        if let Some(record) = record(choice, wishes, &context, job)? {
            let text = serde_json::to_vec(&resolved).expect("packages are plain data");
            durable::write(&record, &text)?;
        }
        Ok((archive, resolved))
    }

    /// The packages as files, in the same order; only what is not there intact is fetched.
    pub fn fetch(&self, packages: &[ResolvedPackage], job: &Job<'_>) -> Result<Vec<PathBuf>, BuildError> {
        let next = AtomicUsize::new(0);
        let (sender, receiver) = mpsc::channel();
        let paths: Vec<PathBuf> =
            packages.iter().map(|p| self.packages.join(format!("{}.deb", p.sha256))).collect();
        std::thread::scope(|scope| {
            for _ in 0..PARALLEL_DOWNLOADS.min(packages.len()) {
                let sender = sender.clone();
                let (next, paths, cancel) = (&next, &paths, job.cancel);
                scope.spawn(move || {
                    while let Some(i) =
                        Some(next.fetch_add(1, Ordering::Relaxed)).filter(|i| *i < packages.len())
                    {
                        let outcome = self.fetch_one(&packages[i], &paths[i], cancel);
                        let failed = outcome.is_err();
                        if failed {
                            next.store(packages.len(), Ordering::Relaxed);
                        }
                        if sender.send(outcome).is_err() || failed {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            let mut fetched = 0;
            let mut failure = None;
            for outcome in receiver {
                match outcome {
                    Ok(was_cached) => {
                        fetched += 1;
                        if !was_cached {
                            job.say(&format!("fetched {fetched} of {} packages", packages.len()));
                        }
                    }
                    Err(error) => failure = failure.or(Some(error)),
                }
            }
            failure.map_or(Ok(()), Err)
        })?;
        Ok(paths)
    }

    fn fetch_one(
        &self,
        package: &ResolvedPackage,
        path: &Path,
        cancel: &std::sync::atomic::AtomicBool,
    ) -> Result<bool, BuildError> {
        if download::is_intact(path, &package.sha256, cancel)? {
            return Ok(true);
        }
        let wanted = Wanted {
            url: &package.url,
            headers: &[],
            sha256: &package.sha256,
            size: Some(package.size),
            limit: MAX_PACKAGE_BYTES,
        };
        download::to_file(self.http, &wanted, path, cancel).map(|()| false)
    }
}

/// Where the packages that follow from these lists are kept; `None` when a list is not named.
fn record(
    choice: &ArchiveChoice,
    wishes: &Wishes<'_>,
    context: &suite::Context<'_>,
    job: &Job<'_>,
) -> Result<Option<PathBuf>, BuildError> {
    let mut text =
        format!("{RESOLVER_VERSION} {:?} {:?} {:?}\n", wishes.packages, wishes.exclude, super::SCRIPT_ONLY);
    for address in choice.suites() {
        go_on(job.cancel)?;
        match suite::list_digest(&address, context, job)? {
            Some(sha256) => text.push_str(&format!("{} {} {sha256}\n", address.base, address.suite)),
            None if address.optional => {}
            None => return Ok(None),
        }
    }
    let name = model::Digest::of(text.as_bytes());
    Ok(Some(context.cache.join("resolved").join(name.hex())))
}

/// Packages that were resolved earlier; a record that cannot be read is made anew.
fn read_record(path: &Path) -> Option<Vec<ResolvedPackage>> {
    let known = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    durable::touch(path);
    Some(known)
}

fn open_suites(
    choice: &ArchiveChoice,
    context: &suite::Context<'_>,
    job: &Job<'_>,
) -> Result<(Vec<SuiteAddress>, Vec<Index>), BuildError> {
    let (mut suites, mut indexes) = (Vec::new(), Vec::new());
    for address in choice.suites() {
        go_on(job.cancel)?;
        if let Some(index) = suite::open(&address, context, job)? {
            suites.push(address);
            indexes.push(index);
        }
    }
    Ok((suites, indexes))
}

fn resolve(
    suites: &[SuiteAddress],
    indexes: &[Index],
    wishes: &Wishes<'_>,
    suite: &str,
) -> Result<Vec<ResolvedPackage>, BuildError> {
    let chosen = resolve::resolve(indexes, wishes.packages, wishes.exclude, suite)?;
    let resolved = chosen.iter().map(|chosen| {
        let package = &chosen.package;
        ResolvedPackage {
            name: package.name.to_owned(),
            version: package.version.to_owned(),
            architecture: package.architecture.to_owned(),
            sha256: package.sha256.to_owned(),
            size: package.size,
            url: format!("{}/{}", suites[chosen.index].base, package.filename),
        }
    });
    Ok(resolved.collect())
}

/// The keys that are trusted without being asked for.
pub(crate) fn debian_keyring() -> Keyring {
    let mut keyring = Keyring::default();
    for file in DEBIAN_KEYS {
        keyring.add(file).expect("the built-in keyrings are read by a test");
    }
    keyring
}

/// Debian's keys, and those of a file of one's own.
fn keyring(extra: Option<&Path>) -> Result<Keyring, BuildError> {
    let mut keyring = debian_keyring();
    if let Some(path) = extra {
        let file =
            std::fs::read(path).map_err(BuildError::io(format!("read the keyring {}", path.display())))?;
        let count =
            keyring.add(&file).map_err(|error| BuildError::malformed(path.display().to_string(), error))?;
        if count == 0 {
            return Err(BuildError::malformed(path.display().to_string(), "it holds no usable signing key"));
        }
    }
    Ok(keyring)
}
