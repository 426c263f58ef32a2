//! Signatures of ours and of cosign.

mod policy;

use super::*;
use crate::plan::ImagePlan;
use crate::pull::{PullOptions, pull};
use crate::push::{Compression, PushOptions, Pushed, push};
use base64::Engine as _;
use model::Timestamp;
use model::image::{BuiltImage, PullPolicy};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use testkit::TempDir;

static NEVER: AtomicBool = AtomicBool::new(false);
/// Written by cosign 3.1.1 with `cosign sign --key`, for the image with this digest.
const COSIGN: &[u8] = include_bytes!("../cosign-3.1.1.json");
const COSIGN_KEY: &str = include_str!("../cosign-3.1.1.pub");
const COSIGN_IMAGE: &str = "sha256:e49db0d6148d7b37ba8355d007aeca6cbdc7fc55e2e506789d6c30d18ce839e2";

fn job() -> Job<'static> {
    Job::new(&|_| {}, &NEVER)
}

fn image(store: &ImageStore) -> BuiltImage {
    let plan = ImagePlan {
        packages: Vec::new(),
        exclude: Vec::new(),
        archive: Default::default(),
        users: Vec::new(),
        app: vec![crate::plan::Entry {
            path: "/hello".to_owned(),
            kind: crate::plan::EntryKind::File(crate::plan::Source::Bytes((*b"hello").into())),
            mode: 0o755,
            uid: 0,
            gid: 0,
        }],
        base_extra: Vec::new(),
        config: Default::default(),
        inputs: Digest::of(b""),
        origin: "a test".to_owned(),
        created: Timestamp(0),
    };
    crate::assemble(&plan, store, &|_| {}).unwrap()
}

#[test]
fn a_signature_of_cosign_holds_and_only_for_its_image() {
    let key = PublicKey::of_pem(COSIGN_KEY.as_bytes()).unwrap();
    let image = Digest::new(COSIGN_IMAGE).unwrap();
    let bundle = Bundle::read(COSIGN).unwrap();
    bundle.verify(&image, &key).unwrap();
    assert!(matches!(bundle.verify(&Digest::of(b"x"), &key), Err(SignError::Other { .. })));
    assert_eq!(key.to_pem(), COSIGN_KEY);
    assert!(String::from_utf8_lossy(COSIGN).contains(&format!("\"hint\":\"{}\"", key.hint())));
    // Any change of what was signed, of its kind or of the signature is noticed.
    let text = String::from_utf8(COSIGN.to_vec()).unwrap();
    let changes = [
        ("\"payload\":\"eyJ", "\"payload\":\"eyK"),
        ("in-toto+json", "in-toto+jsom"),
        ("\"sig\":\"MEQCI", "\"sig\":\"MEQCJ"),
    ];
    for (from, to) in changes {
        let changed = text.replace(from, to);
        assert_ne!(changed, text);
        let outcome = Bundle::read(changed.as_bytes()).and_then(|bundle| bundle.verify(&image, &key));
        assert!(matches!(outcome, Err(SignError::Wrong)), "{from}: {outcome:?}");
    }
}

#[test]
fn what_is_no_bundle_is_refused() {
    let key = PublicKey::of_pem(COSIGN_KEY.as_bytes()).unwrap();
    let image = Digest::new(COSIGN_IMAGE).unwrap();
    let text = String::from_utf8(COSIGN.to_vec()).unwrap();
    let two = text.replace("\"signatures\":[", "\"signatures\":[{\"sig\":\"\"},");
    let other = text.replace("v0.3+json", "v0.9+json");
    let spoilt = text.replace("\"sig\":\"", "\"sig\":\"!");
    for bad in ["", "{}", &other, &two, &spoilt] {
        let outcome = Bundle::read(bad.as_bytes()).and_then(|bundle| bundle.verify(&image, &key));
        assert!(matches!(outcome, Err(SignError::Bundle { .. })), "{outcome:?}");
    }
    assert!(Bundle::read(&vec![b' '; (1 << 20) + 1]).is_err());
}

#[test]
fn keys_are_for_their_owner_alone_and_never_replaced() {
    let directory = TempDir::new();
    let path = directory.join("release.key");
    let (key, public) = PrivateKey::generate(&path).unwrap();
    assert_eq!(public, directory.join("release.pub"));
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&path), mode(&public)), (0o600, 0o644));
    assert_eq!(PrivateKey::read(&path).unwrap().public(), key.public());
    assert_eq!(PublicKey::read(&public).unwrap(), key.public());
    assert!(matches!(PrivateKey::generate(&path), Err(SignError::There { .. })));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = PrivateKey::read(&path).err().unwrap();
    assert!(error.to_string().contains("mode 0640") && error.hint().contains("chmod 600"), "{error}");
    for (name, text, expect) in [
        ("a", "", "is no private key in PEM"),
        ("b", COSIGN_KEY, "is no private key in PEM"),
        ("c", "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n", "encrypted with a passphrase"),
        ("d", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "is no ECDSA key over P-256"),
    ] {
        let path = directory.write(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let error = PrivateKey::read(&path).err().unwrap().to_string();
        assert!(error.contains(expect), "{error}");
    }
    assert!(PublicKey::read(&path).err().unwrap().to_string().contains("is no public key"));
}

#[test]
fn both_forms_of_an_image_are_signed_once() {
    let directory = TempDir::new();
    let store = ImageStore::open(&directory.join("images")).unwrap();
    let built = image(&store);
    let (key, _) = PrivateKey::generate(&directory.join("a.key")).unwrap();
    let (other, _) = PrivateKey::generate(&directory.join("b.key")).unwrap();
    let error = verify(&store, &built.manifest, &key.public()).unwrap_err().to_string();
    assert!(error.ends_with("it has none at all"), "{error}");
    let signed = sign(&store, &built.manifest, &key, &job()).unwrap();
    assert_eq!(signed.iter().map(|signed| signed.stored).collect::<Vec<_>>(), [true, false]);
    assert_eq!(sign(&store, &built.manifest, &key, &job()).unwrap(), signed, "nothing is signed twice");
    sign(&store, &built.manifest, &other, &job()).unwrap();
    for key in [&key, &other] {
        verify(&store, &built.manifest, &key.public()).unwrap();
    }
    let (stranger, _) = PrivateKey::generate(&directory.join("c.key")).unwrap();
    let error = verify(&store, &built.manifest, &stranger.public()).unwrap_err();
    assert!(error.to_string().ends_with("none of its 4 is by it"), "{error}");
    assert_eq!(error.report().kind.exit_code(), 3);
}

/// What is signed is what DSSE says, and OpenSSL agrees that it is.
#[test]
fn openssl_accepts_a_signature() {
    let Some(openssl) = testkit::needs("openssl", "openssl") else { return };
    let directory = TempDir::new();
    let (key, public) = PrivateKey::generate(&directory.join("a.key")).unwrap();
    let bundle = Bundle::sign(&Digest::of(b"x"), &key).unwrap().to_json();
    let bundle: serde_json::Value = serde_json::from_slice(&bundle).unwrap();
    let decode = |value: &serde_json::Value| {
        base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap()).unwrap()
    };
    let payload = decode(&bundle["dsseEnvelope"]["payload"]);
    let mut message = format!("DSSEv1 28 application/vnd.in-toto+json {} ", payload.len()).into_bytes();
    message.extend(&payload);
    let message = directory.write("message", message);
    let signature = directory.write("signature", decode(&bundle["dsseEnvelope"]["signatures"][0]["sig"]));
    let mut command = Command::new(openssl);
    command.args(["dgst", "-sha256", "-verify"]).arg(public).arg("-signature").arg(signature).arg(message);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
