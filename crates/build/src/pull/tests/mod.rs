//! Against a registry that answers rightly and in every way wrongly.

use super::*;
use crate::archive::host_architecture;
use crate::testing::{Answer, FakeImage, Request, Server, blob_digest, layer_tar};
use crate::unpack::Limits;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

static NEVER: AtomicBool = AtomicBool::new(false);

struct Fixture {
    _root: tempfile::TempDir,
    store: ImageStore,
    server: Server,
}

impl Fixture {
    fn new(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = ImageStore::open(root.path()).unwrap();
        Self { _root: root, store, server: Server::start(answer) }
    }
    fn serving(image: FakeImage) -> Self {
        Self::new(move |request| image.answer(request))
    }
    fn pull_as(&self, policy: PullPolicy, credentials: Option<&Path>) -> Result<BuiltImage, BuildError> {
        let credentials = credentials.map_or_else(|| PathBuf::from("/nonexistent"), Path::to_owned);
        let job = Job::new(&|_| {}, &NEVER);
        let options = PullOptions { credentials: Some(credentials), ..PullOptions::new(job, policy) };
        pull(&format!("{}/app:1", self.server.address()), &self.store, &options)
    }
    fn pull(&self) -> Result<BuiltImage, BuildError> {
        self.pull_as(PullPolicy::Missing, None)
    }
    fn error(&self) -> String {
        let error = self.pull().unwrap_err();
        let report = error.report();
        assert!(
            !self.store.root().join("oci/index.json").exists()
                || self.store.layout().list().unwrap().is_empty()
        );
        report.to_string().replace(self.server.address(), "HOST")
    }
    fn requests(&self) -> usize {
        self.server.seen().len()
    }
}

mod mirrors;
mod wrong;

fn hello() -> FakeImage {
    FakeImage::new(&[layer_tar(&[("hello", "one")]), layer_tar(&[("etc/", ""), ("etc/x", "two")])])
}

#[test]
fn an_image_is_fetched_and_unpacked_once() {
    let fixture = Fixture::serving(hello());
    let image = fixture.pull().unwrap();
    assert_eq!(image.config.command, ["/hello"]);
    assert_eq!(image.manifest.as_str(), blob_digest(hello().manifest.as_bytes()));
    let directory = fixture.store.layer_dir(&image.layers[1]).unwrap();
    assert_eq!(fs::read_to_string(directory.join("etc/x")).unwrap(), "two");
    let before = fixture.requests();
    assert_eq!(fixture.pull().unwrap(), image);
    assert_eq!(fixture.requests(), before, "what is there is not asked for");
    assert_eq!(fixture.pull_as(PullPolicy::Always, None).unwrap(), image);
    assert_eq!(fixture.requests(), before + 1, "only the manifest is asked for again");
}

#[test]
fn a_policy_of_never_asks_nobody() {
    let fixture = Fixture::serving(hello());
    assert!(matches!(fixture.pull_as(PullPolicy::Never, None), Err(BuildError::Absent { .. })));
    assert_eq!(fixture.requests(), 0);
}

#[test]
fn layers_come_back_after_a_restart_of_the_machine() {
    let fixture = Fixture::serving(hello());
    let image = fixture.pull().unwrap();
    let layers = fixture.store.root().join("layers");
    let ready = layers.join(format!("{}.ready", image.layers[0].hex()));
    let other_boot = fs::read_to_string(&ready).unwrap().replace("\"boot\":\"", "\"boot\":\"x");
    fs::write(&ready, other_boot).unwrap();
    fs::remove_file(layers.join(image.layers[0].hex()).join("hello")).unwrap();
    let directory = fixture.store.layer_dir(&image.layers[0]).unwrap();
    assert_eq!(fs::read_to_string(directory.join("hello")).unwrap(), "one");
    fixture.store.settle().unwrap();
    assert!(fs::read_to_string(&ready).unwrap().contains("\"synced\":true"));
}

#[test]
fn a_wrong_digest_is_never_unpacked() {
    let image = hello();
    let wrong = image.layers[1].clone();
    let fixture = Fixture::new(move |request| {
        let mut answer = image.answer(request);
        if answer.body == wrong {
            *answer.body.last_mut().unwrap() ^= 1;
        }
        answer
    });
    let text = fixture.error();
    assert!(text.contains("has digest") && text.contains("instead of"), "{text}");
}

#[test]
fn a_layer_that_unpacks_to_something_else_is_refused() {
    let mut image = hello();
    image.layers[0] = FakeImage::new(&[layer_tar(&[("hello", "other")])]).layers.remove(0);
    image.write_manifest();
    let text = Fixture::serving(image).error();
    assert!(text.contains("the content of the layer"), "{text}");
}

#[test]
fn a_broken_transfer_is_resumed() {
    let image = FakeImage::new(&[layer_tar(&[("hello", &"x".repeat(50_000))])]);
    let (layer, broken) = (image.layers[0].clone(), Mutex::new(false));
    let fixture = Fixture::new(move |request| {
        let mut answer = image.answer(request);
        if answer.body == layer && !std::mem::replace(&mut *broken.lock().unwrap(), true) {
            answer.cut_after = Some(100);
        }
        answer
    });
    fixture.pull().unwrap();
    let seen = fixture.server.seen();
    assert!(seen.iter().any(|request| request.ends_with(" bytes=100-")), "{seen:?}");
}

#[test]
fn a_server_that_always_breaks_off_is_given_up() {
    let image = hello();
    let fixture = Fixture::new(move |request| Answer { cut_after: Some(3), ..image.answer(request) });
    let text = fixture.error();
    assert!(text.contains("cannot be reached") && text.contains("hint:"), "{text}");
}

#[test]
fn the_platform_of_this_machine_is_chosen() {
    let (mine, other) = (hello(), FakeImage::for_architecture(&[layer_tar(&[("x", "y")])], "s390x"));
    let entry = |image: &FakeImage| {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":{},"platform":{{"os":"linux","architecture":"{}"}}}}"#,
            blob_digest(image.manifest.as_bytes()),
            image.manifest.len(),
            image.architecture
        )
    };
    let index = |entries: String| {
        let media = "application/vnd.oci.image.index.v1+json";
        let body = format!(r#"{{"schemaVersion":2,"mediaType":"{media}","manifests":[{entries}]}}"#);
        Answer::ok(body).header("content-type", media)
    };
    let both = index(format!("{},{}", entry(&other), entry(&mine)));
    let expected = mine.manifest.clone();
    let fixture = Fixture::new(move |request| match request.path.as_str() {
        "/v2/app/manifests/1" => both.clone(),
        _ => mine.answer(request),
    });
    assert_eq!(fixture.pull().unwrap().manifest.as_str(), blob_digest(expected.as_bytes()));
    let only_other = index(entry(&other));
    let text = Fixture::new(move |_| only_other.clone()).error();
    let wanted = format!("is for linux/s390x, this machine is linux/{}", host_architecture());
    assert!(text.contains(&wanted), "{text}");
    let text = Fixture::serving(other).error();
    assert!(text.contains(&wanted), "{text}");
}

#[test]
fn what_is_not_there_is_said_so() {
    let text = Fixture::new(|_| Answer::status(404)).error();
    assert_eq!(
        text,
        "error: the image HOST/app:1 was not found\nhint: check the name and tag of `HOST/app:1`; a private image needs `docker login` first"
    );
    let text = Fixture::new(|_| Answer::status(401)).error();
    assert!(text.contains("refuses access") && text.contains("docker login HOST"), "{text}");
    let fixture = Fixture::serving(hello());
    let gone = fixture.server.address().to_owned();
    drop(fixture.server);
    let options = PullOptions::new(Job::new(&|_| {}, &NEVER), PullPolicy::Missing);
    let text = pull(&format!("{gone}/app:1"), &fixture.store, &options).unwrap_err().report().to_string();
    assert!(text.contains("cannot be reached: ") && text.contains("hint: look at the registry"), "{text}");
}

#[test]
fn tokens_are_fetched_with_what_was_logged_in() {
    let image = hello();
    let fixture = Fixture::new(move |request| {
        let authorization = request.headers.get("authorization").map(String::as_str);
        let host = &request.headers["host"];
        match (request.path.as_str(), authorization) {
            (path, Some("Basic dTpw")) if path.starts_with("/token?") => {
                assert_eq!(path, "/token?scope=repository:app:pull&service=reg");
                Answer::ok(r#"{"token":"t0k"}"#)
            }
            (path, _) if path.starts_with("/token?") => Answer::status(401),
            (_, Some("Bearer t0k")) => image.answer(request),
            _ => Answer::status(401).header(
                "www-authenticate",
                format!(r#"Bearer realm="http://{host}/token",service="reg",scope="repository:app:pull""#),
            ),
        }
    });
    assert!(matches!(fixture.pull(), Err(BuildError::Unauthorised { .. })));
    let login = fixture.store.root().join("config.json");
    fs::write(&login, format!(r#"{{"auths":{{"{}":{{"auth":"dTpw"}}}}}}"#, fixture.server.address()))
        .unwrap();
    fixture.pull_as(PullPolicy::Missing, Some(&login)).unwrap();
}

#[test]
fn an_identity_token_is_exchanged_in_a_body() {
    let image = hello();
    let fixture = Fixture::new(move |request| {
        let host = &request.headers["host"];
        match (request.method.as_str(), request.headers.get("authorization").map(String::as_str)) {
            ("POST", None) => {
                let form = String::from_utf8(request.body.clone()).unwrap();
                let expect =
                    "grant_type=refresh_token&client_id=juchu&service=reg&scope=repository%3Aapp%3Apull";
                assert_eq!(form, format!("{expect}&refresh_token=r%2Fe%2Bf"));
                Answer::ok(r#"{"access_token":"acc"}"#)
            }
            (_, Some("Bearer acc")) => image.answer(request),
            (_, None) => {
                let challenge = format!(r#"Bearer realm="http://{host}/token",service="reg""#);
                Answer::status(401).header("www-authenticate", challenge)
            }
            (method, other) => panic!("{method} with {other:?}"),
        }
    });
    let login = fixture.store.root().join("auth.json");
    let text = format!(r#"{{"auths":{{"{}":{{"identitytoken":"r/e+f"}}}}}}"#, fixture.server.address());
    fs::write(&login, text).unwrap();
    fixture.pull_as(PullPolicy::Missing, Some(&login)).unwrap();
    assert!(fixture.server.seen().iter().all(|line| !line.contains("r/e") && !line.contains("r%2Fe")));
}

#[test]
fn credentials_do_not_follow_a_redirect_to_another_host() {
    let image = hello();
    let elsewhere = image.clone();
    let other = Server::start(move |request| {
        assert!(!request.headers.contains_key("authorization"), "the token went elsewhere");
        elsewhere.answer(request)
    });
    let target = other.address().to_owned();
    let fixture = Fixture::new(move |request| match request.headers.contains_key("authorization") {
        false => Answer::status(401).header("www-authenticate", "Basic realm=x"),
        true if request.path.contains("/blobs/") => {
            Answer::status(307).header("location", format!("http://{target}{}", request.path))
        }
        true => image.answer(request),
    });
    let login = fixture.store.root().join("config.json");
    fs::write(&login, format!(r#"{{"auths":{{"{}":{{"auth":"dTpw"}}}}}}"#, fixture.server.address()))
        .unwrap();
    fixture.pull_as(PullPolicy::Missing, Some(&login)).unwrap();
    assert_eq!(other.seen().len(), 3);
}

#[test]
fn a_token_is_not_asked_for_in_plain_text() {
    let challenge = r#"Bearer realm="http://auth.invalid/token""#;
    let text = Fixture::new(move |_| Answer::status(401).header("www-authenticate", challenge)).error();
    assert!(text.contains("without TLS"), "{text}");
}

#[test]
fn a_layer_cannot_leave_its_directory() {
    for entries in
        [vec![("../evil", "x")], vec![("a/../../evil", "x")], vec![("evil", "= ../../../../../etc/passwd")]]
    {
        let text = Fixture::serving(FakeImage::new(&[layer_tar(&entries)])).error();
        assert!(text.contains("leads out of the image"), "{text}");
    }
}

#[test]
fn links_in_a_layer_lead_within_it() {
    let outside = tempfile::tempdir().unwrap();
    let to = format!("-> {}", outside.path().display());
    let up = "-> ../../../../../../../../../../tmp";
    let below = outside.path().to_string_lossy().trim_start_matches('/').to_owned() + "/";
    let tar = layer_tar(&[
        ("tmp/", ""),
        (&below, ""),
        ("link", &to),
        ("link/evil", "x"),
        ("up", up),
        ("up/evil", "y"),
    ]);
    let fixture = Fixture::serving(FakeImage::new(&[tar]));
    let image = fixture.pull().unwrap();
    let directory = fixture.store.layer_dir(&image.layers[0]).unwrap();
    assert!(fs::read_dir(outside.path()).unwrap().next().is_none());
    assert!(!Path::new("/tmp/evil").exists());
    assert_eq!(fs::read_to_string(directory.join(below).join("evil")).unwrap(), "x");
    assert_eq!(fs::read_to_string(directory.join("tmp/evil")).unwrap(), "y");
}

#[test]
fn a_hard_link_to_nothing_or_through_a_link_out_is_refused() {
    let secret = tempfile::tempdir().unwrap();
    fs::write(secret.path().join("s"), "secret").unwrap();
    let to = format!("-> {}", secret.path().display());
    let text = Fixture::serving(FakeImage::new(&[layer_tar(&[("d", &to), ("evil", "= d/s")])])).error();
    assert!(text.contains("unpack /evil"), "{text}");
    assert_eq!(fs::metadata(secret.path().join("s")).unwrap().nlink(), 1);
}

#[test]
fn a_bomb_is_stopped() {
    let tar = layer_tar(&[("zeros", &"\0".repeat(5_000_000))]);
    let image = FakeImage::new(&[tar]);
    assert!(image.layers[0].len() < 50_000);
    for limits in [
        Limits { unpacked_bytes: 1 << 20, ..Limits::default() },
        Limits { ratio_from_bytes: 100_000, ratio: 20, ..Limits::default() },
    ] {
        let mut fixture = Fixture::serving(image.clone());
        let root = fixture.store.root().to_owned();
        fixture.store = ImageStore::open(&root).unwrap().with_limits(limits);
        let text = fixture.error();
        assert!(text.contains("it unpacks to more than"), "{text}");
        assert!(fs::read_dir(root.join("tmp")).unwrap().next().is_none(), "nothing half-made stays");
    }
}

#[test]
fn more_than_was_announced_is_not_read() {
    let image = hello();
    let layer = image.layers[0].clone();
    let fixture = Fixture::new(move |request| {
        let mut answer = image.answer(request);
        if answer.body == layer {
            answer.body.extend([0; 100_000]);
        }
        answer
    });
    let text = fixture.error();
    assert!(text.contains("larger than the limit"), "{text}");
}

#[test]
fn a_manifest_that_is_none_is_refused() {
    for body in ["", "{}", "[]", r#"{"schemaVersion":1,"config":{},"layers":[]}"#] {
        assert!(Fixture::new(move |_| Answer::ok(body)).error().contains("is malformed"));
    }
    let mut image = hello();
    image.manifest = image.manifest.replace("layer.v1.tar+gzip", "layer.v1.tar+secret");
    let text = Fixture::serving(image).error();
    assert!(text.contains("cannot be unpacked"), "{text}");
    let mut image = hello();
    image.layers.pop();
    image.write_manifest();
    let text = Fixture::serving(image).error();
    assert!(text.contains("different numbers of layers"), "{text}");
}

#[test]
fn it_can_be_stopped() {
    static STOP: AtomicBool = AtomicBool::new(true);
    let fixture = Fixture::serving(hello());
    let job = Job::new(&|_| {}, &STOP);
    let options = PullOptions::new(job, PullPolicy::Always);
    let name = format!("{}/app:1", fixture.server.address());
    assert!(matches!(pull(&name, &fixture.store, &options), Err(BuildError::Cancelled)));
}
