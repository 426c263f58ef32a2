//! The chunked coding, read strictly and written anew: what comes out has our framing, whatever
//! the sender's looked like. Extensions are dropped, trailers pass unless they could mislead.

use super::field;

/// Hexadecimal digits of a chunk's size.
const MAX_SIZE_DIGITS: u32 = 15;
/// Bytes of extensions in one body.
const MAX_EXTENSION_BYTES: usize = 4096;
/// Bytes and lines of trailers.
const MAX_TRAILER_BYTES: usize = 8 * 1024;
const MAX_TRAILERS: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first digit of a size.
    Size,
    SizeDigits,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the start of a trailer line, or of the empty line that ends the body.
    Trailer,
    EndLf,
    Done,
}

/// Where the reading of one chunked body stands.
#[derive(Debug)]
pub struct Chunked {
    state: State,
    size: u64,
    digits: u32,
    extension_bytes: usize,
    trailers: Vec<u8>,
    trailer_lines: usize,
}

/// How the decoded bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Into {
    Chunks,
    Plain,
}

impl Chunked {
    pub fn new() -> Self {
        Self {
            state: State::Size,
            size: 0,
            digits: 0,
            extension_bytes: 0,
            trailers: Vec::new(),
            trailer_lines: 0,
        }
    }
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }
    /// The lines behind the last chunk, once that has been read.
    pub fn trailers(&self) -> &[u8] {
        &self.trailers
    }
    /// Takes from `input` what belongs to the body, appends it framed anew to `out` and returns
    /// how many bytes were taken: all, unless the body ended.
    pub fn step(&mut self, input: &[u8], into: Into, out: &mut Vec<u8>) -> Result<usize, &'static str> {
        let mut at = 0;
        while at < input.len() && self.state != State::Done {
            if self.state == State::Data {
                let count = (input.len() - at).min(usize::try_from(self.size).unwrap_or(usize::MAX));
                push_data(&input[at..at + count], into, out);
                at += count;
                self.size -= count as u64;
                if self.size == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.byte(input[at], into, out)?;
            at += 1;
        }
        Ok(at)
    }

    fn byte(&mut self, byte: u8, into: Into, out: &mut Vec<u8>) -> Result<(), &'static str> {
        self.state = match (self.state, byte) {
            (State::Size | State::SizeDigits, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.digit(byte)?,
            (State::SizeDigits, b';') => State::Extension,
            (State::SizeDigits | State::Extension, b'\r') => State::SizeLf,
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => self.extension()?,
            (State::SizeLf, b'\n') if self.size == 0 => State::Trailer,
            (State::SizeLf, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                self.digits = 0;
                State::Size
            }
            (State::Trailer, _) => self.trailer_byte(byte)?,
            (State::EndLf, b'\n') => {
                self.end(into, out);
                State::Done
            }
            (State::Size | State::SizeDigits, _) => return Err("a chunk size is not valid"),
            (State::Extension, _) => return Err("a chunk extension is not valid"),
            _ => return Err("a chunk is not followed by CR LF"),
        };
        Ok(())
    }

    fn digit(&mut self, byte: u8) -> Result<State, &'static str> {
        if self.digits == MAX_SIZE_DIGITS {
            return Err("a chunk size is too large");
        }
        let value = (byte as char).to_digit(16).expect("the caller matched a hexadecimal digit");
        self.size = self.size * 16 + u64::from(value);
        self.digits += 1;
        Ok(State::SizeDigits)
    }

    fn extension(&mut self) -> Result<State, &'static str> {
        self.extension_bytes += 1;
        match self.extension_bytes > MAX_EXTENSION_BYTES {
            true => Err("the chunk extensions are too long"),
            false => Ok(State::Extension),
        }
    }

    fn trailer_byte(&mut self, byte: u8) -> Result<State, &'static str> {
        let line_start = self.trailers.is_empty() || self.trailers.ends_with(b"\r\n");
        if line_start && byte == b'\r' {
            return Ok(State::EndLf);
        }
        let after_cr = self.trailers.last() == Some(&b'\r');
        if after_cr != (byte == b'\n') {
            return Err("a trailer line does not end in CR LF");
        }
        if self.trailers.len() == MAX_TRAILER_BYTES {
            return Err("the trailers are too long");
        }
        self.trailers.push(byte);
        if byte == b'\n' {
            self.trailer_lines += 1;
            if self.trailer_lines > MAX_TRAILERS {
                return Err("there are too many trailers");
            }
            let line = last_line(&self.trailers);
            if !is_trailer(line) {
                return Err("a trailer is not valid");
            }
        }
        Ok(State::Trailer)
    }

    fn end(&self, into: Into, out: &mut Vec<u8>) {
        if into == Into::Plain {
            return;
        }
        out.extend_from_slice(b"0\r\n");
        for line in self.trailers.split_inclusive(|&b| b == b'\n').filter(|line| is_safe(line)) {
            out.extend_from_slice(line);
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn last_line(lines: &[u8]) -> &[u8] {
    let end = lines.len() - 2;
    let start = lines[..end].iter().rposition(|&b| b == b'\n').map_or(0, |lf| lf + 1);
    &lines[start..end]
}

/// `name: value` with a valid name and no control characters.
fn is_trailer(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|&b| b == b':') else { return false };
    let (name, value) = line.split_at(colon);
    let token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    !name.is_empty()
        && name.iter().all(token)
        && value.iter().all(|b| matches!(b, b'\t' | b' '..=b'~' | 0x80..))
}

/// A trailer may not change how the message is framed, routed, authorised or understood.
fn is_safe(line: &[u8]) -> bool {
    const UNSAFE: [&str; 16] = [
        "trailer",
        "authorization",
        "proxy-authorization",
        "proxy-authenticate",
        "www-authenticate",
        "cookie",
        "set-cookie",
        "content-encoding",
        "content-type",
        "content-range",
        "range",
        "cache-control",
        "location",
        "age",
        "vary",
        "max-forwards",
    ];
    let name = line.split(|&b| b == b':').next().and_then(|name| std::str::from_utf8(name).ok());
    name.is_some_and(|name| {
        field::kind(name) == field::Kind::Pass
            && !UNSAFE.iter().any(|unsafe_| name.eq_ignore_ascii_case(unsafe_))
    })
}

/// One chunk, or the bytes alone.
pub fn push_data(data: &[u8], into: Into, out: &mut Vec<u8>) {
    if into == Into::Plain {
        out.extend_from_slice(data);
    } else if !data.is_empty() {
        push_hex(out, data.len());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
}

fn push_hex(out: &mut Vec<u8>, number: usize) {
    let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1);
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[number >> (4 * digit) & 15]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::decoded as decode;
    use proptest::prelude::*;

    fn check(input: &str, expect: Result<&str, &'static str>) {
        for piece in 1..=input.len() {
            let outcome = decode(input.as_bytes(), piece, Into::Plain).map(|(out, _, done)| {
                assert!(done, "{input:?}");
                String::from_utf8(out).expect("the cases are text")
            });
            assert_eq!(outcome.as_deref().map_err(|e| *e), expect, "{input:?} in pieces of {piece}");
        }
    }

    #[test]
    fn chunks_are_joined() {
        check("5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n", Ok("hello world"));
        check("0\r\n\r\n", Ok(""));
        check("00A\r\n0123456789\r\n0\r\nX: y\r\n\r\n", Ok("0123456789"));
    }

    #[test]
    fn what_others_might_read_differently_is_refused() {
        for bad in ["\r\n", "g\r\n", "-1\r\n", "+1\r\n", "0x5\r\n", " 5\r\n", "5 \r\n", "5\n", "5\rx"] {
            assert!(decode(bad.as_bytes(), 1, Into::Plain).is_err(), "{bad:?}");
        }
        for bad in [
            "1000000000000000\r\n",
            "5\r\nhelloX\r\n",
            "5\r\nhello\n",
            "5\r\nhello\r\r",
            "5;\0\r\n",
            "5;a\nb\r\n",
            "0\r\n\n",
            "0\r\nX\r\n\r\n",
            "0\r\nX : y\r\n\r\n",
            "0\r\nX: y\n\r\n",
            "0\r\n X: y\r\n\r\n",
        ] {
            assert!(decode(bad.as_bytes(), 3, Into::Plain).is_err(), "{bad:?}");
        }
        let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(MAX_EXTENSION_BYTES + 1));
        assert_eq!(decode(long.as_bytes(), 64, Into::Plain), Err("the chunk extensions are too long"));
        let long = format!("0\r\nX: {}\r\n\r\n", "x".repeat(MAX_TRAILER_BYTES));
        assert_eq!(decode(long.as_bytes(), 64, Into::Plain), Err("the trailers are too long"));
    }

    #[test]
    fn unsafe_trailers_are_left_out() {
        let input = b"1\r\na\r\n0\r\nDigest: x\r\nContent-Length: 5\r\nCookie: a\r\nhost: b\r\nGrpc-Status: 0\r\n\r\n";
        let (out, taken, done) = decode(input, 7, Into::Chunks).expect("the body is valid");
        assert_eq!(String::from_utf8_lossy(&out), "1\r\na\r\n0\r\nDigest: x\r\nGrpc-Status: 0\r\n\r\n");
        assert_eq!((taken, done), (input.len(), true));
    }

    #[test]
    fn what_follows_the_body_is_left() {
        let (_, taken, done) = decode(b"0\r\n\r\nGET /", 100, Into::Plain).expect("the body is valid");
        assert_eq!((taken, done), (5, true));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(input in proptest::collection::vec(any::<u8>(), 0..400), piece in 1usize..50) {
            let _ = decode(&input, piece, Into::Chunks);
        }

        #[test]
        fn what_is_written_reads_back(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..6), piece in 1usize..50) {
            let mut wire = Vec::new();
            parts.iter().for_each(|part| push_data(part, Into::Chunks, &mut wire));
            wire.extend_from_slice(b"0\r\n\r\n");
            let (out, taken, done) = decode(&wire, piece, Into::Plain).expect("we wrote it ourselves");
            prop_assert_eq!(out, parts.concat());
            prop_assert_eq!((taken, done), (wire.len(), true));
        }
    }
}
