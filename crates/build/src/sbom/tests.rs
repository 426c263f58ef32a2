use super::*;
use crate::archive::ArchiveChoice;
use crate::plan::{Entry, EntryKind, ImagePlan, Source};
use model::Timestamp;
use model::image::ImageConfig;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

fn image(store: &ImageStore, created: i64) -> BuiltImage {
    let file = |path: &str, text: &str| Entry {
        path: path.to_owned(),
        kind: EntryKind::File(Source::Bytes(text.as_bytes().into())),
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    let plan = ImagePlan {
        packages: Vec::new(),
        exclude: Vec::new(),
        archive: ArchiveChoice::default(),
        users: Vec::new(),
        app: vec![
            file("/app/main", "main"),
            file("/usr/lib/os-release", "ID=debian\nVERSION_CODENAME=trixie\n"),
            file(
                "/var/lib/dpkg/status.d/libc6",
                "Package: libc6\nSource: glibc\nVersion: 2.41-1+b2\nArchitecture: amd64\n",
            ),
            file("/usr/share/doc/libc6/copyright", "Format: x\nLicense: LGPL-2.1+\nLicense: its own\n"),
            file("/app/flask.dist-info/METADATA", "Name: Flask\nVersion: 3.0\nLicense: MIT OR Apache-2.0\n"),
            file(
                "/app/node_modules/@a/b/package.json",
                r#"{"name":"@a/b","version":"1.0.0","license":"MIT"}"#,
            ),
        ],
        base_extra: Vec::new(),
        config: ImageConfig { command: vec!["/app/main".to_owned()], ..ImageConfig::default() },
        inputs: Digest::of(b""),
        origin: "a test".to_owned(),
        created: Timestamp(created),
    };
    crate::assemble(&plan, store, &|_| {}).unwrap()
}

fn compiled_in() -> Vec<Package> {
    let mut package = Package::new(Ecosystem::Rust, "libc", "0.2.1");
    package.sha256 = Some("0".repeat(64));
    let from_elsewhere = Package::new(Ecosystem::Rust, "libc", "0.2.1");
    vec![package, from_elsewhere]
}

fn documents(store: &ImageStore, image: &BuiltImage) -> [Vec<u8>; 2] {
    attach(store, image, compiled_in(), &[("a".to_owned(), "b".to_owned())].into()).unwrap();
    let all = stored(store).unwrap();
    let found = find(&all, image.manifest.as_str()).unwrap();
    assert_eq!(found.annotations.get("a").map(String::as_str), Some("b"));
    Format::ALL.map(|format| {
        let (bytes, made_with_it) = of(store, found, format).unwrap();
        assert!(made_with_it);
        bytes
    })
}

#[test]
fn both_forms_name_every_package_and_the_application() {
    let directory = tempfile::tempdir().unwrap();
    let store = ImageStore::open(directory.path()).unwrap();
    let [cyclonedx, spdx] = documents(&store, &image(&store, 0));
    let cyclonedx: Value = serde_json::from_slice(&cyclonedx).unwrap();
    let spdx: Value = serde_json::from_slice(&spdx).unwrap();
    let purls = BTreeSet::from([
        "pkg:deb/debian/libc6@2.41-1%2Bb2?arch=amd64&distro=trixie",
        "pkg:pypi/flask@3.0",
        "pkg:npm/%40a/b@1.0.0",
        "pkg:cargo/libc@0.2.1",
    ]);
    let components = cyclonedx["components"].as_array().unwrap();
    assert_eq!(components.iter().filter_map(|c| c["purl"].as_str()).collect::<BTreeSet<_>>(), purls);
    assert_eq!(components.last().unwrap()["type"], "application");
    let licences: Vec<_> = components.iter().map(|c| c["licenses"].to_string()).collect();
    assert_eq!(licences[0], r#"[{"license":{"id":"LGPL-2.1-or-later"}},{"license":{"name":"its own"}}]"#);
    assert_eq!(licences[1], r#"[{"expression":"MIT OR Apache-2.0"}]"#);
    let packages = spdx["packages"].as_array().unwrap();
    let locators = packages.iter().filter_map(|p| p["externalRefs"][0]["referenceLocator"].as_str());
    assert_eq!(locators.collect::<BTreeSet<_>>(), purls);
    let libc = packages.iter().find(|p| p["name"] == "libc6").unwrap();
    assert_eq!(libc["sourceInfo"], "built from the source package glibc 2.41-1+b2");
    assert_eq!(
        (&libc["licenseDeclared"], libc["licenseComments"].as_str().unwrap()),
        (&Value::from("NOASSERTION"), "the package states: LGPL-2.1+; its own")
    );
    let ids: BTreeSet<_> = packages.iter().map(|p| p["SPDXID"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), packages.len());
}

#[test]
fn the_same_image_has_the_same_documents_and_they_go_with_it() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = (ImageStore::open(one.path()).unwrap(), ImageStore::open(other.path()).unwrap());
    let built = image(&one, 1_700_000_000_000);
    let documents_of_one = documents(&one, &built);
    assert_eq!(documents_of_one, documents(&other, &image(&other, 1_700_000_000_000)));
    // Made once more, they take the place of the first.
    assert_eq!(documents_of_one, documents(&one, &built));
    assert_eq!(one.layout().entries().unwrap().len(), 3);
    assert_eq!(one.layout().list().unwrap().len(), 1);
    one.tag("named", &built.manifest).unwrap();
    let kept = one.collect(&[built.manifest.clone()].into(), Duration::ZERO).unwrap();
    assert_eq!(kept.files, 0);
    documents(&one, &built);
    one.collect(&BTreeSet::new(), Duration::ZERO).unwrap();
    assert!(one.layout().entries().unwrap().is_empty());
}

#[test]
fn an_image_whose_name_moves_on_stays_for_the_release_that_needs_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = ImageStore::open(directory.path()).unwrap();
    let (old, new) = (image(&store, 0), image(&store, 1_700_000_000_000));
    // As a fetched image stands there: under its name alone.
    let entries = store.layout().entries().unwrap();
    for entry in entries {
        store.layout().remove(&entry.digest).unwrap();
        store.layout().put_image(entry, Some("redis:8"), "a registry").unwrap();
    }
    assert_eq!(store.layout().named("redis:8").unwrap(), Some(new.manifest.clone()));
    store.collect(&[old.manifest.clone()].into(), Duration::ZERO).unwrap();
    assert!(store.image(&old.manifest).unwrap().is_some());
    assert!(store.layer_dir(&old.layers[0]).is_ok());
    assert_eq!(store.layout().named("redis:8").unwrap(), None);
}

/// The public schemas, by the tools that others check with; `cargo xtask test` installs them.
#[test]
fn validators_of_others_accept_both_forms() {
    let Some(python) = testkit::python_with_validators() else { return };
    let directory = tempfile::tempdir().unwrap();
    let store = ImageStore::open(directory.path()).unwrap();
    let files = documents(&store, &image(&store, 0));
    let [cyclonedx, spdx] = ["bom.json", "bom.spdx.json"].map(|name| directory.path().join(name));
    std::fs::write(&cyclonedx, &files[0]).unwrap();
    std::fs::write(&spdx, &files[1]).unwrap();
    let script = directory.path().join("validate.py");
    std::fs::write(&script, VALIDATE).unwrap();
    let said = std::process::Command::new(python).arg(script).arg(cyclonedx).arg(spdx).output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && text.trim() == "valid", "{text}");
}

const VALIDATE: &str = "\
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
assert wrong is None, wrong
wrong = validate_full_spdx_document(parse_file(sys.argv[2]))
assert not wrong, [message.validation_message for message in wrong]
print('valid')
";
