//! Deadlines without timers: each connection keeps two cells, one sweep per thread looks at all.
//!
//! Setting a deadline is a store, so it can be done for every read. The price is precision: a
//! limit may be passed by one sweep, which is a tenth of a second. While nobody asks what time it is
//! nothing happens, and the sweeps rest until the next deadline.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Time between two looks at all connections of a thread.
pub const SWEEP: Duration = Duration::from_millis(100);
/// The same while nothing happens.
const REST: Duration = Duration::from_secs(1);
/// Looks without anything before the rest.
const QUIET_LOOKS: u32 = 3;
pub const NEVER: u64 = u64::MAX;

/// Which of a connection's two deadlines: what the client sends, or what it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Input,
    Output,
}

/// Milliseconds since the process started, as of the thread's last sweep.
pub struct Clock {
    start: Instant,
    now_ms: Cell<u64>,
    /// Somebody asked since the last look.
    is_used: Cell<bool>,
    is_resting: Cell<bool>,
    wanted: tokio::sync::Notify,
}

impl Clock {
    pub fn new(start: Instant) -> Self {
        Self {
            start,
            now_ms: Cell::new(0),
            is_used: Cell::new(false),
            is_resting: Cell::new(false),
            wanted: tokio::sync::Notify::new(),
        }
    }
    pub fn now_ms(&self) -> u64 {
        self.touch();
        self.now_ms.get()
    }
    /// The same, when nothing happens by asking.
    pub fn last_ms(&self) -> u64 {
        self.now_ms.get()
    }
    pub fn refresh(&self) {
        self.now_ms.set(self.start.elapsed().as_millis() as u64);
    }
    /// Something happens: the sweeps go on.
    fn touch(&self) {
        self.is_used.set(true);
        if self.is_resting.get() {
            self.end_rest();
        }
    }
    #[cold]
    fn end_rest(&self) {
        self.is_resting.set(false);
        self.refresh();
        self.wanted.notify_one();
    }
    /// Returns after so long, or when something happens.
    async fn rest(&self, at_most: Duration) {
        self.is_resting.set(true);
        // What comes first does not matter.
        let _ = tokio::time::timeout(at_most, self.wanted.notified()).await;
        self.is_resting.set(false);
    }
}

/// What a connection is busy with, which decides how it can be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occupation {
    /// Waits for a request; may be ended without anyone noticing.
    Idle,
    /// An exchange that ends by itself.
    Request,
    /// A stream of events, which can be ended between two of them.
    Events,
    /// WebSocket frames, between which a close frame can be put.
    Frames,
    /// A stream of bytes of unknown meaning.
    Bytes,
}

/// How a connection is asked to end as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retiring {
    No,
    /// With its next answer, or in its own time when none comes.
    AtNextAnswer,
    /// As soon as it is idle.
    WhenIdle,
}

/// What the thread knows of one connection from outside its task.
pub struct Watch {
    clock: Rc<Clock>,
    deadlines: [Cell<u64>; 2],
    expired: [Cell<bool>; 2],
    idle: Cell<bool>,
    retiring: Cell<Retiring>,
    pub(crate) drain: DrainCells,
    waker: RefCell<Option<Waker>>,
    listener: u32,
}

/// What is told to a connection whose instance, or whose gateway, is to have nothing more to do.
pub struct DrainCells {
    occupation: Cell<Occupation>,
    /// Number of the endpoint it works with; 0 for none.
    pub endpoint: Cell<u64>,
    /// When it is asked to end politely, and when it is cut.
    pub end_at: Cell<u64>,
    pub cut_at: Cell<u64>,
    ending: Cell<bool>,
    cut: Cell<bool>,
    /// The sides whose waits are over once the connection is asked to end.
    attentive: [Cell<bool>; 2],
}

impl DrainCells {
    fn new() -> Self {
        Self {
            occupation: Cell::new(Occupation::Request),
            endpoint: Cell::new(0),
            end_at: Cell::new(NEVER),
            cut_at: Cell::new(NEVER),
            ending: Cell::new(false),
            cut: Cell::new(false),
            attentive: Default::default(),
        }
    }
    /// Takes back what was planned and has not begun.
    pub fn forget(&self) {
        self.end_at.set(NEVER);
        self.cut_at.set(NEVER);
    }
    fn reset(&self) {
        self.forget();
        self.occupation.set(Occupation::Request);
        self.ending.set(false);
        self.cut.set(false);
        self.attentive.iter().for_each(|attentive| attentive.set(false));
    }
}

impl Watch {
    pub fn arm(&self, side: Side, limit: Duration) {
        self.arm_at(side, self.after(limit));
    }
    /// Milliseconds since the process started.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }
    /// The moment `limit` from now.
    pub fn after(&self, limit: Duration) -> u64 {
        self.clock.now_ms().saturating_add(limit.as_millis() as u64)
    }
    pub fn arm_at(&self, side: Side, moment_ms: u64) {
        self.clock.touch();
        self.deadlines[side as usize].set(moment_ms);
        self.expired[side as usize].set(false);
    }
    pub fn disarm(&self, side: Side) {
        self.deadlines[side as usize].set(NEVER);
        self.expired[side as usize].set(false);
    }
    /// Ends the next wait on the side that would not be over at once.
    pub fn expire(&self, side: Side) {
        self.expired[side as usize].set(true);
    }
    /// The listener is gone or the process ends: no further request on this connection.
    pub fn retires(&self) -> bool {
        self.retiring.get() != Retiring::No
    }
    pub fn retiring(&self) -> Retiring {
        self.retiring.get()
    }
    pub fn set_idle(&self, idle: bool) {
        self.idle.set(idle);
    }
    /// From here on the connection works with this endpoint, until [`Watch::leave`].
    pub fn join(&self, endpoint: u64) {
        self.drain.reset();
        self.drain.endpoint.set(endpoint);
    }
    pub fn leave(&self) {
        self.drain.reset();
        self.drain.endpoint.set(0);
    }
    pub fn occupy(&self, occupation: Occupation) {
        self.drain.occupation.set(occupation);
    }
    pub fn occupation(&self) -> Occupation {
        if self.idle.get() { Occupation::Idle } else { self.drain.occupation.get() }
    }
    /// It was asked to end politely.
    pub fn ending(&self) -> bool {
        self.drain.ending.get()
    }
    /// Its time is over.
    pub fn is_cut(&self) -> bool {
        self.drain.cut.get()
    }
    /// While set, being asked to end ends the waits on this side (`Interrupted`). Returns what was
    /// set before.
    pub fn attend(&self, side: Side, attentive: bool) -> bool {
        self.drain.attentive[side as usize].replace(attentive)
    }
    /// Does what was planned for this moment.
    pub fn fire(&self, now_ms: u64) {
        if self.drain.end_at.get() <= now_ms && !self.drain.ending.replace(true) {
            self.wake();
        }
        if self.drain.cut_at.get() <= now_ms && !self.drain.cut.replace(true) {
            self.wake();
        }
    }
    /// Polls until ready, or until the side's deadline has passed (`TimedOut`), or until the
    /// connection is idle and unwanted or asked to end (`Interrupted`), or cut (`ConnectionAborted`).
    pub async fn guard<T>(
        &self,
        side: Side,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        poll_fn(|cx| {
            if let ready @ Poll::Ready(_) = poll(cx) {
                return ready;
            }
            if self.expired[side as usize].get() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            if let Some(kind) = self.unwanted(side) {
                return Poll::Ready(Err(kind.into()));
            }
            self.remember(cx);
            Poll::Pending
        })
        .await
    }
    fn unwanted(&self, side: Side) -> Option<io::ErrorKind> {
        let drain = &self.drain;
        if drain.cut.get() {
            return Some(io::ErrorKind::ConnectionAborted);
        }
        let idle = self.idle.get();
        let asked = drain.ending.get() && (idle || drain.attentive[side as usize].get());
        let unwanted = asked || (idle && self.retiring.get() == Retiring::WhenIdle);
        unwanted.then_some(io::ErrorKind::Interrupted)
    }
    fn remember(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }
    fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
    fn look(&self, now_ms: u64) {
        for (deadline, expired) in self.deadlines.iter().zip(&self.expired) {
            if deadline.get() <= now_ms {
                deadline.set(NEVER);
                expired.set(true);
                self.wake();
            }
        }
    }
    fn retire(&self, how: Retiring) {
        self.retiring.set(how);
        self.wake();
    }
}

/// All connections of one thread.
pub struct Registry {
    clock: Rc<Clock>,
    slots: RefCell<Vec<Option<Rc<Watch>>>>,
    free: RefCell<Vec<usize>>,
    count: Cell<usize>,
    /// How many of them are streams of one of the others.
    streams: Cell<usize>,
    /// The number of those that are none, for other threads.
    open: Arc<AtomicU64>,
    changed: tokio::sync::Notify,
    quiet_looks: Cell<u32>,
}

impl Registry {
    pub fn new(start: Instant, open: Arc<AtomicU64>) -> Self {
        Self {
            open,
            clock: Rc::new(Clock::new(start)),
            slots: RefCell::default(),
            free: RefCell::default(),
            count: Cell::new(0),
            streams: Cell::new(0),
            changed: tokio::sync::Notify::new(),
            quiet_looks: Cell::new(0),
        }
    }
    pub fn clock(&self) -> &Clock {
        &self.clock
    }
    pub fn count(&self) -> usize {
        self.count.get()
    }
    /// Streams within connections.
    pub fn streams(&self) -> usize {
        self.streams.get()
    }
    /// Those that have a socket of their own.
    pub fn connections(&self) -> usize {
        self.count.get() - self.streams.get()
    }
    /// Completes when the number of connections changed.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
    pub fn register(self: &Rc<Self>, listener: u32) -> Registered {
        let watch = Rc::new(Watch {
            clock: self.clock.clone(),
            deadlines: [Cell::new(NEVER), Cell::new(NEVER)],
            expired: Default::default(),
            idle: Cell::new(false),
            retiring: Cell::new(Retiring::No),
            drain: DrainCells::new(),
            waker: RefCell::new(None),
            listener,
        });
        let mut slots = self.slots.borrow_mut();
        let slot = self.free.borrow_mut().pop().unwrap_or_else(|| {
            slots.push(None);
            slots.len() - 1
        });
        slots[slot] = Some(watch.clone());
        let before = self.count.get();
        self.set_count(before + 1);
        self.clock.touch();
        if before == 0 {
            self.clock.refresh();
            self.changed.notify_waiters();
        }
        Registered { registry: self.clone(), slot, watch, is_stream: false }
    }
    /// As a connection, and counted as a stream within one.
    pub fn register_stream(self: &Rc<Self>, listener: u32) -> Registered {
        self.streams.set(self.streams.get() + 1);
        let mut registered = self.register(listener);
        registered.is_stream = true;
        registered
    }
    /// Waits until the next sweep is due: a long time only while nothing happens and no deadline is
    /// near.
    pub async fn pause(&self, may_rest: bool) {
        let looks = if self.clock.is_used.take() || !may_rest { 0 } else { self.quiet_looks.get() + 1 };
        self.quiet_looks.set(looks.min(QUIET_LOOKS));
        let near = self.next_deadline().saturating_sub(self.clock.last_ms());
        if looks < QUIET_LOOKS || near <= SWEEP.as_millis() as u64 {
            return tokio::time::sleep(SWEEP).await;
        }
        self.clock.rest(REST.min(Duration::from_millis(near))).await;
    }
    fn next_deadline(&self) -> u64 {
        let slots = self.slots.borrow();
        let deadlines = slots.iter().flatten().flat_map(|watch| &watch.deadlines);
        deadlines.map(Cell::get).min().unwrap_or(NEVER)
    }
    /// Wakes every connection whose deadline has passed.
    pub fn sweep(&self) {
        self.clock.refresh();
        let now_ms = self.clock.last_ms();
        self.slots.borrow().iter().flatten().for_each(|watch| watch.look(now_ms));
    }
    /// Asks the connections of one listener, or all, to end; the idle ones first.
    pub fn retire(&self, listener: Option<u32>, how: Retiring) {
        let wanted = |watch: &Watch| listener.is_none_or(|listener| watch.listener == listener);
        self.each(|watch| {
            if wanted(watch) {
                watch.retire(how);
            }
        });
    }
    pub fn each(&self, mut act: impl FnMut(&Rc<Watch>)) {
        self.slots.borrow().iter().flatten().for_each(&mut act);
    }
    fn set_count(&self, count: usize) {
        self.count.set(count);
        self.open.store(self.connections() as u64, Relaxed);
    }
}

/// A connection's place in the registry; it leaves when dropped.
pub struct Registered {
    registry: Rc<Registry>,
    slot: usize,
    watch: Rc<Watch>,
    is_stream: bool,
}

impl std::ops::Deref for Registered {
    type Target = Watch;
    fn deref(&self) -> &Watch {
        &self.watch
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.slots.borrow_mut()[self.slot] = None;
        self.registry.free.borrow_mut().push(self.slot);
        if self.is_stream {
            self.registry.streams.set(self.registry.streams.get() - 1);
        }
        self.registry.set_count(self.registry.count.get() - 1);
        self.registry.clock.touch();
        self.registry.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending() -> impl FnMut(&mut Context<'_>) -> Poll<io::Result<()>> {
        |_| Poll::Pending
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_passed_deadline_ends_the_wait_on_its_side_only() {
        let registry = Rc::new(Registry::new(Instant::now(), Arc::default()));
        let watch = registry.register(0);
        watch.arm(Side::Output, Duration::from_secs(3600));
        watch.arm(Side::Input, Duration::ZERO);
        registry.sweep();
        let error = watch.guard(Side::Input, pending()).await.expect_err("the deadline has passed");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(!watch.expired[Side::Output as usize].get());
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn sweeps_rest_while_nothing_happens_and_no_longer_than_to_the_next_deadline() {
        let registry = Rc::new(Registry::new(Instant::now(), Arc::default()));
        let took = async |registry: &Registry| {
            let before = tokio::time::Instant::now();
            registry.pause(true).await;
            before.elapsed().as_millis()
        };
        let watch = registry.register(0);
        let pauses = [took(&registry).await, took(&registry).await, took(&registry).await];
        assert_eq!(pauses, [100, 100, 100], "something happened, then it is looked some more times");
        assert_eq!(took(&registry).await, 1000);
        watch.arm(Side::Input, Duration::from_millis(450));
        for _ in 0..3 {
            took(&registry).await;
        }
        assert_eq!(took(&registry).await, 450);
        let (rested, _) = tokio::join!(took(&registry), async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            watch.now_ms()
        });
        assert_eq!(rested, 30);
        for _ in 0..5 {
            registry.pause(false).await;
        }
        assert_eq!((took(&registry).await, took(&registry).await), (100, 100));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn retiring_ends_idle_connections_and_spares_busy_ones() {
        let registry = Rc::new(Registry::new(Instant::now(), Arc::default()));
        let (idle, busy) = (registry.register(7), registry.register(7));
        idle.set_idle(true);
        registry.retire(Some(7), Retiring::WhenIdle);
        let error = idle.guard(Side::Input, pending()).await.expect_err("it is idle");
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        assert!(busy.retires());
        drop((idle, busy));
        assert_eq!(registry.count(), 0);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_connection_is_asked_to_end_then_cut_and_both_are_forgotten_with_its_work() {
        let registry = Rc::new(Registry::new(Instant::now(), Arc::default()));
        let watch = registry.register(0);
        watch.join(3);
        watch.drain.end_at.set(10);
        watch.drain.cut_at.set(20);
        watch.attend(Side::Input, true);
        watch.fire(9);
        assert!(!watch.ending());
        watch.fire(10);
        let asked = watch.guard(Side::Input, pending()).await.expect_err("it is asked to end");
        assert_eq!((asked.kind(), watch.is_cut()), (io::ErrorKind::Interrupted, false));
        watch.fire(20);
        let cut = watch.guard(Side::Output, pending()).await.expect_err("it is cut");
        assert_eq!(cut.kind(), io::ErrorKind::ConnectionAborted);
        watch.leave();
        watch.fire(30);
        assert!(!watch.ending() && !watch.is_cut());
    }
}
