//! A peer that answers as it is told, one connection after the other, and remembers what it was asked.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub enum Answer {
    Status(u16, String, Vec<String>),
    /// Reads and says nothing.
    Hangs,
    Closes,
}

impl Answer {
    pub fn status(status: u16, body: &str) -> Self {
        Self::Status(status, body.into(), Vec::new())
    }

    pub fn header(mut self, line: &str) -> Self {
        if let Self::Status(_, _, headers) = &mut self {
            headers.push(line.into());
        }
        self
    }
}

#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// In lower case.
    pub head: String,
    pub body: Vec<u8>,
}

#[derive(Default)]
struct Told {
    script: VecDeque<Answer>,
    asked: Vec<Asked>,
    /// What hangs is held so long.
    held: Vec<TcpStream>,
}

pub struct Scripted {
    address: SocketAddr,
    told: Arc<Mutex<Told>>,
}

impl Scripted {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let told = Arc::new(Mutex::new(Told::default()));
        let of_thread = Arc::clone(&told);
        // Ends with the process of the test, as its listener does.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = serve(stream, &of_thread);
            }
        });
        Self { address, told }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.told.lock().expect("no panic").script.extend(answers);
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.told.lock().expect("no panic").asked.clone()
    }
}

fn serve(mut stream: TcpStream, told: &Mutex<Told>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let asked = read(&mut stream)?;
    let mut told = told.lock().expect("no panic");
    told.asked.push(asked);
    match told.script.pop_front() {
        Some(Answer::Status(status, body, headers)) => {
            let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
            )
        }
        Some(Answer::Hangs) => {
            told.held.push(stream);
            Ok(())
        }
        Some(Answer::Closes) | None => Ok(()),
    }
}

fn read(stream: &mut TcpStream) -> std::io::Result<Asked> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if bytes.len() >= end + 4 + length.unwrap_or(0) {
                return Ok(Asked { head, body: bytes[end + 4..].to_vec() });
            }
        }
        match stream.read(&mut buffer)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}
