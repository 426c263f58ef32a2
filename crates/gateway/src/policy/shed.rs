//! Who is refused first where not all can be served: low priorities before the queue is full, and
//! what waits with a lower priority before what comes with a higher one.

use model::traffic::Priority;

/// Share of the queue that requests of low priority may fill, in percent.
const LOW_PERCENT: usize = 50;

/// What becomes of a request that finds every instance at its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Waits,
    /// The latest of this priority has to go for it.
    InPlaceOf(Priority),
    /// There is room, but not for its like.
    Shed,
    Full,
}

/// `waiting` are those of each priority in the queue, from the lowest. Where limits are measured
/// (`adaptive`), reaching them is overload, and nobody of low priority waits it out.
pub fn judge(priority: Priority, waiting: [usize; 3], size: usize, adaptive: bool) -> Verdict {
    let total: usize = waiting.iter().sum();
    let room = if priority == Priority::Low { (size * LOW_PERCENT).div_ceil(100) } else { size };
    if priority == Priority::Low && adaptive {
        return Verdict::Shed;
    }
    if total < room {
        return Verdict::Waits;
    }
    if total < size {
        return Verdict::Shed;
    }
    let lower = Priority::ALL.into_iter().zip(waiting).find(|(other, count)| *other < priority && *count > 0);
    lower.map_or(Verdict::Full, |(lowest, _)| Verdict::InPlaceOf(lowest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{High, Low, Normal};
    use Verdict::{Full, InPlaceOf, Shed, Waits};

    #[test]
    fn the_lower_goes_first() {
        for (priority, waiting, adaptive, expect) in [
            (Low, [0, 4, 0], false, Waits),
            (Low, [0, 5, 0], false, Shed),
            (Low, [0, 0, 0], true, Shed),
            (Low, [0, 10, 0], false, Full),
            (Normal, [5, 4, 0], false, Waits),
            (Normal, [0, 0, 0], true, Waits),
            (Normal, [5, 5, 0], false, InPlaceOf(Low)),
            (Normal, [0, 9, 1], false, Full),
            (High, [1, 9, 0], false, InPlaceOf(Low)),
            (High, [0, 9, 1], false, InPlaceOf(Normal)),
            (High, [0, 0, 10], false, Full),
        ] {
            assert_eq!(judge(priority, waiting, 10, adaptive), expect, "{priority:?} beside {waiting:?}");
        }
    }

    #[test]
    fn without_a_queue_nobody_waits_and_a_small_one_has_room_for_each() {
        assert!(Priority::ALL.iter().all(|priority| judge(*priority, [0; 3], 0, false) == Full));
        assert_eq!(judge(Low, [0; 3], 1, false), Waits);
    }
}
