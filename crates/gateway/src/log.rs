//! The gateway's messages and the access log. Threads hand lines to one writer through a bounded
//! queue; when that is full, lines are dropped and counted, and no request ever waits.

use crate::http::field;
use crate::options::GatewayOptions;
use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{SystemTime, UNIX_EPOCH};

/// Batches the writer may be behind.
const QUEUE: usize = 128;
/// Bytes of access lines that make a batch.
const BATCH_BYTES: usize = 64 * 1024;
/// Bytes for which a batch has room behind its last line; a longer line makes it grow.
const MAX_LINE_BYTES: usize = 4 * 1024;
/// Bytes of a browser's name for itself; the rest is left out.
const AGENT_BYTES_MAX: usize = 256;
/// Messages one thread may write in one second.
const MESSAGES_PER_SECOND: u32 = 10;

enum Entry {
    Message(String),
    Access { lines: Vec<u8>, count: u64 },
    Flush(SyncSender<()>),
}

/// The way to the writer, shared by all threads.
#[derive(Clone)]
pub struct Log {
    queue: SyncSender<Entry>,
    access: bool,
    dropped: Arc<AtomicU64>,
}

impl Log {
    /// Opens the files and starts the writer thread.
    pub fn start(options: &GatewayOptions) -> io::Result<Self> {
        let messages = options.log.as_deref().map(open).transpose()?;
        let access = options.access_log.as_ref().map(|path| Rotated::open(path, options)).transpose()?;
        let (queue, entries) = sync_channel(QUEUE);
        let log = Self { queue, access: access.is_some(), dropped: Arc::default() };
        let dropped = log.dropped.clone();
        std::thread::Builder::new()
            .name("log".into())
            .stack_size(128 * 1024)
            .spawn(move || write(&entries, messages, access, &dropped))?;
        Ok(log)
    }
    /// One message for whoever runs the gateway.
    pub fn say(&self, message: &str) {
        let _ = self.queue.try_send(Entry::Message(message.to_owned()));
    }
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
    /// Waits until everything handed over so far is written.
    pub fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.queue.send(Entry::Flush(done)).is_ok() {
            // An error means that the writer has ended, and with it everything it could write.
            let _ = written.recv();
        }
    }
    /// The part of one thread.
    pub fn of_thread(&self) -> ThreadLog {
        let (lines, count, clock, listener, said) = Default::default();
        ThreadLog { log: self.clone(), lines, count, clock, listener, said }
    }
}

/// One finished request. The target is logged without its query, which may hold secrets.
pub struct Access<'a> {
    /// Of the table by which it was routed.
    pub revision: u64,
    pub listener: SocketAddr,
    pub backend: &'a str,
    pub rule: Option<&'a str>,
    pub instance: Option<&'a str>,
    pub client: &'a str,
    /// The browser, as it names itself; of requests from outside alone.
    pub agent: Option<&'a [u8]>,
    pub method: &'a [u8],
    pub host: &'a [u8],
    pub target: &'a [u8],
    pub id: &'a [u8],
    /// Empty: it is part of no trace.
    pub trace: &'a [u8],
    pub status: u16,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub micros: u64,
    pub fault: Option<&'static str>,
    /// Of HTTP.
    pub version: &'static str,
    pub grpc_status: Option<u32>,
}

/// What one thread has not handed over yet.
pub struct ThreadLog {
    log: Log,
    lines: RefCell<Vec<u8>>,
    count: Cell<u64>,
    clock: RefCell<Clock>,
    /// The listener of the last line, and as text.
    listener: RefCell<Option<(SocketAddr, String)>>,
    /// Second, messages in it.
    said: Cell<(u64, u32)>,
}

impl ThreadLog {
    pub fn access(&self, access: &Access<'_>) {
        if !self.log.access {
            return;
        }
        let mut lines = self.lines.borrow_mut();
        if lines.capacity() == 0 {
            lines.reserve(BATCH_BYTES + MAX_LINE_BYTES);
        }
        self.clock.borrow_mut().push(now_ms(), &mut lines);
        let mut listener = self.listener.borrow_mut();
        let listener = match &mut *listener {
            Some((address, text)) if *address == access.listener => text,
            other => &mut other.insert((access.listener, access.listener.to_string())).1,
        };
        push_access(&mut lines, access, listener);
        self.count.set(self.count.get() + 1);
        if lines.len() >= BATCH_BYTES {
            self.hand_over(std::mem::take(&mut *lines));
        }
    }
    /// Hands over what has gathered; called by each sweep.
    pub fn flush(&self) {
        if self.count.get() > 0 {
            self.hand_over(self.lines.take());
        }
    }
    fn hand_over(&self, lines: Vec<u8>) {
        let count = self.count.replace(0);
        if let Err(TrySendError::Full(_)) = self.log.queue.try_send(Entry::Access { lines, count }) {
            self.log.dropped.fetch_add(count, Relaxed);
        }
    }
    /// A message, unless this second has had enough of them.
    pub fn say(&self, message: &str) {
        let second = now_ms() / 1000;
        let (last, count) = self.said.get();
        let count = if last == second { count + 1 } else { 1 };
        self.said.set((second, count));
        if count <= MESSAGES_PER_SECOND {
            self.log.say(message);
        }
    }
}

/// The time of the last line as text, which is the same but for its milliseconds for a second.
#[derive(Default)]
struct Clock {
    second: u64,
    text: String,
}

impl Clock {
    /// Begins a line.
    fn push(&mut self, ms: u64, out: &mut Vec<u8>) {
        let second = ms / 1000;
        if self.second != second || self.text.is_empty() {
            self.second = second;
            self.text = timestamp(second * 1000);
            self.text.truncate(self.text.len() - "000Z".len());
        }
        out.extend_from_slice(b"{\"time\":\"");
        out.extend_from_slice(self.text.as_bytes());
        let rest = (ms % 1000) as u32;
        let digits = [rest / 100, rest / 10 % 10, rest % 10].map(|digit| b'0' + digit as u8);
        out.extend_from_slice(&digits);
        out.extend_from_slice(b"Z\"");
    }
}

/// The rest of a line, without the machinery of formatting: one is written for each request.
fn push_access(out: &mut Vec<u8>, access: &Access<'_>, listener: &str) {
    let path = access.target.split(|&b| b == b'?').next().unwrap_or_default();
    let mut text = |name: &[u8], value: &[u8]| {
        out.extend_from_slice(name);
        push_escaped(out, value);
    };
    text(b",\"client\":\"", access.client.as_bytes());
    if let Some(agent) = access.agent {
        text(b"\",\"agent\":\"", &agent[..agent.len().min(AGENT_BYTES_MAX)]);
    }
    text(b"\",\"backend\":\"", access.backend.as_bytes());
    text(b"\",\"rule\":\"", access.rule.unwrap_or_default().as_bytes());
    text(b"\",\"instance\":\"", access.instance.unwrap_or_default().as_bytes());
    text(b"\",\"http\":\"", access.version.as_bytes());
    text(b"\",\"method\":\"", access.method);
    text(b"\",\"host\":\"", access.host);
    text(b"\",\"path\":\"", path);
    text(b"\",\"id\":\"", access.id);
    if !access.trace.is_empty() {
        text(b"\",\"trace\":\"", access.trace);
    }
    text(b"\",\"fault\":\"", access.fault.unwrap_or_default().as_bytes());
    text(b"\",\"listener\":\"", listener.as_bytes());
    let mut number = |name: &[u8], value: u64| {
        out.extend_from_slice(name);
        field::push_number(out, value);
    };
    number(b"\",\"revision\":", access.revision);
    number(b",\"status\":", access.status.into());
    number(b",\"bytes_in\":", access.bytes_in);
    number(b",\"bytes_out\":", access.bytes_out);
    number(b",\"duration_us\":", access.micros);
    if let Some(status) = access.grpc_status {
        number(b",\"grpc_status\":", status.into());
    }
    out.extend_from_slice(b"}\n");
}

/// A JSON string's inside; bytes that are not ASCII become U+FFFD, so that every line is valid.
fn push_escaped(out: &mut Vec<u8>, value: &[u8]) {
    // Looked through as a whole, which the processor does for many bytes at once.
    let special = |byte: u8| (byte.wrapping_sub(b' ') > b'~' - b' ') | (byte == b'"') | (byte == b'\\');
    if value.iter().fold(0, |found, &byte| found | u8::from(special(byte))) == 0 {
        return out.extend_from_slice(value);
    }
    for &byte in value {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            _ => out.extend_from_slice(b"\\ufffd"),
        }
    }
}

pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// RFC 3339 in UTC, to the millisecond.
fn timestamp(ms: u64) -> String {
    let (days, second) = (ms / 86_400_000, ms / 1000 % 86_400);
    // Civil date from days, by Howard Hinnant's algorithm, years starting in March.
    let shifted = days as i64 + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// A file that is renamed away when it has grown too large.
struct Rotated {
    path: PathBuf,
    file: File,
    bytes: u64,
    max_bytes: u64,
    max_files: u32,
}

impl Rotated {
    fn open(path: &Path, options: &GatewayOptions) -> io::Result<Self> {
        let file = open(path)?;
        let bytes = file.metadata()?.len();
        let limits = &options.limits;
        Ok(Self {
            path: path.to_owned(),
            file,
            bytes,
            max_bytes: limits.access_log_bytes,
            max_files: limits.access_log_files,
        })
    }
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + lines.len() as u64 > self.max_bytes {
            self.rotate()?;
        }
        self.file.write_all(lines)?;
        self.bytes += lines.len() as u64;
        Ok(())
    }
    fn rotate(&mut self) -> io::Result<()> {
        let name = |number: u32| match number {
            0 => self.path.clone(),
            _ => PathBuf::from(format!("{}.{number}", self.path.display())),
        };
        for number in (0..self.max_files).rev() {
            match std::fs::rename(name(number), name(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        if self.max_files == 0 {
            std::fs::remove_file(&self.path)?;
        }
        self.file = open(&self.path)?;
        self.bytes = 0;
        Ok(())
    }
}

/// The writer thread; ends with the last sender. A log that cannot be written stops nothing.
fn write(
    entries: &Receiver<Entry>,
    mut messages: Option<File>,
    mut access: Option<Rotated>,
    dropped: &AtomicU64,
) {
    for entry in entries {
        match entry {
            Entry::Message(text) => {
                let line = format!("{} gateway: {text}\n", timestamp(now_ms()));
                let _ = match &mut messages {
                    Some(file) => file.write_all(line.as_bytes()),
                    None => io::stderr().write_all(line.as_bytes()),
                };
            }
            Entry::Access { lines, count } => {
                if access.as_mut().is_some_and(|access| access.write(&lines).is_err()) {
                    dropped.fetch_add(count, Relaxed);
                }
            }
            Entry::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_read_as_dates() {
        for (ms, expect) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_357_472_123, "2026-11-22T14:24:32.123Z"),
        ] {
            assert_eq!(timestamp(ms), expect);
        }
    }

    #[test]
    fn a_clock_says_what_a_date_says() {
        let mut clock = Clock::default();
        for ms in [0, 1, 999, 1000, 951_782_400_010, 951_782_400_999, 951_782_401_000, 5] {
            let mut out = Vec::new();
            clock.push(ms, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), format!("{{\"time\":\"{}\"", timestamp(ms)));
        }
    }

    #[test]
    fn access_lines_are_json_without_the_query() {
        let mut out = Vec::new();
        Clock::default().push(1_795_357_472_123, &mut out);
        push_access(
            &mut out,
            &Access {
                revision: 4,
                listener: "127.0.0.1:80".parse().expect("an address"),
                backend: "s/web:80",
                rule: None,
                instance: None,
                client: "10.0.0.1",
                agent: Some(b"a\"b"),
                method: b"GET",
                host: b"a\"b\\",
                target: b"/login?token=secret",
                id: "\u{e9}".as_bytes(),
                trace: b"",
                status: 503,
                bytes_in: 1,
                bytes_out: 2,
                micros: 3,
                fault: Some("no instance is ready"),
                version: "2",
                grpc_status: Some(14),
            },
            "127.0.0.1:80",
        );
        let line: serde_json::Value = serde_json::from_slice(&out).expect("a line is JSON");
        assert_eq!(
            (&line["path"], &line["host"], &line["status"]),
            (&"/login".into(), &"a\"b\\".into(), &503.into())
        );
        assert_eq!(line["agent"], "a\"b");
        assert_eq!((&line["http"], &line["grpc_status"]), (&"2".into(), &14.into()));
        let (time, listener) = (&line["time"], &line["listener"]);
        assert_eq!((time, listener), (&"2026-11-22T14:24:32.123Z".into(), &"127.0.0.1:80".into()));
        assert_eq!((&line["revision"], &line["duration_us"]), (&4.into(), &3.into()));
        assert!(!String::from_utf8_lossy(&out).contains("secret"));
    }

    #[test]
    fn a_log_keeps_to_its_size_and_number_of_files() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("access.log");
        let mut options = GatewayOptions::new("s", "t");
        (options.limits.access_log_bytes, options.limits.access_log_files) = (100, 2);
        let mut log = Rotated::open(&path, &options).expect("the directory is writable");
        for number in 0..20 {
            log.write(format!("{number:>39}\n").as_bytes()).expect("the disk has room");
        }
        let mut names: Vec<_> = std::fs::read_dir(dir.path())
            .expect("the directory is there")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        names.sort();
        assert_eq!(names, ["access.log", "access.log.1", "access.log.2"]);
        assert!(std::fs::read_to_string(&path).expect("the newest").ends_with("19\n"));
    }
}
