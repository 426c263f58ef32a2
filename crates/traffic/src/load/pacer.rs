//! Waits for moments to the microsecond; the runtime's own timers know milliseconds only.

use crate::clock;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use tokio::net::unix::pipe::Receiver;

/// A timer of the kernel, read like a pipe: eight bytes come when it is time.
pub struct Pacer(Receiver);

impl Pacer {
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Ok(Self(Receiver::from_owned_fd_unchecked(timerfd_create(TimerfdClockId::Monotonic, flags)?)?))
    }

    /// Until that moment of `clock::now_us`.
    pub async fn until(&mut self, at_us: u64) -> io::Result<()> {
        if clock::now_us() >= at_us {
            return Ok(());
        }
        let once = Timespec { tv_sec: 0, tv_nsec: 0 };
        // A moment in the past, too, makes the timer fire; only a zero would disarm it.
        let at = Timespec {
            tv_sec: i64::try_from(at_us / 1_000_000).map_err(io::Error::other)?,
            tv_nsec: (at_us % 1_000_000 * 1000) as i64 + 1,
        };
        let when = Itimerspec { it_interval: once, it_value: at };
        timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &when)?;
        loop {
            self.0.readable().await?;
            match self.0.try_read(&mut [0; 8]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                fired => return fired.map(drop),
            }
        }
    }
}
