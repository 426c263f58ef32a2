//! Which answers are compressed, and how: by what the client accepts (RFC 9110 section 12.5.3), what
//! the answer is, and what it says of itself.

use super::super::http::field;
use model::traffic::Compression;

/// Answers of known length that are shorter stay as they are: the head of a format and the work cost
/// more than is saved.
const DEFAULT_MIN_BYTES: u64 = 1024;
/// What compresses well beside `text/*` and what ends in `+json` and `+xml`.
const USUAL: [&str; 9] = [
    "application/json",
    "application/xml",
    "application/javascript",
    "application/ecmascript",
    "application/wasm",
    "application/x-ndjson",
    "application/vnd.ms-fontobject",
    "font/ttf",
    "font/otf",
];
/// Compressed only where it is named: each stream would hold an encoder for hours.
const EVENTS: &str = "text/event-stream";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Gzip,
    Zstd,
}

impl Encoding {
    pub fn token(self) -> &'static [u8] {
        match self {
            Self::Gzip => b"gzip",
            Self::Zstd => b"zstd",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Empty: the usual.
    types: Vec<String>,
    min_bytes: u64,
}

impl Settings {
    pub fn new(declared: &Compression) -> Self {
        let types = declared.types.iter().map(|name| name.to_ascii_lowercase()).collect();
        Self { types, min_bytes: declared.min_size.map_or(DEFAULT_MIN_BYTES, |size| size.0) }
    }

    /// Whether content of this type, and of this length where it is known, is compressed.
    pub fn takes(&self, content_type: &[u8], length: Option<u64>) -> bool {
        let essence = content_type.split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
        length.is_none_or(|length| length >= self.min_bytes)
            && match self.types.is_empty() {
                true => is_usual(essence),
                false => self.types.iter().any(|wanted| is_like(essence, wanted)),
            }
    }
}

fn is_usual(essence: &[u8]) -> bool {
    let ends = |suffix: &str| {
        essence.len() > suffix.len()
            && essence[essence.len() - suffix.len()..].eq_ignore_ascii_case(suffix.as_bytes())
    };
    let is = |name: &&str| essence.eq_ignore_ascii_case(name.as_bytes());
    USUAL.iter().any(is) || ends("+json") || ends("+xml") || is_like(essence, "text/*")
}

/// The type itself, or any below `text/*`.
fn is_like(essence: &[u8], wanted: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(stem) => {
            essence.len() > stem.len()
                && essence[..stem.len()].eq_ignore_ascii_case(stem.as_bytes())
                && !essence.eq_ignore_ascii_case(EVENTS.as_bytes())
        }
        None => essence.eq_ignore_ascii_case(wanted.as_bytes()),
    }
}

/// What a client says it understands, taken in field by field.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// In thousandths; none: not mentioned.
    gzip: Option<u16>,
    zstd: Option<u16>,
    br: Option<u16>,
    any: Option<u16>,
    identity: Option<u16>,
}

impl Accepted {
    /// Of the head of a request.
    pub fn of(head: &[u8]) -> Self {
        let mut accepted = Self::default();
        for line in head.split(|&b| b == b'\n').skip(1) {
            let Some(colon) = line.iter().position(|&b| b == b':') else { continue };
            if line[..colon].eq_ignore_ascii_case(b"accept-encoding") {
                accepted.add(&line[colon + 1..]);
            }
        }
        accepted
    }

    fn add(&mut self, value: &[u8]) {
        for member in field::members(value) {
            let mut parts = member.split(|&b| b == b';').map(<[u8]>::trim_ascii);
            let coding = parts.next().unwrap_or_default();
            let Some(weight) = parts.next().map_or(Some(1000), quality) else { continue };
            let known = match () {
                () if coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip") => {
                    &mut self.gzip
                }
                () if coding.eq_ignore_ascii_case(b"zstd") => &mut self.zstd,
                () if coding.eq_ignore_ascii_case(b"br") => &mut self.br,
                () if coding.eq_ignore_ascii_case(b"identity") => &mut self.identity,
                () if coding == b"*" => &mut self.any,
                () => continue,
            };
            *known = Some(weight);
        }
    }

    /// Whether content that is packed already may be sent so.
    pub fn takes(&self, coding: &str) -> bool {
        let named = match coding {
            "gzip" => self.gzip,
            "zstd" => self.zstd,
            "br" => self.br,
            _ => return false,
        };
        named.or(self.any).unwrap_or(0) > 0
    }

    /// The one it likes best; of those it likes as well zstd, which costs the gateway less.
    pub fn best(&self) -> Option<Encoding> {
        let weight = |named: Option<u16>| named.or(self.any).unwrap_or(0);
        let (gzip, zstd) = (weight(self.gzip), weight(self.zstd));
        // As it is, unless something else is wanted as much.
        let plain = self.identity.unwrap_or(0);
        match () {
            () if zstd > 0 && zstd >= gzip && zstd >= plain => Some(Encoding::Zstd),
            () if gzip > 0 && gzip >= plain => Some(Encoding::Gzip),
            () => None,
        }
    }
}

/// `q=0.5` in thousandths; `None` if it is not one.
fn quality(parameter: &[u8]) -> Option<u16> {
    let value = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))?;
    let (whole, rest) = value.split_first()?;
    let digits = match rest {
        [] => rest,
        [b'.', digits @ ..] if digits.len() <= 3 => digits,
        _ => return None,
    };
    let mut thousandths = match whole {
        b'0' => 0,
        b'1' => 1000,
        _ => return None,
    };
    let mut place = 100;
    for digit in digits {
        let value = (*digit as char).to_digit(10)? as u16;
        thousandths += value * place;
        place /= 10;
    }
    (thousandths <= 1000).then_some(thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Bytes;
    use proptest::prelude::*;

    #[test]
    fn what_the_client_likes_best_is_taken() {
        for (value, expect) in [
            ("gzip", Some(Encoding::Gzip)),
            ("GZip", Some(Encoding::Gzip)),
            ("gzip, deflate, br, zstd", Some(Encoding::Zstd)),
            ("gzip;q=1.0, zstd;q=0.9", Some(Encoding::Gzip)),
            ("gzip ; q=0.5, identity", None),
            ("gzip;q=0", None),
            ("gzip;q=0.000", None),
            ("gzip;q=0.001", Some(Encoding::Gzip)),
            ("*", Some(Encoding::Zstd)),
            ("*;q=0", None),
            ("gzip, *;q=0", Some(Encoding::Gzip)),
            ("zstd;q=0, *", Some(Encoding::Gzip)),
            ("gzip;q=2", None),
            ("gzip;q=1.001", None),
            ("gzip;q=0.1234", None),
            ("gzip;v=1", None),
            ("br", None),
            ("", None),
        ] {
            let head = format!("GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {value}\r\n\r\n");
            assert_eq!(Accepted::of(head.as_bytes()).best(), expect, "{value}");
        }
        let two = b"GET / HTTP/1.1\r\naccept-encoding: br\r\nAccept-Encoding: gzip\r\n\r\n";
        assert_eq!(Accepted::of(two).best(), Some(Encoding::Gzip));
        assert_eq!(Accepted::of(b"GET /accept-encoding: gzip HTTP/1.1\r\n\r\n").best(), None);
    }

    #[test]
    fn types_and_lengths_decide() {
        let usual = Settings::new(&Compression::default());
        for (content_type, length, expect) in [
            ("text/html; charset=utf-8", Some(1024), true),
            ("text/html", Some(1023), false),
            ("Text/CSS", None, true),
            ("application/json", None, true),
            ("application/problem+json", None, true),
            ("image/svg+xml", None, true),
            ("image/png", None, false),
            ("application/octet-stream", None, false),
            ("text/event-stream", None, false),
            ("application/grpc", None, false),
            ("", None, false),
        ] {
            assert_eq!(usual.takes(content_type.as_bytes(), length), expect, "{content_type}");
        }
        let types = vec!["Text/Event-Stream".to_owned(), "application/*".to_owned()];
        let own = Settings::new(&Compression { types, min_size: Some(Bytes(0)) });
        let takes =
            ["text/event-stream", "application/pdf", "text/html"].map(|t| own.takes(t.as_bytes(), Some(0)));
        assert_eq!(takes, [true, true, false]);
    }

    proptest! {
        #[test]
        fn random_values_never_panic(value in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut head = b"GET / HTTP/1.1\r\naccept-encoding: ".to_vec();
            head.extend_from_slice(&value);
            Accepted::of(&head).best();
        }
    }
}
