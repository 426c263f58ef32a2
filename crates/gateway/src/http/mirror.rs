//! A copy of a request for another service. It is gathered while the original is sent, and served by
//! itself as if a client had sent it whose answer nobody reads: by the policies of that service, in
//! its own time, and never before, or instead of, an original.

use super::connection::Client;
use super::exchange;
use super::request::Request;
use crate::buffer::{Buf, Head};
use crate::calls::Calling;
use crate::policy::Policy;
use crate::policy::mirror::{MAX_COPIES, MAX_COPY_BYTES, Mirror};
use crate::rules::Rules;
use crate::snapshot::{ListenerId, Route};
use crate::stream::ClientStream;
use crate::stream::client::Discard;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::spawn_local;

/// What of an answer is taken, and for how long; then the instance's connection is closed.
const MAX_TIME: Duration = Duration::from_secs(60);
const MAX_ANSWER_BYTES: u64 = 16 << 20;
/// A copy comes from no listener: a new table leaves it what it has.
const NO_LISTENER: ListenerId = ListenerId::MAX;

/// The copy of one request.
pub struct Copy {
    client: RefCell<Option<Client>>,
    policy: Arc<Policy>,
    request: Request,
    head_bytes: usize,
    /// None: it is too large, or was sent.
    bytes: RefCell<Option<Vec<u8>>>,
}

/// The copy of a request, if it is one of those that are copied: none that changes its protocol, and
/// none that is a copy itself.
pub fn draw(client: &Client, request: &Request, head: &[u8]) -> Option<Copy> {
    let mirror = client.backend.policy.mirror.as_ref()?;
    if request.upgrade
        || matches!(client.stream, ClientStream::Nobody(_))
        || !mirror.draws(client.worker.random.next())
    {
        return None;
    }
    let worker = client.worker.clone();
    let counters = mirror.counters(worker.shared.shards()).clone();
    let backend = worker.shared.snapshot.load().backends.get(&mirror.backend).cloned();
    let Some(backend) = backend.filter(|_| counters.active_of(worker.index) < MAX_COPIES) else {
        mirror.leave_out();
        return None;
    };
    let Route { revision, protocol, address, .. } = *client.route;
    let route = Route {
        revision,
        protocol,
        public: false,
        address,
        counters,
        rules: Rules::default(),
        backend: backend.clone(),
        tls: None,
        https_port: None,
        edits: None,
        proxied: None,
    };
    let copy = Client {
        stream: ClientStream::Nobody(Discard {
            until: Instant::now() + MAX_TIME,
            left: Cell::new(MAX_ANSWER_BYTES),
        }),
        buf: Buf::default(),
        watch: worker.registry.register_stream(NO_LISTENER),
        listener: NO_LISTENER,
        route: Arc::new(route),
        backend,
        generation: client.generation,
        peer: client.peer.clone(),
        grpc_status: Cell::default(),
        calling: Calling::default(),
        head_at: Cell::default(),
        worker,
    };
    Some(Copy {
        client: RefCell::new(Some(copy)),
        policy: client.backend.policy.clone(),
        request: Request { rule: None, key: None, ..request.clone() },
        head_bytes: head.len(),
        bytes: RefCell::new(Some(Vec::with_capacity(head.len()))),
    })
}

impl Copy {
    /// Takes in what was sent of the original.
    pub fn add(&self, data: &[u8]) {
        let mut bytes = self.bytes.borrow_mut();
        if let Some(gathered) = bytes.as_mut() {
            match gathered.len() + data.len() <= MAX_COPY_BYTES {
                true => gathered.extend_from_slice(data),
                false => *bytes = None,
            }
        }
    }

    /// Sends the copy, now that the original is on its way completely.
    pub fn send(&self) {
        let Some(mut client) = self.client.take() else { return };
        let Some(bytes) = self.bytes.take() else {
            return self.policy.mirror.iter().for_each(Mirror::leave_out);
        };
        let (start, body) = bytes.split_at(self.head_bytes.min(bytes.len()));
        fill(&mut client.buf, body);
        let mut head = Head::take();
        head.extend_from_slice(start);
        let request = self.request.clone();
        spawn_local(async move {
            exchange::serve(&mut client, request, head).await;
        });
    }
}

fn fill(buf: &mut Buf, mut data: &[u8]) {
    while !data.is_empty() {
        let room = buf.room(MAX_COPY_BYTES.next_power_of_two());
        let count = room.len().min(data.len());
        assert!(count > 0, "a copy is not larger than a buffer can be");
        room[..count].copy_from_slice(&data[..count]);
        buf.advance(count);
        data = &data[count..];
    }
}
