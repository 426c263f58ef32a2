//! Two doors to one router: a Unix socket for root and the daemon's own user, and HTTP on loopback
//! for browsers.

use crate::access::Access;
use crate::attached::Attached;
use crate::caller::{Peer, guard, identify};
use crate::measured::Shelf;
use crate::web::traffic::Looks;
use crate::{api, web};
use axum::Router;
use axum::extract::{FromRef, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use model::Report;
use run::control::Control;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Where browsers find the console unless told otherwise.
pub const DEFAULT_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7766);

/// Connections at the same time through one door; more wait to be accepted.
const CONNECTIONS_MAX: usize = 256;
/// For the head of a request, and between two requests of one connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
const HEAD_MAX: usize = 64 << 10;
/// For a whole request up to the head of its answer, a slowly sent body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(310);
/// Without file descriptors `accept` fails at once; it is tried again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What every handler can reach.
#[derive(Clone)]
pub struct App {
    pub control: Arc<dyn Control>,
    pub access: Access,
    pub attached: Attached,
    pub looks: Looks,
    pub shelf: Shelf,
}

impl FromRef<App> for Arc<dyn Control> {
    fn from_ref(app: &App) -> Self {
        app.control.clone()
    }
}

impl FromRef<App> for Access {
    fn from_ref(app: &App) -> Self {
        app.access.clone()
    }
}

/// Everything people reach: the API and the pages. A request without a [`Peer`] is a browser's.
pub fn router(control: Arc<dyn Control>, access: Access, attached: Attached) -> Router {
    let machines = attached.router();
    let shelf = Shelf::new(attached.measured.clone());
    let app = App { control, access, attached, looks: Looks::default(), shelf };
    Router::new()
        .nest(api::v1::ROOT, api::routes())
        .merge(web::pages())
        .layer(middleware::from_fn_with_state(app.clone(), identify))
        .merge(web::open())
        .layer(middleware::from_fn(web::packed::packed))
        .layer(middleware::from_fn(guard))
        // Whoever shows a token is no browser that another site could make use of.
        .merge(machines)
        .layer(middleware::from_fn(bounded))
        .layer(middleware::from_fn(web::safe_headers))
        .with_state(app)
}

/// Makes the socket: mode 0600 in a directory of mode 0700. One that nobody answers is replaced.
pub fn bind_unix(path: &Path) -> Result<UnixListener, Report> {
    let failed = |doing: &str, error: io::Error| {
        Report::environment(format!("{doing} {}: {error}", path.display()))
            .hint("the directory must be writable; JUCHU_HOME names another")
    };
    if let Some(directory) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .and_then(|()| std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700)))
            .map_err(|e| failed("make the directory of", e))?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        let error = format!("another daemon answers at {}", path.display());
        return Err(Report::new(model::ErrorKind::Conflict, error).hint("`juchu doctor` shows it"));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(|e| failed("listen on", e))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(|e| failed("protect", e))?;
    Ok(listener)
}

/// Listens on loopback. When the port is taken, on any free one, and says so in the note.
pub async fn bind_http(wanted: SocketAddr) -> Result<(TcpListener, Option<String>), Report> {
    if !wanted.ip().is_loopback() {
        let error = format!("the console listens on loopback only, and {} is not", wanted.ip());
        return Err(Report::usage(error)
            .hint("from elsewhere: `ssh -L 7766:127.0.0.1:7766 HOST`, then the link of `juchu console`"));
    }
    let failed =
        |error: io::Error| Report::environment(format!("the console cannot listen on {wanted}: {error}"));
    match TcpListener::bind(wanted).await {
        Ok(listener) => Ok((listener, None)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let listener = TcpListener::bind(SocketAddr::new(wanted.ip(), 0)).await.map_err(failed)?;
            let port = listener.local_addr().map_err(failed)?.port();
            let note = format!("port {} is taken; the console listens on port {port}", wanted.port());
            Ok((listener, Some(note)))
        }
        Err(error) => Err(failed(error)),
    }
}

/// Serves root and the daemon's own user until `ended`; anybody else is hung up on.
pub async fn serve_unix(
    listener: UnixListener,
    control: Arc<dyn Control>,
    access: Access,
    attached: Attached,
    ended: impl Future<Output = ()>,
) {
    tokio::select! {
        () = ended => {}
        () = accept_all(listener, router(control, access, attached)) => {}
    }
}

/// Serves browsers until `ended`.
pub async fn serve_http(
    listener: TcpListener,
    control: Arc<dyn Control>,
    access: Access,
    attached: Attached,
    ended: impl Future<Output = ()>,
) {
    if let Ok(address) = listener.local_addr() {
        access.set_port(address.port());
    }
    tokio::select! {
        () = ended => {}
        () = accept_all(listener, router(control, access, attached)) => {}
    }
}

/// Serves programs of others that send and show a token, and nothing else.
pub async fn serve_senders(listener: TcpListener, attached: Attached) {
    accept_all(listener, attached.senders().layer(middleware::from_fn(bounded))).await;
}

/// Where connections come from.
trait Door {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection and who the kernel says it is; `None` for one that may not come in.
    fn next(&self) -> impl Future<Output = io::Result<Option<(Self::Stream, Option<Peer>)>>> + Send;
}

impl Door for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<Option<(UnixStream, Option<Peer>)>> {
        let (stream, _) = self.accept().await?;
        let uid = stream.peer_cred()?.uid();
        let welcome = uid == 0 || uid == rustix::process::geteuid().as_raw();
        Ok(welcome.then_some((stream, Some(Peer { uid }))))
    }
}

impl Door for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<Option<(TcpStream, Option<Peer>)>> {
        let (stream, _) = self.accept().await?;
        stream.set_nodelay(true)?;
        Ok(Some((stream, None)))
    }
}

/// Connections end with the future.
async fn accept_all(door: impl Door, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
        while connections.try_join_next().is_some() {}
        match door.next().await {
            Ok(Some((stream, peer))) => {
                let router = match peer {
                    Some(peer) => router.clone().layer(axum::Extension(peer)),
                    None => router.clone(),
                };
                connections.spawn(async move {
                    connection(stream, router).await;
                    drop(place);
                });
            }
            Ok(None) => {}
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// One connection to its end. Whatever goes wrong with it is the peer's affair.
async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let _ = served.await;
}

async fn bounded(request: Request, next: Next) -> Response {
    let mut response = match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let report = Report::usage("the request took too long to arrive");
            api::Failure::new(StatusCode::REQUEST_TIMEOUT, report).into_response()
        }
    };
    response.headers_mut().insert(header::SERVER, HeaderValue::from_static(VERSION));
    response
}

/// What answers, as the `server` header says it.
pub const VERSION: &str = concat!("juchu/", env!("CARGO_PKG_VERSION"));
