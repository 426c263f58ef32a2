//! How fast is told, and when again what could not be.

use std::collections::VecDeque;

const FIRST_PAUSE_MS: i64 = 1_000;
const LONGEST_PAUSE_MS: i64 = 5 * 60_000;
/// What could not be told for so long is not told any more.
pub const GIVEN_UP_MS: i64 = 24 * 60 * 60_000;
/// Messages to one receiver in a time; others wait.
pub const MOST: usize = 20;
const TIME_MS: i64 = 60_000;

/// How long to wait after so many attempts: 1 s, 2 s, 4 s … 5 min.
pub fn pause_ms(attempts: u32) -> i64 {
    (FIRST_PAUSE_MS << attempts.saturating_sub(1).min(20)).min(LONGEST_PAUSE_MS)
}

/// When a receiver was told last.
#[derive(Debug, Default)]
pub struct Rate {
    sent_ms: VecDeque<i64>,
}

impl Rate {
    /// How long until one more may be sent; 0 now.
    pub fn wait_ms(&mut self, now_ms: i64) -> i64 {
        // What lies ahead was before the clock was set back.
        self.sent_ms.retain(|sent| *sent <= now_ms && now_ms - sent < TIME_MS);
        match self.sent_ms.len() < MOST {
            true => 0,
            false => self.sent_ms.front().map_or(0, |first| first + TIME_MS - now_ms),
        }
    }

    pub fn sent(&mut self, now_ms: i64) {
        self.sent_ms.push_back(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        assert_eq!([1, 2, 3, 9, 10, 1000].map(pause_ms), [1000, 2000, 4000, 256_000, 300_000, 300_000]);
    }

    #[test]
    fn there_is_a_limit_in_a_minute() {
        let mut rate = Rate::default();
        for at in 0..MOST as i64 {
            assert_eq!(rate.wait_ms(at), 0);
            rate.sent(at);
        }
        assert_eq!(rate.wait_ms(30_000), 30_000);
        assert_eq!(rate.wait_ms(60_000), 0);
        assert_eq!(rate.wait_ms(-10), 0, "the clock was set back");
    }
}
