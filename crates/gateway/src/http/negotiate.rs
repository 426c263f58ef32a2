//! Which answers may be compressed by what their header says, and what becomes of the header then.

use super::Body;
use super::encode;
use super::field;
use crate::policy::compress::{Accepted, Encoding, Settings};
use httparse::Header;

/// What is declared for the service, and what the client accepts.
#[derive(Clone, Copy)]
pub struct Offer<'a> {
    pub settings: &'a Settings,
    pub encoding: Option<Encoding>,
}

impl<'a> Offer<'a> {
    /// For the request with this head.
    pub fn of(settings: &'a Settings, head: &[u8]) -> Self {
        Self { settings, encoding: Accepted::of(head).best() }
    }

    /// The same where another encoder may be had, else as for a client that accepts none.
    pub fn as_there_is_room(self) -> Self {
        Self { encoding: self.encoding.filter(|_| encode::has_room()), ..self }
    }

    /// Whether an answer depends on what its client accepts: not one that is a part of its content,
    /// that is encoded already, or whose bytes are vouched for.
    pub fn suits(self, headers: &[Header<'_>], status: u16, framing: Body) -> bool {
        let length = match framing {
            Body::Length(0) | Body::None => return false,
            Body::Length(length) => Some(length),
            Body::Chunked | Body::UntilClose => None,
        };
        if status < 200 || matches!(status, 204 | 205 | 206 | 304) {
            return false;
        }
        let mut content_type: &[u8] = b"";
        for header in headers {
            if fixes_its_form(header) {
                return false;
            }
            if header.name.eq_ignore_ascii_case("content-type") {
                content_type = header.value.trim_ascii();
            }
        }
        self.settings.takes(content_type, length)
    }
}

/// A field with which the content may not change its form.
fn fixes_its_form(header: &Header<'_>) -> bool {
    const FIXED: [&str; 6] =
        ["content-encoding", "content-range", "content-md5", "digest", "content-digest", "repr-digest"];
    let is = |name: &str| header.name.eq_ignore_ascii_case(name);
    let is_fixed =
        FIXED.iter().any(|name| is(name)) && !header.value.trim_ascii().eq_ignore_ascii_case(b"identity");
    let forbids = |value: &[u8]| field::members(value).any(|m| m.eq_ignore_ascii_case(b"no-transform"));
    is_fixed || (is("cache-control") && forbids(header.value))
}

/// Whether the answer already says that it depends on what is accepted.
pub fn says_so(headers: &[Header<'_>]) -> bool {
    let named = |m: &[u8]| m == b"*" || m.eq_ignore_ascii_case(b"accept-encoding");
    headers
        .iter()
        .any(|header| header.name.eq_ignore_ascii_case("vary") && field::members(header.value).any(named))
}

/// Writes a field that is another for content in another form, or leaves it away; false for all
/// others.
pub fn reform(header: &Header<'_>, out: &mut Vec<u8>) -> bool {
    match header.name.len() {
        // It names bytes that are not these: only the meaning is the same.
        4 if header.name.eq_ignore_ascii_case("etag") && header.value.trim_ascii().starts_with(b"\"") => {
            out.extend_from_slice(b"ETag: W/");
            out.extend_from_slice(header.value.trim_ascii());
            out.extend_from_slice(b"\r\n");
            true
        }
        // Ranges would be of the content as it was.
        13 => header.name.eq_ignore_ascii_case("accept-ranges"),
        16 => header.name.eq_ignore_ascii_case("content-encoding"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::response::{self, Asked};
    use model::traffic::Compression;

    /// The head that a client is sent which accepts gzip, for one with these fields.
    fn check(fields: &str, expect: &str) {
        let settings = Settings::new(&Compression::default());
        let offer = Some(Offer { settings: &settings, encoding: Some(Encoding::Gzip) });
        let asked =
            Asked { head: false, http10: false, keep_alive: true, upgrade: false, edits: None, offer };
        let mut out = Vec::new();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n{fields}\r\n");
        response::rewrite(head.as_bytes(), &asked, &mut out).expect("the head is valid");
        let expect = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n{expect}\r\n");
        assert_eq!(String::from_utf8_lossy(&out), expect, "{fields}");
    }

    #[test]
    fn a_header_fits_its_content() {
        const ENCODED: &str = "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n";
        check("Content-Length: 2000\r\n", &format!("Vary: Accept-Encoding\r\n{ENCODED}"));
        check("Transfer-Encoding: chunked\r\n", &format!("Vary: Accept-Encoding\r\n{ENCODED}"));
        check(
            "ETag: \"x\"\r\nAccept-Ranges: bytes\r\nVary: Origin\r\nContent-Length: 2000\r\n",
            &format!("ETag: W/\"x\"\r\nVary: Origin\r\nVary: Accept-Encoding\r\n{ENCODED}"),
        );
        check(
            "etag: W/\"x\"\r\nVary: Origin, accept-encoding\r\nContent-Length: 2000\r\n",
            &format!("etag: W/\"x\"\r\nVary: Origin, accept-encoding\r\n{ENCODED}"),
        );
        for kept in [
            "Content-Length: 1000\r\n",
            "Content-Encoding: br\r\nContent-Length: 2000\r\n",
            "Cache-Control: public, No-Transform\r\nContent-Length: 2000\r\n",
            "Content-Range: bytes 0-1999/9000\r\nContent-Length: 2000\r\n",
            "Repr-Digest: sha-256=:x:\r\nContent-Length: 2000\r\n",
        ] {
            check(kept, kept);
        }
    }

    #[test]
    fn an_answer_without_content_says_what_one_with_it_would_depend_on() {
        let settings = Settings::new(&Compression::default());
        let offer = Some(Offer { settings: &settings, encoding: Some(Encoding::Zstd) });
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2000\r\n\r\n";
        let asked = Asked { head: true, http10: false, keep_alive: true, upgrade: false, edits: None, offer };
        let mut out = Vec::new();
        let response = response::rewrite(head, &asked, &mut out).expect("the head is valid");
        assert_eq!(response.encoding, None);
        let text = String::from_utf8_lossy(&out).into_owned();
        assert!(text.contains("Vary: Accept-Encoding\r\nContent-Length: 2000\r\n"), "{text}");
        for status in [204, 205, 206, 304] {
            let head = format!("HTTP/1.1 {status} X\r\nContent-Type: text/html\r\n\r\n");
            let response = response::rewrite(head.as_bytes(), &asked, &mut Vec::new()).expect("it is valid");
            assert_eq!(response.encoding, None, "{status}");
        }
    }
}
