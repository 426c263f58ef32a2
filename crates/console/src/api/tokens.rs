//! The addresses by which tokens are made and taken back: for whoever has a shell on this machine.

use super::reply::Failure;
use super::routes::{Answer, Segments, parsed};
use super::v1::TokenRequest;
use crate::caller::Caller;
use crate::serve::App;
use crate::tokens::{May, NewToken, TokenError, TokenStatus};
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::{Extension, Json};
use model::{ErrorKind, Report};

pub async fn list(State(app): State<App>) -> Answer<Vec<TokenStatus>> {
    Ok(Json(app.attached.tokens.list()))
}

pub async fn create(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<TokenRequest>, JsonRejection>,
) -> Answer<NewToken> {
    caller.must_be_local()?;
    let TokenRequest { name, may } = parsed(body)?;
    let may = if may.is_empty() { vec![May::Read] } else { may };
    let status = TokenStatus { name, may, actor: caller.actor().to_owned(), made: app.access.now() };
    let made = app.attached.tokens.create(status, app.access.random()).map_err(report)?;
    Ok(Json(made))
}

pub async fn remove(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Segments(name): Segments<String>,
) -> Answer<()> {
    caller.must_be_local()?;
    app.attached.tokens.remove(&name).map_err(report)?;
    Ok(Json(()))
}

fn report(error: TokenError) -> Failure {
    let report = match &error {
        TokenError::Name(_) => Report::usage(error.to_string()).hint("juchu token create grafana"),
        TokenError::Exists(name) => {
            Report::new(ErrorKind::Conflict, error.to_string()).hint(format!("juchu token rm {name}"))
        }
        TokenError::TooMany => Report::usage(error.to_string()).hint("juchu token ls"),
        TokenError::Unknown(_) => Report::usage(error.to_string()).hint("juchu token ls"),
        TokenError::Damaged(_) => Report::environment(error.to_string()),
        TokenError::Read { .. } | TokenError::Unreadable { .. } | TokenError::Write { .. } => {
            Report::from_error(ErrorKind::Environment, &error).hint("juchu doctor")
        }
    };
    report.into()
}
