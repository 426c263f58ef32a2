//! What of a file a client wants: whether it has it already, and which part (RFC 9110 sections 13
//! and 14). Pure.

use crate::http::admission::field;
use crate::http::field::{decimal, members};
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a file is known by.
pub struct Version {
    /// Strong, with its quotes.
    pub etag: String,
    pub modified: SystemTime,
    pub length: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    Whole,
    /// The first and the last byte.
    Part(RangeInclusive<u64>),
    /// 304: the client has it.
    Known,
    /// 412: the client meant another.
    Other,
    /// 416: there is no such part.
    NoPart,
}

/// Judged by the fields of the request's head, in the order of section 13.2.2.
pub fn judge(head: &[u8], version: &Version) -> Wanted {
    if let Some(tags) = given(head, "if-match") {
        if tags != b"*" && !members(tags).any(|tag| tag == version.etag.as_bytes()) {
            return Wanted::Other;
        }
    } else if given(head, "if-unmodified-since").and_then(date).is_some_and(|date| version.second() > date) {
        return Wanted::Other;
    }
    if let Some(tags) = given(head, "if-none-match") {
        if tags == b"*" || members(tags).any(|tag| weakly(tag) == version.etag.as_bytes()) {
            return Wanted::Known;
        }
    } else if given(head, "if-modified-since").and_then(date).is_some_and(|date| version.second() <= date) {
        return Wanted::Known;
    }
    match given(head, "range").filter(|_| is_same(head, version)) {
        Some(range) => part(range, version.length),
        None => Wanted::Whole,
    }
}

/// `If-Range`, compared strongly: parts of two versions make none.
fn is_same(head: &[u8], version: &Version) -> bool {
    match given(head, "if-range") {
        None => true,
        Some(tag @ [b'"', ..]) => tag == version.etag.as_bytes(),
        Some(text) => date(text) == Some(version.second()),
    }
}

/// One range of bytes. Several are answered by the whole, as section 14.2 allows: what asks for them
/// is rare, and many small ones are an attack.
fn part(range: &[u8], length: u64) -> Wanted {
    let Some(spec) = range.strip_prefix(b"bytes=") else { return Wanted::Whole };
    let Some(dash) = spec.iter().position(|&b| b == b'-') else { return Wanted::Whole };
    let (first, last) = (spec[..dash].trim_ascii(), spec[dash + 1..].trim_ascii());
    let (first, last) = match (decimal(first), decimal(last)) {
        (Some(first), None) if last.is_empty() => (first, length.saturating_sub(1)),
        (Some(first), Some(last)) if first <= last => (first, last.min(length.saturating_sub(1))),
        (None, Some(0)) if first.is_empty() => return Wanted::NoPart,
        (None, Some(count)) if first.is_empty() => (length.saturating_sub(count), length.saturating_sub(1)),
        _ => return Wanted::Whole,
    };
    if first >= length { Wanted::NoPart } else { Wanted::Part(first..=last) }
}

fn given<'h>(head: &'h [u8], name: &str) -> Option<&'h [u8]> {
    Some(field(head, name)).filter(|value| !value.is_empty())
}

fn weakly(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

fn date(value: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()
}

impl Version {
    /// Of its content as it lies there, or packed in this way.
    pub fn new(modified: SystemTime, length: u64, packed: &str) -> Self {
        let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        let etag = format!("\"{:x}.{:x}-{length:x}{packed}\"", since.as_secs(), since.subsec_nanos());
        Self { etag, modified: UNIX_EPOCH + since, length }
    }

    /// As exactly as a header can say it.
    fn second(&self) -> SystemTime {
        let since = self.modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        UNIX_EPOCH + Duration::from_secs(since.as_secs())
    }

    pub fn date(&self) -> String {
        httpdate::fmt_http_date(self.modified)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn version() -> Version {
        Version::new(date(MODIFIED.as_bytes()).expect("a date") + Duration::from_millis(500), 100, "")
    }

    fn check(fields: &str, expect: Wanted) {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(judge(head.as_bytes(), &version()), expect, "{fields}");
    }

    #[test]
    fn what_the_client_has_is_not_sent_again() {
        let etag = version().etag;
        check("", Wanted::Whole);
        check(&format!("If-None-Match: {etag}\r\n"), Wanted::Known);
        check(&format!("If-None-Match: \"x\", W/{etag}\r\n"), Wanted::Known);
        check("If-None-Match: *\r\n", Wanted::Known);
        check("If-None-Match: \"x\"\r\n", Wanted::Whole);
        check(&format!("If-Modified-Since: {MODIFIED}\r\n"), Wanted::Known);
        check("If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT\r\n", Wanted::Known);
        check("If-Modified-Since: Sun Nov  6 08:49:37 1994\r\n", Wanted::Known);
        check("If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n", Wanted::Whole);
        check("If-Modified-Since: yesterday\r\n", Wanted::Whole);
        // The tag knows better than the date.
        check(&format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {MODIFIED}\r\n"), Wanted::Whole);
    }

    #[test]
    fn what_the_client_meant_may_be_gone() {
        let etag = version().etag;
        check(&format!("If-Match: \"x\", {etag}\r\n"), Wanted::Whole);
        check(&format!("If-Match: W/{etag}\r\n"), Wanted::Other);
        check("If-Match: *\r\n", Wanted::Whole);
        check(&format!("If-Unmodified-Since: {MODIFIED}\r\n"), Wanted::Whole);
        check("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n", Wanted::Other);
    }

    #[test]
    fn a_part_is_sent_of_the_same_version_alone() {
        let etag = version().etag;
        for (range, expect) in [
            ("bytes=0-9", Wanted::Part(0..=9)),
            ("bytes=90-", Wanted::Part(90..=99)),
            ("bytes=-10", Wanted::Part(90..=99)),
            ("bytes=-1000", Wanted::Part(0..=99)),
            ("bytes=99-1000", Wanted::Part(99..=99)),
            ("bytes=100-", Wanted::NoPart),
            ("bytes=-0", Wanted::NoPart),
            ("bytes=9-0", Wanted::Whole),
            ("bytes=0-1,5-6", Wanted::Whole),
            ("bytes=x-", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
        ] {
            check(&format!("Range: {range}\r\n"), expect);
        }
        check(&format!("Range: bytes=0-9\r\nIf-Range: {etag}\r\n"), Wanted::Part(0..=9));
        check(&format!("Range: bytes=0-9\r\nIf-Range: W/{etag}\r\n"), Wanted::Whole);
        check("Range: bytes=0-9\r\nIf-Range: \"x\"\r\n", Wanted::Whole);
        check(&format!("Range: bytes=0-9\r\nIf-Range: {MODIFIED}\r\n"), Wanted::Part(0..=9));
        check(&format!("Range: bytes=0-9\r\nIf-None-Match: {etag}\r\n"), Wanted::Known);
        let nothing = Version::new(UNIX_EPOCH, 0, "");
        assert_eq!(judge(b"GET / HTTP/1.1\r\nRange: bytes=0-\r\n\r\n", &nothing), Wanted::NoPart);
    }

    proptest! {
        #[test]
        fn a_part_is_within_the_file(range in "bytes=[0-9,-]{0,12}|.{0,20}", length in 0u64..1000) {
            let head = format!("GET / HTTP/1.1\r\nRange: {}\r\n\r\n", range.replace(['\r', '\n'], ""));
            if let Wanted::Part(part) = judge(head.as_bytes(), &Version::new(UNIX_EPOCH, length, "")) {
                prop_assert!(part.start() <= part.end() && *part.end() < length);
            }
        }
    }
}
