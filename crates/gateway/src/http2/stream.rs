//! One stream of a client as a connection that carries one request: what is read from it is the
//! request written out, what is written to it is an answer that is read back.

use super::body::{Gathered, Incoming, Outgoing, Pending, broken};
use super::connection::Crew;
use super::head::{self, Body, Framing};
use crate::http::request::Refusal;
use crate::snapshot::Random;
use ::http::{HeaderMap, Method, Request};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
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
    /// All of the head was read.
    headed: Cell<bool>,
    /// Everything of the answer has been handed over: nothing more is read here.
    done: Cell<bool>,
}

struct Input {
    body: Incoming,
    pending: Pending,
}

struct Output {
    respond: SendResponse<Bytes>,
    /// There is no body, whatever the answer says.
    to_head: bool,
    head: Gathered,
    /// Once the head is gone.
    body: Option<Outgoing>,
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
        let mut pending = Pending::default();
        let has_body = !request.body().is_end_stream();
        let written = head::write_request(&request, has_body, random, &mut pending.bytes);
        let to_head = request.method() == Method::HEAD;
        let (parts, body) = request.into_parts();
        let length = parts.headers.get("content-length");
        let body = Incoming::new(body, written.unwrap_or(Framing::None), length);
        let input = RefCell::new(Input { body, pending });
        let output = RefCell::new(Output { respond, to_head, head: Gathered::default(), body: None });
        let (headed, done) = Default::default();
        (Self { local, secured, crew, input, output, headed, done }, written.map(drop))
    }

    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.done.get() {
            return Poll::Ready(Ok(()));
        }
        let Input { body, pending } = &mut *self.input.borrow_mut();
        // The head is read first, whatever has come behind it.
        if !self.headed.get() {
            return Poll::Ready(Ok(()));
        }
        ready!(body.poll(cx, pending))?;
        if !pending.is_empty() || body.framing == Framing::Tunnel {
            return Poll::Ready(Ok(()));
        }
        // The request is complete: what can still come is that the client gives it up.
        ready!(self.output.borrow_mut().poll_reset(cx));
        Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
    }

    pub fn poll_into(&self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_ready(cx))?;
        if !self.done.get() {
            let mut input = self.input.borrow_mut();
            input.pending.put_into(room);
            self.headed.set(self.headed.get() || input.pending.is_empty());
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
        if let Some(body) = &mut self.output.borrow_mut().body {
            ready!(body.poll_drain(cx))?;
            if body.is_done() {
                self.done.set(true);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// An answer ends by itself, bytes of another protocol end here; what ends before is broken.
    pub fn poll_finish(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        if let Some(body) = &mut self.output.borrow_mut().body
            && body.is_tunnel()
        {
            body.end();
            // The client may still have something to say.
            return body.poll_drain(cx);
        }
        self.done.set(true);
        Poll::Ready(Ok(()))
    }

    /// The client has given the stream up, or the connection has ended.
    pub fn is_gone(&self) -> bool {
        self.output.borrow_mut().poll_reset(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    /// Ends an answer that has begun with these behind it; false where that cannot be said any more.
    pub fn break_off(&self, trailers: HeaderMap) -> bool {
        let output = &mut *self.output.borrow_mut();
        let is_ended = output.body.as_mut().is_some_and(|body| body.break_off(trailers));
        self.done.set(self.done.get() || is_ended);
        is_ended
    }

    /// The client learns that the stream broke.
    pub fn reset(&self) {
        self.output.borrow_mut().reset();
    }
}

impl Output {
    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.body {
            Some(body) => body.poll_reset(cx),
            // An error says that the connection is gone, which comes to the same.
            None => self.respond.poll_reset(cx).map(drop),
        }
    }

    /// Reads on in the answer; returns how much of it was taken.
    fn take(&mut self, data: &[u8]) -> io::Result<usize> {
        if let Some(body) = &mut self.body {
            return body.take(data);
        }
        let (taken, whole) = self.head.take(data)?;
        let Some(head) = whole else { return Ok(taken) };
        let (response, body) = head::read_response(&head, self.to_head).ok_or(io::ErrorKind::InvalidInput)?;
        if response.status().is_informational() {
            self.respond.send_informational(response).map_err(broken)?;
            return Ok(taken);
        }
        let is_whole = matches!(body, Body::None | Body::Length(0));
        let send = self.respond.send_response(response, is_whole).map_err(broken)?;
        self.body = Some(Outgoing::new(send, body));
        Ok(taken)
    }

    fn reset(&mut self) {
        match &mut self.body {
            Some(body) => body.reset(),
            None => self.respond.send_reset(Reason::INTERNAL_ERROR),
        }
    }
}

impl Drop for Http2Stream {
    /// An answer that is not whole must not look as if it were.
    fn drop(&mut self) {
        let was_given_up = self.is_gone();
        let output = self.output.get_mut();
        let is_whole = output.body.as_ref().is_some_and(Outgoing::is_done);
        if !is_whole {
            output.reset();
        }
        self.crew.left(!is_whole && was_given_up);
    }
}
