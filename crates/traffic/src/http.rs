//! HTTP/1.1 as far as both ends of the load need it: heads, and bodies with a length or in chunks.
//!
//! An end of the stream in the middle of something is `UnexpectedEof`, nonsense is `InvalidData`.

use std::io::{Error, ErrorKind, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest head that is taken.
const HEAD_LIMIT: usize = 16 * 1024;
const FIELDS_LIMIT: usize = 64;
/// Room for one read.
const READ_BYTES: usize = 64 * 1024;
const SMALL_READ_BYTES: usize = 4 * 1024;
/// Longest body that is taken.
const BODY_LIMIT: u64 = 256 * 1024 * 1024;
/// Longest line of chunked framing or of a session.
const LINE_LIMIT: usize = 4 * 1024;

/// A connection, and what was received of it and not yet used.
pub struct Wire {
    pub stream: TcpStream,
    pub received: Vec<u8>,
}

#[derive(Debug, Clone, Default)]
pub struct Fields(Vec<(String, String)>);

#[derive(Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub fields: Fields,
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub fields: Fields,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    Bytes(u64),
    Chunked,
    /// As long as the connection is open.
    ToEnd,
}

impl Fields {
    fn new(parsed: &[httparse::Header<'_>]) -> Self {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        Self(parsed.iter().map(|field| (field.name.to_ascii_lowercase(), text(field.value))).collect())
    }

    /// `name` in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
    }

    /// Whether a word stands in a list such as that of `Connection`.
    pub fn lists(&self, name: &str, word: &str) -> bool {
        self.get(name).is_some_and(|value| value.split(',').any(|one| one.trim().eq_ignore_ascii_case(word)))
    }

    fn length(&self, otherwise: Length) -> Result<Length> {
        if self.lists("transfer-encoding", "chunked") {
            return Ok(Length::Chunked);
        }
        match self.get("content-length") {
            Some(text) => Ok(Length::Bytes(text.parse().map_err(|_| nonsense("a length that is none"))?)),
            None => Ok(otherwise),
        }
    }
}

impl Request {
    pub fn length(&self) -> Result<Length> {
        self.fields.length(Length::Bytes(0))
    }

    /// The number after `name=` in the query.
    pub fn query(&self, name: &str) -> Option<u32> {
        let (_, query) = self.target.split_once('?')?;
        let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
        value.parse().ok()
    }
}

impl Response {
    pub fn length(&self) -> Result<Length> {
        self.fields.length(if matches!(self.status, 100..200 | 204 | 304) {
            Length::Bytes(0)
        } else {
            Length::ToEnd
        })
    }
}

pub fn nonsense(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidData, what.into())
}

fn early_end() -> Error {
    Error::new(ErrorKind::UnexpectedEof, "the connection ended")
}

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, received: Vec::new() }
    }

    /// Receives more; 0 at the end of the stream. May be abandoned at any time.
    pub async fn fill(&mut self) -> Result<usize> {
        self.received.reserve(SMALL_READ_BYTES);
        self.stream.read_buf(&mut self.received).await
    }

    async fn need(&mut self) -> Result<()> {
        if self.fill().await? == 0 { Err(early_end()) } else { Ok(()) }
    }

    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await
    }

    pub async fn request(&mut self) -> Result<Request> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; FIELDS_LIMIT];
            let mut head = httparse::Request::new(&mut fields);
            let parsed = head.parse(&self.received).map_err(|e| nonsense(format!("no request: {e}")))?;
            if let (httparse::Status::Complete(end), Some(method), Some(target)) =
                (parsed, head.method, head.path)
            {
                let (method, target) = (method.to_owned(), target.to_owned());
                let fields = Fields::new(head.headers);
                self.received.drain(..end);
                return Ok(Request { method, target, fields });
            }
            self.need_head().await?;
        }
    }

    pub async fn response(&mut self) -> Result<Response> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; FIELDS_LIMIT];
            let mut head = httparse::Response::new(&mut fields);
            let parsed = head.parse(&self.received).map_err(|e| nonsense(format!("no answer: {e}")))?;
            if let (httparse::Status::Complete(end), Some(status)) = (parsed, head.code) {
                let fields = Fields::new(head.headers);
                self.received.drain(..end);
                return Ok(Response { status, fields });
            }
            self.need_head().await?;
        }
    }

    async fn need_head(&mut self) -> Result<()> {
        if self.received.len() > HEAD_LIMIT {
            return Err(nonsense("a head without end"));
        }
        self.need().await
    }

    /// Hands on a body, part by part, as it comes.
    pub async fn body(&mut self, length: Length, mut each: impl FnMut(&[u8])) -> Result<()> {
        match length {
            Length::Bytes(bytes) => self.bytes(bytes, &mut each).await,
            Length::Chunked => self.chunks(&mut each).await,
            Length::ToEnd => loop {
                each(&self.received);
                self.received.clear();
                if self.fill().await? == 0 {
                    return Ok(());
                }
            },
        }
    }

    async fn bytes(&mut self, mut left: u64, each: &mut impl FnMut(&[u8])) -> Result<()> {
        if left > BODY_LIMIT {
            return Err(nonsense("a body beyond the limit"));
        }
        while left > 0 {
            if self.received.is_empty() {
                // Long bodies in long reads.
                self.received.reserve(READ_BYTES.min(left as usize));
                self.need().await?;
            }
            let part = self.received.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            each(&self.received[..part]);
            self.received.drain(..part);
            left -= part as u64;
        }
        Ok(())
    }

    async fn chunks(&mut self, each: &mut impl FnMut(&[u8])) -> Result<()> {
        let mut left = BODY_LIMIT;
        loop {
            let line = self.line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| nonsense(format!("chunk size {line:?}")))?;
            left = left.checked_sub(size).ok_or_else(|| nonsense("a body beyond the limit"))?;
            self.bytes(size, each).await?;
            let end = self.line().await?;
            if !end.trim_end().is_empty() {
                return Err(nonsense(format!("{end:?} after a chunk")));
            }
            if size == 0 {
                return Ok(());
            }
        }
    }

    /// One line with its end. May be abandoned at any time.
    pub async fn line(&mut self) -> Result<String> {
        loop {
            if let Some(line) = self.take_line() {
                return Ok(line);
            }
            if self.received.len() > LINE_LIMIT {
                return Err(nonsense("a line without end"));
            }
            self.need().await?;
        }
    }

    /// A whole line that was received already.
    pub fn take_line(&mut self) -> Option<String> {
        let end = self.received.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.received.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).into_owned())
    }

    /// Says that nothing more comes from here and waits for the other side to say the same, so that
    /// nothing it still sends is answered by a reset.
    pub async fn finish(mut self, limit: std::time::Duration) {
        if self.stream.shutdown().await.is_err() {
            return;
        }
        let ended = async {
            while self.fill().await.is_ok_and(|bytes| bytes > 0) {
                self.received.clear();
            }
        };
        // Whoever does not end in time is cut.
        let _ = tokio::time::timeout(limit, ended).await;
    }
}
