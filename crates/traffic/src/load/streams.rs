//! The constant WebSockets and sessions: each sends a message every second and wants it back; when
//! the other side ends one politely, the next one takes its place.

use super::failing::{Cause, Stage};
use super::pool::connect;
use super::record::{Failed, Record};
use super::request::ANSWER_LIMIT;
use crate::clock;
use crate::report::{Class, Kind, StreamReport};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Time between two messages of one stream.
pub const EVERY: Duration = Duration::from_secs(1);
/// A message that was sent so shortly before a polite end had not arrived when the other side made
/// up its mind; it is sent again on the next stream.
pub const CROSSING: Duration = Duration::from_millis(50);
/// Before another try after a failure.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the end of a stream may take once it was agreed on.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// What a protocol does on an open connection.
pub trait Speaker: Sized {
    const KIND: Kind;
    fn new(wire: crate::http::Wire, number: usize) -> Self;
    /// From the connection to the first message, such as a handshake.
    async fn begin(&mut self) -> Result<(), Cause>;
    /// Sends message `count`.
    async fn say(&mut self, count: u64) -> Result<(), Cause>;
    /// Waits for what comes: the answer to the last message, or a polite end of all. May be
    /// abandoned at any time.
    async fn hear(&mut self) -> Result<Heard, Cause>;
    /// Does what is left to do after a polite end that the other side began.
    async fn part(self) -> Result<(), Cause>;
    /// Ends it politely from here.
    async fn leave(self) -> Result<(), Cause>;
    fn local_port(&self) -> Option<u16>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    Answer,
    End,
}

#[derive(Clone)]
pub struct Streams {
    pub address: SocketAddr,
    pub record: Rc<RefCell<Record>>,
    pub stopping: watch::Receiver<bool>,
}

impl Streams {
    /// Keeps stream `number` of `of` going until the load stops.
    pub async fn keep<S: Speaker>(self, number: usize, of: usize) {
        // Spread over a second, and always at the same moment of it.
        let first =
            Instant::now() + EVERY * u32::try_from(number).unwrap_or(0) / u32::try_from(of).unwrap_or(1);
        tokio::time::sleep_until(first).await;
        while !*self.stopping.borrow() {
            let began_us = clock::now_us();
            let mut port = None;
            if let Err(cause) = self.one::<S>(number, first, &mut port).await {
                let failed = Failed { cause, on_kept_connection: false, local_port: port };
                self.record.borrow_mut().failed(S::KIND, began_us, failed);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// One stream from its connection to its end.
    async fn one<S: Speaker>(
        &self,
        number: usize,
        first: Instant,
        port: &mut Option<u16>,
    ) -> Result<(), Cause> {
        let mut speaker = S::new(connect(self.address).await?, number);
        *port = speaker.local_port();
        within(ANSWER_LIMIT, speaker.begin()).await?;
        self.count::<S>(|report| report.opened += 1);
        let mut count = 0;
        let mut stopping = self.stopping.clone();
        loop {
            let heard = tokio::select! {
                heard = speaker.hear() => heard?,
                () = tokio::time::sleep_until(next_moment(first)) => {
                    match self.message(&mut speaker, count).await? {
                        ControlFlow::Continue(()) => { count += 1; continue }
                        ControlFlow::Break(()) => Heard::End,
                    }
                }
                _ = stopping.wait_for(|stopping| *stopping) => return within(CLOSE_LIMIT, speaker.leave()).await,
            };
            if heard == Heard::End {
                self.count::<S>(|report| report.ended_politely += 1);
                return within(CLOSE_LIMIT, speaker.part()).await;
            }
            return Err(Cause::new(Class::WrongForm, "an answer to nothing"));
        }
    }

    /// A message and its answer; breaks when the other side ended while it was on its way.
    async fn message<S: Speaker>(&self, speaker: &mut S, count: u64) -> Result<ControlFlow<()>, Cause> {
        let sent = Instant::now();
        speaker.say(count).await?;
        self.count::<S>(|report| report.messages += 1);
        match within(ANSWER_LIMIT, speaker.hear()).await? {
            Heard::Answer => Ok(ControlFlow::Continue(())),
            Heard::End if sent.elapsed() <= CROSSING => {
                self.count::<S>(|report| report.crossed += 1);
                Ok(ControlFlow::Break(()))
            }
            Heard::End => {
                let ms = sent.elapsed().as_millis();
                Err(Cause::new(
                    Class::Lost,
                    format!("message {count} had no answer after {ms} ms when it ended"),
                ))
            }
        }
    }

    fn count<S: Speaker>(&self, change: impl FnOnce(&mut StreamReport)) {
        let mut record = self.record.borrow_mut();
        match S::KIND {
            Kind::WebSocket => change(&mut record.websockets),
            _ => change(&mut record.sessions),
        }
    }
}

/// The next whole number of seconds after the first moment.
fn next_moment(first: Instant) -> Instant {
    let passed = first.elapsed().as_micros() / EVERY.as_micros();
    first + EVERY * (u32::try_from(passed).unwrap_or(0) + 1)
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Cause>>) -> Result<T, Cause> {
    let late = |_| Err(Cause::new(Class::Timeout, format!("nothing for {} s", limit.as_secs())));
    tokio::time::timeout(limit, work).await.unwrap_or_else(late)
}

/// How an end or error of a stream reads when it was not agreed on.
pub fn broken(error: &std::io::Error, end: Class) -> Cause {
    let cause = Cause::of(error, Stage::Receiving);
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Cause::new(end, "the connection ended"),
        _ => cause,
    }
}
