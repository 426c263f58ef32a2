//! A registry as far as reading from it goes (OCI distribution specification 1.1).

use super::credentials::{self, Challenge};
use super::{ACCEPT, DOCKER_LIST, DOCKER_MANIFEST, Reference};
use crate::document::{self, Descriptor};
use crate::download::{self, Wanted};
use crate::error::BuildError;
use crate::http::{self, Http};
use model::Digest;
use serde::Deserialize;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use ureq::Body;
use ureq::http::Response;

const MAX_MANIFEST_BYTES: u64 = 4 << 20;

pub struct Client<'a> {
    http: &'a Http,
    reference: &'a Reference,
    /// What somebody logged in with.
    basic: Option<String>,
    /// What the registry wants to see; learnt from its first refusal.
    authorization: Mutex<Option<String>>,
}

/// A manifest or index as it came, checked against its digest.
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

impl<'a> Client<'a> {
    pub fn new(
        http: &'a Http,
        reference: &'a Reference,
        credentials: Option<&Path>,
    ) -> Result<Self, BuildError> {
        let basic = credentials::basic(credentials, &reference.registry)?;
        Ok(Self { http, reference, basic, authorization: Mutex::new(None) })
    }

    fn url(&self, kind: &str, target: &str) -> String {
        format!("{}/v2/{}/{kind}/{target}", self.reference.base_url(), self.reference.repository)
    }

    /// The manifest or index under a tag or digest.
    pub fn manifest(&self, target: &str, cancel: &AtomicBool) -> Result<Fetched, BuildError> {
        let url = self.url("manifests", target);
        let (bytes, content_type, header) = download::retry(cancel, || {
            let response = self.get(&url, &[("accept", ACCEPT)])?;
            match response.status().as_u16() {
                200 => {}
                404 => return Err(BuildError::NotFound { reference: self.reference.to_string() }),
                status => return Err(BuildError::Status { url: url.clone(), status }),
            }
            let text = |name: &str| {
                let value = response.headers().get(name).and_then(|v| v.to_str().ok());
                value.map(|v| v.split(';').next().unwrap_or_default().trim().to_owned())
            };
            let (content_type, digest) = (text("content-type"), text("docker-content-digest"));
            Ok((http::read_body(&url, response.into_body(), MAX_MANIFEST_BYTES)?, content_type, digest))
        })?;
        let found = Digest::of(&bytes);
        // By tag, the header is what the registry believes it sent.
        let expected = Digest::new(target).ok().map(String::from);
        let expected = expected.or(header.filter(|digest| digest.starts_with("sha256:")));
        if let Some(expected) = expected.filter(|expected| *expected != found.as_str()) {
            return Err(BuildError::Digest { what: url, expected, found: found.to_string() });
        }
        let media_type = self.kind(&url, &bytes, content_type)?;
        Ok(Fetched { bytes, media_type, digest: found })
    }

    fn kind(&self, url: &str, bytes: &[u8], content_type: Option<String>) -> Result<String, BuildError> {
        let kind: Kind = document::read(url, bytes)?;
        let known = [document::INDEX, document::MANIFEST, DOCKER_LIST, DOCKER_MANIFEST];
        let is_known = |text: &String| known.contains(&text.as_str());
        let stated = kind.media_type.filter(is_known).or(content_type.filter(is_known));
        let guess = if kind.manifests.is_some() { document::INDEX } else { document::MANIFEST };
        Ok(stated.unwrap_or_else(|| guess.to_owned()))
    }

    /// A blob into the file it belongs in.
    pub fn blob(
        &self,
        blob: &Descriptor,
        path: &Path,
        limit: u64,
        cancel: &AtomicBool,
    ) -> Result<(), BuildError> {
        if download::is_intact(path, blob.digest.hex(), cancel)? {
            return Ok(());
        }
        let url = self.url("blobs", blob.digest.as_str());
        let attempt = || {
            let authorization = self.authorization();
            let headers: Vec<_> =
                authorization.iter().map(|value| ("authorization", value.as_str())).collect();
            let wanted = Wanted {
                url: &url,
                headers: &headers,
                sha256: blob.digest.hex(),
                size: Some(blob.size),
                limit,
            };
            download::to_file(self.http, &wanted, path, cancel)
        };
        match attempt() {
            Err(BuildError::Status { status: 401, .. }) => {
                // The token ran out while other layers were fetched; asking again brings a new one.
                self.get(&self.url("manifests", self.reference.target()), &[("accept", ACCEPT)])?;
                attempt()
            }
            other => other,
        }
    }

    fn authorization(&self) -> Option<String> {
        self.authorization.lock().expect("nothing panics while it holds this").clone()
    }

    /// Asks, and once more with what the registry wants to see.
    fn get(&self, url: &str, headers: &[(&str, &str)]) -> Result<Response<Body>, BuildError> {
        let known = self.authorization();
        let mut all = headers.to_vec();
        all.extend(known.iter().map(|value| ("authorization", value.as_str())));
        let response = self.http.get(url, &all)?;
        if response.status().as_u16() != 401 {
            return self.unless_refused(response);
        }
        let header = response.headers().get("www-authenticate").and_then(|v| v.to_str().ok());
        let challenge = header.and_then(Challenge::parse).ok_or_else(|| self.refused())?;
        let value = credentials::answer(self.http, challenge, self.reference, self.basic.as_deref())?;
        *self.authorization.lock().expect("nothing panics while it holds this") = Some(value.clone());
        let mut all = headers.to_vec();
        all.push(("authorization", &value));
        let response = self.http.get(url, &all)?;
        self.unless_refused(response)
    }

    fn unless_refused(&self, response: Response<Body>) -> Result<Response<Body>, BuildError> {
        match response.status().as_u16() {
            401 | 403 => Err(self.refused()),
            _ => Ok(response),
        }
    }

    fn refused(&self) -> BuildError {
        BuildError::Unauthorised {
            registry: self.reference.registry.clone(),
            reference: self.reference.to_string(),
        }
    }
}
