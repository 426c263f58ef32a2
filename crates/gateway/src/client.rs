//! The daemon's side of the control socket.

use crate::options::MAX_CONTROL_LINE;
use crate::wire::{
    CONTROL_VERSION, CertificatesReport, Explanation, PassedSpan, Question, Refusal, Reply, ReplyLine,
    Request, RequestLine, Status,
};
use model::route::{ApplyReport, RouteTable};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// How long the gateway may take to answer, apart from what the request itself waits for.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no gateway answers at {path}")]
    Connect {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the conversation with the gateway broke")]
    Broken(#[source] io::Error),
    #[error("the gateway did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("the gateway's answer could not be read")]
    Unreadable(#[source] serde_json::Error),
    #[error("the gateway speaks version {0}, known is {CONTROL_VERSION}")]
    Version(u32),
    #[error("the gateway answered something else than what was asked")]
    Unexpected,
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A connection to the gateway. After an error other than [`ClientError::Refused`] it is of no
/// further use: connect anew.
pub struct GatewayClient {
    stream: BufReader<UnixStream>,
}

impl GatewayClient {
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self, ClientError> {
        let path = path.as_ref();
        let failed = |source| ClientError::Connect { path: path.to_owned(), source };
        match tokio::time::timeout(CONNECT_LIMIT, UnixStream::connect(path)).await {
            Ok(Ok(stream)) => Ok(Self { stream: BufReader::new(stream) }),
            Ok(Err(source)) => Err(failed(source)),
            Err(_) => Err(failed(io::ErrorKind::TimedOut.into())),
        }
    }

    /// Goes on with a conversation that was begun otherwise.
    pub(crate) fn over(stream: UnixStream) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// Puts the table in force; when this returns, no new work goes to endpoints it does not offer.
    pub async fn apply(&mut self, table: &RouteTable) -> Result<ApplyReport, ClientError> {
        match self.ask(Request::Apply { table: table.clone() }, ANSWER_LIMIT).await? {
            Reply::Applied(report) => Ok(report),
            _ => Err(ClientError::Unexpected),
        }
    }

    pub async fn status(&mut self) -> Result<Status, ClientError> {
        match self.ask(Request::Status, ANSWER_LIMIT).await? {
            Reply::Status(status) => Ok(*status),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// The oldest spans that wait; they wait no longer.
    pub async fn spans(&mut self) -> Result<Vec<PassedSpan>, ClientError> {
        match self.ask(Request::Spans, ANSWER_LIMIT).await? {
            Reply::Spans(spans) => Ok(spans),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Where a request would go, and why.
    pub async fn explain(&mut self, question: Question) -> Result<Explanation, ClientError> {
        match self.ask(Request::Explain { question }, ANSWER_LIMIT).await? {
            Reply::Explained(explanation) => Ok(*explanation),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Has the gateway read the directory of certificates anew.
    pub async fn certificates(&mut self) -> Result<CertificatesReport, ClientError> {
        match self.ask(Request::Certificates, ANSWER_LIMIT).await? {
            Reply::Certificates(report) => Ok(report),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Waits until nothing goes to the instance any more; returns what is left at the deadline.
    /// A table in which the instance is draining or missing has to be in force.
    pub async fn wait_drained(&mut self, instance: &str, deadline: Duration) -> Result<u64, ClientError> {
        let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        let request = Request::Drain { instance: instance.to_owned(), deadline_ms };
        match self.ask(request, deadline.saturating_add(ANSWER_LIMIT)).await? {
            Reply::Drained { remaining } => Ok(remaining),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Asks the gateway to end once what is under way has, at most after `grace`.
    pub async fn shutdown(&mut self, grace: Duration) -> Result<(), ClientError> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        match self.ask(Request::Shutdown { grace_ms }, ANSWER_LIMIT).await? {
            Reply::ShuttingDown => Ok(()),
            _ => Err(ClientError::Unexpected),
        }
    }

    pub(crate) async fn ask(&mut self, request: Request, limit: Duration) -> Result<Reply, ClientError> {
        let request = RequestLine { version: CONTROL_VERSION, request };
        let mut line = serde_json::to_vec(&request).map_err(ClientError::Unreadable)?;
        line.push(b'\n');
        let answer = tokio::time::timeout(limit, self.exchange(&line)).await;
        let answer = answer.map_err(|_| ClientError::Timeout(limit))?.map_err(ClientError::Broken)?;
        let ReplyLine { version, reply } =
            serde_json::from_slice(&answer).map_err(ClientError::Unreadable)?;
        match reply {
            Reply::Error(refusal) => Err(refusal.into()),
            _ if version != CONTROL_VERSION => Err(ClientError::Version(version)),
            reply => Ok(reply),
        }
    }

    async fn exchange(&mut self, line: &[u8]) -> io::Result<Vec<u8>> {
        self.stream.write_all(line).await?;
        let mut answer = Vec::new();
        (&mut self.stream).take(MAX_CONTROL_LINE as u64).read_until(b'\n', &mut answer).await?;
        if answer.last() != Some(&b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(answer)
    }
}
