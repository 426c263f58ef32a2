//! The connections of one thread to the instances that speak HTTP/2: each carries many requests,
//! and another is opened only when those that are there have as many as their peer takes.

use super::body::broken;
use super::upstream::Http2Upstream;
use crate::options::{
    HTTP2_SEND_BUFFER, HTTP2_UPSTREAM_WINDOW, Limits, MAX_HEAD_BYTES, MAX_RESETS, MAX_UPSTREAM_STREAMS,
};
use crate::quick::QuickMap;
use crate::snapshot::{Endpoint, Moment};
use bytes::Bytes;
use h2::Ping;
use h2::client::{Builder, SendRequest};
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

#[derive(Default)]
pub struct Http2Pool {
    shelves: RefCell<QuickMap<u64, Shelf>>,
}

struct Shelf {
    endpoint: Arc<Endpoint>,
    connections: Vec<Rc<Connection>>,
}

/// One connection to an instance.
pub struct Connection {
    send: SendRequest<Bytes>,
    active: Cell<u32>,
    /// When its last request ended.
    rested_ms: Cell<Moment>,
    /// It has ended, by whomever.
    over: Rc<Cell<bool>>,
}

/// A request's place on a connection; free again when dropped.
pub struct Lease(Rc<Connection>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get() - 1);
        self.0.rested_ms.set(0);
    }
}

impl Connection {
    /// It takes another request.
    fn is_open(&self) -> bool {
        let most = self.send.current_max_send_streams().min(MAX_UPSTREAM_STREAMS as usize);
        let mut cx = Context::from_waker(Waker::noop());
        !self.over.get()
            && (self.active.get() as usize) < most
            && matches!(self.send.clone().poll_ready(&mut cx), Poll::Ready(Ok(())))
    }

    fn lease(self: &Rc<Self>) -> Http2Upstream {
        self.active.set(self.active.get() + 1);
        Http2Upstream::new(Lease(self.clone()), self.send.clone())
    }
}

impl Http2Pool {
    pub fn is_empty(&self) -> bool {
        self.shelves.borrow().is_empty()
    }

    /// A stream on a connection that is there; the first ones are filled first.
    pub fn take(&self, endpoint: &Endpoint) -> Option<Http2Upstream> {
        let shelves = self.shelves.borrow();
        let connections = &shelves.get(&endpoint.number)?.connections;
        connections.iter().find(|connection| connection.is_open()).map(Connection::lease)
    }

    /// A stream on a connection of its own, which others may use from then on if `shared`; one for a
    /// tunnel is there once the peer has said whether it takes such.
    pub async fn open(
        &self,
        endpoint: &Arc<Endpoint>,
        socket: TcpStream,
        shared: bool,
        tunnel: bool,
    ) -> io::Result<Http2Upstream> {
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .max_header_list_size(MAX_HEAD_BYTES as u32)
            .initial_window_size(HTTP2_UPSTREAM_WINDOW)
            // No stream that nobody reads from takes the room of another.
            .initial_connection_window_size(HTTP2_UPSTREAM_WINDOW * MAX_UPSTREAM_STREAMS)
            .max_send_buffer_size(HTTP2_SEND_BUFFER)
            .max_concurrent_reset_streams(MAX_RESETS)
            .initial_max_send_streams(MAX_UPSTREAM_STREAMS as usize);
        let (send, mut connection) = builder.handshake(socket).await.map_err(broken)?;
        let ping = connection.ping_pong().filter(|_| tunnel);
        let over = Rc::new(Cell::new(false));
        let ended = over.clone();
        spawn_local(async move {
            // What broke it is told by its streams.
            let _ = connection.await;
            ended.set(true);
        });
        if let Some(mut ping) = ping {
            // Its settings come before anything else it says.
            ping.ping(Ping::opaque()).await.map_err(broken)?;
        }
        let connection = Rc::new(Connection { send, active: Cell::new(0), rested_ms: Cell::new(0), over });
        let stream = connection.lease();
        if shared && !endpoint.closed.load(Relaxed) {
            let mut shelves = self.shelves.borrow_mut();
            let shelf = shelves
                .entry(endpoint.number)
                .or_insert_with(|| Shelf { endpoint: endpoint.clone(), connections: Vec::new() });
            shelf.connections.push(connection);
        }
        Ok(stream)
    }

    /// Lets go what has ended, rests for too long, or leads to an endpoint that takes nothing new;
    /// streams that are under way keep their connection.
    pub fn sweep(&self, now_ms: Moment, limits: &Limits) {
        if self.is_empty() {
            return;
        }
        let max_rest = limits.keep_alive.as_millis() as u64;
        self.shelves.borrow_mut().retain(|_, shelf| {
            let closed = shelf.endpoint.closed.load(Relaxed);
            shelf.connections.retain(|connection| {
                if connection.rested_ms.get() == 0 || connection.active.get() > 0 {
                    connection.rested_ms.set(now_ms);
                }
                let is_tired = now_ms.saturating_sub(connection.rested_ms.get()) > max_rest;
                !closed && !connection.over.get() && !is_tired
            });
            !shelf.connections.is_empty()
        });
    }
}
