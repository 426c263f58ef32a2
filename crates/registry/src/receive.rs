//! What clients send, with a bound on its size and on how slowly it comes.

use crate::limits::{DRAIN_MAX, DRAIN_TIMEOUT, Limits};
use crate::reply::{Code, Failure};
use crate::session::Upload;
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Body, Bytes};
use std::error::Error;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout};

/// Written at once; two of them are in memory for each upload.
const PIECE: u64 = 512 << 10;

/// Takes a body frame by frame.
pub struct Receiver<B> {
    body: B,
    begun: Instant,
    received: u64,
    max: u64,
    limits: Limits,
}

impl<B> Receiver<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Error,
{
    /// Gives the body back when it says that it is too large.
    pub fn sized(body: B, max: u64, limits: &Limits) -> Result<Self, (Failure, B)> {
        let receiver = Self { body, begun: Instant::now(), received: 0, max, limits: limits.clone() };
        match receiver.body.size_hint().lower() > max {
            true => Err((receiver.too_large(), receiver.body)),
            false => Ok(receiver),
        }
    }

    fn too_large(&self) -> Failure {
        let message = format!("it is larger than the limit of {} bytes", self.max);
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, Code::SizeInvalid, message)
    }

    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let slow =
            || Failure::new(StatusCode::REQUEST_TIMEOUT, Code::BlobUploadInvalid, "it comes too slowly");
        loop {
            let Some(frame) = timeout(self.limits.idle, self.body.frame()).await.map_err(|_| slow())? else {
                return Ok(None);
            };
            let frame = frame.map_err(|error| {
                Failure::bad(Code::SizeInvalid, format!("the request broke off: {error}"))
            })?;
            let Ok(bytes) = frame.into_data() else { continue };
            self.received += bytes.len() as u64;
            if self.received > self.max {
                return Err(self.too_large());
            }
            let late = self.begun.elapsed().saturating_sub(self.limits.idle).as_secs();
            if self.received < late.saturating_mul(self.limits.rate_min) {
                return Err(slow());
            }
            return Ok(Some(bytes));
        }
    }

    /// All of it.
    pub async fn whole(mut self) -> Result<Vec<u8>, Failure> {
        let mut whole = Vec::new();
        while let Some(bytes) = self.next().await? {
            whole.extend_from_slice(&bytes);
        }
        Ok(whole)
    }

    /// All of it into an upload. What came before a failure is kept for the client to go on with.
    pub async fn into_upload(mut self, upload: Upload) -> (Result<Upload, Failure>, B) {
        let received = self.write_on(upload).await;
        (received, self.body)
    }

    async fn write_on(&mut self, upload: Upload) -> Result<Upload, Failure> {
        let mut writing = write(upload, Vec::new());
        let mut pieces = Vec::new();
        let mut size = 0;
        loop {
            let next = self.next().await;
            let ended = !matches!(next, Ok(Some(_)));
            if let Ok(Some(bytes)) = &next {
                size += bytes.len() as u64;
                pieces.push(bytes.clone());
            }
            if size < PIECE && !ended {
                continue;
            }
            let upload = written(writing).await?;
            writing = write(upload, std::mem::take(&mut pieces));
            size = 0;
            if ended {
                let upload = written(writing).await?;
                return match next {
                    Ok(_) => Ok(upload),
                    Err(failure) => {
                        leave(upload, &failure).await?;
                        Err(failure)
                    }
                };
            }
        }
    }
}

/// What is too large will never be whole.
async fn leave(upload: Upload, failure: &Failure) -> Result<(), Failure> {
    if failure.status != StatusCode::PAYLOAD_TOO_LARGE {
        upload.pause();
        return Ok(());
    }
    let cancelled = spawn_blocking(move || upload.cancel()).await;
    cancelled.unwrap_or_else(|panic| Err(Failure::broken(format!("cancelling broke: {panic}"))))
}

type Writing = JoinHandle<(Upload, Result<(), Failure>)>;

fn write(mut upload: Upload, pieces: Vec<Bytes>) -> Writing {
    spawn_blocking(move || {
        let written = if pieces.is_empty() { Ok(()) } else { upload.write(&pieces) };
        (upload, written)
    })
}

async fn written(writing: Writing) -> Result<Upload, Failure> {
    let (upload, written) =
        writing.await.map_err(|panic| Failure::broken(format!("writing broke: {panic}")))?;
    written.map(|()| upload)
}

/// Reads what is left of a body, so that a client that writes first gets its answer.
pub async fn drain(mut body: impl Body<Data = Bytes> + Unpin) {
    let read = async {
        let mut left = DRAIN_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, |bytes| bytes.len() as u64));
            if left == 0 {
                return;
            }
        }
    };
    let _ = timeout(DRAIN_TIMEOUT, read).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use hyper::body::Frame;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Duration;
    use tokio::time::Sleep;

    /// A byte every so often, for ever.
    #[derive(Debug)]
    struct Dripping(Duration, Pin<Box<Sleep>>);

    impl Body for Dripping {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            std::task::ready!(std::future::Future::poll(self.1.as_mut(), context));
            let next = Instant::now() + self.0;
            self.1.as_mut().reset(next);
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }

    async fn drip(every: Duration) -> Failure {
        let body = Dripping(every, Box::pin(tokio::time::sleep(every)));
        let limits = Limits { idle: Duration::from_secs(10), rate_min: 10, ..Limits::default() };
        Receiver::sized(body, u64::MAX, &limits)
            .expect("of unknown size")
            .whole()
            .await
            .expect_err("too slow")
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_that_stand_still_or_drip_are_given_up() {
        let begun = Instant::now();
        assert_eq!(drip(Duration::from_secs(11)).await.status, StatusCode::REQUEST_TIMEOUT);
        assert_eq!(drip(Duration::from_secs(1)).await.status, StatusCode::REQUEST_TIMEOUT);
        assert!(begun.elapsed() < Duration::from_secs(60));
    }

    #[tokio::test]
    async fn a_body_is_bounded_whether_or_not_it_says_its_size() {
        let limits = Limits::default();
        let body = || Full::new(Bytes::from_static(b"12345"));
        assert_eq!(
            Receiver::sized(body(), 5, &limits).expect("fits").whole().await.expect("whole"),
            b"12345"
        );
        assert_eq!(
            Receiver::sized(body(), 4, &limits).map(drop).expect_err("too large").0.status.as_u16(),
            413
        );
        let frames = Frames(vec!["45", "123"]);
        let failure =
            Receiver::sized(frames, 4, &limits).expect("of unknown size").whole().await.expect_err("large");
        assert_eq!(failure.status.as_u16(), 413);
    }

    /// Says nothing of its size; the last text comes first.
    #[derive(Debug)]
    struct Frames(Vec<&'static str>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop().map(|text| Ok(Frame::data(Bytes::from(text)))))
        }
    }
}
