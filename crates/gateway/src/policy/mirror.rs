//! Copies of requests for another service: how many, and what became of them.

use crate::counters::Counters;
use model::traffic::Mirror as Declared;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// Bytes of a request that is copied, its head included.
pub const MAX_COPY_BYTES: usize = 64 * 1024;
/// Copies under way in each thread.
pub const MAX_COPIES: u64 = 64;

pub struct Mirror {
    /// Of the route table.
    pub backend: String,
    percent: u64,
    /// Not copied: too large, or too many were under way.
    left_out: AtomicU64,
    counters: OnceLock<Arc<Counters>>,
}

impl Mirror {
    pub fn new(declared: &Declared) -> Self {
        Self {
            backend: declared.backend.clone(),
            percent: declared.share.get().into(),
            left_out: AtomicU64::new(0),
            counters: OnceLock::new(),
        }
    }

    /// Whether a request is one of those that are copied.
    pub fn draws(&self, lot: u64) -> bool {
        lot % 100 < self.percent
    }

    pub fn leave_out(&self) {
        self.left_out.fetch_add(1, Relaxed);
    }

    pub fn left_out(&self) -> u64 {
        self.left_out.load(Relaxed)
    }

    /// Of the copies, with a part for each thread.
    pub fn counters(&self, shards: usize) -> &Arc<Counters> {
        self.counters.get_or_init(|| Arc::new(Counters::new(shards)))
    }

    /// The same, if there was a copy at all.
    pub fn counted(&self) -> Option<&Counters> {
        self.counters.get().map(|counters| &**counters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Percent;

    #[test]
    fn a_share_is_kept() {
        for (share, expect) in [("5%", 50), ("100%", 1000)] {
            let share = Percent::parse(share).expect("a share");
            let mirror = Mirror::new(&Declared { backend: "s/b:80".into(), share });
            assert_eq!((0..1000).filter(|lot| mirror.draws(*lot)).count(), expect);
        }
    }
}
