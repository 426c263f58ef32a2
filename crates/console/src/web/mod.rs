//! The pages: addresses, what each needs to be drawn, and the headers that keep browsers careful.

mod actions;
mod assets;
mod chart;
mod charts;
mod enter;
mod graph;
mod incidents;
mod layout;
mod live;
mod logs;
mod map;
mod of_signal;
pub mod packed;
mod pages;
mod panel;
mod parts;
mod ranges;
mod releases;
mod subject;
mod traces;
pub mod traffic;
mod unit;
mod verdict;
pub mod visitors;
mod watched;

use crate::api::Failure;
use crate::caller::Caller;
use crate::serve::App;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use subject::View;

/// Pages that are also sent again when they change.
const SHOWN: [&str; 10] = [
    "/",
    "/nodes/{node}",
    "/stacks/{stack}",
    "/stacks/{stack}/services/{service}",
    "/stacks/{stack}/services/{service}/instances/{instance}",
    "/stacks/{stack}/services/{service}/routes/{number}",
    "/ranges",
    "/ranges/{signal}",
    "/incidents",
    "/incidents/{number}",
];

/// Pages for people who are signed in.
pub fn pages() -> Router<App> {
    let shown = SHOWN.iter().fold(Router::new(), |router, path| {
        let live = if *path == "/" { "/live".to_owned() } else { format!("/live{path}") };
        router.route(path, get(page)).route(&live, get(live::stream_of))
    });
    shown
        .route("/logs", get(logs::page))
        .route("/tail", get(logs::tail))
        .route("/map", get(map::page))
        .route("/traces", get(traces::list))
        .route("/traces/{id}", get(traces::one))
        .route("/visitors", get(visitors::page))
        .route("/ranges-set", post(watched::set))
        .route("/ranges-accept", post(watched::accept))
        .route("/incidents/{number}/{action}", post(watched::on_incident))
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

async fn page(State(app): State<App>, Extension(caller): Extension<Caller>, uri: Uri) -> Response {
    let view = match View::of(&uri) {
        Ok(view) => view,
        Err(failure) => return refusal(failure),
    };
    let drawn = pages::draw(&app, &caller, &view).await;
    let status = drawn.failure.as_ref().map_or(StatusCode::OK, |failure| failure.status);
    (status, layout::page(&caller, &drawn)).into_response()
}

/// A failure as a page of its own, for somebody who may not be signed in.
pub fn refusal(failure: Failure) -> Response {
    (failure.status, layout::refusal(&failure)).into_response()
}

async fn no_such_page() -> Response {
    refusal(subject::no_such_page())
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
