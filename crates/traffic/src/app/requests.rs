//! The HTTP side: one connection, request by request.

use super::{FINISH_LIMIT, Shared, Stopping, stopped, websocket};
use crate::content::{Digest, chunk};
use crate::http::{Request, Wire};
use std::fmt::Write as _;
use std::io::Result;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// Most chunks, and longest time between two, that can be asked for.
const CHUNKS_LIMIT: u32 = 1000;
const CHUNK_PAUSE_LIMIT_MS: u32 = 10_000;

pub async fn serve(mut wire: Wire, shared: Rc<Shared>, mut stopping: Stopping) {
    // Errors of a connection are its client's to count.
    while let Ok(Some(request)) = next(&mut wire, &mut stopping).await {
        if request.fields.lists("upgrade", "websocket") {
            let _ = websocket::serve(wire, &request, &shared.release, stopping).await;
            return;
        }
        match answer(&mut wire, &request, &shared, &stopping).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(_) => return,
        }
    }
    wire.finish(FINISH_LIMIT).await;
}

/// The next request; none when there is none and the program stops.
async fn next(wire: &mut Wire, stopping: &mut Stopping) -> Result<Option<Request>> {
    tokio::select! {
        biased;
        request = wire.request() => return request.map(Some),
        () = stopped(stopping) => {}
    }
    match wire.received.is_empty() {
        true => Ok(None),
        false => wire.request().await.map(Some),
    }
}

/// Whether the connection can take another request.
async fn answer(wire: &mut Wire, request: &Request, shared: &Shared, stopping: &Stopping) -> Result<bool> {
    let mut digest = Digest::default();
    wire.body(request.length()?, |part| digest.update(part)).await?;
    let path = request.target.split('?').next().unwrap_or_default();
    let stays = !*stopping.borrow() && !request.fields.lists("connection", "close");
    let head = |status: &str, body: &str| {
        let connection = if stays { "" } else { "Connection: close\r\n" };
        let release = &shared.release;
        format!(
            "HTTP/1.1 {status}\r\nX-Release: {release}\r\nContent-Type: text/plain\r\n{connection}{body}\r\n"
        )
    };
    let whole = |status: &str, body: &[u8]| {
        let mut bytes = head(status, &format!("Content-Length: {}\r\n", body.len())).into_bytes();
        bytes.extend(body);
        bytes
    };
    match (request.method.as_str(), path) {
        ("GET", "/small") if fails(shared).await => {
            wire.send(&whole("500 Internal Server Error", b"on purpose\n")).await?;
        }
        ("GET", "/small") => wire.send(&whole("200 OK", &shared.small)).await?,
        ("GET", "/health") => wire.send(&whole("200 OK", b"ok\n")).await?,
        ("GET", "/version") => wire.send(&whole("200 OK", shared.release.as_bytes())).await?,
        ("POST" | "PUT", "/upload") => wire.send(&whole("200 OK", digest.answer().as_bytes())).await?,
        ("GET", "/chunks") => {
            wire.send(head("200 OK", "Transfer-Encoding: chunked\r\n").as_bytes()).await?;
            let count = request.query("n").unwrap_or(10).min(CHUNKS_LIMIT);
            let pause = request.query("ms").unwrap_or(100).min(CHUNK_PAUSE_LIMIT_MS);
            send_chunks(wire, count, Duration::from_millis(u64::from(pause))).await?;
        }
        _ => wire.send(&whole("404 Not Found", b"nothing is here\n")).await?,
    }
    Ok(stays)
}

/// Takes the time that it is to take; says whether this one fails.
async fn fails(shared: &Shared) -> bool {
    let faults = shared.faults;
    if !faults.delay.is_zero() {
        tokio::time::sleep(faults.delay).await;
    }
    shared.asked.set(shared.asked.get() + 1);
    faults.fails_every > 0 && shared.asked.get().is_multiple_of(faults.fails_every)
}

/// Chunks at even moments from now on.
async fn send_chunks(wire: &mut Wire, count: u32, pause: Duration) -> Result<()> {
    let start = Instant::now();
    for number in 1..=count {
        tokio::time::sleep_until(start + pause * (number - 1)).await;
        let chunk = chunk(number, count);
        let mut framed = String::new();
        write!(framed, "{:x}\r\n{chunk}\r\n", chunk.len()).expect("text takes text");
        if number == count {
            framed.push_str("0\r\n\r\n");
        }
        wire.send(framed.as_bytes()).await?;
    }
    Ok(())
}
