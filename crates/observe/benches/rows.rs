//! What keeping and searching rows costs on this machine. Prints figures; `cargo bench -p observe --bench
//! rows`, with the megabytes of text as an argument (1,024 unless told otherwise).
//!
//! The rows are made up with a seed: half JSON with random identifiers, half an access log.

use observe::logs::query::{Filter, parse};
use observe::logs::{Limits, Logs, Order, Row, Search, Stream, parse::level};
use rustix::time::{ClockId, clock_gettime};
use std::path::Path;
use std::time::{Duration, Instant};
use testkit::TempDir;

const START: i64 = 1_790_006_400_000_000_000;
/// Rows of one call, as a reader of a file hands them over.
const BATCH: usize = 200;

fn main() {
    let megabytes: u64 = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1024);
    let directory = TempDir::new();
    let raw = ingest(directory.path(), megabytes << 20);
    let logs = open(directory.path());
    let on_disk = logs.status().bytes;
    println!("on disk: {:.3} of {} MB of text", on_disk as f64 / raw as f64, raw >> 20);
    let everything = find(&logs, "a word that is nowhere: full scan", "/n0where[0-9]/", usize::MAX);
    let speed = everything.0 as f64 / everything.1.as_secs_f64() / 1e9;
    println!("full scan: {speed:.2} GB/s of processor time");
    find(&logs, "a rare word, first time", "rareword4711", 10);
    for _ in 0..3 {
        find(&logs, "a rare word, again", "rareword4711", 10);
    }
    find(&logs, "an identifier that is nowhere", "0123456789abcdef0123456789abcdef", 10);
    find(&logs, "newest 100 errors", "level:error", 100);
}

fn open(directory: &Path) -> Logs {
    let limits = Limits { bytes: 64 << 30, ..Limits::default() };
    Logs::open(directory, limits, START).expect("the directory is ours")
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Returns the bytes of text. Making rows up is not counted.
fn ingest(directory: &Path, bytes: u64) -> u64 {
    let logs = open(directory);
    let json = Stream::new("shop", "api", "shop-api-1", "stdout");
    let access = Stream::new("shop", "web", "shop-web-1", "stdout");
    let mut random = Random(42);
    let (mut raw, mut rows, mut busy, mut now) = (0u64, 0u64, Duration::ZERO, START);
    while raw < bytes {
        for (stream, make) in [(&json, json_row as fn(&mut Random, i64) -> String), (&access, access_row)] {
            let mut texts: Vec<(i64, String)> = Vec::with_capacity(BATCH);
            for _ in 0..BATCH {
                now += random.below(2_000_000) as i64;
                texts.push((now, make(&mut random, now)));
            }
            if raw < bytes / 2 && raw + (1 << 20) > bytes / 2 && stream == &json {
                texts[0].1 = texts[0].1.replace("\"msg\":\"", "\"msg\":\"rareword4711 ");
            }
            let start = cpu();
            let made: Vec<Row<'_>> = texts
                .iter()
                .map(|(time_ns, text)| Row { time_ns: *time_ns, level: level(text), text })
                .collect();
            logs.append(stream, &made, None).expect("two streams");
            busy += cpu() - start;
            raw += texts.iter().map(|(_, text)| text.len() as u64 + 1).sum::<u64>();
            rows += BATCH as u64;
        }
        // As often as a second's worth at full speed.
        if rows % (BATCH as u64 * 500) == 0 {
            let start = cpu();
            logs.sync().expect("there is room");
            logs.maintain(now);
            busy += cpu() - start;
        }
    }
    let start = cpu();
    logs.close().expect("there is room");
    busy += cpu() - start;
    println!("in: {:.0} MB/s of processor time, {rows} rows", raw as f64 / busy.as_secs_f64() / 1e6);
    raw
}

fn find(logs: &Logs, what: &str, query: &str, limit: usize) -> (u64, Duration) {
    let filter = Filter::new(&parse(query).expect("a right query"));
    let (wall, busy) = (Instant::now(), cpu());
    let search = Search { filter: &filter, from_ns: 0, to_ns: i64::MAX, stop: &|| false };
    let found = logs.search(&search, Order::Newest, limit);
    let (wall, busy) = (wall.elapsed(), cpu() - busy);
    println!(
        "{what}: {} rows, {} of {} blocks read, {:.1} ms of processor time, {:.1} ms",
        found.rows.len(),
        found.blocks_read,
        found.blocks,
        busy.as_secs_f64() * 1e3,
        wall.as_secs_f64() * 1e3
    );
    (found.bytes_read, busy)
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len() as u64) as usize]
    }
}

fn json_row(random: &mut Random, now: i64) -> String {
    let level = random.of(&["info", "info", "info", "info", "debug", "debug", "warn", "error"]);
    let message = random.of(&[
        "request served",
        "cache miss, asking the database",
        "user signed in",
        "payment accepted",
        "retrying after a timeout",
        "job finished",
    ]);
    let (trace, span) = ((random.next(), random.next()), random.next());
    let (user, took) = (random.below(50_000), random.below(90_000));
    format!(
        "{{\"time\":\"2026-11-23T{:02}:{:02}:{:02}.{:06}Z\",\"level\":\"{level}\",\"msg\":\"{message}\",\"trace_id\":\"{:016x}{:016x}\",\"span_id\":\"{span:016x}\",\"user\":{user},\"took_us\":{took}}}",
        now / 3_600_000_000_000 % 24,
        now / 60_000_000_000 % 60,
        now / 1_000_000_000 % 60,
        now / 1000 % 1_000_000,
        trace.0,
        trace.1
    )
}

fn access_row(random: &mut Random, now: i64) -> String {
    let method = random.of(&["GET", "GET", "GET", "GET", "POST", "PUT", "DELETE"]);
    let path = random.of(&[
        "/",
        "/api/users",
        "/api/orders",
        "/static/app.js",
        "/static/app.css",
        "/login",
        "/search",
    ]);
    let status = random.of(&["200", "200", "200", "200", "200", "301", "304", "404", "500"]);
    let agent = random.of(&[
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
        "curl/8.14.1",
    ]);
    format!(
        "{}.{}.{}.{} - - [23/Nov/2026:{:02}:{:02}:{:02} +0000] \"{method} {path}?id={} HTTP/1.1\" {status} {} \"-\" \"{agent}\"",
        10 + random.below(4),
        random.below(256),
        random.below(256),
        random.below(256),
        now / 3_600_000_000_000 % 24,
        now / 60_000_000_000 % 60,
        now / 1_000_000_000 % 60,
        random.below(100_000),
        random.below(60_000)
    )
}
