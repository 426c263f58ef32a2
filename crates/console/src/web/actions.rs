//! What forms can ask for: the same changes as the command line, in the name of the session.

use super::enter::Signed;
use super::refusal;
use super::subject::Subject;
use crate::api::Failure;
use crate::caller::{Caller, check_form_token};
use crate::serve::App;
use axum::Extension;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use model::{ReleaseId, Report};
use run::control::ChangeRequest;
use store::record::v1::Intent;

type Body = Result<Form<Signed>, FormRejection>;

pub async fn on_stack(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((stack, action)): Path<(String, String)>,
    form: Body,
) -> Response {
    answer(submit(&app, &caller, Subject::stack(&stack), intent(&action), form).await)
}

pub async fn on_service(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((stack, service, action)): Path<(String, String, String)>,
    form: Body,
) -> Response {
    answer(submit(&app, &caller, Subject::service(&stack, &service), intent(&action), form).await)
}

pub async fn go_back(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((stack, release)): Path<(String, String)>,
    form: Body,
) -> Response {
    let to = release.parse().map(|number| Some(ReleaseId(number)));
    let intent = to
        .map(|to| Intent::Rollback { to })
        .map_err(|_| Failure::new(StatusCode::NOT_FOUND, Report::usage("there is no such release")));
    answer(submit(&app, &caller, Subject::stack(&stack), intent, form).await)
}

fn answer(done: Result<String, Failure>) -> Response {
    match done {
        Ok(address) => Redirect::to(&address).into_response(),
        Err(failure) => refusal(failure),
    }
}

/// Submits the change and says which page shows it.
async fn submit(
    app: &App,
    caller: &Caller,
    subject: Result<Subject, Failure>,
    intent: Result<Intent, Failure>,
    form: Body,
) -> Result<String, Failure> {
    let (subject, intent) = (subject?, intent?);
    let Form(form) = form.map_err(|e| Report::usage(e.body_text()))?;
    if let Some(session) = caller.session() {
        check_form_token(session, &form.token)?;
    }
    let (stack, services) = match &subject {
        Subject::Stack(stack) => (stack.clone(), vec![]),
        Subject::Service(stack, service) => (stack.clone(), vec![service.clone()]),
        _ => return Err(Report::usage("a change needs a stack").into()),
    };
    let actor = caller.actor().to_owned();
    let request = ChangeRequest {
        stack,
        intent,
        declared: None,
        services,
        actor,
        why: String::new(),
        from: None,
        again: false,
    };
    app.control.submit(request).await?;
    Ok(subject.address())
}

fn intent(action: &str) -> Result<Intent, Failure> {
    match action {
        "start" => Ok(Intent::Start),
        "stop" => Ok(Intent::Stop),
        "restart" => Ok(Intent::Restart { at: crate::when::now() }),
        _ => Err(Failure::new(StatusCode::NOT_FOUND, Report::usage("there is no such action"))),
    }
}
