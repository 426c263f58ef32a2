//! One request from its head to its answer: which endpoint, who asks, whether they may.

use crate::access::{Access, Asked, Caller, Right};
use crate::limits::{FILE_WORK_MAX, Limits, RECEIVING_MAX};
use crate::place::{Offered, Place, own_images};
use crate::receive::drain;
use crate::reply::{API_VERSION, Answer, Code, Failure, json, set};
use crate::route::Route;
use crate::session::Uploads;
use arc_swap::ArcSwap;
use build::layout::Layout;
use build::repositories::{Repositories, RepositoryError, RepositoryName};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HOST, HeaderName};
use hyper::{HeaderMap, Method, Request, StatusCode};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Where the registry says what happened, a line each.
pub type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// Everything a request can reach.
pub struct Registry {
    pub(crate) repositories: Repositories,
    pub(crate) uploads: Arc<Uploads>,
    pub(crate) limits: Limits,
    pub(crate) receiving: Semaphore,
    layout: Arc<Layout>,
    released: ArcSwap<Vec<Offered>>,
    access: Access,
    working: Arc<Semaphore>,
    tell: Tell,
}

/// What a handler needs of a request.
pub(crate) struct Input {
    pub method: Method,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Incoming,
}

impl Input {
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// The first value of a parameter.
pub(crate) fn parameter(query: &str, name: &str) -> Option<String> {
    parameters(query, name).next()
}

pub(crate) fn parameters(query: &str, name: &str) -> impl Iterator<Item = String> {
    form_urlencoded::parse(query.as_bytes())
        .filter(move |(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

impl Registry {
    pub(crate) fn new(
        repositories: Repositories,
        layout: Layout,
        uploads: Arc<Uploads>,
        access: Access,
        tell: Tell,
    ) -> Self {
        Self {
            limits: uploads.limits().clone(),
            receiving: Semaphore::new(RECEIVING_MAX),
            working: Arc::new(Semaphore::new(FILE_WORK_MAX)),
            released: ArcSwap::default(),
            layout: Arc::new(layout),
            repositories,
            uploads,
            access,
            tell,
        }
    }

    /// The images of releases that are offered from now on, beside those that were built.
    pub fn offer(&self, released: Vec<Offered>) {
        self.released.store(Arc::new(released));
    }

    pub(crate) fn tell(&self, text: &str) {
        (self.tell)(text);
    }

    /// Work that waits for a disk, by threads that may.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let turn = Arc::clone(&self.working).acquire_owned().await.expect("the semaphore is never closed");
        let done = spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.unwrap_or_else(|panic| Err(Failure::broken(format!("a request broke: {panic}"))))
    }

    /// Where content is read from. Blocks.
    pub(crate) fn place(&self, name: &RepositoryName) -> Result<Place, Failure> {
        Place::open(&self.repositories, &self.layout, &self.released.load(), name)
    }

    /// Every repository, sorted. Blocks.
    pub(crate) fn names(&self) -> Result<BTreeSet<RepositoryName>, Failure> {
        let own = own_images(&self.layout, &self.released.load())?.into_iter().map(|own| own.repository);
        Ok(self.repositories.names().map_err(RepositoryError::from)?.into_iter().chain(own).collect())
    }

    /// Answers a request; `secure` is whether it came over TLS. What changes something is brought to its
    /// end also when the connection breaks before: what came of a piece is kept.
    pub(crate) async fn answer(self: Arc<Self>, request: Request<Incoming>, secure: bool) -> Answer {
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            return self.handle(request, secure).await;
        }
        let done = tokio::spawn(self.handle(request, secure)).await;
        done.unwrap_or_else(|panic| Failure::broken(format!("a request broke: {panic}")).answer())
    }

    async fn handle(self: Arc<Self>, request: Request<Incoming>, secure: bool) -> Answer {
        let (head, body) = request.into_parts();
        let text = format!("{} {}", head.method, head.uri.path());
        let input = Input {
            method: head.method,
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers: head.headers,
            body,
        };
        let mut answer = match self.admit(head.uri.path(), &input, secure) {
            Ok((route, caller)) => self.dispatch(route, &caller, input).await.unwrap_or_else(|failure| {
                if failure.status.is_server_error() {
                    self.tell(&format!("{text}: {} {}", failure.status.as_u16(), failure.message));
                }
                failure.answer()
            }),
            Err(failure) => {
                drain(input.body).await;
                failure.answer()
            }
        };
        set(&mut answer, API_VERSION, "registry/2.0");
        answer
    }

    fn admit(&self, path: &str, input: &Input, secure: bool) -> Result<(Route, Caller), Failure> {
        let route = Route::read(path)?;
        route.check(&input.method)?;
        let repository = route.repository();
        let asked = Asked { secure, host: input.header(&HOST), repository };
        // What is no text is no login either.
        let authorization = input.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
        let caller = self.access.identify(authorization).map_err(|failure| match failure.status {
            StatusCode::UNAUTHORIZED => self.access.challenge(failure, &asked),
            _ => failure,
        })?;
        let allowed = match (&route, repository) {
            (Route::Token, _) => self.access.token(&caller).is_some(),
            (_, Some(name)) => caller.may(route.right(&input.method), name),
            (_, None) => caller.known,
        };
        match (allowed, caller.name.is_some()) {
            (true, _) => Ok((route, caller)),
            (false, false) => {
                let failure = Failure::new(StatusCode::UNAUTHORIZED, Code::Unauthorized, "it needs a login");
                Err(self.access.challenge(failure, &asked))
            }
            // The same whether or not it exists.
            (false, true) => {
                let message = "this user may not do that with this repository";
                Err(Failure::new(StatusCode::FORBIDDEN, Code::Denied, message))
            }
        }
    }

    async fn dispatch(
        self: &Arc<Self>,
        route: Route,
        caller: &Caller,
        input: Input,
    ) -> Result<Answer, Failure> {
        let method = input.method.clone();
        match (route, method.as_str()) {
            (Route::Ping, _) => Ok(json(StatusCode::OK, &serde_json::json!({}))),
            (Route::Token, _) => Ok(self.token(caller)),
            (Route::Catalog, _) => self.catalog(caller, input).await,
            (Route::Tags(name), _) => self.tags(name, input).await,
            (Route::Referrers(name, subject), _) => self.referrers(name, subject, input).await,
            (Route::Manifest(name, reference), "PUT") => {
                self.put_manifest(name, reference, caller, input).await
            }
            (Route::Manifest(name, reference), "DELETE") => {
                self.delete_manifest(name, reference, caller).await
            }
            (Route::Manifest(name, reference), _) => self.manifest(name, reference, input).await,
            (Route::Blob(name, digest), "DELETE") => self.delete_blob(name, digest).await,
            (Route::Blob(name, digest), _) => self.blob(name, digest, input).await,
            (Route::Uploads(name), _) => self.begin(name, caller, input).await,
            (Route::Upload(name, id), "PATCH") => self.piece(name, id, input).await,
            (Route::Upload(name, id), "PUT") => self.finish(name, id, input).await,
            (Route::Upload(name, id), "DELETE") => self.cancel(name, id).await,
            (Route::Upload(name, id), _) => self.status(name, id).await,
        }
    }

    fn token(&self, caller: &Caller) -> Answer {
        let token = self.access.token(caller).unwrap_or_default();
        let mut answer = json(
            StatusCode::OK,
            &serde_json::json!({ "token": token, "access_token": token, "expires_in": crate::access::LIFETIME_SECONDS }),
        );
        set(&mut answer, hyper::header::CACHE_CONTROL, "no-store");
        answer
    }
}

impl Route {
    fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Ping | Self::Token | Self::Catalog => None,
            Self::Tags(name)
            | Self::Manifest(name, _)
            | Self::Blob(name, _)
            | Self::Uploads(name)
            | Self::Upload(name, _)
            | Self::Referrers(name, _) => Some(name),
        }
    }

    fn right(&self, method: &Method) -> Right {
        let reads = matches!(*method, Method::GET | Method::HEAD) && !matches!(self, Self::Upload(..));
        if reads { Right::Read } else { Right::Write }
    }
}
