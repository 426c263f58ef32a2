//! Bytes from one side to the other until both have ended, each direction by itself.

use crate::buffer::{BUFFER_BYTES, Buf};
use crate::counters::Shard;
use crate::drain;
use crate::hold::{self, NoPlace, Woken};
use crate::http::connection::Client;
use crate::http::exchange::connect;
use crate::http::pool::Upstream;
use crate::snapshot::Work;
use crate::stream::{self, ClientStream, Sink, Source};
use crate::watch::{Occupation, Side, Watch};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

/// Instances tried for one connection, before it waits for others to come.
const MAX_CONNECT_ATTEMPTS: usize = 2;
/// How long both sides may take to end once they were told to.
const FAREWELL: Duration = Duration::from_secs(2);
/// A session in which nothing was said for this long is taken to be between two exchanges.
const QUIET: Duration = Duration::from_millis(300);

/// The two connections of a relay.
pub struct Ends<'a> {
    pub client: &'a mut ClientStream,
    pub client_buf: &'a mut Buf,
    pub upstream: &'a mut Upstream,
}

/// Counts what passes.
pub struct Meter<'a> {
    listener: &'a Shard,
    endpoint: &'a Shard,
    /// Of the caller.
    call: Option<&'a Shard>,
    /// Bytes to the client, and from it.
    pub out: Cell<u64>,
    pub back: Cell<u64>,
}

impl<'a> Meter<'a> {
    pub fn new(listener: &'a Shard, endpoint: &'a Shard, call: Option<&'a Shard>) -> Self {
        Self { listener, endpoint, call, out: Cell::new(0), back: Cell::new(0) }
    }
    pub fn sent(&self, bytes: u64) {
        self.out.set(self.out.get() + bytes);
        self.listener.sent(bytes);
        self.endpoint.sent(bytes);
        self.call.inspect(|call| call.sent(bytes));
    }
    pub fn received(&self, bytes: u64) {
        self.back.set(self.back.get() + bytes);
        self.listener.received(bytes);
        self.endpoint.received(bytes);
        self.call.inspect(|call| call.received(bytes));
    }
}

/// Relays a client's connection to an instance; `client.buf` may hold its first bytes.
pub async fn serve(mut client: Client) {
    let thread = client.worker.index;
    let route = client.route.clone();
    let listener = route.counters.shard(thread);
    listener.begin();
    let call = client.called(&route.backend);
    let call = call.as_deref();
    call.inspect(|call| {
        call.connection();
        call.begin();
    });
    match reach(&mut client).await {
        Some((mut upstream, work)) => {
            client.watch.join(work.endpoint.number);
            let meter = Meter::new(listener, work.shard(), call);
            let Client { stream, buf, watch, .. } = &mut client;
            relay(watch, Ends { client: stream, client_buf: buf, upstream: &mut upstream }, &meter).await;
            if client.watch.is_cut() {
                listener.error();
                call.inspect(|call| call.error());
                let instance = &work.endpoint.instance;
                client.worker.say(&format!("a session with {instance} was cut: its time to finish was over"));
            }
        }
        None => {
            listener.error();
            call.inspect(|call| call.error());
            client.stream.reset_on_close();
        }
    }
    listener.end();
    call.inspect(|call| call.end());
}

/// Connects to an instance, waiting for one if the backend says so.
async fn reach(client: &mut Client) -> Option<(Upstream, Work)> {
    let mut place = None;
    loop {
        if let Some(reached) = reach_now(client).await {
            return Some(reached);
        }
        let bytes = client.buf.footprint();
        match Box::pin(hold::until_ready(client, &mut place, bytes)).await {
            Ok(Woken::TryAgain) => {}
            Ok(Woken::ClientGone) => return None,
            Ok(Woken::TimeOver) => return refused(client, "in time"),
            Err(NoPlace::NotWanted) => return refused(client, "now"),
            Err(NoPlace::Full | NoPlace::TooLarge) => return refused(client, "and too many wait"),
        }
    }
}

fn refused(client: &Client, how: &str) -> Option<(Upstream, Work)> {
    let backend = &client.route.backend;
    backend.without_endpoint.fetch_add(1, Relaxed);
    client.worker.say(&format!("no instance of {} takes connections {how}; connection reset", backend.id));
    None
}

async fn reach_now(client: &mut Client) -> Option<(Upstream, Work)> {
    let mut tried = None;
    for _ in 0..MAX_CONNECT_ATTEMPTS {
        client.refresh();
        let worker = client.worker.clone();
        let now_ms = worker.registry.clock().now_ms();
        let endpoint = client.route.backend.choose(tried, false, now_ms, &worker.random)?;
        if tried == Some(endpoint.number) {
            return None;
        }
        tried = Some(endpoint.number);
        let work = Work::begin(endpoint, worker.index);
        if let Ok(upstream) = connect(client, &work).await {
            return Some((upstream, work));
        }
    }
    None
}

/// Relays until both directions have ended, one has failed, or the connection is asked to end.
pub async fn relay(watch: &Watch, ends: Ends<'_>, meter: &Meter<'_>) {
    watch.occupy(Occupation::Bytes);
    watch.disarm(Side::Input);
    watch.disarm(Side::Output);
    let Ends { client, client_buf, upstream } = ends;
    let session = Session { watch, heard_ms: Cell::new(watch.now_ms()) };
    let outcome = {
        let (mut client_read, mut client_write) = client.split();
        let (mut upstream_read, mut upstream_write) = upstream.stream.split();
        let buf = &mut upstream.buf;
        let up = session.copy(Side::Input, &mut client_read, client_buf, &mut upstream_write, |n| {
            meter.received(n);
        });
        let down = session.copy(Side::Output, &mut upstream_read, buf, &mut client_write, |n| meter.sent(n));
        both(up, down).await
    };
    let ended = match outcome {
        // Both were told that nothing more comes, and may end by themselves.
        Ok(()) if watch.ending() => {
            watch.arm(Side::Input, FAREWELL);
            watch.arm(Side::Output, FAREWELL);
            let (mut client_read, _) = client.split();
            let (mut upstream_read, _) = upstream.stream.split();
            let up = forget(watch, Side::Input, &mut client_read, client_buf);
            let down = forget(watch, Side::Output, &mut upstream_read, &mut upstream.buf);
            both(up, down).await
        }
        outcome => outcome,
    };
    if ended.is_err() {
        // Whoever still listens learns that the stream did not end, it broke.
        client.reset_on_close();
        upstream.stream.reset_on_close();
    }
}

/// Completes when both have, or with the first failure.
pub async fn both(
    up: impl Future<Output = io::Result<()>>,
    down: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    let (mut up, mut down) = (pin!(up), pin!(down));
    let (mut up_done, mut down_done) = (false, false);
    poll_fn(|cx| {
        if !up_done && let Poll::Ready(outcome) = up.as_mut().poll(cx) {
            outcome?;
            up_done = true;
        }
        if !down_done && let Poll::Ready(outcome) = down.as_mut().poll(cx) {
            outcome?;
            down_done = true;
        }
        if up_done && down_done { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

/// A relay of bytes whose meaning is not known.
struct Session<'a> {
    watch: &'a Watch,
    /// When something was last said, by either side.
    heard_ms: Cell<u64>,
}

impl Session<'_> {
    /// Hands bytes on until their sender ends, or until the session was asked to end and is quiet.
    async fn copy(
        &self,
        side: Side,
        read: &mut impl Source,
        buf: &mut Buf,
        write: &mut impl Sink,
        count: impl Fn(u64),
    ) -> io::Result<()> {
        loop {
            while !buf.is_empty() {
                let written = stream::write_some(self.watch, side, write, buf.filled()).await?;
                buf.consume(written);
                count(written as u64);
            }
            if self.watch.ending() {
                self.watch.arm(side, QUIET);
            }
            self.watch.attend(side, !self.watch.ending());
            let ended = match stream::fill(self.watch, side, read, buf, BUFFER_BYTES).await {
                Ok(count) => {
                    self.heard_ms.set(self.watch.now_ms());
                    count == 0
                }
                Err(error) if is_look(&error) => self.may_end(),
                Err(error) => return Err(error),
            };
            if ended {
                stream::finish(write).await;
                return Ok(());
            }
        }
    }

    /// Quiet enough, or too late to wait for that.
    fn may_end(&self) -> bool {
        let now_ms = self.watch.now_ms();
        now_ms >= self.heard_ms.get() + QUIET.as_millis() as u64
            || now_ms + drain::FAREWELL.as_millis() as u64 >= self.watch.drain.cut_at.get()
    }
}

/// The session is asked to end, or has been quiet since it was.
fn is_look(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::TimedOut)
}

/// Reads to the end what nobody can be given any more.
async fn forget(watch: &Watch, side: Side, read: &mut impl Source, buf: &mut Buf) -> io::Result<()> {
    watch.attend(side, false);
    loop {
        buf.consume(buf.len());
        if stream::fill(watch, side, read, buf, BUFFER_BYTES).await? == 0 {
            return Ok(());
        }
    }
}
