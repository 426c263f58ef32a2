//! A connection on a port that speaks TLS: its handshake within its time, then what it carries.

use super::resolver::{CHALLENGE_PROTOCOL, HTTP_1};
use super::stream::TlsStream;
use crate::buffer::{BUFFER_BYTES, Scratch};
use crate::detect;
use crate::http;
use crate::http::connection::Client;
use crate::http::request::Refusal;
use crate::http2;
use crate::options::{MAX_HANDSHAKES, MAX_LINGER_BYTES};
use crate::snapshot::Route;
use crate::stream::{self, ClientStream};
use crate::tcp;
use crate::watch::Side;
use crate::worker::Worker;
use model::service::Protocol;
use std::cell::Cell;
use std::io;

/// First byte of a handshake record.
const HANDSHAKE: u8 = 0x16;
const NOT_SECURED: Refusal =
    Refusal { status: 400, reason: "this port speaks TLS; the address has to begin with https://" };

/// Secures the connection, then serves what is spoken on it.
pub async fn serve(client: Client) {
    // Boxed so that what is served later does not carry the room a handshake needs.
    let Some(client) = Box::pin(secure(client)).await else { return };
    let agreed = client.stream.protocol();
    match client.route.protocol {
        _ if agreed.as_deref() == Some(http2::PROTOCOL) => http2::connection::serve(client).await,
        _ if agreed.as_deref() == Some(HTTP_1) => http::connection::serve(client).await,
        Protocol::Http => http::connection::serve(client).await,
        Protocol::Tcp => tcp::serve(client).await,
        Protocol::Auto => detect::serve(client).await,
    }
}

/// The connection once it is secured; `None` if it carries nothing, which then has been said.
async fn secure(mut client: Client) -> Option<Client> {
    let worker = client.worker.clone();
    let Some(_place) = Place::take(&worker.handshakes) else {
        failed(&worker, &client.route, &client.peer, "too many handshakes are under way");
        return None;
    };
    client.watch.arm(Side::Input, worker.shared.limits.handshake);
    match begins(&mut client).await? {
        HANDSHAKE => {}
        b'A'..=b'Z' => {
            refuse_plain(client).await;
            return None;
        }
        _ => {
            failed(&worker, &client.route, &client.peer, "its first byte begins no handshake");
            return None;
        }
    }
    let mut client = agree(client).await?;
    client.watch.disarm(Side::Input);
    if client.stream.protocol().as_deref() == Some(CHALLENGE_PROTOCOL) {
        // That it was shown the right certificate was all it wanted.
        let (_, mut write) = client.stream.split();
        stream::finish(&mut write).await;
        return None;
    }
    Some(client)
}

/// The first byte of a client that says something.
async fn begins(client: &mut Client) -> Option<u8> {
    if !client.buf.is_empty() {
        return client.buf.filled().first().copied();
    }
    let (mut read, _) = client.stream.split();
    match stream::fill(&client.watch, Side::Input, &mut read, &mut client.buf, BUFFER_BYTES).await {
        Ok(1..) => client.buf.filled().first().copied(),
        _ => None,
    }
}

/// The handshake.
async fn agree(mut client: Client) -> Option<Client> {
    let config = client.route.tls.clone()?;
    let ClientStream::Plain(socket) = client.stream else { return None };
    let begun = TlsStream::begin(socket, config, client.buf.filled());
    let read = client.buf.len();
    client.buf.consume(read);
    client.buf.release();
    let told = |reason: &str| failed(&client.worker, &client.route, &client.peer, reason);
    let session = match begun {
        Ok(session) => session,
        Err(error) => {
            told(&error.to_string());
            return None;
        }
    };
    match client.watch.guard(Side::Input, |cx| session.poll_handshake(cx)).await {
        Ok(()) => return Some(Client { stream: ClientStream::Tls(Box::new(session)), ..client }),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => told("the handshake took too long"),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => told(&error.to_string()),
        // It left.
        Err(_) => {}
    }
    None
}

fn failed(worker: &Worker, route: &Route, peer: &str, reason: &str) {
    route.counters.shard(worker.index).error();
    worker.say(&format!("{}: no TLS with {peer}: {reason}", route.address));
}

/// Tells a client that speaks HTTP where it should have spoken TLS.
async fn refuse_plain(mut client: Client) {
    client.watch.disarm(Side::Input);
    let mut out = Scratch::take();
    http::answer::write(NOT_SECURED, None, false, true, None, &mut out);
    let limits = &client.worker.shared.limits;
    let (_, mut write) = client.stream.split();
    // Who does not take the answer loses it; the connection ends either way.
    let _ = stream::write_all(&client.watch, Side::Output, &mut write, &out, limits.write_stall).await;
    client.route.counters.shard(client.worker.index).request(NOT_SECURED.status, 0);
    stream::linger(&mut client.stream, &client.watch, limits.linger, MAX_LINGER_BYTES).await;
}

/// One of the handshakes of a thread; the place is free again when dropped.
struct Place<'a>(&'a Cell<usize>);

impl<'a> Place<'a> {
    fn take(count: &'a Cell<usize>) -> Option<Self> {
        if count.get() >= MAX_HANDSHAKES {
            return None;
        }
        count.set(count.get() + 1);
        Some(Self(count))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_are_bounded_and_places_come_back() {
        let count = Cell::new(0);
        let mut places: Vec<Place<'_>> =
            (0..MAX_HANDSHAKES).map(|_| Place::take(&count).expect("there is room")).collect();
        assert!(Place::take(&count).is_none());
        places.pop();
        assert!(Place::take(&count).is_some());
        drop(places);
        assert_eq!(count.get(), 0);
    }
}
