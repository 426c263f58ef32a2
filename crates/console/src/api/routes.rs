//! The addresses of version 1 and what each asks of the control plane.

use super::reply::{Failure, within};
use super::stream::{ndjson, snapshots};
use super::v1::*;
use crate::caller::Caller;
use crate::calls::{MINUTES, MINUTES_MAX};
use crate::serve::App;
use crate::visits::DAYS_MAX;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, Query, State as AppState};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{delete, get, post};
use axum::{Extension, Json, Router};
use model::flow;
use model::{Report, StackName};
use run::control::Control;
use run::rows::Rows;
use run::traces::Traces;
use std::sync::Arc;
use std::time::Duration;
use store::record::v1::Intent;

/// The largest change: a resolved stack with its inline configs.
pub const CHANGE_BODY_MAX: usize = 8 << 20;
/// Every other body.
pub const BODY_MAX: usize = 64 << 10;
/// An answer from memory or a few rows.
const ANSWER: Duration = Duration::from_secs(15);
/// An answer that reads build inputs or the whole journal.
const LONG_ANSWER: Duration = Duration::from_secs(300);
/// A search of rows, which ends by itself after a time, and its turn.
const ROWS_ANSWER: Duration = Duration::from_secs(60);
/// A new gateway starts, takes the sockets over and answers.
const UPGRADE: Duration = Duration::from_secs(60);

pub type Answer<T> = Result<Json<T>, Failure>;
type Plane = AppState<Arc<dyn Control>>;

pub fn routes() -> Router<App> {
    let changes = Router::new()
        .route("/changes", post(submit))
        .route("/preview", post(preview))
        .layer(DefaultBodyLimit::max(CHANGE_BODY_MAX));
    let rest = Router::new()
        .route("/stacks", get(stacks))
        .route("/stacks/{name}", get(stack))
        .route("/stacks/{name}/releases", get(releases))
        .route("/stacks/{name}/releases/compare", get(compare))
        .route("/stacks/{name}/logs", get(logs))
        .route("/stacks/{name}/services/{service}/enter", post(enter))
        .route("/visits", get(visits))
        .route("/map", get(map))
        .route("/rows/search", post(search_rows))
        .route("/rows/count", post(count_rows))
        .route("/rows/follow", post(follow_rows))
        .route("/traces/search", post(search_traces))
        .route("/traces/{id}", get(trace))
        .route("/changes/{number}/events", get(follow))
        .route("/history", get(history))
        .route("/verify", get(verify))
        .route("/doctor", get(doctor))
        .route("/daemon", get(daemon))
        .route("/gateway", get(traffic))
        .route("/gateway/explain", post(explain))
        .route("/gateway/upgrade", post(upgrade_gateway))
        .merge(super::ranges::routes())
        .route("/events", get(events))
        .route("/console-link", post(console_link))
        .route("/tokens", get(super::tokens::list).post(super::tokens::create))
        .route("/tokens/{name}", delete(super::tokens::remove))
        .layer(DefaultBodyLimit::max(BODY_MAX));
    changes.merge(rest).fallback(unknown_address)
}

async fn stacks(AppState(control): Plane) -> Answer<Vec<StackStatus>> {
    within(ANSWER, control.stacks()).await.map(Json)
}

async fn stack(AppState(control): Plane, Segments(name): Segments<StackName>) -> Answer<StackStatus> {
    within(ANSWER, control.stack(&name)).await.map(Json)
}

async fn submit(
    AppState(control): Plane,
    Extension(caller): Extension<Caller>,
    body: Result<Json<ChangeRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<Accepted>), Failure> {
    let mut request = parsed(body)?;
    request.actor = caller.actor().to_owned();
    if let Intent::Restart { at } = &mut request.intent {
        *at = crate::when::now();
    }
    let accepted = within(ANSWER, control.submit(request)).await?;
    Ok((StatusCode::ACCEPTED, Json(accepted)))
}

async fn preview(
    AppState(control): Plane,
    Extension(caller): Extension<Caller>,
    body: Result<Json<ChangeRequest>, JsonRejection>,
) -> Answer<Preview> {
    let mut request = parsed(body)?;
    request.actor = caller.actor().to_owned();
    within(LONG_ANSWER, control.preview(request)).await.map(Json)
}

async fn follow(AppState(control): Plane, Segments(change): Segments<u64>) -> Result<Response, Failure> {
    within(ANSWER, control.follow(change)).await.map(ndjson)
}

async fn history(
    AppState(control): Plane,
    params: Result<Query<HistoryParams>, QueryRejection>,
) -> Answer<Vec<Entry>> {
    let Query(params) = params.map_err(bad_request)?;
    within(ANSWER, control.history(params.into())).await.map(Json)
}

async fn releases(
    AppState(control): Plane,
    Segments(name): Segments<StackName>,
) -> Answer<Vec<ReleaseStatus>> {
    within(ANSWER, control.releases(&name)).await.map(Json)
}

async fn compare(
    AppState(control): Plane,
    Segments(name): Segments<StackName>,
    params: Result<Query<CompareParams>, QueryRejection>,
) -> Answer<Vec<Difference>> {
    let Query(CompareParams { from, to }) = params.map_err(bad_request)?;
    within(ANSWER, control.compare(&name, from, to)).await.map(Json)
}

async fn visits(
    AppState(app): AppState<App>,
    params: Result<Query<VisitParams>, QueryRejection>,
) -> Answer<VisitReport> {
    let Query(VisitParams { days }) = params.map_err(bad_request)?;
    let days = days.unwrap_or(1).clamp(1, DAYS_MAX);
    crate::web::visitors::report(&app, days).await.map(Json).map_err(Failure::from)
}

async fn map(
    AppState(app): AppState<App>,
    params: Result<Query<MapParams>, QueryRejection>,
) -> Answer<CallMap> {
    let Query(MapParams { minutes }) = params.map_err(bad_request)?;
    let minutes = minutes.unwrap_or(MINUTES).clamp(1, MINUTES_MAX);
    within(ANSWER, crate::calls::map(&app.shelf, minutes, crate::when::now())).await.map(Json)
}

async fn upgrade_gateway(AppState(control): Plane) -> Answer<GatewayUpgrade> {
    within(UPGRADE, control.upgrade_gateway()).await.map(Json)
}

async fn traffic(AppState(control): Plane) -> Answer<flow::Status> {
    within(ANSWER, control.traffic()).await.map(Json)
}

async fn explain(
    AppState(control): Plane,
    body: Result<Json<flow::Question>, JsonRejection>,
) -> Answer<flow::Explanation> {
    within(ANSWER, control.explain(parsed(body)?)).await.map(Json)
}

async fn logs(
    AppState(control): Plane,
    Segments(name): Segments<StackName>,
    params: Result<Query<LogParams>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(params) = params.map_err(bad_request)?;
    let services = params.services().map_err(bad_request)?;
    within(ANSWER, control.logs(&name, &services, params.query())).await.map(ndjson)
}

fn rows(control: &Arc<dyn Control>) -> Result<Arc<dyn Rows>, Failure> {
    let none = || {
        Report::environment("this daemon keeps no rows").hint("`juchu upgrade` puts this program in charge")
    };
    control.rows().ok_or_else(|| none().into())
}

async fn search_rows(
    AppState(control): Plane,
    body: Result<Json<RowQuestion>, JsonRejection>,
) -> Answer<RowAnswer> {
    within(ROWS_ANSWER, rows(&control)?.search(parsed(body)?)).await.map(Json)
}

async fn count_rows(
    AppState(control): Plane,
    body: Result<Json<RowCountQuestion>, JsonRejection>,
) -> Answer<RowCounts> {
    within(ROWS_ANSWER, rows(&control)?.count(parsed(body)?)).await.map(Json)
}

async fn follow_rows(
    AppState(control): Plane,
    body: Result<Json<RowQuestion>, JsonRejection>,
) -> Result<Response, Failure> {
    within(ANSWER, rows(&control)?.follow(parsed(body)?)).await.map(ndjson)
}

fn traces(control: &Arc<dyn Control>) -> Result<Arc<dyn Traces>, Failure> {
    let none = || {
        Report::environment("this daemon keeps no spans").hint("`juchu upgrade` puts this program in charge")
    };
    control.traces().ok_or_else(|| none().into())
}

async fn search_traces(
    AppState(control): Plane,
    body: Result<Json<TraceQuestion>, JsonRejection>,
) -> Answer<TraceAnswer> {
    within(ROWS_ANSWER, traces(&control)?.search(parsed(body)?)).await.map(Json)
}

async fn trace(AppState(control): Plane, Segments(id): Segments<String>) -> Answer<Trace> {
    within(ROWS_ANSWER, traces(&control)?.trace(&id)).await.map(Json)
}

async fn enter(
    AppState(control): Plane,
    Extension(caller): Extension<Caller>,
    Segments((stack, service)): Segments<(StackName, model::ServiceName)>,
    body: Result<Json<EnterRequest>, JsonRejection>,
) -> Answer<Entrance> {
    caller.must_be_local()?;
    let EnterRequest { slot, request, tty } = parsed(body)?;
    let argv = within(ANSWER, control.enter(&stack, &service, slot, request, tty)).await?;
    Ok(Json(Entrance { argv }))
}

async fn verify(AppState(control): Plane) -> Answer<VerifyReport> {
    within(LONG_ANSWER, control.verify()).await.map(Json)
}

async fn doctor(AppState(control): Plane) -> Answer<Vec<Lack>> {
    within(ANSWER, control.lacks()).await.map(Json)
}

async fn daemon(AppState(control): Plane) -> Answer<DaemonStatus> {
    within(ANSWER, control.daemon()).await.map(Json)
}

async fn events(AppState(control): Plane) -> Response {
    snapshots(control)
}

async fn console_link(
    AppState(app): AppState<App>,
    Extension(caller): Extension<Caller>,
) -> Answer<ConsoleLink> {
    caller.must_be_local()?;
    let Some(base) = app.access.base_url() else {
        let report = Report::environment("the daemon runs without its console")
            .hint("start it with `juchu daemon --console 127.0.0.1:7766`");
        return Err(report.into());
    };
    let (token, expires) = app.access.issue_link(&caller.console_actor());
    Ok(Json(ConsoleLink { url: format!("{base}/enter/{token}"), expires }))
}

async fn unknown_address() -> Failure {
    let report = Report::usage("there is no such address in version 1 of the API")
        .hint("`docs/reference/api.md` lists them; a newer `juchu` may speak to an older daemon: restart it");
    Failure::new(StatusCode::NOT_FOUND, report)
}

/// Parts of the path, parsed; a failure is a [`Report`] as everywhere.
pub struct Segments<T>(pub T);

impl<S, T> FromRequestParts<S> for Segments<T>
where
    S: Send + Sync,
    T: serde::de::DeserializeOwned + Send,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, state: &S) -> Result<Self, Failure> {
        let path: Result<Path<T>, PathRejection> = Path::from_request_parts(parts, state).await;
        path.map(|Path(parsed)| Self(parsed)).map_err(bad_request)
    }
}

pub fn parsed<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Failure> {
    body.map(|Json(body)| body).map_err(|rejection| {
        let status = rejection.status();
        Failure::new(status, Report::usage(first_line(&rejection.body_text())))
    })
}

fn bad_request(error: impl std::fmt::Display) -> Failure {
    Report::usage(first_line(&error.to_string())).into()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("the request cannot be read")
}
