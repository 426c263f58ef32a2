//! Manifests and indexes of a repository: fetched and checked, stored and checked.

use super::endpoint::{Call, Endpoint, drain, retry};
use super::error::RegistryError;
use crate::document::{self, DOCKER_LIST, DOCKER_MANIFEST};
use crate::error::BuildError;
use crate::http::{self, Method, Payload};
use model::Digest;
use serde::Deserialize;
use std::sync::atomic::AtomicBool;
use ureq::Body;
use ureq::http::Response;

const MAX_MANIFEST_BYTES: u64 = 4 << 20;
/// What a registry may be asked for under a name.
const ACCEPT: &str = concat!(
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, ",
    "application/vnd.docker.distribution.manifest.list.v2+json, ",
    "application/vnd.docker.distribution.manifest.v2+json"
);

/// A manifest or index as it came, checked against its digest.
#[derive(Debug)]
pub struct Fetched {
    pub bytes: Vec<u8>,
    pub media_type: String,
    pub digest: Digest,
}

impl Fetched {
    pub fn is_index(&self) -> bool {
        self.media_type == document::INDEX || self.media_type == DOCKER_LIST
    }
}

/// What tells the kind of a document that came without one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
}

impl Endpoint<'_> {
    /// The manifest or index under a tag or digest; `None` where there is none.
    pub fn manifest(&self, target: &str, cancel: &AtomicBool) -> Result<Option<Fetched>, BuildError> {
        retry(self.attempts(), cancel, || self.manifest_once(target, cancel))
    }

    fn manifest_once(&self, target: &str, cancel: &AtomicBool) -> Result<Option<Fetched>, BuildError> {
        let url = self.url("manifests", target);
        let headers = [("accept", ACCEPT)];
        let response = self.once(&Call::new(Method::GET, &url).headers(&headers), cancel)?;
        match response.status().as_u16() {
            200 => {}
            404 => return Ok(None),
            _ => return Err(self.unexpected(&url, response)),
        }
        let (content_type, header) =
            (text(&response, "content-type"), text(&response, "docker-content-digest"));
        if let Some(kind) = content_type.clone().filter(|kind| kind.starts_with("text/html")) {
            return Err(RegistryError::NoRegistry { url, kind }.into());
        }
        let bytes = http::read_body(&url, response.into_body(), MAX_MANIFEST_BYTES)?;
        let found = Digest::of(&bytes);
        // By tag, the header is what the registry believes it sent.
        let expected = Digest::new(target).ok().map(String::from);
        let expected = expected.or(header.filter(|digest| digest.starts_with("sha256:")));
        if let Some(expected) = expected.filter(|expected| *expected != found.as_str()) {
            return Err(BuildError::Digest { what: url, expected, found: found.to_string() });
        }
        let media_type = kind(&url, &bytes, content_type)?;
        Ok(Some(Fetched { bytes, media_type, digest: found }))
    }

    /// Stores a document under a tag or its digest. Answers whether the registry took it in as
    /// belonging to its subject.
    pub fn put_manifest(
        &self,
        target: &str,
        media_type: &str,
        bytes: &[u8],
        cancel: &AtomicBool,
    ) -> Result<bool, BuildError> {
        let url = self.url("manifests", target);
        let headers = [("content-type", media_type)];
        let call = Call::new(Method::PUT, &url).headers(&headers).payload(Payload::Bytes(bytes));
        let response = self.call(&call, cancel)?;
        if !response.status().is_success() {
            return Err(self.unexpected(&url, response));
        }
        let expected = Digest::of(bytes);
        let kept = text(&response, "docker-content-digest").filter(|digest| digest.starts_with("sha256:"));
        if let Some(found) = kept.filter(|kept| kept != expected.as_str()) {
            let (host, expected) = (self.host().to_owned(), expected.to_string());
            return Err(RegistryError::KeptOther { host, expected, found }.into());
        }
        let taken_in = text(&response, "oci-subject").is_some();
        drain(response);
        Ok(taken_in)
    }
}

/// A header without its parameters.
pub fn text(response: &Response<Body>, name: &str) -> Option<String> {
    let value = response.headers().get(name).and_then(|v| v.to_str().ok());
    value.map(|v| v.split(';').next().unwrap_or_default().trim().to_owned())
}

fn kind(url: &str, bytes: &[u8], content_type: Option<String>) -> Result<String, BuildError> {
    let kind: Kind = document::read(url, bytes)?;
    let known = [document::INDEX, document::MANIFEST, DOCKER_LIST, DOCKER_MANIFEST];
    let is_known = |text: &String| known.contains(&text.as_str());
    let stated = kind.media_type.filter(is_known).or(content_type.filter(is_known));
    let guess = if kind.manifests.is_some() { document::INDEX } else { document::MANIFEST };
    Ok(stated.unwrap_or_else(|| guess.to_owned()))
}
