//! One blob from a registry into the file it belongs in, resumed where it broke off.

use crate::document::Descriptor;
use crate::download::{self, Expected, Opened, Source};
use crate::error::BuildError;
use crate::growing::Growing;
use crate::http::Method;
use crate::remote::{Call, Endpoint, Registry, RegistryError, pause_before};
use model::Bytes;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// An attempt that brought so much was none in vain.
const PROGRESS_BYTES: u64 = 1 << 20;
/// Wrong data is fetched so often.
const DIGEST_ATTEMPTS: u32 = 2;

pub struct Blob<'a> {
    pub of: &'a Descriptor,
    pub path: &'a Path,
    /// More is refused, whatever the descriptor says.
    pub limit: u64,
    /// Who reads along.
    pub growing: Option<&'a Growing>,
}

impl Blob<'_> {
    /// Fetches it from the first place that has it, unless it is there.
    pub fn fetch(&self, registry: &Registry<'_>, cancel: &AtomicBool) -> Result<(), BuildError> {
        if self.of.size > self.limit {
            let what = format!("the blob {}", self.of.digest);
            return Err(BuildError::TooLarge { what, limit: Bytes(self.limit) });
        }
        if download::is_intact(self.path, self.of.digest.hex(), cancel)? {
            return Ok(());
        }
        let found = registry.first(|endpoint| self.from(endpoint, cancel))?;
        let host = || registry.origin().host().to_owned();
        found.ok_or_else(|| RegistryError::NoBlob { host: host(), digest: self.of.digest.to_string() }.into())
    }

    /// Fetches it from this one place, unless it is there.
    pub fn fetch_from(&self, endpoint: &Endpoint<'_>, cancel: &AtomicBool) -> Result<(), BuildError> {
        if download::is_intact(self.path, self.of.digest.hex(), cancel)? {
            return Ok(());
        }
        let (host, digest) = (endpoint.host().to_owned(), self.of.digest.to_string());
        self.from(endpoint, cancel)?.ok_or_else(|| RegistryError::NoBlob { host, digest }.into())
    }

    /// Fetches it from this place; `None` where it is not.
    fn from(&self, endpoint: &Endpoint<'_>, cancel: &AtomicBool) -> Result<Option<()>, BuildError> {
        let url = endpoint.url("blobs", self.of.digest.as_str());
        let source = FromEndpoint { endpoint, url: &url, cancel };
        let expected =
            Expected { url: &url, sha256: self.of.digest.hex(), size: Some(self.of.size), limit: self.limit };
        let (mut attempt, mut wrong) = (0, 0);
        loop {
            let before = self.there();
            let error = match download::from_source(&source, &expected, self.path, self.growing, cancel) {
                Ok(()) => return Ok(Some(())),
                Err(BuildError::Status { status: 404, .. }) => return Ok(None),
                Err(error) => error,
            };
            // Every attempt that brings something brings the end nearer.
            let went_on = self.there() >= before + PROGRESS_BYTES;
            attempt = if went_on { 1 } else { attempt + 1 };
            wrong += u32::from(matches!(error, BuildError::Digest { .. }));
            let pause = match &error {
                BuildError::Digest { .. } if wrong < DIGEST_ATTEMPTS => Some(std::time::Duration::ZERO),
                other => pause_before(other, attempt),
            };
            match pause {
                Some(pause) if attempt < endpoint.attempts() => download::pause(pause, cancel)?,
                _ => return Err(error),
            }
        }
    }

    /// Bytes of the part that is there.
    fn there(&self) -> u64 {
        std::fs::metadata(download::part_path(self.path)).map_or(0, |about| about.len())
    }
}

struct FromEndpoint<'a> {
    endpoint: &'a Endpoint<'a>,
    url: &'a str,
    cancel: &'a AtomicBool,
}

impl Source for FromEndpoint<'_> {
    fn open(&self, from: u64) -> Result<Opened, BuildError> {
        let range = format!("bytes={from}-");
        let headers: &[(&str, &str)] = if from > 0 { &[("range", &range)] } else { &[] };
        let answer = self.endpoint.once(&Call::new(Method::GET, self.url).headers(headers), self.cancel)?;
        match answer.status().as_u16() {
            200 | 206 | 404 | 416 => download::opened(self.url, answer, from),
            _ => Err(self.endpoint.unexpected(self.url, answer)),
        }
    }
}
