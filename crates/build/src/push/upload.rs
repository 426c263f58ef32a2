//! One blob on its way to a registry: not sent when it is there, taken over from another repository
//! where the registry does that, sent as one request, and resumed where the registry kept a part.

use super::known::Known;
use super::pack::Part;
use super::place;
use crate::document::Manifest;
use crate::download;
use crate::error::BuildError;
use crate::http::{self, Method, Payload};
use crate::remote::{Call, Endpoint, drain, pause_before};
use crate::store::ImageStore;
use model::Digest;
use std::fs::File;
use std::sync::atomic::AtomicBool;

const BYTES: &str = "application/octet-stream";
/// An attempt that brought so much was none in vain.
const PROGRESS_BYTES: u64 = 1 << 20;
/// Repositories that are asked for a blob.
const MAX_MOUNTS: usize = 2;

/// How a blob came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    There,
    Mounted,
    Sent,
}

pub struct Upload<'a> {
    pub store: &'a ImageStore,
    pub endpoint: &'a Endpoint<'a>,
    /// Other repositories of the registry, and images from there.
    pub elsewhere: &'a [(String, Manifest)],
    pub cancel: &'a AtomicBool,
}

/// A started upload: where its next bytes go, and how many are there.
struct Session {
    url: String,
    have: u64,
}

impl Upload<'_> {
    pub fn bring(&self, part: &Part) -> Result<Came, BuildError> {
        let came = self.bring_anyhow(part)?;
        let mut known = Known::of(self.store, &part.stored.digest);
        if known.is_at(&place(self.endpoint)) {
            known.keep(self.store, &part.stored.digest)?;
        }
        Ok(came)
    }

    fn bring_anyhow(&self, part: &Part) -> Result<Came, BuildError> {
        let digest = &part.wire.digest;
        if self.is_there(digest)? {
            return Ok(Came::There);
        }
        let mut session = None;
        for from in self.others_with(part) {
            session = self.mount(digest, &from)?;
            if session.is_none() {
                return Ok(Came::Mounted);
            }
        }
        let file = part.open(self.store, self.cancel)?;
        self.send(digest, part.wire.size, &file, session).map(|()| Came::Sent)
    }

    fn is_there(&self, digest: &Digest) -> Result<bool, BuildError> {
        let url = self.endpoint.url("blobs", digest.as_str());
        let response = self.endpoint.call(&Call::new(Method::HEAD, &url), self.cancel)?;
        Ok(response.status().as_u16() == 200)
    }

    /// Repositories of the same registry that have it as far as we know.
    fn others_with(&self, part: &Part) -> Vec<String> {
        let host = format!("{}/", self.endpoint.host());
        let places = Known::of(self.store, &part.stored.digest).places;
        let pushed = places.iter().rev().filter_map(|place| place.strip_prefix(&host)).map(str::to_owned);
        let has = |manifest: &Manifest| {
            manifest.layers.iter().chain([&manifest.config]).any(|one| one.digest == part.wire.digest)
        };
        let pulled =
            self.elsewhere.iter().filter(|(_, manifest)| has(manifest)).map(|(name, _)| name.clone());
        let mut others: Vec<String> = Vec::new();
        for name in pushed.chain(pulled).filter(|name| name != self.endpoint.repository()) {
            if !others.contains(&name) && others.len() < MAX_MOUNTS {
                others.push(name);
            }
        }
        others
    }

    /// Takes the blob over; a session to send it where the registry did not.
    fn mount(&self, digest: &Digest, from: &str) -> Result<Option<Session>, BuildError> {
        self.endpoint.also_read(from);
        let url = self.endpoint.url("blobs", &format!("uploads/?mount={digest}&from={from}"));
        let response = match self.endpoint.call(&Call::new(Method::POST, &url), self.cancel) {
            Ok(response) => response,
            // It may be stored, but not read there.
            Err(BuildError::Unauthorised { .. } | BuildError::Registry(_)) => return self.begin().map(Some),
            Err(error) => return Err(error),
        };
        match response.status().as_u16() {
            201 => {
                drain(response);
                Ok(None)
            }
            202 => self.session(&url, response).map(Some),
            _ => self.begin().map(Some),
        }
    }

    fn begin(&self) -> Result<Session, BuildError> {
        let url = self.endpoint.url("blobs", "uploads/");
        let response = self.endpoint.call(&Call::new(Method::POST, &url), self.cancel)?;
        match response.status().as_u16() {
            202 => self.session(&url, response),
            _ => Err(self.endpoint.unexpected(&url, response)),
        }
    }

    /// Where an answer says that the upload goes on.
    fn session(
        &self,
        asked: &str,
        response: ureq::http::Response<ureq::Body>,
    ) -> Result<Session, BuildError> {
        let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok());
        let location = header("location")
            .ok_or_else(|| BuildError::malformed(format!("the answer of {asked}"), "it has no Location"))?;
        let url = http::follow(asked, location)?;
        // `0-0` is also what some say of nothing, and one byte too few costs nothing.
        let last = header("range")
            .and_then(|range| range.trim_start_matches("bytes=").split_once('-')?.1.parse().ok());
        let have = last.filter(|last: &u64| *last > 0).map_or(0, |last| last + 1);
        drain(response);
        Ok(Session { url, have })
    }

    /// Sends it, and what is missing once more where that broke off.
    fn send(
        &self,
        digest: &Digest,
        size: u64,
        file: &File,
        session: Option<Session>,
    ) -> Result<(), BuildError> {
        let mut session = match session {
            Some(session) => Session { have: 0, ..session },
            None => self.begin()?,
        };
        session.have = 0;
        let mut attempt = 0;
        loop {
            let before = session.have;
            let error = match self.send_rest(digest, size, file, &session) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            attempt += 1;
            let Some(pause) = pause_before(&error, attempt).filter(|_| attempt < self.endpoint.attempts())
            else {
                return Err(error);
            };
            download::pause(pause, self.cancel)?;
            session = match self.resumed(&session, size) {
                Some(session) => session,
                None => self.begin().map(|session| Session { have: 0, ..session })?,
            };
            if session.have >= before + PROGRESS_BYTES {
                attempt = 0;
            }
        }
    }

    /// What the registry kept of an upload that broke off, where it says so.
    fn resumed(&self, broken: &Session, size: u64) -> Option<Session> {
        let response = self.endpoint.once(&Call::new(Method::GET, &broken.url), self.cancel).ok()?;
        if response.status().as_u16() != 204 {
            drain(response);
            return None;
        }
        self.session(&broken.url, response).ok().filter(|session| session.have > 0 && session.have < size)
    }

    fn send_rest(
        &self,
        digest: &Digest,
        size: u64,
        file: &File,
        session: &Session,
    ) -> Result<(), BuildError> {
        let finish = |url: &str| {
            let mark = if url.contains('?') { '&' } else { '?' };
            format!("{url}{mark}digest={digest}")
        };
        if session.have == 0 {
            let url = finish(&session.url);
            let headers = [("content-type", BYTES)];
            let call = Call::new(Method::PUT, &url).headers(&headers).payload(Payload::File(file, 0));
            return self.expect(&url, self.endpoint.once(&call, self.cancel)?);
        }
        let range = format!("{}-{}", session.have, size - 1);
        let headers = [("content-type", BYTES), ("content-range", range.as_str())];
        let payload = Payload::File(file, session.have);
        let call = Call::new(Method::PATCH, &session.url).headers(&headers).payload(payload);
        let response = self.endpoint.once(&call, self.cancel)?;
        if response.status().as_u16() != 202 {
            return Err(self.endpoint.unexpected(&session.url, response));
        }
        let url = finish(&self.session(&session.url, response)?.url);
        self.expect(&url, self.endpoint.once(&Call::new(Method::PUT, &url), self.cancel)?)
    }

    fn expect(&self, url: &str, response: ureq::http::Response<ureq::Body>) -> Result<(), BuildError> {
        match response.status().as_u16() {
            201 | 204 => {
                drain(response);
                Ok(())
            }
            _ => Err(self.endpoint.unexpected(url, response)),
        }
    }
}
