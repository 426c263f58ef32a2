//! The pages: addresses, what each needs to be drawn, and the headers that keep browsers careful.

mod actions;
mod assets;
mod enter;
mod layout;
mod live;
mod pages;
mod parts;
mod releases;
pub mod traffic;
mod verdict;

use crate::api::Failure;
use crate::caller::Caller;
use crate::serve::App;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use model::Report;
use pages::Subject;

/// Pages for people who are signed in.
pub fn pages() -> Router<App> {
    Router::new()
        .route("/", get(home))
        .route("/stacks/{stack}", get(stack))
        .route("/stacks/{stack}/services/{service}", get(service))
        .route("/live", get(live::home))
        .route("/live/stacks/{stack}", get(live::stack))
        .route("/live/stacks/{stack}/services/{service}", get(live::service))
        .route("/stacks/{stack}/{action}", post(actions::on_stack))
        .route("/stacks/{stack}/services/{service}/{action}", post(actions::on_service))
        .route("/stacks/{stack}/releases/{release}/rollback", post(actions::go_back))
        .route("/leave", post(enter::leave))
        .fallback(no_such_page)
}

/// What needs no session: how to look, and the way in.
pub fn open() -> Router<App> {
    Router::new()
        .route("/style.css", get(assets::style))
        .route("/live.js", get(assets::script))
        .route("/enter/{token}", get(enter::ask).post(enter::redeem))
}

async fn home(State(app): State<App>, Extension(caller): Extension<Caller>) -> Response {
    page(&app, &caller, Subject::Home).await
}

async fn stack(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(stack): Path<String>,
) -> Response {
    match Subject::stack(&stack) {
        Ok(subject) => page(&app, &caller, subject).await,
        Err(failure) => refusal(failure),
    }
}

async fn service(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((stack, service)): Path<(String, String)>,
) -> Response {
    match Subject::service(&stack, &service) {
        Ok(subject) => page(&app, &caller, subject).await,
        Err(failure) => refusal(failure),
    }
}

async fn page(app: &App, caller: &Caller, subject: Subject) -> Response {
    let drawn = pages::draw(app, caller, &subject).await;
    let status = drawn.failure.as_ref().map_or(StatusCode::OK, |failure| failure.status);
    (status, layout::page(caller, &drawn)).into_response()
}

/// A failure as a page of its own, for somebody who may not be signed in.
pub fn refusal(failure: Failure) -> Response {
    (failure.status, layout::refusal(&failure)).into_response()
}

async fn no_such_page() -> Response {
    let report = Report::usage("there is no such page").hint("the first page lists everything: /");
    refusal(Failure::new(StatusCode::NOT_FOUND, report))
}

/// Nothing from elsewhere, no inline script, no frames, no guessing of types, no referrer.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

pub async fn safe_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
