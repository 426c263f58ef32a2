//! One request and its answer over a connection that is closed afterwards.

use super::Url;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, CONNECTION, HOST, LOCATION, USER_AGENT};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The longest head of an answer.
const HEAD_MAX: usize = 64 << 10;
const FIELDS_MAX: usize = 128;
/// The longest answer; what comes after is not waited for.
const ANSWER_MAX: u64 = 256 << 20;

pub struct Answer {
    /// Until its head was there.
    pub first_byte: Duration,
    pub transfer: Duration,
    pub status: u16,
    /// Of the body, as it came.
    pub bytes: u64,
    pub version: &'static str,
    pub location: Option<String>,
}

pub async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    url: &Url,
) -> Result<Answer, hyper::Error> {
    let begun = Instant::now();
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(HEAD_MAX)
        .max_headers(FIELDS_MAX)
        .title_case_headers(true)
        .handshake(TokioIo::new(stream))
        .await?;
    // Ends with this function, whatever the server does.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let request = hyper::Request::get(&url.target)
        .header(HOST, &url.authority)
        .header(USER_AGENT, concat!("juchu/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .expect("an address holds printable characters only");
    let response = sender.send_request(request).await?;
    let first_byte = begun.elapsed();
    let answered = Instant::now();
    let status = response.status().as_u16();
    let version = match response.version() {
        hyper::Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    let location = response.headers().get(LOCATION).and_then(|field| field.to_str().ok()).map(str::to_owned);
    let mut body = response.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, Bytes::len) as u64;
        if bytes >= ANSWER_MAX {
            break;
        }
    }
    Ok(Answer { first_byte, transfer: answered.elapsed(), status, bytes, version, location })
}
