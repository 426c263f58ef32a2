//! Bytes from one side to the other until both have ended, each direction by itself.

use crate::buffer::{BUFFER_BYTES, Buf};
use crate::counters::Shard;
use crate::http::connection::Client;
use crate::http::exchange::connect;
use crate::http::pool::Upstream;
use crate::snapshot::Work;
use crate::stream;
use crate::watch::{Side, Watch};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

/// Instances tried for one connection.
const MAX_CONNECT_ATTEMPTS: usize = 2;

/// Relays a client's connection to an instance; `client.buf` may hold its first bytes.
pub async fn serve(mut client: Client) {
    let thread = client.worker.index;
    let route = client.route.clone();
    let listener = route.counters.shard(thread);
    listener.begin();
    match reach(&mut client).await {
        Some((mut upstream, work)) => {
            relay(&client.watch, &mut client.stream, &mut client.buf, &mut upstream, listener, work.shard())
                .await;
        }
        None => {
            listener.error();
            stream::reset_on_close(&client.stream);
        }
    }
    listener.end();
}

async fn reach(client: &mut Client) -> Option<(Upstream, Work)> {
    let mut tried = None;
    for _ in 0..MAX_CONNECT_ATTEMPTS {
        client.refresh();
        let worker = client.worker.clone();
        let now_ms = worker.registry.clock().now_ms();
        let Some(endpoint) = client.route.backend.choose(tried, now_ms, &worker.random) else {
            client.route.backend.without_endpoint.fetch_add(1, Relaxed);
            worker.say(&format!("no instance of {} is ready; connection reset", client.route.backend.id));
            return None;
        };
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

/// Relays until both directions have ended or one has failed; returns the bytes sent to the
/// client and received from it.
pub async fn relay(
    watch: &Watch,
    client: &mut TcpStream,
    client_buf: &mut Buf,
    upstream: &mut Upstream,
    listener: &Shard,
    endpoint: &Shard,
) -> (u64, u64) {
    watch.disarm(Side::Input);
    watch.disarm(Side::Output);
    let (sent, received) = (Cell::new(0u64), Cell::new(0u64));
    let failed = {
        let (mut client_read, mut client_write) = client.split();
        let (mut upstream_read, mut upstream_write) = upstream.stream.split();
        let count_up = |bytes: u64| {
            received.set(received.get() + bytes);
            listener.received(bytes);
            endpoint.received(bytes);
        };
        let count_down = |bytes: u64| {
            sent.set(sent.get() + bytes);
            listener.sent(bytes);
            endpoint.sent(bytes);
        };
        let up = copy(watch, Side::Input, &mut client_read, client_buf, &mut upstream_write, count_up);
        let down =
            copy(watch, Side::Output, &mut upstream_read, &mut upstream.buf, &mut client_write, count_down);
        both(up, down).await.is_err()
    };
    if failed {
        // Whoever still listens learns that the stream did not end, it broke.
        stream::reset_on_close(client);
        stream::reset_on_close(&upstream.stream);
    }
    (sent.get(), received.get())
}

/// Completes when both have, or with the first failure.
async fn both(
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

async fn copy(
    watch: &Watch,
    side: Side,
    read: &mut ReadHalf<'_>,
    buf: &mut Buf,
    write: &mut WriteHalf<'_>,
    count: impl Fn(u64),
) -> io::Result<()> {
    loop {
        while !buf.is_empty() {
            let written = poll_fn(|cx| Pin::new(&mut *write).poll_write(cx, buf.filled())).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            buf.consume(written);
            count(written as u64);
        }
        if stream::fill(watch, side, read, buf, BUFFER_BYTES).await? == 0 {
            stream::finish(write).await;
            return Ok(());
        }
    }
}
