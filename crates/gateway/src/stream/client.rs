//! The client's side of a connection: what carries the bytes, chosen once and without boxes.

use super::halves::{Sink, Source};
use super::reset_on_close;
use crate::http2::stream::Http2Stream;
use crate::tls::stream::TlsStream;
use ::http::HeaderMap;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

pub enum ClientStream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
    /// One stream of a connection of HTTP/2.
    Http2(Box<Http2Stream>),
    /// Nobody: what is read is in the buffer already, and what is written is thrown away.
    Nobody(Discard),
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
            Self::Nobody(discard) => (ClientRead::Nobody, ClientWrite::Nobody(discard)),
        }
    }

    /// Nobody between the client and this process can read it.
    pub fn is_secured(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Nobody(_) => false,
            Self::Tls(_) => true,
            Self::Http2(stream) => stream.secured,
        }
    }

    /// What both sides agreed to speak.
    pub fn protocol(&self) -> Option<Vec<u8>> {
        match self {
            Self::Plain(_) | Self::Http2(_) | Self::Nobody(_) => None,
            Self::Tls(session) => session.protocol(),
        }
    }

    /// The address the client connected to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plain(socket) => socket.local_addr(),
            Self::Tls(session) => session.socket().local_addr(),
            Self::Http2(stream) => Ok(stream.local),
            Self::Nobody(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// The client has closed the connection, or its side of it, even with bytes still unread.
    pub fn is_gone(&self) -> bool {
        let socket = match self {
            Self::Plain(socket) => socket,
            Self::Tls(session) => session.socket(),
            Self::Http2(stream) => return stream.is_gone(),
            Self::Nobody(discard) => return discard.has_enough(),
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
            Self::Nobody(_) => {}
        }
    }

    /// Ends an answer that has begun with trailers, where its protocol has them and its length is
    /// not given; false where it can only be reset.
    pub fn break_off(&self, trailers: impl FnOnce() -> HeaderMap) -> bool {
        match self {
            Self::Http2(stream) => stream.break_off(trailers()),
            Self::Plain(_) | Self::Tls(_) | Self::Nobody(_) => false,
        }
    }

    /// What is spoken, as records name it.
    pub fn http_version(&self) -> &'static str {
        match self {
            Self::Plain(_) | Self::Tls(_) | Self::Nobody(_) => "1.1",
            Self::Http2(_) => "2",
        }
    }
}

/// Takes an answer for nobody, up to a moment and so many bytes.
pub struct Discard {
    pub until: Instant,
    pub left: Cell<u64>,
}

impl Discard {
    fn has_enough(&self) -> bool {
        self.left.get() == 0 || Instant::now() >= self.until
    }
    fn take(&self, data: &[u8]) -> io::Result<usize> {
        if self.has_enough() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.left.set(self.left.get().saturating_sub(data.len() as u64));
        Ok(data.len())
    }
}

pub enum ClientRead<'a> {
    Plain(ReadHalf<'a>),
    Tls(&'a TlsStream),
    Http2(&'a Http2Stream),
    Nobody,
}

impl Source for ClientRead<'_> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(read) => read.poll_ready(cx),
            Self::Tls(session) => session.poll_ready(cx),
            Self::Http2(stream) => stream.poll_ready(cx),
            // Nobody says anything, and nobody goes away.
            Self::Nobody => Poll::Pending,
        }
    }
    fn poll_into(&mut self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(read) => read.poll_into(cx, room),
            Self::Tls(session) => session.poll_into(cx, room),
            Self::Http2(stream) => stream.poll_into(cx, room),
            Self::Nobody => Poll::Pending,
        }
    }
}

pub enum ClientWrite<'a> {
    Plain(WriteHalf<'a>),
    Tls(&'a TlsStream),
    Http2(&'a Http2Stream),
    Nobody(&'a Discard),
}

impl Sink for ClientWrite<'_> {
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(write) => write.poll_write(cx, data),
            Self::Tls(session) => session.poll_write(cx, data),
            Self::Http2(stream) => stream.poll_write(cx, data),
            Self::Nobody(discard) => Poll::Ready(discard.take(data)),
        }
    }
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(write) => write.poll_flush(cx),
            Self::Tls(session) => session.poll_flush(cx),
            Self::Http2(stream) => stream.poll_flush(cx),
            Self::Nobody(_) => Poll::Ready(Ok(())),
        }
    }
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(write) => write.poll_finish(cx),
            Self::Tls(session) => session.poll_finish(cx),
            Self::Http2(stream) => stream.poll_finish(cx),
            Self::Nobody(_) => Poll::Ready(Ok(())),
        }
    }
}
