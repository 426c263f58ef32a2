//! What users may not do must not be possible in a roundabout way either.

use crate::harness::{INDEX, Served, manifest};
use base64::Engine as _;
use build::repositories::Algorithm;
use registry::Anonymous;
use registry::access::{Right, Rule};

fn login(name: &str, token: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{name}:{token}")))
}

struct Two {
    served: Served,
    alice: String,
    bob: String,
}

/// Two users with a repository each, and one that both may read.
fn two() -> Two {
    let served = Served::open(Anonymous::Nothing);
    let rule = |text, right| Rule::new(text, right).expect("a rule");
    let alice = served.user("alice", &[rule("alice/*", Right::Write), rule("base", Right::Write)]);
    let bob = served.user("bob", &[rule("bob/*", Right::Write), rule("base", Right::Read)]);
    Two { alice: login("alice", &alice), bob: login("bob", &bob), served }
}

impl Two {
    fn push(&self, who: &str, repository: &str, bytes: &[u8]) -> String {
        let digest = Algorithm::Sha256.of(bytes).to_string();
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        assert_eq!(self.served.ask("POST", &path, &[("authorization", who)], bytes).status, 201);
        digest
    }
    fn status(&self, who: &str, method: &str, path: &str) -> u16 {
        self.served.ask(method, path, &[("authorization", who)], b"").status
    }
}

#[test]
fn a_blob_of_one_user_cannot_be_had_by_another_who_knows_its_digest() {
    let two = two();
    let secret = two.push(&two.alice, "alice/app", b"the secret of alice");
    let (bob, alice) = (two.bob.as_str(), two.alice.as_str());
    assert_eq!(two.status(bob, "GET", &format!("/v2/alice/app/blobs/{secret}")), 403);
    assert_eq!(two.status(bob, "HEAD", &format!("/v2/bob/app/blobs/{secret}")), 404);
    // Mounting begins an upload instead, whether the source is named or not.
    for from in ["&from=alice/app", "", "&from=alice/none", "&from=../alice/app"] {
        let path = format!("/v2/bob/app/blobs/uploads/?mount={secret}{from}");
        assert_eq!(two.status(bob, "POST", &path), 202, "{from}");
        assert_eq!(two.status(bob, "GET", &format!("/v2/bob/app/blobs/{secret}")), 404);
    }
    // A manifest that names it does not bring it along.
    let config = two.push(bob, "bob/app", b"{}");
    let text = manifest(&config, &[&secret]);
    let headers = [("authorization", bob), ("content-type", crate::harness::MANIFEST)];
    let reply = two.served.ask("PUT", "/v2/bob/app/manifests/v1", &headers, text.as_bytes());
    assert_eq!((reply.status, reply.code().as_str()), (404, "MANIFEST_BLOB_UNKNOWN"));
    // Nor does an index that lists a manifest of somebody else.
    let layer = two.push(alice, "alice/app", b"layer");
    let headers = [("authorization", alice), ("content-type", crate::harness::MANIFEST)];
    let text = manifest(&layer, &[&secret]);
    assert_eq!(two.served.ask("PUT", "/v2/alice/app/manifests/v1", &headers, text.as_bytes()).status, 201);
    let listed = Algorithm::Sha256.of(text.as_bytes());
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{{"digest":"{listed}"}}]}}"#);
    let headers = [("authorization", bob), ("content-type", INDEX)];
    assert_eq!(two.served.ask("PUT", "/v2/bob/app/manifests/all", &headers, index.as_bytes()).status, 201);
    assert_eq!(two.status(bob, "GET", &format!("/v2/bob/app/manifests/{listed}")), 404);
}

#[test]
fn a_blob_that_one_may_read_is_mounted_without_sending_it() {
    let two = two();
    let base = two.push(&two.alice, "base", b"a layer for everybody");
    for path in [
        format!("/v2/bob/one/blobs/uploads/?mount={base}&from=base"),
        format!("/v2/bob/two/blobs/uploads/?mount={base}"),
    ] {
        assert_eq!(two.status(&two.bob, "POST", &path), 201, "{path}");
    }
    assert_eq!(two.status(&two.bob, "GET", &format!("/v2/bob/two/blobs/{base}")), 200);
}

#[test]
fn what_is_not_allowed_looks_the_same_whether_or_not_it_exists() {
    let two = two();
    two.push(&two.alice, "alice/app", b"x");
    for repository in ["alice/app", "alice/none"] {
        assert_eq!(two.status(&two.bob, "GET", &format!("/v2/{repository}/tags/list")), 403);
        assert_eq!(two.status(&two.bob, "POST", &format!("/v2/{repository}/blobs/uploads/")), 403);
    }
    assert_eq!(two.status(&two.bob, "POST", "/v2/base/blobs/uploads/"), 403, "bob may only read it");
    let catalog = two.served.ask("GET", "/v2/_catalog", &[("authorization", &two.bob)], b"").json();
    assert_eq!(catalog["repositories"], serde_json::json!([]));
    let catalog = two.served.ask("GET", "/v2/_catalog", &[("authorization", &two.alice)], b"").json();
    assert_eq!(catalog["repositories"], serde_json::json!(["alice/app"]));
}

#[test]
fn nobody_comes_in_without_a_login_unless_that_was_asked_for() {
    let two = two();
    for path in ["/v2/", "/v2/_catalog", "/v2/base/tags/list", "/token"] {
        let reply = two.served.get(path);
        assert_eq!(
            (reply.status, reply.header("www-authenticate")),
            (401, Some(r#"Basic realm="juchu""#)),
            "{path}"
        );
    }
    let wrong = login("alice", "wrong");
    assert_eq!(two.status(&wrong, "GET", "/v2/"), 401);
    assert_eq!(two.status(&two.alice, "GET", "/v2/"), 200);
    let public = Served::open(Anonymous::Pull);
    assert_eq!(public.get("/v2/").status, 401, "clients learn here how to log in");
    let token = public.get("/token?service=juchu&scope=repository:a:pull").json();
    let bearer = format!("Bearer {}", token["token"].as_str().expect("a token"));
    let with = [("authorization", bearer.as_str())];
    assert_eq!(public.ask("GET", "/v2/", &with, b"").status, 200);
    assert_eq!(public.ask("POST", "/v2/a/blobs/uploads/", &with, b"").status, 401);
    assert_eq!(public.get("/v2/a/tags/list").status, 404, "also without a token");
}

#[test]
fn an_upload_is_gone_on_with_only_in_its_repository() {
    let two = two();
    let reply = two.served.ask("POST", "/v2/alice/app/blobs/uploads/", &[("authorization", &two.alice)], b"");
    let id = reply.header("location").expect("a location").rsplit('/').next().expect("an id").to_owned();
    for method in ["GET", "PATCH", "DELETE"] {
        assert_eq!(two.status(&two.bob, method, &format!("/v2/bob/app/blobs/uploads/{id}")), 404);
        assert_eq!(two.status(&two.bob, method, &format!("/v2/alice/app/blobs/uploads/{id}")), 403);
    }
    assert_eq!(two.status(&two.alice, "GET", &format!("/v2/alice/app/blobs/uploads/{id}")), 204);
}
