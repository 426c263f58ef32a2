//! Rows come in, are found again, and survive what happens to processes and disks.

use observe::logs::query::{Filter, parse};
use observe::logs::{Found, Level, Limits, Logs, Order, Row, Search, Stream};
use std::path::{Path, PathBuf};
use std::time::Duration;
use testkit::TempDir;

const START: i64 = 1_790_000_000_000_000_000;
const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * SECOND;

fn open(directory: &Path, now: i64) -> Logs {
    Logs::open(directory, Limits::default(), now).unwrap()
}

fn web() -> Stream {
    Stream::new("shop", "web", "shop-web-1", "stdout")
}

fn level_of(number: i64) -> Level {
    if number % 10 == 0 { Level::Error } else { Level::Info }
}

/// A row each second, of two services.
fn feed(logs: &Logs, from: i64, to: i64) {
    for number in from..to {
        let text =
            format!("request {number} took {} ms unique{number} {}", number % 100, "lorem ipsum ".repeat(8));
        let row = Row { time_ns: START + number * SECOND, level: level_of(number), text: &text };
        let service = if number % 2 == 0 { "web" } else { "db" };
        let stream = Stream::new("shop", service, &format!("shop-{service}-1"), "stdout");
        logs.append(&stream, &[row], Some((service, &number.to_string()))).unwrap();
    }
}

fn find(logs: &Logs, query: &str, order: Order, limit: usize) -> Found {
    let filter = Filter::new(&parse(query).unwrap());
    logs.search(&Search { filter: &filter, from_ns: 0, to_ns: i64::MAX, stop: &|| false }, order, limit)
}

fn numbers(found: &Found) -> Vec<i64> {
    found.rows.iter().map(|row| row.text.split(' ').nth(1).unwrap().parse().unwrap()).collect()
}

fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|found| found == ending)).collect();
    files.sort();
    files
}

/// Rows in three segments and in memory.
fn several_segments(directory: &Path) -> Logs {
    let logs = open(directory, START);
    for part in 0..4 {
        feed(&logs, part * 5000, (part + 1) * 5000);
        if part < 3 {
            logs.maintain(START + part * HOUR);
            logs.maintain(START + part * HOUR + HOUR / 2);
        }
    }
    assert_eq!(files(directory, "seg").len(), 3);
    logs
}

#[test]
fn rows_come_back_from_memory_segments_and_the_log() {
    let directory = TempDir::new();
    let logs = several_segments(directory.path());
    let check = |logs: &Logs| {
        let all = find(logs, "", Order::Oldest, 100_000);
        assert_eq!(numbers(&all), (0..20_000).collect::<Vec<_>>());
        assert!(!all.has_more && !all.is_cut);
        let newest = find(logs, "service:web", Order::Newest, 3);
        assert_eq!((numbers(&newest), newest.has_more), (vec![19_994, 19_996, 19_998], true));
        let oldest = find(logs, "level:error", Order::Oldest, 3);
        assert_eq!(numbers(&oldest), [0, 10, 20]);
        assert_eq!(find(logs, "", Order::Newest, 0).rows.len(), 0);
    };
    check(&logs);
    assert_eq!(logs.cursor("db").as_deref(), Some("19999"));
    drop(logs);
    // What was only in the log is brought back.
    let logs = open(directory.path(), START + 4 * HOUR);
    check(&logs);
    assert_eq!(logs.cursor("web").as_deref(), Some("19998"));
    logs.forget_cursor("web");
    logs.close().unwrap();
    let logs = open(directory.path(), START + 4 * HOUR);
    check(&logs);
    assert_eq!(logs.cursor_names(), ["db"]);
    assert!(files(directory.path(), "wal").len() <= 2, "logs of what is in segments are gone");
}

#[test]
fn a_rare_word_is_found_without_reading_much() {
    let directory = TempDir::new();
    let logs = several_segments(directory.path());
    for number in [7, 4999, 5000, 12_345, 19_999] {
        let found = find(&logs, &format!("unique{number}"), Order::Newest, 10);
        assert_eq!(numbers(&found), [number]);
        assert!(found.blocks >= 20 && found.blocks_read <= 6, "{} of {}", found.blocks_read, found.blocks);
    }
    let both = find(&logs, "unique7 OR (UNIQUE12345 took)", Order::Newest, 10);
    assert_eq!(numbers(&both), [7, 12_345]);
    assert!(find(&logs, "unique7 unique8", Order::Newest, 10).rows.is_empty());
    assert_eq!(find(&logs, "!/ipsum/", Order::Newest, 10).rows.len(), 0);
}

#[test]
fn what_is_negated_is_not_left_out_by_filters() {
    let directory = TempDir::new();
    let logs = several_segments(directory.path());
    let count = |query: &str| find(&logs, query, Order::Oldest, 100_000).rows.len();
    assert_eq!(count("!unique7"), 19_999);
    assert_eq!(count("!level:error"), 18_000);
    assert_eq!(count("!(service:web OR level:error)"), 10_000);
    assert_eq!(count("!service:web !service:db"), 0);
    assert_eq!(count("took"), 20_000);
}

#[test]
fn times_bound_a_search_and_time_ends_it() {
    let directory = TempDir::new();
    let logs = several_segments(directory.path());
    let filter = Filter::new(&parse("took").unwrap());
    let (from_ns, to_ns) = (START + 100 * SECOND, START + 109 * SECOND);
    let found =
        logs.search(&Search { filter: &filter, from_ns, to_ns, stop: &|| false }, Order::Newest, 1000);
    assert_eq!(numbers(&found), (100..110).collect::<Vec<_>>());
    let found =
        logs.search(&Search { filter: &filter, from_ns: 0, to_ns, stop: &|| true }, Order::Newest, 1000);
    assert!(found.is_cut);
}

#[test]
fn rows_are_counted_by_time_and_by_fields() {
    let directory = TempDir::new();
    let logs = several_segments(directory.path());
    let count = |query: &str, interval: Option<i64>, fields: &[&str]| {
        let filter = Filter::new(&parse(query).unwrap());
        let search =
            Search { filter: &filter, from_ns: START, to_ns: START + 3599 * SECOND, stop: &|| false };
        let fields: Vec<String> = fields.iter().map(|name| name.to_string()).collect();
        logs.count(&search, interval, &fields).unwrap()
    };
    let by_time = count("level:error", Some(HOUR / 4), &[]);
    assert_eq!(by_time.cells.iter().map(|cell| cell.rows).sum::<u64>(), 360);
    assert!(by_time.cells.iter().all(|cell| cell.time_ns.unwrap() % (HOUR / 4) == 0));
    let by_field = count("", None, &["service", "level"]);
    let shown: Vec<(String, u64)> =
        by_field.cells.iter().map(|cell| (cell.values.join(" "), cell.rows)).collect();
    assert_eq!(shown, [("db info".into(), 1800), ("web error".into(), 360), ("web info".into(), 1440)]);
}

#[test]
fn followers_get_each_row_once() {
    let directory = TempDir::new();
    let logs = open(directory.path(), START);
    feed(&logs, 0, 10);
    let mut following = logs.follow();
    assert_eq!(following.more().0.len(), 0);
    feed(&logs, 10, 15);
    let (rows, missed) = following.more();
    assert_eq!((rows.len(), missed), (5, 0));
    assert!(rows[0].text.starts_with("request 10 "));
    feed(&logs, 15, 40_000);
    let (rows, missed) = following.more();
    assert_eq!(rows.len() as u64 + missed, 40_000 - 15);
    assert!(missed > 0, "what is held is bounded");
}

#[test]
fn long_rows_are_cut_and_streams_are_bounded() {
    let directory = TempDir::new();
    let limits = Limits { row_bytes: 10, streams: 1, ..Limits::default() };
    let logs = Logs::open(directory.path(), limits, START).unwrap();
    logs.append(&web(), &[Row { time_ns: START, level: Level::Info, text: "123456789ü rest" }], None)
        .unwrap();
    let other = Stream::new("shop", "db", "shop-db-1", "stdout");
    let refused = logs.append(&other, &[Row { time_ns: START, level: Level::Info, text: "x" }], None);
    assert_eq!(refused.unwrap_err().to_string(), "there are 1 streams already");
    let found = find(&logs, "", Order::Newest, 10);
    assert_eq!(found.rows[0].text, "123456789");
    let status = logs.status();
    assert_eq!((status.cut_rows, status.refused_rows, status.rows), (1, 1, 1));
}

#[test]
fn the_oldest_go_first_when_bytes_are_short_or_they_are_too_old() {
    let directory = TempDir::new();
    drop(several_segments(directory.path()));
    let bytes: Vec<u64> =
        files(directory.path(), "seg").iter().map(|path| path.metadata().unwrap().len()).collect();
    let limits = Limits { bytes: bytes[1] + bytes[2] + bytes[0] * 3 / 2, ..Limits::default() };
    let logs = Logs::open(directory.path(), limits, START).unwrap();
    // Opening wrote what was in the log as a fourth.
    assert_eq!(numbers(&find(&logs, "", Order::Oldest, 1)), [5000]);
    drop(logs);
    let limits = Limits { age: Duration::from_secs(1000), ..Limits::default() };
    let logs = Logs::open(directory.path(), limits, START + 15_500 * SECOND).unwrap();
    assert_eq!(numbers(&find(&logs, "", Order::Oldest, 1)), [10_000], "its newest row is young enough");
    assert_eq!(logs.cursor("db").as_deref(), Some("19999"));
}

#[test]
fn a_flipped_bit_in_a_segment_is_found_and_repaired() {
    let directory = TempDir::new();
    drop(several_segments(directory.path()));
    let [_, path, ..] = &files(directory.path(), "seg")[..] else { panic!("segments are expected") };
    let whole = std::fs::read(path).unwrap();
    for part in 0..40 {
        let mut flipped = whole.clone();
        flipped[whole.len() * part / 40] ^= 1 << (part % 8);
        std::fs::write(path, flipped).unwrap();
        let logs = open(directory.path(), START);
        let found = find(&logs, "", Order::Oldest, 100_000);
        assert_eq!(found.rows.len(), 20_000, "part {part}: {:?}", logs.status());
        assert_eq!(numbers(&find(&logs, "unique7500", Order::Newest, 5)), [7500], "part {part}");
    }
}

#[test]
fn damage_beyond_repair_is_counted_and_stops_nothing() {
    let directory = TempDir::new();
    drop(several_segments(directory.path()));
    let [first, second, ..] = &files(directory.path(), "seg")[..] else { panic!("segments are expected") };
    let mut bytes = std::fs::read(first).unwrap();
    bytes[16..60_000].fill(7);
    std::fs::write(first, bytes).unwrap();
    std::fs::write(second, b"nothing of it is left").unwrap();
    let logs = open(directory.path(), START);
    let found = find(&logs, "", Order::Oldest, 100_000);
    assert!(found.rows.len() >= 10_000 && found.rows.len() < 15_000, "{}", found.rows.len());
    assert!(logs.status().lost >= 2, "{:?}", logs.status());
    assert_eq!(files(directory.path(), "damaged").len(), 1);
}

#[test]
fn a_flipped_bit_in_the_log_costs_one_record() {
    let directory = TempDir::new();
    let logs = open(directory.path(), START);
    feed(&logs, 0, 100);
    drop(logs);
    let [path] = &files(directory.path(), "wal")[..] else { panic!("one log is expected") };
    let mut bytes = std::fs::read(path).unwrap();
    let half = bytes.len() / 2;
    bytes[half] ^= 4;
    std::fs::write(path, bytes).unwrap();
    let logs = open(directory.path(), START);
    assert_eq!(find(&logs, "", Order::Oldest, 1000).rows.len(), 99);
    assert_eq!(logs.status().lost, 1);
}

/// Kills a process that writes at moments that differ by what it has said so far, again and again.
#[test]
fn killed_at_any_moment_no_row_is_lost_or_there_twice() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    let directory = TempDir::new();
    let mut synced = 0i64;
    for round in 0..10 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_rows-probe"))
            .arg(directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for _ in 0..2 + round * 6 {
            synced = lines.next().unwrap().unwrap().parse().unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        synced = lines.map_while(Result::ok).filter_map(|line| line.parse().ok()).last().unwrap_or(synced);
        let logs = open(directory.path(), START);
        let next: i64 = logs.cursor("probe").unwrap().parse().unwrap();
        assert!(next > synced, "round {round}");
        let found = find(&logs, "", Order::Oldest, 100_000);
        assert_eq!(numbers(&found), (0..next).collect::<Vec<_>>(), "round {round}");
        assert_eq!(logs.status().lost, 0, "a torn end is no damage");
    }
    assert!(!files(directory.path(), "seg").is_empty());
}

/// A small file system of memory, gone with its owner.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new(bytes: usize) -> Self {
        let directory = TempDir::new();
        let options = std::ffi::CString::new(format!("size={bytes}")).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", directory.path(), "tmpfs", flags, options.as_c_str()).unwrap();
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
    let disk = SmallDisk::new(1 << 20);
    let directory = disk.0.path().join("rows");
    let ballast = disk.0.path().join("ballast");
    let logs = open(&directory, START);
    feed(&logs, 0, 1000);
    // Someone else takes what is left.
    let mut taken = std::fs::File::create(&ballast).unwrap();
    while std::io::Write::write_all(&mut taken, &[0; 512]).is_ok() {}
    feed(&logs, 1000, 3000);
    logs.maintain(START + HOUR);
    let status = logs.status();
    assert!(status.trouble.is_some_and(|text| text.contains("space")), "the reason is told");
    assert!(status.unlogged > 0);
    assert_eq!(find(&logs, "", Order::Oldest, 10_000).rows.len(), 3000, "queries go on, from memory");

    drop(taken);
    std::fs::remove_file(&ballast).unwrap();
    feed(&logs, 3000, 4000);
    logs.maintain(START + 2 * HOUR);
    assert_eq!(logs.status().trouble, None);
    drop(logs);
    let logs = open(&directory, START + 2 * HOUR);
    let all = numbers(&find(&logs, "", Order::Oldest, 10_000));
    assert!(all.iter().copied().eq(0..4000), "{} rows from {:?} to {:?}", all.len(), all.first(), all.last());
}

/// The files of version 1 stay readable for ever.
#[test]
fn files_of_version_1_are_read() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/rows-v1");
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        write_golden(&golden);
    }
    let directory = TempDir::new();
    for file in std::fs::read_dir(&golden).expect("the golden files are there") {
        let file = file.unwrap();
        std::fs::copy(file.path(), directory.path().join(file.file_name())).unwrap();
    }
    let logs = open(directory.path(), START);
    assert_eq!(numbers(&find(&logs, "", Order::Oldest, 1000)), (0..300).collect::<Vec<_>>());
    assert_eq!(numbers(&find(&logs, "unique150", Order::Oldest, 1000)), [150]);
    assert_eq!(find(&logs, "level:error service:web", Order::Oldest, 1000).rows.len(), 30);
    assert_eq!(logs.cursor("db").as_deref(), Some("299"));
    assert_eq!(logs.status().lost, 0);
}

fn write_golden(golden: &Path) {
    let directory = TempDir::new();
    let logs = open(directory.path(), START);
    feed(&logs, 0, 200);
    logs.maintain(START);
    logs.maintain(START + HOUR);
    feed(&logs, 200, 300);
    drop(logs);
    let _ = std::fs::remove_dir_all(golden);
    std::fs::create_dir_all(golden).unwrap();
    for file in [files(directory.path(), "seg"), files(directory.path(), "wal")].concat() {
        std::fs::copy(&file, golden.join(file.file_name().unwrap())).unwrap();
    }
}
