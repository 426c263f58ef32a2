//! Each second: this machine, the instances, and our own processes.

use super::instances::Seen;
use super::{labels, pulse};
use observe::collect::kernel_log::KernelLog;
use observe::collect::logins::Logins;
use observe::collect::node::{Filesystems, Node, Rare};
use observe::collect::{Kept, Recorder, Sink};
use observe::keep::{Ends, Metrics};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often it is looked at what changes rarely.
const RARE: Duration = Duration::from_secs(15);

type Shared = Arc<Mutex<Kept>>;

pub fn runner(metrics: Arc<Metrics>, seen: Seen, is_over: Arc<AtomicBool>) -> impl FnOnce() + Send + 'static {
    move || {
        let rare = Shared::default();
        let rare_ended = rarely(Arc::clone(&rare), Arc::clone(&is_over));
        let mut machine = Machine::new(rare);
        let mut groups = super::instances::Groups::default();
        let mut last = i64::MIN;
        while let Some(second) = pulse::wait(&is_over, 0) {
            // A clock that was set back: the store takes nothing before its newest.
            if second > last {
                last = second;
                machine.tick(&metrics, second);
                groups.tick(&metrics, &seen, second);
            }
        }
        if let Some(thread) = rare_ended {
            thread.thread().unpark();
        }
    }
}

/// Looks on a thread of its own, which may be held by a file system.
fn rarely(into: Shared, is_over: Arc<AtomicBool>) -> Option<std::thread::JoinHandle<()>> {
    let work = move || {
        let (rare, filesystems) = (Rare::default(), Filesystems::default());
        while !is_over.load(Ordering::Relaxed) {
            let mut kept = rare.collect();
            filesystems.collect().replay(&mut kept);
            *into.lock().unwrap_or_else(PoisonError::into_inner) = kept;
            let next = Instant::now() + RARE;
            while Instant::now() < next && !is_over.load(Ordering::Relaxed) {
                // Woken at once at the end.
                std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
            }
        }
    };
    // Without it the rest is measured all the same.
    std::thread::Builder::new().name("measure-rare".into()).spawn(work).ok()
}

struct Machine {
    recorder: Recorder,
    node: Node,
    rare: Shared,
    kernel_log: KernelLog,
    logins: Logins,
}

impl Machine {
    fn new(rare: Shared) -> Self {
        Self {
            recorder: Recorder::new("node", Ends::WhenMissing, labels("node")),
            node: Node::new(Path::new("/proc")),
            rare,
            kernel_log: KernelLog::open(Path::new("/dev/kmsg")),
            logins: Logins::default(),
        }
    }

    fn tick(&mut self, metrics: &Metrics, second: i64) {
        let Self { recorder, node, rare, kernel_log, logins } = self;
        let begun = Instant::now();
        let done = recorder.tick(metrics, second, |sink| {
            sink.gauge("up", &[], 1.0);
            sink.gauge("node_time_seconds", &[], second as f64 / 1000.0);
            node.collect(sink);
            rare.lock().unwrap_or_else(PoisonError::into_inner).replay(sink);
            kernel_log.collect(sink);
            logins.collect(sink);
            status(metrics, sink);
            sink.gauge("juchu_measurements_tick_seconds", &[], begun.elapsed().as_secs_f64());
        });
        // A tick that comes too late is left out, as one is that never came.
        let _ = done;
    }
}

/// The store itself.
fn status(metrics: &Metrics, sink: &mut dyn Sink) {
    let status = metrics.status();
    sink.gauge("juchu_measurements_series", &[], status.series as f64);
    sink.gauge("juchu_measurements_segments", &[], status.segments as f64);
    sink.gauge("juchu_measurements_bytes", &[], status.bytes as f64);
    sink.counter("juchu_measurements_refused_total", &[], status.refused as f64);
    sink.counter("juchu_measurements_lost_total", &[], status.lost as f64);
    sink.counter("juchu_measurements_dropped_rows_total", &[], status.dropped_rows as f64);
}
