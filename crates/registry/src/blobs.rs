//! Pulling blobs, whole or in part, and deleting them.

use crate::files::FileBody;
use crate::handle::{Input, Registry};
use crate::reply::{Answer, Code, Content, DIGEST, Failure, empty, set};
use build::repositories::{ContentDigest, RepositoryName};
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE,
    RANGE,
};
use hyper::{Method, StatusCode};
use std::fs::File;
use std::sync::Arc;

impl Registry {
    /// `GET` and `HEAD` of a blob.
    pub(crate) async fn blob(
        self: &Arc<Self>,
        name: RepositoryName,
        digest: ContentDigest,
        input: Input,
    ) -> Result<Answer, Failure> {
        let registry = Arc::clone(self);
        let only_head = input.method == Method::HEAD;
        let wanted = Wanted::of(&input, &digest);
        drop(input);
        self.blocking(move || {
            let place = registry.place(&name)?;
            let Some(size) = place.blob(&digest) else { return Err(unknown(&name, &digest)) };
            if only_head {
                // The client will rely on it instead of sending it.
                place.refresh_blob(&digest);
            }
            let (status, start, length) = match wanted.part(size) {
                Part::Unchanged => return Ok(describe(StatusCode::NOT_MODIFIED, &digest)),
                Part::Whole => (StatusCode::OK, 0, size),
                Part::Some { start, length } => (StatusCode::PARTIAL_CONTENT, start, length),
                Part::None => {
                    let message = format!("the blob has {size} bytes");
                    let failure = Failure::new(StatusCode::RANGE_NOT_SATISFIABLE, Code::SizeInvalid, message);
                    return Err(failure.with(CONTENT_RANGE, format!("bytes */{size}")));
                }
            };
            let mut answer = describe(status, &digest);
            set(&mut answer, CONTENT_TYPE, "application/octet-stream");
            set(&mut answer, CONTENT_LENGTH, length);
            if status == StatusCode::PARTIAL_CONTENT {
                set(&mut answer, CONTENT_RANGE, format!("bytes {start}-{}/{size}", start + length - 1));
            }
            if !only_head && length > 0 {
                let file = File::open(registry.repositories.blob_path(&digest))?;
                *answer.body_mut() = Content::File(FileBody::new(file, start, length)?);
            }
            Ok(answer)
        })
        .await
    }

    /// `DELETE` of a blob.
    pub(crate) async fn delete_blob(
        self: &Arc<Self>,
        name: RepositoryName,
        digest: ContentDigest,
    ) -> Result<Answer, Failure> {
        let repository = self.writable(&name)?;
        self.blocking(move || match repository.blob(&digest) {
            None => Err(unknown(&name, &digest)),
            Some(_) => Ok(repository.delete_blob(&digest)?),
        })
        .await?;
        Ok(empty(StatusCode::ACCEPTED))
    }
}

fn unknown(name: &RepositoryName, digest: &ContentDigest) -> Failure {
    Failure::missing(Code::BlobUnknown, format!("{name} has no blob {digest}"))
}

/// What every answer about this content says. It never changes, so it may be kept for ever.
fn describe(status: StatusCode, digest: &ContentDigest) -> Answer {
    let mut answer = empty(status);
    set(&mut answer, DIGEST, digest);
    set(&mut answer, ETAG, format!("\"{digest}\""));
    set(&mut answer, ACCEPT_RANGES, "bytes");
    set(&mut answer, CACHE_CONTROL, "private, max-age=31536000, immutable");
    answer
}

/// What the headers of a request ask of a blob.
struct Wanted {
    unless_changed: bool,
    range: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Unchanged,
    Whole,
    Some { start: u64, length: u64 },
    None,
}

impl Wanted {
    fn of(input: &Input, digest: &ContentDigest) -> Self {
        let names_it = |text: &str| text.split(',').any(|tag| tag.trim() == format!("\"{digest}\""));
        let unless_changed = input.header(&IF_NONE_MATCH).is_some_and(names_it);
        let still = input.header(&IF_RANGE).is_none_or(names_it);
        Self { unless_changed, range: input.header(&RANGE).filter(|_| still).map(str::to_owned) }
    }

    fn part(&self, size: u64) -> Part {
        match &self.range {
            _ if self.unless_changed => Part::Unchanged,
            Some(range) => part(range, size),
            None => Part::Whole,
        }
    }
}

/// One range of bytes. Several, or other units, may be ignored; then everything is sent.
fn part(range: &str, size: u64) -> Part {
    let Some(range) = range.strip_prefix("bytes=").filter(|range| !range.contains(',')) else {
        return Part::Whole;
    };
    let Some((first, last)) = range.trim().split_once('-') else { return Part::None };
    let bounds = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) => Some((first, last.min(size.saturating_sub(1)))),
        (Ok(first), Err(_)) if last.is_empty() => Some((first, size.saturating_sub(1))),
        (Err(_), Ok(count)) if first.is_empty() && count > 0 => {
            Some((size.saturating_sub(count), size.saturating_sub(1)))
        }
        _ => None,
    };
    match bounds {
        Some((start, end)) if start <= end && start < size => Part::Some { start, length: end - start + 1 },
        _ => Part::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_the_rules_of_http() {
        let some = |start, length| Part::Some { start, length };
        for (range, size, expect) in [
            ("bytes=0-0", 10, some(0, 1)),
            ("bytes=2-5", 10, some(2, 4)),
            ("bytes=2-", 10, some(2, 8)),
            ("bytes=-3", 10, some(7, 3)),
            ("bytes=-30", 10, some(0, 10)),
            ("bytes=2-50", 10, some(2, 8)),
            ("bytes=5-2", 10, Part::None),
            ("bytes=10-", 10, Part::None),
            ("bytes=10-20", 10, Part::None),
            ("bytes=-0", 10, Part::None),
            ("bytes=0-", 0, Part::None),
            ("bytes=0-18446744073709551615", 10, some(0, 10)),
            ("bytes=x-y", 10, Part::None),
            ("bytes=", 10, Part::None),
            ("bytes=0-1,3-4", 10, Part::Whole),
            ("lines=0-1", 10, Part::Whole),
        ] {
            assert_eq!(part(range, size), expect, "{range} of {size}");
        }
    }
}
