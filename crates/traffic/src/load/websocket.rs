//! A WebSocket as its client sees it.

use super::failing::{Cause, Stage};
use super::streams::{Heard, Speaker, broken};
use crate::frame::{self, CLOSE, Frame, NORMAL, PING, PONG, TEXT};
use crate::http::Wire;
use crate::report::{Class, Kind};

/// Any key will do: there is nothing to keep from anybody.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const MASK: [u8; 4] = [0x5a, 0x17, 0xc3, 0x88];

pub struct WebSocket {
    wire: Wire,
    number: usize,
    /// The message that was sent last and not yet answered.
    awaited: Option<String>,
    /// Their close frame, once it came.
    closing: Option<Frame>,
}

impl Speaker for WebSocket {
    const KIND: Kind = Kind::WebSocket;

    fn new(wire: Wire, number: usize) -> Self {
        Self { wire, number, awaited: None, closing: None }
    }

    async fn begin(&mut self) -> Result<(), Cause> {
        let head = format!(
            "GET /ws HTTP/1.1\r\nHost: traffic\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        );
        self.wire.send(head.as_bytes()).await.map_err(|e| Cause::of(&e, Stage::Sending))?;
        let response = self.wire.response().await.map_err(|e| Cause::of(&e, Stage::Waiting))?;
        if response.status != 101 {
            return Err(Cause::new(Class::WrongStatus, format!("{} instead of 101", response.status)));
        }
        match response.fields.get("sec-websocket-accept") {
            Some(accept) if accept == frame::accept(KEY) => Ok(()),
            other => Err(Cause::new(Class::WrongForm, format!("accepted as {other:?}"))),
        }
    }

    async fn say(&mut self, count: u64) -> Result<(), Cause> {
        let message = format!("message {count} of WebSocket {}", self.number);
        self.awaited = Some(message.clone());
        let sent = self.wire.send(&Frame::text(&message).encode(Some(MASK))).await;
        // Their close frame may have come before; that is found when reading.
        sent.or_else(|error| if error.kind() == std::io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
            .map_err(|e| Cause::of(&e, Stage::Sending))
    }

    async fn hear(&mut self) -> Result<Heard, Cause> {
        loop {
            while let Some(received) = self.take()? {
                match received.opcode {
                    TEXT => return self.answered(&received),
                    CLOSE => {
                        self.closing = Some(received);
                        return Ok(Heard::End);
                    }
                    PING => {
                        let pong = Frame { opcode: PONG, ..received }.encode(Some(MASK));
                        self.wire.send(&pong).await.map_err(|e| broken(&e, Class::EndWithoutClose))?;
                    }
                    _ => {}
                }
            }
            let received = self.wire.fill().await.map_err(|e| broken(&e, Class::EndWithoutClose))?;
            if received == 0 {
                return Err(Cause::new(Class::EndWithoutClose, "the connection ended"));
            }
        }
    }

    /// Our close frame in answer, then the end by the other side.
    async fn part(mut self) -> Result<(), Cause> {
        let code = self.closing.as_ref().and_then(Frame::close_code).unwrap_or(NORMAL);
        // Whoever has said goodbye may be gone before he hears ours.
        let _ = self.wire.send(&Frame::close(code).encode(Some(MASK))).await;
        while self.wire.fill().await.is_ok_and(|bytes| bytes > 0) {
            self.wire.received.clear();
        }
        Ok(())
    }

    async fn leave(mut self) -> Result<(), Cause> {
        let close = Frame::close(NORMAL).encode(Some(MASK));
        self.wire.send(&close).await.map_err(|e| broken(&e, Class::EndWithoutClose))?;
        while self.hear().await? != Heard::End {}
        Ok(())
    }

    fn local_port(&self) -> Option<u16> {
        self.wire.stream.local_addr().ok().map(|address| address.port())
    }
}

impl WebSocket {
    fn take(&mut self) -> Result<Option<Frame>, Cause> {
        frame::take(&mut self.wire.received).map_err(|text| Cause::new(Class::WrongForm, text))
    }

    fn answered(&mut self, received: &Frame) -> Result<Heard, Cause> {
        let awaited = self.awaited.take().unwrap_or_default();
        match received.payload == awaited.as_bytes() {
            true => Ok(Heard::Answer),
            false => {
                let came = String::from_utf8_lossy(&received.payload);
                Err(Cause::new(Class::WrongBody, format!("{came:?} instead of {awaited:?}")))
            }
        }
    }
}
