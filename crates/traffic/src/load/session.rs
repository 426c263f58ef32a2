//! A session of lines over plain TCP as its client sees it.

use super::failing::{Cause, Stage};
use super::streams::{Heard, Speaker, broken};
use crate::http::Wire;
use crate::report::{Class, Kind};
use std::io::ErrorKind;

pub struct Session {
    wire: Wire,
    number: usize,
    /// The line that was sent last and not yet answered.
    awaited: Option<String>,
}

impl Speaker for Session {
    const KIND: Kind = Kind::Session;

    fn new(wire: Wire, number: usize) -> Self {
        Self { wire, number, awaited: None }
    }

    async fn begin(&mut self) -> Result<(), Cause> {
        Ok(())
    }

    async fn say(&mut self, count: u64) -> Result<(), Cause> {
        let line = format!("line {count} of session {}\n", self.number);
        self.awaited = Some(line.clone());
        self.wire.send(line.as_bytes()).await.map_err(|e| Cause::of(&e, Stage::Sending))
    }

    async fn hear(&mut self) -> Result<Heard, Cause> {
        let line = match self.wire.line().await {
            Ok(line) => line,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof && self.wire.received.is_empty() => {
                return Ok(Heard::End);
            }
            Err(error) => return Err(broken(&error, Class::EndInAnswer)),
        };
        let awaited = self.awaited.take().unwrap_or_default();
        match line == awaited {
            true => Ok(Heard::Answer),
            false => Err(Cause::new(Class::WrongBody, format!("{line:?} instead of {awaited:?}"))),
        }
    }

    async fn part(self) -> Result<(), Cause> {
        Ok(())
    }

    async fn leave(mut self) -> Result<(), Cause> {
        use tokio::io::AsyncWriteExt as _;
        self.wire.stream.shutdown().await.map_err(|e| broken(&e, Class::EndInAnswer))?;
        while self.hear().await? != Heard::End {}
        Ok(())
    }

    fn local_port(&self) -> Option<u16> {
        self.wire.stream.local_addr().ok().map(|address| address.port())
    }
}
