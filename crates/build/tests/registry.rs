//! Against Debian's `docker-registry`, with and without a login; what is stored there is read by
//! skopeo and umoci and runs under podman.

use base64::Engine as _;
use build::archive::ArchiveChoice;
use build::push::{Blobs, Compression, Pushed};
use build::{BuildError, Entry, EntryKind, ImagePlan, ImageStore, Job, PullOptions, Source, assemble, pull};
use build::{PushOptions, push};
use model::image::{BuiltImage, ImageConfig, PullPolicy};
use model::{Digest, Timestamp};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use testkit::{ProcessGuard, TempDir};

static NEVER: AtomicBool = AtomicBool::new(false);
/// `user` with the password `secret`.
const HTPASSWD: &str = "user:$2y$05$QipoIN8rFrcOisDbEee8EOHqeqsH2Uox5OGlWJNVqrLmvgq9iNkF6\n";

struct Registry {
    _process: ProcessGuard,
    address: String,
    authorization: Option<String>,
}

impl Registry {
    fn start(root: &Path, with_login: bool) -> Option<Self> {
        let program = testkit::needs("docker-registry", "docker-registry")?;
        let address = format!("127.0.0.1:{}", testkit::free_port());
        let storage = root.join("registry");
        let mut text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n",
            storage.display()
        );
        let mut authorization = None;
        if with_login {
            fs::write(root.join("htpasswd"), HTPASSWD).unwrap();
            text.push_str(&format!(
                "auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
                root.join("htpasswd").display()
            ));
            let encoded = base64::engine::general_purpose::STANDARD.encode("user:secret");
            authorization = Some(format!("Basic {encoded}"));
        }
        let config = root.join("registry.yml");
        fs::write(&config, text).unwrap();
        let mut command = Command::new(program);
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let process = ProcessGuard::spawn(&mut command);
        testkit::wait_until(Duration::from_secs(20), "the registry to answer", || {
            std::net::TcpStream::connect(&address).is_ok()
        });
        Some(Self { _process: process, address, authorization })
    }
}

fn image(store: &ImageStore) -> BuiltImage {
    let file = |path: &str, text: &str| Entry {
        path: path.to_owned(),
        kind: EntryKind::File(Source::Bytes(text.as_bytes().into())),
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    let app = vec![file("/hello", "hello"), file("/big", &"0123456789".repeat(300_000))];
    image_with(store, app, &["/hello"])
}

fn image_with(store: &ImageStore, app: Vec<Entry>, command: &[&str]) -> BuiltImage {
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    let plan = ImagePlan {
        packages: Vec::new(),
        exclude: Vec::new(),
        archive: ArchiveChoice::default(),
        users: Vec::new(),
        app,
        base_extra: Vec::new(),
        config: ImageConfig { command, ..ImageConfig::default() },
        inputs: Digest::of(b""),
        origin: "a test".to_owned(),
        created: Timestamp(0),
    };
    assemble(&plan, store, &|_| {}).unwrap()
}

fn fetch(store: &ImageStore, reference: &str, credentials: &Path) -> Result<BuiltImage, BuildError> {
    let job = Job::new(&|_| {}, &NEVER);
    let credentials = Some(credentials.to_owned());
    pull(
        reference,
        store,
        &PullOptions { credentials, beside: true, ..PullOptions::new(job, PullPolicy::Always) },
    )
}

fn store_away(
    store: &ImageStore,
    image: &Digest,
    reference: &str,
    credentials: &Path,
    compression: Compression,
) -> Result<Pushed, BuildError> {
    let credentials = Some(credentials.to_owned());
    let job = Job::new(&|_| {}, &NEVER);
    push(store, image, reference, &PushOptions { credentials, compression, ..PushOptions::new(job) })
}

/// Two machines and a registry between them.
struct Between {
    root: TempDir,
    registry: Registry,
    ours: ImageStore,
    theirs: ImageStore,
    login: PathBuf,
}

impl Between {
    fn new(with_login: bool) -> Option<Self> {
        let root = TempDir::new();
        let registry = Registry::start(root.path(), with_login)?;
        let ours = ImageStore::open(&root.join("ours/images")).unwrap();
        let theirs = ImageStore::open(&root.join("theirs/images")).unwrap();
        let auth =
            registry.authorization.as_deref().and_then(|a| a.strip_prefix("Basic ")).unwrap_or_default();
        let text = format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, registry.address);
        let login = root.write("config.json", text);
        Some(Self { root, registry, ours, theirs, login })
    }
    fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.registry.address)
    }
    fn push(&self, image: &Digest, name: &str, compression: Compression) -> Pushed {
        store_away(&self.ours, image, &self.name(name), &self.login, compression).unwrap()
    }
    fn pull(&self, name: &str) -> Result<BuiltImage, BuildError> {
        fetch(&self.theirs, &self.name(name), &self.login)
    }
}

fn round_trip(with_login: bool) {
    let Some(between) = Between::new(with_login) else { return };
    let built = image(&between.ours);
    let nobody = between.root.join("nobody.json");
    let name = between.name("team/app:1.0");
    if with_login {
        let refused = store_away(&between.ours, &built.manifest, &name, &nobody, Compression::Gzip);
        assert!(matches!(refused, Err(BuildError::Unauthorised { .. })));
    }
    let pushed = between.push(&built.manifest, "team/app:1.0", Compression::AsStored);
    assert_eq!((&pushed.digest, pushed.same, pushed.blobs.sent), (&built.manifest, true, 2));
    if with_login {
        assert!(matches!(fetch(&between.theirs, &name, &nobody), Err(BuildError::Unauthorised { .. })));
    }
    let pulled = between.pull("team/app:1.0").unwrap();
    assert_eq!((&pulled.manifest, &pulled.layers), (&built.manifest, &built.layers));
    assert_eq!(pulled.config, built.config);
    let directory = between.theirs.layer_dir(&pulled.layers[0]).unwrap();
    assert_eq!(fs::metadata(directory.join("big")).unwrap().len(), 3_000_000);
    let by_digest = between.pull(&format!("team/app@{}", built.manifest)).unwrap();
    assert_eq!(by_digest.manifest, built.manifest);
    assert!(matches!(between.pull("team/app:2.0"), Err(BuildError::NotFound { .. })));
}

#[test]
fn registry_of_debian_gives_back_what_it_was_given() {
    round_trip(false);
}

#[test]
fn registry_of_debian_wants_a_login() {
    round_trip(true);
}

#[test]
fn registry_of_debian_is_sent_nothing_twice() {
    let Some(between) = Between::new(false) else { return };
    let built = image(&between.ours);
    let first = between.push(&built.manifest, "team/app:1", Compression::Gzip);
    assert_eq!((first.same, first.blobs.sent, first.blobs.there), (false, 2, 0));
    let again = between.push(&built.manifest, "team/app:2", Compression::Gzip);
    assert_eq!((&again.digest, again.sent_bytes, again.blobs.there), (&first.digest, 0, 2));
    let other = between.push(&built.manifest, "team/other:1", Compression::Gzip);
    assert_eq!((&other.digest, other.sent_bytes, other.blobs.mounted), (&first.digest, 0, 2));
    // What was packed for the way has the same digest however often it travels.
    let pulled = between.pull("team/other:1").unwrap();
    assert_eq!((&pulled.manifest, &pulled.layers), (&first.digest, &built.layers));
    let name = between.name("team/third:1");
    let from_there =
        store_away(&between.theirs, &pulled.manifest, &name, &between.login, Compression::Gzip).unwrap();
    assert_eq!((&from_there.digest, from_there.same, from_there.sent_bytes), (&first.digest, true, 0));
    assert_eq!(from_there.blobs.mounted, 2, "the store knows where its image came from");
}

#[test]
fn documents_travel_with_their_image() {
    let Some(between) = Between::new(false) else { return };
    let built = image(&between.ours);
    build::sbom::attach(&between.ours, &built, Vec::new(), &BTreeMap::new()).unwrap();
    for (name, compression) in [("a:1", Compression::AsStored), ("b:1", Compression::Gzip)] {
        let pushed = between.push(&built.manifest, name, compression);
        assert_eq!(pushed.documents, 2);
        assert_eq!(
            between.push(&built.manifest, name, compression),
            Pushed { sent_bytes: 0, blobs: pushed_again(), ..pushed.clone() }
        );
        let pulled = between.pull(name).unwrap();
        let stored = build::catalogue::stored(&between.theirs).unwrap();
        let stored = stored.iter().find(|image| image.digest == pulled.manifest).unwrap();
        let kinds: Vec<&str> = stored.referrers.keys().map(String::as_str).collect();
        assert_eq!(kinds, ["application/spdx+json", "application/vnd.cyclonedx+json"], "{name}");
        let (bytes, made_with_it) =
            build::sbom::of(&between.theirs, stored, build::sbom::Format::CycloneDx).unwrap();
        assert!(made_with_it && String::from_utf8(bytes).unwrap().contains("CycloneDX"));
    }
}

/// Of an image of one layer and a configuration.
fn pushed_again() -> Blobs {
    Blobs { there: 2, ..Blobs::default() }
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn registry_images_are_read_by_skopeo_and_umoci() {
    let Some(between) = Between::new(true) else { return };
    let Some(skopeo) = testkit::needs("skopeo", "skopeo") else { return };
    let Some(umoci) = testkit::needs("umoci", "umoci") else { return };
    if !testkit::require_root("umoci") {
        return;
    }
    let built = image(&between.ours);
    let pushed = between.push(&built.manifest, "team/app:1", Compression::Gzip);
    let source = format!("docker://{}", between.name("team/app:1"));
    let login = ["--tls-verify=false", "--creds=user:secret"];
    let raw = output(Command::new(&skopeo).arg("inspect").args(login).args(["--raw", &source]));
    assert_eq!(Digest::of(raw.as_bytes()), pushed.digest);
    let layout = format!("oci:{}:app", between.root.join("layout").display());
    let copy = ["--src-tls-verify=false", "--src-creds=user:secret", &source, &layout];
    output(Command::new(&skopeo).arg("copy").args(copy));
    let bundle = between.root.join("bundle");
    let image = format!("{}:app", between.root.join("layout").display());
    output(Command::new(&umoci).args(["unpack", "--image", &image]).arg(&bundle));
    assert_eq!(fs::read_to_string(bundle.join("rootfs/hello")).unwrap(), "hello");
    assert_eq!(fs::metadata(bundle.join("rootfs/big")).unwrap().len(), 3_000_000);
}

#[test]
fn registry_images_run_unchanged_under_podman() {
    let Some(between) = Between::new(false) else { return };
    let (Some(podman), Some(runc)) = (testkit::needs("podman", "podman"), testkit::needs("runc", "runc"))
    else {
        return;
    };
    if !testkit::require_root("podman") {
        return;
    }
    let busybox = Entry {
        path: "/bin/busybox".to_owned(),
        kind: EntryKind::File(Source::Path(testkit::busybox_static())),
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    let built = image_with(&between.ours, vec![busybox], &["/bin/busybox", "echo", "from podman"]);
    let pushed = between.push(&built.manifest, "team/busy:1", Compression::Gzip);
    let name = between.name(&format!("team/busy@{}", pushed.digest));
    let mut command = Command::new(&podman);
    command.arg("--root").arg(between.root.join("storage")).arg("--runroot").arg(between.root.join("run"));
    command.args(["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none", "--runtime"]);
    command.arg(&runc).args(["run", "--rm", "--quiet", "--tls-verify=false", "--network=none"]);
    command.args(["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024", &name]);
    assert_eq!(output(&mut command), "from podman\n");
}
