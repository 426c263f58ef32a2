//! The instance's side of a connection: what carries the bytes, chosen once and without boxes.

use super::halves::{Sink, Source};
use super::reset_on_close;
use std::io;
use std::task::{Context, Poll};
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

pub enum UpstreamStream {
    Plain(TcpStream),
}

impl UpstreamStream {
    pub fn split(&mut self) -> (UpstreamRead<'_>, UpstreamWrite<'_>) {
        match self {
            Self::Plain(socket) => {
                let (read, write) = socket.split();
                (UpstreamRead::Plain(read), UpstreamWrite::Plain(write))
            }
        }
    }

    /// The next close is a reset, by which the instance learns that something was lost.
    pub fn reset_on_close(&self) {
        match self {
            Self::Plain(socket) => reset_on_close(socket),
        }
    }
}

pub enum UpstreamRead<'a> {
    Plain(ReadHalf<'a>),
}

impl Source for UpstreamRead<'_> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(read) => read.poll_ready(cx),
        }
    }
    fn poll_into(&mut self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(read) => read.poll_into(cx, room),
        }
    }
}

pub enum UpstreamWrite<'a> {
    Plain(WriteHalf<'a>),
}

impl Sink for UpstreamWrite<'_> {
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(write) => write.poll_write(cx, data),
        }
    }
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(write) => write.poll_flush(cx),
        }
    }
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(write) => write.poll_finish(cx),
        }
    }
}
