//! Bodies of requests: bounded in bytes, in time and all together, and unpacked.

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use formats::packed::{UnpackError, gunzip};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Bytes of a body as it travels.
pub const BODY_MAX: usize = 4 << 20;
/// Bytes of a body when it is unpacked.
pub const UNPACKED_MAX: usize = 16 << 20;
/// Bodies that are held at the same time, together.
const HELD_MAX: usize = 32 << 20;
/// How long a request waits for room.
const ROOM_WAIT: Duration = Duration::from_secs(5);
/// How long a body may take to arrive.
const BODY_WAIT: Duration = Duration::from_secs(30);
/// What room is counted in.
const UNIT: usize = 1024;

/// Why a body is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyError {
    pub status: StatusCode,
    pub text: String,
}

impl BodyError {
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    pub fn busy() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too much is being received; try again")
    }
}

impl From<UnpackError> for BodyError {
    fn from(error: UnpackError) -> Self {
        let status = match error {
            UnpackError::Unreadable(_) => StatusCode::BAD_REQUEST,
            UnpackError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        };
        Self::new(status, error.to_string())
    }
}

/// Bytes that may be held.
#[derive(Debug, Clone)]
pub struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(HELD_MAX / UNIT)))
    }
}

/// A body, and the room it takes.
#[derive(Debug)]
pub struct Held {
    pub bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl Room {
    pub async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Held, BodyError> {
        let said = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let length: usize = said.unwrap_or(BODY_MAX);
        if length > BODY_MAX {
            return Err(too_large());
        }
        let units = length.div_ceil(UNIT) as u32;
        let room = timeout(ROOM_WAIT, self.0.clone().acquire_many_owned(units)).await;
        let room = room.map_err(|_| BodyError::busy())?.expect("the semaphore is never closed");
        let read = timeout(BODY_WAIT, axum::body::to_bytes(body, length)).await;
        let late = |_| BodyError::new(StatusCode::REQUEST_TIMEOUT, "the body took too long to arrive");
        let bytes = read.map_err(late)?.map_err(|_| too_large())?;
        Ok(Held { bytes: bytes.into(), _room: room })
    }
}

fn too_large() -> BodyError {
    BodyError::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a body may have {BODY_MAX} bytes"))
}

impl Held {
    /// As `Content-Encoding` says, nothing or gzip.
    pub fn unpacked(self, headers: &HeaderMap) -> Result<Vec<u8>, BodyError> {
        match headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase()) {
            None => Ok(self.bytes),
            Some(encoding) if encoding.is_empty() || encoding == b"identity" => Ok(self.bytes),
            Some(encoding) if encoding == b"gzip" => Ok(gunzip(&self.bytes, UNPACKED_MAX)?),
            Some(other) => Err(BodyError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!("the encoding {} is not known; gzip is", String::from_utf8_lossy(&other)),
            )),
        }
    }
}
