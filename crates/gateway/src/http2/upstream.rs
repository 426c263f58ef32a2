//! One stream to an instance as a connection to it that carries one request: what is written to it
//! is a request that is read again, what is read from it is the answer written out.

use super::body::{Gathered, Incoming, Outgoing, Pending, broken};
use super::head::{self, Accept, Body, Framing};
use super::pool::Lease;
use ::http::{Method, Request};
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::ReadBuf;

pub struct Http2Upstream {
    /// Its place on the connection.
    _lease: Lease,
    output: RefCell<Output>,
    input: RefCell<Input>,
}

struct Output {
    send: SendRequest<Bytes>,
    head: Gathered,
    /// A request that the connection has not taken yet.
    waiting: Option<(Request<()>, Body)>,
    body: Option<Outgoing>,
}

#[derive(Default)]
struct Input {
    to_head: bool,
    /// All of the head was read.
    headed: bool,
    response: Option<ResponseFuture>,
    /// The request asks for a WebSocket.
    tunnel: Option<Accept>,
    body: Option<Incoming>,
    pending: Pending,
}

impl Http2Upstream {
    pub fn new(lease: Lease, send: SendRequest<Bytes>) -> Self {
        let output = Output { send, head: Gathered::default(), waiting: None, body: None };
        Self { _lease: lease, output: RefCell::new(output), input: RefCell::default() }
    }

    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let input = &mut *self.input.borrow_mut();
        match &mut input.body {
            // The head goes first, whatever has come behind it.
            _ if !input.pending.is_empty() && !input.headed => Poll::Ready(Ok(())),
            Some(body) => {
                input.headed = true;
                body.poll(cx, &mut input.pending)
            }
            None => input.poll_head(cx),
        }
    }

    pub fn poll_into(&self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_ready(cx))?;
        self.input.borrow_mut().pending.put_into(room);
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
        let output = &mut *self.output.borrow_mut();
        if output.waiting.is_some() {
            ready!(output.send.poll_ready(cx)).map_err(broken)?;
            if let Some((request, body)) = output.waiting.take() {
                self.begin(output, request, body, cx)?;
            }
        }
        match &mut output.body {
            Some(body) => body.poll_drain(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn begin(
        &self,
        output: &mut Output,
        mut request: Request<()>,
        body: Body,
        cx: &Context<'_>,
    ) -> io::Result<()> {
        let mut input = self.input.borrow_mut();
        input.tunnel = request.extensions_mut().remove();
        if body == Body::Tunnel && !output.send.is_extended_connect_protocol_enabled() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        input.to_head = request.method() == Method::HEAD;
        let is_whole = matches!(body, Body::None | Body::Length(0));
        let (response, send) = output.send.send_request(request, is_whole).map_err(broken)?;
        output.body = Some(Outgoing::new(send, body));
        input.response = Some(response);
        // The answer may have been looked for before there was anything to wait for.
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// A request ends by itself, bytes of another protocol end here.
    pub fn poll_finish(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        match &mut self.output.borrow_mut().body {
            Some(body) if body.is_tunnel() => {
                body.end();
                body.poll_drain(cx)
            }
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl Output {
    fn take(&mut self, data: &[u8]) -> io::Result<usize> {
        if let Some(body) = &mut self.body {
            return body.take(data);
        }
        let (taken, whole) = self.head.take(data)?;
        if let Some(head) = whole {
            self.waiting = Some(head::read_request(&head).ok_or(io::ErrorKind::InvalidInput)?);
        }
        Ok(taken)
    }
}

impl Input {
    /// Takes the next head: that of the answer, or one before it.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(response) = &mut self.response else { return Poll::Pending };
        if let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
            head::write_response(&interim.map_err(broken)?, Framing::None, &mut self.pending.bytes);
            return Poll::Ready(Ok(()));
        }
        let response = ready!(Pin::new(response).poll(cx)).map_err(broken)?;
        if let Some(Accept(accept)) = self.tunnel.take().filter(|_| response.status().is_success()) {
            let (parts, body) = response.into_parts();
            head::write_switch(&parts.headers, &accept, &mut self.pending.bytes);
            self.body = Some(Incoming::new(body, Framing::Tunnel, None));
            return Poll::Ready(Ok(()));
        }
        let has_body = !response.body().is_end_stream() && !self.to_head;
        let framing = Framing::of(response.headers(), has_body);
        let (parts, body) = response.into_parts();
        let is_bodiless = self.to_head || matches!(parts.status.as_u16(), 204 | 304);
        let says_nothing = !has_body && !is_bodiless && !parts.headers.contains_key("content-length");
        let response = ::http::Response::from_parts(parts, ());
        head::write_response(&response, framing, &mut self.pending.bytes);
        if says_nothing {
            // Without it the answer would end with the connection.
            let end = self.pending.bytes.len() - 2;
            self.pending.bytes.truncate(end);
            self.pending.bytes.extend_from_slice(b"content-length: 0\r\n\r\n");
        }
        self.body = Some(Incoming::new(body, framing, response.headers().get("content-length")));
        Poll::Ready(Ok(()))
    }
}
