//! Clients of HTTP/2: one that speaks it well, and one that speaks in frames of any kind.

use super::PATIENCE;
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const ENHANCE_YOUR_CALM: u8 = 11;

/// One connection with a runtime of its own.
pub struct Http2 {
    runtime: Runtime,
    send: SendRequest<Bytes>,
    /// Ends with the connection, and says how.
    pub driver: JoinHandle<Result<(), h2::Error>>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Http2 {
    pub fn to(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (send, driver) = runtime.block_on(async {
            let socket = tokio::net::TcpStream::connect(address).await.expect("someone listens");
            let (send, connection) = h2::client::handshake(socket).await.expect("a handshake");
            (send, tokio::spawn(connection))
        });
        Self { runtime, send, driver }
    }

    /// Waits for something on the connection, within the test's patience.
    pub fn wait<T>(&mut self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, what).await }).expect("it comes about")
    }

    /// Lets the connection say and hear what there is.
    pub fn turn(&mut self) {
        // Whoever calls this asks again and again until what is waited for is there.
        self.wait(async { tokio::time::sleep(Duration::from_millis(1)).await });
    }

    /// Whether it takes another request.
    pub fn is_open(&mut self) -> bool {
        let send = self.send.clone();
        self.wait(send.ready()).is_ok()
    }

    /// Begins a request whose body follows unless `whole`.
    pub fn begin(&mut self, request: Request<()>, whole: bool) -> (ResponseFuture, SendStream<Bytes>) {
        let send = self.send.clone();
        let mut send = self.wait(send.ready()).expect("the connection takes requests");
        send.send_request(request, whole).expect("the request is valid")
    }

    pub fn get(&mut self, uri: &str) -> Result<Answer, h2::Error> {
        self.ask(Request::builder().uri(uri), b"", None)
    }

    /// One request with its answer; a body that is empty is none.
    pub fn ask(
        &mut self,
        request: http::request::Builder,
        body: &'static [u8],
        trailers: Option<HeaderMap>,
    ) -> Result<Answer, h2::Error> {
        let whole = body.is_empty() && trailers.is_none();
        let (response, mut send) = self.begin(request.body(()).expect("it is valid"), whole);
        if !whole {
            send.send_data(Bytes::from_static(body), trailers.is_none())?;
        }
        if let Some(trailers) = trailers {
            send.send_trailers(trailers)?;
        }
        self.wait(async { read(response.await?).await })
    }

    /// How the connection ended.
    pub fn ended(mut self) -> Result<(), h2::Error> {
        let driver = std::mem::replace(&mut self.driver, self.runtime.spawn(async { Ok(()) }));
        self.wait(driver).expect("no panic")
    }
}

/// Reads an answer to its end.
pub async fn read(response: Response<RecvStream>) -> Result<Answer, h2::Error> {
    let (head, mut stream) = response.into_parts();
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let trailers = stream.trailers().await?;
    Ok(Answer { status: head.status.as_u16(), head: head.headers, body, trailers })
}

/// A frame as it was read.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// A client that sends whatever it is told to.
pub struct Frames<S>(pub S);

impl Frames<TcpStream> {
    /// With the preface and empty settings sent.
    pub fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("someone listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        stream.set_nodelay(true).expect("an option");
        Self::over(stream)
    }
}

impl<S: Read + Write> Frames<S> {
    pub fn over(stream: S) -> Self {
        let mut frames = Self(stream);
        frames.bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").send(SETTINGS, 0, 0, b"");
        frames
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        // The other side may have ended it already; what it said is still read.
        let _ = self.0.write_all(bytes).and_then(|()| self.0.flush());
        self
    }

    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> &mut Self {
        self.bytes(&frame(kind, flags, stream, payload))
    }

    /// The next frame; `None` at the end.
    pub fn next(&mut self) -> Option<Frame> {
        let mut header = [0; 9];
        self.0.read_exact(&mut header).ok()?;
        let [a, b, c, kind, flags, stream @ ..] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload).ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// The next frame of this kind.
    pub fn until(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.next().expect("the connection goes on");
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// The reason of the GOAWAY by which the connection is ended.
    pub fn dismissed(&mut self) -> Option<u8> {
        let mut reason = None;
        while let Some(frame) = self.next() {
            if frame.kind == GOAWAY {
                reason = frame.payload.get(7).copied();
            }
        }
        reason
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Fields as they stand, without a table and without Huffman's code.
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        push_text(name, &mut block);
        push_text(value, &mut block);
    }
    block
}

/// A length of seven bits, or of those and three times seven more.
fn push_text(text: &str, block: &mut Vec<u8>) {
    match text.len() {
        short @ 0..127 => block.push(short as u8),
        long => {
            let rest = long - 127;
            block.extend([127, (rest & 127) as u8 | 128, (rest >> 7 & 127) as u8 | 128, (rest >> 14) as u8]);
        }
    }
    block.extend_from_slice(text.as_bytes());
}

/// The fields of a GET of `/`.
pub fn get() -> Vec<u8> {
    fields(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")])
}
