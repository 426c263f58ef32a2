//! Pages compressed for browsers that take gzip. Streams go out as they come.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

/// Less is not worth it.
const BYTES_MIN: usize = 1024;
/// The largest page; nothing that is drawn here comes near.
const BYTES_MAX: usize = 16 << 20;

pub async fn packed(request: Request, next: Next) -> Response {
    let is_taken = takes_gzip(request.headers());
    let response = next.run(request).await;
    if !is_taken || !is_page(response.headers()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(text) = to_bytes(body, BYTES_MAX).await else {
        return axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    parts.headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if text.len() < BYTES_MIN {
        return Response::from_parts(parts, Body::from(text));
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 3), Compression::fast());
    let packed = encoder.write_all(&text).and_then(|()| encoder.finish());
    let packed = packed.expect("writing to memory does not fail");
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(packed))
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        name.trim().eq_ignore_ascii_case("gzip") && weight.replace(' ', "") != "q=0"
    })
}

/// HTML, the style sheet and the script.
fn is_page(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    ["text/html", "text/css", "text/javascript"].iter().any(|page| kind.starts_with(page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_those_who_take_it() {
        let takes = |value: &'static str| {
            takes_gzip(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]))
        };
        assert!(takes("br, gzip;q=0.5") && takes("GZIP"));
        assert!(!takes("br") && !takes("gzip; q=0") && !takes_gzip(&HeaderMap::new()));
    }
}
