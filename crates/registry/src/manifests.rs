//! Pulling, pushing and deleting manifests.

use crate::access::Caller;
use crate::handle::{Input, Registry, parameters};
use crate::limits::{MANIFEST_MAX, TAGS_MAX};
use crate::receive::{Receiver, drain};
use crate::reply::{Answer, Code, Content, DIGEST, Failure, OCI_TAG, SUBJECT, empty, set};
use crate::route::Reference;
use build::repositories::{Algorithm, ContentDigest, Placing, RepositoryName, Tag};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LOCATION};
use hyper::{Method, StatusCode};
use std::fs;
use std::sync::Arc;

impl Registry {
    /// `GET` and `HEAD` of a manifest.
    pub(crate) async fn manifest(
        self: &Arc<Self>,
        name: RepositoryName,
        reference: Reference,
        input: Input,
    ) -> Result<Answer, Failure> {
        let registry = Arc::clone(self);
        let only_head = input.method == Method::HEAD;
        let known = input.header(&IF_NONE_MATCH).map(str::to_owned);
        drop(input);
        self.blocking(move || {
            let place = registry.place(&name)?;
            let unknown = || Failure::missing(Code::ManifestUnknown, format!("{name} has no {reference}"));
            let digest = match &reference {
                Reference::Digest(digest) => digest.clone(),
                Reference::Tag(tag) => place.resolve(tag)?.ok_or_else(unknown)?,
            };
            let found = place.manifest(&registry.repositories, &digest)?.ok_or_else(unknown)?;
            let tag = format!("\"{digest}\"");
            let unchanged = known.is_some_and(|known| known.split(',').any(|one| one.trim() == tag));
            let mut answer = empty(if unchanged { StatusCode::NOT_MODIFIED } else { StatusCode::OK });
            set(&mut answer, DIGEST, &found.digest);
            set(&mut answer, ETAG, tag);
            if unchanged {
                return Ok(answer);
            }
            set(&mut answer, CONTENT_TYPE, &found.media_type);
            set(&mut answer, CONTENT_LENGTH, found.size);
            if !only_head {
                let bytes = fs::read(&found.path)?;
                if bytes.len() as u64 != found.size {
                    return Err(Failure::broken(format!("the manifest {digest} is damaged; push it again")));
                }
                *answer.body_mut() = Content::Bytes(Some(bytes.into()));
            }
            Ok(answer)
        })
        .await
    }

    /// `PUT` of a manifest, by a tag or by its digest with any tags.
    pub(crate) async fn put_manifest(
        self: &Arc<Self>,
        name: RepositoryName,
        reference: Reference,
        caller: &Caller,
        input: Input,
    ) -> Result<Answer, Failure> {
        let repository = self.writable(&name)?;
        let tags = tags(&reference, &input)?;
        let media_type = input.header(&CONTENT_TYPE).map(plain).filter(|text| !text.is_empty());
        let media_type = media_type.map(str::to_owned);
        let instead_of =
            input.header(&IF_MATCH).and_then(|text| ContentDigest::parse(text.trim_matches('"')));
        let bytes = {
            let _turn = self.receiving.acquire().await.expect("the semaphore is never closed");
            match Receiver::sized(input.body, MANIFEST_MAX, &self.limits) {
                Ok(receiver) => receiver.whole().await?,
                Err((failure, body)) => {
                    drain(body).await;
                    return Err(failure);
                }
            }
        };
        let uploads = Arc::clone(&self.uploads);
        let (answer, digest) = self
            .blocking(move || {
                uploads.check_space(bytes.len() as u64)?;
                let digest = match &reference {
                    Reference::Digest(digest) => digest.clone(),
                    Reference::Tag(_) => Algorithm::Sha256.of(&bytes),
                };
                let placing = Placing { tags, instead_of };
                let record = repository.put_manifest(&bytes, media_type.as_deref(), &digest, &placing)?;
                let mut answer = empty(StatusCode::CREATED);
                set(&mut answer, LOCATION, format!("/v2/{}/manifests/{digest}", repository.name()));
                set(&mut answer, DIGEST, &digest);
                set(&mut answer, CONTENT_LENGTH, 0);
                if let Some(subject) = &record.subject {
                    set(&mut answer, SUBJECT, subject);
                }
                if matches!(reference, Reference::Digest(_)) && !placing.tags.is_empty() {
                    let tags: Vec<&str> = placing.tags.iter().map(Tag::as_str).collect();
                    set(&mut answer, OCI_TAG, tags.join(", "));
                }
                Ok((answer, (digest, placing.tags)))
            })
            .await?;
        let (digest, tags) = digest;
        let tags: String = tags.iter().map(|tag| format!(":{tag}")).collect();
        self.tell(&format!("{caller} pushed {name}{tags} {digest}"));
        Ok(answer)
    }

    /// `DELETE` of a tag, or of a manifest with every tag that stands for it.
    pub(crate) async fn delete_manifest(
        self: &Arc<Self>,
        name: RepositoryName,
        reference: Reference,
        caller: &Caller,
    ) -> Result<Answer, Failure> {
        let repository = self.writable(&name)?;
        let text = format!("{caller} deleted {name} {reference}");
        self.blocking(move || {
            match &reference {
                Reference::Tag(tag) => repository.delete_tag(tag)?,
                Reference::Digest(digest) => repository.delete_manifest(digest)?,
            }
            Ok(())
        })
        .await?;
        self.tell(&text);
        Ok(empty(StatusCode::ACCEPTED))
    }
}

/// The tags that a push asks for.
fn tags(reference: &Reference, input: &Input) -> Result<Vec<Tag>, Failure> {
    let mut wanted = Vec::new();
    if let Reference::Tag(tag) = reference {
        wanted.push(tag.clone());
    }
    for text in parameters(&input.query, "tag") {
        let Some(tag) = Tag::new(&text) else {
            return Err(Failure::bad(Code::ManifestInvalid, "one of the tags is none"));
        };
        if wanted.len() == TAGS_MAX {
            let message = format!("at most {TAGS_MAX} tags come with one manifest");
            return Err(Failure::new(StatusCode::URI_TOO_LONG, Code::Unsupported, message));
        }
        wanted.push(tag);
    }
    Ok(wanted)
}

/// A media type without its parameters.
fn plain(text: &str) -> &str {
    text.split(';').next().unwrap_or_default().trim()
}
