//! The client's side of a connection: what carries the bytes, chosen once and without boxes.

use super::halves::{Sink, Source};
use super::reset_on_close;
use crate::http2::stream::Http2Stream;
use crate::tls::stream::TlsStream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

pub enum ClientStream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
    /// One stream of a connection of HTTP/2.
    Http2(Box<Http2Stream>),
}

impl ClientStream {
    pub fn split(&mut self) -> (ClientRead<'_>, ClientWrite<'_>) {
        match self {
            Self::Plain(socket) => {
                let (read, write) = socket.split();
                (ClientRead::Plain(read), ClientWrite::Plain(write))
            }
            Self::Tls(session) => (ClientRead::Tls(session), ClientWrite::Tls(session)),
            Self::Http2(stream) => (ClientRead::Http2(stream), ClientWrite::Http2(stream)),
        }
    }

    /// Nobody between the client and this process can read it.
    pub fn is_secured(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(_) => true,
            Self::Http2(stream) => stream.secured,
        }
    }

    /// What both sides agreed to speak.
    pub fn protocol(&self) -> Option<Vec<u8>> {
        match self {
            Self::Plain(_) | Self::Http2(_) => None,
            Self::Tls(session) => session.protocol(),
        }
    }

    /// The address the client connected to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plain(socket) => socket.local_addr(),
            Self::Tls(session) => session.socket().local_addr(),
            Self::Http2(stream) => Ok(stream.local),
        }
    }

    /// The client has closed the connection, or its side of it, even with bytes still unread.
    pub fn is_gone(&self) -> bool {
        let socket = match self {
            Self::Plain(socket) => socket,
            Self::Tls(session) => session.socket(),
            Self::Http2(stream) => return stream.is_gone(),
        };
        let mut asked = [PollFd::new(socket, PollFlags::RDHUP)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        poll(&mut asked, Some(&at_once)).is_ok() && asked[0].revents().intersects(gone)
    }

    /// The next close is a reset, by which the client learns that something was lost.
    pub fn reset_on_close(&self) {
        match self {
            Self::Plain(socket) => reset_on_close(socket),
            Self::Tls(session) => reset_on_close(session.socket()),
            Self::Http2(stream) => stream.reset(),
        }
    }

    /// What is spoken, as records name it.
    pub fn http_version(&self) -> &'static str {
        match self {
            Self::Plain(_) | Self::Tls(_) => "1.1",
            Self::Http2(_) => "2",
        }
    }
}

pub enum ClientRead<'a> {
    Plain(ReadHalf<'a>),
    Tls(&'a TlsStream),
    Http2(&'a Http2Stream),
}

impl Source for ClientRead<'_> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(read) => read.poll_ready(cx),
            Self::Tls(session) => session.poll_ready(cx),
            Self::Http2(stream) => stream.poll_ready(cx),
        }
    }
    fn poll_into(&mut self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(read) => read.poll_into(cx, room),
            Self::Tls(session) => session.poll_into(cx, room),
            Self::Http2(stream) => stream.poll_into(cx, room),
        }
    }
}

pub enum ClientWrite<'a> {
    Plain(WriteHalf<'a>),
    Tls(&'a TlsStream),
    Http2(&'a Http2Stream),
}

impl Sink for ClientWrite<'_> {
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(write) => write.poll_write(cx, data),
            Self::Tls(session) => session.poll_write(cx, data),
            Self::Http2(stream) => stream.poll_write(cx, data),
        }
    }
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(write) => write.poll_flush(cx),
            Self::Tls(session) => session.poll_flush(cx),
            Self::Http2(stream) => stream.poll_flush(cx),
        }
    }
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(write) => write.poll_finish(cx),
            Self::Tls(session) => session.poll_finish(cx),
            Self::Http2(stream) => stream.poll_finish(cx),
        }
    }
}
