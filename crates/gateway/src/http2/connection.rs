//! One connection of a client: accepts streams within its limits, and ends when it is idle too long
//! or is to end, after what is under way. A client is told the end by GOAWAY.

use super::io::Io;
use super::stream::Http2Stream;
use crate::buffer::Buf;
use crate::calls::{Calling, Who};
use crate::http;
use crate::http::connection::Client;
use crate::options::{
    HTTP2_CONNECTION_WINDOW, HTTP2_SEND_BUFFER, HTTP2_STREAM_WINDOW, MAX_GIVEN_UP, MAX_HEAD_BYTES,
    MAX_HTTP2_STREAMS, MAX_RESETS, MAX_STREAMS_OF_THREAD,
};
use crate::proxy::Peer;
use crate::snapshot::{ListenerId, Route};
use crate::stream::ClientStream;
use crate::watch::{Registered, Retiring, Side};
use crate::worker::Worker;
use ::http::Request;
use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::task::spawn_local;

/// Serves streams until the connection ends; `client.buf` holds what was already read of it.
pub async fn serve(client: Client) {
    let who = client.who();
    let Client { worker, stream, buf, watch, listener, route, generation, peer, .. } = client;
    let Ok(local) = stream.local_addr() else { return };
    let secured = stream.is_secured();
    let flooded = Rc::new(Cell::new(false));
    let io = Io::new(stream, buf, worker.clone(), flooded.clone());
    let origin = Origin { listener, route, generation, peer, who, ends: (local, secured) };
    let talk = Talk { worker, watch, origin, flooded, crew: Rc::default(), is_ending: false };
    // Boxed so that other connections do not carry the room this needs.
    Box::pin(talk.run(io)).await;
}

/// What each stream takes after.
struct Origin {
    listener: ListenerId,
    route: Arc<Route>,
    generation: u64,
    peer: Peer,
    who: Who,
    /// The address the client connected to, and whether nobody in between can read it.
    ends: (SocketAddr, bool),
}

/// The streams of a connection that are served.
#[derive(Default)]
pub struct Crew {
    active: Cell<usize>,
    /// Streams that came to their end, and those the client gave up before.
    served: Cell<u64>,
    given_up: Cell<u64>,
    waker: RefCell<Option<Waker>>,
}

impl Crew {
    fn joined(&self) {
        self.active.set(self.active.get() + 1);
    }
    /// One has ended.
    pub fn left(&self, given_up: bool) {
        self.active.set(self.active.get() - 1);
        let counter = if given_up { &self.given_up } else { &self.served };
        counter.set(counter.get() + 1);
        if (given_up || self.active.get() == 0)
            && let Some(waker) = self.waker.borrow().as_ref()
        {
            waker.wake_by_ref();
        }
    }
    /// Requests that are begun and given up at once cost the instances, and the client nothing.
    fn is_abused(&self) -> bool {
        self.given_up.get() > self.served.get() + MAX_GIVEN_UP
    }
    fn remember(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }
}

/// What a look at the connection shows.
enum Event {
    Stream(Box<(Request<RecvStream>, SendResponse<Bytes>)>),
    /// The client, or the connection, is gone.
    Over,
    /// The client is to be told that it ends.
    Ending,
    /// It asks more than it may.
    Abuse,
}

struct Talk {
    worker: Rc<Worker>,
    watch: Registered,
    origin: Origin,
    flooded: Rc<Cell<bool>>,
    crew: Rc<Crew>,
    is_ending: bool,
}

impl Talk {
    async fn run(mut self, io: Io) {
        let Some(mut connection) = self.begin(io).await else { return };
        loop {
            match self.next(&mut connection).await {
                Event::Stream(stream) => self.accept(stream.0, stream.1),
                Event::Ending if !self.is_ending => {
                    self.is_ending = true;
                    connection.graceful_shutdown();
                }
                Event::Ending | Event::Over => return,
                Event::Abuse => return self.dismiss(connection).await,
            }
        }
    }

    async fn begin(&self, io: Io) -> Option<Connection<Io, Bytes>> {
        let mut builder = Builder::new();
        builder
            .max_concurrent_streams(MAX_HTTP2_STREAMS)
            .max_header_list_size(MAX_HEAD_BYTES as u32)
            .initial_window_size(HTTP2_STREAM_WINDOW)
            .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
            .max_send_buffer_size(HTTP2_SEND_BUFFER)
            .max_concurrent_reset_streams(MAX_RESETS)
            .max_pending_accept_reset_streams(MAX_RESETS)
            .max_local_error_reset_streams(Some(MAX_RESETS))
            .enable_connect_protocol();
        self.watch.arm(Side::Input, self.worker.shared.limits.header);
        let mut handshake = pin!(builder.handshake(io));
        let begun = self.watch.guard(Side::Input, |cx| handshake.as_mut().poll(cx).map_err(io::Error::other));
        let begun = begun.await;
        self.watch.disarm(Side::Input);
        begun.ok()
    }

    async fn next(&self, connection: &mut Connection<Io, Bytes>) -> Event {
        let watch = &self.watch;
        let mut was_idle = None;
        let next = watch.guard(Side::Input, |cx| {
            self.crew.remember(cx);
            let polled = connection.poll_accept(cx);
            if self.flooded.get() || (self.origin.route.public && self.crew.is_abused()) {
                return Poll::Ready(Ok(Event::Abuse));
            }
            match polled {
                Poll::Ready(Some(Ok(stream))) => return Poll::Ready(Ok(Event::Stream(Box::new(stream)))),
                Poll::Ready(_) => return Poll::Ready(Ok(Event::Over)),
                Poll::Pending => {}
            }
            let is_idle = self.crew.active.get() == 0;
            if was_idle.replace(is_idle) != Some(is_idle) {
                self.rest(is_idle);
            }
            match watch.retiring() {
                Retiring::WhenIdle if !self.is_ending => Poll::Ready(Ok(Event::Ending)),
                // As an answer says it over HTTP/1.1; who asks nothing has until its own time.
                Retiring::AtNextAnswer if !self.is_ending && !is_idle => Poll::Ready(Ok(Event::Ending)),
                _ => Poll::Pending,
            }
        });
        let next = next.await;
        watch.set_idle(false);
        watch.disarm(Side::Input);
        match next {
            Ok(event) => event,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => Event::Over,
            Err(_) => Event::Ending,
        }
    }

    /// Without a stream the connection has its time, and may be ended.
    fn rest(&self, is_idle: bool) {
        let limits = &self.worker.shared.limits;
        self.watch.set_idle(is_idle && !self.is_ending);
        match is_idle {
            true if self.is_ending => self.watch.arm(Side::Input, limits.linger),
            true => self.watch.arm(Side::Input, limits.keep_alive),
            false => self.watch.disarm(Side::Input),
        }
    }

    /// Serves a stream as a connection of one request.
    fn accept(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let worker = self.worker.clone();
        if worker.registry.streams() >= MAX_STREAMS_OF_THREAD {
            respond.send_reset(Reason::REFUSED_STREAM);
            return;
        }
        self.crew.joined();
        let Origin { listener, route, generation, peer, who, ends } = &self.origin;
        let (stream, judged) = Http2Stream::new(request, respond, *ends, self.crew.clone(), &worker.random);
        let mut client = Client {
            watch: worker.registry.register_stream(*listener),
            listener: *listener,
            route: route.clone(),
            backend: route.backend.clone(),
            generation: *generation,
            peer: peer.clone(),
            buf: Buf::default(),
            grpc_status: Cell::default(),
            calling: Calling::of(*who),
            head_at: Cell::default(),
            stream: ClientStream::Http2(Box::new(stream)),
            worker,
        };
        client.refresh();
        (self.origin.route, self.origin.generation) = (client.route.clone(), client.generation);
        spawn_local(http::connection::serve_stream(client, judged));
    }

    /// Ends the connection of a client that asks more than it may.
    async fn dismiss(&self, mut connection: Connection<Io, Bytes>) {
        let Origin { route, peer, .. } = &self.origin;
        route.counters.shard(self.worker.index).error();
        let reason = if self.flooded.get() { "frames that carry nothing" } else { "streams given up" };
        self.worker.say(&format!("{}: {peer} sent too many {reason}; connection ended", route.address));
        connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        self.watch.arm(Side::Input, self.worker.shared.limits.linger);
        // Who does not take the reason loses it.
        let _ =
            self.watch.guard(Side::Input, |cx| connection.poll_closed(cx).map_err(io::Error::other)).await;
    }
}
