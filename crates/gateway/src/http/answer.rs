//! The gateway's own answers: short, plain, with the request's id so that the log can be asked.

use super::field;
use crate::http::request::Refusal;

/// Seconds after which a client may try again when no instance was ready.
const RETRY_AFTER_S: &str = "1";

/// Appends a whole response; `close` says that no other follows.
pub fn write(refusal: Refusal, id: Option<&[u8]>, head_only: bool, close: bool, out: &mut Vec<u8>) {
    let Refusal { status, reason } = refusal;
    let mut body = format!("{status} {}: {reason}\n", phrase(status)).into_bytes();
    if let Some(id) = id {
        body.extend_from_slice(b"request id ");
        body.extend_from_slice(id);
        body.push(b'\n');
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    field::push_number(out, status.into());
    out.push(b' ');
    out.extend_from_slice(phrase(status).as_bytes());
    out.extend_from_slice(b"\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n");
    field::push_length(out, body.len() as u64);
    if let Some(id) = id {
        field::push(out, "X-Request-Id", id);
    }
    if status == 503 {
        field::push(out, "Retry-After", RETRY_AFTER_S.as_bytes());
    }
    if close {
        field::push(out, "Connection", b"close");
    }
    out.extend_from_slice(b"\r\n");
    if !head_only {
        out.extend_from_slice(&body);
    }
}

fn phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        408 => "Request Timeout",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}
