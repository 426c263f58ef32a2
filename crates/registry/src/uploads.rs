//! Pushing blobs: begun by a POST, sent whole or in pieces, closed by a PUT; or taken over from
//! another repository without sending anything.

use crate::access::{Caller, Right};
use crate::handle::{Input, Registry, parameter};
use crate::limits::MOUNT_SEARCH_MAX;
use crate::place::Place;
use crate::receive::{Receiver, drain};
use crate::reply::{Answer, Code, DIGEST, Failure, UPLOAD, empty, set};
use crate::route::digest;
use crate::session::{Upload, UploadId};
use build::repositories::{Algorithm, ContentDigest, RepositoryName};
use hyper::StatusCode;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderName, LOCATION, RANGE};
use std::sync::Arc;

impl Registry {
    /// `POST …/blobs/uploads/`.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        name: RepositoryName,
        caller: &Caller,
        input: Input,
    ) -> Result<Answer, Failure> {
        let repository = self.writable(&name)?;
        if let Some(text) = parameter(&input.query, "mount") {
            let wanted = digest(&text)?;
            if self.mount(&name, &wanted, parameter(&input.query, "from"), caller).await? {
                return Ok(created(&name, &wanted));
            }
        }
        let expected = parameter(&input.query, "digest").map(|text| digest(&text)).transpose()?;
        let algorithm = match parameter(&input.query, "digest-algorithm").as_deref() {
            None => expected.as_ref().map_or(Algorithm::Sha256, ContentDigest::algorithm),
            Some(wanted) => Algorithm::ALL
                .into_iter()
                .find(|algorithm| algorithm.name() == wanted)
                .ok_or_else(|| Failure::bad(Code::DigestInvalid, "digests here are sha256 or sha512"))?,
        };
        let (uploads, of) = (Arc::clone(&self.uploads), name.clone());
        let upload = self.blocking(move || uploads.begin(&of, algorithm)).await?;
        let Some(expected) = expected else {
            let answer = progress(StatusCode::ACCEPTED, &name, upload.id, upload.length());
            upload.pause();
            return Ok(answer);
        };
        let id = upload.id;
        let upload = match self.receive(upload, input).await {
            Ok(upload) => upload,
            // Nobody knows of this upload, so nobody will go on with it.
            Err(failure) => {
                let uploads = Arc::clone(&self.uploads);
                self.blocking(move || Ok(uploads.forget(id)?)).await?;
                return Err(failure);
            }
        };
        self.blocking(move || upload.finish(&repository, &expected).map(|()| created(&name, &expected))).await
    }

    /// `GET` of an upload: how far it is.
    pub(crate) async fn status(
        self: &Arc<Self>,
        name: RepositoryName,
        id: UploadId,
    ) -> Result<Answer, Failure> {
        let uploads = Arc::clone(&self.uploads);
        self.blocking(move || {
            let length = uploads.length(&name, id)?;
            Ok(progress(StatusCode::NO_CONTENT, &name, id, length))
        })
        .await
    }

    /// `DELETE` of an upload.
    pub(crate) async fn cancel(
        self: &Arc<Self>,
        name: RepositoryName,
        id: UploadId,
    ) -> Result<Answer, Failure> {
        let uploads = Arc::clone(&self.uploads);
        self.blocking(move || uploads.resume(&name, id)?.cancel()).await?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    /// `PATCH`: the next piece.
    pub(crate) async fn piece(
        self: &Arc<Self>,
        name: RepositoryName,
        id: UploadId,
        input: Input,
    ) -> Result<Answer, Failure> {
        let upload = self.resume(&name, id, &input).await?;
        let upload = self.receive(upload, input).await?;
        let answer = progress(StatusCode::ACCEPTED, &name, upload.id, upload.length());
        upload.pause();
        Ok(answer)
    }

    /// `PUT`: the last piece, if any is left, and the digest of it all.
    pub(crate) async fn finish(
        self: &Arc<Self>,
        name: RepositoryName,
        id: UploadId,
        input: Input,
    ) -> Result<Answer, Failure> {
        let repository = self.writable(&name)?;
        let text = parameter(&input.query, "digest").unwrap_or_default();
        let expected = digest(&text)?;
        let upload = self.resume(&name, id, &input).await?;
        let upload = self.receive(upload, input).await?;
        self.blocking(move || upload.finish(&repository, &expected).map(|()| created(&name, &expected))).await
    }

    /// The upload, if the request goes on where it stands.
    async fn resume(
        self: &Arc<Self>,
        name: &RepositoryName,
        id: UploadId,
        input: &Input,
    ) -> Result<Upload, Failure> {
        let (uploads, name) = (Arc::clone(&self.uploads), name.clone());
        let stated = input.header(&CONTENT_RANGE).map(str::to_owned);
        let length = input.header(&CONTENT_LENGTH).and_then(|text| text.parse().ok());
        self.blocking(move || {
            let upload = uploads.resume(&name, id)?;
            if stated.is_none_or(|text| continues(&text, upload.length(), length)) {
                return Ok(upload);
            }
            let message = format!("the next piece begins at {}", upload.length());
            let failure = Failure::new(StatusCode::RANGE_NOT_SATISFIABLE, Code::BlobUploadInvalid, message)
                .with(LOCATION, location(&name, id))
                .with(RANGE, range(upload.length()));
            upload.pause();
            Err(failure)
        })
        .await
    }

    async fn receive(self: &Arc<Self>, upload: Upload, input: Input) -> Result<Upload, Failure> {
        let _turn = self.receiving.acquire().await.expect("the semaphore is never closed");
        let max = self.limits.blob_max.saturating_sub(upload.length());
        let receiver = match Receiver::sized(input.body, max, &self.limits) {
            Ok(receiver) => receiver,
            Err((failure, body)) => {
                self.blocking(move || upload.cancel()).await?;
                drain(body).await;
                return Err(failure);
            }
        };
        let (received, rest) = receiver.into_upload(upload).await;
        // One that is slow has had its time.
        if received.as_ref().is_err_and(|failure| failure.status != StatusCode::REQUEST_TIMEOUT) {
            drain(rest).await;
        }
        received
    }

    /// Gives a repository a blob of one that the caller may read; whether there is one.
    async fn mount(
        self: &Arc<Self>,
        name: &RepositoryName,
        wanted: &ContentDigest,
        from: Option<String>,
        caller: &Caller,
    ) -> Result<bool, Failure> {
        let sources = match from {
            Some(text) => RepositoryName::new(&text).into_iter().collect(),
            None => {
                let all = Arc::clone(self);
                self.blocking(move || all.names()).await?
            }
        };
        let readable = sources.into_iter().filter(|source| caller.may(Right::Read, source));
        let readable: Vec<_> = readable.take(MOUNT_SEARCH_MAX).collect();
        let (registry, target, wanted) = (Arc::clone(self), self.repositories.get(name), wanted.clone());
        self.blocking(move || {
            for source in readable {
                let place = registry.place(&source)?;
                if place.blob(&wanted).is_some() {
                    return Ok(target.mount_blob(&wanted)?);
                }
            }
            Ok(false)
        })
        .await
    }

    /// A repository that is not one of this machine's own images.
    pub(crate) fn writable(&self, name: &RepositoryName) -> Result<build::repositories::Repository, Failure> {
        match Place::is_reserved(name) {
            false => Ok(self.repositories.get(name)),
            true => {
                let message = format!("{name} is what this machine made itself; push under another name");
                Err(Failure::new(StatusCode::FORBIDDEN, Code::Denied, message))
            }
        }
    }
}

fn created(name: &RepositoryName, digest: &ContentDigest) -> Answer {
    let mut answer = empty(StatusCode::CREATED);
    set(&mut answer, LOCATION, format!("/v2/{name}/blobs/{digest}"));
    set(&mut answer, DIGEST, digest);
    set(&mut answer, CONTENT_LENGTH, 0);
    answer
}

fn location(name: &RepositoryName, id: UploadId) -> String {
    format!("/v2/{name}/blobs/uploads/{id}")
}

/// Inclusive on both ends, so that nothing and one byte look the same.
fn range(length: u64) -> String {
    format!("0-{}", length.saturating_sub(1))
}

fn progress(status: StatusCode, name: &RepositoryName, id: UploadId, length: u64) -> Answer {
    let mut answer = empty(status);
    let range_name: HeaderName = RANGE;
    set(&mut answer, LOCATION, location(name, id));
    set(&mut answer, range_name, range(length));
    set(&mut answer, UPLOAD, id);
    if status != StatusCode::NO_CONTENT {
        set(&mut answer, CONTENT_LENGTH, 0);
    }
    answer
}

/// Whether `0-99` of a request is what comes next, and as long as the request says.
fn continues(stated: &str, length: u64, content_length: Option<u64>) -> bool {
    let plain = stated.strip_prefix("bytes ").unwrap_or(stated);
    let plain = plain.split_once('/').map_or(plain, |(range, _)| range);
    let number =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let Some((first, last)) = plain.split_once('-').and_then(|(a, b)| Some((number(a)?, number(b)?))) else {
        return false;
    };
    let size = last.checked_sub(first).and_then(|n| n.checked_add(1));
    first == length && size.is_some_and(|size| content_length.is_none_or(|length| length == size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_in_order() {
        for (stated, length, content_length, expect) in [
            ("0-99", 0, Some(100), true),
            ("100-199", 100, None, true),
            ("bytes 100-199/200", 100, None, true),
            ("100-199", 0, None, false),
            ("0-99", 100, None, false),
            ("0-99", 0, Some(99), false),
            ("99-0", 99, None, false),
            ("0-18446744073709551615", 0, None, false),
            ("0-99999999999999999999999", 0, None, false),
            ("-1-5", 0, None, false),
            ("+0-5", 0, None, false),
            ("", 0, None, false),
            ("0", 0, None, false),
        ] {
            assert_eq!(continues(stated, length, content_length), expect, "{stated}");
        }
    }
}
