//! A web server of a few lines that answers as a test wants, wrongly if need be.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

pub struct Request {
    pub method: String,
    /// With its query.
    pub path: String,
    /// By lower-case name.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

#[derive(Clone, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// The connection ends after so many bytes of the body.
    pub cut_after: Option<usize>,
    /// What was sent so far is all there is, but the connection stays.
    pub hangs: bool,
    /// Not even a head is sent.
    pub is_silent: bool,
}

impl Answer {
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, body: body.into(), ..Self::default() }
    }
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

pub struct Server {
    address: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_cutting(|_| u64::MAX, answer)
    }

    /// Reads no more than `most` bytes of what a client sends; where that is not all, the
    /// connection ends without an answer.
    pub fn start_cutting(
        most: impl Fn(&Request) -> u64 + Send + Sync + 'static,
        answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (stopping, log, answer) = (stop.clone(), seen.clone(), Arc::new((most, answer)));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopping.load(Ordering::SeqCst) {
                    return;
                }
                let (log, answer) = (log.clone(), answer.clone());
                std::thread::spawn(move || {
                    let _ = serve(&stream.unwrap(), &log, &answer.0, &answer.1);
                });
            }
        });
        Self { address, stop, thread: Some(thread), seen }
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> &str {
        &self.address
    }
    /// What was asked for so far: `PATH` or `PATH RANGE`.
    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(
    stream: &TcpStream,
    log: &Mutex<Vec<String>>,
    most: &dyn Fn(&Request) -> u64,
    answer: &dyn Fn(&Request) -> Answer,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = || -> std::io::Result<String> {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = HashMap::new();
    loop {
        let line = line()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let range = headers.get("range").map(|range| format!(" {range}")).unwrap_or_default();
    let prefix = if method == "GET" { String::new() } else { format!("{method} ") };
    log.lock().unwrap().push(format!("{prefix}{path}{range}"));
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let head = Request { method, path, headers: headers.clone(), body: Vec::new() };
    let mut body = Vec::new();
    reader.by_ref().take(most(&head).min(length)).read_to_end(&mut body)?;
    let is_cut = (body.len() as u64) < length;
    let mut answer = answer(&Request { body, ..head });
    if is_cut {
        return Ok(());
    }
    if answer.is_silent {
        return wait_for_end(reader);
    }
    let start = headers.get("range").and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    if let (Some(start), 200) = (start, answer.status) {
        answer.status = 206;
        answer.body = answer.body.split_off(start);
    }
    let mut head = format!(
        "HTTP/1.1 {} X\r\nconnection: close\r\ncontent-length: {}\r\n",
        answer.status,
        answer.body.len()
    );
    answer.headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    let sent = &answer.body[..answer.cut_after.unwrap_or(answer.body.len()).min(answer.body.len())];
    let mut out = stream;
    out.write_all(head.as_bytes())?;
    out.write_all(b"\r\n")?;
    out.write_all(sent)?;
    if answer.hangs { wait_for_end(reader) } else { Ok(()) }
}

/// Until the client has had enough.
fn wait_for_end(mut reader: impl Read) -> std::io::Result<()> {
    std::io::copy(&mut reader, &mut std::io::sink()).map(|_| ())
}
