//! Other programs push to the registry, pull from it and agree about what they got.

use crate::harness::Served;
use registry::{Anonymous, Offered};
use std::path::Path;
use std::process::Command;
use testkit::{TempDir, needs};

/// Runs a program that has to succeed.
fn run(program: &Path, directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .env("XDG_RUNTIME_DIR", directory)
        .env("HOME", directory)
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {arguments:?}: {said}", program.display());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// An image as a layout, packed by gzip, as `juchu image export` writes one.
fn layout(served: &Served, directory: &Path) -> String {
    use build::archive::ArchiveChoice;
    use build::{Entry, EntryKind, ImagePlan, Source, assemble};
    use std::sync::atomic::AtomicBool;
    static NEVER: AtomicBool = AtomicBool::new(false);
    let content: Vec<u8> =
        (0..400_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let file = |path: &str, bytes: &[u8]| Entry {
        path: path.to_owned(),
        kind: EntryKind::File(Source::Bytes(bytes.into())),
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    let plan = ImagePlan {
        packages: Vec::new(),
        exclude: Vec::new(),
        archive: ArchiveChoice::default(),
        users: Vec::new(),
        app: vec![file("/hello", b"hello"), file("/large", &content)],
        base_extra: Vec::new(),
        inputs: model::Digest::of(b"inputs"),
        origin: "test".to_owned(),
        config: model::image::ImageConfig::default(),
        created: model::Timestamp(0),
    };
    let store = served.store();
    let image = assemble(&plan, &store, &|_: &str| {}).expect("an image");
    store.tag("localhost/shop/web:latest", &image.manifest).expect("a name");
    build::export::export_gzip(&store, &image.manifest, &directory.join("layout"), "it", &NEVER)
        .expect("written");
    image.manifest.to_string()
}

#[test]
fn skopeo_and_umoci_agree_about_what_went_through() {
    let Some(skopeo) = needs("skopeo", "skopeo") else { return };
    let served = Served::open(Anonymous::Push);
    let directory = TempDir::new();
    let at = directory.path();
    let made = layout(&served, at);
    let remote = format!("docker://{}", served.address);
    let plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    let copy = |from: &str, to: &str| run(&skopeo, at, &["copy", plain[0], plain[1], from, to]);
    copy("oci:layout:it", &format!("{remote}/app/web:1"));
    copy(&format!("{remote}/app/web:1"), &format!("{remote}/app/mounted:1"));
    copy(&format!("{remote}/app/mounted:1"), "oci:back:it");
    let digest = |name: &str| {
        let raw = run(&skopeo, at, &["inspect", "--raw", "--tls-verify=false", name]);
        build::repositories::Algorithm::Sha256.of(raw.as_bytes()).to_string()
    };
    assert_eq!(digest("oci:back:it"), digest("oci:layout:it"));
    let tags = run(&skopeo, at, &["list-tags", "--tls-verify=false", &format!("{remote}/app/web")]);
    assert!(tags.contains("\"1\""), "{tags}");
    // What was made here can be had at once, under its own name and as it is stored.
    assert_eq!(digest(&format!("{remote}/juchu/shop/web:latest")), made);
    copy(&format!("{remote}/juchu/shop/web:latest"), "oci:own:it");
    assert_eq!(digest("oci:own:it"), made);
    let release = model::Digest::new(made.as_str()).expect("a digest");
    served.registry.offer(Offered::new("shop/web", "r3", release).into_iter().collect());
    assert_eq!(digest(&format!("{remote}/juchu/shop/web:r3")), made);
    run(&skopeo, at, &["delete", "--tls-verify=false", &format!("{remote}/app/mounted:1")]);
    assert_eq!(served.get("/v2/app/mounted/manifests/1").status, 404);
    if let Some(umoci) = needs("umoci", "umoci") {
        run(&umoci, at, &["unpack", "--rootless", "--image", "back:it", "bundle"]);
        assert_eq!(std::fs::read(at.join("bundle/rootfs/hello")).expect("a file"), b"hello");
    }
}

#[test]
fn podman_logs_in_pulls_and_pushes() {
    let (Some(podman), Some(skopeo)) = (needs("podman", "podman"), needs("skopeo", "skopeo")) else { return };
    if !testkit::require_root("podman_logs_in_pulls_and_pushes") {
        return;
    }
    let served = Served::open(Anonymous::Pull);
    let rules = [registry::access::Rule::all(registry::access::Right::Write)];
    let token = served.user("ci", &rules);
    let directory = TempDir::new();
    let at = directory.path();
    layout(&served, at);
    let address = served.address.to_string();
    let credentials = format!("--dest-creds=ci:{token}");
    let web = format!("docker://{address}/app/web:1");
    run(&skopeo, at, &["copy", "--dest-tls-verify=false", &credentials, "oci:layout:it", &web]);
    let place = |name: &str| at.join(name).to_string_lossy().into_owned();
    let (root, run_root, login) = (place("root"), place("run"), place("auth.json"));
    let base = ["--root", &root, "--runroot", &run_root, "--storage-driver", "vfs"];
    let podman = |arguments: &[&str]| run(&podman, at, &[&base[..], arguments].concat());
    let name = format!("{address}/app/web:1");
    podman(&["pull", "--tls-verify=false", &name]);
    podman(&["login", "--tls-verify=false", "--authfile", &login, "-u", "ci", "-p", &token, &address]);
    let pushed = format!("{address}/app/again:2");
    podman(&["push", "--tls-verify=false", "--authfile", &login, &name, &pushed]);
    assert_eq!(served.get("/v2/app/again/tags/list").json()["tags"], serde_json::json!(["2"]));
}
