//! Asks a daemon over its Unix socket, with the same types that it answers with.
//!
//! One connection for each request: a stream can then go on for as long as it likes.

use crate::api::v1::*;
use crate::attached::PROMETHEUS;
use crate::report::IncidentReport;
use axum::body::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use model::flow;
use model::{ErrorKind, ReleaseId, Report, ServiceName, StackName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// The largest answer that is not a stream.
const ANSWER_MAX: usize = 64 << 20;
/// The largest line of a stream.
const LINE_MAX: usize = 8 << 20;
/// A daemon that is alive accepts at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens on the socket.
    #[error("the daemon is not running")]
    NotRunning,
    #[error("{path} is for root and the daemon's own user")]
    Denied { path: PathBuf },
    #[error("connect to {path}")]
    Connect {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the daemon hung up")]
    Broken(#[source] hyper::Error),
    #[error("the daemon's answer is longer than {ANSWER_MAX} bytes or was cut off")]
    Cut,
    #[error("the daemon's answer cannot be read")]
    Unreadable(#[source] serde_json::Error),
    /// The daemon answered, with a refusal.
    #[error("{}", .0.error)]
    Refused(Report),
}

impl From<ClientError> for Report {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(report) => report,
            ClientError::NotRunning => {
                Report::environment("the daemon is not running").hint("`juchu up` starts it")
            }
            ClientError::Denied { .. } => {
                Report::from_error(ErrorKind::Environment, &error).hint("run the command with `sudo`")
            }
            ClientError::Connect { .. } => Report::from_error(ErrorKind::Environment, &error),
            ClientError::Broken(_) | ClientError::Cut => Report::from_error(ErrorKind::Environment, &error)
                .hint("what was accepted goes on; `juchu history` shows it"),
            ClientError::Unreadable(_) => Report::from_error(ErrorKind::Internal, &error)
                .hint("the daemon may be of another version: restart it"),
        }
    }
}

/// A daemon that answered when it was connected to.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    sudo_user: Option<String>,
}

impl Client {
    /// Finds out whether somebody listens.
    pub async fn connect(socket: &Path) -> Result<Self, ClientError> {
        dial(socket).await?;
        Ok(Self { socket: socket.to_owned(), sudo_user: None })
    }

    /// Names the login behind `sudo`.
    pub fn on_behalf_of(mut self, sudo_user: Option<String>) -> Self {
        self.sudo_user = sudo_user;
        self
    }

    pub async fn stacks(&self) -> Result<Vec<StackStatus>, ClientError> {
        self.get("/stacks").await
    }

    pub async fn stack(&self, name: &StackName) -> Result<StackStatus, ClientError> {
        self.get(&format!("/stacks/{name}")).await
    }

    pub async fn submit(&self, request: &ChangeRequest) -> Result<Accepted, ClientError> {
        self.post("/changes", request).await
    }

    pub async fn follow(&self, change: u64) -> Result<Lines<Progress>, ClientError> {
        self.lines(&format!("/changes/{change}/events")).await
    }

    pub async fn preview(&self, request: &ChangeRequest) -> Result<Preview, ClientError> {
        self.post("/preview", request).await
    }

    pub async fn history(&self, query: HistoryQuery) -> Result<Vec<Entry>, ClientError> {
        self.get(&format!("/history{}", parameters(&HistoryParams::from(query)))).await
    }

    /// The releases that are remembered, oldest first.
    pub async fn releases(&self, stack: &StackName) -> Result<Vec<ReleaseStatus>, ClientError> {
        self.get(&format!("/stacks/{stack}/releases")).await
    }

    /// What differs from one release to another.
    pub async fn compare(
        &self,
        stack: &StackName,
        from: ReleaseId,
        to: ReleaseId,
    ) -> Result<Vec<Difference>, ClientError> {
        let params = parameters(&CompareParams { from, to });
        self.get(&format!("/stacks/{stack}/releases/compare{params}")).await
    }

    /// Puts a gateway of the daemon's program in the place of the one that runs.
    pub async fn upgrade_gateway(&self) -> Result<GatewayUpgrade, ClientError> {
        self.post("/gateway/upgrade", &()).await
    }

    pub async fn traffic(&self) -> Result<flow::Status, ClientError> {
        self.get("/gateway").await
    }

    pub async fn explain(&self, question: &flow::Question) -> Result<flow::Explanation, ClientError> {
        self.post("/gateway/explain", question).await
    }

    pub async fn logs(
        &self,
        stack: &StackName,
        services: &[ServiceName],
        query: &LogQuery,
    ) -> Result<Lines<ServiceLine>, ClientError> {
        self.lines(&format!("/stacks/{stack}/logs{}", parameters(&LogParams::new(services, query)))).await
    }

    /// Who calls whom.
    pub async fn map(&self, minutes: u32) -> Result<CallMap, ClientError> {
        self.get(&format!("/map?minutes={minutes}")).await
    }

    pub async fn visits(&self, days: u32) -> Result<VisitReport, ClientError> {
        self.get(&format!("/visits?days={days}")).await
    }

    /// The newest rows that match, of all that are kept.
    pub async fn search_rows(&self, question: &RowQuestion) -> Result<RowAnswer, ClientError> {
        self.post("/rows/search", question).await
    }

    pub async fn count_rows(&self, question: &RowCountQuestion) -> Result<RowCounts, ClientError> {
        self.post("/rows/count", question).await
    }

    /// The newest traces that are wanted.
    pub async fn search_traces(&self, question: &TraceQuestion) -> Result<TraceAnswer, ClientError> {
        self.post("/traces/search", question).await
    }

    /// All spans of a trace.
    pub async fn trace(&self, id: &str) -> Result<Trace, ClientError> {
        let id: String = form_urlencoded::byte_serialize(id.as_bytes()).collect();
        self.get(&format!("/traces/{id}")).await
    }

    /// Rows that match as they come.
    pub async fn follow_rows(&self, question: &RowQuestion) -> Result<Lines<KeptRow>, ClientError> {
        let body = serde_json::to_vec(question).expect("API types have string keys only");
        let body = self.send(Method::POST, "/rows/follow", body.into()).await?;
        Ok(Lines { body, buffer: Vec::new(), start: 0, searched: 0, prefix: "", items: PhantomData })
    }

    pub async fn ranges(&self) -> Result<Vec<RangeStatus>, ClientError> {
        self.get("/ranges").await
    }

    pub async fn set_range(&self, change: &RangeChange) -> Result<RangeStatus, ClientError> {
        self.post("/ranges/set", change).await
    }

    /// What a signal is now is normal from now on.
    pub async fn accept_range(&self, note: &SignalNote) -> Result<RangeStatus, ClientError> {
        self.post("/ranges/accept", note).await
    }

    /// What services promise, and how that goes.
    pub async fn objectives(&self) -> Result<Vec<ObjectiveStatus>, ClientError> {
        self.get("/objectives").await
    }

    /// Oldest first.
    pub async fn incidents(&self) -> Result<Vec<IncidentStatus>, ClientError> {
        self.get("/incidents").await
    }

    /// All that is known of one.
    pub async fn report(&self, number: u64) -> Result<IncidentReport, ClientError> {
        self.get(&format!("/incidents/{number}/report")).await
    }

    pub async fn acknowledge(&self, number: u64, words: &Words) -> Result<IncidentStatus, ClientError> {
        self.post(&format!("/incidents/{number}/acknowledge"), words).await
    }

    pub async fn silence(&self, request: &SilenceRequest) -> Result<Silence, ClientError> {
        self.post("/silences", request).await
    }

    pub async fn receivers(&self) -> Result<Vec<ReceiverStatus>, ClientError> {
        self.get("/receivers").await
    }

    pub async fn add_receiver(&self, request: &ReceiverRequest) -> Result<ReceiverStatus, ClientError> {
        self.post("/receivers", request).await
    }

    /// The name is one that [`Client::receivers`] said.
    pub async fn remove_receiver(&self, name: &str) -> Result<(), ClientError> {
        read(self.send(Method::DELETE, &format!("/receivers/{}", quoted(name)), Bytes::new()).await?).await
    }

    pub async fn test_receiver(&self, name: &str) -> Result<(), ClientError> {
        self.post(&format!("/receivers/{}/test", quoted(name)), &()).await
    }

    pub async fn enter(
        &self,
        stack: &StackName,
        service: &ServiceName,
        request: &EnterRequest,
    ) -> Result<Entrance, ClientError> {
        self.post(&format!("/stacks/{stack}/services/{service}/enter"), request).await
    }

    pub async fn verify(&self) -> Result<VerifyReport, ClientError> {
        self.get("/verify").await
    }

    pub async fn lacks(&self) -> Result<Vec<Lack>, ClientError> {
        self.get("/doctor").await
    }

    pub async fn daemon(&self) -> Result<DaemonStatus, ClientError> {
        self.get("/daemon").await
    }

    pub async fn console_link(&self) -> Result<ConsoleLink, ClientError> {
        self.post("/console-link", &()).await
    }

    pub async fn tokens(&self) -> Result<Vec<TokenStatus>, ClientError> {
        self.get("/tokens").await
    }

    pub async fn create_token(&self, request: &TokenRequest) -> Result<NewToken, ClientError> {
        self.post("/tokens", request).await
    }

    /// The name is one that [`Client::tokens`] said.
    pub async fn remove_token(&self, name: &str) -> Result<(), ClientError> {
        read(self.send(Method::DELETE, &format!("/tokens/{name}"), Bytes::new()).await?).await
    }

    /// Asks the API of Prometheus; a refusal there is one here.
    pub async fn prometheus(
        &self,
        address: &str,
        form: &[(&str, &str)],
    ) -> Result<serde_json::Value, ClientError> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let kind = "application/x-www-form-urlencoded";
        let path = format!("{PROMETHEUS}/api/v1/{address}");
        let (status, body) = self.ask(Method::POST, &path, kind, body.into()).await?;
        let answer: serde_json::Value = read(body).await?;
        match status.is_success() {
            true => Ok(answer),
            false => {
                let text = answer["error"].as_str().unwrap_or("the query was refused");
                Err(ClientError::Refused(Report::usage(text)))
            }
        }
    }

    /// The status of all stacks now, and again whenever it has changed.
    pub async fn watch(&self) -> Result<Lines<Vec<StackStatus>>, ClientError> {
        let mut lines = self.lines("/events").await?;
        lines.prefix = "data: ";
        Ok(lines)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        read(self.send(Method::GET, path, Bytes::new()).await?).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).expect("API types have string keys only");
        read(self.send(Method::POST, path, body.into()).await?).await
    }

    async fn lines<T: DeserializeOwned>(&self, path: &str) -> Result<Lines<T>, ClientError> {
        let body = self.send(Method::GET, path, Bytes::new()).await?;
        Ok(Lines { body, buffer: Vec::new(), start: 0, searched: 0, prefix: "", items: PhantomData })
    }

    /// Sends one request; the connection ends with the body that is returned.
    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Incoming, ClientError> {
        let (status, body) = self.ask(method, &format!("{ROOT}{path}"), "application/json", body).await?;
        if status.is_success() { Ok(body) } else { Err(refusal(status, body).await) }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Incoming), ClientError> {
        let stream = dial(&self.socket).await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(ClientError::Broken)?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "juchu")
            .header(header::CONTENT_TYPE, kind);
        if let Some(login) = &self.sudo_user {
            request = request.header(SUDO_USER_HEADER, login);
        }
        let request =
            request.body(Full::new(body)).expect("names and numbers are valid in addresses and headers");
        let response = sender.send_request(request).await.map_err(ClientError::Broken)?;
        Ok((response.status(), response.into_body()))
    }
}

/// Items of a stream, one for each line.
#[derive(Debug)]
pub struct Lines<T> {
    body: Incoming,
    buffer: Vec<u8>,
    /// Where the first line not yet taken begins.
    start: usize,
    /// No line end before this place in the buffer.
    searched: usize,
    /// Lines without it are not items.
    prefix: &'static str,
    items: PhantomData<T>,
}

impl<T: DeserializeOwned> Lines<T> {
    /// The next item; `None` at the end. Nothing is lost when the call is abandoned.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            while let Some(line) = self.take_line() {
                if let Some(text) = line.strip_prefix(self.prefix.as_bytes()).filter(|t| !t.is_empty()) {
                    return serde_json::from_slice(text).map(Some).map_err(ClientError::Unreadable);
                }
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    let data = frame.map_err(ClientError::Broken)?.into_data().unwrap_or_default();
                    self.buffer.extend_from_slice(&data);
                }
            }
            if self.buffer.len() > LINE_MAX {
                return Err(ClientError::Cut);
            }
        }
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        match self.buffer[self.searched..].iter().position(|b| *b == b'\n') {
            Some(found) => {
                let end = self.searched + found;
                let line = self.buffer[self.start..end].to_vec();
                self.start = end + 1;
                self.searched = self.start;
                Some(line)
            }
            None => {
                self.buffer.drain(..self.start);
                self.start = 0;
                self.searched = self.buffer.len();
                None
            }
        }
    }
}

async fn dial(path: &Path) -> Result<UnixStream, ClientError> {
    use std::io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied, TimedOut};
    let dialled = tokio::time::timeout(CONNECT_TIMEOUT, UnixStream::connect(path)).await;
    let path = path.to_owned();
    match dialled {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if matches!(error.kind(), NotFound | ConnectionRefused) => {
            Err(ClientError::NotRunning)
        }
        Ok(Err(error)) if error.kind() == PermissionDenied => Err(ClientError::Denied { path }),
        Ok(Err(source)) => Err(ClientError::Connect { path, source }),
        Err(_) => Err(ClientError::Connect { path, source: TimedOut.into() }),
    }
}

async fn read<T: DeserializeOwned>(body: Incoming) -> Result<T, ClientError> {
    let bytes = Limited::new(body, ANSWER_MAX).collect().await.map_err(|_| ClientError::Cut)?.to_bytes();
    serde_json::from_slice(&bytes).map_err(ClientError::Unreadable)
}

async fn refusal(status: StatusCode, body: Incoming) -> ClientError {
    let report = read::<Report>(body)
        .await
        .unwrap_or_else(|_| Report::internal(format!("the daemon answered with status {}", status.as_u16())));
    ClientError::Refused(report)
}

/// A query string. The values are names, numbers, commas and `true`, which need no escaping.
fn parameters(params: &impl Serialize) -> String {
    let value = serde_json::to_value(params).expect("API types have string keys only");
    let mut text = String::new();
    for (key, value) in value.as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.push(if text.is_empty() { '?' } else { '&' });
        text.push_str(key);
        text.push('=');
        text.push_str(&value);
    }
    text
}
/// As one part of an address.
fn quoted(name: &str) -> String {
    form_urlencoded::byte_serialize(name.as_bytes()).collect()
}
