//! What is kept here, sent to programs of others: one thread looks what is new and puts it into the queue
//! of each destination, which sends by itself.

mod otlp;

use super::now_ms;
use engines::elasticsearch::{self, Elasticsearch};
use engines::otlp::Otlp;
use engines::remote_write::{Messages, RemoteWrite};
use engines::send::{Client, Deliverer, Destination, Place, Status};
use observe::collect::Sink;
use observe::keep::Metrics;
use observe::logs::{Following, Logs, Recent};
use observe::{Matcher, NAME, Points, Samples, Want};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What the queue of one destination may take on disk.
const ROOM_BYTES: u64 = 256 << 20;
/// How often it is looked what is new.
const EVERY: Duration = Duration::from_secs(5);
/// Samples younger than this are not sent yet: others of the same time may come.
const SETTLE_MS: i64 = 5_000;
/// After an end, what was measured before is sent from so long ago at most.
const BACK_MS: i64 = 3600 * 1000;
/// Samples of one look: after an end there are many.
const LOOK_MS: i64 = 60_000;
/// Rows of one request.
const ROWS_MAX: usize = 2000;
/// Bytes of one request of rows, roughly.
const ROWS_BYTES_MAX: usize = 4 << 20;
/// How far a destination of samples is.
const CURSOR: &str = "cursor";

/// `[send.NAME]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    pub to: Kind,
    pub url: String,
    /// A file with the value of the header `Authorization`.
    #[serde(default)]
    pub authorization_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    RemoteWrite,
    Elasticsearch,
    /// Samples, rows and spans.
    Otlp,
}

/// Where it comes from.
#[derive(Clone)]
pub struct Sources {
    pub metrics: Arc<Metrics>,
    pub rows: Option<Arc<Logs>>,
    pub spans: Option<Arc<Logs>>,
}

/// How all destinations do; clones share it.
#[derive(Clone, Default)]
pub struct Sending(Arc<Mutex<BTreeMap<String, Running>>>);

struct Running {
    declared: Declared,
    deliverer: Arc<Deliverer>,
    missed: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl Sending {
    /// Begins with what is new, ends what is not declared any more. What waits for that stays on disk.
    /// Returns what could not be begun, and why.
    pub fn become_as(
        &self,
        wanted: &BTreeMap<String, Declared>,
        queues: &Path,
        sources: &Sources,
    ) -> Vec<String> {
        let mut troubles = Vec::new();
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|name, one| wanted.get(name) == Some(&one.declared));
        for (name, declared) in wanted {
            if running.contains_key(name) {
                continue;
            }
            match begin(name, declared, &queues.join(name), sources) {
                Ok(one) => _ = running.insert(name.clone(), one),
                Err(error) => troubles.push(format!("nothing is sent to {name}: {error}")),
            }
        }
        troubles
    }

    pub fn collect(&self, sink: &mut dyn Sink) {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, one) in running.iter() {
            let Status { sent, lost, waiting, waiting_bytes, trouble } = one.deliverer.status();
            let lost = lost + one.missed.load(Ordering::Relaxed);
            for (result, count) in [("sent", sent), ("lost", lost)] {
                sink.counter("juchu_sending_total", &[("name", name), ("result", result)], count as f64);
            }
            let labels = [("name", &**name)];
            sink.gauge("juchu_sending_waiting", &labels, waiting as f64);
            sink.gauge("juchu_sending_waiting_bytes", &labels, waiting_bytes as f64);
            sink.gauge("juchu_sending_ok", &labels, if trouble.is_none() { 1.0 } else { 0.0 });
        }
    }
}

fn begin(name: &str, declared: &Declared, queue: &Path, sources: &Sources) -> Result<Running, String> {
    let authorization = declared.authorization_file.as_ref().map(|path| {
        let read = std::fs::read_to_string(path).map(|text| text.trim().to_owned());
        read.map_err(|error| format!("{} cannot be read: {error}", path.display()))
    });
    let url = declared.url.trim_end_matches('/').to_owned();
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(format!("{url} does not begin with http:// or https://"));
    }
    let client = Client::new(Place { url, authorization: authorization.transpose()? });
    let destination: Box<dyn Destination> = match declared.to {
        Kind::RemoteWrite => Box::new(RemoteWrite::new(client)),
        Kind::Elasticsearch => Box::new(Elasticsearch::new(client)),
        Kind::Otlp => Box::new(Otlp::new(client)),
    };
    let deliverer =
        Deliverer::start(name, queue, ROOM_BYTES, destination).map_err(|error| error.to_string())?;
    let deliverer = Arc::new(deliverer);
    let (missed, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let feed = Feed {
        name: name.to_owned(),
        queue: queue.to_owned(),
        deliverer: deliverer.clone(),
        missed: missed.clone(),
        is_over: is_over.clone(),
    };
    let (kind, sources) = (declared.to, sources.clone());
    let work = move || match kind {
        Kind::RemoteWrite => feed.samples(&sources.metrics),
        Kind::Elasticsearch => sources.rows.iter().for_each(|rows| feed.rows(rows)),
        Kind::Otlp => feed.everything(&sources),
    };
    std::thread::Builder::new()
        .name(format!("feed {name}"))
        .spawn(work)
        .map_err(|error| error.to_string())?;
    Ok(Running { declared: declared.clone(), deliverer, missed, is_over })
}

/// Puts what is new into the queue.
struct Feed {
    name: String,
    queue: PathBuf,
    deliverer: Arc<Deliverer>,
    missed: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Feed {
    fn samples(&self, metrics: &Metrics) {
        let mut told = None;
        let (path, mut from) = self.begin();
        while !self.is_over.load(Ordering::Relaxed) {
            let to = (now_ms() - SETTLE_MS).min(from + LOOK_MS);
            if to > from {
                for (payload, count) in messages(metrics, from + 1, to) {
                    self.push(&payload, count);
                }
                from = to;
                // Read again from there when this process ends; a sample that comes twice is no mistake.
                let _ = std::fs::write(&path, from.to_string());
            }
            self.tell(&mut told);
            if now_ms() - SETTLE_MS - from < LOOK_MS {
                std::thread::park_timeout(EVERY);
            }
        }
    }

    /// Where it is written how far samples are sent, and how far they are.
    fn begin(&self) -> (PathBuf, i64) {
        let path = self.queue.join(CURSOR);
        let left = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<i64>().ok());
        let from = left.unwrap_or_else(|| now_ms() - SETTLE_MS).max(now_ms() - BACK_MS);
        (path, from)
    }

    /// Rows and spans each second, samples every five.
    fn everything(&self, sources: &Sources) {
        let mut told = None;
        let (path, mut from) = self.begin();
        let mut rows = sources.rows.as_deref().map(Logs::follow);
        let mut spans = sources.spans.as_deref().map(Logs::follow);
        let mut looked = std::time::Instant::now();
        while !self.is_over.load(Ordering::Relaxed) {
            std::thread::park_timeout(EVERY / 5);
            let both = [(rows.as_mut(), otlp::rows as fn(&[Recent]) -> _), (spans.as_mut(), otlp::spans)];
            for (following, make) in both {
                let Some((new, missed)) = following.map(Following::more) else { continue };
                self.missed.fetch_add(missed, Ordering::Relaxed);
                let made: Vec<(Vec<u8>, u64)> = make(&new);
                made.iter().for_each(|(payload, count)| self.push(payload, *count));
            }
            let to = (now_ms() - SETTLE_MS).min(from + LOOK_MS);
            if looked.elapsed() >= EVERY && to > from {
                looked = std::time::Instant::now();
                let made = otlp::samples(&sources.metrics, from + 1, to);
                made.iter().for_each(|(payload, count)| self.push(payload, *count));
                from = to;
                // Read again from there when this process ends; a sample that comes twice is no mistake.
                let _ = std::fs::write(&path, from.to_string());
            }
            self.tell(&mut told);
        }
    }

    fn rows(&self, logs: &Logs) {
        let mut told = None;
        let mut following = logs.follow();
        while !self.is_over.load(Ordering::Relaxed) {
            std::thread::park_timeout(EVERY / 5);
            let (rows, missed) = following.more();
            self.missed.fetch_add(missed, Ordering::Relaxed);
            let (mut payload, mut count) = (String::new(), 0);
            for row in &rows {
                let stream = &row.stream;
                let sent = elasticsearch::Row {
                    time_ns: row.time_ns,
                    stack: &stream.stack,
                    service: &stream.service,
                    instance: &stream.instance,
                    source: &stream.source,
                    level: row.level.name(),
                    text: &row.text,
                    number: row.number,
                };
                elasticsearch::put(&mut payload, &sent);
                count += 1;
                if count as usize >= ROWS_MAX || payload.len() >= ROWS_BYTES_MAX {
                    self.push(payload.as_bytes(), count);
                    (payload, count) = (String::new(), 0);
                }
            }
            if count > 0 {
                self.push(payload.as_bytes(), count);
            }
            self.tell(&mut told);
        }
    }

    fn push(&self, payload: &[u8], items: u64) {
        if let Err(error) = self.deliverer.push(payload, items) {
            self.missed.fetch_add(items, Ordering::Relaxed);
            eprintln!("{items} items for {} are lost: {error}", self.name);
        }
    }

    /// Each trouble once, when it begins.
    fn tell(&self, told: &mut Option<String>) {
        let trouble = self.deliverer.status().trouble;
        if let Some(text) = trouble.as_ref().filter(|_| *told != trouble) {
            eprintln!("sending to {}: {text}", self.name);
        }
        *told = trouble;
    }
}

/// All samples of a time, both ends counting.
fn messages(metrics: &Metrics, from: i64, to: i64) -> Vec<(Vec<u8>, u64)> {
    let mut messages = Messages::default();
    // More series than a selector may find are too many for this, too.
    let Ok(all) = metrics.select(&[Matcher::differs(NAME, "")], from, to) else { return Vec::new() };
    let mut points = Points::default();
    for series in all {
        points.clear();
        if series.read(from, to, Want::Last, &mut points).is_err() || points.is_empty() {
            continue;
        }
        let samples: Vec<(i64, f64)> =
            points.times_ms.iter().copied().zip(points.values.iter().copied()).collect();
        messages.add(series.labels().iter(), &samples);
    }
    messages.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::collect::{Kept, Recorder};
    use observe::keep::{Ends, Settings};
    use testkit::{TempDir, wait_for};

    #[test]
    fn samples_are_found_once_by_their_time() {
        let directory = TempDir::new();
        let start = 1_790_000_000_000;
        let metrics = Metrics::open(directory.path(), Settings::default(), start).expect("a store");
        let mut recorder = Recorder::new("a", Ends::WhenMissing, Vec::new());
        for second in 0..10 {
            recorder
                .tick(&metrics, start + second * 1000, |sink| sink.gauge("x", &[], second as f64))
                .expect("taken");
        }
        let count = |from, to| {
            messages(&metrics, start + from, start + to).iter().map(|(_, count)| count).sum::<u64>()
        };
        assert_eq!((count(0, 4000), count(4001, 9000), count(9001, 20_000)), (5, 5, 0));
    }

    #[test]
    fn what_cannot_be_sent_waits_and_is_counted() {
        let directory = TempDir::new();
        let metrics =
            Metrics::open(&directory.path().join("m"), Settings::default(), now_ms()).expect("a store");
        let logs = Logs::open(&directory.path().join("l"), Default::default(), 0).expect("a store");
        let sources = Sources { metrics: Arc::new(metrics), rows: Some(Arc::new(logs)), spans: None };
        let url = format!("http://127.0.0.1:{}", testkit::free_port());
        let declared = Declared { to: Kind::Elasticsearch, url, authorization_file: None };
        let sending = Sending::default();
        let wanted = BTreeMap::from([("search".to_owned(), declared)]);
        sending.become_as(&wanted, &directory.path().join("queues"), &sources);
        let shown = || {
            let mut kept = Kept::default();
            sending.collect(&mut kept);
            kept.to_string()
        };
        let rows = sources.rows.as_ref().expect("a store");
        // Rows that come before it follows are not sent.
        wait_for(Duration::from_secs(20), "a row waits", || {
            let row = observe::logs::Row { time_ns: 7, level: observe::logs::Level::Info, text: "x" };
            rows.append(&observe::logs::Stream::new("a", "b", "c", "d"), &[row], None).expect("taken");
            let text = shown();
            (!text.contains("juchu_sending_waiting{name=\"search\"} 0")
                && text.contains("juchu_sending_ok{name=\"search\"} 0"))
            .then_some(())
        });
        assert!(shown().contains("juchu_sending_total{name=\"search\",result=\"lost\"} 0"), "{}", shown());
        sending.become_as(&BTreeMap::new(), &directory.path().join("queues"), &sources);
        assert_eq!(shown(), "");
        let left = std::fs::read_dir(directory.path().join("queues/search")).expect("a directory").count();
        assert!(left > 0, "what waits stays on disk");
    }
}
