//! Server-sent events: a stream without an end of its own, which is ended between two events when
//! its instance drains. Clients of such streams connect again by themselves.

use super::Body;
use super::chunked::{self, Chunked, Into};
use super::response::Response;
use super::transfer::{Fault, Transfer};
use crate::buffer::{BUFFER_BYTES, Buf, Scratch};
use crate::stream;
use crate::stream::client::ClientWrite;
use crate::stream::upstream::UpstreamRead;
use crate::watch::{Occupation, Side};
use std::io;

/// Where in a stream of events the bytes so far end. Lines end in LF, CR or CR LF, events in an
/// empty line.
#[derive(Debug)]
pub struct Events {
    /// Nothing of an event has been seen since the last empty line.
    between: bool,
    /// At the start of a line.
    line_start: bool,
    after_cr: bool,
}

impl Events {
    pub fn new() -> Self {
        Self { between: true, line_start: true, after_cr: false }
    }

    pub fn is_between(&self) -> bool {
        self.between
    }

    /// Follows all bytes.
    pub fn pass(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.byte(*byte));
    }

    /// Follows bytes to the first place between two events; how many that are, or `None` if all
    /// were followed without one.
    pub fn pass_event(&mut self, bytes: &[u8]) -> Option<usize> {
        let end = bytes.iter().position(|byte| {
            self.byte(*byte);
            self.between
        })?;
        // The LF of a CR LF belongs to the event it ends.
        let with_lf = self.after_cr && bytes.get(end + 1) == Some(&b'\n');
        self.after_cr &= !with_lf;
        Some(end + 1 + usize::from(with_lf))
    }

    fn byte(&mut self, byte: u8) {
        match byte {
            b'\n' if self.after_cr => self.after_cr = false,
            b'\n' | b'\r' => {
                self.between = self.line_start;
                self.line_start = true;
                self.after_cr = byte == b'\r';
            }
            _ => *self = Self { between: false, line_start: false, after_cr: false },
        }
    }
}

impl Transfer<'_> {
    /// Hands on events as they come; asked to end, it does so at the next place between two.
    pub(super) async fn forward_events(
        &self,
        response: Response,
        mut out: Scratch,
        read: &mut UpstreamRead<'_>,
        buf: &mut Buf,
        write: &mut ClientWrite<'_>,
    ) -> Result<Response, Fault> {
        self.watch.occupy(Occupation::Events);
        let into = if response.chunked { Into::Chunks } else { Into::Plain };
        let mut body = (response.body == Body::Chunked).then(Chunked::new);
        let mut events = Events::new();
        let mut read_to_end = false;
        loop {
            let ending = self.watch.ending();
            let mut ended = ending && events.is_between();
            let mut taken = Ok(0);
            if !ended {
                let mut plain = Scratch::take();
                taken = decode(body.as_mut(), buf.filled(), &mut plain);
                let told = if ending { events.pass_event(&plain) } else { None };
                ended = told.is_some();
                let told = told.unwrap_or_else(|| {
                    if !ending {
                        events.pass(&plain);
                    }
                    plain.len()
                });
                chunked::push_data(&plain[..told], into, &mut out);
            }
            let done = body.as_ref().map_or(read_to_end, Chunked::is_done);
            if (ended || done) && response.chunked {
                out.extend_from_slice(b"0\r\n\r\n");
            }
            self.final_head(write, &out).await?;
            buf.consume(taken.map_err(Fault::UpstreamBad)?);
            drop(out);
            if ended {
                // A client of a gateway that goes is better off with a connection to the next.
                let keep_client = response.keep_client && !self.watch.retires();
                return Ok(Response { reusable: false, keep_client, ..response });
            }
            if done {
                return Ok(response);
            }
            match self.await_event(&events, read, buf).await? {
                Some(0) if body.is_some() => return Err(Fault::UpstreamGone),
                Some(0) => read_to_end = true,
                _ => {}
            }
            out = Scratch::take();
        }
    }

    /// Reads more; `None` if the stream is asked to end instead.
    async fn await_event(
        &self,
        events: &Events,
        read: &mut UpstreamRead<'_>,
        buf: &mut Buf,
    ) -> Result<Option<usize>, Fault> {
        self.watch.attend(Side::Output, events.is_between());
        self.arm_upstream(self.rules.idle);
        let outcome = stream::fill(self.watch, Side::Output, read, buf, BUFFER_BYTES).await;
        self.watch.attend(Side::Output, false);
        match outcome {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(Fault::UpstreamSlow),
            Err(_) => Err(Fault::UpstreamGone),
        }
    }
}

/// Appends the content in `input` to `out`; returns how much of the input was taken.
fn decode(body: Option<&mut Chunked>, input: &[u8], out: &mut Vec<u8>) -> Result<usize, &'static str> {
    match body {
        Some(chunked) => chunked.step(input, Into::Plain, out),
        None => {
            out.extend_from_slice(input);
            Ok(input.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every place between two events in the text, however it arrives.
    fn check(text: &str, expect: &[usize]) {
        for piece in 1..=text.len() {
            let mut events = Events::new();
            let mut places = Vec::new();
            let mut at = 0;
            for part in text.as_bytes().chunks(piece) {
                let mut rest = part;
                while let Some(taken) = events.pass_event(rest) {
                    rest = &rest[taken..];
                    at += taken;
                    // The LF of a CR LF may only come with the next piece.
                    let lf_follows = text[..at].ends_with('\r') && text[at..].starts_with('\n');
                    places.push(at + usize::from(lf_follows));
                }
                at += rest.len();
            }
            places.dedup();
            assert_eq!(places, expect, "{text:?} in pieces of {piece}");
        }
    }

    #[test]
    fn events_end_in_an_empty_line_whatever_ends_a_line() {
        check("data: a\n\ndata: b\n\n", &[9, 18]);
        check("data: a\r\n\r\ndata: b\r\n\r\n", &[11, 22]);
        check("data: a\r\rdata: b\r\r", &[9, 18]);
        check("data: a\ndata: b\n\nx", &[17]);
        check("data: a\r\n", &[]);
    }

    #[test]
    fn nothing_sent_yet_is_between_and_half_a_line_is_not() {
        let mut events = Events::new();
        assert!(events.is_between());
        for (more, between) in
            [("da", false), ("ta: a\n", false), ("\n", true), (": ping\n\n", true), ("id", false)]
        {
            events.pass(more.as_bytes());
            assert_eq!(events.is_between(), between, "{more:?}");
        }
    }
}
