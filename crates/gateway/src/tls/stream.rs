//! A TLS session over a socket, for one task: reading waits without a buffer, and what was taken to
//! be written is on its way before more is taken.

use rustls::ServerConnection;
use socket2::SockRef;
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::ReadBuf;
use tokio::net::TcpStream;

pub struct TlsStream {
    socket: TcpStream,
    session: RefCell<ServerConnection>,
    /// Bytes that were decrypted and not read yet.
    plain: Cell<usize>,
    /// The client has said that nothing more comes.
    closed: Cell<bool>,
}

impl TlsStream {
    /// A session whose client has already sent `first`.
    pub fn begin(
        socket: TcpStream,
        config: Arc<rustls::ServerConfig>,
        mut first: &[u8],
    ) -> Result<Self, rustls::Error> {
        let mut session = ServerConnection::new(config)?;
        let mut failed = None;
        while !first.is_empty() && failed.is_none() {
            // A slice can always be read, and what does not fit is taken in the next round.
            if !matches!(session.read_tls(&mut first), Ok(1..)) {
                break;
            }
            failed = session.process_new_packets().err();
        }
        let (plain, closed) = (Cell::new(0), Cell::new(false));
        let stream = Self { socket, session: RefCell::new(session), plain, closed };
        match failed {
            None => Ok(stream),
            Some(error) => {
                stream.say_why();
                Err(error)
            }
        }
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// The protocol that was agreed on.
    pub fn protocol(&self) -> Option<Vec<u8>> {
        self.session.borrow().alpn_protocol().map(<[u8]>::to_vec)
    }

    /// Ready once both sides have agreed.
    pub fn poll_handshake(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_flush(cx))?;
            if !self.session.borrow().is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if ready!(self.poll_session(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Ready once there are bytes of the client, or its end.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.plain.get() == 0 && !self.closed.get() {
            if ready!(self.poll_session(cx))? == 0 {
                // An end that the client did not state could be anybody's.
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    pub fn poll_into(&self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_ready(cx))?;
        if self.plain.get() == 0 {
            return Poll::Ready(Ok(()));
        }
        let count = self.session.borrow_mut().reader().read(room.initialize_unfilled())?;
        self.plain.set(self.plain.get() - count);
        room.advance(count);
        Poll::Ready(Ok(()))
    }

    /// Takes some of `data` once everything before is with the kernel.
    pub fn poll_write(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(cx))?;
        let count = self.session.borrow_mut().writer().write(data)?;
        if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(count))
    }

    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut session = self.session.borrow_mut();
        while session.wants_write() {
            match session.write_tls(&mut Socket(&self.socket)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.socket.poll_write_ready(cx))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Says that nothing more comes, within the session and below it.
    pub fn poll_finish(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Further calls change nothing.
        self.session.borrow_mut().send_close_notify();
        ready!(self.poll_flush(cx))?;
        Poll::Ready(SockRef::from(&self.socket).shutdown(Shutdown::Write))
    }

    /// Reads from the socket once and decrypts what has become whole; 0 is the end of the socket.
    fn poll_session(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let count = loop {
            let read = self.session.borrow_mut().read_tls(&mut Socket(&self.socket));
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.socket.poll_read_ready(cx))?;
                }
                read => break read?,
            }
        };
        let state = self.session.borrow_mut().process_new_packets();
        match state {
            Ok(state) => {
                self.plain.set(state.plaintext_bytes_to_read());
                self.closed.set(state.peer_has_closed());
            }
            Err(error) => {
                self.say_why();
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
        }
        // Answers of the session itself; what the kernel does not take now goes with the next write.
        if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(count))
    }

    /// The alert that explains a failure, as far as the kernel takes it at once.
    fn say_why(&self) {
        let mut session = self.session.borrow_mut();
        while session.wants_write() && session.write_tls(&mut Socket(&self.socket)).is_ok() {}
    }
}

/// The socket as the session reads and writes it: at once or not at all.
struct Socket<'a>(&'a TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(room)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.try_write(data)
    }
    fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(data)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
