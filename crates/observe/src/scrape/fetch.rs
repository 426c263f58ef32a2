//! One request for the metrics of a target, over a connection that is closed afterwards.
//!
//! A target can waste no more than its own time limit, and the bytes that it may send.

use super::Format;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, USER_AGENT};
use hyper_util::rt::TokioIo;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The largest answer of a target.
pub const BODY_MAX: usize = 8 << 20;
/// What each target may send before it takes from what all share.
const BODY_FREE: usize = 128 << 10;
/// What all answers may take together that are being read, beyond that; in KiB.
const SHARED_KIB: usize = 32 << 10;
/// The most bytes of an answer's head.
const HEAD_MAX: usize = 32 << 10;
const FIELDS_MAX: usize = 64;

const WANTED: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.8,*/*;q=0.1";

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("connect")]
    Connect(#[source] io::Error),
    #[error("ask")]
    Exchange(#[source] hyper::Error),
    #[error("the answer has status {0}")]
    Status(u16),
    #[error("the answer is of the type {0}, which no metrics are")]
    ContentType(String),
    #[error("the answer is compressed by {0}, which was not asked for")]
    Encoding(String),
    #[error("the answer is larger than {} MiB", BODY_MAX >> 20)]
    TooLarge,
    #[error("too many large answers are being read at the same time")]
    Crowded,
    #[error("the answer is not UTF-8 text after {0} bytes")]
    NotText(usize),
    #[error("no whole answer within {0:?}")]
    TimedOut(Duration),
}

/// The memory that answers share while they are read; clones share it.
#[derive(Debug, Clone)]
pub struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(SHARED_KIB)))
    }
}

/// Where metrics are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// As the `Host` field has it.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// For all of it together.
    pub limit: Duration,
}

/// An answer, not read yet.
#[derive(Debug)]
pub struct Page {
    pub format: Format,
    pub text: String,
}

pub async fn fetch(
    connect: impl Future<Output = io::Result<TcpStream>>,
    asked: &Asked,
    room: &Room,
) -> Result<Page, FetchError> {
    let all = async {
        let stream = connect.await.map_err(FetchError::Connect)?;
        exchange(stream, asked, room).await
    };
    timeout(asked.limit, all).await.unwrap_or(Err(FetchError::TimedOut(asked.limit)))
}

async fn exchange(stream: TcpStream, asked: &Asked, room: &Room) -> Result<Page, FetchError> {
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(HEAD_MAX)
        .max_headers(FIELDS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(FetchError::Exchange)?;
    // Ends with this function, whatever the target does.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let request = hyper::Request::get(&asked.path)
        .header(HOST, &asked.host)
        .header(USER_AGENT, concat!("juchu/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, WANTED)
        .header(CONNECTION, "close")
        .header("x-prometheus-scrape-timeout-seconds", asked.limit.as_secs_f64().to_string())
        .body(Empty::<Bytes>::new())
        .expect("host and path were checked when the file was read");
    let response = sender.send_request(request).await.map_err(FetchError::Exchange)?;
    if response.status() != hyper::StatusCode::OK {
        return Err(FetchError::Status(response.status().as_u16()));
    }
    let format = format(response.headers())?;
    let bytes = read(response.into_body(), room).await?;
    let text =
        String::from_utf8(bytes).map_err(|error| FetchError::NotText(error.utf8_error().valid_up_to()))?;
    Ok(Page { format, text })
}

fn format(fields: &HeaderMap) -> Result<Format, FetchError> {
    let field = |name| fields.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().trim();
    let encoding = field(CONTENT_ENCODING);
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity") {
        return Err(FetchError::Encoding(encoding.chars().take(40).collect()));
    }
    let kind = field(CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "application/openmetrics-text" => Ok(Format::OpenMetrics),
        // What says nothing, or says text as programs that know no better do.
        "" | "text/plain" | "application/octet-stream" => Ok(Format::Text),
        other => Err(FetchError::ContentType(other.chars().take(60).collect())),
    }
}

async fn read(mut body: Incoming, room: &Room) -> Result<Vec<u8>, FetchError> {
    let mut bytes = Vec::new();
    let mut taken = Vec::new();
    let mut free = BODY_FREE;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(FetchError::Exchange)?;
        let Some(data) = frame.data_ref() else { continue };
        if bytes.len() + data.len() > BODY_MAX {
            return Err(FetchError::TooLarge);
        }
        while bytes.len() + data.len() > free {
            let more = BODY_FREE;
            let permit = room.0.try_acquire_many((more >> 10) as u32).map_err(|_| FetchError::Crowded)?;
            taken.push(permit);
            free += more;
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
}
