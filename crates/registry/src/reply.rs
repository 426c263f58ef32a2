//! Answers, and errors in the form that the specification gives them.

use crate::files::FileBody;
use build::repositories::RepositoryError;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

pub const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
pub const UPLOAD: HeaderName = HeaderName::from_static("docker-upload-uuid");
pub const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
pub const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
pub const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");
pub const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// Seconds after which a client that was refused for a moment may come again.
const RETRY_SECONDS: &str = "5";

/// What an answer carries.
pub enum Content {
    Bytes(Option<Bytes>),
    File(FileBody),
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Bytes(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::File(file) => file.poll(context).map(|next| next.map(|bytes| bytes.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_none(),
            Self::File(file) => file.remaining() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Bytes(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Self::File(file) => file.remaining(),
        })
    }
}

pub type Answer = Response<Content>;

/// An answer without content.
pub fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Content::Bytes(None));
    *answer.status_mut() = status;
    answer
}

pub fn bytes(status: StatusCode, media_type: &str, bytes: impl Into<Bytes>) -> Answer {
    let bytes = bytes.into();
    let mut answer = empty(status);
    set(&mut answer, CONTENT_TYPE, media_type);
    set(&mut answer, CONTENT_LENGTH, bytes.len());
    *answer.body_mut() = Content::Bytes((!bytes.is_empty()).then_some(bytes));
    answer
}

pub fn json(status: StatusCode, value: &impl serde::Serialize) -> Answer {
    bytes(status, "application/json", serde_json::to_vec(value).expect("plain data"))
}

/// Sets a header; a text that cannot be one is left out.
pub fn set(answer: &mut Answer, name: HeaderName, value: impl ToString) {
    if let Ok(value) = HeaderValue::try_from(value.to_string()) {
        answer.headers_mut().insert(name, value);
    }
}

/// The codes of the specification, and one of ours for what is no fault of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    Unauthorized,
    Denied,
    Unsupported,
    TooManyRequests,
    Unknown,
}

impl Code {
    fn as_str(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// A request that is not carried out.
#[derive(Debug)]
pub struct Failure {
    pub status: StatusCode,
    pub code: Code,
    pub message: String,
    pub headers: Vec<(HeaderName, String)>,
}

impl Failure {
    pub fn new(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), headers: Vec::new() }
    }
    pub fn bad(code: Code, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }
    pub fn missing(code: Code, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }
    pub fn later(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        Self::new(status, code, message).with(RETRY_AFTER, RETRY_SECONDS)
    }
    pub fn full() -> Self {
        let message = "the disk of the registry is full; nothing of this was kept";
        Self::new(StatusCode::INSUFFICIENT_STORAGE, Code::Unknown, message)
    }
    pub fn broken(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown, message)
    }
    pub fn with(mut self, name: HeaderName, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    pub fn answer(self) -> Answer {
        let error =
            serde_json::json!({ "code": self.code.as_str(), "message": self.message, "detail": null });
        let mut answer = json(self.status, &serde_json::json!({ "errors": [error] }));
        for (name, value) in self.headers {
            set(&mut answer, name, value);
        }
        answer
    }
}

/// No space, by the disk or by a quota.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if is_full(&error) { Self::full() } else { Self::broken(format!("the store failed: {error}")) }
    }
}

impl From<RepositoryError> for Failure {
    fn from(error: RepositoryError) -> Self {
        let message = error.to_string();
        match &error {
            RepositoryError::Invalid { .. } => Self::bad(Code::ManifestInvalid, message),
            RepositoryError::Missing { .. } => Self::missing(Code::ManifestBlobUnknown, message),
            RepositoryError::Digest { .. } => Self::bad(Code::DigestInvalid, message),
            RepositoryError::Unknown { .. } => Self::missing(Code::ManifestUnknown, message),
            RepositoryError::Needed { .. } => Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                Code::Unsupported,
                format!("{message}; delete that first"),
            ),
            RepositoryError::Moved => {
                Self::new(StatusCode::PRECONDITION_FAILED, Code::ManifestInvalid, message)
            }
            RepositoryError::Busy => Self::later(StatusCode::SERVICE_UNAVAILABLE, Code::Unknown, message),
            _ => of_source(&error),
        }
    }
}

/// What went wrong in the store itself; its paths are not for clients.
fn of_source(error: &RepositoryError) -> Failure {
    let mut source = error.source();
    while let Some(error) = source {
        if error.downcast_ref::<io::Error>().is_some_and(is_full) {
            return Failure::full();
        }
        source = error.source();
    }
    Failure::broken("the store of the registry failed; its own output says why")
}
