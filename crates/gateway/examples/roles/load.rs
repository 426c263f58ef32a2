//! Load at a fixed rate, whatever the answers do: a request that is due while all connections wait
//! is late, and its wait counts. Prints `DUE_US TOOK_US STATUS` for each; status 0 is no answer.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until, timeout};

/// A request that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(2);
/// Bytes of one answer.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Between the start of the program and the first request.
const LEAD: Duration = Duration::from_millis(50);

pub struct Wanted {
    pub port: u16,
    pub path: String,
    pub rate: u64,
    pub connections: u64,
    pub seconds: u64,
}

struct Request {
    due_us: u128,
    took_us: u128,
    status: u16,
}

pub async fn run(wanted: Wanted) -> std::io::Result<()> {
    let began = Instant::now() + LEAD;
    let done: Rc<RefCell<Vec<Request>>> = Rc::default();
    let wanted = Rc::new(wanted);
    let tasks: Vec<_> = (0..wanted.connections)
        .map(|number| spawn_local(connection(wanted.clone(), number, began, done.clone())))
        .collect();
    for task in tasks {
        task.await?;
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for Request { due_us, took_us, status } in done.borrow().iter() {
        writeln!(out, "{due_us} {took_us} {status}")?;
    }
    out.flush()
}

/// Sends every so many of the requests, each when it is due or as soon as the one before is over.
async fn connection(wanted: Rc<Wanted>, number: u64, began: Instant, done: Rc<RefCell<Vec<Request>>>) {
    let text = format!("GET {} HTTP/1.1\r\nHost: bench.example\r\n\r\n", wanted.path);
    let mut stream = None;
    for turn in (number..wanted.rate * wanted.seconds).step_by(wanted.connections as usize) {
        let due = began + Duration::from_nanos(turn * 1_000_000_000 / wanted.rate);
        sleep_until(due).await;
        let status = match timeout(LIMIT, ask(&mut stream, wanted.port, &text)).await {
            Ok(Ok(status)) => status,
            _ => {
                stream = None;
                0
            }
        };
        let (due_us, took_us) = ((due - began).as_micros(), due.elapsed().as_micros());
        done.borrow_mut().push(Request { due_us, took_us, status });
    }
}

async fn ask(stream: &mut Option<TcpStream>, port: u16, text: &str) -> std::io::Result<u16> {
    let stream = match stream {
        Some(stream) => stream,
        none => {
            let new = TcpStream::connect(("127.0.0.1", port)).await?;
            new.set_nodelay(true)?;
            none.insert(new)
        }
    };
    stream.write_all(text.as_bytes()).await?;
    let mut answer = Vec::with_capacity(2 * 1024);
    while answer.len() < MAX_ANSWER_BYTES {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(status) = whole(&answer) {
            return Ok(status);
        }
    }
    Err(std::io::ErrorKind::InvalidData.into())
}

/// The status of an answer that is there to its last byte.
fn whole(answer: &[u8]) -> Option<u16> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let length: usize = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse().ok())?
    })?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    (answer.len() >= end + length).then_some(status)
}
