//! Against a registry of a few lines that keeps what it is given, and does some of it wrongly.

use super::*;
use crate::document::{self, Index};
use crate::plan::{Entry, EntryKind, ImagePlan, Source};
use crate::testing::{Answer, Request, Server, blob_digest};
use model::Timestamp;
use model::image::{BuiltImage, ImageConfig};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use testkit::TempDir;

static NEVER: AtomicBool = AtomicBool::new(false);

/// What a registry holds: blobs and manifests by path, unfinished uploads by number.
#[derive(Default)]
struct Held {
    documents: HashMap<String, Vec<u8>>,
    uploads: HashMap<String, Vec<u8>>,
    started: usize,
    /// Whether it knows documents that belong to others.
    lists_referrers: bool,
    /// Whether it says what it kept of an upload that broke off.
    resumes: bool,
}

impl Held {
    fn answer(&mut self, request: &Request) -> Answer {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let query: HashMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        match request.method.as_str() {
            "GET" | "HEAD" if path.contains("/uploads/") => self.state(path),
            "GET" | "HEAD" if path.contains("/referrers/") && !self.lists_referrers => Answer::status(404),
            "GET" | "HEAD" => self.documents.get(path).map_or(Answer::status(404), |bytes| {
                let kind = if bytes
                    .starts_with(b"{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index")
                {
                    document::INDEX
                } else {
                    document::MANIFEST
                };
                let body = if request.method == "HEAD" { Vec::new() } else { bytes.clone() };
                Answer::ok(body).header("content-type", kind)
            }),
            "POST" => match query.get("mount").zip(query.get("from")) {
                Some((digest, from))
                    if self.documents.contains_key(&format!("/v2/{from}/blobs/{digest}")) =>
                {
                    let bytes = self.documents[&format!("/v2/{from}/blobs/{digest}")].clone();
                    self.documents.insert(path.replace("uploads/", digest), bytes);
                    Answer::status(201)
                }
                _ => self.begin(path),
            },
            "PATCH" => self.append(path, request, 202),
            "PUT" if path.contains("/uploads/") => {
                let answer = self.append(path, request, 201);
                let expected = query["digest"];
                if self.uploads.get(path).is_some_and(|bytes| blob_digest(bytes) == expected) {
                    let repository = path.split_once("/blobs/").unwrap().0;
                    let bytes = self.uploads.remove(path).unwrap();
                    self.documents.insert(format!("{repository}/blobs/{expected}"), bytes);
                }
                answer
            }
            _ => self.put_manifest(path, &request.body),
        }
    }

    fn begin(&mut self, path: &str) -> Answer {
        self.started += 1;
        let location = format!("{path}{}", self.started);
        self.uploads.insert(location.clone(), Vec::new());
        Answer::status(202).header("location", location)
    }

    fn append(&mut self, path: &str, request: &Request, status: u16) -> Answer {
        let Some(bytes) = self.uploads.get_mut(path) else { return Answer::status(404) };
        if let Some(range) = request.headers.get("content-range") {
            assert!(range.starts_with(&format!("{}-", bytes.len())), "{range} after {}", bytes.len());
        }
        bytes.extend(&request.body);
        Answer::status(status).header("location", path)
    }

    fn state(&mut self, path: &str) -> Answer {
        match self.uploads.get(path) {
            Some(bytes) if self.resumes => Answer::status(204)
                .header("location", path)
                .header("range", format!("0-{}", bytes.len().saturating_sub(1))),
            _ => Answer::status(404),
        }
    }

    fn put_manifest(&mut self, path: &str, body: &[u8]) -> Answer {
        let digest = blob_digest(body);
        let by_digest = format!("{}/{digest}", path.rsplit_once('/').unwrap().0);
        self.documents.insert(by_digest, body.to_vec());
        self.documents.insert(path.to_owned(), body.to_vec());
        let answer = Answer::status(201).header("docker-content-digest", digest);
        let manifest: serde_json::Value = serde_json::from_slice(body).unwrap();
        match manifest["subject"]["digest"].as_str() {
            Some(subject) if self.lists_referrers => answer.header("oci-subject", subject),
            _ => answer,
        }
    }
}

struct Fixture {
    _root: TempDir,
    store: ImageStore,
    image: BuiltImage,
    held: Arc<Mutex<Held>>,
    server: Server,
}

impl Fixture {
    fn new(held: Held) -> Self {
        Self::cutting(held, |_| u64::MAX)
    }

    fn cutting(held: Held, most: impl Fn(&Request) -> u64 + Send + Sync + 'static) -> Self {
        let held = Arc::new(Mutex::new(held));
        let holding = Arc::clone(&held);
        Self::serving(
            held,
            Server::start_cutting(most, move |request| holding.lock().unwrap().answer(request)),
        )
    }

    fn serving(held: Arc<Mutex<Held>>, server: Server) -> Self {
        let root = TempDir::new();
        let store = ImageStore::open(&root.join("images")).unwrap();
        let image = image(&store);
        Self { _root: root, store, image, held, server }
    }

    fn push(&self, name: &str, compression: Compression) -> Result<Pushed, BuildError> {
        let credentials = Some(PathBuf::from("/nonexistent"));
        let job = Job::new(&|_| {}, &NEVER);
        let options = PushOptions { credentials, compression, ..PushOptions::new(job) };
        push(&self.store, &self.image.manifest, &format!("{}/{name}", self.server.address()), &options)
    }

    fn told(&self) -> String {
        let report = self.push("app:1", Compression::AsStored).unwrap_err().report();
        assert!(!report.hints.is_empty(), "{report}");
        report.to_string().replace(self.server.address(), "HOST")
    }
}

/// One layer of noise, so that it does not become small.
fn image(store: &ImageStore) -> BuiltImage {
    let noise: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let entry = Entry {
        path: "/noise".to_owned(),
        kind: EntryKind::File(Source::Bytes(noise.into())),
        mode: 0o644,
        uid: 0,
        gid: 0,
    };
    let plan = ImagePlan {
        packages: Vec::new(),
        exclude: Vec::new(),
        archive: Default::default(),
        users: Vec::new(),
        app: vec![entry],
        base_extra: Vec::new(),
        config: ImageConfig { command: vec!["/noise".to_owned()], ..ImageConfig::default() },
        inputs: Digest::of(b""),
        origin: "a test".to_owned(),
        created: Timestamp(0),
    };
    let built = crate::assemble(&plan, store, &|_| {}).unwrap();
    crate::sbom::attach(store, &built, Vec::new(), &BTreeMap::new()).unwrap();
    built
}

#[test]
fn an_upload_that_breaks_off_goes_on_where_the_registry_says() {
    let cut = Mutex::new(true);
    let most = move |request: &Request| {
        let is_large = request.headers.get("content-length").is_some_and(|length| length.len() > 5);
        if is_large && std::mem::take(&mut *cut.lock().unwrap()) { 100_000 } else { u64::MAX }
    };
    let fixture = Fixture::cutting(Held { resumes: true, ..Held::default() }, most);
    fixture.push("app:1", Compression::AsStored).unwrap();
    let seen = fixture.server.seen();
    assert_eq!(seen.iter().filter(|line| line.starts_with("PATCH ")).count(), 1, "{seen:?}");
    let held = fixture.held.lock().unwrap();
    let manifest: Manifest = fixture.store.layout().document(&fixture.image.manifest).unwrap();
    let layer = format!("/v2/app/blobs/{}", manifest.layers[0].digest);
    assert_eq!(blob_digest(&held.documents[&layer]), manifest.layers[0].digest.as_str());
}

#[test]
fn an_upload_that_breaks_off_is_begun_anew_where_nothing_was_kept() {
    let cut = Mutex::new(2);
    let most = move |request: &Request| {
        let is_large = request.headers.get("content-length").is_some_and(|length| length.len() > 5);
        let mut left = cut.lock().unwrap();
        if is_large && *left > 0 {
            *left -= 1;
            return 10_000;
        }
        u64::MAX
    };
    let fixture = Fixture::cutting(Held::default(), most);
    let pushed = fixture.push("app:1", Compression::AsStored).unwrap();
    assert_eq!(pushed.blobs.sent, 2);
    let always = |request: &Request| {
        if request.method == "PUT" && request.path.contains("digest=") { 0 } else { u64::MAX }
    };
    let fixture = Fixture::cutting(Held::default(), always);
    assert!(fixture.told().contains("cannot be reached"), "attempts end");
    assert!(!fixture.held.lock().unwrap().documents.contains_key("/v2/app/manifests/1"));
}

#[test]
fn documents_are_listed_where_the_registry_does_not_by_itself() {
    let fixture = Fixture::new(Held::default());
    let pushed = fixture.push("app:1", Compression::AsStored).unwrap();
    assert_eq!(pushed.documents, 2);
    fixture.push("app:1", Compression::AsStored).unwrap();
    let held = fixture.held.lock().unwrap();
    let tag = format!("/v2/app/manifests/sha256-{}", pushed.digest.hex());
    let index: Index = serde_json::from_slice(&held.documents[&tag]).unwrap();
    let kinds: Vec<_> = index.manifests.iter().filter_map(|entry| entry.artifact_type.as_deref()).collect();
    assert_eq!(kinds, ["application/vnd.cyclonedx+json", "application/spdx+json"], "each once");
    drop(held);
    let fixture = Fixture::new(Held { lists_referrers: true, ..Held::default() });
    let pushed = fixture.push("app:1", Compression::AsStored).unwrap();
    let tag = format!("/v2/app/manifests/sha256-{}", pushed.digest.hex());
    assert!(!fixture.held.lock().unwrap().documents.contains_key(&tag));
}

#[test]
fn documents_name_the_form_that_travelled() {
    let fixture = Fixture::new(Held::default());
    let pushed = fixture.push("app:1", Compression::Gzip).unwrap();
    assert!(!pushed.same);
    let held = fixture.held.lock().unwrap();
    let tag = format!("/v2/app/manifests/sha256-{}", pushed.digest.hex());
    let index: Index = serde_json::from_slice(&held.documents[&tag]).unwrap();
    for entry in index.manifests {
        let manifest: Manifest =
            serde_json::from_slice(&held.documents[&format!("/v2/app/manifests/{}", entry.digest)]).unwrap();
        assert_eq!(manifest.subject.unwrap().digest, pushed.digest);
    }
}

#[test]
fn a_packed_form_that_is_remembered_wrongly_is_made_anew() {
    let fixture = Fixture::new(Held::default());
    let first = fixture.push("app:1", Compression::Gzip).unwrap();
    let manifest: Manifest = fixture.store.layout().document(&fixture.image.manifest).unwrap();
    let blob = &manifest.layers[0].digest;
    let mut known = known::Known::of(&fixture.store, blob);
    known.gzip = Some(known::Form { digest: Digest::of(b"other"), size: 5 });
    known.places.clear();
    known.keep(&fixture.store, blob).unwrap();
    assert_eq!(fixture.push("other:1", Compression::Gzip).unwrap().digest, first.digest);
}

#[test]
fn a_wrong_registry_is_told() {
    let answering = |status: u16, on: &'static str| {
        let held = Arc::new(Mutex::new(Held::default()));
        let holding = Arc::clone(&held);
        let body = r#"{"errors":[{"code":"X","message":"not so"}]}"#;
        let server =
            Server::start(move |request| match format!("{} {}", request.method, request.path).contains(on) {
                true => Answer { status, ..Answer::ok(body) },
                false => holding.lock().unwrap().answer(request),
            });
        Fixture::serving(held, server)
    };
    for (status, on, expect) in [
        (403, "POST ", "the registry HOST refuses to store HOST/app:1: not so"),
        (413, "digest=", "answered with status 413: not so"),
        (400, "PUT /v2/app/manifests/1", "/v2/app/manifests/1 answered with status 400: not so"),
        (500, "HEAD ", "fails with status 500"),
        (429, "POST ", "asks for patience"),
        (401, "POST ", "refuses access to HOST/app:1"),
    ] {
        let text = answering(status, on).told();
        assert!(text.contains(expect), "{text}");
    }
    let held = Arc::new(Mutex::new(Held::default()));
    let holding = Arc::clone(&held);
    let server = Server::start(move |request| match request.path.contains("/manifests/") {
        true => Answer::status(201).header("docker-content-digest", blob_digest(b"other")),
        false => holding.lock().unwrap().answer(request),
    });
    let text = Fixture::serving(held, server).told();
    assert!(text.contains("HOST kept the manifest as sha256:"), "{text}");
}

#[test]
fn tokens_are_for_storing_and_for_what_is_taken_over() {
    let held = Arc::new(Mutex::new(Held::default()));
    let holding = Arc::clone(&held);
    let server = Server::start(move |request| {
        let authorization = request.headers.get("authorization").map(String::as_str).unwrap_or_default();
        let host = &request.headers["host"];
        if let Some(query) = request.path.strip_prefix("/token?") {
            assert_eq!(authorization, "Basic dTpw");
            return Answer::ok(format!(r#"{{"token":"{}"}}"#, query.replace("&service=reg", "")));
        }
        let wanted = format!("repository:{}:pull,push", request.path.split('/').nth(2).unwrap());
        let mount = request.path.split_once("from=").map(|(_, from)| format!("scope=repository:{from}:pull"));
        if authorization.contains(&wanted) && mount.is_none_or(|mount| authorization.contains(&mount)) {
            return holding.lock().unwrap().answer(request);
        }
        let challenge = format!(r#"Bearer realm="http://{host}/token",service="reg",scope="{wanted}""#);
        Answer::status(401).header("www-authenticate", challenge)
    });
    let fixture = Fixture::serving(held, server);
    let text = format!(r#"{{"auths":{{"{}":{{"auth":"dTpw"}}}}}}"#, fixture.server.address());
    let login = fixture._root.write("config.json", text);
    let push = |name: &str| {
        let job = Job::new(&|_| {}, &NEVER);
        let options = PushOptions { credentials: Some(login.clone()), ..PushOptions::new(job) };
        push(
            &fixture.store,
            &fixture.image.manifest,
            &format!("{}/{name}", fixture.server.address()),
            &options,
        )
    };
    assert_eq!(push("app:1").unwrap().blobs.sent, 2);
    assert_eq!(push("other:1").unwrap().blobs.mounted, 2);
}

#[test]
fn a_digest_that_it_will_not_have_is_refused() {
    let fixture = Fixture::new(Held::default());
    let wanted = format!("app@{}", fixture.image.manifest);
    let error = fixture.push(&wanted, Compression::Gzip).unwrap_err().to_string();
    assert!(error.contains("the image is pushed as sha256:"), "{error}");
    assert!(fixture.push(&wanted, Compression::AsStored).unwrap().same);
}

#[test]
fn it_can_be_stopped() {
    let fixture = Fixture::new(Held::default());
    let stop = AtomicBool::new(true);
    let options = PushOptions::new(Job::new(&|_| {}, &stop));
    let name = format!("{}/app:1", fixture.server.address());
    let outcome = push(&fixture.store, &fixture.image.manifest, &name, &options);
    assert!(matches!(outcome, Err(BuildError::Cancelled)));
    assert!(fixture.held.lock().unwrap().documents.is_empty());
}
