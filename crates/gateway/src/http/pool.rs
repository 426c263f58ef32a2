//! Idle upstream connections of one thread, by endpoint.

use crate::buffer::Buf;
use crate::options::{Limits, MAX_IDLE_UPSTREAM};
use crate::quick::QuickMap;
use crate::snapshot::Endpoint;
use crate::stream::{self, UpstreamStream};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::net::TcpStream;

/// A connection to an instance.
pub struct Upstream {
    pub stream: UpstreamStream,
    pub buf: Buf,
}

struct Idle {
    stream: TcpStream,
    since_ms: u64,
}

struct Shelf {
    endpoint: Arc<Endpoint>,
    idle: Vec<Idle>,
}

#[derive(Default)]
pub struct Pool {
    shelves: RefCell<QuickMap<u64, Shelf>>,
    count: Cell<usize>,
}

impl Pool {
    pub fn is_empty(&self) -> bool {
        self.count.get() == 0
    }

    /// The connection used last that is young enough and still open.
    pub fn take(&self, endpoint: &Endpoint, now_ms: u64, max_idle: Duration) -> Option<Upstream> {
        let mut shelves = self.shelves.borrow_mut();
        let shelf = shelves.get_mut(&endpoint.number)?;
        while let Some(idle) = shelf.idle.pop() {
            self.count.set(self.count.get() - 1);
            let young = now_ms.saturating_sub(idle.since_ms) <= max_idle.as_millis() as u64;
            if young && stream::is_quiet(&idle.stream) {
                return Some(Upstream { stream: UpstreamStream::Plain(idle.stream), buf: Buf::default() });
            }
        }
        None
    }

    /// Keeps a connection whose last response is complete.
    pub fn give(&self, endpoint: &Arc<Endpoint>, upstream: Upstream, now_ms: u64) {
        if !upstream.buf.is_empty() || endpoint.closed.load(Relaxed) {
            return;
        }
        // A stream of HTTP/2 carries one request, and its connection was never away.
        let UpstreamStream::Plain(stream) = upstream.stream else { return };
        let mut shelves = self.shelves.borrow_mut();
        let shelf = shelves
            .entry(endpoint.number)
            .or_insert_with(|| Shelf { endpoint: endpoint.clone(), idle: Vec::new() });
        if shelf.idle.len() < MAX_IDLE_UPSTREAM {
            shelf.idle.push(Idle { stream, since_ms: now_ms });
            self.count.set(self.count.get() + 1);
        }
    }

    /// Closes what is too old or leads to an endpoint that takes nothing new.
    pub fn sweep(&self, now_ms: u64, limits: &Limits) {
        if self.is_empty() {
            return;
        }
        let max_idle = limits.upstream_idle.as_millis() as u64;
        self.shelves.borrow_mut().retain(|_, shelf| {
            let closed = shelf.endpoint.closed.load(Relaxed);
            shelf.idle.retain(|idle| !closed && now_ms.saturating_sub(idle.since_ms) <= max_idle);
            !shelf.idle.is_empty()
        });
        let count = self.shelves.borrow().values().map(|shelf| shelf.idle.len()).sum();
        self.count.set(count);
    }
}
