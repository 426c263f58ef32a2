//! One request of each kind: what is sent, and what must come back.

use super::failing::{Cause, Stage};
use super::pool::Pool;
use super::record::{Failed, Intended};
use crate::clock;
use crate::content::{self, Digest, chunk};
use crate::http::{Length, Response, Wire, nonsense};
use crate::report::{Class, Kind};
use std::cell::Cell;
use std::io::{Error, ErrorKind};
use std::time::Duration;

/// How long anything may take beyond what it is to take by itself.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Parts of a slow body, and the size of each.
const SLOW_PARTS: u32 = 10;
const SLOW_PART_BYTES: usize = 2048;
/// 10 MiB in parts.
const UPLOAD_BLOCKS: usize = 160;
/// About the time between two chunks of an answer.
const CHUNK_PAUSE_US: u64 = 150_000;
/// How much of a wrong body is told.
const TOLD_BYTES: usize = 120;

/// What is the same for all requests.
pub struct Bodies {
    small: Vec<u8>,
    block: Vec<u8>,
    upload_answer: String,
    slow_answer: String,
}

impl Bodies {
    pub fn new() -> Self {
        let block = content::block();
        let answer = |part: &[u8], times: usize| {
            let mut digest = Digest::default();
            (0..times).for_each(|_| digest.update(part));
            digest.answer()
        };
        Self {
            small: content::small(),
            upload_answer: answer(&block, UPLOAD_BLOCKS),
            slow_answer: answer(&block[..SLOW_PART_BYTES], SLOW_PARTS as usize),
            block,
        }
    }
}

/// Sends one request and checks its answer; the release that it names.
pub async fn perform(pool: &Pool, bodies: &Bodies, intended: Intended) -> Result<Option<String>, Failed> {
    let stage = Cell::new(Stage::Connecting);
    let (port, kept) = (Cell::new(None), Cell::new(false));
    let work = async {
        let limited = pool.wire(intended.kind != Kind::Close).await?;
        let (mut wire, reused) = (limited.wire, limited.reused);
        kept.set(reused);
        port.set(wire.stream.local_addr().ok().map(|address| address.port()));
        stage.set(Stage::Sending);
        let exchange = Exchange { wire: &mut wire, bodies, stage: &stage, intended };
        let (release, stays) = exchange.run().await?;
        if stays && intended.kind != Kind::Close {
            pool.give_back(wire);
        }
        Ok(release)
    };
    let limit = ANSWER_LIMIT + Duration::from_micros(intended.planned_us);
    let outcome = tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(Cause::of(&Error::new(ErrorKind::TimedOut, "nothing more came"), stage.get()))
    });
    outcome.map_err(|cause| {
        let unanswered = matches!(stage.get(), Stage::Sending | Stage::Waiting);
        Failed { cause, on_kept_connection: kept.get() && unanswered, local_port: port.get() }
    })
}

struct Exchange<'a> {
    wire: &'a mut Wire,
    bodies: &'a Bodies,
    stage: &'a Cell<Stage>,
    intended: Intended,
}

impl Exchange<'_> {
    /// The release that answered, and whether the connection may be used again.
    async fn run(mut self) -> Result<(Option<String>, bool), Cause> {
        if let Err(error) = self.send().await {
            return Err(self.answered_early(error).await);
        }
        self.stage.set(Stage::Waiting);
        let response = self.wire.response().await.map_err(|e| self.cause(&e))?;
        self.stage.set(Stage::Receiving);
        let body = self.body(&response).await.map_err(|e| self.cause(&e))?;
        self.check(&response, &body)?;
        let framed = response.length().is_ok_and(|length| length != Length::ToEnd);
        let stays = framed && !response.fields.lists("connection", "close");
        Ok((response.fields.get("x-release").map(str::to_owned), stays))
    }

    /// A head that had begun to come when something failed counts as being received.
    fn cause(&self, error: &Error) -> Cause {
        let partly = self.stage.get() == Stage::Waiting && !self.wire.received.is_empty();
        if partly {
            self.stage.set(Stage::Receiving);
        }
        Cause::of(error, self.stage.get())
    }

    async fn send(&mut self) -> Result<(), Error> {
        let host = "Host: traffic\r\n";
        match self.intended.kind {
            Kind::Close => {
                self.wire
                    .send(format!("GET /small HTTP/1.1\r\n{host}Connection: close\r\n\r\n").as_bytes())
                    .await
            }
            Kind::Upload => {
                self.send_in_parts(host, UPLOAD_BLOCKS as u32, self.bodies.block.len(), false).await
            }
            // Half of these bodies come with their length, half in chunks.
            Kind::SlowBody => {
                let chunked = self.intended.planned_us % 2000 >= 1000;
                self.send_in_parts(host, SLOW_PARTS, SLOW_PART_BYTES, chunked).await
            }
            Kind::Chunks => {
                let (count, pause_ms) = chunks(self.intended.planned_us);
                let head = format!("GET /chunks?n={count}&ms={pause_ms} HTTP/1.1\r\n{host}\r\n");
                self.wire.send(head.as_bytes()).await
            }
            _ => self.wire.send(format!("GET /small HTTP/1.1\r\n{host}\r\n").as_bytes()).await,
        }
    }

    /// Parts at even moments, the last one when the time is over. An answer that comes before the
    /// end is an error.
    async fn send_in_parts(
        &mut self,
        host: &str,
        parts: u32,
        bytes: usize,
        chunked: bool,
    ) -> Result<(), Error> {
        let framing = match chunked {
            true => "Transfer-Encoding: chunked".to_owned(),
            false => format!("Content-Length: {}", parts as usize * bytes),
        };
        self.wire.send(format!("POST /upload HTTP/1.1\r\n{host}{framing}\r\n\r\n").as_bytes()).await?;
        for part in 1..=parts {
            let at_us = self.intended.at_us + self.intended.planned_us * u64::from(part) / u64::from(parts);
            self.pause(at_us).await?;
            let body = &self.bodies.block[..bytes];
            if !chunked {
                self.wire.send(body).await?;
                continue;
            }
            let end: &[u8] = if part == parts { b"\r\n0\r\n\r\n" } else { b"\r\n" };
            self.wire.send(&[format!("{bytes:x}\r\n").as_bytes(), body, end].concat()).await?;
        }
        Ok(())
    }

    async fn pause(&mut self, until_us: u64) -> Result<(), Error> {
        let pause = Duration::from_micros(until_us.saturating_sub(clock::now_us()));
        match tokio::time::timeout(pause, self.wire.fill()).await {
            Err(_in_time) => Ok(()),
            Ok(Ok(0)) => Err(Error::new(ErrorKind::UnexpectedEof, "the connection ended")),
            Ok(Ok(_)) => Err(nonsense("an answer before the end of the request")),
            Ok(Err(error)) => Err(error),
        }
    }

    /// Why sending failed: the answer says it, if one came.
    async fn answered_early(&mut self, error: Error) -> Cause {
        const LIMIT: Duration = Duration::from_secs(1);
        match tokio::time::timeout(LIMIT, self.wire.response()).await {
            Ok(Ok(response)) => {
                self.stage.set(Stage::Receiving);
                Cause::new(Class::WrongStatus, format!("{} before the end of the request", response.status))
            }
            _ => Cause::of(&error, self.stage.get()),
        }
    }

    async fn body(&mut self, response: &Response) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        self.wire.body(response.length()?, |part| body.extend(part)).await?;
        Ok(body)
    }

    fn check(&self, response: &Response, body: &[u8]) -> Result<(), Cause> {
        let told = || String::from_utf8_lossy(&body[..body.len().min(TOLD_BYTES)]).trim().to_owned();
        if response.status != 200 {
            return Err(Cause::new(Class::WrongStatus, format!("{}: {}", response.status, told())));
        }
        let right = match self.intended.kind {
            Kind::Upload => body == self.bodies.upload_answer.as_bytes(),
            Kind::SlowBody => body == self.bodies.slow_answer.as_bytes(),
            Kind::Chunks => {
                let (count, _) = chunks(self.intended.planned_us);
                body == (1..=count).map(|number| chunk(number, count)).collect::<String>().as_bytes()
            }
            _ => body == self.bodies.small,
        };
        match right {
            true => Ok(()),
            false => Err(Cause::new(Class::WrongBody, format!("{} bytes: {}", body.len(), told()))),
        }
    }
}

/// How many chunks, and the milliseconds between two, so that all take as long as planned.
fn chunks(planned_us: u64) -> (u32, u64) {
    let pauses = (planned_us / CHUNK_PAUSE_US).max(1);
    (pauses as u32 + 1, planned_us / pauses / 1000)
}
