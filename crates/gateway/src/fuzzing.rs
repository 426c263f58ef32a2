//! What any bytes from outside must leave true, one function for each parser. The fuzzer
//! (`cargo xtask fuzz`) searches bytes that break them; a bounded search runs among the tests.

use crate::files::{conditions, path};
use crate::http::chunked::{Chunked, Into};
use crate::http::events::Events;
use crate::http::frames::Frames;
use crate::http::{field, request, response};
use crate::http2::head as http2;
use crate::names::answer::{self, Transport, View};
use crate::policy::{compress, trace};
use crate::proxy::parse::{Head, parse as proxy_head};

use crate::rules::Rules;
use crate::snapshot::{Random, Zone};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// A parser: its name, what must hold, and inputs to begin with.
pub struct Target {
    pub name: &'static str,
    pub check: fn(&[u8]),
    pub seeds: &'static [&'static [u8]],
}

pub const TARGETS: [Target; 10] = [
    Target {
        name: "request",
        check: request_head,
        seeds: &[
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"POST http://a/x?y HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n",
            b"GET /c HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nExpect: 100-continue\r\n\r\n",
            b"PUT / HTTP/1.0\r\nContent-Length: 5\r\nX-Forwarded-For: 1\r\nCookie: a=b\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n",
        ],
    },
    Target {
        name: "response",
        check: response_head,
        seeds: &[
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: grpc-status\r\nContent-Type: text/event-stream\r\n\r\n",
            b"HTTP/1.0 304 Not Modified\r\nKeep-Alive: timeout=5\r\n\r\n",
        ],
    },
    Target {
        name: "chunked",
        check: chunked,
        seeds: &[
            b"\x035\r\nhello\r\n6;a=b\r\n world\r\n0\r\nDigest: x\r\n\r\n",
            b"\x0100A\r\n0123456789\r\n0\r\n\r\nGET /",
        ],
    },
    Target {
        name: "websocket",
        check: websocket_frames,
        seeds: &[b"\x02\x82\x85\x01\x02\x03\x04hello\x88\x02\x03\xe8", b"\x05\x81\x7e\x00\x80abcdef"],
    },
    Target {
        name: "events",
        check: events,
        seeds: &[b"\x03data: 1\r\n\r\ndata: 2\r\rid: 3\n\n: x"],
    },
    Target {
        name: "proxy",
        check: proxy,
        seeds: &[
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET /",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\0\x01\0\x02",
        ],
    },
    Target {
        name: "names",
        check: names,
        seeds: &[
            b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x03web\0\0\x01\0\x01",
            b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x012\x010\x019\x0210\x07in-addr\x04arpa\0\0\x0c\0\x01",
        ],
    },
    Target {
        name: "conditions",
        check: conditions_of_a_file,
        seeds: &[
            b"GET / HTTP/1.1\r\nRange: bytes=1-5\r\nIf-Range: \"a\"\r\nIf-None-Match: W/\"a\", \"b\"\r\n\r\n",
            b"GET / HTTP/1.1\r\nRange: bytes=-7\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\nAccept-Encoding: gzip;q=0.5, zstd, *;q=0\r\n\r\n",
        ],
    },
    Target { name: "path", check: file_path, seeds: &[b"/a/../b/%2e%2e/c?d", b"/.well-known/x/", b"/%00/%2f"] },
    Target {
        name: "http2",
        check: http2_heads,
        seeds: &[
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx: y\r\n\r\n",
            b"GET /x HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\n",
            b"grpc-status: 0\r\ngrpc-message: x\r\n",
        ],
    },
];

/// Rewrites a head as the gateway would.
pub(crate) fn rewritten(head: &[u8], public: bool) -> Result<(request::Request, Vec<u8>), request::Refusal> {
    let context = request::Context {
        client: "10.0.0.9",
        local: &|| "127.0.0.1:80".parse().expect("an address"),
        public,
        secured: false,
        random: &Random::new(),
        rules: &Rules::default(),
        has_default: true,
        trace: trace::Settings::default(),
        share: 1 << 16,
    };
    let mut out = Vec::new();
    request::rewrite(head, &context, &mut out).map(|request| (request, out))
}

/// What we write must be read by ourselves as what we meant.
pub(crate) fn request_stands(head: &[u8], public: bool) {
    let Ok((request, out)) = rewritten(head, public) else { return };
    let (again, _) = rewritten(&out, public).expect("what we write is valid");
    assert_eq!(again.body, request.body);
    assert_eq!(out[again.method], out[request.method.clone()]);
    assert_eq!(field::head_end(&out, &mut 0), Some(out.len()), "nothing is hidden behind the head");
    assert!(!out.contains(&0));
    assert!(framings(&out) <= 1, "the length is said once");
}

fn request_head(head: &[u8]) {
    request_stands(head, true);
    request_stands(head, false);
}

fn framings(head: &[u8]) -> usize {
    let names: [&[u8]; 2] = [b"content-length:", b"transfer-encoding:"];
    let is_framing = |line: &&[u8]| {
        names.iter().any(|name| line.len() >= name.len() && line[..name.len()].eq_ignore_ascii_case(name))
    };
    head.split(|&b| b == b'\n').filter(is_framing).count()
}

fn response_head(head: &[u8]) {
    for (is_head, http10) in [(false, false), (true, false), (false, true)] {
        let asked = response::Asked {
            head: is_head,
            http10,
            keep_alive: true,
            upgrade: false,
            edits: None,
            offer: None,
        };
        let mut out = Vec::new();
        if response::rewrite(head, &asked, &mut out).is_ok() {
            assert_eq!(field::head_end(&out, &mut 0), Some(out.len()), "nothing is hidden behind the head");
            assert!(framings(&out) <= 1, "the length is said once");
            let again = response::rewrite(&out, &asked, &mut Vec::new());
            assert!(again.is_ok(), "what we write is valid: {again:?}");
        }
    }
}

/// The first byte says in which pieces the rest arrives; the outcome must not depend on it.
fn pieces(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    Some((usize::from(*first).max(1), rest))
}

/// A body that arrives in pieces of a size: its content, how much was taken, and whether it ended.
pub(crate) fn decoded(
    input: &[u8],
    piece: usize,
    into: Into,
) -> Result<(Vec<u8>, usize, bool), &'static str> {
    let mut chunked = Chunked::new();
    let (mut out, mut taken) = (Vec::new(), 0);
    for part in input.chunks(piece) {
        taken += chunked.step(part, into, &mut out)?;
        if chunked.is_done() {
            break;
        }
    }
    Ok((out, taken, chunked.is_done()))
}

fn chunked(bytes: &[u8]) {
    let Some((piece, input)) = pieces(bytes) else { return };
    let whole = decoded(input, input.len().max(1), Into::Plain);
    assert_eq!(decoded(input, piece, Into::Plain), whole);
    let Ok((content, _, true)) = whole else { return };
    let (framed, ..) = decoded(input, piece, Into::Chunks).expect("it was valid");
    let (again, taken, is_done) = decoded(&framed, piece, Into::Plain).expect("what we write is valid");
    assert_eq!((again, taken, is_done), (content, framed.len(), true));
}

fn websocket_frames(bytes: &[u8]) {
    let Some((piece, input)) = pieces(bytes) else { return };
    let (mut whole, mut parts) = (Frames::default(), Frames::default());
    whole.pass(input);
    for part in input.chunks(piece) {
        let mut rest = part;
        while !rest.is_empty() {
            let taken = parts.pass_frame(rest);
            assert!((1..=rest.len()).contains(&taken), "it goes on");
            rest = &rest[taken..];
        }
    }
    assert_eq!((whole.is_between(), whole.is_closed()), (parts.is_between(), parts.is_closed()));
}

fn events(bytes: &[u8]) {
    let Some((piece, input)) = pieces(bytes) else { return };
    let (mut whole, mut parts) = (Events::new(), Events::new());
    whole.pass(input);
    for part in input.chunks(piece) {
        let mut rest = part;
        while let Some(taken) = parts.pass_event(rest) {
            assert!((1..=rest.len()).contains(&taken), "it goes on");
            rest = &rest[taken..];
        }
    }
    assert_eq!(whole.is_between(), parts.is_between());
}

fn proxy(bytes: &[u8]) {
    if let Ok(Head::Whole { length, .. }) = proxy_head(bytes) {
        assert!(length <= bytes.len());
        assert_eq!(proxy_head(bytes), proxy_head(&bytes[..length]), "what follows changes nothing");
    }
}

fn names(query: &[u8]) {
    let address = |last| IpAddr::from([10, 9, 0, last]);
    let zone = Zone {
        names: [("web".to_owned(), vec![address(2)]), ("many".to_owned(), (0..60).map(address).collect())]
            .into(),
        reverse: [(address(2), "web".to_owned())].into(),
        forward: true,
        domain: "shop_default".to_owned(),
    };
    let view = View { zones: &[Arc::new(zone)], asker: None };
    for (transport, most) in [(Transport::Udp, 1_232), (Transport::Tcp, usize::from(u16::MAX))] {
        if let answer::Verdict::Reply(reply) = answer::judge(query, &view, transport, query.len()) {
            assert!(reply.len() <= most);
            assert_eq!(reply[..2], query[..2], "it answers this question");
        }
    }
}

fn conditions_of_a_file(head: &[u8]) {
    let accepted = compress::Accepted::of(head);
    if let Some(best) = accepted.best() {
        let token = std::str::from_utf8(best.token()).expect("a token is text");
        assert!(accepted.takes(token));
    }
    for length in [0, 1, 4_000] {
        let modified = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let version = conditions::Version { etag: "\"a\"".to_owned(), modified, length };
        if let conditions::Wanted::Part(part) = conditions::judge(head, &version) {
            assert!(part.start() <= part.end() && *part.end() < length);
        }
    }
}

fn file_path(target: &[u8]) {
    let Ok(target) = std::str::from_utf8(target) else { return };
    for prefix in [&b"/"[..], b"/a"] {
        let Some(place) = path::place(target, prefix) else { continue };
        assert!(!place.path.starts_with('/') && !place.path.contains('\0'));
        assert!(place.path.split('/').all(|part| part != ".." && part != "."), "{}", place.path);
    }
}

fn http2_heads(head: &[u8]) {
    let _ = http2::read_request(head);
    let _ = http2::read_trailers(head);
    let Some((answer, _)) = http2::read_response(head, false) else { return };
    let mut out = Vec::new();
    http2::write_response(&answer, http2::Framing::of(answer.headers(), true), &mut out);
    let end = field::head_end(&out, &mut 0);
    assert_eq!(end, Some(out.len()), "nothing is hidden behind the head");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::Rng;
    use proptest::test_runner::{RngAlgorithm, TestRng};

    /// Changed inputs for each parser.
    const ROUNDS: usize = 20_000;
    const MAX_BYTES: usize = 600;

    /// Changes an input at some places: bytes, pieces taken out, doubled, or put in from another.
    fn change(input: &mut Vec<u8>, other: &[u8], random: &mut TestRng) {
        let mut below = |limit: usize| random.next_u32() as usize % limit.max(1);
        for _ in 0..=below(4) {
            let at = below(input.len() + 1);
            let end = (at + below(12)).min(input.len());
            match below(5) {
                0 if at < input.len() => input[at] = below(256) as u8,
                1 if at < input.len() => input[at] ^= 1 << below(8),
                2 => drop(input.drain(at..end)),
                3 => {
                    let piece = input[at..end].to_vec();
                    input.splice(at..at, piece);
                }
                _ => {
                    let from = below(other.len());
                    let to = (from + below(20)).min(other.len());
                    input.splice(at..at, other[from..to].iter().copied());
                }
            }
        }
        input.truncate(MAX_BYTES);
    }

    #[test]
    fn changed_inputs_leave_true_what_must_be() {
        for target in &TARGETS {
            let mut random = TestRng::from_seed(RngAlgorithm::XorShift, &[7; 16]);
            let mut input = Vec::new();
            for round in 0..ROUNDS {
                let seed = target.seeds[round % target.seeds.len()];
                // Now and then anew; between that the changes pile up.
                if round % 8 < target.seeds.len().min(8) {
                    input = seed.to_vec();
                }
                change(&mut input, seed, &mut random);
                let given = input.clone();
                if std::panic::catch_unwind(|| (target.check)(&given)).is_err() {
                    panic!("{}: {}", target.name, given.escape_ascii());
                }
            }
        }
    }

    #[test]
    fn seeds_are_read() {
        for target in &TARGETS {
            target.seeds.iter().for_each(|seed| (target.check)(seed));
        }
        let understood =
            |name: &str| TARGETS.iter().find(|target| target.name == name).expect("it is one").seeds;
        assert!(understood("request").iter().all(|seed| rewritten(seed, true).is_ok()));
        assert!(understood("proxy").iter().all(|seed| matches!(proxy_head(seed), Ok(Head::Whole { .. }))));
        assert!(
            understood("chunked")
                .iter()
                .all(|seed| decoded(&seed[1..], 3, Into::Plain).is_ok_and(|end| end.2))
        );
    }
}
