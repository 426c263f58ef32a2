//! Bodies of streams as bodies of HTTP/1.1: one that comes in is framed in chunks, or by its length;
//! one that goes out is read again and let go as flow control allows.

use super::head::{self, Body, Framing};
use crate::buffer::BUFFER_BYTES;
use crate::http::chunked::{self, Chunked, Into};
use crate::http::field;
use crate::options::MAX_HEAD_BYTES;
use ::http::{HeaderMap, HeaderValue};
use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use std::io;
use std::task::{Context, Poll, ready};
use tokio::io::ReadBuf;

/// What was written out and is to be read.
#[derive(Default)]
pub struct Pending {
    pub bytes: Vec<u8>,
    read: usize,
}

impl Pending {
    pub fn is_empty(&self) -> bool {
        self.read == self.bytes.len()
    }
    pub fn put_into(&mut self, room: &mut ReadBuf<'_>) {
        let count = room.remaining().min(self.bytes.len() - self.read);
        room.put_slice(&self.bytes[self.read..self.read + count]);
        self.read += count;
        if self.is_empty() {
            self.bytes.clear();
            self.read = 0;
        }
    }
}

/// A body that a peer sends.
pub struct Incoming {
    body: RecvStream,
    pub framing: Framing,
    pub ended: bool,
    /// What its Content-Length still announces.
    left: Option<u64>,
}

impl Incoming {
    pub fn new(body: RecvStream, framing: Framing, length: Option<&HeaderValue>) -> Self {
        let left = length.and_then(|length| field::decimal(length.as_bytes()));
        Self { body, framing, ended: framing == Framing::None, left }
    }

    /// Ready once something is pending, or the body has ended. The last bytes of a body of known
    /// length come with its end: who answers before that would reset a stream that is about to end.
    pub fn poll(&mut self, cx: &mut Context<'_>, pending: &mut Pending) -> Poll<io::Result<()>> {
        while !self.ended && (pending.is_empty() || self.left == Some(0)) {
            ready!(self.poll_more(cx, pending))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_more(&mut self, cx: &mut Context<'_>, pending: &mut Pending) -> Poll<io::Result<()>> {
        let Some(data) = ready!(self.body.poll_data(cx)).transpose().map_err(broken)? else {
            let trailers = ready!(self.body.poll_trailers(cx)).map_err(broken)?;
            self.ended = true;
            if self.framing == Framing::Chunks {
                head::write_end(trailers.as_ref(), &mut pending.bytes);
            }
            return Poll::Ready(Ok(()));
        };
        let into = if self.framing == Framing::Chunks { Into::Chunks } else { Into::Plain };
        chunked::push_data(&data, into, &mut pending.bytes);
        self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
        // The peer may send as much again; more than one frame is never held here.
        self.body.flow_control().release_capacity(data.len()).map_err(broken)?;
        Poll::Ready(Ok(()))
    }
}

/// A head of which not everything is there.
#[derive(Default)]
pub struct Gathered(Vec<u8>);

impl Gathered {
    /// Takes bytes up to the head's end; how many, and the head once it is whole.
    pub fn take(&mut self, data: &[u8]) -> io::Result<(usize, Option<Vec<u8>>)> {
        let before = self.0.len();
        self.0.extend_from_slice(data);
        // A line that ended in what was there before may be the last.
        let mut from = before.saturating_sub(3);
        match field::head_end(&self.0, &mut from) {
            Some(end) => {
                self.0.truncate(end);
                Ok((end - before, Some(std::mem::take(&mut self.0))))
            }
            None if self.0.len() > 2 * MAX_HEAD_BYTES => Err(io::ErrorKind::InvalidInput.into()),
            None => Ok((data.len(), None)),
        }
    }
}

/// A body that is sent to a peer.
pub struct Outgoing {
    send: SendStream<Bytes>,
    state: State,
    /// What flow control has not let go yet.
    pending: Bytes,
}

enum State {
    Length(u64),
    Chunks(Chunked),
    Tunnel,
    /// Nothing more is taken; what is pending still has to go, then these.
    Last(Option<HeaderMap>),
    Done,
}

impl Outgoing {
    pub fn new(send: SendStream<Bytes>, body: Body) -> Self {
        let state = match body {
            Body::None | Body::Length(0) => State::Done,
            Body::Length(length) => State::Length(length),
            Body::Chunks => State::Chunks(Chunked::new()),
            Body::Tunnel => State::Tunnel,
        };
        Self { send, state, pending: Bytes::new() }
    }

    /// Everything is with the protocol's library.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    pub fn is_tunnel(&self) -> bool {
        matches!(self.state, State::Tunnel)
    }

    /// Nothing more comes through the tunnel.
    pub fn end(&mut self) {
        self.state = State::Last(None);
    }

    /// Reads on; returns how much was taken. What was taken before has to be drained.
    pub fn take(&mut self, data: &[u8]) -> io::Result<usize> {
        match &mut self.state {
            State::Length(left) => {
                let count = (data.len() as u64).min(*left) as usize;
                *left -= count as u64;
                self.pending = Bytes::copy_from_slice(&data[..count]);
                if *left == 0 {
                    self.state = State::Last(None);
                }
                Ok(data.len())
            }
            State::Chunks(chunked) => {
                let mut plain = Vec::with_capacity(data.len().min(BUFFER_BYTES));
                let taken = chunked.step(data, Into::Plain, &mut plain).map_err(io::Error::other)?;
                self.pending = Bytes::from(plain);
                if chunked.is_done() {
                    self.state = State::Last(head::read_trailers(chunked.trailers()));
                }
                Ok(taken)
            }
            State::Tunnel => {
                let part = &data[..data.len().min(BUFFER_BYTES)];
                self.pending = Bytes::copy_from_slice(part);
                Ok(part.len())
            }
            State::Last(_) | State::Done => Ok(data.len()),
        }
    }

    /// Hands on what flow control lets go; ready once nothing is left.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let send = &mut self.send;
        while !self.pending.is_empty() {
            send.reserve_capacity(self.pending.len());
            let free = match send.capacity() {
                0 => match ready!(send.poll_capacity(cx)) {
                    Some(free) => free.map_err(broken)?,
                    None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                },
                free => free,
            };
            let part = self.pending.split_to(free.min(self.pending.len()));
            let is_last = self.pending.is_empty() && matches!(self.state, State::Last(None));
            send.send_data(part, is_last).map_err(broken)?;
            if is_last {
                self.state = State::Done;
            }
        }
        match std::mem::replace(&mut self.state, State::Done) {
            State::Last(Some(trailers)) => send.send_trailers(trailers).map_err(broken)?,
            State::Last(None) => send.send_data(Bytes::new(), true).map_err(broken)?,
            other => self.state = other,
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when the peer gives the stream up, or is gone.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.send.poll_reset(cx).map(drop)
    }

    /// Ends it before its time with these behind what was taken so far; not possible where the head
    /// has said how long it would be.
    pub fn break_off(&mut self, trailers: HeaderMap) -> bool {
        let State::Chunks(_) = self.state else { return false };
        // What waits for flow control waits in the protocol's library from here on.
        let rest = std::mem::take(&mut self.pending);
        let sent = if rest.is_empty() { Ok(()) } else { self.send.send_data(rest, false) };
        let is_ended = sent.and_then(|()| self.send.send_trailers(trailers)).is_ok();
        if is_ended {
            self.state = State::Done;
        }
        is_ended
    }

    pub fn reset(&mut self) {
        self.state = State::Done;
        self.send.send_reset(Reason::INTERNAL_ERROR);
    }
}

/// What the protocol's library says as those expect who know sockets alone. `ConnectionRefused`: the
/// peer has surely done nothing; `InvalidData`: it does not keep to the protocol.
pub fn broken(error: h2::Error) -> io::Error {
    let is_unprocessed = match error.reason() {
        Some(Reason::REFUSED_STREAM) => error.is_remote(),
        Some(Reason::NO_ERROR) => error.is_go_away() && error.is_remote(),
        _ => false,
    };
    let kind = match () {
        () if is_unprocessed => io::ErrorKind::ConnectionRefused,
        () if error.is_library() && error.is_go_away() => io::ErrorKind::InvalidData,
        () => io::ErrorKind::ConnectionReset,
    };
    io::Error::new(kind, error)
}
