//! One stream of a client as a connection that carries one request: what is read from it is the
//! request written out, what is written to it is an answer that is read back.

use super::connection::Crew;
use super::head::{self, Body, Framing};
use crate::buffer::BUFFER_BYTES;
use crate::http::chunked::{self, Chunked, Into};
use crate::http::request::Refusal;
use crate::options::MAX_HEAD_BYTES;
use crate::snapshot::Random;
use ::http::{HeaderMap, Method, Request};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::ReadBuf;

pub struct Http2Stream {
    /// The address the client connected to, and whether nobody in between can read it.
    pub local: SocketAddr,
    pub secured: bool,
    crew: Rc<Crew>,
    input: RefCell<Input>,
    output: RefCell<Output>,
    /// Everything of the answer has been handed over: nothing more is read here.
    done: Cell<bool>,
}

struct Input {
    body: RecvStream,
    framing: Framing,
    /// Written out and not read yet, from `read` on.
    pending: Vec<u8>,
    read: usize,
    ended: bool,
}

struct Output {
    respond: SendResponse<Bytes>,
    send: Option<SendStream<Bytes>>,
    /// There is no body, whatever the answer says.
    to_head: bool,
    state: State,
    /// Bytes of a head that is not complete.
    head: Vec<u8>,
    /// What flow control has not let go yet.
    pending: Bytes,
}

enum State {
    Head,
    Length(u64),
    Chunks(Chunked),
    Tunnel,
    /// Nothing more is taken; what is pending still has to go, then these.
    Last(Option<HeaderMap>),
    Done,
}

impl Http2Stream {
    /// A stream that has been accepted; refused when its head says two things.
    pub fn new(
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        (local, secured): (SocketAddr, bool),
        crew: Rc<Crew>,
        random: &Random,
    ) -> (Self, Result<(), Refusal>) {
        let mut pending = Vec::with_capacity(512);
        let has_body = !request.body().is_end_stream();
        let written = head::write_request(&request, has_body, random, &mut pending);
        let to_head = request.method() == Method::HEAD;
        let framing = written.unwrap_or(Framing::None);
        let ended = framing == Framing::None;
        let input = Input { body: request.into_body(), framing, pending, read: 0, ended };
        let (send, head) = (None, Vec::new());
        let output = Output { respond, send, to_head, state: State::Head, head, pending: Bytes::new() };
        let (input, output) = (RefCell::new(input), RefCell::new(output));
        (Self { local, secured, crew, input, output, done: Cell::new(false) }, written.map(drop))
    }

    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.done.get() {
            return Poll::Ready(Ok(()));
        }
        let mut input = self.input.borrow_mut();
        loop {
            if input.read < input.pending.len() {
                return Poll::Ready(Ok(()));
            }
            if input.ended {
                break;
            }
            ready!(input.poll_body(cx))?;
        }
        if input.framing == Framing::Tunnel {
            return Poll::Ready(Ok(()));
        }
        drop(input);
        // The request is complete: what can still come is that the client gives it up.
        ready!(self.output.borrow_mut().poll_reset(cx));
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }

    pub fn poll_into(&self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_ready(cx))?;
        if self.done.get() {
            return Poll::Ready(Ok(()));
        }
        let input = &mut *self.input.borrow_mut();
        let count = room.remaining().min(input.pending.len() - input.read);
        room.put_slice(&input.pending[input.read..input.read + count]);
        input.read += count;
        if input.read == input.pending.len() {
            input.pending.clear();
            input.read = 0;
        }
        Poll::Ready(Ok(()))
    }

    pub fn poll_write(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(cx))?;
        let taken = self.output.borrow_mut().take(data)?;
        if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(taken))
    }

    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut output = self.output.borrow_mut();
        ready!(output.poll_drain(cx))?;
        if matches!(output.state, State::Done) {
            self.done.set(true);
        }
        Poll::Ready(Ok(()))
    }

    /// An answer ends by itself, bytes of another protocol end here; what ends before is broken.
    pub fn poll_finish(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        let mut output = self.output.borrow_mut();
        if matches!(output.state, State::Tunnel) {
            output.state = State::Last(None);
            // The client may still have something to say.
            return output.poll_drain(cx);
        }
        self.done.set(true);
        Poll::Ready(Ok(()))
    }

    /// The client has given the stream up, or the connection has ended.
    pub fn is_gone(&self) -> bool {
        self.output.borrow_mut().poll_reset(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// The client learns that the stream broke.
    pub fn reset(&self) {
        self.output.borrow_mut().reset();
    }
}

impl Input {
    /// Takes more of the body; returns with nothing only at its end.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(data) = ready!(self.body.poll_data(cx)).transpose().map_err(broken)? else {
            let trailers = ready!(self.body.poll_trailers(cx)).map_err(broken)?;
            self.ended = true;
            if self.framing == Framing::Chunks {
                head::write_end(trailers.as_ref(), &mut self.pending);
            }
            return Poll::Ready(Ok(()));
        };
        let into = if self.framing == Framing::Chunks { Into::Chunks } else { Into::Plain };
        chunked::push_data(&data, into, &mut self.pending);
        // The client may send as much again; more than one frame is never held here.
        self.body.flow_control().release_capacity(data.len()).map_err(broken)?;
        Poll::Ready(Ok(()))
    }
}

impl Output {
    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let reset = match &mut self.send {
            Some(send) => send.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        // An error says that the connection is gone, which comes to the same.
        reset.map(drop)
    }

    /// Reads on in the answer; returns how much of it was taken.
    fn take(&mut self, data: &[u8]) -> io::Result<usize> {
        match &mut self.state {
            State::Head => self.take_head(data),
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

    fn take_head(&mut self, data: &[u8]) -> io::Result<usize> {
        let before = self.head.len();
        self.head.extend_from_slice(data);
        let from = before.saturating_sub(3);
        let Some(end) = self.head[from..].windows(4).position(|four| four == b"\r\n\r\n") else {
            return match self.head.len() > 2 * MAX_HEAD_BYTES {
                true => Err(io::ErrorKind::InvalidData.into()),
                false => Ok(data.len()),
            };
        };
        let end = from + end + 4;
        let read = head::read_response(&self.head[..end], self.to_head);
        let (response, body) = read.ok_or(io::ErrorKind::InvalidData)?;
        self.head.clear();
        if response.status().is_informational() {
            self.respond.send_informational(response).map_err(broken)?;
            return Ok(end - before);
        }
        self.state = match body {
            Body::None | Body::Length(0) => State::Done,
            Body::Length(length) => State::Length(length),
            Body::Chunks => State::Chunks(Chunked::new()),
            Body::Tunnel => State::Tunnel,
        };
        let is_whole = matches!(self.state, State::Done);
        self.send = Some(self.respond.send_response(response, is_whole).map_err(broken)?);
        Ok(end - before)
    }

    /// Hands on what flow control lets go; ready once nothing is left.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(send) = &mut self.send else { return Poll::Ready(Ok(())) };
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

    fn reset(&mut self) {
        self.state = State::Done;
        match &mut self.send {
            Some(send) => send.send_reset(Reason::INTERNAL_ERROR),
            None => self.respond.send_reset(Reason::INTERNAL_ERROR),
        }
    }
}

impl Drop for Http2Stream {
    /// An answer that is not whole must not look as if it were.
    fn drop(&mut self) {
        let was_given_up = self.is_gone();
        let output = self.output.get_mut();
        let is_whole = matches!(output.state, State::Done);
        if !is_whole {
            output.reset();
        }
        self.crew.left(!is_whole && was_given_up);
    }
}

/// What the protocol's library says as those expect who know sockets alone.
pub fn broken(error: h2::Error) -> io::Error {
    match error.is_io() {
        true => error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()),
        false => io::Error::new(io::ErrorKind::ConnectionReset, error),
    }
}
