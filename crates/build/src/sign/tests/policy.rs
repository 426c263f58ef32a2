//! Images that have to be signed, between two stores and Debian's registry.

use super::*;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use testkit::ProcessGuard;

struct Between {
    root: TempDir,
    address: String,
    _registry: ProcessGuard,
    ours: ImageStore,
    theirs: ImageStore,
}

impl Between {
    fn new() -> Option<Self> {
        let program = testkit::needs("docker-registry", "docker-registry")?;
        let root = TempDir::new();
        let address = format!("127.0.0.1:{}", testkit::free_port());
        let storage = root.join("registry");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n",
            storage.display()
        );
        let config = root.write("registry.yml", text);
        let mut command = Command::new(program);
        command.arg("serve").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
        let registry = ProcessGuard::spawn(&mut command);
        testkit::wait_until(Duration::from_secs(20), "the registry to answer", || {
            std::net::TcpStream::connect(&address).is_ok()
        });
        let ours = ImageStore::open(&root.join("ours/images")).unwrap();
        let theirs = ImageStore::open(&root.join("theirs/images")).unwrap();
        Some(Self { root, address, _registry: registry, ours, theirs })
    }

    fn push(&self, image: &Digest, compression: Compression) -> Pushed {
        let options = PushOptions { compression, ..PushOptions::new(job()) };
        push(&self.ours, image, &format!("{}/team/app:1", self.address), &options).unwrap()
    }

    fn demand(&self, key: &Path) {
        let text = format!("[registry.\"{}/team\"]\nkey = \"{}\"", self.address, key.display());
        fs::write(self.root.join("theirs/registries.toml"), text).unwrap();
    }

    fn pull(&self, policy: PullPolicy) -> Result<BuiltImage, BuildError> {
        pull(&format!("{}/team/app:1", self.address), &self.theirs, &PullOptions::new(job(), policy))
    }
}

#[test]
fn registry_images_that_have_to_be_signed_are_refused_without() {
    let Some(between) = Between::new() else { return };
    let built = image(&between.ours);
    let (key, public) = PrivateKey::generate(&between.root.join("release.key")).unwrap();
    let (stranger, _) = PrivateKey::generate(&between.root.join("stranger.key")).unwrap();
    let pushed = between.push(&built.manifest, Compression::Gzip);
    // Without the demand it is taken as it is; with it, what is there does not count.
    between.pull(PullPolicy::Missing).unwrap();
    between.demand(&public);
    let refused = between.pull(PullPolicy::Missing).unwrap_err();
    assert!(refused.to_string().ends_with("it has none at all"), "{refused}");
    assert!(matches!(between.pull(PullPolicy::Never), Err(BuildError::Absent { .. })));
    sign(&between.ours, &built.manifest, &stranger, &job()).unwrap();
    let again = between.push(&built.manifest, Compression::Gzip);
    assert_eq!((again.signatures, again.signatures_left), (1, 1), "one holds for the stored form");
    let refused = between.pull(PullPolicy::Missing).unwrap_err();
    assert!(refused.to_string().ends_with("the signature does not hold for this key"), "{refused}");
    sign(&between.ours, &built.manifest, &key, &job()).unwrap();
    between.push(&built.manifest, Compression::Gzip);
    let pulled = between.pull(PullPolicy::Missing).unwrap();
    assert_eq!(pulled.manifest, pushed.digest);
    assert_eq!(between.pull(PullPolicy::Never).unwrap(), pulled, "it is known to be signed");
    assert_eq!(verify(&between.theirs, &pulled.manifest, &key.public()).unwrap().digest, pushed.digest);
    // The form with the digest that it has here is signed as well.
    assert!(between.push(&built.manifest, Compression::AsStored).same);
    assert_eq!(between.pull(PullPolicy::Always).unwrap().manifest, built.manifest);
}

#[test]
fn registry_images_are_not_fetched_before_their_signature_was_found() {
    let Some(between) = Between::new() else { return };
    let built = image(&between.ours);
    let (_, public) = PrivateKey::generate(&between.root.join("release.key")).unwrap();
    between.push(&built.manifest, Compression::Gzip);
    between.demand(&public);
    assert!(between.pull(PullPolicy::Always).is_err());
    let blobs = between.theirs.layout().root().join("blobs/sha256");
    assert!(fs::read_dir(blobs).unwrap().next().is_none());
    between.demand(Path::new("/nonexistent.pub"));
    let error = between.pull(PullPolicy::Always).unwrap_err().report().to_string();
    assert!(error.contains("the key /nonexistent.pub cannot be read") && error.contains("hint:"), "{error}");
}
