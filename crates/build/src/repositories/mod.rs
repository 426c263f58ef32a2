//! What a registry on this machine holds for others: repositories with their tags, manifests and
//! the blobs that may be had through them. The bytes themselves are in the image layout, once.
//!
//! ```text
//! ROOT/registry/repositories/NAME/   `/` of the name is written as `+`
//!     tags/TAG                       the digest it stands for
//!     manifests/ALGORITHM-HEX        a record, see `record.rs`
//!     blobs/ALGORITHM-HEX            empty: this repository has this blob
//!     referrers/SUBJECT/MANIFEST     empty: this manifest names that subject
//! ```
//!
//! Every change is one file that appears or goes as a whole, the record of a manifest after all
//! that it needs, so a crash at any moment leaves nothing half there.

mod collect;
mod content;
mod names;
mod record;
mod referrers;

#[cfg(test)]
mod tests;

pub use content::{Algorithm, ContentDigest, Hasher};
pub use names::{RepositoryName, Tag};
pub use record::{Contents, Kind, Record};
pub use referrers::Referrer;

use crate::durable;
use crate::error::BuildError;
use crate::layout;
use rustix::fs::FlockOperation;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind::{AlreadyExists, NotFound, WouldBlock};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// A collection of blobs that goes on is waited for this long.
const LOCK_WAIT: Duration = Duration::from_secs(60);
const LOCK_POLL: Duration = Duration::from_millis(10);
/// A blob that a client asks about is young again, but its file is not touched more often than this.
const REFRESH_AFTER: Duration = Duration::from_secs(3600);

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    #[error("the manifest is not usable: {reason}")]
    Invalid { reason: String },
    #[error("the manifest needs {digest}, which this repository does not have")]
    Missing { digest: ContentDigest },
    #[error("the content has digest {found} instead of {expected}")]
    Digest { expected: ContentDigest, found: ContentDigest },
    #[error("{digest} is not in this repository")]
    Unknown { digest: String },
    #[error("the manifest {by} needs it")]
    Needed { by: ContentDigest },
    #[error("the tag was moved in the meantime")]
    Moved,
    #[error("the store is being cleaned for longer than {} s", LOCK_WAIT.as_secs())]
    Busy,
    #[error(transparent)]
    Store(#[from] BuildError),
}

/// All repositories of one image store.
#[derive(Debug, Clone)]
pub struct Repositories {
    store: PathBuf,
    root: PathBuf,
}

/// One of them, which need not exist yet.
#[derive(Debug, Clone)]
pub struct Repository {
    all: Repositories,
    name: RepositoryName,
    root: PathBuf,
}

/// Under which tags a manifest is put, and on which condition.
#[derive(Debug, Clone, Default)]
pub struct Placing {
    pub tags: Vec<Tag>,
    /// What the first tag must stand for now.
    pub instead_of: Option<ContentDigest>,
}

impl Repositories {
    /// Those of the image store below `store`, which exists.
    pub fn open(store: &Path) -> Result<Self, BuildError> {
        let all = Self::of(store);
        durable::private_directory(&store.join("registry"))?;
        durable::create_directories(&all.root)?;
        durable::create_directories(&all.blobs(Algorithm::Sha512))?;
        Ok(all)
    }

    /// The same without making anything.
    pub(crate) fn of(store: &Path) -> Self {
        Self { store: store.to_owned(), root: store.join("registry/repositories") }
    }

    fn blobs(&self, algorithm: Algorithm) -> PathBuf {
        self.store.join("oci/blobs").join(algorithm.name())
    }

    /// Where the bytes of a blob are, whoever may have them.
    pub fn blob_path(&self, digest: &ContentDigest) -> PathBuf {
        self.blobs(digest.algorithm()).join(digest.hex())
    }

    pub fn get(&self, name: &RepositoryName) -> Repository {
        let root = self.root.join(name.file_name());
        Repository { all: self.clone(), name: name.clone(), root }
    }

    /// Every repository, sorted by name.
    pub fn names(&self) -> Result<Vec<RepositoryName>, BuildError> {
        let mut names: Vec<_> =
            entries(&self.root)?.iter().filter_map(|name| RepositoryName::of_file(name)).collect();
        names.sort();
        Ok(names)
    }

    /// Keeps collections away for a moment in which something is added.
    fn adding(&self) -> Result<File, RepositoryError> {
        let started = Instant::now();
        loop {
            match layout::lock(&self.store.join("lock"), FlockOperation::NonBlockingLockShared) {
                Err(BuildError::Io { source, .. }) if source.kind() == WouldBlock => {}
                other => return Ok(other?),
            }
            if started.elapsed() > LOCK_WAIT {
                return Err(RepositoryError::Busy);
            }
            std::thread::sleep(LOCK_POLL);
        }
    }
}

impl Repository {
    pub fn name(&self) -> &RepositoryName {
        &self.name
    }
    pub fn exists(&self) -> bool {
        self.root.is_dir()
    }

    fn tag_path(&self, tag: &Tag) -> PathBuf {
        self.root.join("tags").join(tag.as_str())
    }
    fn link_path(&self, digest: &ContentDigest) -> PathBuf {
        self.root.join("blobs").join(digest.file_name())
    }
    fn record_path(&self, digest: &ContentDigest) -> PathBuf {
        self.root.join("manifests").join(digest.file_name())
    }
    fn referrers_path(&self, subject: &ContentDigest) -> PathBuf {
        self.root.join("referrers").join(subject.file_name())
    }

    /// The size of a blob that may be had here.
    pub fn blob(&self, digest: &ContentDigest) -> Option<u64> {
        if !self.link_path(digest).exists() {
            return None;
        }
        fs::metadata(self.all.blob_path(digest)).ok().map(|m| m.len())
    }

    /// Somebody relies on a blob being here: it is as if it had just come.
    pub fn refresh_blob(&self, digest: &ContentDigest) {
        refresh(&self.link_path(digest));
    }

    /// Makes a finished, synced file the blob it is, which this repository then has.
    pub fn adopt_blob(&self, finished: &Path, digest: &ContentDigest) -> Result<(), RepositoryError> {
        let _adding = self.all.adding()?;
        let size = |path: &Path| fs::metadata(path).ok().map(|m| m.len());
        let target = self.all.blob_path(digest);
        // One of another size cannot be what its name says.
        match size(&target).is_some() && size(&target) == size(finished) {
            true => fs::remove_file(finished).map_err(failed("remove", finished))?,
            false => durable::publish(finished, &target)?,
        }
        self.link(digest)
    }

    /// Gives this repository a blob that is in the store, if it is.
    pub fn mount_blob(&self, digest: &ContentDigest) -> Result<bool, RepositoryError> {
        let _adding = self.all.adding()?;
        if !self.all.blob_path(digest).is_file() {
            return Ok(false);
        }
        self.link(digest).map(|()| true)
    }

    fn link(&self, digest: &ContentDigest) -> Result<(), RepositoryError> {
        self.make()?;
        mark(&self.link_path(digest))
    }

    fn make(&self) -> Result<(), RepositoryError> {
        if self.root.join("referrers").is_dir() {
            return Ok(());
        }
        for directory in ["tags", "manifests", "blobs", "referrers"] {
            durable::create_directories(&self.root.join(directory))?;
        }
        durable::sync(&self.all.root)?;
        Ok(())
    }

    /// One change of tags and manifests at a time, by whichever process.
    fn changing(&self) -> Result<(File, File), RepositoryError> {
        let adding = self.all.adding()?;
        if !self.exists() {
            self.make()?;
        }
        let changing = layout::lock(&self.root.join(".lock"), FlockOperation::LockExclusive)?;
        Ok((adding, changing))
    }

    /// Takes a blob away from this repository; its bytes go with the next collection.
    pub fn delete_blob(&self, digest: &ContentDigest) -> Result<(), RepositoryError> {
        if !self.link_path(digest).exists() {
            return Err(RepositoryError::Unknown { digest: digest.to_string() });
        }
        let _changing = self.changing()?;
        for manifest in self.manifests()? {
            let needs = |record: &Record| record.blobs.contains(digest);
            if self.manifest(&manifest)?.as_ref().is_some_and(needs) {
                return Err(RepositoryError::Needed { by: manifest });
            }
        }
        remove(&self.link_path(digest))
    }

    /// Stores a manifest as it came. All blobs it needs must be here; what an index lists need not.
    pub fn put_manifest(
        &self,
        bytes: &[u8],
        media_type: Option<&str>,
        digest: &ContentDigest,
        placing: &Placing,
    ) -> Result<Record, RepositoryError> {
        let found = digest.algorithm().of(bytes);
        if found != *digest {
            return Err(RepositoryError::Digest { expected: digest.clone(), found });
        }
        let contents = Contents::read(bytes, media_type)?;
        let _changing = self.changing()?;
        if let Some(missing) = contents.required.iter().find(|blob| self.blob(blob).is_none()) {
            return Err(RepositoryError::Missing { digest: (*missing).clone() });
        }
        self.check_condition(placing)?;
        let target = self.all.blob_path(digest);
        if fs::metadata(&target).map_or(true, |m| m.len() != bytes.len() as u64) {
            durable::write(&target, bytes)?;
        }
        if let Some(subject) = &contents.subject {
            durable::create_directories(&self.referrers_path(subject))?;
            mark(&self.referrers_path(subject).join(digest.file_name()))?;
            durable::sync(&self.root.join("referrers"))?;
        }
        let record = Record::new(contents, bytes.len() as u64);
        durable::write(&self.record_path(digest), &record.write())?;
        for tag in &placing.tags {
            self.move_tag(tag, digest)?;
        }
        Ok(record)
    }

    fn check_condition(&self, placing: &Placing) -> Result<(), RepositoryError> {
        match (&placing.instead_of, placing.tags.first()) {
            (Some(expected), Some(tag)) if self.resolve(tag)?.as_ref() != Some(expected) => {
                Err(RepositoryError::Moved)
            }
            _ => Ok(()),
        }
    }

    fn move_tag(&self, tag: &Tag, digest: &ContentDigest) -> Result<(), RepositoryError> {
        self.release(tag, Some(digest))?;
        Ok(durable::write(&self.tag_path(tag), digest.to_string().as_bytes())?)
    }

    /// What a tag leaves has its time without a tag from now on.
    fn release(&self, tag: &Tag, next: Option<&ContentDigest>) -> Result<(), RepositoryError> {
        if let Some(before) = self.resolve(tag)?.filter(|before| Some(before) != next) {
            touch(&self.record_path(&before));
        }
        Ok(())
    }

    /// What is known of a manifest of this repository.
    pub fn manifest(&self, digest: &ContentDigest) -> Result<Option<Record>, RepositoryError> {
        let path = self.record_path(digest);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(Record::read(&path, &bytes)?)),
            Err(error) if error.kind() == NotFound => Ok(None),
            Err(error) => Err(failed("read", &path)(error).into()),
        }
    }

    /// The digests of all manifests.
    pub fn manifests(&self) -> Result<Vec<ContentDigest>, RepositoryError> {
        let names = entries(&self.root.join("manifests"))?;
        Ok(names.iter().filter_map(|name| ContentDigest::of_file(name)).collect())
    }

    /// What a tag stands for.
    pub fn resolve(&self, tag: &Tag) -> Result<Option<ContentDigest>, RepositoryError> {
        let path = self.tag_path(tag);
        match fs::read_to_string(&path) {
            Ok(text) => match ContentDigest::parse(&text) {
                Some(digest) => Ok(Some(digest)),
                None => Err(damaged(&path, "it holds no digest").into()),
            },
            Err(error) if error.kind() == NotFound => Ok(None),
            Err(error) => Err(failed("read", &path)(error).into()),
        }
    }

    /// All tags in the order of their bytes.
    pub fn tags(&self) -> Result<BTreeSet<Tag>, RepositoryError> {
        let names = entries(&self.root.join("tags"))?;
        Ok(names.iter().filter_map(|name| Tag::new(name)).collect())
    }

    /// Takes a tag away; its manifest stays for a while.
    pub fn delete_tag(&self, tag: &Tag) -> Result<(), RepositoryError> {
        if !self.tag_path(tag).exists() {
            return Err(RepositoryError::Unknown { digest: tag.to_string() });
        }
        let _changing = self.changing()?;
        self.release(tag, None)?;
        remove(&self.tag_path(tag))
    }

    /// Takes a manifest away, and every tag that stands for it. One that an index lists stays.
    pub fn delete_manifest(&self, digest: &ContentDigest) -> Result<(), RepositoryError> {
        if !self.record_path(digest).exists() {
            return Err(RepositoryError::Unknown { digest: digest.to_string() });
        }
        let _changing = self.changing()?;
        let Some(record) = self.manifest(digest)? else {
            return Err(RepositoryError::Unknown { digest: digest.to_string() });
        };
        for other in self.manifests()? {
            if self.manifest(&other)?.is_some_and(|other| other.manifests.contains(digest)) {
                return Err(RepositoryError::Needed { by: other });
            }
        }
        for tag in self.tags()? {
            if self.resolve(&tag)?.as_ref() == Some(digest) {
                remove(&self.tag_path(&tag))?;
            }
        }
        remove(&self.record_path(digest))?;
        if let Some(subject) = &record.subject {
            remove(&self.referrers_path(subject).join(digest.file_name()))?;
        }
        Ok(())
    }
}

/// The names in a directory that may not be there; files that are being written are left out.
fn entries(directory: &Path) -> Result<Vec<String>, BuildError> {
    let read = match fs::read_dir(directory) {
        Ok(read) => read,
        Err(error) if error.kind() == NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("read", directory)(error)),
    };
    let mut names = Vec::new();
    for entry in read {
        let name = entry.map_err(failed("read", directory))?.file_name();
        names.extend(name.into_string().ok().filter(|name| !name.starts_with('.')));
    }
    Ok(names)
}

/// Makes an empty file that lasts, or renews the time of one that is there.
fn mark(path: &Path) -> Result<(), RepositoryError> {
    match File::create_new(path) {
        Ok(_) => Ok(durable::sync(path.parent().expect("below a repository"))?),
        Err(error) if error.kind() == AlreadyExists => {
            touch(path);
            Ok(())
        }
        Err(error) => Err(failed("write", path)(error).into()),
    }
}

fn remove(path: &Path) -> Result<(), RepositoryError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != NotFound => Err(failed("remove", path)(error).into()),
        _ => Ok(durable::sync(path.parent().expect("below a repository"))?),
    }
}

/// What cannot be touched keeps its old time, which only makes it go sooner.
fn touch(path: &Path) {
    if let Ok(file) = File::options().append(true).open(path) {
        let _ = file.set_modified(SystemTime::now());
    }
}

fn refresh(path: &Path) {
    let modified = fs::metadata(path).and_then(|m| m.modified());
    if modified.is_ok_and(|at| SystemTime::now().duration_since(at).unwrap_or_default() > REFRESH_AFTER) {
        touch(path);
    }
}

fn failed(doing: &str, path: &Path) -> impl FnOnce(std::io::Error) -> BuildError {
    BuildError::io(format!("{doing} {}", path.display()))
}

fn damaged(path: &Path, reason: impl ToString) -> BuildError {
    BuildError::Store { path: path.to_owned(), reason: reason.to_string() }
}
