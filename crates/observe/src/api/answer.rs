//! Answers and refusals in the form that clients expect.

use super::number::{put_time, put_value};
use crate::promql::{Answer, QueryError, Value};
use crate::{Labels, SamplesError};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

/// Shorter answers are not compressed.
const COMPRESSED_MIN: usize = 1400;

/// Why there is no answer, as clients tell them apart.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    kind: &'static str,
    text: String,
}

impl Refusal {
    pub fn bad_data(text: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: "bad_data", text: text.into() }
    }

    pub fn parameter(name: &str, text: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter {name:?}: {text}"))
    }

    pub fn timed_out() -> Self {
        let text = QueryError::TimedOut.to_string();
        Self { status: StatusCode::SERVICE_UNAVAILABLE, kind: "timeout", text }
    }

    pub fn internal(text: impl Into<String>) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, kind: "internal", text: text.into() }
    }

    fn execution(text: String) -> Self {
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, kind: "execution", text }
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Parse(_) | QueryError::Resolution => Self::bad_data(error.to_string()),
            QueryError::Step => Self::parameter("step", error),
            QueryError::Range => Self::parameter("end", error),
            QueryError::TimedOut => Self::timed_out(),
            QueryError::Evaluation(_) | QueryError::TooManySamples | QueryError::Samples(_) => {
                Self::execution(error.to_string())
            }
        }
    }
}

impl From<SamplesError> for Refusal {
    fn from(error: SamplesError) -> Self {
        Self::execution(error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "status": "error", "errorType": self.kind, "error": self.text });
        (self.status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
    }
}

/// An answer, compressed where the client wants that.
pub fn success(headers: &HeaderMap, data: &str) -> Response {
    let text = format!("{{\"status\":\"success\",\"data\":{data}}}");
    packed(headers, "application/json", text)
}

pub fn packed(headers: &HeaderMap, kind: &'static str, text: String) -> Response {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let wants = accepted
        .is_some_and(|all| all.split(',').any(|one| one.trim() == "gzip" || one.trim().starts_with("gzip;")));
    if !wants || text.len() < COMPRESSED_MIN {
        return ([(header::CONTENT_TYPE, kind)], text).into_response();
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 8), Compression::fast());
    let written = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
    let bytes = written.expect("memory takes everything");
    let headers =
        [(header::CONTENT_TYPE, kind), (header::CONTENT_ENCODING, "gzip"), (header::VARY, "accept-encoding")];
    (headers, bytes).into_response()
}

/// The data of an answer to a query.
pub fn value(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Scalar { time_ms, value } => {
            text.push_str("{\"resultType\":\"scalar\",\"result\":");
            put_point(&mut text, *time_ms, *value);
        }
        Value::String { time_ms, value } => {
            text.push_str("{\"resultType\":\"string\",\"result\":[");
            put_time(&mut text, *time_ms);
            text.push(',');
            put_text(&mut text, value);
            text.push(']');
        }
        Value::Vector(answers) => {
            text.push_str("{\"resultType\":\"vector\",\"result\":");
            put_all(&mut text, answers, |text, answer| {
                text.push_str(",\"value\":");
                if let (Some(time), Some(value)) =
                    (answer.points.times_ms.first(), answer.points.values.first())
                {
                    put_point(text, *time, *value);
                }
            });
        }
        Value::Matrix(answers) => {
            text.push_str("{\"resultType\":\"matrix\",\"result\":");
            put_all(&mut text, answers, |text, answer| {
                text.push_str(",\"values\":[");
                for (at, (time, value)) in
                    answer.points.times_ms.iter().zip(&answer.points.values).enumerate()
                {
                    if at > 0 {
                        text.push(',');
                    }
                    put_point(text, *time, *value);
                }
                text.push(']');
            });
        }
    }
    text.push('}');
    text
}

fn put_all(text: &mut String, answers: &[Answer], put: impl Fn(&mut String, &Answer)) {
    text.push('[');
    for (at, answer) in answers.iter().enumerate() {
        text.push_str(if at > 0 { ",{\"metric\":" } else { "{\"metric\":" });
        put_labels(text, &answer.labels);
        put(text, answer);
        text.push('}');
    }
    text.push(']');
}

fn put_point(text: &mut String, time_ms: i64, value: f64) {
    text.push('[');
    put_time(text, time_ms);
    text.push(',');
    put_value(text, value);
    text.push(']');
}

pub fn put_labels(text: &mut String, labels: &Labels) {
    text.push('{');
    for (at, (name, value)) in labels.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        put_text(text, name);
        text.push(':');
        put_text(text, value);
    }
    text.push('}');
}

fn put_text(text: &mut String, value: &str) {
    text.push_str(&serde_json::Value::from(value).to_string());
}
