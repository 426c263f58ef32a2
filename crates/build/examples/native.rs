//! Times of native builds, for `cargo xtask bench image`: each call is one process, as a build is.
//!
//! `native service PROJECT WORK`: plans and assembles, from downloads kept in WORK, into a new
//! store; then once more after the project's own files changed.
//! `native layer DIRECTORY WORK`: one layer from the files of a directory.

use build::archive::ArchiveChoice;
use build::kinds::{Context, Machine, NoRunner, plan_image};
use build::{Entry, EntryKind, ImagePlan, ImageStore, Job, Source, assemble};
use model::image::{BuildSpec, Builder, BuiltImage, ImageConfig, NativeImage};
use model::{Digest, Timestamp};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["service", project, work] => service(Path::new(project), Path::new(work)),
        ["layer", directory, work] => layer(Path::new(directory), Path::new(work)),
        _ => {
            eprintln!("usage: native service PROJECT WORK | native layer DIRECTORY WORK");
            std::process::exit(2);
        }
    }
}

/// A store without any image, with the downloads of earlier calls.
fn store(work: &Path) -> ImageStore {
    let root = work.join(format!("store-{}", std::process::id()));
    fs::create_dir_all(work.join("archive")).expect("the work directory can be written");
    fs::create_dir_all(&root).expect("the work directory can be written");
    let _ = std::os::unix::fs::symlink(work.join("archive"), root.join("archive"));
    ImageStore::open(&root).expect("a new store opens")
}

fn plan(project: &Path, work: &Path) -> ImagePlan {
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    let job = Job::unstoppable(&|_| {});
    let context = Context {
        cache: &work.join("cache"),
        environment: &environment,
        runner: &NoRunner,
        job: &job,
        archive: ArchiveChoice::default(),
        machine: Machine::host(),
        states_command: false,
    };
    let spec = BuildSpec {
        context: Some(project.to_owned()),
        builder: Builder::Native,
        dockerfile: None,
        dockerfile_inline: None,
        target: None,
        args: BTreeMap::new(),
        labels: BTreeMap::new(),
        image: NativeImage::default(),
        ..BuildSpec::default()
    };
    plan_image(&spec, &context).unwrap_or_else(|error| panic!("{}", error.report())).plan
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (start, processor) = (Instant::now(), processor_ms());
    let done = work();
    let wall = start.elapsed().as_secs_f64() * 1000.0;
    println!("{what} {wall:.3} ms {:.3} ms of processor time", processor_ms() - processor);
    done
}

/// Of this process, all threads.
fn processor_ms() -> f64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    used.tv_sec as f64 * 1000.0 + used.tv_nsec as f64 / 1e6
}

fn service(project: &Path, work: &Path) {
    let store = store(work);
    let planned = timed("plan", || plan(project, work));
    let image = timed("assembly", || assemble(&planned, &store, &|_| {}).expect("an image"));
    println!("digest {}", image.manifest);
    sizes(&store, &image);
    let mut changed = planned;
    changed.app.push(Entry {
        path: "/app/changed.txt".to_owned(),
        kind: EntryKind::File(Source::Bytes(b"changed\n"[..].into())),
        mode: 0o644,
        uid: 0,
        gid: 0,
    });
    timed("application-only", || assemble(&changed, &store, &|_| {}).expect("an image"));
    drop(store);
    remove(work);
}

/// The bytes of all layers, packed and as files.
fn sizes(store: &ImageStore, image: &BuiltImage) {
    let blobs = store.root().join("oci/blobs/sha256");
    let blobs = fs::read_dir(blobs).into_iter().flatten().flatten();
    let packed: u64 = blobs.filter_map(|blob| Some(blob.metadata().ok()?.len())).sum();
    let layers = image.layers.iter().map(|layer| store.layer_dir(layer).expect("it was made"));
    println!("packed {packed}");
    println!("unpacked {}", layers.map(|directory| bytes_below(&directory)).sum::<u64>());
}

fn bytes_below(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) if metadata.is_file() => metadata.len(),
            _ => 0,
        })
        .sum()
}

fn layer(directory: &Path, work: &Path) {
    let store = store(work);
    let mut app = Vec::new();
    collect(directory, Path::new("/"), &mut app);
    let plan = ImagePlan {
        packages: Vec::new(),
        exclude: Vec::new(),
        archive: ArchiveChoice::default(),
        users: Vec::new(),
        app,
        base_extra: Vec::new(),
        config: ImageConfig::default(),
        inputs: Digest::of(b"layer"),
        origin: "bench".to_owned(),
        created: Timestamp(0),
    };
    let image = timed("layer", || assemble(&plan, &store, &|_| {}).expect("an image"));
    sizes(&store, &image);
    drop(store);
    remove(work);
}

fn collect(directory: &Path, inside: &Path, app: &mut Vec<Entry>) {
    for entry in fs::read_dir(directory).expect("the directory can be read").flatten() {
        let metadata = entry.metadata().expect("it was there a moment ago");
        let target: PathBuf = inside.join(entry.file_name());
        let kind = if metadata.is_dir() {
            collect(&entry.path(), &target, app);
            EntryKind::Directory
        } else if metadata.is_symlink() {
            EntryKind::Symlink(fs::read_link(entry.path()).expect("a link").display().to_string())
        } else if metadata.is_file() {
            EntryKind::File(Source::Path(entry.path()))
        } else {
            continue;
        };
        let mode = if metadata.is_symlink() { 0o777 } else { metadata.permissions().mode() & 0o7777 };
        app.push(Entry { path: target.display().to_string(), kind, mode, uid: 0, gid: 0 });
    }
}

fn remove(work: &Path) {
    let _ = fs::remove_dir_all(work.join(format!("store-{}", std::process::id())));
}
