//! Images on this host: the layout, the unpacked layers, and the archive's cache.
//!
//! ```text
//! ROOT/oci/                 image layout: blobs/sha256/*, index.json
//! ROOT/layers*/HEX/         one unpacked layer, ready when HEX.ready stands beside it; see `ownership`
//! ROOT/bases/               what base layers were made from
//! ROOT/known/               what blobs pack to, and which repositories have them
//! ROOT/registry/            what others pushed here, see `repositories`
//! ROOT/archive/             signed lists, indexes, packages
//! ROOT/../registries.toml   what a person says about registries
//! ROOT/tmp/                 work that a crash may leave behind; emptied when nobody works
//! ```

use crate::assemble::Base;
use crate::compress::decompress;
use crate::durable;
use crate::error::BuildError;
use crate::http::Http;
use crate::layer::Hashing;
use crate::layout::{self, Layout, Swept};
use crate::ownership::Ownership;
use crate::repositories::Repositories;
use crate::unpack::{self, Limits};
use model::Digest;
use model::image::BuiltImage;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Packages and indexes that nothing has used for this long are taken away by `collect`.
const UNUSED_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
const UNPACK_BUFFER: usize = 128 << 10;
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

pub struct ImageStore {
    root: PathBuf,
    layout: Layout,
    http: Http,
    limits: Limits,
    boot: String,
    ownership: Ownership,
}

/// Beside an unpacked layer. Its files are not synced one by one, which would take seconds; after
/// a restart of the machine a layer that was never synced is unpacked anew from its blob.
#[derive(Serialize, Deserialize)]
struct Ready {
    version: u32,
    boot: String,
    synced: bool,
}

/// While one is held, nothing is collected.
pub struct Working(#[expect(dead_code, reason = "the lock is released when it is dropped")] File);

impl ImageStore {
    /// Opens the store below `root`, making it where it is missing.
    pub fn open(root: &Path) -> Result<Self, BuildError> {
        for directory in ["bases", "archive"] {
            durable::create_directories(&root.join(directory))?;
        }
        let ownership = Ownership::of_process();
        // Layers hold programs that run as root whoever starts them, and old ones at that; only through
        // a container does anybody get at them.
        for directory in [ownership.directory(), "tmp"] {
            durable::private_directory(&root.join(directory))?;
        }
        let boot = fs::read_to_string(BOOT_ID).map_err(BuildError::io(format!("read {BOOT_ID}")))?;
        let store = Self {
            root: root.to_owned(),
            layout: Layout::open(&root.join("oci"))?,
            http: Http::new(),
            limits: Limits::default(),
            boot: boot.trim().to_owned(),
            ownership,
        };
        store.empty_temporary()?;
        Ok(store)
    }

    /// Other bounds on what a fetched layer may become.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Other limits on how long a server may take.
    #[cfg(test)]
    pub(crate) fn with_patience(mut self, patience: crate::http::Patience) -> Self {
        self.http = Http::with_patience(patience);
        self
    }

    pub fn root(&self) -> &Path {
        &self.root
    }
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
    pub(crate) fn http(&self) -> &Http {
        &self.http
    }
    /// What is special about registries on this machine: a file beside the store's directory.
    pub(crate) fn registries(&self) -> PathBuf {
        self.root.parent().unwrap_or(&self.root).join("registries.toml")
    }
    pub(crate) fn archive_cache(&self) -> PathBuf {
        self.root.join("archive")
    }
    pub(crate) fn known_blobs(&self) -> PathBuf {
        self.root.join("known")
    }
    pub(crate) fn bases(&self) -> PathBuf {
        self.root.join("bases")
    }
    pub(crate) fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Keeps `collect` away; every operation that adds an image holds one.
    pub fn working(&self) -> Result<Working, BuildError> {
        layout::lock(&self.root.join("lock"), FlockOperation::LockShared).map(Working)
    }

    /// Whether somebody is adding an image at this moment.
    pub fn is_busy(&self) -> Result<bool, BuildError> {
        match layout::lock(&self.root.join("lock"), FlockOperation::NonBlockingLockExclusive) {
            Ok(_) => Ok(false),
            Err(BuildError::Io { source, .. }) if source.kind() == std::io::ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The image with this manifest.
    pub fn image(&self, manifest: &Digest) -> Result<Option<BuiltImage>, BuildError> {
        self.layout.get_image(manifest)
    }

    /// The image that was last stored under `name`.
    pub fn image_named(&self, name: &str) -> Result<Option<BuiltImage>, BuildError> {
        match self.layout.named(name)? {
            Some(manifest) => self.layout.get_image(&manifest),
            None => Ok(None),
        }
    }

    /// Gives an image that is in the store a name; the name leaves any other image.
    pub fn tag(&self, name: &str, manifest: &Digest) -> Result<(), BuildError> {
        self.layout.tag(name, manifest)
    }

    /// Forgets a name; its image stays.
    pub fn untag(&self, name: &str) -> Result<(), BuildError> {
        self.layout.untag(name)
    }

    /// Forgets an image under all its names; `collect` frees what it took.
    pub fn remove(&self, manifest: &Digest) -> Result<(), BuildError> {
        self.layout.remove(manifest)
    }

    /// The directory of a layer, unpacked from its blob where it is not there already.
    pub fn layer_dir(&self, diff_id: &Digest) -> Result<PathBuf, BuildError> {
        if self.is_ready(diff_id) {
            return Ok(self.layer_path(diff_id));
        }
        let _working = self.working()?;
        let missing = || BuildError::Store {
            path: self.root.clone(),
            reason: format!("there is no blob of the layer {diff_id}"),
        };
        // An image may lie about which blob a layer comes from; another one then says it rightly.
        let mut failure = missing();
        for (_, blob) in self.layout.layer_blobs()?.into_iter().filter(|(layer, _)| layer == diff_id) {
            match self.unpack_blob(&blob, diff_id, &AtomicBool::new(false)) {
                Ok(_) => return Ok(self.layer_path(diff_id)),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Whether the layer can be used as it is.
    pub fn is_ready(&self, diff_id: &Digest) -> bool {
        let read =
            || -> Option<Ready> { serde_json::from_slice(&fs::read(self.ready_path(diff_id)).ok()?).ok() };
        read().is_some_and(|ready| ready.version == 1 && (ready.synced || ready.boot == self.boot))
            && self.layer_path(diff_id).is_dir()
    }

    /// Where the layers are that this process has unpacked, or one like it.
    fn layers(&self) -> PathBuf {
        self.root.join(self.ownership.directory())
    }
    fn layer_path(&self, diff_id: &Digest) -> PathBuf {
        self.layers().join(diff_id.hex())
    }
    fn ready_path(&self, diff_id: &Digest) -> PathBuf {
        self.layers().join(format!("{}.ready", diff_id.hex()))
    }

    /// An empty directory on the file system of the layers.
    pub(crate) fn new_layer(&self) -> Result<Unfinished, BuildError> {
        // Of the process, not of the store: two may be open on one directory.
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = self.temporary().join(format!("layer-{}-{number}", std::process::id()));
        if path.exists() {
            fs::remove_dir_all(&path).map_err(BuildError::io(format!("remove {}", path.display())))?;
        }
        fs::create_dir(&path).map_err(BuildError::io(format!("create {}", path.display())))?;
        Ok(Unfinished { path })
    }

    /// Puts an unpacked layer in its place. One that is there and ready stays.
    pub(crate) fn publish_layer(&self, layer: Unfinished, diff_id: &Digest) -> Result<(), BuildError> {
        let _guard = layout::lock(&self.root.join("layers.lock"), FlockOperation::LockExclusive)?;
        if self.is_ready(diff_id) {
            return Ok(());
        }
        let path = self.layer_path(diff_id);
        let failed = || BuildError::io(format!("put the layer {} in place", path.display()));
        if path.exists() {
            // Left behind by a crash, or from before a restart of the machine: nothing runs from it.
            let old = self.new_layer()?;
            fs::rename(&path, old.path.join("old")).map_err(failed())?;
        }
        fs::rename(&layer.path, &path).map_err(failed())?;
        self.write_ready(diff_id, false)
    }

    fn write_ready(&self, diff_id: &Digest, synced: bool) -> Result<(), BuildError> {
        let ready = Ready { version: 1, boot: self.boot.clone(), synced };
        durable::write(&self.ready_path(diff_id), &serde_json::to_vec(&ready).expect("plain data"))
    }

    /// Unpacks a blob and checks that it is the layer it should be. Answers what was left out.
    pub(crate) fn unpack_blob(
        &self,
        blob: &Digest,
        diff_id: &Digest,
        cancel: &AtomicBool,
    ) -> Result<Vec<String>, BuildError> {
        if self.is_ready(diff_id) {
            return Ok(Vec::new());
        }
        let path = self.layout.blob_path(blob);
        let failed = || BuildError::io(format!("read {}", path.display()));
        let file = File::open(&path).map_err(failed())?;
        let packed = file.metadata().map_err(failed())?.len();
        let (layer, notes) = self.unpack_stream(file, packed, blob, diff_id, cancel)?;
        self.publish_layer(layer, diff_id)?;
        Ok(notes)
    }

    /// Unpacks a blob of `size` bytes from wherever it comes, for `publish_layer`, and checks that
    /// it is the layer it should be. Answers what was left out as well.
    pub(crate) fn unpack_stream(
        &self,
        packed: impl Read,
        size: u64,
        blob: &Digest,
        diff_id: &Digest,
        cancel: &AtomicBool,
    ) -> Result<(Unfinished, Vec<String>), BuildError> {
        let packed = BufReader::with_capacity(UNPACK_BUFFER, packed);
        let mut stream = Hashing::new(decompress(packed).map_err(BuildError::io("read a layer"))?);
        let layer = self.new_layer()?;
        let notes =
            unpack::stream_into(&mut stream as &mut dyn Read, size, &layer.path, self.limits, cancel)?;
        let (_, found, _) = stream.finish();
        if found != *diff_id {
            let what = format!("the content of the layer {blob}");
            return Err(BuildError::Digest { what, expected: diff_id.to_string(), found: found.to_string() });
        }
        Ok((layer, notes))
    }

    /// Makes every unpacked layer survive a restart of the machine. It takes as long as the disk
    /// needs to write what is pending, so it is for a quiet moment; without it nothing is lost, the
    /// layers are unpacked once more.
    pub fn settle(&self) -> Result<(), BuildError> {
        let directory = self.layers();
        let failed = || BuildError::io(format!("sync {}", directory.display()));
        let mut pending = Vec::new();
        for entry in fs::read_dir(&directory).map_err(failed())? {
            let name = entry.map_err(failed())?.file_name();
            let digest = name.to_str().and_then(|name| Digest::new(format!("sha256:{name}")).ok());
            let Some(digest) = digest.filter(|digest| self.is_ready(digest)) else { continue };
            let ready = fs::read(self.ready_path(&digest)).map_err(failed())?;
            if serde_json::from_slice::<Ready>(&ready).is_ok_and(|ready| !ready.synced) {
                pending.push(digest);
            }
        }
        if pending.is_empty() {
            return Ok(());
        }
        let opened = File::open(&directory).map_err(failed())?;
        rustix::fs::syncfs(&opened).map_err(|e| failed()(e.into()))?;
        pending.iter().try_for_each(|digest| self.write_ready(digest, true))
    }

    /// Removes every image that is neither in `keep` (manifest digests) nor younger than `grace`,
    /// what was pushed here and nothing holds any more, their layers, and packages and indexes that nothing has used for a month. Waits for builds to end.
    pub fn collect(&self, keep: &BTreeSet<Digest>, grace: Duration) -> Result<Swept, BuildError> {
        let _guard = layout::lock(&self.root.join("lock"), FlockOperation::LockExclusive)?;
        let repositories = Repositories::of(&self.root);
        let pushed = repositories.judge(SystemTime::now()).map_err(BuildError::repositories)?;
        // What points at blobs goes before the blobs.
        repositories.carry_out(&pushed).map_err(BuildError::repositories)?;
        let mut swept = self.layout.collect(keep, grace, &pushed.used)?;
        let used: BTreeSet<String> =
            self.layout.layer_blobs()?.iter().map(|(d, _)| d.hex().to_owned()).collect();
        for layers in Ownership::ALL.map(|ownership| self.root.join(ownership.directory())) {
            swept.files += sweep_layers(&layers, &used)?;
        }
        for kind in ["packages", "index", "resolved"] {
            swept += sweep_unused(&self.archive_cache().join(kind))?;
        }
        swept += layout::sweep(&self.bases(), |name| self.is_base_there(name))?;
        if self.known_blobs().exists() {
            let is_there = |name: &str| self.layout.root().join("blobs/sha256").join(name).exists();
            swept += layout::sweep(&self.known_blobs(), is_there)?;
        }
        clear(&self.temporary())?;
        Ok(swept)
    }

    /// The images that `collect` would remove, and what their packed layers take.
    pub fn would_collect(
        &self,
        keep: &BTreeSet<Digest>,
        grace: Duration,
    ) -> Result<(BTreeSet<Digest>, Swept), BuildError> {
        let pushed =
            Repositories::of(&self.root).judge(SystemTime::now()).map_err(BuildError::repositories)?;
        self.layout.would_collect(keep, grace, &pushed.used)
    }

    /// Whether the blob that a record of a base, or its lock, speaks of is there.
    fn is_base_there(&self, name: &str) -> bool {
        let name = name.strip_suffix(".lock").unwrap_or(name);
        let record: Option<Base> =
            fs::read(self.bases().join(name)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        record.is_some_and(|base| self.layout.has(&base.blob))
    }

    /// What a crash has left, unless somebody is at work.
    fn empty_temporary(&self) -> Result<(), BuildError> {
        match layout::lock(&self.root.join("lock"), FlockOperation::NonBlockingLockExclusive) {
            Ok(_guard) => clear(&self.temporary()),
            Err(BuildError::Io { source, .. }) if source.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn clear(directory: &Path) -> Result<(), BuildError> {
    let failed = || BuildError::io(format!("clean {}", directory.display()));
    for entry in fs::read_dir(directory).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        match entry.file_type().map_err(failed())?.is_dir() {
            true => fs::remove_dir_all(entry.path()).map_err(failed())?,
            false => fs::remove_file(entry.path()).map_err(failed())?,
        }
    }
    Ok(())
}

/// Removes unpacked layers that no image has; answers how many files and directories.
fn sweep_layers(layers: &Path, used: &BTreeSet<String>) -> Result<u64, BuildError> {
    let failed = || BuildError::io(format!("clean {}", layers.display()));
    if !layers.exists() {
        return Ok(0);
    }
    let mut files = 0;
    for entry in fs::read_dir(layers).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let hex = name.strip_suffix(".ready").unwrap_or(&name);
        if used.contains(hex) {
            continue;
        }
        files += 1;
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => fs::remove_dir_all(entry.path()).map_err(failed())?,
            false => fs::remove_file(entry.path()).map_err(failed())?,
        }
    }
    Ok(files)
}

/// Removes what nothing has used for a while; `durable::touch` marks use.
fn sweep_unused(directory: &Path) -> Result<Swept, BuildError> {
    if !directory.exists() {
        return Ok(Swept::default());
    }
    let now = SystemTime::now();
    layout::sweep(directory, |name| {
        let used = fs::metadata(directory.join(name)).and_then(|m| m.modified());
        used.is_ok_and(|at| now.duration_since(at).unwrap_or_default() < UNUSED_FOR)
    })
}

/// A layer that is being unpacked; it goes away unless it is published.
pub(crate) struct Unfinished {
    pub path: PathBuf,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.path.exists() {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
