//! Reading and writing under a deadline, with as few system calls as there can be, whatever lies
//! between the bytes and the socket: `halves` is what that has to offer, `client` and `upstream` are
//! the two sides.

pub mod client;
pub mod halves;
pub mod upstream;

pub use client::ClientStream;
pub use halves::{Sink, Source};
pub use upstream::UpstreamStream;

use crate::buffer::{BUFFER_BYTES, Buf};
use crate::watch::{Side, Watch};
use socket2::{SockRef, TcpKeepalive};
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

/// A peer that is silent this long is asked whether it still lives, then three times more.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;
/// Bytes an instance does not acknowledge for this long mean that it is gone.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Reads what is there into `buf`, storage being held only once something is; 0 is the end.
pub async fn fill(
    watch: &Watch,
    side: Side,
    read: &mut impl Source,
    buf: &mut Buf,
    limit: usize,
) -> io::Result<usize> {
    watch.guard(side, |cx| poll_fill(cx, read, buf, limit)).await
}

fn poll_fill(
    cx: &mut Context<'_>,
    read: &mut impl Source,
    buf: &mut Buf,
    limit: usize,
) -> Poll<io::Result<usize>> {
    if read.poll_ready(cx)?.is_pending() {
        buf.release();
        return Poll::Pending;
    }
    let room = buf.room(limit);
    if room.is_empty() {
        return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
    }
    let mut room = ReadBuf::new(room);
    let outcome = read.poll_into(cx, &mut room);
    let count = room.filled().len();
    match outcome {
        Poll::Pending => {
            buf.release();
            Poll::Pending
        }
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Ready(Ok(())) => {
            buf.advance(count);
            Poll::Ready(Ok(count))
        }
    }
}

/// Writes all of `data`; every byte taken starts the time `stall` anew.
pub async fn write_all(
    watch: &Watch,
    side: Side,
    write: &mut impl Sink,
    data: &[u8],
    stall: Duration,
) -> io::Result<()> {
    let mut written = 0;
    while written < data.len() {
        watch.arm(side, stall);
        let count = watch.guard(side, |cx| write.poll_write(cx, &data[written..])).await?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        written += count;
    }
    watch.guard(side, |cx| write.poll_flush(cx)).await?;
    watch.disarm(side);
    Ok(())
}

/// Writes some of `data` without a limit of its own; a deadline set on the side still holds, but
/// being asked to end does not end it: what was read is still handed on.
pub async fn write_some(watch: &Watch, side: Side, write: &mut impl Sink, data: &[u8]) -> io::Result<usize> {
    let attentive = watch.attend(side, false);
    let mut outcome = watch.guard(side, |cx| write.poll_write(cx, data)).await;
    if outcome.is_ok()
        && let Err(error) = watch.guard(side, |cx| write.poll_flush(cx)).await
    {
        outcome = Err(error);
    }
    watch.attend(side, attentive);
    match outcome? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        count => Ok(count),
    }
}

/// Writes all of `data` in the same way.
pub async fn write_unhurried(
    watch: &Watch,
    side: Side,
    write: &mut impl Sink,
    data: &[u8],
) -> io::Result<()> {
    let mut written = 0;
    while written < data.len() {
        written += write_some(watch, side, write, &data[written..]).await?;
    }
    Ok(())
}

/// Says that nothing more will be written.
pub async fn finish(write: &mut impl Sink) {
    // The peer may already be gone, which is what was wanted.
    let _ = poll_fn(|cx| write.poll_finish(cx)).await;
}

/// True if the peer neither closed the connection nor sent anything.
pub fn is_quiet(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// The next close of the socket is a reset, by which the peer learns that something was lost.
pub fn reset_on_close(stream: &TcpStream) {
    // Failing that, the peer sees an ordinary end.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Ends a connection whose client may still be sending: it gets the answer before the reset.
pub async fn linger(stream: &mut ClientStream, watch: &Watch, limit: Duration, max_bytes: usize) {
    let (mut read, mut write) = stream.split();
    finish(&mut write).await;
    watch.arm(Side::Input, limit);
    let mut waste = Buf::default();
    let mut seen = 0;
    while let Ok(count @ 1..) = fill(watch, Side::Input, &mut read, &mut waste, BUFFER_BYTES).await {
        waste.consume(count);
        seen += count;
        if seen > max_bytes {
            break;
        }
    }
}

/// No delay for small writes, and a dead peer is noticed.
pub fn tune_client(stream: &TcpStream) {
    tune(stream);
}

pub fn tune_upstream(stream: &TcpStream) {
    tune(stream);
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED));
}

/// The options are improvements: a socket on which one fails still works.
fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}
