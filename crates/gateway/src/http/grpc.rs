//! What of gRPC a gateway has to know: who speaks it, how long a call may take, how one is refused,
//! and which of its statuses say that the instance does not do well.
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>

use super::field;
use super::request::Refusal;
use ::http::{HeaderMap, HeaderValue};
use std::time::Duration;

/// Digits of a timeout.
const MAX_TIMEOUT_DIGITS: usize = 8;

const UNKNOWN: u32 = 2;
const DEADLINE_EXCEEDED: u32 = 4;
const PERMISSION_DENIED: u32 = 7;
const UNIMPLEMENTED: u32 = 12;
const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;
const DATA_LOSS: u32 = 15;
const UNAUTHENTICATED: u32 = 16;

/// What a request says of a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Call {
    pub is_one: bool,
    pub timeout: Option<Duration>,
}

impl Call {
    /// Takes a field of the request in.
    pub fn look(&mut self, name: &str, value: &[u8]) {
        // Both names are as long.
        if name.len() != 12 {
            return;
        }
        if name.eq_ignore_ascii_case("content-type") {
            self.is_one = is_grpc(value.trim_ascii());
        } else if name.eq_ignore_ascii_case("grpc-timeout") {
            self.timeout = timeout(value.trim_ascii());
        }
    }
}

/// The type itself, or one that says how messages are written; not its variant for browsers.
pub fn is_grpc(content_type: &[u8]) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    content_type.len() >= TYPE.len()
        && content_type[..TYPE.len()].eq_ignore_ascii_case(TYPE)
        && matches!(content_type.get(TYPE.len()), None | Some(b'+' | b';' | b' '))
}

fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    let number = field::decimal(digits).filter(|_| digits.len() <= MAX_TIMEOUT_DIGITS)?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The status among the lines of trailers.
pub fn status_in(trailers: &[u8]) -> Option<u32> {
    let lines = trailers.split(|&b| b == b'\n');
    let mut values = lines.filter_map(|line| {
        let colon = line.iter().position(|&b| b == b':')?;
        line[..colon].eq_ignore_ascii_case(b"grpc-status").then(|| status(&line[colon + 1..]))
    });
    values.next().flatten()
}

pub fn status(value: &[u8]) -> Option<u32> {
    field::decimal(value.trim_ascii()).and_then(|status| u32::try_from(status).ok())
}

/// What a status of 500 or more is to other requests: the instance cannot, or its code failed. The
/// others say something about the call.
pub fn is_failure(status: u32) -> bool {
    matches!(status, UNKNOWN | INTERNAL | UNAVAILABLE | DATA_LOSS)
}

/// The status for what another request would have got; a call whose own time is over is told so.
fn status_of(refusal: Refusal, call: Call) -> u32 {
    match refusal.status {
        400 | 413 | 431 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        408 | 504 if call.timeout.is_some() => DEADLINE_EXCEEDED,
        _ => UNAVAILABLE,
    }
}

/// Appends a whole answer that refuses a call.
pub fn refuse(refusal: Refusal, call: Call, id: Option<&[u8]>, close: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nGrpc-Status: ");
    field::push_number(out, status_of(refusal, call).into());
    // Reasons are ours: nothing in them has to be escaped.
    out.extend_from_slice(b"\r\n");
    field::push(out, "Grpc-Message", refusal.reason.as_bytes());
    if let Some(id) = id {
        field::push(out, "X-Request-Id", id);
    }
    if close {
        field::push(out, "Connection", b"close");
    }
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}

/// The status of a call that its instance broke off.
pub const BROKEN_OFF: u32 = UNAVAILABLE;

/// What ends a call whose answer has begun and will not become whole.
pub fn trailers(reason: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert("grpc-status", HeaderValue::from(BROKEN_OFF));
    // Reasons are ours: nothing in them has to be escaped.
    trailers.insert("grpc-message", HeaderValue::from_static(reason));
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_from_other_requests() {
        for (content_type, expect) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/GRPC; charset=x", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/json", false),
            ("", false),
        ] {
            let mut call = Call::default();
            call.look("Content-Type", content_type.as_bytes());
            assert_eq!(call.is_one, expect, "{content_type}");
        }
    }

    #[test]
    fn timeouts_have_a_number_and_a_unit() {
        for (value, expect) in [
            ("1S", Some(Duration::from_secs(1))),
            ("100m", Some(Duration::from_millis(100))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("5n", Some(Duration::from_nanos(5))),
            ("100000000S", None),
            ("-1S", None),
            ("S", None),
            ("1s", None),
            ("1", None),
            ("", None),
        ] {
            assert_eq!(timeout(value.as_bytes()), expect, "{value}");
        }
    }

    #[test]
    fn a_status_is_found_among_trailers() {
        assert_eq!(status_in(b"x: y\r\nGrpc-Status: 14\r\n"), Some(14));
        assert_eq!(status_in(b"grpc-status:0\r\n"), Some(0));
        assert_eq!(status_in(b"grpc-statuses: 1\r\n"), None);
        assert_eq!(status_in(b"grpc-status: x\r\n"), None);
        assert_eq!([0, 2, 4, 5, 13, 14, 15].map(is_failure), [false, true, false, false, true, true, true]);
    }

    #[test]
    fn a_refusal_is_an_answer_of_grpc() {
        let mut out = Vec::new();
        let refusal = Refusal { status: 503, reason: "no instance is ready" };
        refuse(refusal, Call::default(), Some(b"7"), false, &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nGrpc-Status: 14\r\nGrpc-Message: no instance is ready\r\nX-Request-Id: 7\r\nContent-Length: 0\r\n\r\n"
        );
        let timely = Call { is_one: true, timeout: Some(Duration::from_secs(1)) };
        for (status, call, expect) in
            [(504, timely, 4), (504, Call::default(), 14), (404, timely, 12), (429, timely, 14)]
        {
            assert_eq!(status_of(Refusal { status, reason: "" }, call), expect);
        }
    }
}
