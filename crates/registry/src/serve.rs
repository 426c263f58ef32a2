//! Listening, TLS, connections and their end.

use crate::access::{Access, Anonymous};
use crate::handle::{Registry, Tell};
use crate::limits::{CONNECTIONS_MAX, END_TIMEOUT, HEAD_MAX, HEAD_TIMEOUT, Limits, TLS_TIMEOUT};
use crate::patient::Patient;
use crate::session::Uploads;
use crate::tls::Tls;
pub use crate::tls::TlsFiles;
use build::ImageStore;
use build::layout::Layout;
use build::repositories::Repositories;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use model::Report;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

/// Without file descriptors `accept` fails at once; it is tried again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often old uploads are looked for, and new certificates.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

/// How the registry is to be run.
pub struct Options {
    /// The image store, which is made where it is missing.
    pub store: PathBuf,
    pub address: SocketAddr,
    pub tls: Option<TlsFiles>,
    /// Let tokens go over networks that others may listen to.
    pub plain_http: bool,
    pub anonymous: Anonymous,
    pub limits: Limits,
    pub tell: Tell,
}

/// A registry that has its address and answers once it is run.
pub struct Listening {
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    registry: Arc<Registry>,
}

/// Checks the options and takes the address.
pub async fn listen(options: Options) -> Result<Listening, Report> {
    check(&options)?;
    let tls = options.tls.map(Tls::open).transpose()?.map(Arc::new);
    let store = ImageStore::open(&options.store).map_err(|error| error.report())?;
    let repositories = Repositories::open(store.root()).map_err(|error| error.report())?;
    let layout = Layout::open(store.layout().root()).map_err(|error| error.report())?;
    let uploads = Uploads::open(&options.store, options.limits)
        .map_err(|error| Report::environment(format!("make the directory of uploads: {error}")))?;
    let access = Access::open(&options.store, options.anonymous)?;
    let registry = Registry::new(repositories, layout, uploads, access, options.tell);
    let listener = TcpListener::bind(options.address).await.map_err(|error| {
        Report::environment(format!("the registry cannot listen on {}: {error}", options.address))
            .hint("`--listen` names another address")
    })?;
    Ok(Listening { listener, tls, registry: Arc::new(registry) })
}

fn check(options: &Options) -> Result<(), Report> {
    let loopback = options.address.ip().is_loopback();
    if !loopback && options.anonymous == Anonymous::Push {
        let error = format!("on {} everybody could change the images here", options.address.ip());
        return Err(Report::usage(error).hint(
            "`--anonymous push` is for loopback; make a user with `juchu registry user add NAME --write '*'`",
        ));
    }
    if !loopback && options.tls.is_none() && !options.plain_http {
        let error =
            format!("on {} tokens would go over the network for everybody to read", options.address.ip());
        return Err(Report::usage(error).hint(
            "give a certificate with `--tls-cert` and `--tls-key`; `--plain-http` does without, for a network that is \
             private",
        ));
    }
    Ok(())
}

impl Listening {
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    /// Answers until `ended`, then gives requests under way a moment.
    pub async fn run(self, ended: impl Future<Output = ()>) {
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        tokio::select! {
            () = ended => {}
            () = self.accept_all(&graceful, &mut connections) => {}
            () = self.keep_house() => {}
        }
        drop(self.listener);
        let _ = timeout(END_TIMEOUT, graceful.shutdown()).await;
    }

    async fn accept_all(&self, graceful: &GracefulShutdown, connections: &mut JoinSet<()>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
            while connections.try_join_next().is_some() {}
            let Ok((stream, _)) = self.listener.accept().await else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let (registry, tls, watcher) = (self.registry(), self.tls.clone(), graceful.watcher());
            connections.spawn(async move {
                let _place = place;
                let _ = stream.set_nodelay(true);
                greet(stream, registry, tls, watcher).await;
            });
        }
    }

    async fn keep_house(&self) {
        let mut ticks = interval(HOUSEKEEPING);
        loop {
            ticks.tick().await;
            let (registry, tls) = (self.registry(), self.tls.clone());
            let done = self.registry.blocking(move || {
                if let Some(Err(report)) = tls.map(|tls| tls.refresh()) {
                    registry.tell(&format!("the certificate stays as it was: {}", report.error));
                }
                Ok(registry.uploads.expire(SystemTime::now())?)
            });
            if let Err(failure) = done.await {
                self.registry.tell(&format!("old uploads cannot be taken away: {}", failure.message));
            }
        }
    }
}

async fn greet(stream: TcpStream, registry: Arc<Registry>, tls: Option<Arc<Tls>>, watcher: Watcher) {
    let patience = registry.limits.idle;
    match tls {
        None => connection(Patient::new(stream, patience), registry, false, watcher).await,
        Some(tls) => {
            // Whatever goes wrong here is the peer's affair.
            let Ok(Ok(stream)) = timeout(TLS_TIMEOUT, tls.acceptor().accept(stream)).await else { return };
            connection(Patient::new(stream, patience), registry, true, watcher).await;
        }
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    registry: Arc<Registry>,
    secure: bool,
    watcher: Watcher,
) {
    let service = service_fn(move |request| {
        let registry = Arc::clone(&registry);
        async move { Ok::<_, Infallible>(registry.answer(request, secure).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let _ = watcher.watch(served).await;
}
