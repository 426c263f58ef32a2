//! Where requests and connections wait that nobody takes yet: bounded places by backend, woken by
//! each new table, let go one after the other so that the first instance is not run over.

use crate::http::connection::Client;
use crate::options::{MAX_HELD, MAX_HELD_BYTES};
use crate::snapshot::Backend;
use crate::stream::ClientStream;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Time between two looks at a held client and at instances that could not be connected to.
const LOOK: Duration = Duration::from_millis(100);
/// Between two that are let go.
const SPACING: Duration = Duration::from_micros(100);

/// The places of one thread.
#[derive(Default)]
pub struct Held {
    lines: RefCell<HashMap<String, Line>>,
    arrived: Notify,
    /// When the next one may go.
    turn: Cell<Option<Instant>>,
}

/// Those that wait for one backend.
#[derive(Default)]
struct Line {
    count: usize,
    /// When one of them last tried an instance that could not be connected to before.
    probed: Option<Instant>,
}

/// Why one cannot be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// The backend holds nothing.
    NotWanted,
    Full,
    /// What it has sent already takes too much memory.
    TooLarge,
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// Something may take it now.
    TryAgain,
    ClientGone,
    TimeOver,
}

/// Takes a place, unless it has one already, and waits until an instance is worth trying.
pub async fn until_ready(
    client: &mut Client,
    place: &mut Option<Place>,
    bytes: usize,
) -> Result<Woken, NoPlace> {
    let place = match place {
        Some(place) => place,
        none => none.insert(client.worker.held.enter(&client.backend, bytes)?),
    };
    loop {
        match place.wait(&client.stream).await {
            Woken::TryAgain => {}
            woken => return Ok(woken),
        }
        if has_trusted(client) {
            place.turn().await;
            // Those before it may have found that nobody is there after all.
            if has_trusted(client) {
                return Ok(Woken::TryAgain);
            }
        } else if !client.backend.endpoints.is_empty() && place.may_probe() {
            return Ok(Woken::TryAgain);
        }
    }
}

/// Something takes new work and could be connected to when that was last tried.
fn has_trusted(client: &mut Client) -> bool {
    client.refresh();
    client.backend.has_trusted(client.worker.registry.clock().now_ms())
}

impl Held {
    /// A new table is in force.
    pub fn table_arrived(&self) {
        self.arrived.notify_waiters();
    }

    /// A place for a request of which `bytes` are in memory.
    pub fn enter(self: &Rc<Self>, backend: &Backend, bytes: usize) -> Result<Place, NoPlace> {
        if backend.hold.is_zero() {
            return Err(NoPlace::NotWanted);
        }
        if bytes > MAX_HELD_BYTES {
            return Err(NoPlace::TooLarge);
        }
        let mut lines = self.lines.borrow_mut();
        let line = lines.entry(backend.id.clone()).or_default();
        if line.count >= MAX_HELD {
            return Err(NoPlace::Full);
        }
        line.count += 1;
        let end = Instant::now() + backend.hold;
        Ok(Place { held: self.clone(), backend: backend.id.clone(), end })
    }

    /// When the caller may go.
    fn next_turn(&self, now: Instant) -> Instant {
        let turn = self.turn.get().map_or(now, |turn| turn.max(now));
        self.turn.set(Some(turn + SPACING));
        turn
    }
}

/// One that waits; the place is free again when dropped.
pub struct Place {
    held: Rc<Held>,
    backend: String,
    end: Instant,
}

impl Place {
    /// Waits for a table, for the next look, or for the end.
    async fn wait(&self, client: &ClientStream) -> Woken {
        let look = (Instant::now() + LOOK).min(self.end);
        // Whichever it was, everything is looked at.
        let _ = tokio::time::timeout_at(look, self.held.arrived.notified()).await;
        match client.is_gone() {
            true => Woken::ClientGone,
            false if Instant::now() >= self.end => Woken::TimeOver,
            false => Woken::TryAgain,
        }
    }

    /// Waits until those before it have gone.
    async fn turn(&self) {
        tokio::time::sleep_until(self.held.next_turn(Instant::now())).await;
    }

    /// One of all that wait for the backend may try what failed before, once in a while.
    fn may_probe(&self) -> bool {
        let now = Instant::now();
        let mut lines = self.held.lines.borrow_mut();
        let line = lines.entry(self.backend.clone()).or_default();
        let may = line.probed.is_none_or(|probed| now - probed >= LOOK);
        if may {
            line.probed = Some(now);
        }
        may
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.held.lines.borrow_mut();
        if let Some(line) = lines.get_mut(&self.backend) {
            line.count -= 1;
            if line.count == 0 {
                lines.remove(&self.backend);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn backend(hold: Duration) -> Backend {
        Backend::new("s/web:80".into(), Vec::new(), hold, Arc::default())
    }

    #[test]
    fn places_are_bounded_and_come_back() {
        let held = Rc::new(Held::default());
        let backend = backend(Duration::from_secs(1));
        let mut places: Vec<Place> =
            (0..MAX_HELD).map(|_| held.enter(&backend, 100).expect("there is room")).collect();
        assert_eq!(held.enter(&backend, 100).err(), Some(NoPlace::Full));
        places.pop();
        let last = held.enter(&backend, MAX_HELD_BYTES).expect("one has gone");
        drop((places, last));
        assert!(held.lines.borrow().is_empty());
        assert_eq!(held.enter(&backend, MAX_HELD_BYTES + 1).err(), Some(NoPlace::TooLarge));
        assert_eq!(held.enter(&self::backend(Duration::ZERO), 0).err(), Some(NoPlace::NotWanted));
    }

    #[test]
    fn those_let_go_do_not_go_at_once() {
        let held = Rc::new(Held::default());
        let now = Instant::now();
        let turns: Vec<Instant> = (0..1000).map(|_| held.next_turn(now)).collect();
        assert_eq!((turns[0], turns[999] - now), (now, SPACING * 999));
        let later = now + Duration::from_secs(1);
        assert_eq!(held.next_turn(later), later, "who comes later does not wait for nothing");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_client_that_left_is_noticed_behind_its_bytes() {
        use tokio::io::AsyncWriteExt;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let mut client = tokio::net::TcpStream::connect(address).await.expect("it listens");
        let (stream, _) = listener.accept().await.expect("a client");
        let stream = ClientStream::Plain(stream);
        client.write_all(b"the start of a body").await.expect("room");
        let held = Rc::new(Held::default());
        let place = held.enter(&backend(Duration::from_secs(60)), 0).expect("there is room");
        assert_eq!(place.wait(&stream).await, Woken::TryAgain);
        drop(client);
        let ClientStream::Plain(socket) = &stream else { panic!("it is a socket") };
        socket.readable().await.expect("something is there");
        let mut woken = place.wait(&stream).await;
        while woken == Woken::TryAgain {
            woken = place.wait(&stream).await;
        }
        assert_eq!(woken, Woken::ClientGone);
    }
}
