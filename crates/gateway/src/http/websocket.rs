//! A WebSocket connection: frames pass as they are, until it is asked to end. Then the client gets
//! a close frame, its answer goes on to the instance, and both ends are closed.
//!
//! ```text
//! instance ──frames──▶ [asked: rest of the frame] ──close──▶ client
//! instance ◀──frames, at last its close, or ours if it does not come── client
//! ```

use super::frames::{self, Frames};
use crate::buffer::{BUFFER_BYTES, Buf};
use crate::stream::{self, Sink, Source};
use crate::tcp::{Ends, Meter, both};
use crate::watch::{Occupation, Side, Watch};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// How long a client may take to answer a close frame before the instance is told without it.
const ANSWER: Duration = Duration::from_millis(500);
/// How long the closing may take altogether.
const CLOSING: Duration = Duration::from_millis(1500);

/// What the two directions know of each other.
struct Talk<'a> {
    watch: &'a Watch,
    stall: Duration,
    mask: [u8; 4],
    meter: &'a Meter<'a>,
    /// The client was sent a close frame of ours.
    told: Cell<bool>,
    /// The client has sent its close frame, or nothing more will come from it.
    answered: Cell<bool>,
    /// The frame that is being written to the instance could not be taken as a whole.
    torn: Cell<bool>,
}

/// Relays frames until one side ends or the connection is asked to.
pub async fn relay(watch: &Watch, ends: Ends<'_>, meter: &Meter<'_>, stall: Duration, mask: [u8; 4]) {
    watch.occupy(Occupation::Frames);
    watch.disarm(Side::Input);
    watch.disarm(Side::Output);
    let (told, answered, torn) = Default::default();
    let talk = Talk { watch, stall, mask, meter, told, answered, torn };
    let Ends { client, client_buf, upstream } = ends;
    let outcome = {
        let (mut client_read, mut client_write) = client.split();
        let (mut upstream_read, mut upstream_write) = upstream.stream.split();
        let up = talk.to_instance(&mut client_read, client_buf, &mut upstream_write);
        let down = talk.to_client(&mut upstream_read, &mut upstream.buf, &mut client_write);
        both(up, down).await
    };
    if outcome.is_err() {
        client.reset_on_close();
        upstream.stream.reset_on_close();
    }
}

/// How the frames of one direction came to an end.
#[derive(PartialEq)]
enum End {
    /// The sender has closed its side.
    Eof,
    /// Between two frames, where it was to stop.
    Stopped,
}

impl Talk<'_> {
    async fn to_client(
        &self,
        read: &mut impl Source,
        buf: &mut Buf,
        write: &mut impl Sink,
    ) -> io::Result<()> {
        let mut frames = Frames::default();
        let sent = |count| self.meter.sent(count);
        let asked = |frames: &Frames| self.watch.ending() && !frames.is_closed();
        let end = self.pass(Side::Output, read, buf, write, &mut frames, asked, sent).await?;
        if end == End::Eof {
            stream::finish(write).await;
            return Ok(());
        }
        let close = frames::close_from_server();
        stream::write_all(self.watch, Side::Output, write, &close, self.stall).await?;
        sent(close.len() as u64);
        self.told.set(true);
        self.watch.attend(Side::Input, false);
        self.watch.arm(Side::Input, ANSWER);
        self.watch.arm(Side::Output, CLOSING);
        // Nothing may follow a close frame; what the instance still says is lost with it.
        self.discard(Side::Output, read, buf, |bytes| {
            frames.pass(bytes);
            frames.is_closed() || self.answered.get()
        })
        .await;
        stream::finish(write).await;
        // The instance may still answer the close frame that was handed to it.
        self.discard(Side::Output, read, buf, |bytes| {
            frames.pass(bytes);
            frames.is_closed()
        })
        .await;
        Ok(())
    }

    async fn to_instance(
        &self,
        read: &mut impl Source,
        buf: &mut Buf,
        write: &mut impl Sink,
    ) -> io::Result<()> {
        let mut frames = Frames::default();
        let received = |count| self.meter.received(count);
        let stop = |frames: &Frames| self.told.get() && frames.is_closed();
        let end = match self.pass(Side::Input, read, buf, write, &mut frames, stop, received).await {
            Err(error) if !self.told.get() => return Err(error),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => End::Stopped,
            Err(_) => End::Eof,
            Ok(end) => end,
        };
        self.answered.set(true);
        if end == End::Eof && !self.told.get() {
            stream::finish(write).await;
            return Ok(());
        }
        // The client says nothing, or left without a word: the instance is told all the same.
        if !frames.is_closed() && frames.is_between() && !self.torn.get() {
            let close = frames::close_from_client(self.mask);
            stream::write_all(self.watch, Side::Input, write, &close, self.stall).await?;
        }
        if end == End::Stopped {
            self.watch.arm(Side::Input, CLOSING);
            self.discard(Side::Input, read, buf, |_| false).await;
        }
        Ok(())
    }

    /// Hands on whole frames until the end, or until `stop` between two of them. Asked to end, it
    /// stops reading further than the frame it is in.
    #[allow(clippy::too_many_arguments)]
    async fn pass(
        &self,
        side: Side,
        read: &mut impl Source,
        buf: &mut Buf,
        write: &mut impl Sink,
        frames: &mut Frames,
        stop: impl Fn(&Frames) -> bool,
        count: impl Fn(u64),
    ) -> io::Result<End> {
        loop {
            while !buf.is_empty() {
                if frames.is_between() && stop(frames) {
                    return Ok(End::Stopped);
                }
                let one_by_one = self.watch.ending();
                let taken = match one_by_one {
                    true => frames.pass_frame(buf.filled()),
                    false => {
                        frames.pass(buf.filled());
                        buf.len()
                    }
                };
                self.write(side, write, &buf.filled()[..taken]).await?;
                buf.consume(taken);
                count(taken as u64);
            }
            if frames.is_between() && stop(frames) {
                return Ok(End::Stopped);
            }
            self.watch.attend(side, side == Side::Output && frames.is_between() && !frames.is_closed());
            match stream::fill(self.watch, side, read, buf, BUFFER_BYTES).await {
                Ok(0) => return Ok(End::Eof),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes without a limit of its own: who takes nothing is found by the keep-alive probes, as
    /// with every stream of bytes. A deadline that is set on the side belongs to its reads.
    async fn write(&self, side: Side, write: &mut impl Sink, data: &[u8]) -> io::Result<()> {
        self.torn.set(self.torn.get() || side == Side::Input);
        stream::write_unhurried(self.watch, side, write, data).await?;
        self.torn.set(self.torn.get() && side == Side::Output);
        Ok(())
    }

    /// Reads and forgets until `done`, the end, or the time set for the side.
    async fn discard(
        &self,
        side: Side,
        read: &mut impl Source,
        buf: &mut Buf,
        mut done: impl FnMut(&[u8]) -> bool,
    ) {
        loop {
            let is_done = done(buf.filled());
            buf.consume(buf.len());
            if is_done {
                return;
            }
            let answered = self.answered.get();
            let mut filling = pin!(stream::fill(self.watch, side, read, buf, BUFFER_BYTES));
            let filled = poll_fn(|cx| match filling.as_mut().poll(cx) {
                // The other direction is polled first and may have changed what is waited for.
                Poll::Pending if self.answered.get() != answered => Poll::Ready(None),
                other => other.map(Some),
            })
            .await;
            if let Some(Ok(0) | Err(_)) = filled {
                return;
            }
        }
    }
}
