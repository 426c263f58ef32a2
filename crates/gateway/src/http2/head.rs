//! Heads of HTTP/2 as heads of HTTP/1.1 and back. What is written here is judged as any other head
//! is, so that nothing is allowed by one protocol that the other refuses; what is read here was
//! written by this gateway.

use crate::http::request::Refusal;
use crate::http::{field, grpc};
use crate::snapshot::Random;
use ::http::header::{HeaderName, HeaderValue};
use ::http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use h2::ext::Protocol;
use ring::digest;

const AUTHORITIES_DIFFER: Refusal = Refusal { status: 400, reason: "Host and :authority disagree" };

/// How the body behind a head that was written out is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    None,
    /// As long as its Content-Length says, which the protocol's library checks.
    Plain,
    Chunks,
    /// No body: bytes of another protocol, as they are (RFC 8441).
    Tunnel,
}

impl Framing {
    /// Of a body behind these fields. Chunks are what trailers can follow in HTTP/1.1: where the
    /// head announces some, or a call by gRPC has its status in them, they come before the length.
    pub fn of(fields: &HeaderMap, has_body: bool) -> Self {
        let is_call = || {
            let content_type = fields.get("content-type");
            content_type.is_some_and(|value| grpc::is_grpc(value.as_bytes()))
        };
        match has_body {
            false => Self::None,
            true if !fields.contains_key("content-length") => Self::Chunks,
            true if fields.contains_key("trailer") || is_call() => Self::Chunks,
            true => Self::Plain,
        }
    }
}

/// Writes the head of a client's request to `out`.
pub fn write_request<B>(
    request: &Request<B>,
    has_body: bool,
    random: &Random,
    out: &mut Vec<u8>,
) -> Result<Framing, Refusal> {
    let fields = request.headers();
    let uri = request.uri();
    let host = fields.get("host").map(HeaderValue::as_bytes);
    let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
    let differ = |host: &[u8], authority: &[u8]| !host.eq_ignore_ascii_case(authority);
    let is_doubled = fields.get_all("host").iter().count() > 1;
    if is_doubled || matches!((host, authority), (Some(host), Some(authority)) if differ(host, authority)) {
        return Err(AUTHORITIES_DIFFER);
    }
    let is_websocket = request.method() == Method::CONNECT
        && request.extensions().get::<Protocol>().is_some_and(|protocol| protocol.as_str() == "websocket");
    let method = if is_websocket { "GET" } else { request.method().as_str() };
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    match uri.path_and_query() {
        Some(target) => out.extend_from_slice(target.as_str().as_bytes()),
        // Only CONNECT has none, which is refused as it always is.
        None => out.extend_from_slice(authority.unwrap_or(b"-")),
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(host) = authority.or(host) {
        field::push(out, "host", host);
    }
    write_cookies(fields, out);
    let framing = if is_websocket { Framing::Tunnel } else { Framing::of(fields, has_body) };
    let is_in_chunks = framing == Framing::Chunks;
    let once = |name: &HeaderName| match name.as_str() {
        "host" | "cookie" => true,
        "content-length" => is_in_chunks,
        _ => false,
    };
    for (name, value) in fields.iter().filter(|(name, _)| !once(name)) {
        field::push(out, name.as_str(), value.as_bytes());
    }
    match framing {
        Framing::Chunks => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Tunnel => write_upgrade(random, out),
        Framing::None | Framing::Plain => {}
    }
    out.extend_from_slice(b"\r\n");
    Ok(framing)
}

/// The crumbs of a cookie as one field (RFC 9113 section 8.2.3).
fn write_cookies(fields: &HeaderMap, out: &mut Vec<u8>) {
    let mut crumbs = fields.get_all("cookie").iter();
    let Some(first) = crumbs.next() else { return };
    out.extend_from_slice(b"cookie: ");
    out.extend_from_slice(first.as_bytes());
    for more in crumbs {
        out.extend_from_slice(b"; ");
        out.extend_from_slice(more.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// What a handshake of WebSocket has in HTTP/1.1 and not in HTTP/2.
fn write_upgrade(random: &Random, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.extend_from_slice(b"connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: ");
    // Sixteen bytes in base64: of the last digit two bits count.
    out.extend((0..21).map(|_| DIGITS[random.below(64)]));
    out.push(DIGITS[16 * random.below(4)]);
    out.extend_from_slice(b"==\r\n");
}

/// Writes the end of a body in chunks, with what came behind it.
pub fn write_end(trailers: Option<&HeaderMap>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        field::push(out, name.as_str(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// How the body of an answer is framed that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    None,
    Length(u64),
    Chunks,
    Tunnel,
}

/// Reads the head of an answer to a client; `to_head` if there is no body whatever it says.
pub fn read_response(head: &[u8], to_head: bool) -> Option<(Response<()>, Body)> {
    let mut lines = lines(head);
    let status = lines.next()?.split(|&b| b == b' ').nth(1)?;
    let mut status = StatusCode::from_bytes(status).ok()?;
    let is_tunnel = status == StatusCode::SWITCHING_PROTOCOLS;
    let mut response = Response::new(());
    let mut body = Body::Length(0);
    for (name, value) in lines.filter_map(pair) {
        match field::kind(name) {
            field::Kind::TransferEncoding => body = Body::Chunks,
            field::Kind::Connection | field::Kind::KeepAlive | field::Kind::Upgrade => {}
            kind => {
                if kind == field::Kind::ContentLength {
                    body = Body::Length(field::decimal(value)?);
                }
                let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
                if !is_tunnel || name != "sec-websocket-accept" {
                    response.headers_mut().append(name, HeaderValue::from_bytes(value).ok()?);
                }
            }
        }
    }
    if is_tunnel {
        status = StatusCode::OK;
        body = Body::Tunnel;
    } else if to_head || status.is_informational() || matches!(status.as_u16(), 204 | 304) {
        body = Body::None;
    }
    *response.status_mut() = status;
    Some((response, body))
}

/// Reads the head of a request to an instance.
pub fn read_request(head: &[u8]) -> Option<(Request<()>, Body)> {
    let mut lines = lines(head);
    let mut words = lines.next()?.split(|&b| b == b' ');
    let method = Method::from_bytes(words.next()?).ok()?;
    let target = words.next()?;
    let mut request = Request::new(());
    let fields = request.headers_mut();
    let mut host: &[u8] = b"";
    let mut body = Body::None;
    let mut is_websocket = false;
    for (name, value) in lines.filter_map(pair) {
        match field::kind(name) {
            field::Kind::Host => {
                host = value;
                continue;
            }
            field::Kind::TransferEncoding => {
                body = Body::Chunks;
                continue;
            }
            field::Kind::Upgrade => {
                is_websocket = value.eq_ignore_ascii_case(b"websocket");
                continue;
            }
            field::Kind::Connection | field::Kind::KeepAlive => continue,
            field::Kind::ContentLength => body = Body::Length(field::decimal(value)?),
            _ => {}
        }
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        fields.append(name, HeaderValue::from_bytes(value).ok()?);
    }
    let uri = Uri::builder().scheme("http").authority(host).path_and_query(target).build().ok()?;
    (*request.method_mut(), *request.uri_mut()) = (method, uri);
    if is_websocket {
        ask_for_tunnel(&mut request);
        body = Body::Tunnel;
    }
    Some((request, body))
}

/// What a handshake of WebSocket is answered with under `Sec-WebSocket-Accept`.
#[derive(Clone)]
pub struct Accept(pub String);

impl Accept {
    /// To this `Sec-WebSocket-Key` (RFC 6455 section 4.2.2).
    fn to(key: &[u8]) -> Self {
        const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
        let mut digest = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
        digest.update(key);
        digest.update(GUID);
        Self(BASE64.encode(digest.finish()))
    }
}

/// Asks for a WebSocket as HTTP/2 has it (RFC 8441), and keeps what HTTP/1.1 wants to hear.
fn ask_for_tunnel(request: &mut Request<()>) {
    let key = request.headers_mut().remove("sec-websocket-key");
    let accept = Accept::to(key.as_ref().map_or(&[], |key| key.as_bytes()));
    *request.method_mut() = Method::CONNECT;
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    request.extensions_mut().insert(accept);
}

/// Writes the head of an answer that opens a WebSocket to `out`.
pub fn write_switch(fields: &HeaderMap, accept: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n",
    );
    field::push(out, "sec-websocket-accept", accept.as_bytes());
    for (name, value) in fields.iter().filter(|(name, _)| *name != "content-length") {
        field::push(out, name.as_str(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the head of an instance's answer to `out`.
pub fn write_response(response: &Response<()>, framing: Framing, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(response.status().as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(response.status().canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    let is_in_chunks = framing == Framing::Chunks;
    for (name, value) in response.headers() {
        if !is_in_chunks || name != "content-length" {
            field::push(out, name.as_str(), value.as_bytes());
        }
    }
    if is_in_chunks {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Reads the lines behind a body in chunks.
pub fn read_trailers(trailers: &[u8]) -> Option<HeaderMap> {
    let mut fields = HeaderMap::new();
    for (name, value) in lines(trailers).filter_map(pair) {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value))
        {
            fields.append(name, value);
        }
    }
    (!fields.is_empty()).then_some(fields)
}

fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

fn pair(line: &[u8]) -> Option<(&str, &[u8])> {
    let colon = line.iter().position(|&b| b == b':')?;
    Some((std::str::from_utf8(&line[..colon]).ok()?, line[colon + 1..].trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(request: ::http::request::Builder, has_body: bool, expect: Result<&str, u16>) {
        let mut out = Vec::new();
        let request = request.body(()).expect("it is valid");
        let outcome = write_request(&request, has_body, &Random::new(), &mut out);
        let text = String::from_utf8_lossy(&out).into_owned();
        assert_eq!(outcome.map(|_| text.as_str()).map_err(|refusal| refusal.status), expect, "{request:?}");
    }

    #[test]
    fn a_request_is_written_as_one_of_http_1() {
        let get = || Request::builder().uri("https://a.example/x?y");
        let post = || get().method("POST");
        check(get(), false, Ok("GET /x?y HTTP/1.1\r\nhost: a.example\r\n\r\n"));
        check(
            get().header("cookie", "a=1").header("host", "A.example").header("cookie", "b=2"),
            false,
            Ok("GET /x?y HTTP/1.1\r\nhost: a.example\r\ncookie: a=1; b=2\r\n\r\n"),
        );
        check(get().header("host", "b.example"), false, Err(400));
        check(get().header("host", "a.example").header("host", "a.example"), false, Err(400));
        check(
            post().header("content-length", "5"),
            true,
            Ok("POST /x?y HTTP/1.1\r\nhost: a.example\r\ncontent-length: 5\r\n\r\n"),
        );
        check(
            post(),
            true,
            Ok("POST /x?y HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\n\r\n"),
        );
        check(
            Request::builder().method("CONNECT").uri("a.example:443"),
            false,
            Ok("CONNECT a.example:443 HTTP/1.1\r\nhost: a.example:443\r\n\r\n"),
        );
    }

    #[test]
    fn a_websocket_is_asked_for_as_in_http_1() {
        let request = Request::builder().method("CONNECT").uri("https://a/chat");
        let request = request.extension(Protocol::from_static("websocket")).body(()).expect("it is valid");
        let mut out = Vec::new();
        let framing = write_request(&request, true, &Random::new(), &mut out);
        assert_eq!(framing, Ok(Framing::Tunnel));
        let text = String::from_utf8(out).expect("it is text");
        let (before, key) = text.split_once("sec-websocket-key: ").expect("there is a key");
        let expect = "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n";
        assert_eq!(before, expect);
        assert_eq!((key.len(), &key[22..]), (28, "==\r\n\r\n"));
    }

    #[test]
    fn an_answer_is_read_without_what_belongs_to_a_connection() {
        let read = |head: &[u8], to_head| read_response(head, to_head).expect("it is one");
        let head = b"HTTP/1.1 200 OK\r\nServer: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
        let (response, body) = read(head, false);
        assert_eq!((response.headers().len(), body), (1, Body::Chunks));
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
        assert_eq!(read(head, false).1, Body::Length(9));
        let (response, body) = read(head, true);
        assert_eq!((response.headers()["content-length"].as_bytes(), body), (&b"9"[..], Body::None));
        let (response, body) = read(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", false);
        assert_eq!((response.status().as_u16(), body), (103, Body::None));
        let head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\n";
        let (response, body) = read(head, false);
        assert_eq!((response.status().as_u16(), response.headers().len(), body), (200, 1, Body::Tunnel));
    }

    #[test]
    fn a_request_for_an_instance_is_read_and_its_answer_written() {
        let head = b"POST /x?y HTTP/1.1\r\nHost: a:80\r\nTransfer-Encoding: chunked\r\nConnection: TE\r\nTE: trailers\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n";
        let (request, body) = read_request(head).expect("it is one");
        assert_eq!(
            (request.method(), request.uri().to_string().as_str()),
            (&Method::POST, "http://a:80/x?y")
        );
        assert_eq!(
            (request.headers().len(), &request.headers()["te"]),
            (2, &"trailers".parse().expect("a value"))
        );
        assert_eq!(body, Body::Chunks);
        let (request, body) =
            read_request(b"OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n").expect("it is one");
        assert_eq!((request.uri().path(), body), ("*", Body::Length(3)));
        let mut out = Vec::new();
        let response = Response::builder().header("grpc-status", "0").body(()).expect("it is valid");
        write_response(&response, Framing::Chunks, &mut out);
        assert_eq!(out, b"HTTP/1.1 200 OK\r\ngrpc-status: 0\r\ntransfer-encoding: chunked\r\n\r\n");
    }

    #[test]
    fn trailers_pass_both_ways() {
        let trailers = read_trailers(b"grpc-status: 0\r\nx: y\r\n").expect("there are some");
        let mut out = Vec::new();
        write_end(Some(&trailers), &mut out);
        assert_eq!(out, b"0\r\ngrpc-status: 0\r\nx: y\r\n\r\n");
        assert_eq!(read_trailers(b""), None);
    }
}
