//! Against Debian's `docker-registry`, with and without a login.

use base64::Engine as _;
use build::archive::ArchiveChoice;
use build::{BuildError, Entry, EntryKind, ImagePlan, ImageStore, Job, PullOptions, Source, assemble, pull};
use model::image::{BuiltImage, ImageConfig, PullPolicy};
use model::{Digest, Timestamp};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use testkit::ProcessGuard;

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

    fn request(&self, method: &str, url: &str, kind: &str, body: &[u8]) -> ureq::http::Response<ureq::Body> {
        let mut request = ureq::http::Request::builder().method(method).uri(url).header("content-type", kind);
        if let Some(value) = &self.authorization {
            request = request.header("authorization", value);
        }
        let response = ureq::run(request.body(body.to_vec()).unwrap()).unwrap();
        assert!(response.status().is_success(), "{method} {url}: {}", response.status());
        response
    }

    /// Uploads an image of a store, blob by blob.
    fn push(&self, store: &ImageStore, image: &BuiltImage, repository: &str, tag: &str) {
        let base = format!("http://{}/v2/{repository}", self.address);
        let blob = |digest: &str| {
            let digest = Digest::new(digest).unwrap();
            fs::read(store.layout().blob_path(&digest)).unwrap()
        };
        let manifest = blob(image.manifest.as_str());
        let document: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let layers = document["layers"].as_array().unwrap().iter();
        for part in layers.chain([&document["config"]]) {
            let digest = part["digest"].as_str().unwrap();
            let started =
                self.request("POST", &format!("{base}/blobs/uploads/"), "application/octet-stream", b"");
            let location = started.headers()["location"].to_str().unwrap();
            let location =
                location.replace("http://", "").split_once('/').map(|(_, path)| path.to_owned()).unwrap();
            let url = format!("http://{}/{location}&digest={digest}", self.address);
            self.request("PUT", &url, "application/octet-stream", &blob(digest));
        }
        let kind = "application/vnd.oci.image.manifest.v1+json";
        self.request("PUT", &format!("{base}/manifests/{tag}"), kind, &manifest);
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
    let plan = ImagePlan {
        packages: Vec::new(),
        exclude: Vec::new(),
        archive: ArchiveChoice::default(),
        users: Vec::new(),
        app: vec![file("/hello", "hello"), file("/big", &"0123456789".repeat(300_000))],
        base_extra: Vec::new(),
        config: ImageConfig { command: vec!["/hello".to_owned()], ..ImageConfig::default() },
        inputs: Digest::of(b""),
        origin: "a test".to_owned(),
        created: Timestamp(0),
    };
    assemble(&plan, store, &|_| {}).unwrap()
}

fn fetch(store: &ImageStore, reference: &str, credentials: &Path) -> Result<BuiltImage, BuildError> {
    let job = Job::new(&|_| {}, &NEVER);
    pull(
        reference,
        store,
        &PullOptions { job, policy: PullPolicy::Always, credentials: Some(credentials.to_owned()) },
    )
}

fn round_trip(with_login: bool) {
    let root = tempfile::tempdir().unwrap();
    let Some(registry) = Registry::start(root.path(), with_login) else { return };
    let ours = ImageStore::open(&root.path().join("ours")).unwrap();
    let theirs = ImageStore::open(&root.path().join("theirs")).unwrap();
    let built = image(&ours);
    registry.push(&ours, &built, "team/app", "1.0");
    let nobody = root.path().join("nobody.json");
    let login = root.path().join("config.json");
    let auth = registry.authorization.as_deref().and_then(|a| a.strip_prefix("Basic ")).unwrap_or_default();
    fs::write(&login, format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, registry.address)).unwrap();
    let name = format!("{}/team/app:1.0", registry.address);
    if with_login {
        assert!(matches!(fetch(&theirs, &name, &nobody), Err(BuildError::Unauthorised { .. })));
    }
    let pulled = fetch(&theirs, &name, &login).unwrap();
    assert_eq!((&pulled.manifest, &pulled.layers), (&built.manifest, &built.layers));
    assert_eq!(pulled.config, built.config);
    let directory = theirs.layer_dir(&pulled.layers[0]).unwrap();
    assert_eq!(fs::metadata(directory.join("big")).unwrap().len(), 3_000_000);
    let by_digest = format!("{}/team/app@{}", registry.address, built.manifest);
    assert_eq!(fetch(&theirs, &by_digest, &login).unwrap().manifest, built.manifest);
    let missing = format!("{}/team/app:2.0", registry.address);
    assert!(matches!(fetch(&theirs, &missing, &login), Err(BuildError::NotFound { .. })));
}

#[test]
fn registry_of_debian_gives_back_what_it_was_given() {
    round_trip(false);
}

#[test]
fn registry_of_debian_wants_a_login() {
    round_trip(true);
}
