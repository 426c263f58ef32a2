//! Makes what was measured durable once a second, and does the store's housekeeping.

use super::{now_ms, pulse};
use observe::keep::Metrics;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// After the tick, when all of its second are there.
const OFFSET_MS: i64 = 400;
/// Seconds between two looks at what can be merged or dropped.
const MAINTAIN_S: i64 = 10;

pub struct Keep {
    metrics: Arc<Metrics>,
}

impl Keep {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics }
    }

    pub fn runner(self, is_over: Arc<AtomicBool>) -> impl FnOnce() + Send + 'static {
        move || {
            while let Some(second) = pulse::wait(&is_over, OFFSET_MS) {
                // What failed is in the store's own status, and is tried again by itself.
                let _ = self.metrics.sync();
                if second / pulse::TICK_MS % MAINTAIN_S == 0 {
                    self.metrics.maintain(now_ms());
                }
            }
            let _ = self.metrics.sync();
        }
    }
}
