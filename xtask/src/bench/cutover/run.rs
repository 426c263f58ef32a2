//! One run: the load from its first to its last request, and the script beside it.

use super::script::{Change, Script};
use crate::{Failure, Outcome};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use traffic::clock::now_us;
use traffic::programs::Programs;
use traffic::report::{Report, Sample};
use traffic::running::{Load, Settings};
use traffic::timeline::{Event, Timeline};

const WEBSOCKETS: u32 = 100;
const SESSIONS: u32 = 50;
const SEED: u64 = 20_261_122;
/// Failures that are told while the run goes on; all are counted.
const TOLD: u64 = 20;
const TELL_EVERY: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Something that serves the application and can be changed while it does.
pub trait System {
    fn name(&self) -> &'static str;
    /// Where HTTP and where lines are spoken.
    fn addresses(&self) -> (SocketAddr, SocketAddr);
    /// Does it as a careful operator would; returns when it is done.
    fn change(&mut self, change: Change) -> Result<Figures, Failure>;
    /// Whether the application has to finish what it has when it is stopped, for nothing to be cut.
    fn needs_help(&self) -> bool;
    /// What must hold when all is over.
    fn check(&self) -> Outcome {
        Ok(())
    }
    /// Processes that carry the traffic.
    fn proxies(&self) -> Vec<u32>;
}

/// What the system itself says of a change.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    pub swap_us: Option<u64>,
    pub decided_ms: Option<u64>,
    /// How long nothing could take traffic.
    pub gap_ms: Option<u64>,
}

pub struct Done {
    pub change: Change,
    pub begun_us: u64,
    pub outcome: Result<Figures, String>,
}

pub struct Run {
    pub name: &'static str,
    pub helped: bool,
    pub report: Report,
    pub samples: Vec<Sample>,
    pub timeline: Timeline,
    pub done: Vec<Done>,
    /// Processor time of the processes that carried the traffic.
    pub proxy_us: u64,
}

pub fn run(
    system: &mut dyn System,
    programs: &Programs,
    requests: u64,
    script: &Script,
) -> Result<Run, Failure> {
    let (http, lines) = system.addresses();
    let (name, seconds) = (system.name(), requests / super::RATE);
    eprintln!("{name}: {requests} requests in {seconds} s, {} changes", script.0.len());
    let directory = std::env::temp_dir().join(format!("juchu-cutover-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let rate = super::RATE;
    let settings = Settings {
        http,
        lines,
        rate,
        requests,
        websockets: WEBSOCKETS,
        sessions: SESSIONS,
        seed: SEED,
        before_others: true,
    };
    let told = Arc::new(AtomicU64::new(0));
    let load = Load::start(&programs.load, &directory, &settings, move |failure| {
        if told.fetch_add(1, Ordering::Relaxed) < TOLD {
            eprintln!("  failed: {} {} ({})", failure.kind.words(), failure.class.words(), failure.detail);
        }
    })?;
    let mut watch = Watch::default();
    let mut done = Vec::new();
    let mut timeline = Timeline::default();
    let mut numbers: BTreeMap<Change, u32> = BTreeMap::new();
    for step in &script.0 {
        wait(&load, &mut watch, system, load.started_us + step.at.as_micros() as u64);
        let number = numbers.entry(step.change).or_default();
        *number += 1;
        let what = format!("{} {number}", step.change);
        let begun_us = now_us();
        let outcome = system.change(step.change).map_err(|failure| failure.to_string());
        let ended_us = now_us();
        let at = (begun_us - load.started_us) as f64 / 1e6;
        let took = (ended_us - begun_us) as f64 / 1e6;
        eprintln!("  {at:7.1} s  {what}: {took:.2} s {}", outcome.as_ref().err().map_or("", |e| e));
        timeline.0.push(Event { what, begun_us, ended_us });
        done.push(Done { change: step.change, begun_us, outcome });
    }
    let end = load.started_us + requests * 1_000_000 / rate;
    wait(&load, &mut watch, system, end);
    watch.look(&system.proxies());
    let (report, samples) = load.finish()?;
    watch.look(&system.proxies());
    system.check()?;
    std::fs::remove_dir_all(&directory)?;
    Ok(Run { name, helped: system.needs_help(), report, samples, timeline, done, proxy_us: watch.total_us() })
}

/// Until that moment; tells now and then how it goes.
fn wait(load: &Load, watch: &mut Watch, system: &dyn System, until_us: u64) {
    let (_never, ticks) = mpsc::channel::<()>();
    loop {
        let now = now_us();
        let left = Duration::from_micros(until_us.saturating_sub(now));
        if left.is_zero() {
            return;
        }
        watch.look(&system.proxies());
        if now.saturating_sub(watch.told_us) >= TELL_EVERY.as_micros() as u64 {
            watch.told_us = now;
            let progress = load.progress();
            eprintln!(
                "  {:7.1} s  {} done, {} failed, {} under way",
                now.saturating_sub(load.started_us) as f64 / 1e6,
                progress.done,
                progress.failed,
                progress.in_flight
            );
        }
        let _ = ticks.recv_timeout(left.min(LOOK_EVERY));
    }
}

/// Adds up the processor time of processes that come and go.
#[derive(Default)]
struct Watch {
    first_us: BTreeMap<u32, u64>,
    last_us: BTreeMap<u32, u64>,
    told_us: u64,
}

impl Watch {
    fn look(&mut self, pids: &[u32]) {
        for pid in pids {
            let Some(us) = processor_us(*pid) else { continue };
            self.first_us.entry(*pid).or_insert(us);
            self.last_us.insert(*pid, us);
        }
    }

    fn total_us(&self) -> u64 {
        self.last_us.iter().map(|(pid, last)| last - self.first_us.get(pid).unwrap_or(last)).sum()
    }
}

/// Processor time of a process, threads that ended included; none once it is gone.
fn processor_us(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything; user and system time are fields 14 and 15.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    // SAFETY: sysconf only takes a number.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Some((ticks(14)? + ticks(15)?) * 1_000_000 / u64::try_from(per_second).ok()?)
}

#[cfg(test)]
mod tests {
    use super::processor_us;

    #[test]
    fn the_time_of_a_process_goes_on_when_its_threads_end() {
        let me = std::process::id();
        let before = processor_us(me).expect("this process");
        let busy =
            || (0..30_000_000u64).fold(0, |sum: u64, i| sum.wrapping_mul(31) ^ std::hint::black_box(i));
        std::thread::spawn(busy).join().expect("it ends");
        let used = processor_us(me).expect("this process") - before;
        assert!((10_000..20_000_000).contains(&used), "{used} µs");
        assert_eq!(processor_us(0), None);
    }
}
