//! From a plan to an image: a base layer of packages, an application layer, a configuration, a
//! manifest; in the layout and unpacked. A pure function of the plan and of verified packages.

use crate::archive::{Archive, ResolvedPackage, Wishes, host_architecture, is_package_name};
use crate::base_files;
use crate::deb;
use crate::document::{self, Config, Descriptor, History, Manifest, Platform, RootFs};
use crate::durable;
use crate::error::BuildError;
use crate::job::{Job, go_on};
use crate::layer::{self, Form, MEDIA_TYPE_ZSTD, Written};
use crate::layout;
use crate::plan::ImagePlan;
use crate::spool::Spool;
use crate::store::ImageStore;
use crate::tree::{Below, Node, NodeKind, Nothing, Tree};
use crate::unpack;
use model::Digest;
use model::image::BuiltImage;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counted up whenever the same inputs give other bytes, so that no older base is taken for it.
const ASSEMBLY_VERSION: u32 = 4;
/// Content of an application layer.
const MAX_APPLICATION_BYTES: u64 = 8 << 30;
const PARALLEL_PACKAGES: usize = 2;

/// How to assemble, beside what.
pub struct Options<'a> {
    pub job: Job<'a>,
    /// Ask the archive anew and make the base layer anew although one from the same inputs is
    /// there; when it differs in a single byte, that is an error.
    pub force_fresh: bool,
}

/// A base layer and what it was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Base {
    version: u32,
    diff_id: Digest,
    pub(crate) blob: Digest,
    size: u64,
    packages: Vec<ResolvedPackage>,
}

/// Makes the image of `plan`, telling `progress` what takes time.
pub fn assemble(
    plan: &ImagePlan,
    store: &ImageStore,
    progress: &dyn Fn(&str),
) -> Result<BuiltImage, BuildError> {
    assemble_with(plan, store, &Options { job: Job::unstoppable(progress), force_fresh: false })
}

/// The same with a way to stop it, and to distrust what is there.
pub fn assemble_with(
    plan: &ImagePlan,
    store: &ImageStore,
    options: &Options<'_>,
) -> Result<BuiltImage, BuildError> {
    check(plan)?;
    let _working = store.working()?;
    let base = match plan.packages.is_empty() {
        true => None,
        false => Some(base_layer(plan, store, options)?),
    };
    go_on(options.job.cancel)?;
    let app = app_layer(plan, store, base.as_ref(), options)?;
    finish(plan, store, base.as_ref(), app.as_ref())
}

fn check(plan: &ImagePlan) -> Result<(), BuildError> {
    for wanted in &plan.packages {
        let name = wanted.split_once('=').map_or(wanted.as_str(), |(name, _)| name);
        if !is_package_name(name) {
            return Err(BuildError::input_hint(
                format!("`{wanted}` is not the name of a Debian package"),
                "write it as `name` or `name=version`, in lower case",
            ));
        }
    }
    for user in &plan.users {
        let fields = [&user.name, &user.home, &user.shell];
        if user.name.is_empty() || fields.iter().any(|field| field.contains([':', '\n', '\0'])) {
            return Err(BuildError::input(format!("`{}` is not a usable account", user.name)));
        }
    }
    Ok(())
}

fn mtime(plan: &ImagePlan) -> u64 {
    u64::try_from(plan.created.0 / 1000).unwrap_or(0)
}

/// The base layer. A package that is gone was replaced since the archive's lists were read: they
/// are read again, once.
fn base_layer(plan: &ImagePlan, store: &ImageStore, options: &Options<'_>) -> Result<Base, BuildError> {
    match base_layer_from(plan, store, options, options.force_fresh) {
        Err(BuildError::Status { url, status: 404 }) if url.contains("/pool/") && !options.force_fresh => {
            options.job.say(&format!("{url} is gone; reading the archive's lists again"));
            base_layer_from(plan, store, options, true)
        }
        other => other,
    }
}

fn base_layer_from(
    plan: &ImagePlan,
    store: &ImageStore,
    options: &Options<'_>,
    refresh: bool,
) -> Result<Base, BuildError> {
    let job = &options.job;
    let wishes = Wishes { packages: &plan.packages, exclude: &plan.exclude };
    let (archive, packages) =
        Archive::resolved(&plan.archive, &wishes, &store.archive_cache(), store.http(), refresh, job)?;
    let mut extra = Tree::default();
    let mut spool = Spool::new(&store.temporary(), MAX_APPLICATION_BYTES)?;
    extra.add_entries(&plan.base_extra, &mut spool)?;
    let key = base_key(plan, &packages, &extra)?;
    let record = store.bases().join(key.hex());
    let _one_at_a_time = layout::lock_for_long(&record.with_extension("lock"), job.cancel)?;
    let known = known_base(store, &record, job);
    if let (Some(base), false) = (&known, options.force_fresh) {
        return Ok(base.clone());
    }
    let files = archive.fetch(&packages, job)?;
    job.say(&format!("assembling {} packages", packages.len()));
    let mut tree = Tree::default();
    for (package, content) in packages.iter().zip(read_packages(&files, &store.temporary(), job)?) {
        content.entries.into_iter().for_each(|(path, node)| tree.put(&path, node));
        tree.put(&format!("var/lib/dpkg/status.d/{}", package.name), Node::text(content.control));
    }
    base_files::complete(&mut tree, &plan.users, &plan.archive.suite)?;
    for (path, node) in extra.iter() {
        tree.put(&deb::merged(path), node.clone());
    }
    tree.settle(&Nothing)?;
    let written = write_layer(&tree, Form::InPieces, plan, store, job)?;
    let base =
        Base { version: 1, diff_id: written.diff_id, blob: written.blob, size: written.size, packages };
    if let Some(known) = known.filter(|known| known.diff_id != base.diff_id) {
        return Err(BuildError::Digest {
            what: "the base layer, assembled anew from the same inputs,".to_owned(),
            expected: known.diff_id.to_string(),
            found: base.diff_id.to_string(),
        });
    }
    durable::write(&record, &document::write(&base))?;
    Ok(base)
}

/// A base from the same inputs whose blob is there and whose directory is there or can be again.
fn known_base(store: &ImageStore, record: &Path, job: &Job<'_>) -> Option<Base> {
    let base: Base = serde_json::from_slice(&fs::read(record).ok()?).ok()?;
    if base.version != 1 || !store.layout().has(&base.blob) {
        return None;
    }
    store.unpack_blob(&base.blob, &base.diff_id, job.cancel).ok().map(|_| base)
}

/// The digest of everything that decides the bytes of a base layer.
fn base_key(plan: &ImagePlan, packages: &[ResolvedPackage], extra: &Tree) -> Result<Digest, BuildError> {
    use std::fmt::Write as _;
    let mut text = format!("{ASSEMBLY_VERSION}\n{}\n{}\n", mtime(plan), plan.archive.suite);
    for package in packages {
        let _ = writeln!(text, "package {} {}", package.name, package.sha256);
    }
    for user in &plan.users {
        let _ = writeln!(text, "user {user:?}");
    }
    for (path, node) in extra.iter() {
        let kind = match &node.kind {
            NodeKind::File(content) => {
                let bytes = content.read_all().map_err(BuildError::io(format!("read /{path}")))?;
                Digest::of(&bytes).to_string()
            }
            other => format!("{other:?}"),
        };
        let _ = writeln!(text, "entry {path:?} {:o} {} {} {kind}", node.mode, node.uid, node.gid);
    }
    Ok(Digest::of(text.as_bytes()))
}

/// Reads packages side by side; the results stand in the order of the files.
fn read_packages(
    files: &[PathBuf],
    temporary: &Path,
    job: &Job<'_>,
) -> Result<Vec<deb::Package>, BuildError> {
    let next = AtomicUsize::new(0);
    let results: Mutex<BTreeMap<usize, Result<deb::Package, BuildError>>> = Mutex::new(BTreeMap::new());
    let cancel = job.cancel;
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL_PACKAGES.min(files.len()) {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(file) = files.get(i) else { return };
                    let read = deb::read(file, temporary, cancel);
                    if read.is_err() {
                        next.store(files.len(), Ordering::Relaxed);
                    }
                    results.lock().expect("no reader panics while it holds this").insert(i, read);
                }
            });
        }
    });
    let results = results.into_inner().expect("no reader panics while it holds this");
    results.into_values().collect()
}

fn app_layer(
    plan: &ImagePlan,
    store: &ImageStore,
    base: Option<&Base>,
    options: &Options<'_>,
) -> Result<Option<Written>, BuildError> {
    let mut tree = Tree::default();
    let mut spool = Spool::new(&store.temporary(), MAX_APPLICATION_BYTES)?;
    if base.is_none() {
        tree.add_entries(&plan.base_extra, &mut spool)?;
    }
    tree.add_entries(&plan.app, &mut spool)?;
    match base {
        Some(_) if plan.app.is_empty() => return Ok(None),
        Some(base) => tree.settle(&BaseDirectory(store.layer_dir(&base.diff_id)?))?,
        None => {
            base_files::complete_scratch(&mut tree, &plan.users);
            tree.settle(&Nothing)?;
        }
    }
    write_layer(&tree, Form::Whole, plan, store, &options.job).map(Some)
}

/// The unpacked base layer as what lies below the application.
struct BaseDirectory(PathBuf);

impl Below for BaseDirectory {
    fn link(&self, path: &str) -> Option<String> {
        fs::read_link(self.0.join(path)).ok()?.into_os_string().into_string().ok()
    }
    fn directory(&self, path: &str) -> Option<(u32, u32, u32)> {
        let metadata = fs::symlink_metadata(self.0.join(path)).ok().filter(fs::Metadata::is_dir)?;
        Some((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()))
    }
}

/// Writes the blob and the directory of a layer at the same time, from the same contents.
fn write_layer(
    tree: &Tree,
    form: Form,
    plan: &ImagePlan,
    store: &ImageStore,
    job: &Job<'_>,
) -> Result<Written, BuildError> {
    let blob = store.layout().temporary();
    let directory = store.new_layer()?;
    let (cancel, mtime) = (job.cancel, mtime(plan));
    let written = std::thread::scope(|scope| {
        let packing = scope.spawn(|| layer::write(tree, form, mtime, &blob, cancel));
        let unpacked = unpack::tree_into(tree, mtime.cast_signed(), &directory.path, cancel);
        let written = packing.join().expect("writing a layer does not panic");
        unpacked.and(written)
    });
    let written = written.inspect_err(|_| {
        let _ = fs::remove_file(&blob);
    })?;
    store.layout().publish(&blob, &written.blob)?;
    store.publish_layer(directory, &written.diff_id)?;
    Ok(written)
}

fn finish(
    plan: &ImagePlan,
    store: &ImageStore,
    base: Option<&Base>,
    app: Option<&Written>,
) -> Result<BuiltImage, BuildError> {
    let created = document::date(plan.created);
    let mut layers = Vec::new();
    let mut diff_ids = Vec::new();
    let mut history = Vec::new();
    let parts =
        base.map(|b| (&b.diff_id, &b.blob, b.size, format!("juchu: packages {}", plan.packages.join(" "))));
    let app = app.map(|a| (&a.diff_id, &a.blob, a.size, "juchu: application".to_owned()));
    for (diff_id, blob, size, created_by) in parts.into_iter().chain(app) {
        layers.push(descriptor(MEDIA_TYPE_ZSTD, blob.clone(), size));
        diff_ids.push(diff_id.clone());
        history.push(History { created: created.clone(), created_by, empty_layer: false });
    }
    let platform =
        Platform { architecture: host_architecture().to_owned(), os: "linux".to_owned(), variant: None };
    let config = document::write(&Config {
        created: Some(created),
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: None,
        config: (&plan.config).into(),
        rootfs: RootFs { kind: "layers".to_owned(), diff_ids: diff_ids.clone() },
        history,
    });
    let layout = store.layout();
    let manifest = document::write(&Manifest {
        schema_version: 2,
        media_type: Some(document::MANIFEST.to_owned()),
        artifact_type: None,
        subject: None,
        config: descriptor(document::CONFIG, layout.put(&config)?, config.len() as u64),
        layers,
        annotations: BTreeMap::new(),
    });
    let digest = layout.put(&manifest)?;
    let mut entry = descriptor(document::MANIFEST, digest.clone(), manifest.len() as u64);
    entry.platform = Some(platform);
    layout.put_image(entry, None, &plan.origin)?;
    Ok(BuiltImage {
        manifest: digest,
        layers: diff_ids,
        config: plan.config.clone(),
        origin: plan.origin.clone(),
    })
}

pub(crate) fn descriptor(media_type: &str, digest: Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size,
        platform: None,
        annotations: BTreeMap::new(),
        artifact_type: None,
    }
}

#[cfg(test)]
mod tests;
