//! OTLP over HTTP: what a request is, and how it is answered.

use super::body::{BodyError, UNPACKED_MAX};
use super::{Receiver, Stores, Taken, logs, metrics, traces};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use formats::Malformed;
use formats::otlp::{Form, Signal, failed, partial};

/// Codes of gRPC, which a refusal names.
const INVALID_ARGUMENT: u64 = 3;
const UNAVAILABLE: u64 = 14;

pub async fn traces(State(receiver): State<Receiver>, headers: HeaderMap, body: Body) -> Response {
    answer(receiver, Signal::Traces, headers, body).await
}

pub async fn metrics(State(receiver): State<Receiver>, headers: HeaderMap, body: Body) -> Response {
    answer(receiver, Signal::Metrics, headers, body).await
}

pub async fn logs(State(receiver): State<Receiver>, headers: HeaderMap, body: Body) -> Response {
    answer(receiver, Signal::Logs, headers, body).await
}

async fn answer(receiver: Receiver, signal: Signal, headers: HeaderMap, body: Body) -> Response {
    let Some(form) = form(&headers) else {
        let text = "the content type must be application/x-protobuf or application/json";
        return refused(Form::Json, &BodyError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    };
    match take(receiver, signal, form, &headers, body).await {
        Ok(Taken { refused, why, .. }) => {
            let body = partial(form, signal, refused, &why);
            ([(header::CONTENT_TYPE, form.content_type())], body).into_response()
        }
        Err(error) => refused(form, &error),
    }
}

fn form(headers: &HeaderMap) -> Option<Form> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    match kind.split(';').next()?.trim() {
        "application/x-protobuf" => Some(Form::Protobuf),
        "application/json" => Some(Form::Json),
        _ => None,
    }
}

fn refused(form: Form, error: &BodyError) -> Response {
    let is_passing = error.status == StatusCode::SERVICE_UNAVAILABLE;
    let body = failed(form, if is_passing { UNAVAILABLE } else { INVALID_ARGUMENT }, &error.text);
    let mut response = (error.status, [(header::CONTENT_TYPE, form.content_type())], body).into_response();
    if is_passing {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    }
    response
}

async fn take(
    receiver: Receiver,
    signal: Signal,
    form: Form,
    headers: &HeaderMap,
    body: Body,
) -> Result<Taken, BodyError> {
    let held = receiver.0.room.read(headers, body).await?;
    let turn = receiver.turn().await?;
    let headers = headers.clone();
    let worked = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let mut request = held.unpacked(&headers)?;
        if form == Form::Json {
            request = signal
                .from_json(&request, UNPACKED_MAX)
                .map_err(|error| BodyError::new(StatusCode::BAD_REQUEST, error.to_string()))?;
        }
        receiver.keep(signal, &request)
    });
    worked.await.expect("taking what was sent does not panic")
}

impl Receiver {
    fn keep(&self, signal: Signal, request: &[u8]) -> Result<Taken, BodyError> {
        let Stores { metrics, known, rows, spans } = &self.0.stores;
        let now_ns = (self.0.now_ns)();
        let absent = || BodyError::new(StatusCode::SERVICE_UNAVAILABLE, "this cannot be kept at the moment");
        let received = &self.0.received;
        let (count, taken) = match signal {
            Signal::Traces => (&received.spans, traces::keep(spans.as_ref().ok_or_else(absent)?, request)),
            Signal::Logs => (&received.rows, logs::keep(rows.as_ref().ok_or_else(absent)?, request, now_ns)),
            Signal::Metrics => {
                (&received.samples, metrics::keep(&self.0.pusher, metrics, known, request, now_ns))
            }
        };
        let taken = taken.map_err(|Malformed(what)| {
            BodyError::new(StatusCode::BAD_REQUEST, format!("the request cannot be read: {what}"))
        })?;
        count.add(taken.taken, taken.refused);
        Ok(taken)
    }
}
