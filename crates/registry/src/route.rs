//! Which of the specification's endpoints a request is for. Names are checked here, once.

use crate::reply::{Code, Failure};
use crate::session::UploadId;
use build::repositories::{ContentDigest, RepositoryName, Tag};
use hyper::{Method, StatusCode};

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    Ping,
    /// Where clients fetch tokens.
    Token,
    Catalog,
    Tags(RepositoryName),
    Manifest(RepositoryName, Reference),
    Blob(RepositoryName, ContentDigest),
    Uploads(RepositoryName),
    Upload(RepositoryName, UploadId),
    Referrers(RepositoryName, ContentDigest),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    Tag(Tag),
    Digest(ContentDigest),
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl Route {
    /// Reads a path; the query is not part of it.
    pub fn read(path: &str) -> Result<Self, Failure> {
        if path == "/token" {
            return Ok(Self::Token);
        }
        let Some(rest) = path.strip_prefix("/v2").filter(|rest| rest.is_empty() || rest.starts_with('/'))
        else {
            return Err(Failure::missing(
                Code::Unsupported,
                "this is a registry; its endpoints are below /v2/",
            ));
        };
        match rest {
            "" | "/" => return Ok(Self::Ping),
            "/_catalog" => return Ok(Self::Catalog),
            _ => {}
        }
        Self::of_repository(&rest[1..])
    }

    fn of_repository(rest: &str) -> Result<Self, Failure> {
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Ok(Self::Tags(repository(name)?));
        }
        if let Some(name) = rest.strip_suffix("/blobs/uploads/").or(rest.strip_suffix("/blobs/uploads")) {
            return Ok(Self::Uploads(repository(name)?));
        }
        let nowhere = || Failure::missing(Code::Unsupported, "there is no such endpoint");
        let (front, last) = rest.rsplit_once('/').ok_or_else(nowhere)?;
        if let Some(name) = front.strip_suffix("/blobs/uploads") {
            let id = UploadId::parse(last).ok_or_else(|| {
                Failure::missing(Code::BlobUploadUnknown, "there is no such upload; begin a new one")
            })?;
            return Ok(Self::Upload(repository(name)?, id));
        }
        if let Some(name) = front.strip_suffix("/manifests") {
            return Ok(Self::Manifest(repository(name)?, reference(last)?));
        }
        if let Some(name) = front.strip_suffix("/blobs") {
            return Ok(Self::Blob(repository(name)?, digest(last)?));
        }
        if let Some(name) = front.strip_suffix("/referrers") {
            return Ok(Self::Referrers(repository(name)?, digest(last)?));
        }
        Err(nowhere())
    }

    /// The methods that have a meaning here.
    pub fn methods(&self) -> &'static [Method] {
        const READ: &[Method] = &[Method::GET, Method::HEAD];
        match self {
            Self::Ping | Self::Token | Self::Catalog | Self::Tags(_) | Self::Referrers(..) => READ,
            Self::Manifest(..) => &[Method::GET, Method::HEAD, Method::PUT, Method::DELETE],
            Self::Blob(..) => &[Method::GET, Method::HEAD, Method::DELETE],
            Self::Uploads(_) => &[Method::POST],
            Self::Upload(..) => &[Method::GET, Method::HEAD, Method::PATCH, Method::PUT, Method::DELETE],
        }
    }

    pub fn check(&self, method: &Method) -> Result<(), Failure> {
        if self.methods().contains(method) {
            return Ok(());
        }
        let allowed: Vec<&str> = self.methods().iter().map(Method::as_str).collect();
        let failure = Failure::new(StatusCode::METHOD_NOT_ALLOWED, Code::Unsupported, "not with this method");
        Err(failure.with(hyper::header::ALLOW, allowed.join(", ")))
    }
}

fn repository(text: &str) -> Result<RepositoryName, Failure> {
    RepositoryName::new(text).ok_or_else(|| {
        let message = "a repository is called by lower-case letters and digits, with `.`, `_`, `-` and `/` between, \
                       at most 255 characters";
        Failure::bad(Code::NameInvalid, message)
    })
}

pub fn digest(text: &str) -> Result<ContentDigest, Failure> {
    ContentDigest::parse(&colon(text)).ok_or_else(|| {
        Failure::bad(Code::DigestInvalid, "a digest is `sha256:` or `sha512:` and digits in lower case")
    })
}

fn reference(text: &str) -> Result<Reference, Failure> {
    let text = colon(text);
    if text.contains(':') {
        return digest(&text).map(Reference::Digest);
    }
    let message = "a tag is letters, digits, `_`, `.` and `-`, at most 128 characters";
    Tag::new(&text).map(Reference::Tag).ok_or_else(|| Failure::bad(Code::ManifestInvalid, message))
}

/// The one character of a reference that some clients encode.
fn colon(text: &str) -> String {
    text.replace("%3A", ":").replace("%3a", ":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use build::repositories::Algorithm;

    fn name(text: &str) -> RepositoryName {
        RepositoryName::new(text).expect("a name")
    }

    #[test]
    fn endpoints_are_told_apart_also_by_names_that_look_like_them() {
        let digest = Algorithm::Sha256.of(b"");
        let tag = |text| Reference::Tag(Tag::new(text).expect("a tag"));
        let id = UploadId::parse("00000000-0000-4000-8000-000000000000").expect("an id");
        for (path, expect) in [
            ("/v2".to_owned(), Route::Ping),
            ("/v2/".to_owned(), Route::Ping),
            ("/v2/_catalog".to_owned(), Route::Catalog),
            ("/v2/a/b/tags/list".to_owned(), Route::Tags(name("a/b"))),
            ("/v2/a/manifests/v1".to_owned(), Route::Manifest(name("a"), tag("v1"))),
            ("/v2/manifests/manifests/tags".to_owned(), Route::Manifest(name("manifests"), tag("tags"))),
            ("/v2/a/tags/list/manifests/x".to_owned(), Route::Manifest(name("a/tags/list"), tag("x"))),
            (format!("/v2/a/blobs/{digest}"), Route::Blob(name("a"), digest.clone())),
            (format!("/v2/a/blobs/sha256%3A{}", digest.hex()), Route::Blob(name("a"), digest.clone())),
            ("/v2/blobs/blobs/uploads/".to_owned(), Route::Uploads(name("blobs"))),
            (format!("/v2/a/blobs/uploads/{id}"), Route::Upload(name("a"), id)),
            (format!("/v2/a/referrers/{digest}"), Route::Referrers(name("a"), digest.clone())),
        ] {
            assert_eq!(Route::read(&path).expect(&path), expect, "{path}");
        }
    }

    #[test]
    fn what_leads_nowhere_is_said() {
        for (path, status) in [
            ("/", 404),
            ("/v2x/", 404),
            ("/v2/a", 404),
            ("/v2/a/b/c", 404),
            ("/v2/../../etc/passwd/manifests/x", 400),
            ("/v2/a/../b/tags/list", 400),
            ("/v2/a%2f..%2fb/tags/list", 400),
            ("/v2/A/tags/list", 400),
            ("/v2//tags/list", 400),
            ("/v2/tags/list", 404),
            ("/v2/a/manifests/..", 400),
            ("/v2/a/manifests/%2e%2e", 400),
            ("/v2/a/manifests/", 400),
            ("/v2/a/manifests/sha256:baddigeststring", 400),
            ("/v2/a/blobs/md5:00", 400),
            ("/v2/a/blobs/uploads/../../x", 404),
        ] {
            let failure = Route::read(path).expect_err(path);
            assert_eq!(failure.status.as_u16(), status, "{path}: {}", failure.message);
        }
    }
}
