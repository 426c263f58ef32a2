//! Who talks to whom: one entry for each client's address and port at each of ours, with limits.
//!
//! ```text
//! first datagram ─▶ short (one question, one answer) ─▶ forgotten after 10 s of silence
//!                        └─ still talking after 2 s ─▶ long ─▶ forgotten after 60 s of silence
//! ```

use crate::options::{Limits, MAX_FLOWS, MAX_FLOWS_OF_CLIENT};
use crate::snapshot::{Endpoint, ListenerId, Moment, Work};
use rustix::net::SendFlags;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

/// Flows that said nothing for this long may be forgotten when there are too many, and are not
/// waited for when their instance, or the gateway, is to end.
const QUIET_MS: u64 = 1000;
/// A flow whose client still talks after this long is a conversation rather than a question.
const LONG_AFTER_MS: u64 = 2000;
/// Time between two searches for flows that can be forgotten, each of which looks at all of them.
const SEARCH_PAUSE_MS: u64 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowKey {
    pub listener: ListenerId,
    pub client: SocketAddr,
    /// Where the client sent it, which is where answers must come from.
    pub local: Option<IpAddr>,
}

/// One client's conversation with one instance.
pub struct Flow {
    /// Connected to the instance: nothing else is heard on it.
    pub upstream: UdpSocket,
    pub endpoint: Arc<Endpoint>,
    begun: Moment,
    last: Cell<Moment>,
    is_long: Cell<bool>,
    /// While something was said lately.
    work: RefCell<Option<Work>>,
    thread: usize,
    pub answers: Cell<Option<AbortHandle>>,
}

impl Flow {
    pub fn new(upstream: UdpSocket, endpoint: Arc<Endpoint>, thread: usize, now: Moment) -> Self {
        endpoint.counters.shard(thread).connection();
        Self {
            upstream,
            endpoint,
            begun: now,
            last: Cell::new(now),
            is_long: Cell::new(false),
            work: RefCell::new(None),
            thread,
            answers: Cell::new(None),
        }
    }

    /// To the instance; what does not fit into the socket now is lost.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        // Not asked of the runtime, which knows nothing of a new socket yet.
        rustix::net::send(&self.upstream, bytes, SendFlags::DONTWAIT)?;
        Ok(())
    }

    /// The client, or the instance, has said something.
    pub fn heard(&self, now: Moment) {
        self.last.set(now);
        if now.saturating_sub(self.begun) >= LONG_AFTER_MS {
            self.is_long.set(true);
        }
        let mut work = self.work.borrow_mut();
        if work.is_none() {
            *work = Some(Work::begin(self.endpoint.clone(), self.thread));
        }
    }

    fn silent_for(&self, now: Moment) -> u64 {
        now.saturating_sub(self.last.get())
    }

    fn is_over(&self, limits: &Limits, now: Moment) -> bool {
        let idle = if self.is_long.get() { limits.datagram_idle } else { limits.datagram_short_idle };
        self.silent_for(now) >= idle.as_millis() as u64
    }
}

impl Flow {
    /// Nothing of it is handed on any more; its socket goes with the task that read it.
    fn end(&self) {
        if let Some(answers) = self.answers.take() {
            answers.abort();
        }
    }
}

/// All flows. Nothing in it is held over an await.
pub struct Flows {
    flows: RefCell<HashMap<FlowKey, Rc<Flow>>>,
    of_client: RefCell<HashMap<IpAddr, usize>>,
    most: usize,
    searched: Cell<Option<Moment>>,
}

impl Flows {
    /// `descriptors` is how many this process may have, half of which are for others.
    pub fn new(descriptors: usize) -> Self {
        let most = MAX_FLOWS.min(descriptors / 2);
        Self { flows: RefCell::default(), of_client: RefCell::default(), most, searched: Cell::new(None) }
    }

    pub fn get(&self, key: &FlowKey) -> Option<Rc<Flow>> {
        self.flows.borrow().get(key).cloned()
    }

    /// Whether one more may begin; makes room by forgetting what is quiet.
    pub fn has_room(&self, client: IpAddr, now: Moment) -> bool {
        let is_full = || self.flows.borrow().len() >= self.most;
        let has_many = || self.of_client.borrow().get(&client).is_some_and(|n| *n >= MAX_FLOWS_OF_CLIENT);
        if !is_full() && !has_many() {
            return true;
        }
        let searched_lately = self.searched.get().is_some_and(|at| now.saturating_sub(at) < SEARCH_PAUSE_MS);
        if !searched_lately {
            self.searched.set(Some(now));
            self.forget(|_, flow| !flow.is_long.get() && flow.silent_for(now) >= QUIET_MS);
        }
        !is_full() && !has_many()
    }

    pub fn insert(&self, key: FlowKey, flow: Rc<Flow>) {
        *self.of_client.borrow_mut().entry(key.client.ip()).or_default() += 1;
        if let Some(before) = self.flows.borrow_mut().insert(key, flow) {
            before.end();
            self.less(key.client.ip());
        }
    }

    /// Only if it is still this one.
    pub fn remove(&self, key: &FlowKey, flow: &Rc<Flow>) {
        self.forget(|known, other| known == key && Rc::ptr_eq(other, flow));
    }

    pub fn remove_listener(&self, id: ListenerId) {
        self.forget(|key, _| key.listener == id);
    }

    /// Ends what is over, what `is_lost`, and lets instances go that nobody talks to now.
    pub fn sweep(&self, limits: &Limits, now: Moment, is_lost: impl Fn(&Flow) -> bool) {
        self.forget(|_, flow| flow.is_over(limits, now) || is_lost(flow));
        for flow in self.flows.borrow().values() {
            if flow.silent_for(now) >= QUIET_MS {
                flow.work.borrow_mut().take();
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.flows.borrow().is_empty()
    }

    /// Whether something was said lately.
    pub fn is_busy(&self, now: Moment) -> bool {
        self.flows.borrow().values().any(|flow| flow.silent_for(now) < QUIET_MS)
    }

    fn forget(&self, which: impl Fn(&FlowKey, &Rc<Flow>) -> bool) {
        let mut gone = Vec::new();
        self.flows.borrow_mut().retain(|key, flow| {
            let goes = which(key, flow);
            if goes {
                flow.end();
                gone.push(key.client.ip());
            }
            !goes
        });
        gone.into_iter().for_each(|client| self.less(client));
    }

    fn less(&self, client: IpAddr) {
        let mut counts = self.of_client.borrow_mut();
        if let Some(count) = counts.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&client);
            }
        }
    }
}
