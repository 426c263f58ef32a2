//! Waiting for something to become true, instead of sleeping and hoping.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

const POLL_EVERY: Duration = Duration::from_millis(2);

/// Returns as soon as `condition` holds; panics with `what` when it does not within `limit`.
#[track_caller]
pub fn wait_until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(limit, what, || condition().then_some(()));
}

/// As `wait_until`, for a value.
#[track_caller]
pub fn wait_for<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain: {what}");
        std::thread::sleep(POLL_EVERY);
    }
}

/// A TCP port of the loopback that was free a moment ago. Prefer port 0 where the program under
/// test can say which port it got.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the loopback has free ports");
    listener.local_addr().expect("a bound socket has an address").port()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_when_it_may() {
        let mut left = 3;
        let value = wait_for(Duration::from_secs(5), "the third try", || {
            left -= 1;
            (left == 0).then_some("there")
        });
        assert_eq!(value, "there");
    }

    #[test]
    #[should_panic(expected = "in vain: pigs to fly")]
    fn waiting_in_vain_says_for_what() {
        wait_until(Duration::from_millis(5), "pigs to fly", || false);
    }
}
