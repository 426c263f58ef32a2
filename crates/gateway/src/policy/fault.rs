//! Disturbances on purpose: a share of the requests is delayed, or answered without an instance.

use model::traffic::Fault;
use std::time::Duration;

/// What one request meets.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Met {
    pub delay: Option<Duration>,
    pub status: Option<u16>,
}

/// Each disturbance draws for itself; of several delays and statuses the first counts.
pub fn draw(faults: &[Fault], mut random: impl FnMut() -> u64) -> Met {
    let mut met = Met::default();
    for fault in faults {
        if random() % 100 >= u64::from(fault.share.get()) {
            continue;
        }
        let delay = fault.delay.map(|delay| Duration::from_millis(delay.0));
        met.delay = met.delay.or(delay);
        met.status = met.status.or(fault.status);
    }
    met
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{DurationMs, Percent};

    #[test]
    fn shares_are_kept() {
        let share = |text: &str| Percent::parse(text).expect("a share");
        let faults = [
            Fault { share: share("10%"), delay: Some(DurationMs(50)), status: None },
            Fault { share: share("100%"), delay: Some(DurationMs(70)), status: None },
            Fault { share: share("1%"), delay: None, status: Some(500) },
        ];
        let mut at = 0;
        let mut counts = (0, 0);
        let mut answered = 0;
        for _ in 0..10_000 {
            let met = draw(&faults, || {
                at += 1;
                // Each of the three draws goes through all parts in turn.
                (at - 1) / 3
            });
            answered += u32::from(met.status == Some(500));
            match met.delay.expect("each is delayed").as_millis() {
                50 => counts.0 += 1,
                _ => counts.1 += 1,
            }
        }
        assert_eq!((counts, answered), ((1000, 9000), 100));
        assert_eq!(draw(&[], || 0), Met::default());
    }
}
