//! An image of 200 MB out of Debian's `docker-registry`: `juchu image pull` beside `skopeo copy`,
//! once into its storage, which unpacks the layers as we do, and once into a layout, which does not.

use super::harness::{Contender, compare, interleave, milliseconds};
use super::{Bench, Measured, Options};
use crate::process::{read, run};
use crate::{Failure, packages, workspace};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const BENCH: Bench =
    Bench { name: "pull", about: "an image of 200 MB from a local registry, beside skopeo", run: measure };

/// Unpacked bytes of each layer; together 200 MB.
const LAYERS: [u64; 4] = [90_000_000, 60_000_000, 40_000_000, 10_000_000];
/// Where files are taken from that are like those of images.
const SOURCES: [&str; 2] = ["/usr/lib", "/usr/share"];
const ROUNDS: usize = 7;
const START_LIMIT: Duration = Duration::from_secs(20);
const NAME: &str = "bench/app:1";

fn measure(options: &Options) -> Result<Vec<Measured>, Failure> {
    if options.program.is_none() {
        let arguments = ["build", "--quiet", "--release", "-p", "build", "--example", "pull"];
        run(&workspace::root(), "cargo", &arguments)?;
    }
    let registry_program = packages::provide_registry()?;
    let place = Place::new()?;
    let registry = Registry::start(&registry_program, &place.0)?;
    let packed = make_image(&place.0)?;
    let name = format!("{}/{NAME}", registry.address);
    let (source, layout) =
        (format!("docker://{name}"), format!("oci:{}:app", place.0.join("layout").display()));
    run(&place.0, "skopeo", &["copy", "--quiet", "--dest-tls-verify=false", &layout, &source])?;
    let (home, storage, copied) = (place.0.join("home"), place.0.join("storage"), place.0.join("copied"));
    let to_storage = format!("containers-storage:[overlay@{0}+{0}/run]{name}", storage.display());
    let to_layout = format!("oci:{}:app", copied.display());
    let skopeo = |target: &str| {
        let mut command = Command::new("skopeo");
        command.args(["copy", "--quiet", "--src-tls-verify=false", &source, target]);
        must(&mut command)
    };
    let contenders = vec![
        Contender::new("juchu image pull", || {
            let mut command = ours(options.program.as_deref(), &home, &name);
            must(&mut command)
        })
        .prepared(|| clear(&home)),
        Contender::new("skopeo copy to its storage", || skopeo(&to_storage)).prepared(|| clear(&storage)),
        Contender::new("skopeo copy to a layout", || skopeo(&to_layout)).prepared(|| clear(&copied)),
    ];
    let series = interleave(1, ROUNDS, contenders)?;
    eprint!("{}", compare(&series).to_text());
    let of = |at: usize| milliseconds(series[at].wall_median());
    let ratio = series[0].ratio(&series[1]);
    Ok(vec![Measured {
        number: "pull of a 200 MB image from a local registry, over `skopeo copy`",
        promised: "≤ 1×",
        value: format!(
            "{ratio:.2}× ({} beside {} into its storage, which unpacks as well; {} into a layout, which does not); \
             {} MB packed in {} layers",
            of(0),
            of(1),
            of(2),
            packed / 1_000_000,
            LAYERS.len()
        ),
        kept: Some(ratio <= 1.0),
    }])
}

/// The program that was named, else the example, which does the same and is built in less time.
fn ours(program: Option<&str>, home: &Path, name: &str) -> Command {
    let Some(program) = program else {
        let mut command = Command::new(workspace::root().join("target/release/examples/pull"));
        command.arg(home.join("images")).arg(name);
        return command;
    };
    let mut command = Command::new(program);
    command.args(["--quiet", "image", "pull", "--no-referrers", name]).env("JUCHU_HOME", home);
    command
}

/// A directory on the disk of the sources, gone at the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Result<Self, Failure> {
        let directory = workspace::root().join(format!("target/bench-pull-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        Ok(Self(directory))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Registry {
    process: Child,
    address: String,
}

impl Registry {
    fn start(program: &Path, place: &Path) -> Result<Self, Failure> {
        let address = format!("127.0.0.1:{}", testkit::free_port());
        let storage = place.join("registry");
        let config = place.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n",
            storage.display()
        );
        fs::write(&config, text)?;
        let mut command = Command::new(program);
        command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let registry = Self { process: command.spawn()?, address };
        let began = Instant::now();
        while std::net::TcpStream::connect(&registry.address).is_err() {
            if began.elapsed() > START_LIMIT {
                return Err("the registry does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn must(command: &mut Command) -> Result<(), Failure> {
    let output = command.stdin(Stdio::null()).output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()).into()),
    }
}

/// Takes away what a round before has left, and waits until the disk has nothing to do with it.
fn clear(directory: &Path) -> Result<(), Failure> {
    // The storage of skopeo keeps a mount of its own while it is in use.
    let _ = Command::new("umount").args(["-q", "-l"]).arg(directory.join("overlay")).status();
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    run(Path::new("/"), "sync", &[])
}

/// Writes an image of files of this machine as a layout; answers its packed bytes.
fn make_image(place: &Path) -> Result<u64, Failure> {
    let blobs = place.join("layout/blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let mut files = SOURCES.iter().flat_map(|source| tree(Path::new(source))).collect::<Vec<_>>().into_iter();
    let (mut layers, mut diff_ids, mut packed) = (Vec::new(), Vec::new(), 0);
    for size in LAYERS {
        let list = place.join("list");
        fs::write(&list, take(&mut files, size)?)?;
        let tar = place.join("layer.tar");
        let (list, tar_text) = (list.display().to_string(), tar.display().to_string());
        run(
            place,
            "tar",
            &["-C", "/", "-cf", &tar_text, "--no-recursion", "--verbatim-files-from", "-T", &list],
        )?;
        diff_ids.push(format!("\"sha256:{}\"", sha256(place, &tar)?));
        run(place, "gzip", &["-n", "-6", "-f", &tar_text])?;
        let (digest, size) = keep(place, &blobs, &place.join("layer.tar.gz"))?;
        packed += size;
        layers.push(descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &digest, size));
    }
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = format!(
        r#"{{"architecture":"{machine}","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diff_ids.join(",")
    );
    let config = document(place, &blobs, "application/vnd.oci.image.config.v1+json", &config)?;
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{config},"layers":[{}]}}"#,
        layers.join(",")
    );
    let manifest = document(place, &blobs, kind, &manifest)?;
    let named = manifest.replacen('{', r#"{"annotations":{"org.opencontainers.image.ref.name":"app"},"#, 1);
    fs::write(place.join("layout/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    fs::write(place.join("layout/index.json"), format!(r#"{{"schemaVersion":2,"manifests":[{named}]}}"#))?;
    Ok(packed)
}

/// Files below a directory in the order of their names.
fn tree(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let below = |path: PathBuf| match path.symlink_metadata() {
        Ok(about) if about.is_dir() => tree(&path),
        Ok(about) if about.is_file() => vec![path],
        _ => Vec::new(),
    };
    paths.into_iter().flat_map(below).collect()
}

/// Lines of paths that come to `size` bytes.
fn take(files: &mut impl Iterator<Item = PathBuf>, size: u64) -> Result<String, Failure> {
    let (mut lines, mut bytes) = (String::new(), 0);
    while bytes < size {
        let path = files.next().ok_or("this machine has too few files for the image")?;
        let text = path.to_string_lossy();
        if !text.contains('\n') && !text.contains('\u{fffd}') {
            bytes += path.metadata()?.len();
            lines.push_str(&format!("{}\n", text.trim_start_matches('/')));
        }
    }
    Ok(lines)
}

fn document(place: &Path, blobs: &Path, kind: &str, text: &str) -> Result<String, Failure> {
    let path = place.join("document");
    fs::write(&path, text)?;
    let (digest, size) = keep(place, blobs, &path)?;
    Ok(descriptor(kind, &digest, size))
}

fn keep(place: &Path, blobs: &Path, file: &Path) -> Result<(String, u64), Failure> {
    let (digest, size) = (sha256(place, file)?, file.metadata()?.len());
    fs::rename(file, blobs.join(&digest))?;
    Ok((digest, size))
}

fn descriptor(kind: &str, digest: &str, size: u64) -> String {
    format!(r#"{{"mediaType":"{kind}","digest":"sha256:{digest}","size":{size}}}"#)
}

fn sha256(place: &Path, file: &Path) -> Result<String, Failure> {
    let said = read(place, "sha256sum", &[&file.to_string_lossy()])?;
    Ok(said.split_whitespace().next().ok_or("sha256sum said nothing")?.to_owned())
}
