//! The beat: whole seconds of the wall clock.

use super::now_ms;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

pub const TICK_MS: i64 = 1000;
/// How long ending may take.
pub const END_LIMIT: Duration = Duration::from_millis(400);

/// Waits for the next whole second, plus an offset, and returns that second; none when it is over.
/// Seconds that went by meanwhile are left out.
pub fn wait(is_over: &AtomicBool, offset_ms: i64) -> Option<i64> {
    let next = next(now_ms(), offset_ms);
    loop {
        if is_over.load(Ordering::Relaxed) {
            return None;
        }
        let left = next + offset_ms - now_ms();
        if left <= 0 {
            return Some(next);
        }
        // A clock that was set back must not make this wait for ever.
        thread::park_timeout(Duration::from_millis(left.min(TICK_MS) as u64));
        if left > TICK_MS {
            return Some(now_ms() / TICK_MS * TICK_MS);
        }
    }
}

fn next(now_ms: i64, offset_ms: i64) -> i64 {
    ((now_ms - offset_ms).div_euclid(TICK_MS) + 1) * TICK_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_a_whole_second() {
        assert_eq!((next(1_500, 0), next(1_999, 0), next(2_000, 0)), (2_000, 2_000, 3_000));
        assert_eq!((next(2_100, 500), next(2_500, 500)), (2_000, 3_000));
        let over = AtomicBool::new(true);
        assert_eq!(wait(&over, 0), None);
    }
}
