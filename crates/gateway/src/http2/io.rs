//! A client's connection as the protocol's library reads and writes it.

use super::meter::Meter;
use crate::buffer::Buf;
use crate::stream::ClientStream;
use crate::stream::halves::{Sink, Source};
use crate::worker::Worker;
use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub struct Io {
    stream: ClientStream,
    /// Bytes that were read before it was known what is spoken.
    first: Buf,
    worker: Rc<Worker>,
    meter: Meter,
    flooded: Rc<Cell<bool>>,
}

impl Io {
    /// What floods sets `flooded`; nothing more is read from then on.
    pub fn new(stream: ClientStream, first: Buf, worker: Rc<Worker>, flooded: Rc<Cell<bool>>) -> Self {
        Self { stream, first, worker, meter: Meter::new(), flooded }
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        if io.flooded.get() {
            // Whoever drives the connection has to look.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = room.filled().len();
        if io.first.is_empty() {
            ready!(io.stream.split().0.poll_into(cx, room))?;
        } else {
            let count = io.first.len().min(room.remaining());
            room.put_slice(&io.first.filled()[..count]);
            io.first.consume(count);
            io.first.release();
        }
        io.meter.pass(&room.filled()[before..], io.worker.registry.clock().now_ms());
        io.flooded.set(io.meter.is_flooded());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.split().1.poll_write(cx, data)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let io = self.get_mut();
        match &mut io.stream {
            ClientStream::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, parts),
            other => {
                let first = parts.iter().find(|part| !part.is_empty());
                other.split().1.poll_write(cx, first.map_or(&[], |part| part))
            }
        }
    }
    fn is_write_vectored(&self) -> bool {
        matches!(self.stream, ClientStream::Plain(_))
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.split().1.poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.split().1.poll_finish(cx)
    }
}
