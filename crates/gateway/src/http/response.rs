//! From an upstream's response head to the one the client gets. An instance is not trusted to
//! frame its answers well: what could be read in two ways is not passed on.

use super::Body;
use super::field::{self, Kind, Options};
use super::grpc;
use super::negotiate::{self, Offer};
use crate::options::MAX_FIELDS;
use crate::policy::compress::Encoding;
use httparse::Header;
use model::rule::HeaderEdits;
use std::mem::MaybeUninit;

/// What of the request decides the form of its response.
pub struct Asked<'a> {
    pub head: bool,
    pub http10: bool,
    pub keep_alive: bool,
    pub upgrade: bool,
    pub edits: Option<&'a HeaderEdits>,
    /// What may be done to the content.
    pub offer: Option<Offer<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// How the upstream frames what follows.
    pub body: Body,
    /// The client is sent chunks.
    pub chunked: bool,
    /// The upstream connection can carry another request.
    pub reusable: bool,
    /// The client connection can carry another request.
    pub keep_client: bool,
    /// The body is a stream of server-sent events, in clear.
    pub events: bool,
    /// The protocol changes to WebSocket.
    pub websocket: bool,
    /// The status of a call by gRPC that ends with its head.
    pub grpc_status: Option<u32>,
    /// The client is sent the content in this form, in chunks.
    pub encoding: Option<Encoding>,
}

/// Parses the head that is all of `head` and appends the client's head to `out`. An error says
/// what the upstream did wrong.
pub fn rewrite(head: &[u8], asked: &Asked<'_>, out: &mut Vec<u8>) -> Result<Response, &'static str> {
    let mut slots = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    match httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, head, &mut slots)
    {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err("the response head is not complete"),
        Err(httparse::Error::TooManyHeaders) => return Err("too many header fields in the response"),
        Err(_) => return Err("the response head is not valid"),
    }
    if !field::lines_are_strict(head, parsed.headers) {
        return Err("a line of the response head does not end in CR LF");
    }
    let (Some(status), Some(version)) = (parsed.code, parsed.version) else {
        return Err("the response has no status");
    };
    if !(100..=599).contains(&status) {
        return Err("the response status is not between 100 and 599");
    }
    let fields = Fields::read(parsed.headers)?;
    if status == 101 && !(asked.upgrade && fields.options.upgrade && fields.upgrade.is_some()) {
        return Err("the response changes the protocol, which was not asked for");
    }
    let mut response = fields.judge(status, version, asked);
    let suits = asked.offer.is_some_and(|offer| offer.suits(parsed.headers, status, fields.framing));
    if let Some(Offer { encoding: Some(encoding), .. }) = asked.offer
        && suits
        && response.body != Body::None
        && !asked.http10
    {
        (response.encoding, response.chunked) = (Some(encoding), true);
    }
    write(&parsed, &fields, &response, (asked, suits), out);
    Ok(response)
}

struct Fields<'a> {
    kinds: [Kind; MAX_FIELDS],
    framing: Body,
    options: Options<'a>,
    upgrade: Option<&'a [u8]>,
    events: bool,
    encoded: bool,
    grpc_status: Option<u32>,
}

impl<'a> Fields<'a> {
    fn read(headers: &[Header<'a>]) -> Result<Self, &'static str> {
        let mut fields = Self {
            kinds: [Kind::Pass; MAX_FIELDS],
            framing: Body::UntilClose,
            options: Options::default(),
            upgrade: None,
            events: false,
            encoded: false,
            grpc_status: None,
        };
        for (index, header) in headers.iter().enumerate() {
            let kind = field::kind(header.name);
            fields.kinds[index] = kind;
            if kind != Kind::Pass {
                fields.take(kind, header.value.trim_ascii())?;
            } else {
                fields.look(header);
            }
        }
        Ok(fields)
    }

    /// Content that is a stream which can be ended between two events.
    fn look(&mut self, header: &Header<'_>) {
        const EVENTS: &[u8] = b"text/event-stream";
        // The lengths alone rule most fields out.
        match header.name.len() {
            12 if header.name.eq_ignore_ascii_case("content-type") => {
                let value = header.value.trim_ascii();
                self.events = value.len() >= EVENTS.len()
                    && value[..EVENTS.len()].eq_ignore_ascii_case(EVENTS)
                    && matches!(value.get(EVENTS.len()), None | Some(b';' | b' ' | b'\t'));
            }
            16 if header.name.eq_ignore_ascii_case("content-encoding") => self.encoded = true,
            11 if header.name.eq_ignore_ascii_case("grpc-status") => {
                self.grpc_status = grpc::status(header.value);
            }
            _ => {}
        }
    }

    fn take(&mut self, kind: Kind, value: &'a [u8]) -> Result<(), &'static str> {
        match kind {
            Kind::ContentLength | Kind::TransferEncoding if self.framing != Body::UntilClose => {
                return Err("the response gives the length of its body twice");
            }
            Kind::ContentLength => {
                let length =
                    field::decimal(value).ok_or("the response has a Content-Length that is no number")?;
                self.framing = Body::Length(length);
            }
            Kind::TransferEncoding if value.eq_ignore_ascii_case(b"chunked") => self.framing = Body::Chunked,
            Kind::TransferEncoding => return Err("the response has an unknown transfer encoding"),
            Kind::Connection if !self.options.add(value) => {
                return Err("the response's Connection names a field that is not for this connection");
            }
            Kind::Upgrade => self.upgrade = Some(value),
            _ => {}
        }
        Ok(())
    }

    fn judge(&self, status: u16, version: u8, asked: &Asked<'_>) -> Response {
        let interim = status < 200;
        let bodiless = interim || asked.head || matches!(status, 204 | 304);
        let body = if bodiless { Body::None } else { self.framing };
        // A body where none may be would be taken for the next response.
        let stray = (interim || status == 204) && !matches!(self.framing, Body::UntilClose | Body::Length(0));
        let persistent = match version {
            0 => self.options.keep_alive && !self.options.close,
            _ => !self.options.close,
        };
        let chunked = matches!(body, Body::Chunked | Body::UntilClose) && !asked.http10;
        let ends_by_close = asked.http10 && matches!(body, Body::Chunked | Body::UntilClose);
        Response {
            status,
            body,
            chunked,
            reusable: persistent && !stray && body != Body::UntilClose && status != 101,
            keep_client: asked.keep_alive && !ends_by_close,
            events: self.events && !self.encoded,
            grpc_status: self.grpc_status,
            encoding: None,
            websocket: status == 101
                && self.upgrade.is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket")),
        }
    }
}

fn write(
    parsed: &httparse::Response<'_, '_>,
    fields: &Fields<'_>,
    response: &Response,
    (asked, varies): (&Asked<'_>, bool),
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    field::push_number(out, response.status.into());
    out.push(b' ');
    out.extend_from_slice(parsed.reason.unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    for (header, kind) in parsed.headers.iter().zip(&fields.kinds) {
        let hop = matches!(
            kind,
            Kind::Connection
                | Kind::KeepAlive
                | Kind::ProxyConnection
                | Kind::TransferEncoding
                | Kind::ContentLength
                | Kind::Te
                | Kind::Upgrade
                | Kind::Http2Settings
        );
        let edited = asked.edits.is_some_and(|edits| field::is_edited(edits, header.name));
        if response.encoding.is_some() && negotiate::reform(header, out) {
            continue;
        }
        if !hop && !edited && (*kind != Kind::Pass || !fields.options.strips(header.name)) {
            field::push(out, header.name, header.value);
        }
    }
    for (name, value) in asked.edits.into_iter().flat_map(|edits| &edits.set) {
        field::push(out, name, value.as_bytes());
    }
    if varies && !negotiate::says_so(parsed.headers) {
        field::push(out, "Vary", b"Accept-Encoding");
    }
    write_framing(fields, response, asked, out);
    out.extend_from_slice(b"\r\n");
}

fn write_framing(fields: &Fields<'_>, response: &Response, asked: &Asked<'_>, out: &mut Vec<u8>) {
    if response.status == 101 {
        field::push(out, "Connection", b"Upgrade");
        field::push(out, "Upgrade", fields.upgrade.unwrap_or_default());
        return;
    }
    if response.status < 200 {
        return;
    }
    // To HEAD and 304 the length is that of a body that is not sent.
    let told = match response.body {
        Body::None if response.status != 204 => fields.framing,
        body => body,
    };
    if let Some(encoding) = response.encoding {
        field::push(out, "Content-Encoding", encoding.token());
    } else if let Body::Length(length) = told {
        field::push_length(out, length);
    }
    if response.chunked {
        field::push(out, "Transfer-Encoding", b"chunked");
    }
    match (response.keep_client, asked.http10) {
        (false, _) => field::push(out, "Connection", b"close"),
        (true, true) => field::push(out, "Connection", b"keep-alive"),
        (true, false) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Asked =
        Asked { head: false, http10: false, keep_alive: true, upgrade: false, edits: None, offer: None };

    fn check(head: &str, asked: &Asked<'_>, expect: Result<&str, &str>) {
        let mut out = Vec::new();
        let outcome =
            rewrite(head.as_bytes(), asked, &mut out).map(|_| String::from_utf8_lossy(&out).into_owned());
        assert_eq!(outcome.as_deref().map_err(|e| *e), expect, "{head:?}");
    }

    #[test]
    fn responses_are_framed_anew() {
        check(
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nServer: x\r\n\r\n",
            &PLAIN,
            Ok("HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\n"),
        );
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\r\n",
            &PLAIN,
            Ok("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        );
        check(
            "HTTP/1.0 200 OK\r\n\r\n",
            &Asked { http10: true, ..PLAIN },
            Ok("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"),
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            &Asked { head: true, keep_alive: false, ..PLAIN },
            Ok("HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\n"),
        );
        check(
            "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
            &PLAIN,
            Ok("HTTP/1.1 204 No Content\r\n\r\n"),
        );
    }

    #[test]
    fn responses_that_could_be_read_in_two_ways_are_refused() {
        for head in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\nContent-Length: 5\n\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 1\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            "HTTP/1.1 099 Odd\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
        ] {
            assert!(rewrite(head.as_bytes(), &PLAIN, &mut Vec::new()).is_err(), "{head:?}");
        }
    }

    #[test]
    fn streams_that_can_be_ended_in_between_are_told_from_others() {
        for (fields, events) in [
            ("Content-Type: text/event-stream", true),
            ("content-type: Text/Event-Stream; charset=utf-8", true),
            ("Content-Type: text/event-streams", false),
            ("Content-Type: text/html", false),
            ("Content-Type: text/event-stream\r\nContent-Encoding: gzip", false),
        ] {
            let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
            let response = rewrite(head.as_bytes(), &PLAIN, &mut Vec::new()).expect("the head is valid");
            assert_eq!(response.events, events, "{fields}");
        }
    }

    #[test]
    fn a_connection_with_a_stray_body_is_not_used_again() {
        let head = b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n";
        let response = rewrite(head, &PLAIN, &mut Vec::new()).expect("the head itself is valid");
        assert!(!response.reusable && response.keep_client);
    }
}
