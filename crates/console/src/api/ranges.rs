//! Ranges, incidents and receivers: addresses of version 1.

use super::reply::{Failure, within};
use super::routes::{Answer, Segments, parsed};
use super::v1::*;
use crate::caller::Caller;
use crate::report::{IncidentReport, gather};
use crate::serve::App;
use axum::extract::State as AppState;
use axum::extract::rejection::JsonRejection;
use axum::routing::{delete, get, post};
use axum::{Extension, Json, Router};
use model::Report;
use run::control::Control;
use run::ranges::Ranges;
use std::sync::Arc;
use std::time::Duration;

const ANSWER: Duration = Duration::from_secs(15);
/// Rows and traces are searched meanwhile.
const REPORT: Duration = Duration::from_secs(60);
/// A receiver is asked meanwhile.
const TEST: Duration = Duration::from_secs(30);

type Plane = AppState<Arc<dyn Control>>;
type Body<T> = Result<Json<T>, JsonRejection>;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/ranges", get(ranges))
        .route("/ranges/set", post(set))
        .route("/ranges/accept", post(accept))
        .route("/objectives", get(objectives))
        .route("/incidents", get(incidents))
        .route("/incidents/{number}/report", get(report))
        .route("/incidents/{number}/acknowledge", post(acknowledge))
        .route("/silences", post(silence))
        .route("/receivers", get(receivers).post(add_receiver))
        .route("/receivers/{name}", delete(remove_receiver))
        .route("/receivers/{name}/test", post(test_receiver))
}

fn watching(control: &Arc<dyn Control>) -> Result<Arc<dyn Ranges>, Failure> {
    let none = || {
        Report::environment("this daemon watches no signals")
            .hint("`juchu upgrade` puts this program in charge")
    };
    control.ranges().ok_or_else(|| none().into())
}

async fn ranges(AppState(control): Plane) -> Answer<Vec<RangeStatus>> {
    within(ANSWER, watching(&control)?.ranges()).await.map(Json)
}

async fn set(
    AppState(control): Plane,
    Extension(caller): Extension<Caller>,
    body: Body<RangeChange>,
) -> Answer<RangeStatus> {
    let request = RangeChange { actor: caller.actor().to_owned(), ..parsed(body)? };
    within(ANSWER, watching(&control)?.set(request)).await.map(Json)
}

async fn accept(
    AppState(control): Plane,
    Extension(caller): Extension<Caller>,
    body: Body<SignalNote>,
) -> Answer<RangeStatus> {
    let request = SignalNote { actor: caller.actor().to_owned(), ..parsed(body)? };
    within(ANSWER, watching(&control)?.accept(request)).await.map(Json)
}

async fn objectives(AppState(control): Plane) -> Answer<Vec<ObjectiveStatus>> {
    within(ANSWER, watching(&control)?.objectives()).await.map(Json)
}

async fn incidents(AppState(control): Plane) -> Answer<Vec<IncidentStatus>> {
    within(ANSWER, watching(&control)?.incidents()).await.map(Json)
}

async fn report(AppState(app): AppState<App>, Segments(number): Segments<u64>) -> Answer<IncidentReport> {
    let origins = app.attached.origins.as_deref();
    let gathered = gather(app.control.as_ref(), &app.shelf, origins, number, crate::when::now());
    within(REPORT, gathered).await.map(Json)
}

async fn acknowledge(
    AppState(control): Plane,
    Extension(caller): Extension<Caller>,
    Segments(number): Segments<u64>,
    body: Body<Words>,
) -> Answer<IncidentStatus> {
    let request = Words { actor: caller.actor().to_owned(), ..parsed(body)? };
    within(ANSWER, watching(&control)?.acknowledge(number, request)).await.map(Json)
}

async fn silence(
    AppState(control): Plane,
    Extension(caller): Extension<Caller>,
    body: Body<SilenceRequest>,
) -> Answer<Silence> {
    let request = SilenceRequest { actor: caller.actor().to_owned(), ..parsed(body)? };
    within(ANSWER, watching(&control)?.silence(request)).await.map(Json)
}

async fn receivers(AppState(control): Plane) -> Answer<Vec<ReceiverStatus>> {
    within(ANSWER, watching(&control)?.receivers()).await.map(Json)
}

async fn add_receiver(
    AppState(control): Plane,
    Extension(caller): Extension<Caller>,
    body: Body<ReceiverRequest>,
) -> Answer<ReceiverStatus> {
    // Whoever adds one makes the daemon send to an address.
    caller.must_be_local()?;
    within(ANSWER, watching(&control)?.add_receiver(parsed(body)?)).await.map(Json)
}

async fn remove_receiver(
    AppState(control): Plane,
    Extension(caller): Extension<Caller>,
    Segments(name): Segments<String>,
) -> Answer<()> {
    caller.must_be_local()?;
    within(ANSWER, watching(&control)?.remove_receiver(&name)).await.map(Json)
}

async fn test_receiver(AppState(control): Plane, Segments(name): Segments<String>) -> Answer<()> {
    within(TEST, watching(&control)?.test_receiver(&name)).await.map(Json)
}
