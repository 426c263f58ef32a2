//! Registries that answer slowly, wrongly or not at all: one sentence, a hint, and nothing is kept
//! that is not whole.

use super::*;
use crate::http::Patience;
use std::time::{Duration, Instant};

fn hurried() -> Patience {
    let short = Duration::from_millis(100);
    Patience { connect: short, answer: short, stored: short, stall: short }
}

/// Pulls where every request is answered like this; the sentence and its hint.
fn told(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> String {
    let mut fixture = Fixture::new(answer);
    let root = fixture.store.root().to_owned();
    fixture.store = ImageStore::open(&root).unwrap().with_patience(hurried());
    let text = fixture.error();
    assert!(text.starts_with("error: ") && text.contains("\nhint: "), "{text}");
    assert!(fs::read_dir(root.join("tmp")).unwrap().next().is_none(), "nothing half-made stays");
    assert!(fs::read_dir(root.join("layers")).unwrap().next().is_none(), "nothing wrong is unpacked");
    text
}

/// An answer for layers of its own; everything else is right.
fn layers(answer: impl Fn(Answer) -> Answer + Send + Sync + 'static) -> impl Fn(&Request) -> Answer {
    let image = hello();
    move |request| {
        let right = image.answer(request);
        if image.layers.contains(&right.body) { answer(right) } else { right }
    }
}

#[test]
fn each_part_of_an_answer_has_its_own_time() {
    let began = Instant::now();
    let text = told(|_| Answer { is_silent: true, ..Answer::default() });
    assert!(text.contains("cannot be reached: timeout"), "{text}");
    let text = told(layers(|right| Answer { cut_after: Some(10), hangs: true, ..right }));
    assert!(text.contains("cannot be reached: ") && text.contains("time"), "{text}");
    assert!(began.elapsed() < Duration::from_secs(20), "attempts are counted: {:?}", began.elapsed());
}

#[test]
fn a_length_that_is_wrong_is_noticed() {
    // Shorter than the manifest says, and cut before the length that was announced.
    let text = told(layers(|mut right| {
        right.body.truncate(20);
        right
    }));
    assert!(text.contains("it ended after 20 of "), "{text}");
    let text = told(layers(|right| Answer { cut_after: Some(20), ..right }));
    assert!(text.contains("cannot be reached"), "{text}");
}

#[test]
fn a_registry_that_asks_for_patience_gets_it_within_limits() {
    let (image, refusals) = (hello(), Mutex::new(2));
    let fixture = Fixture::new(move |request| {
        let mut left = refusals.lock().unwrap();
        if *left > 0 && request.path.contains("/manifests/") {
            *left -= 1;
            return Answer::status(429).header("retry-after", "0");
        }
        image.answer(request)
    });
    fixture.pull().unwrap();
    let fixture = Fixture::new(|_| Answer::status(429).header("retry-after", "3600"));
    let text = fixture.error();
    let expect = "asks for patience (status 429)\nhint: run it again in 3600 s; a login often allows more";
    assert!(text.contains(expect), "{text}");
    assert_eq!(fixture.requests(), 1, "nobody waits for an hour");
    let fixture = Fixture::new(|_| Answer::status(429));
    assert!(fixture.error().contains("hint: wait some minutes"));
    assert_eq!(fixture.requests(), 4);
}

#[test]
fn a_failing_registry_is_asked_again_within_limits() {
    let (image, failures) = (hello(), Mutex::new(3));
    let fixture = Fixture::new(move |request| {
        let mut left = failures.lock().unwrap();
        if *left > 0 && request.path.contains("/blobs/") {
            *left -= 1;
            return Answer::status(503);
        }
        image.answer(request)
    });
    fixture.pull().unwrap();
    let body = r#"{"errors":[{"code":"UNKNOWN","message":"the disk is on fire"}]}"#;
    let fixture = Fixture::new(move |_| Answer { status: 500, ..Answer::ok(body) });
    let text = fixture.error();
    assert!(text.contains("fails with status 500: the disk is on fire"), "{text}");
    assert_eq!(fixture.requests(), 4);
}

#[test]
fn a_refusal_says_why() {
    let body = "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"not\\u001b[31m yours\"}]}";
    let text = told(move |_| Answer { status: 403, ..Answer::ok(body) });
    assert!(
        text.contains("refuses access to HOST/app:1: not[31m yours\nhint: run `docker login HOST`"),
        "{text}"
    );
}

#[test]
fn a_page_for_people_is_no_registry() {
    let page = || Answer::ok("<html>Welcome</html>").header("content-type", "text/html; charset=utf-8");
    let text = told(move |_| page());
    assert!(text.contains("answered with text/html instead of a document of a registry"), "{text}");
    assert!(text.contains("`curl -i http://HOST/v2/app/manifests/1`"), "{text}");
}

#[test]
fn a_giant_manifest_is_not_read() {
    let text = told(|_| Answer::ok(vec![b' '; (4 << 20) + 1]));
    assert!(text.contains("larger than the limit of 4 MiB"), "{text}");
}

#[test]
fn a_manifest_that_announces_a_giant_is_refused() {
    let mut image = FakeImage::new(&[layer_tar(&[("hello", "one")])]);
    let size = format!("\"size\":{}", image.layers[0].len());
    image.manifest = image.manifest.replace(&size, "\"size\":99999999999999");
    let text = told(move |request| image.answer(request));
    assert!(text.contains("larger than the limit of 32 GiB"), "{text}");
}

#[test]
fn redirects_that_lead_in_a_circle_are_left() {
    let text = told(|_| Answer::status(307).header("location", "/v2/again"));
    assert!(text.contains("redirects more than 8 times"), "{text}");
}

#[test]
fn who_is_redirected_to_is_told_nothing() {
    let thief = Server::start(|request| {
        assert!(!request.headers.contains_key("authorization"), "the login went elsewhere");
        let realm = format!(r#"Bearer realm="http://{}/token",service="x""#, request.headers["host"]);
        Answer::status(401).header("www-authenticate", realm)
    });
    let (image, target) = (hello(), thief.address().to_owned());
    let fixture = Fixture::new(move |request| match request.path.contains("/blobs/") {
        true => Answer::status(307).header("location", format!("http://{target}/blob")),
        false => image.answer(request),
    });
    let login = fixture.store.root().join("config.json");
    fs::write(&login, format!(r#"{{"auths":{{"{}":{{"auth":"dTpw"}}}}}}"#, fixture.server.address()))
        .unwrap();
    let error = fixture.pull_as(PullPolicy::Missing, Some(&login)).unwrap_err();
    assert!(matches!(error, BuildError::Unauthorised { .. }), "{error}");
    assert!(thief.seen().iter().all(|path| path == "/blob"), "{:?}", thief.seen());
}

#[test]
fn a_blob_that_is_missing_is_told() {
    let text = told(layers(|_| Answer::status(404)));
    assert!(text.contains("does not have the blob sha256:") && text.contains("push it again"), "{text}");
}

#[test]
fn an_image_that_is_there_is_untouched_by_what_fails() {
    let (image, other) = (hello(), FakeImage::new(&[layer_tar(&[("hello", "two")])]));
    let moved = std::sync::Arc::new(AtomicBool::new(false));
    let is_moved = std::sync::Arc::clone(&moved);
    let fixture = Fixture::new(move |request| {
        if !is_moved.load(std::sync::atomic::Ordering::SeqCst) {
            return image.answer(request);
        }
        let mut answer = other.answer(request);
        if other.layers.contains(&answer.body) {
            *answer.body.last_mut().unwrap() ^= 1;
        }
        answer
    });
    let first = fixture.pull().unwrap();
    moved.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(matches!(fixture.pull_as(PullPolicy::Always, None), Err(BuildError::Digest { .. })));
    assert_eq!(fixture.pull().unwrap(), first);
    let directory = fixture.store.layer_dir(&first.layers[0]).unwrap();
    assert_eq!(fs::read_to_string(directory.join("hello")).unwrap(), "one");
}

/// In a process of its own: what a process mounts in a namespace of its own goes with it.
#[test]
fn a_full_disk_is_told_and_not_filled_further() {
    if !testkit::require_root("a full disk") {
        return;
    }
    let noise: String = (0..300_000u32)
        .map(|n| char::from(b'!' + (n.wrapping_mul(2_654_435_761) >> 25) as u8 % 90))
        .collect();
    let image = FakeImage::new(&[layer_tar(&[("big", &noise)])]);
    let server = Server::start(move |request| image.answer(request));
    let address = server.address().to_owned();
    let directory = testkit::TempDir::new();
    let path = directory.path().to_owned();
    // A thread of its own has the mount alone.
    let (text, left) = std::thread::spawn(move || {
        use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
        // SAFETY: the thread shares its file system context with nobody from here on and ends with this closure.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.unwrap();
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        mount("none", &path, "tmpfs", MountFlags::empty(), Some(c"size=256k")).unwrap();
        let store = ImageStore::open(&path.join("images")).unwrap();
        let options = PullOptions::new(Job::new(&|_| {}, &NEVER), PullPolicy::Missing);
        let text = pull(&format!("{address}/app:1"), &store, &options).unwrap_err().report().to_string();
        let blobs = fs::read_dir(path.join("images/oci/blobs/sha256")).unwrap();
        let names = blobs.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let left: Vec<String> = names.filter(|name| name.starts_with(".part-")).collect();
        (text, left)
    })
    .join()
    .unwrap();
    assert!(
        text.contains("No space left on device") && text.contains("hint: there is no space left"),
        "{text}"
    );
    assert!(left.is_empty(), "what cannot be ended makes room: {left:?}");
}
