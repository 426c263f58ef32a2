//! What else is behind the console's doors: addresses for programs of others, which show a token
//! instead of a session.

use crate::caller::Peer;
use crate::measured::Measured;
use crate::report::Origins;
use crate::serve::App;
use crate::tokens::{May, Tokens};
use crate::visits::Visits;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use std::sync::Arc;

/// Below this is what a Prometheus would answer.
pub const PROMETHEUS: &str = "/prometheus";

/// Addresses that others bring along, with whole paths.
#[derive(Clone, Default)]
pub struct Attached {
    /// For programs that may read.
    pub readers: Router,
    /// For programs that may send.
    pub writers: Router,
    pub tokens: Tokens,
    /// What the pages draw charts of; without it they say that nothing is measured.
    pub measured: Option<Arc<dyn Measured>>,
    pub visits: Option<Arc<dyn Visits>>,
    /// What reports say of where an image comes from.
    pub origins: Option<Arc<dyn Origins>>,
}

#[derive(Clone)]
struct Gate {
    tokens: Tokens,
    may: May,
}

impl Attached {
    pub(crate) fn router(&self) -> Router<App> {
        self.behind(&self.readers, May::Read).merge(self.senders()).with_state(())
    }

    /// The addresses for those who send alone.
    pub(crate) fn senders(&self) -> Router {
        self.behind(&self.writers, May::Send)
    }

    fn behind(&self, router: &Router, may: May) -> Router {
        let gate = Gate { tokens: self.tokens.clone(), may };
        router.clone().layer(from_fn_with_state(gate, allowed))
    }
}

/// Lets through who came by the Unix socket, or shows a token that may do this.
async fn allowed(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    if request.extensions().get::<Peer>().is_some() {
        return next.run(request).await;
    }
    let Some(token) = shown(request.headers()) else {
        return refused(StatusCode::UNAUTHORIZED, "a token is needed: `juchu token create NAME` makes one");
    };
    match gate.tokens.of(&token) {
        None => {
            refused(StatusCode::UNAUTHORIZED, "the token is not known: `juchu token ls` lists those that are")
        }
        Some(known) if !known.may.contains(&gate.may) => refused(
            StatusCode::FORBIDDEN,
            "the token may not do this: `juchu token create --send NAME` makes one that may send",
        ),
        Some(_) => next.run(request).await,
    }
}

/// `Bearer TOKEN`, or `Basic` with the token as the password of any user.
fn shown(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = text.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(rest.trim()).ok()?;
    let (_, password) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
    Some(password.to_owned())
}

/// In the form in which Prometheus refuses.
fn refused(status: StatusCode, text: &str) -> Response {
    let kind = if status == StatusCode::FORBIDDEN { "forbidden" } else { "unauthorized" };
    let body = serde_json::json!({ "status": "error", "errorType": kind, "error": text }).to_string();
    let headers =
        [(header::CONTENT_TYPE, "application/json"), (header::WWW_AUTHENTICATE, "Basic realm=\"juchu\"")];
    (status, headers, body).into_response()
}
