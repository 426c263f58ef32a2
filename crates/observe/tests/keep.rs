//! The store as its caller sees it: what was taken comes back, in every state and after every fault.

use observe::keep::{Ends, Kind, Limits, Metrics, Settings, TickError};
use observe::{Labels, Matcher, NAME, Points, Samples, Want, is_stale};
use std::path::{Path, PathBuf};
use std::time::Duration;
use testkit::TempDir;

/// The beginning of a window of two hours.
const START: i64 = 1_790_006_400_000;
const HOUR: i64 = 3_600_000;

fn open(directory: &Path, now: i64) -> Metrics {
    Metrics::open(directory, Settings::default(), now).unwrap()
}

fn series(name: &str) -> Labels {
    Labels::new([(NAME, name), ("job", "test")])
}

/// Ticks `series` of one target each `step` from `from` to before `to`, housekeeping included.
fn feed(metrics: &Metrics, from: i64, to: i64, step: i64, value: impl Fn(&str, i64) -> Option<f64>) {
    let mut now = from;
    while now < to {
        metrics.maintain(now);
        let target = metrics.target("node", Ends::WhenMissing).unwrap();
        let values: Vec<_> = [("gauge", Kind::Gauge), ("hits_total", Kind::Counter)]
            .into_iter()
            .filter_map(|(name, kind)| {
                Some((metrics.series(target, &series(name), kind).unwrap(), value(name, now)?))
            })
            .collect();
        metrics.tick(target, now, &values).unwrap();
        now += step;
    }
    metrics.sync().unwrap();
}

fn read(metrics: &Metrics, name: &str, from: i64, to: i64, want: Want) -> Points {
    let found = metrics.select(&[Matcher::equal(NAME, name)], from, to).unwrap();
    let mut points = Points::default();
    for series in found {
        series.read(from, to, want, &mut points).unwrap();
    }
    points
}

fn expected(value: impl Fn(i64) -> f64, from: i64, to: i64, step: i64) -> (Vec<i64>, Vec<f64>) {
    let times: Vec<i64> = (from..to).step_by(step as usize).collect();
    let values = times.iter().map(|time| value(*time)).collect();
    (times, values)
}

fn wave(time: i64) -> f64 {
    ((time - START) as f64 / 10_000.0).sin() * 100.0
}

fn both(name: &str, time: i64) -> Option<f64> {
    Some(if name == "gauge" { wave(time) } else { ((time - START) / 1000) as f64 })
}

fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|found| found == ending)).collect();
    files.sort();
    files
}

#[test]
fn samples_come_back_from_memory_segments_and_the_log() {
    let directory = TempDir::new();
    let metrics = open(directory.path(), START);
    feed(&metrics, START, START + HOUR, 1000, both);
    let check = |metrics: &Metrics| {
        let points = read(metrics, "gauge", START, START + HOUR, Want::Last);
        assert_eq!((points.times_ms, points.values), expected(wave, START, START + HOUR, 1000));
        let some = read(metrics, "gauge", START + 299_000, START + 301_000, Want::Last);
        assert_eq!(some.times_ms, [START + 299_000, START + 300_000, START + 301_000]);
        assert!(read(metrics, "gauge", START - HOUR, START - 1, Want::Last).is_empty());
    };
    check(&metrics);
    drop(metrics);
    // Without a farewell: the last minutes are only in the log.
    let metrics = open(directory.path(), START + HOUR);
    check(&metrics);
    metrics.close().unwrap();
    let metrics = open(directory.path(), START + HOUR);
    check(&metrics);
    assert_eq!(metrics.status().lost, 0);
}

#[test]
fn a_day_is_merged_summed_up_and_dropped_in_the_end() {
    let directory = TempDir::new();
    let day = 24 * HOUR;
    let limits = Limits::default();
    let metrics = open(directory.path(), START);
    // Every ten seconds; the counter begins anew every 47 minutes.
    let counter = |time: i64| (((time - START) / 1000) % (47 * 60)) as f64;
    let value = |name: &str, time: i64| Some(if name == "gauge" { wave(time) } else { counter(time) });
    feed(&metrics, START, START + 2 * day, 10_000, value);
    metrics.maintain(START + 2 * day + HOUR);
    assert!(metrics.status().segments < 60, "{:?}", metrics.status());
    let raw = read(&metrics, "gauge", START, START + 2 * day, Want::Last);
    assert_eq!((raw.times_ms, raw.values), expected(wave, START, START + 2 * day, 10_000));
    assert_eq!(raw.spacing_ms, 0);
    let rise = |points: &Points| -> f64 {
        points.values.windows(2).map(|pair| if pair[1] < pair[0] { pair[1] } else { pair[1] - pair[0] }).sum()
    };
    let whole = rise(&read(&metrics, "hits_total", START, START + 12 * HOUR - 10_000, Want::Last));

    // Eight days later only summaries of the first days are left.
    let later = START + 9 * day;
    metrics.maintain(later);
    let target = metrics.target("node", Ends::WhenMissing).unwrap();
    let id = metrics.series(target, &series("gauge"), Kind::Gauge).unwrap();
    metrics.tick(target, later, &[(id, 1.0)]).unwrap();
    let minutes = read(&metrics, "gauge", START, START + HOUR - 1, Want::Last);
    assert_eq!((minutes.len(), minutes.spacing_ms, minutes.times_ms[0]), (60, 60_000, START + 50_000));
    assert_eq!(minutes.values[0], wave(START + 50_000));
    let first: Vec<f64> = (0..6).map(|row| wave(START + row * 10_000)).collect();
    let part = |want| read(&metrics, "gauge", START, START + HOUR, want).values[0];
    assert_eq!(part(Want::Max), first.iter().copied().fold(f64::MIN, f64::max));
    assert_eq!(part(Want::Min), first.iter().copied().fold(f64::MAX, f64::min));
    assert_eq!((part(Want::Sum), part(Want::Count)), (first.iter().sum(), 6.0));
    let summed = read(&metrics, "hits_total", START, START + 12 * HOUR - 10_000, Want::Last);
    let hidden = 50.0; // the rise within the first minute lies before its only sample
    assert_eq!(rise(&summed) + hidden, whole, "a counter keeps its resets");

    // A hundred days later only hours, and nothing after five years.
    metrics.maintain(START + 100 * day);
    let hours = read(&metrics, "gauge", START, START + 12 * HOUR - 1, Want::Last);
    assert_eq!((hours.len(), hours.spacing_ms), (12, HOUR));
    let summed = read(&metrics, "hits_total", START, START + 12 * HOUR - 10_000, Want::Last);
    // The first hour holds a reset, so its rise is whole.
    assert_eq!(rise(&summed), whole, "hours keep resets too");
    metrics.maintain(START + limits.hours.age.as_millis() as i64 + 10 * day);
    assert!(read(&metrics, "gauge", START, START + 2 * day, Want::Last).is_empty());
}

#[test]
fn the_oldest_go_first_when_bytes_are_short() {
    let directory = TempDir::new();
    let mut settings = Settings::default();
    settings.limits.raw.bytes = 60_000;
    let metrics = Metrics::open(directory.path(), settings, START).unwrap();
    let noise = |time: i64| ((time as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) as f64;
    feed(&metrics, START, START + 3 * HOUR, 1000, |_, time| Some(noise(time)));
    metrics.maintain(START + 3 * HOUR);
    let raw: u64 = files(directory.path(), "seg")
        .iter()
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("raw"))
        .map(|path| path.metadata().unwrap().len())
        .sum();
    assert!(raw > 0 && raw <= 60_000, "{raw} bytes");
    let newest = read(&metrics, "gauge", START + 3 * HOUR - 60_000, START + 3 * HOUR, Want::Last);
    assert_eq!(newest.len(), 60);
}

#[test]
fn an_end_is_kept_and_order_is_demanded() {
    let directory = TempDir::new();
    let metrics = open(directory.path(), START);
    let until = START + 400_000;
    feed(&metrics, START, until, 1000, |name, time| {
        (name == "gauge" || time < START + 100_000).then_some(1.0)
    });
    let points = read(&metrics, "hits_total", START, until, Want::Last);
    assert_eq!(points.len(), 101);
    assert!(is_stale(points.values[100]) && points.times_ms[100] == START + 100_000);
    let target = metrics.target("node", Ends::WhenMissing).unwrap();
    assert_eq!(metrics.tick(target, START, &[]), Err(TickError::OutOfOrder));
    assert_eq!(metrics.tick(target, until + HOUR, &[]), Err(TickError::Future));
    let second = Metrics::open(directory.path(), Settings::default(), START);
    assert!(second.unwrap_err().to_string().contains("in use by another process"));
}

/// Each bit of a segment in turn would take long: a bit of each byte at the ends, and every 37th between.
#[test]
fn a_flipped_bit_in_a_segment_is_found_and_repaired() {
    let directory = TempDir::new();
    let metrics = open(directory.path(), START);
    feed(&metrics, START, START + 200_000, 1000, both);
    metrics.close().unwrap();
    let [path] = &files(directory.path(), "seg")[..] else { panic!("one segment is expected") };
    let whole = std::fs::read(path).unwrap();
    let ends = |at: usize| at < 100 || at + 150 > whole.len();
    for at in (0..whole.len()).filter(|at| ends(*at) || at % 37 == 0) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(path, &flipped).unwrap();
        let metrics = open(directory.path(), START + 200_000);
        for name in ["gauge", "hits_total"] {
            let points = read(&metrics, name, START, START + 200_000, Want::Last);
            let value = |time| both(name, time).unwrap();
            assert_eq!(
                (points.times_ms, points.values),
                expected(value, START, START + 200_000, 1000),
                "byte {at}"
            );
        }
        drop(metrics);
        assert_eq!(files(directory.path(), "damaged").len(), 0);
    }
}

#[test]
fn damage_beyond_repair_is_counted_and_stops_nothing() {
    let directory = TempDir::new();
    let metrics = open(directory.path(), START);
    feed(&metrics, START, START + 700_000, 1000, both);
    metrics.close().unwrap();
    let segments = files(directory.path(), "seg");
    assert_eq!(segments.len(), 3);
    let mut bytes = std::fs::read(&segments[0]).unwrap();
    let half = bytes.len() / 2;
    bytes[16..half].fill(0xaa);
    std::fs::write(&segments[0], bytes).unwrap();
    std::fs::write(&segments[1], b"not a segment").unwrap();
    let metrics = open(directory.path(), START + 700_000);
    let points = read(&metrics, "gauge", START, START + 700_000, Want::Last);
    assert_eq!(points.times_ms.first(), Some(&(START + 600_000)), "the third segment is as it was");
    assert_eq!(points.len(), 100);
    assert!(metrics.status().lost >= 2, "{:?}", metrics.status());
    assert_eq!(files(directory.path(), "damaged").len(), 1);
}

#[test]
fn a_flipped_bit_in_the_log_costs_one_second() {
    let directory = TempDir::new();
    let metrics = open(directory.path(), START);
    feed(&metrics, START, START + 100_000, 1000, both);
    drop(metrics);
    let [path] = &files(directory.path(), "wal")[..] else { panic!("one log is expected") };
    let mut bytes = std::fs::read(path).unwrap();
    let half = bytes.len() / 2;
    bytes[half] ^= 4;
    std::fs::write(path, bytes).unwrap();
    let metrics = open(directory.path(), START + 100_000);
    assert_eq!(read(&metrics, "gauge", START, START + 100_000, Want::Last).len(), 99);
    assert_eq!(metrics.status().lost, 1);
}

/// Kills a process that writes at moments that differ by what it has said so far.
#[test]
fn killed_at_any_moment_it_loses_nothing_that_was_synced() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    const PROBE_START: i64 = 1_790_000_000_000;
    let directory = TempDir::new();
    for round in 0..12 {
        let path = directory.path().join(format!("{round}"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_metrics-probe"))
            .args([path.to_str().unwrap(), "20"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut synced = PROBE_START;
        for _ in 0..3 + round * round * 4 {
            synced = lines.next().unwrap().unwrap().parse().unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            synced = line.parse().unwrap_or(synced);
        }
        let metrics = open(&path, synced);
        let found = metrics.select(&[Matcher::equal(NAME, "probe")], PROBE_START, i64::MAX - 1).unwrap();
        assert_eq!(found.len(), 20);
        for series in found {
            let mut points = Points::default();
            series.read(PROBE_START, synced, Want::Last, &mut points).unwrap();
            let seconds = (synced - PROBE_START) / 1000;
            assert_eq!(points.len() as i64, seconds + 1, "round {round}, {}", series.labels());
            assert!(points.values.iter().enumerate().all(|(at, value)| *value == at as f64));
        }
        assert_eq!(metrics.status().lost, 0, "a torn end is no damage");
    }
}

/// A small file system of memory, gone with its owner.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new(bytes: usize) -> Self {
        let directory = TempDir::new();
        let options = std::ffi::CString::new(format!("size={bytes}")).unwrap();
        rustix::mount::mount(
            "tmpfs",
            directory.path(),
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            options.as_c_str(),
        )
        .unwrap();
        Self(directory)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk_stops_nothing_and_is_told() {
    if !testkit::require_root("a_full_disk_stops_nothing_and_is_told") {
        return;
    }
    let disk = SmallDisk::new(256 << 10);
    let directory = disk.0.path().join("metrics");
    let ballast = disk.0.path().join("ballast");
    let metrics = open(&directory, START);
    feed(&metrics, START, START + 400_000, 1000, both);
    // Someone else takes what is left.
    let mut taken = std::fs::File::create(&ballast).unwrap();
    while std::io::Write::write_all(&mut taken, &[0; 512]).is_ok() {}
    let tick = |now: i64| {
        metrics.maintain(now);
        let target = metrics.target("node", Ends::WhenMissing).unwrap();
        let id = metrics.series(target, &series("gauge"), Kind::Gauge).unwrap();
        assert_eq!(metrics.tick(target, now, &[(id, wave(now))]).unwrap().kept, 1);
        let _ = metrics.sync();
    };
    (START + 400_000..START + 1_000_000).step_by(1000).for_each(tick);
    let status = metrics.status();
    assert!(status.trouble.is_some_and(|text| text.contains("space")), "the reason is told");
    assert!(status.unlogged > 0);
    let all = |metrics: &Metrics, until| read(metrics, "gauge", START, until, Want::Last);
    assert_eq!(all(&metrics, START + 999_000).len(), 1000, "queries go on, from memory");

    drop(taken);
    std::fs::remove_file(&ballast).unwrap();
    (START + 1_000_000..START + 1_100_000).step_by(1000).for_each(tick);
    metrics.maintain(START + 1_200_000);
    assert_eq!(metrics.status().trouble, None);
    drop(metrics);
    let metrics = open(&directory, START + 1_200_000);
    let points = all(&metrics, START + 1_200_000);
    assert_eq!((points.times_ms, points.values), expected(wave, START, START + 1_100_000, 1000));
}

#[test]
fn age_is_a_duration_that_people_can_set() {
    let limits = Limits::default();
    assert_eq!(limits.raw.age, Duration::from_secs(7 * 24 * 3600));
    assert_eq!(limits.minutes.age, Duration::from_secs(90 * 24 * 3600));
}

#[test]
fn the_store_answers_promql_from_samples_and_from_summaries() {
    use observe::promql::{Query, Value};
    let directory = TempDir::new();
    let metrics = open(directory.path(), START);
    feed(&metrics, START, START + 26 * HOUR, 30_000, both);
    metrics.maintain(START + 26 * HOUR + HOUR);
    let ask = |expression: &str| -> f64 {
        let query = Query::parse(expression).unwrap();
        match query.instant(&metrics, START + HOUR, &observe::promql::Settings::default()).unwrap() {
            Value::Vector(answers) => answers[0].points.values[0],
            other => panic!("a vector is expected, not {other:?}"),
        }
    };
    let average = "avg_over_time(gauge[30m])";
    let before = ask(average);
    assert_eq!(ask("rate(hits_total{job=~\"te.t\"}[10m])"), 1.0);
    metrics.maintain(START + 9 * 24 * HOUR);
    // Only minutes are left of that hour, two samples each: the mean is still that of all of them.
    let summed = ask(average);
    assert!((summed - before).abs() < 2.0, "{summed} instead of {before}");
    assert_eq!(ask("count_over_time(gauge[10m])"), 20.0);
    assert_eq!(ask("rate(hits_total[10m])"), 1.0);
}

/// Files of version 1 as they were written on 2026-11-23; they are read for ever.
/// `OBSERVE_WRITE_GOLDEN=1` writes them where there are none.
#[test]
fn files_of_version_1_are_read() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1");
    let until = START + 3 * HOUR;
    // Exact on every machine: decimals, eighths, a counter.
    let exact = |name: &str, time: i64| {
        let tick = (time - START) / 1000;
        if name == "gauge" { (tick % 97) as f64 / 8.0 - 5.0 } else { (tick % 4000) as f64 / 10.0 }
    };
    if std::env::var_os("OBSERVE_WRITE_GOLDEN").is_some() && !golden.exists() {
        feed(&open(&golden, START), START, until, 30_000, |name, time| Some(exact(name, time)));
        std::fs::remove_file(golden.join("lock")).unwrap();
    }
    let directory = TempDir::new();
    for ending in ["seg", "wal"] {
        let found = files(&golden, ending);
        assert!(!found.is_empty());
        for path in &found {
            std::fs::copy(path, directory.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let metrics = open(directory.path(), until);
    for name in ["gauge", "hits_total"] {
        let points = read(&metrics, name, START, until, Want::Last);
        assert_eq!(
            (points.times_ms, points.values),
            expected(|time| exact(name, time), START, until, 30_000)
        );
    }
    assert_eq!(metrics.status().lost, 0);
    let minutes = files(directory.path(), "seg")
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("/minutes-"));
    assert_eq!(minutes.count(), 1);
    // Once the raw ones are too old, the summaries answer.
    metrics.maintain(until + 8 * 24 * HOUR);
    let target = metrics.target("node", Ends::WhenMissing).unwrap();
    let id = metrics.series(target, &series("gauge"), Kind::Gauge).unwrap();
    metrics.tick(target, until + 8 * 24 * HOUR, &[(id, 1.0)]).unwrap();
    let summed = read(&metrics, "gauge", START, START + 59_999, Want::Sum);
    assert_eq!(
        (summed.values, summed.spacing_ms),
        (vec![exact("gauge", START) + exact("gauge", START + 30_000)], 60_000)
    );
}
