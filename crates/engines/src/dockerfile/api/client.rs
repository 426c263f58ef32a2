//! The HTTP API of Docker and Podman over its Unix socket: one connection for each request, answers
//! within limits of size and time.

use http_body_util::{BodyExt, Either, Empty};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use std::fs::File;
use std::future::Future;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::UnixStream;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Until an answer begins, of requests that do no long work.
const HEAD_LIMIT: Duration = Duration::from_secs(60);
/// A pause within an answer that is a file.
const PAUSE_LIMIT: Duration = Duration::from_secs(120);
/// An answer that is read as a whole.
const DOCUMENT_MAX: usize = 16 << 20;
/// One line of a stream of progress.
const LINE_MAX: usize = 1 << 20;
const PIECE: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("{socket} does not answer")]
    Connect {
        socket: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{what} was not answered within {} s", limit.as_secs())]
    Late { what: String, limit: Duration },
    #[error("{what} failed")]
    Broken {
        what: String,
        #[source]
        source: hyper::Error,
    },
    #[error("{message}")]
    Refused { status: u16, message: String },
    #[error("the answer to {what} is larger than {} MiB", DOCUMENT_MAX >> 20)]
    TooLarge { what: String },
    #[error("the answer to {what} is not what the API states")]
    Malformed {
        what: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("{context}")]
    Io {
        context: String,
        #[source]
        source: io::Error,
    },
}

pub struct Client {
    socket: PathBuf,
}

type Sent = Either<Empty<Bytes>, FileBody>;

impl Client {
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// The answer's body when it is a success, else what the other side says of the failure.
    async fn send(
        &self,
        method: Method,
        target: &str,
        headers: &[(&'static str, String)],
        body: Sent,
        head_limit: Duration,
    ) -> Result<Response<Incoming>, ApiError> {
        let what = format!("{method} {}", target.split('?').next().unwrap_or_default());
        let broken = |source| ApiError::Broken { what: what.clone(), source };
        let stream = match tokio::time::timeout(CONNECT_LIMIT, UnixStream::connect(&self.socket)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(source)) => return Err(ApiError::Connect { socket: self.socket.clone(), source }),
            Err(_) => return Err(ApiError::Late { what, limit: CONNECT_LIMIT }),
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // It ends with the answer, or when the answer is dropped.
        tokio::spawn(async move { drop(connection.await) });
        let mut request = Request::builder().method(method).uri(target).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(body).expect("targets and headers are made of plain ASCII");
        let answer = match tokio::time::timeout(head_limit, sender.send_request(request)).await {
            Ok(answer) => answer.map_err(broken)?,
            Err(_) => return Err(ApiError::Late { what, limit: head_limit }),
        };
        match answer.status().is_success() {
            true => Ok(answer),
            false => Err(refusal(&what, answer).await),
        }
    }

    /// An answer in JSON.
    pub async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
    ) -> Result<T, ApiError> {
        let bytes = self.bytes(method, target).await?;
        serde_json::from_slice(&bytes)
            .map_err(|source| ApiError::Malformed { what: target.to_owned(), source })
    }

    /// An answer that says no more than that it was done.
    pub async fn bytes(&self, method: Method, target: &str) -> Result<Vec<u8>, ApiError> {
        let answer = self.send(method, target, &[], Either::Left(Empty::new()), HEAD_LIMIT).await?;
        document(target, answer).await
    }

    /// Sends the file `tar` and hands each line of the answer to `each` as it comes.
    pub async fn build(
        &self,
        target: &str,
        tar: File,
        headers: &[(&'static str, String)],
        limit: Duration,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), ApiError> {
        let body = FileBody::new(tar)
            .map_err(|source| ApiError::Io { context: "read the build context".to_owned(), source })?;
        let mut answer = self.send(Method::POST, target, headers, Either::Right(body), limit).await?;
        let mut line = Vec::new();
        while let Some(frame) = answer.body_mut().frame().await {
            let frame = frame.map_err(|source| ApiError::Broken { what: "the build".to_owned(), source })?;
            for &byte in frame.data_ref().map(Bytes::as_ref).unwrap_or_default() {
                match byte {
                    b'\n' => {
                        each(&line);
                        line.clear();
                    }
                    _ if line.len() < LINE_MAX => line.push(byte),
                    _ => {}
                }
            }
        }
        each(&line);
        Ok(())
    }

    /// Writes the answer to a new file.
    pub async fn save(&self, target: &str, path: &Path) -> Result<(), ApiError> {
        let failed = |source| ApiError::Io { context: format!("write {}", path.display()), source };
        let mut answer = self.send(Method::GET, target, &[], Either::Left(Empty::new()), HEAD_LIMIT).await?;
        let mut file = File::create_new(path).map_err(failed)?;
        loop {
            let frame = match tokio::time::timeout(PAUSE_LIMIT, answer.body_mut().frame()).await {
                Ok(Some(frame)) => frame
                    .map_err(|source| ApiError::Broken { what: "fetching the image".to_owned(), source })?,
                Ok(None) => return Ok(()),
                Err(_) => {
                    return Err(ApiError::Late { what: "fetching the image".to_owned(), limit: PAUSE_LIMIT });
                }
            };
            file.write_all(frame.data_ref().map(Bytes::as_ref).unwrap_or_default()).map_err(failed)?;
        }
    }
}

async fn document(what: &str, mut answer: Response<Incoming>) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    let read = async {
        while let Some(frame) = answer.body_mut().frame().await {
            let frame = frame.map_err(|source| ApiError::Broken { what: what.to_owned(), source })?;
            bytes.extend_from_slice(frame.data_ref().map(Bytes::as_ref).unwrap_or_default());
            if bytes.len() > DOCUMENT_MAX {
                return Err(ApiError::TooLarge { what: what.to_owned() });
            }
        }
        Ok(())
    };
    match tokio::time::timeout(HEAD_LIMIT, read).await {
        Ok(done) => done.map(|()| bytes),
        Err(_) => Err(ApiError::Late { what: what.to_owned(), limit: HEAD_LIMIT }),
    }
}

async fn refusal(what: &str, answer: Response<Incoming>) -> ApiError {
    #[derive(serde::Deserialize)]
    struct Said {
        message: String,
    }
    let status = answer.status().as_u16();
    let said = document(what, answer).await.ok();
    let said = said.and_then(|bytes| serde_json::from_slice::<Said>(&bytes).ok());
    let message =
        said.map_or_else(|| format!("{what} was answered with status {status}"), |said| said.message);
    ApiError::Refused { status, message }
}

/// A file of this machine as a body, read piece by piece.
pub struct FileBody {
    file: File,
    left: u64,
}

impl FileBody {
    fn new(file: File) -> io::Result<Self> {
        Ok(Self { left: file.metadata()?.len(), file })
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let mut piece = vec![0; PIECE.min(usize::try_from(self.left).unwrap_or(PIECE))];
        match self.file.read_exact(&mut piece) {
            Ok(()) => {
                self.left -= piece.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(piece.into()))))
            }
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Runs `work` on this thread until it ends, or until `cancelled` says so.
pub fn run<T>(work: impl Future<Output = T>, cancelled: &dyn Fn() -> bool) -> io::Result<Option<T>> {
    const LOOK: Duration = Duration::from_millis(100);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let given_up = async {
        let mut looks = tokio::time::interval(LOOK);
        while !cancelled() {
            looks.tick().await;
        }
    };
    Ok(runtime.block_on(async {
        tokio::select! {
            done = work => Some(done),
            () = given_up => None,
        }
    }))
}
