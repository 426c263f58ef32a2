//! What keeping and asking cost on this machine. Prints figures; `cargo bench -p observe`.
//!
//! The measurements are those of this machine's `/proc`, read at each second of a short recording
//! (60 s unless told otherwise) and repeated with what counters have risen by added.

use observe::keep::{Ends, Kind, Metrics, SeriesId, Settings};
use observe::promql::{Query, Settings as QuerySettings, Value};
use observe::{Labels, NAME};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use testkit::TempDir;

const START: i64 = 1_790_006_400_000;
const DAY_S: i64 = 24 * 3600;

fn main() {
    let seconds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(60);
    println!("recording /proc for {seconds} s");
    let recording = record(seconds);
    bytes_per_sample(&recording);
    ingest();
    day_of_a_hundred();
}

/// Numbers of `/proc` by name, second by second.
fn record(seconds: usize) -> Vec<BTreeMap<String, f64>> {
    let start = Instant::now();
    (0..seconds)
        .map(|second| {
            std::thread::sleep(
                (start + Duration::from_secs(second as u64)).saturating_duration_since(Instant::now()),
            );
            proc_numbers()
        })
        .collect()
}

fn proc_numbers() -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    for file in [
        "stat",
        "meminfo",
        "vmstat",
        "diskstats",
        "net/dev",
        "net/snmp",
        "loadavg",
        "net/sockstat",
        "softirqs",
    ] {
        let text = fs::read_to_string(Path::new("/proc").join(file)).unwrap_or_default();
        for (row, line) in text.lines().enumerate() {
            for (column, word) in line.split_whitespace().enumerate() {
                if let Ok(number) = word.parse() {
                    found.insert(format!("{file}:{row}:{column}"), number);
                }
            }
        }
    }
    found
}

struct Feed {
    metrics: Metrics,
    ids: Vec<SeriesId>,
}

impl Feed {
    fn new(directory: &Path, names: impl Iterator<Item = String>) -> Self {
        let metrics = Metrics::open(directory, Settings::default(), START).expect("the directory is ours");
        let target = metrics.target("node", Ends::WhenMissing).expect("one target");
        let labels =
            |name| Labels::new([(NAME, "bench".to_owned()), ("of", name), ("instance", "localhost".into())]);
        let ids = names
            .map(|name| metrics.series(target, &labels(name), Kind::Gauge).expect("few series"))
            .collect();
        Self { metrics, ids }
    }

    fn tick(&self, time: i64, values: impl Iterator<Item = f64>) {
        let target = self.metrics.target("node", Ends::WhenMissing).expect("one target");
        let values: Vec<(SeriesId, f64)> = self.ids.iter().copied().zip(values).collect();
        self.metrics.tick(target, time, &values).expect("times rise");
    }
}

fn bytes(directory: &Path, ending: &str) -> u64 {
    let files = fs::read_dir(directory).expect("the directory is ours").filter_map(Result::ok);
    files
        .filter(|file| file.path().extension().is_some_and(|found| found == ending))
        .filter(|file| file.file_name().to_string_lossy().starts_with("raw"))
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .sum()
}

/// The recording as it is, in one segment: everything of the file counts.
fn bytes_per_sample(recording: &[BTreeMap<String, f64>]) {
    let names: Vec<&String> =
        recording[0].keys().filter(|name| recording.iter().all(|tick| tick.contains_key(*name))).collect();
    let directory = TempDir::new();
    let feed = Feed::new(directory.path(), names.iter().map(|name| (*name).clone()));
    for (second, tick) in recording.iter().enumerate() {
        let now = START + second as i64 * 1000;
        feed.metrics.maintain(now);
        feed.tick(now, names.iter().map(|name| tick[*name]));
    }
    let later = START + recording.len() as i64 * 1000 + 3 * 3_600_000;
    feed.metrics.maintain(later);
    feed.metrics.maintain(later);
    let samples = (names.len() * recording.len()) as f64;
    let per_sample = bytes(directory.path(), "seg") as f64 / samples;
    println!("{} series x {} s: {per_sample:.3} bytes per sample", names.len(), recording.len());
}

/// 1,500 series, ticks as fast as they are taken, log and segments included.
fn ingest() {
    const SERIES: usize = 1500;
    const TICKS: i64 = 3600;
    let directory = TempDir::new();
    let feed = Feed::new(directory.path(), (0..SERIES).map(|index| index.to_string()));
    let cpu = cpu_seconds();
    let start = Instant::now();
    for tick in 0..TICKS {
        feed.tick(START + tick * 1000, (0..SERIES).map(|series| value(series, tick)));
        if tick % 10 == 9 {
            feed.metrics.sync().expect("there is room");
            feed.metrics.maintain(START + tick * 1000);
        }
    }
    let samples = SERIES as f64 * TICKS as f64;
    let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    println!(
        "ingest: {:.2} M samples/s of CPU, {:.2} M samples/s of time",
        samples / cpu / 1e6,
        samples / wall / 1e6
    );
}

/// A third is constant, a third counts, a third moves.
fn value(series: usize, tick: i64) -> f64 {
    match series % 3 {
        0 => series as f64,
        1 => (tick * (series as i64 % 17 + 1) + tick % 5) as f64,
        _ => ((tick as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(series as u32 % 64) >> 52) as f64,
    }
}

/// User and system time of this process.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}

fn day_of_a_hundred() {
    let directory = TempDir::new();
    let feed = Feed::new(directory.path(), (0..100).map(|index| index.to_string()));
    for tick in 0..DAY_S {
        feed.tick(START + tick * 1000, (0..100).map(|series| value(series, tick)));
        if tick % 60 == 59 {
            feed.metrics.maintain(START + tick * 1000);
        }
    }
    let end = START + (DAY_S - 1) * 1000;
    for expression in ["bench", "sum(rate(bench[5m]))"] {
        let mut times: Vec<f64> = (0..5).map(|_| ask(&feed.metrics, expression, end)).collect();
        times.sort_by(f64::total_cmp);
        println!("24 h of 100 series at 1 s, {expression}: {:.0} ms (median of 5)", times[2]);
    }
    println!("memory now {} kB", resident_kb());
}

fn ask(metrics: &Metrics, expression: &str, end: i64) -> f64 {
    let start = Instant::now();
    let query = Query::parse(expression).expect("it is right");
    let answer = query.range(metrics, end - DAY_S * 1000, end, 60_000, &QuerySettings::default());
    assert!(matches!(answer, Ok(Value::Matrix(found)) if !found.is_empty()), "there is an answer");
    start.elapsed().as_secs_f64() * 1000.0
}

fn resident_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
