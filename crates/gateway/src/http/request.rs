//! From a client's request head to the one sent upstream, or to the reason it is refused.
//!
//! Whatever two servers could read differently is refused rather than repaired: it costs a broken
//! client its request, and takes from an attacker the means to hide one request in another.

use super::Body;
use super::field::{self, Kind, Options};
use super::grpc::Call;
use crate::options::{MAX_FIELDS, MAX_HEAD_BYTES, MAX_TARGET_BYTES};
use crate::policy::trace::{self, Seen};
use crate::rules::{self, Rule, Rules};
use crate::snapshot::Random;
use httparse::Header;
use model::rule::HeaderEdits;
use std::borrow::Cow;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

/// Longest request method and longest request id taken over from a client.
const MAX_METHOD_BYTES: usize = 32;
const MAX_REQUEST_ID_BYTES: usize = 128;

/// An answer the gateway gives itself, with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub reason: &'static str,
}

const fn refuse(status: u16, reason: &'static str) -> Refusal {
    Refusal { status, reason }
}

/// What the gateway adds to a request.
pub struct Context<'a> {
    pub client: &'a str,
    /// The address the client connected to; asked for only by clients that name no host.
    pub local: &'a dyn Fn() -> SocketAddr,
    /// From outside: what it says of its origin is not believed.
    pub public: bool,
    /// The client speaks TLS.
    pub secured: bool,
    pub random: &'a Random,
    pub rules: &'a Rules,
    /// What no rule takes goes somewhere, too.
    pub has_default: bool,
    /// What becomes of the trace contexts of those.
    pub trace: trace::Settings,
    /// Of 65,536 traces so many are recorded.
    pub share: u32,
}

impl Context<'_> {
    fn scheme(&self) -> &'static [u8] {
        if self.secured { b"https" } else { b"http" }
    }
}

/// What has to be known of a request once its head is rewritten. Ranges lie in the new head.
#[derive(Clone)]
pub struct Request {
    pub head: bool,
    /// May be sent twice without harm.
    pub idempotent: bool,
    pub body: Body,
    pub keep_alive: bool,
    pub http10: bool,
    pub upgrade: bool,
    /// Waits for "continue" before it sends its body.
    pub expect: bool,
    pub method: Range<usize>,
    pub target: Range<usize>,
    pub host: Range<usize>,
    pub id: Range<usize>,
    /// The id of its trace; empty without one.
    pub trace: Range<usize>,
    /// The context that it is sent with began here.
    pub is_root: bool,
    /// The gateway records a span of it, which the context it is sent with names.
    pub recording: Option<Recording>,
    /// The rule that takes it, and what makes requests go the same way as it.
    pub rule: Option<Arc<Rule>>,
    pub key: Option<u64>,
    /// What it says of a call by gRPC.
    pub call: Call,
    /// Host and target as the client gave them, where the rule changes them.
    pub given: Option<Box<(Vec<u8>, Vec<u8>)>>,
}

/// A span that is to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recording {
    /// The caller's, in hexadecimal digits; none: it is the first of its trace.
    pub parent: Option<[u8; 16]>,
}

impl Request {
    /// What the client asked for, `head` being the one sent upstream.
    pub fn host<'h>(&'h self, head: &'h [u8]) -> &'h [u8] {
        self.given.as_ref().map_or(&head[self.host.clone()], |given| &given.0)
    }
    /// Changes to the header of its response.
    pub fn response_edits(&self) -> Option<&HeaderEdits> {
        self.rule.as_ref().map(|rule| &rule.edits.response).filter(|edits| !edits.is_none())
    }
    pub fn target<'h>(&'h self, head: &'h [u8]) -> &'h [u8] {
        self.given.as_ref().map_or(&head[self.target.clone()], |given| &given.1)
    }
}

/// Parses the head that is all of `head` and writes the upstream's head to `out`.
pub fn rewrite(head: &[u8], context: &Context<'_>, out: &mut Vec<u8>) -> Result<Request, Refusal> {
    let mut slots = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, &mut slots) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(refuse(400, "the request head is not complete")),
        Err(error) => return Err(malformed(head, error)),
    }
    if head[0] == b'\r' || head[0] == b'\n' || !field::lines_are_strict(head, parsed.headers) {
        return Err(refuse(400, "a line does not end in CR LF"));
    }
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(refuse(400, "the request line is not complete"));
    };
    let fields = Fields::read(parsed.headers, version == 0)?;
    let line = RequestLine::check(method, target, (fields.host, context.secured))?;
    let (rule, key) = decide(context, &fields, &line, parsed.headers)?;
    let writer = Writer { context, fields: &fields, line: &line, rule, key, http10: version == 0 };
    writer.write(parsed.headers, out)
}

/// Which of the listener's rules takes the request.
fn decide<'a>(
    context: &Context<'a>,
    fields: &Fields<'_>,
    line: &RequestLine<'_>,
    headers: &[Header<'_>],
) -> Result<(Option<&'a Arc<Rule>>, Option<u64>), Refusal> {
    if context.rules.is_empty() {
        return Ok((None, None));
    }
    let asked = rules::Asked {
        method: line.method,
        host: fields.host.unwrap_or_default(),
        target: if line.rootless { "/" } else { line.target },
        headers,
    };
    match context.rules.find(&asked) {
        Some(rule) => Ok((Some(rule), rule.key(&asked, context.client))),
        None if context.has_default => Ok((None, None)),
        None => Err(refuse(404, "no route leads there")),
    }
}

fn malformed(head: &[u8], error: httparse::Error) -> Refusal {
    use httparse::Error;
    match error {
        Error::TooManyHeaders => refuse(431, "too many header fields"),
        Error::Version if names_a_version(head) => refuse(505, "only HTTP/1.0 and HTTP/1.1 are spoken here"),
        Error::HeaderName => refuse(400, "a header field name is not valid"),
        Error::HeaderValue => refuse(400, "a header field value is not valid"),
        Error::NewLine => refuse(400, "a line does not end in CR LF"),
        _ => refuse(400, "the request line is not valid"),
    }
}

/// The request line is well formed, its version being another than ours.
fn names_a_version(head: &[u8]) -> bool {
    let line = head.split(|&b| b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&b| b == b' ').skip(2);
    matches!(words.next(), Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
        if major.is_ascii_digit() && minor.is_ascii_digit())
        && words.next().is_none()
}

/// Says what is wrong with a head that has grown too long to be read further.
pub fn too_long(bytes: &[u8]) -> Refusal {
    match bytes.iter().position(|&b| b == b'\n') {
        Some(line) if line <= MAX_TARGET_BYTES + MAX_METHOD_BYTES + 16 => {
            refuse(431, "the request header is too long")
        }
        _ => refuse(414, "the request target is too long"),
    }
}

/// A head may not be longer than this at all.
pub fn is_too_long(bytes: &[u8]) -> bool {
    bytes.len() >= MAX_HEAD_BYTES
        || (bytes.len() > MAX_TARGET_BYTES + MAX_METHOD_BYTES + 16
            && !bytes[..MAX_TARGET_BYTES + MAX_METHOD_BYTES + 16].contains(&b'\n'))
}

/// The fields that decide, read in one pass.
struct Fields<'a> {
    kinds: [Kind; MAX_FIELDS],
    host: Option<&'a [u8]>,
    body: Body,
    options: Options<'a>,
    upgrade: Option<&'a [u8]>,
    expect: bool,
    trailers: bool,
    forwarded_for: Vec<&'a [u8]>,
    forwarded_proto: Option<&'a [u8]>,
    forwarded_host: Option<&'a [u8]>,
    id: Option<&'a [u8]>,
    trace: Seen<'a>,
    call: Call,
}

impl<'a> Fields<'a> {
    fn read(headers: &[Header<'a>], http10: bool) -> Result<Self, Refusal> {
        let mut fields = Self {
            kinds: [Kind::Pass; MAX_FIELDS],
            host: None,
            body: Body::None,
            options: Options::default(),
            upgrade: None,
            expect: false,
            trailers: false,
            forwarded_for: Vec::new(),
            forwarded_proto: None,
            forwarded_host: None,
            id: None,
            trace: Seen::default(),
            call: Call::default(),
        };
        for (header, kind) in headers.iter().zip(&mut fields.kinds) {
            *kind = field::kind(header.name);
        }
        for (index, header) in headers.iter().enumerate() {
            let kind = fields.kinds[index];
            if kind != Kind::Pass {
                fields.take(kind, header, http10)?;
            } else {
                fields.call.look(header.name, header.value);
            }
        }
        fields.check_host(http10)?;
        Ok(fields)
    }

    fn take(&mut self, kind: Kind, header: &Header<'a>, http10: bool) -> Result<(), Refusal> {
        let value = header.value.trim_ascii();
        let disguised = header.name.contains('_');
        match kind {
            Kind::Host | Kind::ContentLength | Kind::TransferEncoding | Kind::Connection if disguised => {
                return Err(refuse(400, "a header field name is written with an underscore"));
            }
            Kind::Host if self.host.is_some() => return Err(refuse(400, "Host is given twice")),
            Kind::Host => self.host = Some(value),
            Kind::ContentLength | Kind::TransferEncoding => self.body = self.body(kind, value, http10)?,
            Kind::Connection if !self.options.add(value) => {
                return Err(refuse(400, "Connection names a field that is not for this connection"));
            }
            Kind::Upgrade if self.upgrade.is_some() => return Err(refuse(400, "Upgrade is given twice")),
            Kind::Upgrade => self.upgrade = Some(value),
            Kind::Expect if !value.eq_ignore_ascii_case(b"100-continue") => {
                return Err(refuse(417, "only 100-continue can be expected"));
            }
            Kind::Expect => self.expect = !http10,
            Kind::Te => self.trailers |= field::members(value).any(|m| m.eq_ignore_ascii_case(b"trailers")),
            Kind::ForwardedFor if !disguised => self.forwarded_for.push(value),
            Kind::ForwardedProto if !disguised => self.forwarded_proto = Some(value),
            Kind::ForwardedHost if !disguised => self.forwarded_host = Some(value),
            Kind::TraceParent => self.trace.parent(value),
            Kind::TraceState => self.trace.state(value),
            Kind::RequestId if !disguised && is_request_id(value) => self.id = Some(value),
            _ => {}
        }
        Ok(())
    }

    fn body(&self, kind: Kind, value: &[u8], http10: bool) -> Result<Body, Refusal> {
        if self.body != Body::None {
            return Err(refuse(400, "the length of the body is given twice"));
        }
        if kind == Kind::ContentLength {
            return match field::decimal(value) {
                Some(length) => Ok(Body::Length(length)),
                None => Err(refuse(400, "Content-Length is not a number")),
            };
        }
        match value.eq_ignore_ascii_case(b"chunked") {
            _ if http10 => Err(refuse(400, "HTTP/1.0 has no Transfer-Encoding")),
            true => Ok(Body::Chunked),
            false => Err(refuse(400, "the only transfer encoding is chunked")),
        }
    }

    fn check_host(&self, http10: bool) -> Result<(), Refusal> {
        match self.host {
            Some(host) if is_authority(host) => Ok(()),
            Some(_) => Err(refuse(400, "Host is not valid")),
            None if http10 => Ok(()),
            None => Err(refuse(400, "Host is missing")),
        }
    }
}

/// Visible characters, short enough to be copied everywhere.
fn is_request_id(value: &[u8]) -> bool {
    (1..=MAX_REQUEST_ID_BYTES).contains(&value.len())
        && value.iter().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b',' | b';'))
}

/// A name or an address, with a port or without.
fn is_authority(value: &[u8]) -> bool {
    let (host, port) = match value {
        [b'[', rest @ ..] => {
            let Some(close) = rest.iter().position(|&b| b == b']') else { return false };
            let inside = &rest[..close];
            if inside.is_empty() || !inside.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'))
            {
                return false;
            }
            match &rest[close + 1..] {
                [] => return true,
                [b':', port @ ..] => (&b"v6"[..], Some(port)),
                _ => return false,
            }
        }
        _ => match value.iter().position(|&b| b == b':') {
            Some(colon) => (&value[..colon], Some(&value[colon + 1..])),
            None => (value, None),
        },
    };
    let name = !host.is_empty()
        && host.len() <= 253
        && host.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    name && port.is_none_or(|port| port.len() <= 5 && port.iter().all(u8::is_ascii_digit))
}

/// The method and the target in origin form.
struct RequestLine<'a> {
    method: &'a str,
    target: &'a str,
    /// An absolute target without a path.
    rootless: bool,
}

impl<'a> RequestLine<'a> {
    fn check(
        method: &'a str,
        target: &'a str,
        (host, secured): (Option<&[u8]>, bool),
    ) -> Result<Self, Refusal> {
        if method.len() > MAX_METHOD_BYTES || method.bytes().any(|b| b.is_ascii_lowercase()) {
            return Err(refuse(400, "the request method is not valid"));
        }
        if method == "CONNECT" {
            return Err(refuse(400, "CONNECT is not offered here"));
        }
        if target.len() > MAX_TARGET_BYTES {
            return Err(refuse(414, "the request target is too long"));
        }
        if target.contains('#') {
            return Err(refuse(400, "the request target has a fragment"));
        }
        if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
            return Ok(Self { method, target, rootless: false });
        }
        Self::absolute(method, target, host, secured)
    }

    /// `http://host/path`, as clients send it to what they take for a proxy.
    fn absolute(
        method: &'a str,
        target: &'a str,
        host: Option<&[u8]>,
        secured: bool,
    ) -> Result<Self, Refusal> {
        let scheme = if secured { "https://" } else { "http://" };
        let found = target.get(..scheme.len()).filter(|found| found.eq_ignore_ascii_case(scheme));
        let Some(rest) = found.and_then(|_| target.get(scheme.len()..)) else {
            return Err(refuse(400, "the request target is neither a path nor an http address"));
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if !host.is_some_and(|host| host.eq_ignore_ascii_case(authority.as_bytes())) {
            return Err(refuse(400, "the request target and Host disagree"));
        }
        Ok(Self { method, target: path, rootless: !path.starts_with('/') })
    }
}

struct Writer<'a> {
    context: &'a Context<'a>,
    fields: &'a Fields<'a>,
    line: &'a RequestLine<'a>,
    rule: Option<&'a Arc<Rule>>,
    key: Option<u64>,
    http10: bool,
}

impl Writer<'_> {
    fn write(&self, headers: &[Header<'_>], out: &mut Vec<u8>) -> Result<Request, Refusal> {
        let (method, target, host) = self.write_line(out);
        for (header, kind) in headers.iter().zip(&self.fields.kinds) {
            if self.passes(header, *kind) {
                field::push(out, header.name, header.value);
            }
        }
        for (name, value) in self.edits().into_iter().flat_map(|edits| &edits.set) {
            field::push(out, name, value.as_bytes());
        }
        match self.fields.body {
            Body::Length(length) => field::push_length(out, length),
            Body::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            _ => {}
        }
        if self.fields.expect {
            out.extend_from_slice(b"Expect: 100-continue\r\n");
        }
        self.write_forwarded(out, host.clone());
        let upgrade = self.write_connection(out);
        let id = self.write_id(out);
        let (trace, recording) = self.write_trace(out);
        out.extend_from_slice(b"\r\n");
        let options = &self.fields.options;
        Ok(Request {
            head: self.line.method == "HEAD",
            idempotent: matches!(self.line.method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE"),
            body: self.fields.body,
            keep_alive: !options.close && (!self.http10 || options.keep_alive),
            http10: self.http10,
            upgrade,
            expect: self.fields.expect,
            method,
            target,
            host,
            id,
            trace,
            is_root: self.fields.trace.valid().is_none(),
            recording,
            given: self.given(),
            rule: self.rule.cloned(),
            key: self.key,
            call: self.fields.call,
        })
    }

    fn write_line(&self, out: &mut Vec<u8>) -> (Range<usize>, Range<usize>, Range<usize>) {
        let mut part = |bytes: &[u8], after: &[u8]| {
            let start = out.len();
            out.extend_from_slice(bytes);
            let range = start..out.len();
            out.extend_from_slice(after);
            range
        };
        let method = part(self.line.method.as_bytes(), b" ");
        let root = part(if self.line.rootless { b"/" } else { b"" }, b"");
        let target = match self.rule {
            Some(rule) if !self.line.rootless => rule.rewritten(self.line.target),
            _ => Cow::Borrowed(self.line.target),
        };
        let rest = part(target.as_bytes(), b" HTTP/1.1\r\nHost: ");
        let host = match self.host_to_send() {
            Some(host) => part(host, b"\r\n"),
            None => part((self.context.local)().to_string().as_bytes(), b"\r\n"),
        };
        (method, root.start..rest.end, host)
    }

    /// What was asked for, if that is not what the service will see.
    fn given(&self) -> Option<Box<(Vec<u8>, Vec<u8>)>> {
        let edits = &self.rule?.edits;
        let host = self.fields.host.unwrap_or_default().to_vec();
        let target = self.line.target.as_bytes().to_vec();
        (edits.prefix.is_some() || edits.host.is_some()).then(|| Box::new((host, target)))
    }

    /// The Host field the service sees.
    fn host_to_send(&self) -> Option<&[u8]> {
        let edited = self.rule.and_then(|rule| rule.edits.host.as_deref());
        edited.map(str::as_bytes).or(self.fields.host)
    }

    fn edits(&self) -> Option<&HeaderEdits> {
        self.rule.map(|rule| &rule.edits.request).filter(|edits| !edits.is_none())
    }

    fn passes(&self, header: &Header<'_>, kind: Kind) -> bool {
        match kind {
            Kind::Pass => {
                !self.fields.options.strips(header.name)
                    && self.edits().is_none_or(|edits| !field::is_edited(edits, header.name))
            }
            Kind::TraceParent if self.trace().is_on() => false,
            Kind::TraceState if self.trace().is_on() => self.fields.trace.passes_state(),
            Kind::TraceParent | Kind::TraceState => !self.fields.options.strips(header.name),
            Kind::Forwarded | Kind::RealIp => !self.context.public,
            _ => false,
        }
    }

    /// Outside callers are believed nothing; services hand on what they were told.
    fn write_forwarded(&self, out: &mut Vec<u8>, host: Range<usize>) {
        let told = !self.context.public;
        out.extend_from_slice(b"X-Forwarded-For: ");
        for address in self.fields.forwarded_for.iter().filter(|_| told) {
            out.extend_from_slice(address);
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(self.context.client.as_bytes());
        out.extend_from_slice(b"\r\nX-Forwarded-Proto: ");
        out.extend_from_slice(self.fields.forwarded_proto.filter(|_| told).unwrap_or(self.context.scheme()));
        out.extend_from_slice(b"\r\nX-Forwarded-Host: ");
        match self.fields.forwarded_host.filter(|_| told) {
            Some(original) => out.extend_from_slice(original),
            None if self.rule.is_some_and(|rule| rule.edits.host.is_some()) => {
                out.extend_from_slice(self.fields.host.unwrap_or_default());
            }
            None => out.extend_from_within(host),
        }
        out.extend_from_slice(b"\r\n");
    }

    /// A change of protocol passes, except to HTTP/2, which would escape the rules above.
    fn write_connection(&self, out: &mut Vec<u8>) -> bool {
        let wanted = self.fields.upgrade.filter(|protocol| {
            self.fields.options.upgrade
                && !self.http10
                && matches!(self.fields.body, Body::None | Body::Length(0))
                && !field::members(protocol)
                    .any(|member| member.len() >= 2 && member[..2].eq_ignore_ascii_case(b"h2"))
        });
        if let Some(protocol) = wanted {
            out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: ");
            out.extend_from_slice(protocol);
            out.extend_from_slice(b"\r\n");
        } else if self.fields.trailers {
            out.extend_from_slice(b"Connection: TE\r\nTE: trailers\r\n");
        }
        wanted.is_some()
    }

    fn write_id(&self, out: &mut Vec<u8>) -> Range<usize> {
        out.extend_from_slice(b"X-Request-Id: ");
        let start = out.len();
        match self.fields.id {
            Some(id) => out.extend_from_slice(id),
            None => {
                for word in [self.context.random.next(), self.context.random.next()] {
                    push_hex(out, word);
                }
            }
        }
        let id = start..out.len();
        out.extend_from_slice(b"\r\n");
        id
    }

    fn trace(&self) -> trace::Settings {
        self.rule.map_or(self.context.trace, |rule| rule.trace)
    }

    /// The trace that the request is part of, or a new one; the place of its id.
    fn write_trace(&self, out: &mut Vec<u8>) -> (Range<usize>, Option<Recording>) {
        if !self.trace().is_on() {
            return (0..0, None);
        }
        out.extend_from_slice(b"traceparent: ");
        let start = out.len() + trace::ID.start;
        let random = || self.context.random.next();
        let recording = match self.fields.trace.valid() {
            Some(value) if trace::is_chosen(value, self.context.share) => {
                out.extend_from_slice(&trace::with_parent(value, random()));
                let parent = value[trace::PARENT].try_into().expect("it is valid");
                Some(Recording { parent: Some(parent) })
            }
            Some(value) => {
                out.extend_from_slice(value);
                None
            }
            None => {
                let value = self.trace().make(random);
                out.extend_from_slice(&value);
                trace::is_chosen(&value, self.context.share).then_some(Recording { parent: None })
            }
        };
        out.extend_from_slice(b"\r\n");
        (start..start + trace::ID.len(), recording)
    }
}

fn push_hex(out: &mut Vec<u8>, word: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits: [u8; 16] = std::array::from_fn(|i| DIGITS[(word >> (60 - 4 * i)) as usize & 15]);
    out.extend_from_slice(&digits);
}

#[cfg(test)]
mod tests {
    use crate::fuzzing::request_stands as stands;
    use proptest::prelude::*;

    /// Pieces from which requests that are nearly right are put together.
    fn piece() -> impl Strategy<Value = String> {
        let pieces = [
            "GET ",
            "POST ",
            "CONNECT ",
            "/",
            "http://a/",
            "*",
            " HTTP/1.1",
            " HTTP/1.0",
            "\r\n",
            "\n",
            "\r",
            " ",
            "\t",
            ":",
            ": ",
            ",",
            "Host: a",
            "Host",
            "Content-Length: 5",
            "Content-Length",
            "5",
            "0",
            "Transfer-Encoding: chunked",
            "chunked",
            "Connection: close",
            "Connection: ",
            "close",
            "upgrade",
            "Upgrade: websocket",
            "Expect: 100-continue",
            "X: y",
            "x_forwarded_for: 1",
            "\0",
            "\u{7f}",
            "\u{e9}",
        ];
        prop::sample::select(pieces.to_vec()).prop_map(str::to_owned)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

        #[test]
        fn random_bytes_never_panic(head in prop::collection::vec(any::<u8>(), 0..300)) {
            stands(&head, true);
        }

        #[test]
        fn what_is_nearly_right_is_refused_or_understood(pieces in prop::collection::vec(piece(), 0..20), public in any::<bool>()) {
            stands(pieces.concat().as_bytes(), public);
            let framed = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n", pieces.concat());
            stands(framed.as_bytes(), public);
        }

        #[test]
        fn one_changed_byte_never_panics(at in 0usize..80, value in any::<u8>()) {
            let mut head = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n".to_vec();
            let at = at % head.len();
            head[at] = value;
            stands(&head, true);
        }
    }
}
