//! The instance's side of a connection: what carries the bytes, chosen once and without boxes.

use super::halves::{Sink, Source};
use super::reset_on_close;
use crate::http2::upstream::Http2Upstream;
use std::io;
use std::task::{Context, Poll};
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

pub enum UpstreamStream {
    Plain(TcpStream),
    /// One stream of a connection of HTTP/2.
    Http2(Box<Http2Upstream>),
}

impl UpstreamStream {
    pub fn split(&mut self) -> (UpstreamRead<'_>, UpstreamWrite<'_>) {
        match self {
            Self::Plain(socket) => {
                let (read, write) = socket.split();
                (UpstreamRead::Plain(read), UpstreamWrite::Plain(write))
            }
            Self::Http2(stream) => (UpstreamRead::Http2(stream), UpstreamWrite::Http2(stream)),
        }
    }

    /// The next close is a reset, by which the instance learns that something was lost.
    pub fn reset_on_close(&self) {
        match self {
            Self::Plain(socket) => reset_on_close(socket),
            // Let go before its end, it is reset.
            Self::Http2(_) => {}
        }
    }
}

pub enum UpstreamRead<'a> {
    Plain(ReadHalf<'a>),
    Http2(&'a Http2Upstream),
}

impl Source for UpstreamRead<'_> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(read) => read.poll_ready(cx),
            Self::Http2(stream) => stream.poll_ready(cx),
        }
    }
    fn poll_into(&mut self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(read) => read.poll_into(cx, room),
            Self::Http2(stream) => stream.poll_into(cx, room),
        }
    }
}

pub enum UpstreamWrite<'a> {
    Plain(WriteHalf<'a>),
    Http2(&'a Http2Upstream),
}

impl Sink for UpstreamWrite<'_> {
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(write) => write.poll_write(cx, data),
            Self::Http2(stream) => stream.poll_write(cx, data),
        }
    }
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(write) => write.poll_flush(cx),
            Self::Http2(stream) => stream.poll_flush(cx),
        }
    }
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(write) => write.poll_finish(cx),
            Self::Http2(stream) => stream.poll_finish(cx),
        }
    }
}
