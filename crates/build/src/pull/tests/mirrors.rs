//! Mirrors: asked first, left out when they fail, never believed.

use super::*;
use std::sync::Arc;

/// Pulls with a mirror in front of a registry that has the image; what was said.
fn pull_with(mirror: &Server, origin: &Server) -> (Result<BuiltImage, BuildError>, String) {
    let root = testkit::TempDir::new();
    let text =
        format!("[registry.\"{}\"]\nmirrors = [\"http://{}/hub\"]", origin.address(), mirror.address());
    root.write("registries.toml", text);
    let store = ImageStore::open(&root.join("images")).unwrap();
    let said = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&said);
    let say = move |line: &str| heard.lock().unwrap().push_str(&format!("{line}\n"));
    let options = PullOptions::new(Job::new(&say, &NEVER), PullPolicy::Missing);
    let pulled = pull(&format!("{}/app:1", origin.address()), &store, &options);
    let said = said.lock().unwrap().replace(mirror.address(), "MIRROR");
    (pulled, said)
}

fn mirror_of(image: FakeImage) -> impl Fn(&Request) -> Answer {
    move |request| {
        let path = request.path.replace("/v2/hub/app/", "/v2/app/");
        let method = request.method.clone();
        image.answer(&Request { path, method, headers: request.headers.clone(), body: Vec::new() })
    }
}

#[test]
fn a_mirror_has_everything() {
    let (mirror, origin) = (Server::start(mirror_of(hello())), Server::start(|_| Answer::status(500)));
    let (pulled, _) = pull_with(&mirror, &origin);
    assert_eq!(pulled.unwrap().manifest.as_str(), blob_digest(hello().manifest.as_bytes()));
    assert!(origin.seen().is_empty());
    assert_eq!(mirror.seen().len(), 4);
}

#[test]
fn a_mirror_that_fails_is_told_once_and_the_registry_asked() {
    let image = hello();
    let origin = Server::start(move |request| image.answer(request));
    let broken = Server::start(|_| Answer::status(502));
    let (pulled, said) = pull_with(&broken, &origin);
    pulled.unwrap();
    assert_eq!(broken.seen().len(), 1, "it is not asked again");
    assert_eq!(said.matches("warning: the mirror MIRROR is left out").count(), 1, "{said}");
}

#[test]
fn a_mirror_that_lies_is_found_out_and_the_registry_asked() {
    let (image, right) = (hello(), mirror_of(hello()));
    let lying = Server::start(move |request| {
        let mut answer = right(request);
        if request.path.contains("/blobs/") {
            *answer.body.last_mut().unwrap() ^= 1;
        }
        answer
    });
    let origin = Server::start(move |request| image.answer(request));
    let (pulled, said) = pull_with(&lying, &origin);
    assert_eq!(pulled.unwrap().config.command, ["/hello"]);
    assert!(said.contains("has digest"), "{said}");
}

#[test]
fn a_mirror_without_the_image_is_no_failure() {
    let image = hello();
    let origin = Server::start(move |request| image.answer(request));
    let empty = Server::start(|_| Answer::status(404));
    let (pulled, said) = pull_with(&empty, &origin);
    pulled.unwrap();
    assert!(!said.contains("warning"), "{said}");
}
