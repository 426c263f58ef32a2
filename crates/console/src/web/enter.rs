//! In and out: a one-time link becomes a session cookie, and a session ends.

use super::{layout, refusal};
use crate::access::SESSION_LIFE;
use crate::api::Failure;
use crate::caller::{COOKIE, Caller, check_form_token};
use crate::serve::App;
use axum::Extension;
use axum::extract::{Form, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use model::Report;
use serde::Deserialize;

/// Every form carries its session's token.
#[derive(Debug, Default, Deserialize)]
pub struct Signed {
    #[serde(default)]
    pub token: String,
}

/// Shows the button. A program that looks at links before people do uses nothing up.
pub async fn ask(State(app): State<App>, Path(token): Path<String>) -> Response {
    match app.access.link_is_open(&token) {
        true => layout::entrance(&token).into_response(),
        false => refusal(used_up()),
    }
}

pub async fn redeem(State(app): State<App>, Path(token): Path<String>) -> Response {
    match app.access.redeem(&token) {
        Some(secret) => {
            let cookie = cookie(&secret, SESSION_LIFE.0 / 1000);
            (AppendHeaders([(header::SET_COOKIE, cookie)]), Redirect::to("/")).into_response()
        }
        None => refusal(used_up()),
    }
}

pub async fn leave(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Form(form): Form<Signed>,
) -> Result<Response, Response> {
    if let Caller::Browser { session, secret } = &caller {
        check_form_token(session, &form.token).map_err(refusal)?;
        app.access.end_session(secret);
    }
    Ok((AppendHeaders([(header::SET_COOKIE, cookie("", 0))]), Redirect::to("/")).into_response())
}

fn cookie(secret: &str, seconds: u64) -> String {
    format!("{COOKIE}={secret}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict")
}

fn used_up() -> Failure {
    let report = Report::usage("this link was used or is older than 10 minutes")
        .hint("run `juchu console` for another");
    Failure::new(StatusCode::GONE, report)
}
