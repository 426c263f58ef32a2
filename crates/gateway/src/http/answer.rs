//! The gateway's own answers: short, plain, with the request's id so that the log can be asked.

use super::field;
use crate::http::request::Refusal;
use model::rule::{HeaderEdits, Redirect};

/// What a redirect keeps of a request.
pub struct Asked<'a> {
    pub scheme: &'a str,
    pub host: &'a [u8],
    pub target: &'a [u8],
}

/// Appends what a rule answers itself; `close` says that no other follows.
pub fn text(
    status: u16,
    body: &str,
    edits: &HeaderEdits,
    id: &[u8],
    head_only: bool,
    close: bool,
    out: &mut Vec<u8>,
) {
    begin(status, id, edits, close, out);
    // Neither has a body, and a length would announce one.
    let bodiless = matches!(status, 204 | 304);
    if !bodiless {
        if !edits.set.contains_key("content-type") && !edits.remove.iter().any(|name| name == "content-type")
        {
            field::push(out, "Content-Type", b"text/plain; charset=utf-8");
        }
        field::push_length(out, body.len() as u64);
    }
    out.extend_from_slice(b"\r\n");
    if !head_only && !bodiless {
        out.extend_from_slice(body.as_bytes());
    }
}

/// Appends a redirect to where the rule says.
pub fn redirect(
    redirect: &Redirect,
    asked: &Asked<'_>,
    edits: &HeaderEdits,
    id: &[u8],
    close: bool,
    out: &mut Vec<u8>,
) {
    let mut location = redirect.scheme.as_deref().unwrap_or(asked.scheme).as_bytes().to_vec();
    location.extend_from_slice(b"://");
    match &redirect.host {
        Some(host) => location.extend_from_slice(host.as_bytes()),
        None if redirect.port.is_some_and(|port| Some(port) != usual_port(&redirect.scheme)) => {
            location.extend_from_slice(without_port(asked.host));
            location.push(b':');
            field::push_number(&mut location, redirect.port.unwrap_or_default().into());
        }
        // The port belongs to the scheme that is left.
        None if redirect.scheme.as_deref().is_some_and(|scheme| scheme != asked.scheme) => {
            location.extend_from_slice(without_port(asked.host));
        }
        None => location.extend_from_slice(asked.host),
    }
    let query = asked.target.iter().position(|&b| b == b'?').map_or(&[][..], |at| &asked.target[at..]);
    match &redirect.path {
        Some(path) => {
            location.extend_from_slice(path.as_bytes());
            location.extend_from_slice(query);
        }
        None => location.extend_from_slice(asked.target),
    }
    begin(redirect.status, id, edits, close, out);
    field::push(out, "Location", &location);
    field::push_length(out, 0);
    out.extend_from_slice(b"\r\n");
}

fn usual_port(scheme: &Option<String>) -> Option<u16> {
    match scheme.as_deref() {
        Some("https") => Some(443),
        Some("http") => Some(80),
        _ => None,
    }
}

fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|&b| b == b':') {
        Some(colon) if !host[colon..].contains(&b']') => &host[..colon],
        _ => host,
    }
}

/// Puts another field behind those of a whole answer.
pub fn add_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    let mut from = 0;
    let Some(end) = field::head_end(out, &mut from) else { return };
    let mut line = Vec::new();
    field::push(&mut line, name, value);
    out.splice(end - 2..end - 2, line);
}

/// The status line and the fields that every answer to a request has.
pub fn begin(status: u16, id: &[u8], edits: &HeaderEdits, close: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    field::push_number(out, status.into());
    out.push(b' ');
    out.extend_from_slice(phrase(status).as_bytes());
    out.extend_from_slice(b"\r\n");
    field::push(out, "X-Request-Id", id);
    for (name, value) in &edits.set {
        field::push(out, name, value.as_bytes());
    }
    if close {
        field::push(out, "Connection", b"close");
    }
}

/// Appends a whole response; `close` says that no other follows.
pub fn write(
    refusal: Refusal,
    id: Option<&[u8]>,
    head_only: bool,
    close: bool,
    retry_after_s: Option<u64>,
    out: &mut Vec<u8>,
) {
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
    if let Some(seconds) = retry_after_s {
        field::push(out, "Retry-After", seconds.to_string().as_bytes());
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
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        412 => "Precondition Failed",
        416 => "Range Not Satisfiable",
        408 => "Request Timeout",
        414 => "URI Too Long",
        410 => "Gone",
        429 => "Too Many Requests",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}
