//! One clock for all processes of this machine, so that what they write down can be compared.

use rustix::time::{ClockId, clock_gettime};

/// Microseconds since the machine started.
pub fn now_us() -> u64 {
    microseconds(ClockId::Monotonic)
}

/// Processor time that this process has used, on all its threads.
pub fn processor_us() -> u64 {
    microseconds(ClockId::ProcessCPUTime)
}

fn microseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_nsec.unsigned_abs() / 1000
}
