//! When an instance that ended is started again.

use model::instance::Exit;
use model::service::RestartPolicy;
use model::{DurationMs, Timestamp};

/// First pause between two starts; doubled with each quick failure in a row, as Docker does.
pub const FIRST_PAUSE: DurationMs = DurationMs(100);
/// Longest pause between two starts.
pub const LONGEST_PAUSE: DurationMs = DurationMs::from_secs(60);
/// Quick failures in a row that make a crash loop.
pub const CRASH_LOOP: u32 = 3;
/// Starts that a program may need while the release before is still there to go back to.
pub const TRIAL_STARTS: u32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Start it at this time.
    StartAt(Timestamp),
    /// It ran to its end with success and stays so.
    Done,
    /// It failed and stays so.
    Failed,
}

/// What follows an exit nobody asked for.
pub fn after_exit(policy: RestartPolicy, exit: &Exit, starts: u32, quick_failures: u32) -> Next {
    let failed = exit.code != 0 || exit.start_error.is_some();
    let again = match policy {
        RestartPolicy::No => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        RestartPolicy::OnFailure { max_retries } => failed && max_retries.is_none_or(|max| starts <= max),
    };
    match (again, failed) {
        (true, _) => Next::StartAt(exit.finished.plus(pause(quick_failures))),
        (false, false) => Next::Done,
        (false, true) => Next::Failed,
    }
}

/// The pause after so many quick failures in a row.
pub fn pause(quick_failures: u32) -> DurationMs {
    let doubled = FIRST_PAUSE.0.saturating_mul(1 << quick_failures.min(20));
    DurationMs(doubled.min(LONGEST_PAUSE.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(code: i32) -> Exit {
        Exit {
            code,
            signal: None,
            oom: false,
            requested: false,
            start_error: None,
            started: Timestamp(0),
            finished: Timestamp(1000),
        }
    }

    #[test]
    fn policies_decide_as_compose_says() {
        let on_failure = RestartPolicy::OnFailure { max_retries: Some(2) };
        assert_eq!(after_exit(RestartPolicy::No, &exit(0), 1, 0), Next::Done);
        assert_eq!(after_exit(RestartPolicy::No, &exit(1), 1, 0), Next::Failed);
        assert_eq!(after_exit(RestartPolicy::Always, &exit(0), 1, 0), Next::StartAt(Timestamp(1100)));
        assert_eq!(after_exit(on_failure, &exit(0), 1, 0), Next::Done);
        assert_eq!(after_exit(on_failure, &exit(1), 2, 1), Next::StartAt(Timestamp(1200)));
        assert_eq!(after_exit(on_failure, &exit(1), 3, 1), Next::Failed);
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        assert_eq!(pause(0), DurationMs(100));
        assert_eq!(pause(3), DurationMs(800));
        assert_eq!(pause(30), LONGEST_PAUSE);
    }
}
