//! The pages about ranges and incidents: what each asks, and what its forms do.

use super::chart::Band;
use super::incidents;
use super::of_signal;
use super::pages::{Content, Desk};
use super::ranges;
use super::refusal;
use super::subject::Subject;
use crate::api::Failure;
use crate::caller::{Caller, check_form_token};
use crate::report::gather;
use crate::serve::App;
use crate::story::{Change, Story};
use axum::Extension;
use axum::extract::rejection::{FormRejection, PathRejection};
use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::html;
use model::range::{Declared, Level};
use model::{DurationMs, Report, ServiceName, StackName};
use run::ranges::{RangeChange, RangeStatus, Ranges, SignalName, SignalNote, SilenceRequest, Words};
use serde::Deserialize;
use std::sync::Arc;
use store::HistoryQuery;

/// A change so long before may be why.
const BEFORE_MS: i64 = 60 * 60_000;
/// Entries in which the story of an incident is looked for.
const ENTRIES: usize = 2_000;

fn watching(control: &dyn run::control::Control) -> Result<Arc<dyn Ranges>, Failure> {
    let none = || Report::environment("this daemon watches no signals").hint("`daemon.log` says why");
    control.ranges().ok_or_else(|| none().into())
}

impl Desk<'_> {
    pub(super) async fn ranges(&self) -> Result<Content, Failure> {
        let watching = watching(self.control)?;
        let (all, objectives) = (watching.ranges().await?, watching.objectives().await?);
        Ok(("Normal ranges".to_owned(), ranges::list(&all, &objectives, &self.clock)))
    }

    pub(super) async fn signal(&self, name: &SignalName) -> Result<Content, Failure> {
        let all = watching(self.control)?.ranges().await?;
        let range = all.iter().find(|range| range.name == *name).ok_or_else(|| {
            let report =
                Report::usage(format!("there is no signal {name}")).hint("`juchu range ls` lists them");
            Failure::new(StatusCode::NOT_FOUND, report)
        })?;
        let story = self.story_of(&name.subject).await?;
        let changed =
            name.subject.service.as_ref().and_then(|service| before(&story, service, range.since_ms));
        let charts = match of_signal::signal(range) {
            Some(wanted) => {
                let marks = super::pages::marks(&story);
                self.charts(vec![wanted], &ranges::address(name), (&marks, &Default::default())).await
            }
            None => html! { p.quiet { "The daemon sees it each second; no course of it is kept." } },
        };
        let content = ranges::one(range, changed, &charts, self.caller.session(), &self.clock);
        Ok((name.to_string(), content))
    }

    pub(super) async fn incidents(&self) -> Result<Content, Failure> {
        let watching = watching(self.control)?;
        let (all, receivers) = (watching.incidents().await?, watching.receivers().await?);
        Ok(("Incidents".to_owned(), incidents::list(&all, &receivers, &self.clock)))
    }

    pub(super) async fn incident(&self, number: u64) -> Result<Content, Failure> {
        let gathered = gather(self.control, self.shelf, self.origins, number, self.clock.now).await;
        let report = gathered.map_err(|report| match report.error.starts_with("there is no") {
            true => Failure::new(StatusCode::NOT_FOUND, report),
            false => report.into(),
        })?;
        let story = self.story_of(&report.incident.incident.subject).await?;
        let alarms: Vec<_> = story.alarms.iter().filter(|alarm| alarm.incident == number).collect();
        let content = incidents::one(&report, &alarms, self.caller.session(), &self.clock);
        Ok((format!("Incident {number}"), content))
    }

    async fn story_of(&self, of: &run::ranges::Subject) -> Result<Story, Failure> {
        let query = HistoryQuery {
            stack: of.stack.clone(),
            service: of.service.clone(),
            after: None,
            changes_only: true,
            limit: ENTRIES,
        };
        Ok(Story::of(&self.control.history(query).await?))
    }

    /// What is normal of a service, by the chart that shows it; nothing where no signals are watched.
    pub(super) async fn bands(&self, stack: &StackName, service: &ServiceName) -> Vec<(&'static str, Band)> {
        let Some(watching) = self.control.ranges() else { return Vec::new() };
        let subject = run::ranges::Subject::service(stack.clone(), service.clone());
        let all = watching.ranges().await.unwrap_or_default();
        all.iter().filter(|range| range.name.subject == subject).filter_map(charted).collect()
    }
}

/// The chart of a service on which a signal's band is drawn.
fn charted(range: &RangeStatus) -> Option<(&'static str, Band)> {
    let chart = match range.name.signal.as_str() {
        "requests" => "requests",
        "errors" => "errors",
        "p95" => "time",
        "memory" => "memory",
        _ => return None,
    };
    let band = range.band?;
    Some((chart, Band { low: band.low, high: band.high, marks_outside: false }))
}

fn before<'s>(story: &'s Story, service: &ServiceName, since_ms: i64) -> Option<&'s Change> {
    let mut changes = story.changes.iter().rev().filter(|change| change.touches(service));
    changes.find(|change| (0..=BEFORE_MS).contains(&(since_ms - change.at.0)))
}

#[derive(Deserialize)]
pub struct Edited {
    token: String,
    signal: String,
    #[serde(default)]
    min: String,
    #[serde(default)]
    max: String,
    #[serde(default)]
    level: String,
    #[serde(default)]
    learn: String,
    #[serde(default)]
    why: String,
    #[serde(default, rename = "do")]
    action: String,
}

#[derive(Deserialize)]
pub struct Said {
    token: String,
    #[serde(default)]
    why: String,
    #[serde(default)]
    lasting: String,
}

/// Takes a form apart; it must come from one of our pages.
fn opened<T>(
    caller: &Caller,
    form: Result<Form<T>, FormRejection>,
    token: fn(&T) -> &str,
) -> Result<T, Failure> {
    let Form(form) = form.map_err(|error| Report::usage(error.body_text()))?;
    if let Some(session) = caller.session() {
        check_form_token(session, token(&form))?;
    }
    Ok(form)
}

fn answer(done: Result<String, Failure>) -> Response {
    match done {
        Ok(address) => Redirect::to(&address).into_response(),
        Err(failure) => refusal(failure),
    }
}

pub async fn set(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    form: Result<Form<Edited>, FormRejection>,
) -> Response {
    let done = async {
        let form = opened(&caller, form, |form: &Edited| &form.token)?;
        let levels = [Level::Information, Level::Important, Level::Urgent];
        let filled = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let declared = Declared {
            learn: form.learn != "no",
            level: levels.into_iter().find(|level| level.word() == form.level),
            ..Declared::default()
        };
        let is_reset = form.action == "reset";
        let request = RangeChange {
            signal: form.signal.clone(),
            declared: (!is_reset).then_some(declared),
            min: filled(&form.min).filter(|_| !is_reset),
            max: filled(&form.max).filter(|_| !is_reset),
            actor: caller.actor().to_owned(),
            why: form.why,
        };
        watching(app.control.as_ref())?.set(request).await?;
        Ok(address_of(&form.signal))
    };
    answer(done.await)
}

pub async fn accept(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    form: Result<Form<Edited>, FormRejection>,
) -> Response {
    let done = async {
        let form = opened(&caller, form, |form: &Edited| &form.token)?;
        let actor = caller.actor().to_owned();
        let note = SignalNote { signal: form.signal.clone(), actor, why: form.why };
        watching(app.control.as_ref())?.accept(note).await?;
        Ok(address_of(&form.signal))
    };
    answer(done.await)
}

fn address_of(signal: &str) -> String {
    SignalName::parse(signal).map_or_else(|| "/ranges".to_owned(), |name| ranges::address(&name))
}

pub async fn on_incident(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<(u64, String)>, PathRejection>,
    form: Result<Form<Said>, FormRejection>,
) -> Response {
    let done = async {
        let form = opened(&caller, form, |form: &Said| &form.token)?;
        let Path((number, action)) = path.map_err(|error| Report::usage(error.body_text()))?;
        let watching = watching(app.control.as_ref())?;
        let actor = caller.actor().to_owned();
        match action.as_str() {
            "acknowledge" => {
                watching.acknowledge(number, Words { actor, why: form.why }).await?;
            }
            "silence" => {
                let lasting =
                    DurationMs::parse(&form.lasting).map_err(|error| Report::usage(error.to_string()))?;
                let (incident, what) = (Some(number), None);
                watching.silence(SilenceRequest { incident, what, lasting, actor, why: form.why }).await?;
            }
            _ => return Err(super::subject::no_such_page()),
        }
        Ok(Subject::Incident(number).address())
    };
    answer(done.await)
}
