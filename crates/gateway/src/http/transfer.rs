//! The two directions of one exchange: the request going up, the response coming down. They run
//! side by side in one task, since either may be waiting for the other.

use super::Body;
use super::chunked::{self, Chunked, Into};
use super::field;
use super::grpc;
use super::mirror::Copy;
use super::negotiate::Offer;
use super::request::Request;
use super::response::{self, Asked, Response};
use crate::buffer::{BUFFER_BYTES, Buf, Scratch};
use crate::counters::Shard;
use crate::options::{Limits, MAX_HEAD_BYTES, MAX_INTERIM};
use crate::stream;
use crate::stream::client::{ClientRead, ClientWrite};
use crate::stream::upstream::{UpstreamRead, UpstreamWrite};
use crate::watch::{Side, Watch};
use model::rule::HeaderEdits;
use std::cell::Cell;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

/// What ended an exchange early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    ClientGone,
    ClientSlow,
    /// The request's body is framed wrongly.
    ClientBad(&'static str),
    UpstreamGone,
    /// The instance has surely not done anything about the request.
    UpstreamRefused,
    UpstreamSlow,
    /// The response is framed wrongly.
    UpstreamBad(&'static str),
    /// It speaks HTTP/2 and has not said that it takes WebSockets (RFC 8441).
    NoWebSocket,
    /// It was tried again after a pause, and is silent.
    Stalled,
    /// The instance says with this status that another may do better.
    Declined(u16),
    /// The time the instance, or the gateway, had to finish is over.
    Cut,
}

/// One exchange with what both directions have to know of each other.
pub struct Transfer<'a> {
    pub watch: &'a Watch,
    pub limits: &'a Limits,
    pub request: &'a Request,
    pub public: bool,
    pub rules: Rules<'a>,
    pub listener: &'a Shard,
    pub endpoint: &'a Shard,
    /// Bytes of the request's body were taken from the client: it cannot be sent again.
    pub consumed: Cell<bool>,
    pub request_done: Cell<bool>,
    /// The upstream sent at least one byte.
    pub answered: Cell<bool>,
    /// The final response's head went to the client.
    pub head_sent: Cell<bool>,
    /// When that was, of a request that is recorded.
    pub head_at: Cell<Option<Instant>>,
    pub status: Cell<u16>,
    pub bytes_in: Cell<u64>,
    pub bytes_out: Cell<u64>,
    /// How a call by gRPC ended at the instance.
    pub grpc_status: Cell<Option<u32>>,
    /// When the request was on its way completely.
    sent_ms: Cell<u64>,
    /// The same to the microsecond, where somebody asks for it.
    sent_at: Cell<Option<Instant>>,
    /// One direction came to its end before its time; the other gets a little longer.
    half_closed: Cell<bool>,
}

/// Told how long after the request was sent its answer has begun.
pub type Answered<'a> = dyn Fn(Duration, &Response) + 'a;

/// What the service's policy, and how often it was tried, ask of one attempt.
pub struct Rules<'a> {
    pub response: Duration,
    pub idle: Duration,
    /// How often to look around while the instance is silent, and whether to give it up, told since
    /// when it is waited for.
    pub stall: Option<Duration>,
    pub is_stalled: &'a dyn Fn(u64) -> bool,
    /// Whether an answer with this status is given up for another attempt.
    pub declines: &'a dyn Fn(u16) -> bool,
    pub answered: Option<&'a Answered<'a>>,
    /// Changes to the header of an answer to what no rule takes.
    pub edits: Option<&'a HeaderEdits>,
    /// What is sent is copied, too.
    pub copy: Option<&'a Copy>,
    /// How the answer may be compressed.
    pub offer: Option<Offer<'a>>,
}

/// The client's side and the upstream's side, each as (read, its buffer, write).
pub struct Ends<'e, 's> {
    pub client: (&'e mut ClientRead<'s>, &'e mut Buf, &'e mut ClientWrite<'s>),
    pub upstream: (&'e mut UpstreamRead<'s>, &'e mut Buf, &'e mut UpstreamWrite<'s>),
}

impl<'a> Transfer<'a> {
    pub fn new(
        watch: &'a Watch,
        limits: &'a Limits,
        request: &'a Request,
        public: bool,
        rules: Rules<'a>,
        listener: &'a Shard,
        endpoint: &'a Shard,
    ) -> Self {
        Self {
            watch,
            limits,
            request,
            public,
            rules,
            listener,
            endpoint,
            consumed: Cell::new(false),
            request_done: Cell::new(false),
            answered: Cell::new(false),
            head_sent: Cell::new(false),
            head_at: Cell::new(None),
            status: Cell::new(0),
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            grpc_status: Cell::new(None),
            sent_ms: Cell::new(0),
            sent_at: Cell::new(None),
            half_closed: Cell::new(false),
        }
    }

    /// Sends the request and the response; completes with the response.
    pub async fn run(&self, head: &[u8], ends: Ends<'_, '_>) -> Result<Response, Fault> {
        let Ends { client: (client_read, client_buf, client_write), upstream } = ends;
        let (upstream_read, upstream_buf, upstream_write) = upstream;
        let mut up = pin!(self.upload(head, client_read, client_buf, upstream_write));
        let mut down = pin!(self.respond(upstream_read, upstream_buf, client_write));
        let mut sending = true;
        poll_fn(|cx| {
            if sending {
                match up.as_mut().poll(cx) {
                    // An upstream that stops reading may have answered already.
                    Poll::Ready(Fault::UpstreamGone | Fault::UpstreamRefused) => {
                        sending = false;
                        self.half_closed.set(true);
                        self.watch.arm(Side::Output, self.limits.half_closed);
                    }
                    Poll::Ready(fault) => return Poll::Ready(Err(fault)),
                    Poll::Pending => {}
                }
            }
            down.as_mut().poll(cx)
        })
        .await
    }

    /// Sends head and body, then watches the client; completes only with what went wrong.
    async fn upload(
        &self,
        head: &[u8],
        read: &mut ClientRead<'_>,
        buf: &mut Buf,
        write: &mut UpstreamWrite<'_>,
    ) -> Fault {
        match self.send_request(head, read, buf, write).await {
            Ok(()) => {}
            Err(fault) => return fault,
        }
        self.request_done.set(true);
        self.sent_ms.set(self.watch.now_ms());
        if let Some(copy) = self.rules.copy {
            copy.send();
        }
        if self.rules.answered.is_some() {
            self.sent_at.set(Some(Instant::now()));
        }
        let wait = if self.head_sent.get() { self.rules.idle } else { self.patience() };
        self.watch.arm(Side::Output, wait);
        self.watch.disarm(Side::Input);
        if buf.is_empty() {
            match stream::fill(self.watch, Side::Input, read, buf, BUFFER_BYTES).await {
                Ok(0) => {
                    self.half_closed.set(true);
                    self.watch.arm(Side::Output, self.limits.half_closed);
                }
                Ok(_) => {}
                Err(_) => return Fault::ClientGone,
            }
        }
        pending().await
    }

    async fn send_request(
        &self,
        head: &[u8],
        read: &mut ClientRead<'_>,
        buf: &mut Buf,
        write: &mut UpstreamWrite<'_>,
    ) -> Result<(), Fault> {
        match self.request.body {
            Body::Length(length) if length > 0 => self.send_length(head, length, read, buf, write).await,
            Body::Chunked => self.send_chunks(head, read, buf, write).await,
            _ => self.to_upstream(write, head).await,
        }
    }

    async fn send_length(
        &self,
        head: &[u8],
        length: u64,
        read: &mut ClientRead<'_>,
        buf: &mut Buf,
        write: &mut UpstreamWrite<'_>,
    ) -> Result<(), Fault> {
        let mut left = length;
        let mut first = Scratch::take();
        first.extend_from_slice(head);
        left -= self.take_up(buf, left, |bytes| first.extend_from_slice(bytes));
        self.to_upstream(write, &first).await?;
        drop(first);
        let mut pace = Pace::new(self);
        while left > 0 {
            pace.fill(self, read, buf).await?;
            let count = left.min(buf.len() as u64) as usize;
            self.to_upstream(write, &buf.filled()[..count]).await?;
            left -= self.take_up(buf, left, |_| ());
        }
        Ok(())
    }

    async fn send_chunks(
        &self,
        head: &[u8],
        read: &mut ClientRead<'_>,
        buf: &mut Buf,
        write: &mut UpstreamWrite<'_>,
    ) -> Result<(), Fault> {
        let mut chunked = Chunked::new();
        let mut pace = Pace::new(self);
        let mut out = Scratch::take();
        out.extend_from_slice(head);
        loop {
            let taken = chunked.step(buf.filled(), Into::Chunks, &mut out);
            let taken = taken.map_err(Fault::ClientBad)? as u64;
            self.take_up(buf, taken, |_| ());
            self.to_upstream(write, &out).await?;
            drop(out);
            if chunked.is_done() {
                return Ok(());
            }
            pace.fill(self, read, buf).await?;
            out = Scratch::take();
        }
    }

    /// Consumes at most `most` bytes of the request's body.
    fn take_up(&self, buf: &mut Buf, most: u64, mut with: impl FnMut(&[u8])) -> u64 {
        let count = most.min(buf.len() as u64) as usize;
        if count > 0 {
            with(&buf.filled()[..count]);
            buf.consume(count);
            self.consumed.set(true);
            self.bytes_in.set(self.bytes_in.get() + count as u64);
            self.listener.received(count as u64);
            self.endpoint.received(count as u64);
        }
        count as u64
    }

    async fn to_upstream(&self, write: &mut UpstreamWrite<'_>, data: &[u8]) -> Result<(), Fault> {
        if let Some(copy) = self.rules.copy {
            copy.add(data);
        }
        stream::write_all(self.watch, Side::Input, write, data, self.limits.write_stall).await.map_err(
            |error| match error.kind() {
                io::ErrorKind::TimedOut => Fault::UpstreamSlow,
                _ => upstream_fault(&error),
            },
        )
    }

    pub(super) async fn to_client(&self, write: &mut ClientWrite<'_>, data: &[u8]) -> Result<(), Fault> {
        if data.is_empty() {
            return Ok(());
        }
        stream::write_all(self.watch, Side::Output, write, data, self.limits.write_stall)
            .await
            .map_err(|_| Fault::ClientGone)?;
        let count = data.len() as u64;
        self.bytes_out.set(self.bytes_out.get() + count);
        self.listener.sent(count);
        self.endpoint.sent(count);
        Ok(())
    }

    /// Reads more of the response; 0 is its end.
    pub(super) async fn await_upstream(
        &self,
        read: &mut UpstreamRead<'_>,
        buf: &mut Buf,
        limit: usize,
        wait: Duration,
    ) -> Result<usize, Fault> {
        self.arm_upstream(wait);
        stream::fill(self.watch, Side::Output, read, buf, limit).await.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => Fault::UpstreamSlow,
            _ => upstream_fault(&error),
        })
    }

    /// Sets how long the upstream may be silent.
    pub(super) fn arm_upstream(&self, wait: Duration) {
        let wait = if self.half_closed.get() { self.limits.half_closed.min(wait) } else { wait };
        if self.request_done.get() || self.half_closed.get() {
            self.watch.arm(Side::Output, wait);
        } else {
            self.watch.disarm(Side::Output);
        }
    }

    async fn respond(
        &self,
        read: &mut UpstreamRead<'_>,
        buf: &mut Buf,
        write: &mut ClientWrite<'_>,
    ) -> Result<Response, Fault> {
        let (response, mut out) = self.response_head(read, buf, write).await?;
        self.status.set(response.status);
        self.grpc_status.set(response.grpc_status);
        if let Some(answered) = self.rules.answered {
            answered(self.sent_at.get().map(|sent| sent.elapsed()).unwrap_or_default(), &response);
        }
        if !self.consumed.get() && (self.rules.declines)(response.status) {
            return Err(Fault::Declined(response.status));
        }
        if let Some(encoding) = response.encoding {
            // Boxed so that other exchanges do not carry the room this needs.
            Box::pin(self.forward_encoded((encoding, response.body), out, read, buf, write)).await?;
            return Ok(response);
        }
        match response.body {
            Body::Chunked | Body::UntilClose if response.events => {
                return self.forward_events(response, out, read, buf, write).await;
            }
            Body::None => self.final_head(write, &out).await?,
            Body::Length(length) => {
                let count = length.min(buf.len() as u64) as usize;
                out.extend_from_slice(&buf.filled()[..count]);
                buf.consume(count);
                self.final_head(write, &out).await?;
                drop(out);
                self.send_rest(length - count as u64, read, buf, write).await?;
            }
            Body::Chunked => self.forward_chunks(out, response.chunked, read, buf, write).await?,
            Body::UntilClose => self.forward_until_close(out, response.chunked, read, buf, write).await?,
        }
        Ok(response)
    }

    pub(super) async fn final_head(&self, write: &mut ClientWrite<'_>, out: &[u8]) -> Result<(), Fault> {
        self.head_sent.set(true);
        if self.request.recording.is_some() && self.head_at.get().is_none() {
            self.head_at.set(Some(Instant::now()));
        }
        self.to_client(write, out).await
    }

    /// Reads heads until the final one, handing on the interim ones the client understands.
    async fn response_head(
        &self,
        read: &mut UpstreamRead<'_>,
        buf: &mut Buf,
        write: &mut ClientWrite<'_>,
    ) -> Result<(Response, Scratch), Fault> {
        for _ in 0..MAX_INTERIM {
            let length = self.read_head(read, buf).await?;
            let asked = Asked {
                head: self.request.head,
                http10: self.request.http10,
                keep_alive: self.request.keep_alive && self.request_done.get() && !self.watch.retires(),
                upgrade: self.request.upgrade,
                edits: match &self.request.rule {
                    Some(_) => self.request.response_edits(),
                    None => self.rules.edits,
                },
                offer: self.rules.offer.map(Offer::as_there_is_room),
            };
            let mut out = Scratch::take();
            let response =
                response::rewrite(&buf.filled()[..length], &asked, &mut out).map_err(Fault::UpstreamBad)?;
            buf.consume(length);
            if response.status >= 200 || response.status == 101 {
                return Ok((response, out));
            }
            if !self.request.http10 && (response.status != 100 || self.request.expect) {
                self.to_client(write, &out).await?;
            }
        }
        Err(Fault::UpstreamBad("there are too many interim responses"))
    }

    /// How long to wait for the response's header before looking around, or giving up.
    fn patience(&self) -> Duration {
        let Some(stall) = self.rules.stall else { return self.rules.response };
        let left = self.rules.response.saturating_sub(self.waited());
        left.min(stall)
    }

    fn waited(&self) -> Duration {
        match self.sent_ms.get() {
            0 => Duration::ZERO,
            sent => Duration::from_millis(self.watch.now_ms().saturating_sub(sent)),
        }
    }

    fn is_overdue(&self) -> bool {
        self.rules.stall.is_none() || self.half_closed.get() || self.waited() >= self.rules.response
    }

    async fn read_head(&self, read: &mut UpstreamRead<'_>, buf: &mut Buf) -> Result<usize, Fault> {
        let mut from = 0;
        loop {
            if let Some(length) = field::head_end(buf.filled(), &mut from) {
                return Ok(length);
            }
            if buf.len() >= MAX_HEAD_BYTES {
                return Err(Fault::UpstreamBad("the response header is too long"));
            }
            match self.await_upstream(read, buf, MAX_HEAD_BYTES, self.patience()).await {
                Ok(0) => return Err(Fault::UpstreamGone),
                Ok(_) => self.answered.set(true),
                Err(Fault::UpstreamSlow) if !self.is_overdue() => {
                    if (self.rules.is_stalled)(self.sent_ms.get()) {
                        return Err(Fault::Stalled);
                    }
                }
                Err(fault) => return Err(fault),
            }
        }
    }

    async fn send_rest(
        &self,
        mut left: u64,
        read: &mut UpstreamRead<'_>,
        buf: &mut Buf,
        write: &mut ClientWrite<'_>,
    ) -> Result<(), Fault> {
        while left > 0 {
            if self.await_upstream(read, buf, BUFFER_BYTES, self.rules.idle).await? == 0 {
                return Err(Fault::UpstreamGone);
            }
            let count = left.min(buf.len() as u64) as usize;
            self.to_client(write, &buf.filled()[..count]).await?;
            buf.consume(count);
            left -= count as u64;
        }
        Ok(())
    }

    async fn forward_chunks(
        &self,
        mut out: Scratch,
        chunks: bool,
        read: &mut UpstreamRead<'_>,
        buf: &mut Buf,
        write: &mut ClientWrite<'_>,
    ) -> Result<(), Fault> {
        let into = if chunks { Into::Chunks } else { Into::Plain };
        let mut chunked = Chunked::new();
        loop {
            let taken = chunked.step(buf.filled(), into, &mut out);
            // What was decoded before the fault is the client's; the end it waits for never comes.
            self.final_head(write, &out).await?;
            buf.consume(taken.map_err(Fault::UpstreamBad)?);
            drop(out);
            if chunked.is_done() {
                if self.request.call.is_one {
                    self.grpc_status.set(grpc::status_in(chunked.trailers()));
                }
                return Ok(());
            }
            if self.await_upstream(read, buf, BUFFER_BYTES, self.rules.idle).await? == 0 {
                return Err(Fault::UpstreamGone);
            }
            out = Scratch::take();
        }
    }

    async fn forward_until_close(
        &self,
        mut out: Scratch,
        chunks: bool,
        read: &mut UpstreamRead<'_>,
        buf: &mut Buf,
        write: &mut ClientWrite<'_>,
    ) -> Result<(), Fault> {
        let into = if chunks { Into::Chunks } else { Into::Plain };
        loop {
            chunked::push_data(buf.filled(), into, &mut out);
            buf.consume(buf.len());
            self.final_head(write, &out).await?;
            drop(out);
            if self.await_upstream(read, buf, BUFFER_BYTES, self.rules.idle).await? == 0 {
                break;
            }
            out = Scratch::take();
        }
        if chunks { self.to_client(write, b"0\r\n\r\n").await } else { Ok(()) }
    }
}

/// What an instance's connection broke by, see [`crate::http2`] for the kinds a socket does not know.
fn upstream_fault(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Fault::UpstreamRefused,
        io::ErrorKind::Unsupported => Fault::NoWebSocket,
        io::ErrorKind::InvalidData => Fault::UpstreamBad("the instance does not keep to HTTP/2"),
        io::ErrorKind::InvalidInput => Fault::UpstreamBad("the request cannot be said in HTTP/2"),
        _ => Fault::UpstreamGone,
    }
}

/// How fast a client must send its body.
struct Pace {
    window: Duration,
    window_end_ms: u64,
    received: u64,
    enough: u64,
}

impl Pace {
    fn new(transfer: &Transfer<'_>) -> Self {
        // Calls may be conversations, in which either side is silent as long as it likes.
        let is_call = transfer.request.call.is_one;
        let window = if is_call { transfer.rules.idle } else { transfer.limits.body_progress };
        // Between services a slow stream is a way of working, from outside it is an attack.
        let enough = if transfer.public && !is_call { transfer.limits.min_progress } else { 1 };
        Self { window, window_end_ms: transfer.watch.after(window), received: 0, enough }
    }
    async fn fill(
        &mut self,
        transfer: &Transfer<'_>,
        read: &mut ClientRead<'_>,
        buf: &mut Buf,
    ) -> Result<(), Fault> {
        transfer.watch.arm_at(Side::Input, self.window_end_ms);
        match stream::fill(transfer.watch, Side::Input, read, buf, BUFFER_BYTES).await {
            Ok(0) => Err(Fault::ClientGone),
            Ok(count) => {
                self.received += count as u64;
                if self.received >= self.enough {
                    self.received = 0;
                    self.window_end_ms = transfer.watch.after(self.window);
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(Fault::ClientSlow),
            Err(_) => Err(Fault::ClientGone),
        }
    }
}
