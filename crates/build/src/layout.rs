//! The OCI image layout on disk: blobs by digest, and an index that names images. Other tools read
//! it as it is (`skopeo inspect oci:DIR:NAME`).

use crate::document::{self, Config, Descriptor, Index, Manifest};
use crate::durable;
use crate::error::BuildError;
use crate::job::go_on;
use crate::repositories::{Algorithm, ContentDigest};
use model::Digest;
use model::image::BuiltImage;
use rustix::fs::{FlockOperation, flock};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
pub const ORIGIN: &str = "dev.juchu.origin";
/// The image that a document of the index belongs to.
const SUBJECT: &str = "dev.juchu.subject";
/// Manifests and configurations larger than this are refused.
pub const MAX_DOCUMENT_BYTES: u64 = 8 << 20;
/// The same for what stands beside an image: a list of all its packages.
const MAX_ATTACHED_BYTES: u64 = 256 << 20;

pub struct Layout {
    root: PathBuf,
}

/// The names of the blobs' files that are needed.
type Used = BTreeMap<Algorithm, BTreeSet<String>>;

/// How often a long wait for a lock looks again.
const LOCK_POLL: Duration = Duration::from_millis(10);

/// What `Layout::collect` took away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    pub files: u64,
    pub bytes: u64,
}

impl std::ops::AddAssign for Swept {
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
    }
}

impl Layout {
    pub fn open(root: &Path) -> Result<Self, BuildError> {
        durable::create_directories(&root.join("blobs/sha256"))?;
        let marker = root.join("oci-layout");
        if !marker.exists() {
            durable::write(&marker, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        let layout = Self { root: root.to_owned() };
        let _guard = layout.lock()?;
        if !layout.index_path().exists() {
            layout.write_index(&Index {
                schema_version: 2,
                media_type: Some(document::INDEX.to_owned()),
                manifests: Vec::new(),
            })?;
        }
        Ok(layout)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }
    pub fn has(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_file()
    }
    /// A name in the blobs' directory for a file that is being written.
    pub fn temporary(&self) -> PathBuf {
        durable::temporary_beside(&self.root.join("blobs/sha256/blob"))
    }
    /// Makes a finished, synced temporary file the blob it is.
    pub fn publish(&self, temporary: &Path, digest: &Digest) -> Result<(), BuildError> {
        durable::publish(temporary, &self.blob_path(digest))
    }

    pub fn put(&self, bytes: &[u8]) -> Result<Digest, BuildError> {
        let digest = Digest::of(bytes);
        if !self.has(&digest) {
            durable::write(&self.blob_path(&digest), bytes)?;
        }
        Ok(digest)
    }

    /// A document by its digest, which is checked.
    pub fn document<T: serde::de::DeserializeOwned>(&self, digest: &Digest) -> Result<T, BuildError> {
        let path = self.blob_path(digest);
        let bytes = fs::read(&path).map_err(BuildError::io(format!("read {}", path.display())))?;
        if Digest::of(&bytes) != *digest {
            return Err(self.damaged(format!("the blob {digest} has other content")));
        }
        document::read(&format!("the document {digest}"), &bytes)
    }

    /// The bytes of a blob of at most `MAX_ATTACHED_BYTES`, checked.
    pub fn bytes(&self, digest: &Digest) -> Result<Vec<u8>, BuildError> {
        let path = self.blob_path(digest);
        let bytes = File::open(&path).and_then(|file| {
            let mut bytes = Vec::new();
            file.take(MAX_ATTACHED_BYTES).read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        let bytes = bytes.map_err(BuildError::io(format!("read {}", path.display())))?;
        match Digest::of(&bytes) == *digest {
            true => Ok(bytes),
            false => Err(self.damaged(format!("the blob {digest} has other content"))),
        }
    }

    fn damaged(&self, reason: String) -> BuildError {
        BuildError::Store { path: self.root.clone(), reason }
    }

    /// Adds an image whose blobs are all there, under a name or without one. A name moves.
    pub fn put_image(
        &self,
        manifest: Descriptor,
        name: Option<&str>,
        origin: &str,
    ) -> Result<(), BuildError> {
        let mut entry = manifest;
        entry.annotations.insert(ORIGIN.to_owned(), origin.to_owned());
        entry.annotations.remove(REF_NAME);
        if let Some(name) = name {
            entry.annotations.insert(REF_NAME.to_owned(), name.to_owned());
        }
        self.change_index(|index| {
            match name {
                Some(name) => take_name(index, name, &entry.digest),
                None => {
                    index.manifests.retain(|other| ref_name(other).is_some() || other.digest != entry.digest)
                }
            }
            index.manifests.push(entry);
        })
    }

    /// The manifest that a name stands for.
    pub fn named(&self, name: &str) -> Result<Option<Digest>, BuildError> {
        let index = self.index()?;
        Ok(index.manifests.into_iter().find(|entry| ref_name(entry) == Some(name)).map(|entry| entry.digest))
    }

    /// Adds documents that belong to an image, in place of earlier ones of their types (signatures
    /// stand side by side), and annotations to what the index says of it.
    pub fn put_referrers(
        &self,
        documents: Vec<Descriptor>,
        subject: &Digest,
        annotations: &BTreeMap<String, String>,
    ) -> Result<(), BuildError> {
        self.change_index(|index| {
            for entry in index.manifests.iter_mut().filter(|entry| entry.digest == *subject) {
                entry.annotations.extend(annotations.clone());
            }
            for mut document in documents {
                document.annotations.insert(SUBJECT.to_owned(), subject.to_string());
                let stays = document.artifact_type.as_deref() == Some(crate::sign::BUNDLE);
                index.manifests.retain(|other| {
                    Self::subject_of(other) != Some(subject.as_str())
                        || other.artifact_type != document.artifact_type
                        || (stays && other.digest != document.digest)
                });
                index.manifests.push(document);
            }
        })
    }

    /// The image that an entry of the index belongs to, if it is no image itself.
    pub fn subject_of(entry: &Descriptor) -> Option<&str> {
        entry.annotations.get(SUBJECT).map(String::as_str)
    }

    /// Everything in the index, in the order in which it came.
    pub fn entries(&self) -> Result<Vec<Descriptor>, BuildError> {
        Ok(self.index()?.manifests)
    }

    /// Names and manifests of images, in the order in which they came.
    pub fn list(&self) -> Result<Vec<(Option<String>, Digest)>, BuildError> {
        let images = self.index()?.manifests.into_iter().filter(|entry| entry.artifact_type.is_none());
        Ok(images.map(|e| (ref_name(&e).map(str::to_owned), e.digest)).collect())
    }

    /// The image with this manifest, if it is in the index.
    pub fn get_image(&self, manifest: &Digest) -> Result<Option<BuiltImage>, BuildError> {
        let index = self.index()?;
        let is_it = |entry: &&Descriptor| entry.digest == *manifest && entry.artifact_type.is_none();
        let Some(entry) = index.manifests.iter().find(is_it) else {
            return Ok(None);
        };
        let origin = entry.annotations.get(ORIGIN).cloned().unwrap_or_default();
        let document: Manifest = self.document(manifest)?;
        let config: Config = self.document(&document.config.digest)?;
        Ok(Some(BuiltImage {
            manifest: manifest.clone(),
            layers: config.rootfs.diff_ids,
            config: config.config.into(),
            origin,
        }))
    }

    /// Gives an image that is in the index one more name.
    pub fn tag(&self, name: &str, manifest: &Digest) -> Result<(), BuildError> {
        let index = self.index()?;
        let Some(entry) = index.manifests.iter().find(|entry| entry.digest == *manifest) else {
            return Err(self.damaged(format!("there is no image {manifest} to be named {name}")));
        };
        let origin = entry.annotations.get(ORIGIN).cloned().unwrap_or_default();
        self.put_image(entry.clone(), Some(name), &origin)
    }

    /// Takes a name away from its image, which stays, under no name if it has no other.
    pub fn untag(&self, name: &str) -> Result<(), BuildError> {
        self.change_index(|index| take_name_away(index, name))
    }

    /// Forgets an image under all its names; its blobs stay until they are collected.
    pub fn remove(&self, manifest: &Digest) -> Result<(), BuildError> {
        self.change_index(|index| {
            index.manifests.retain(|entry| {
                entry.digest != *manifest && Self::subject_of(entry) != Some(manifest.as_str())
            });
        })
    }

    /// Each layer of an image in the index: its uncompressed digest and that of its blob.
    pub fn layer_blobs(&self) -> Result<BTreeSet<(Digest, Digest)>, BuildError> {
        let mut blobs = BTreeSet::new();
        for entry in self.index()?.manifests.into_iter().filter(|entry| entry.artifact_type.is_none()) {
            let manifest: Manifest = self.document(&entry.digest)?;
            let config: Config = self.document(&manifest.config.digest)?;
            blobs.extend(
                config.rootfs.diff_ids.into_iter().zip(manifest.layers.into_iter().map(|l| l.digest)),
            );
        }
        Ok(blobs)
    }

    /// Keeps the images in `keep`, those younger than `grace`, and the blobs in `pushed`, and removes
    /// every other blob. The caller makes sure that nobody is adding an image.
    pub fn collect(
        &self,
        keep: &BTreeSet<Digest>,
        grace: Duration,
        pushed: &BTreeSet<ContentDigest>,
    ) -> Result<Swept, BuildError> {
        self.change_index(|index| self.retain(index, keep, grace))?;
        let used = self.used(&self.index()?, pushed)?;
        let mut swept = Swept::default();
        for (directory, used) in self.blob_directories(&used) {
            swept += sweep(&directory, |name| used.contains(name))?;
        }
        Ok(swept)
    }

    /// The images that `collect` would remove, and what that would free, changing nothing.
    pub fn would_collect(
        &self,
        keep: &BTreeSet<Digest>,
        grace: Duration,
        pushed: &BTreeSet<ContentDigest>,
    ) -> Result<(BTreeSet<Digest>, Swept), BuildError> {
        let mut index = self.index()?;
        let images = |index: &Index| -> BTreeSet<Digest> {
            let images = index.manifests.iter().filter(|entry| entry.artifact_type.is_none());
            images.map(|entry| entry.digest.clone()).collect()
        };
        let before = images(&index);
        self.retain(&mut index, keep, grace);
        let used = self.used(&index, pushed)?;
        let mut swept = Swept::default();
        for (directory, used) in self.blob_directories(&used) {
            let failed = || BuildError::io(format!("read {}", directory.display()));
            for entry in fs::read_dir(&directory).map_err(failed())? {
                let entry = entry.map_err(failed())?;
                if !entry.file_name().to_str().is_some_and(|name| used.contains(name)) {
                    swept.files += 1;
                    swept.bytes += entry.metadata().map_or(0, |m| m.len());
                }
            }
        }
        Ok((before.difference(&images(&index)).cloned().collect(), swept))
    }

    fn retain(&self, index: &mut Index, keep: &BTreeSet<Digest>, grace: Duration) {
        let now = SystemTime::now();
        let stays = |entry: &Descriptor| {
            keep.contains(&entry.digest) || is_young(&self.blob_path(&entry.digest), now, grace)
        };
        let images = index.manifests.iter().filter(|entry| entry.artifact_type.is_none() && stays(entry));
        let images: BTreeSet<String> = images.map(|entry| entry.digest.to_string()).collect();
        // What belongs to an image goes with it.
        index.manifests.retain(|entry| match Self::subject_of(entry) {
            Some(subject) => images.contains(subject),
            None => images.contains(entry.digest.as_str()),
        });
    }

    /// The blobs that the images and documents of an index are made of, and those that were pushed.
    fn used(&self, index: &Index, pushed: &BTreeSet<ContentDigest>) -> Result<Used, BuildError> {
        let mut used = Used::new();
        let mut insert = |digest: &ContentDigest| {
            used.entry(digest.algorithm()).or_default().insert(digest.hex().to_owned())
        };
        for entry in &index.manifests {
            let manifest: Manifest = self.document(&entry.digest)?;
            let layers = manifest.layers.iter().map(|layer| &layer.digest);
            for digest in layers.chain([&entry.digest, &manifest.config.digest]) {
                insert(&digest.into());
            }
        }
        for digest in pushed {
            insert(digest);
        }
        Ok(used)
    }

    /// The directories of blobs that are there, with what of each is used.
    fn blob_directories(&self, used: &Used) -> Vec<(PathBuf, BTreeSet<String>)> {
        let directories = Algorithm::ALL.into_iter().map(|algorithm| {
            let directory = self.root.join("blobs").join(algorithm.name());
            (directory, used.get(&algorithm).cloned().unwrap_or_default())
        });
        directories.filter(|(directory, _)| directory.is_dir()).collect()
    }

    /// Makes an image young again, so that `collect` leaves it alone for its grace.
    pub fn touch(&self, manifest: &Digest) -> Result<(), BuildError> {
        let path = self.blob_path(manifest);
        let touched =
            File::options().append(true).open(&path).and_then(|f| f.set_modified(SystemTime::now()));
        touched.map_err(BuildError::io(format!("mark {} as used", path.display())))
    }

    fn index_path(&self) -> PathBuf {
        self.root.join("index.json")
    }

    fn index(&self) -> Result<Index, BuildError> {
        let path = self.index_path();
        let bytes = fs::read(&path).map_err(BuildError::io(format!("read {}", path.display())))?;
        serde_json::from_slice(&bytes).map_err(|error| self.damaged(format!("index.json: {error}")))
    }

    fn write_index(&self, index: &Index) -> Result<(), BuildError> {
        durable::write(&self.index_path(), &document::write(index))
    }

    fn change_index(&self, change: impl FnOnce(&mut Index)) -> Result<(), BuildError> {
        let _guard = self.lock()?;
        let mut index = self.index()?;
        let before = index.clone();
        change(&mut index);
        if index == before {
            return Ok(());
        }
        self.write_index(&index)
    }

    fn lock(&self) -> Result<File, BuildError> {
        lock(&self.root.join(".lock"), FlockOperation::LockExclusive)
    }
}

pub fn ref_name(entry: &Descriptor) -> Option<&str> {
    entry.annotations.get(REF_NAME).map(String::as_str)
}

/// The image that had the name stays, under no name: a release may need it.
fn take_name_away(index: &mut Index, name: &str) {
    let Some(at) = index.manifests.iter().position(|entry| ref_name(entry) == Some(name)) else {
        return;
    };
    let mut entry = index.manifests.remove(at);
    entry.annotations.remove(REF_NAME);
    if !index.manifests.iter().any(|other| other.digest == entry.digest) {
        index.manifests.push(entry);
    }
}

/// The same for a name that another image is about to get.
fn take_name(index: &mut Index, name: &str, next: &Digest) {
    let is_same = |entry: &Descriptor| ref_name(entry) == Some(name) && entry.digest == *next;
    index.manifests.retain(|entry| !is_same(entry));
    take_name_away(index, name);
}

/// As `lock`, exclusively, for waits that may be long: they end when the job is stopped.
pub fn lock_for_long(path: &Path, cancel: &AtomicBool) -> Result<File, BuildError> {
    loop {
        match lock(path, FlockOperation::NonBlockingLockExclusive) {
            Err(BuildError::Io { source, .. }) if source.kind() == std::io::ErrorKind::WouldBlock => {}
            other => return other,
        }
        go_on(cancel)?;
        std::thread::sleep(LOCK_POLL);
    }
}

/// Holds a lock for as long as the file lives.
pub fn lock(path: &Path, operation: FlockOperation) -> Result<File, BuildError> {
    let failed = || BuildError::io(format!("lock {}", path.display()));
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(failed())?;
    loop {
        match flock(&file, operation) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(failed()(error.into())),
            Ok(()) => return Ok(file),
        }
    }
}

fn is_young(path: &Path, now: SystemTime, grace: Duration) -> bool {
    let modified = fs::metadata(path).and_then(|m| m.modified());
    modified.is_ok_and(|at| now.duration_since(at).unwrap_or_default() < grace)
}

/// Removes the files of a directory that `is_used` does not want.
pub fn sweep(directory: &Path, is_used: impl Fn(&str) -> bool) -> Result<Swept, BuildError> {
    let failed = || BuildError::io(format!("clean {}", directory.display()));
    let mut swept = Swept::default();
    for entry in fs::read_dir(directory).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let name = entry.file_name();
        if name.to_str().is_some_and(&is_used) {
            continue;
        }
        swept.bytes += entry.metadata().map_or(0, |m| m.len());
        swept.files += 1;
        fs::remove_file(entry.path()).map_err(failed())?;
    }
    Ok(swept)
}
