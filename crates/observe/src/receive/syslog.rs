//! Syslog by UDP and TCP on one port: messages become rows, the program as their service, the host as
//! their instance.
//!
//! Nobody proves who they are here: whoever reaches the port may send. So the streams of it are few.

use super::Receiver;
use crate::logs::parse::level;
use crate::logs::{Level, Logs, Row, Stream};
use formats::otlp::put_json_text;
use formats::syslog::{FRAME_BYTES_MAX, Frame, Message, frame, read};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const SOURCE: &str = "syslog";
/// Connections at the same time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 256;
/// A connection on which nothing comes ends after this.
const IDLE: Duration = Duration::from_secs(3600);
/// Messages that wait to be kept. Connections wait then; datagrams are dropped and counted.
const WAITING_MAX: usize = 1024;
/// Messages that are kept at once.
const BATCH: usize = 256;
/// Different programs and hosts; messages of more are kept without them.
const SENDERS_MAX: usize = 500;
/// Without file descriptors `accept` fails at once; it is tried again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Listening {
    pub address: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Receiver {
    /// Takes syslog on this address, by UDP and TCP.
    pub async fn listen_syslog(&self, address: SocketAddr) -> io::Result<Listening> {
        let tcp = TcpListener::bind(address).await?;
        let address = tcp.local_addr()?;
        let udp = UdpSocket::bind(address).await?;
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        let tasks = vec![
            tokio::spawn(datagrams(udp, sender.clone(), self.clone())),
            tokio::spawn(connections(tcp, sender)),
            tokio::spawn(keep(waiting, self.clone())),
        ];
        Ok(Listening { address, tasks })
    }
}

async fn datagrams(socket: UdpSocket, sender: mpsc::Sender<String>, receiver: Receiver) {
    let mut buffer = vec![0; FRAME_BYTES_MAX];
    loop {
        match socket.recv(&mut buffer).await {
            Ok(length) => {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if sender.try_send(text).is_err() {
                    receiver.0.received.rows.add(0, 1);
                }
            }
            // What an earlier answer met; there is nothing to be done about it.
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connections(listener: TcpListener, sender: mpsc::Sender<String>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut open = tokio::task::JoinSet::new();
    loop {
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        while open.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let sender = sender.clone();
                open.spawn(async move {
                    connection(stream, sender).await;
                    drop(place);
                });
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Until its end, an idle hour, or bytes that are no messages.
async fn connection(mut stream: TcpStream, sender: mpsc::Sender<String>) {
    let mut buffer: Vec<u8> = Vec::with_capacity(4096);
    loop {
        let mut at = 0;
        loop {
            match frame(&buffer[at..]) {
                Frame::Whole { start, end, next } => {
                    let text = String::from_utf8_lossy(&buffer[at + start..at + end]).into_owned();
                    at += next;
                    if !text.trim().is_empty() && sender.send(text).await.is_err() {
                        return;
                    }
                }
                Frame::Part => break,
                Frame::Broken => return,
            }
        }
        buffer.drain(..at);
        // Never more than one message and its length.
        debug_assert!(buffer.len() <= FRAME_BYTES_MAX + 8, "frames are bounded");
        match timeout(IDLE, stream.read_buf(&mut buffer)).await {
            Ok(Ok(read)) if read > 0 => {}
            _ => break,
        }
    }
    // The last line may end with the connection.
    let text = String::from_utf8_lossy(&buffer).into_owned();
    if !text.trim().is_empty() {
        let _ = sender.send(text).await;
    }
}

async fn keep(mut waiting: mpsc::Receiver<String>, receiver: Receiver) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut senders: HashSet<(String, String)> = HashSet::new();
    let zone = TimeZone::system();
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let now_ns = (receiver.0.now_ns)();
        let mut streams: HashMap<Stream, Vec<(i64, Level, String)>> = HashMap::new();
        for text in batch.drain(..) {
            let now = Timestamp::from_nanosecond(now_ns.into()).unwrap_or_default();
            let message = read(&text, now, &zone);
            let row = (message.time_ns.unwrap_or(now_ns), level_of(&message), text_of(&message));
            streams.entry(stream_of(&message, &mut senders)).or_default().push(row);
        }
        if let Some(rows) = &receiver.0.stores.rows {
            put(rows, &receiver, streams);
        }
    }
}

fn put(logs: &Logs, receiver: &Receiver, streams: HashMap<Stream, Vec<(i64, Level, String)>>) {
    for (stream, rows) in streams {
        let rows: Vec<Row<'_>> = rows
            .iter()
            .map(|(time_ns, level, text)| Row { time_ns: *time_ns, level: *level, text })
            .collect();
        let count = rows.len() as u64;
        match logs.append(&stream, &rows, None) {
            Ok(()) => receiver.0.received.rows.add(count, 0),
            Err(_) => receiver.0.received.rows.add(0, count),
        }
    }
}

fn stream_of(message: &Message<'_>, senders: &mut HashSet<(String, String)>) -> Stream {
    let sender = (message.program.to_owned(), message.host.to_owned());
    if !senders.contains(&sender) {
        if senders.len() >= SENDERS_MAX {
            return Stream::new("", SOURCE, "", SOURCE);
        }
        senders.insert(sender);
    }
    let program = if message.program.is_empty() { SOURCE } else { message.program };
    Stream::new("", program, message.host, SOURCE)
}

fn level_of(message: &Message<'_>) -> Level {
    match message.severity {
        Some(0..=2) => Level::Fatal,
        Some(3) => Level::Error,
        Some(4) => Level::Warn,
        Some(5 | 6) => Level::Info,
        Some(_) => Level::Debug,
        None => level(message.text),
    }
}

/// The text alone, or JSON where there is more to say than the stream does.
fn text_of(message: &Message<'_>) -> String {
    // How good its clock is, every sender says.
    let mut data = message.data.iter().filter(|(name, _)| !name.starts_with("timeQuality.")).peekable();
    if data.peek().is_none() && message.id.is_empty() {
        return message.text.to_owned();
    }
    let mut row = "{\"message\":".to_owned();
    put_json_text(&mut row, message.text);
    let own = [("id", message.id), ("pid", message.process)];
    let data = data.map(|(name, value)| (&**name, &**value));
    for (name, value) in own.into_iter().filter(|(_, value)| !value.is_empty()).chain(data) {
        let before = row.len();
        row.push(',');
        put_json_text(&mut row, name);
        row.push(':');
        put_json_text(&mut row, value);
        if row.len() > FRAME_BYTES_MAX / 2 {
            row.truncate(before);
        }
    }
    row.push('}');
    row
}
