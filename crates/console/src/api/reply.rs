//! How a failure crosses the wire: a status that fits its kind, and the report as JSON.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::{ErrorKind, Report};
use std::time::Duration;

/// A report on its way to a client.
#[derive(Debug, Clone)]
pub struct Failure {
    pub status: StatusCode,
    pub report: Report,
}

impl Failure {
    pub fn new(status: StatusCode, report: Report) -> Self {
        Self { status, report }
    }
}

impl From<Report> for Failure {
    fn from(report: Report) -> Self {
        Self { status: status_of(report.kind), report }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(self.report)).into_response()
    }
}

/// The status of each kind; clients read the kind from the body.
const fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Usage => StatusCode::BAD_REQUEST,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Environment => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorKind::Build
        | ErrorKind::Check
        | ErrorKind::Unhealthy
        | ErrorKind::RolledBack
        | ErrorKind::Undecided => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

/// Waits for an answer of the control plane, but not for ever.
pub async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = Result<T, Report>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer.map_err(Failure::from),
        Err(_) => {
            let sentence = format!("the daemon gave no answer within {} seconds", limit.as_secs());
            let report = Report::internal(sentence).hint("look at the end of daemon.log; `juchu doctor`");
            Err(Failure::new(StatusCode::GATEWAY_TIMEOUT, report))
        }
    }
}
