//! Deadlines without timers: each connection keeps two cells, one sweep per thread looks at all.
//!
//! Setting a deadline is a store, so it can be done for every read. The price is precision: a
//! limit may be passed by one sweep, which is a tenth of a second.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Time between two looks at all connections of a thread.
pub const SWEEP: Duration = Duration::from_millis(100);
const NEVER: u64 = u64::MAX;

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
}

impl Clock {
    pub fn new(start: Instant) -> Self {
        Self { start, now_ms: Cell::new(0) }
    }
    pub fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }
    pub fn refresh(&self) {
        self.now_ms.set(self.start.elapsed().as_millis() as u64);
    }
}

/// What the thread knows of one connection from outside its task.
pub struct Watch {
    clock: Rc<Clock>,
    deadlines: [Cell<u64>; 2],
    expired: [Cell<bool>; 2],
    /// Waits for a request; may be ended without anyone noticing.
    idle: Cell<bool>,
    draining: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    listener: u32,
}

impl Watch {
    pub fn arm(&self, side: Side, limit: Duration) {
        self.arm_at(side, self.after(limit));
    }
    /// The moment `limit` from now.
    pub fn after(&self, limit: Duration) -> u64 {
        self.clock.now_ms().saturating_add(limit.as_millis() as u64)
    }
    pub fn arm_at(&self, side: Side, moment_ms: u64) {
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
    pub fn draining(&self) -> bool {
        self.draining.get()
    }
    pub fn set_idle(&self, idle: bool) {
        self.idle.set(idle);
    }
    /// Polls until ready, or until the side's deadline has passed (`TimedOut`), or until the
    /// connection is idle and unwanted (`Interrupted`).
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
            if self.idle.get() && self.draining.get() {
                return Poll::Ready(Err(io::ErrorKind::Interrupted.into()));
            }
            self.remember(cx);
            Poll::Pending
        })
        .await
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
    fn drain(&self) {
        self.draining.set(true);
        if self.idle.get() {
            self.wake();
        }
    }
}

/// All connections of one thread.
pub struct Registry {
    clock: Rc<Clock>,
    slots: RefCell<Vec<Option<Rc<Watch>>>>,
    free: RefCell<Vec<usize>>,
    count: Cell<usize>,
    changed: tokio::sync::Notify,
}

impl Registry {
    pub fn new(start: Instant) -> Self {
        Self {
            clock: Rc::new(Clock::new(start)),
            slots: RefCell::default(),
            free: RefCell::default(),
            count: Cell::new(0),
            changed: tokio::sync::Notify::new(),
        }
    }
    pub fn clock(&self) -> &Clock {
        &self.clock
    }
    pub fn count(&self) -> usize {
        self.count.get()
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
            draining: Cell::new(false),
            waker: RefCell::new(None),
            listener,
        });
        let mut slots = self.slots.borrow_mut();
        let slot = self.free.borrow_mut().pop().unwrap_or_else(|| {
            slots.push(None);
            slots.len() - 1
        });
        slots[slot] = Some(watch.clone());
        if self.count.replace(self.count.get() + 1) == 0 {
            self.clock.refresh();
            self.changed.notify_waiters();
        }
        Registered { registry: self.clone(), slot, watch }
    }
    /// Wakes every connection whose deadline has passed.
    pub fn sweep(&self) {
        self.clock.refresh();
        let now_ms = self.clock.now_ms();
        self.slots.borrow().iter().flatten().for_each(|watch| watch.look(now_ms));
    }
    /// Ends the idle connections of one listener, or of all, and marks the busy ones.
    pub fn drain(&self, listener: Option<u32>) {
        let slots = self.slots.borrow();
        let wanted = |watch: &&Rc<Watch>| listener.is_none_or(|listener| watch.listener == listener);
        slots.iter().flatten().filter(wanted).for_each(|watch| watch.drain());
    }
}

/// A connection's place in the registry; it leaves when dropped.
pub struct Registered {
    registry: Rc<Registry>,
    slot: usize,
    watch: Rc<Watch>,
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
        self.registry.count.set(self.registry.count.get() - 1);
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
        let registry = Rc::new(Registry::new(Instant::now()));
        let watch = registry.register(0);
        watch.arm(Side::Output, Duration::from_secs(3600));
        watch.arm(Side::Input, Duration::ZERO);
        registry.sweep();
        let error = watch.guard(Side::Input, pending()).await.expect_err("the deadline has passed");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(!watch.expired[Side::Output as usize].get());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn draining_ends_idle_connections_and_spares_busy_ones() {
        let registry = Rc::new(Registry::new(Instant::now()));
        let (idle, busy) = (registry.register(7), registry.register(7));
        idle.set_idle(true);
        registry.drain(Some(7));
        let error = idle.guard(Side::Input, pending()).await.expect_err("it is idle");
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        assert!(busy.draining());
        drop((idle, busy));
        assert_eq!(registry.count(), 0);
    }
}
