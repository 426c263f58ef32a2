//! Header fields that decide where a message ends or whom it concerns, and everything else.

use httparse::Header;
use model::rule::HeaderEdits;

/// Fields the gateway has to understand; the rest passes as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Pass,
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    KeepAlive,
    ProxyConnection,
    Te,
    Upgrade,
    Expect,
    ForwardedFor,
    ForwardedProto,
    ForwardedHost,
    Forwarded,
    RealIp,
    RequestId,
    /// Some servers take it for the environment variable `HTTP_PROXY`.
    Proxy,
    Http2Settings,
    TraceParent,
    TraceState,
}

const KINDS: [(&str, Kind); 19] = [
    ("te", Kind::Te),
    ("host", Kind::Host),
    ("proxy", Kind::Proxy),
    ("expect", Kind::Expect),
    ("upgrade", Kind::Upgrade),
    ("forwarded", Kind::Forwarded),
    ("x-real-ip", Kind::RealIp),
    ("connection", Kind::Connection),
    ("tracestate", Kind::TraceState),
    ("traceparent", Kind::TraceParent),
    ("keep-alive", Kind::KeepAlive),
    ("x-request-id", Kind::RequestId),
    ("content-length", Kind::ContentLength),
    ("http2-settings", Kind::Http2Settings),
    ("x-forwarded-for", Kind::ForwardedFor),
    ("x-forwarded-host", Kind::ForwardedHost),
    ("proxy-connection", Kind::ProxyConnection),
    ("transfer-encoding", Kind::TransferEncoding),
    ("x-forwarded-proto", Kind::ForwardedProto),
];

/// What a field is, `_` counting as `-`: servers behind us often cannot tell them apart.
pub fn kind(name: &str) -> Kind {
    // The first letters alone rule most fields out.
    if !matches!(
        name.as_bytes().first().map(|b| b | 0x20),
        Some(b'c' | b'e' | b'f' | b'h' | b'k' | b'p' | b't' | b'u' | b'x')
    ) {
        return Kind::Pass;
    }
    KINDS
        .iter()
        .find(|(canonical, _)| canonical.len() == name.len() && same(name, canonical))
        .map_or(Kind::Pass, |(_, kind)| *kind)
}

fn same(name: &str, canonical: &str) -> bool {
    name.bytes().zip(canonical.bytes()).all(|(a, b)| a.to_ascii_lowercase() == b || (a == b'_' && b == b'-'))
}

/// A value that is a plain decimal number, as Content-Length must be.
pub fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// Whether a field of the message is taken away or replaced.
pub fn is_edited(edits: &HeaderEdits, name: &str) -> bool {
    let mut names = edits.remove.iter().chain(edits.set.keys());
    names.any(|edited| edited.len() == name.len() && same(name, edited))
}

/// The value of the field of this name, if there is just one.
pub fn value<'h>(headers: &[Header<'h>], name: &str) -> Option<&'h [u8]> {
    let mut found = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
    let first = found.next()?;
    found.next().is_none().then(|| first.value.trim_ascii())
}

/// The value of `User-Agent` in a whole head; empty where there is none.
pub fn agent(head: &[u8]) -> &[u8] {
    const NAME: &[u8] = b"user-agent:";
    let is_it = |line: &&[u8]| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME));
    head.split(|byte| *byte == b'\n').find(is_it).map_or(b"", |line| line[NAME.len()..].trim_ascii())
}

/// The value of the cookie of this name.
pub fn cookie<'h>(headers: &[Header<'h>], name: &str) -> Option<&'h [u8]> {
    let fields = headers.iter().filter(|header| header.name.eq_ignore_ascii_case("cookie"));
    fields.flat_map(|header| header.value.split(|&b| b == b';')).find_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        (!value.is_empty()).then_some(value)
    })
}

/// Members of a comma-separated list without the space around them; empty ones are left out.
pub fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Other fields named by `Connection`, at most this many.
const MAX_NOMINATED: usize = 8;

/// What the `Connection` fields of a message say.
#[derive(Debug, Default)]
pub struct Options<'a> {
    pub close: bool,
    pub keep_alive: bool,
    pub upgrade: bool,
    nominated: [&'a [u8]; MAX_NOMINATED],
    count: usize,
}

impl<'a> Options<'a> {
    /// Takes one `Connection` field in; false if it names a field that must reach the other end.
    pub fn add(&mut self, value: &'a [u8]) -> bool {
        members(value).all(|member| self.add_member(member))
    }
    fn add_member(&mut self, member: &'a [u8]) -> bool {
        if member.eq_ignore_ascii_case(b"close") {
            self.close = true;
        } else if member.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
        } else if member.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        } else {
            let Ok(name) = std::str::from_utf8(member) else { return false };
            match kind(name) {
                Kind::Host | Kind::ContentLength | Kind::TransferEncoding | Kind::Expect => return false,
                Kind::Pass => return self.nominate(member),
                // Fields the gateway handles itself, whatever is said of them.
                _ => {}
            }
        }
        true
    }
    fn nominate(&mut self, member: &'a [u8]) -> bool {
        const END_TO_END: [&[u8]; 4] = [b"authorization", b"cookie", b"set-cookie", b"content-type"];
        if self.count == MAX_NOMINATED || END_TO_END.iter().any(|name| member.eq_ignore_ascii_case(name)) {
            return false;
        }
        self.nominated[self.count] = member;
        self.count += 1;
        true
    }
    /// The field is meant for this connection only.
    pub fn strips(&self, name: &str) -> bool {
        self.nominated[..self.count].iter().any(|nominated| nominated.eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// One field line.
pub fn push(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// `Content-Length` or `Transfer-Encoding`, as the body that follows is framed.
pub fn push_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"Content-Length: ");
    push_number(out, length);
    out.extend_from_slice(b"\r\n");
}

pub fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Every line of the head ends in CR LF: the parser lets a lone LF pass, others behind us may not
/// see it as a line's end, and from such a difference requests are smuggled.
pub fn lines_are_strict(head: &[u8], fields: &[Header<'_>]) -> bool {
    let (mut feeds, mut returns) = (0usize, 0usize);
    // Parts that a byte can count, which the processor does for many at once.
    for part in head.chunks(usize::from(u8::MAX)) {
        let count = |byte: u8| part.iter().fold(0u8, |sum, &b| sum + u8::from(b == byte));
        feeds += usize::from(count(b'\n'));
        returns += usize::from(count(b'\r'));
    }
    feeds == fields.len() + 2 && returns == fields.len() + 2
}

/// Where the head that starts `bytes` ends; the search goes on at `from`, which is moved on.
pub fn head_end(bytes: &[u8], from: &mut usize) -> Option<usize> {
    while let Some(found) = bytes[*from..].iter().position(|&b| b == b'\n') {
        let line_end = *from + found;
        match bytes[line_end + 1..] {
            [b'\n', ..] => return Some(line_end + 2),
            [b'\r', b'\n', ..] => return Some(line_end + 3),
            [] | [b'\r'] => {
                *from = line_end;
                return None;
            }
            _ => *from = line_end + 1,
        }
    }
    *from = bytes.len();
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_known_in_any_case_and_with_underscores() {
        for (name, expect) in [
            ("Content-Length", Kind::ContentLength),
            ("content_length", Kind::ContentLength),
            ("TRANSFER-ENCODING", Kind::TransferEncoding),
            ("X_Forwarded-For", Kind::ForwardedFor),
            ("Accept", Kind::Pass),
            ("Content-Lengths", Kind::Pass),
            ("Te", Kind::Te),
        ] {
            assert_eq!(kind(name), expect, "{name}");
        }
    }

    #[test]
    fn a_length_is_digits_and_nothing_else() {
        assert_eq!(decimal(b"0"), Some(0));
        assert_eq!(decimal(b"123456789012345678"), Some(123_456_789_012_345_678));
        for bad in ["", "+1", "-1", " 1", "1 ", "0x1", "1,1", "1.0", "1234567890123456789", "١"] {
            assert_eq!(decimal(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_line_that_ends_otherwise_is_found_in_heads_of_any_length() {
        for length in [0, 1, 200, 255, 256, 1000, 5000] {
            let value = "x".repeat(length);
            let check = |head: String, expect: bool| {
                let mut slots = [httparse::EMPTY_HEADER; 8];
                let mut request = httparse::Request::new(&mut slots);
                request.parse(head.as_bytes()).expect("the parser takes it");
                assert_eq!(lines_are_strict(head.as_bytes(), request.headers), expect, "{head:?}");
            };
            check(format!("GET / HTTP/1.1\r\nA: {value}\r\nB: {value}\r\n\r\n"), true);
            check(format!("GET / HTTP/1.1\r\nA: {value}\nB: {value}\r\n\r\n"), false);
            check(format!("GET / HTTP/1.1\nA: {value}\r\nB: {value}\r\n\r\n"), false);
        }
    }

    #[test]
    fn the_end_of_a_head_is_found_however_it_arrives() {
        let whole = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        for cut in 0..whole.len() {
            let mut from = 0;
            let early = head_end(&whole[..cut], &mut from);
            assert_eq!(early, (cut >= 27).then_some(27), "{cut}");
            assert_eq!(head_end(whole, &mut if early.is_some() { 0 } else { from }), Some(27), "{cut}");
        }
        assert_eq!(head_end(b"GET / HTTP/1.1\nHost: a\n\n", &mut 0), Some(24));
    }

    #[test]
    fn numbers_are_written_as_they_are() {
        for number in [0, 7, 10, 65_536, u64::MAX] {
            let mut out = Vec::new();
            push_number(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }
}
