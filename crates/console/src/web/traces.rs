//! Traces: those that are searched for, and one as a waterfall.

use super::layout;
use super::pages::Drawn;
use super::parts::{self, NBSP, plain};
use super::subject::Subject;
use crate::api::Failure;
use crate::caller::Caller;
use crate::measured::Range;
use crate::serve::App;
use crate::text::cut;
use crate::traces::{bounds_ns, end_ns, in_order, is_error, took};
use crate::when::Clock;
use axum::Extension;
use axum::extract::State as AppState;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use model::{DurationMs, Report, Timestamp};
use run::control::State;
use run::traces::{KeptSpan, Trace, TraceAnswer, TraceQuestion, TraceSummary, Traces};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Traces of a page, and spans of one trace that are drawn.
const TRACES: usize = 50;
const SPANS: usize = 500;
/// Steps by which names are moved to the right.
const DEPTH_MAX: usize = 8;
/// Characters of a parameter, of a name and of a value.
const PARAMETER_MAX: usize = 256;
const NAME_MAX: usize = 120;
const VALUE_MAX: usize = 400;
/// A search ends by itself after a time; this is for its turn as well.
const ANSWER_WAIT: Duration = Duration::from_secs(25);
/// Parts of the whole time in which bars are drawn.
const PARTS: i64 = 1000;

/// What is looked for: all of it is in the address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Search {
    service: String,
    name: String,
    /// As it was typed: `200ms`, or milliseconds.
    min: String,
    errors: bool,
    range: Range,
}

impl Search {
    fn of(uri: &Uri) -> Self {
        let mut search = Self::default();
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            let value: String = value.trim().chars().take(PARAMETER_MAX).collect();
            match &*name {
                "service" => search.service = value,
                "name" => search.name = value,
                "min" => search.min = value,
                "errors" => search.errors = value == "1",
                "range" => search.range = Range::of(&value),
                _ => {}
            }
        }
        search
    }

    fn question(&self, now: Timestamp) -> Result<TraceQuestion, Report> {
        let (stack, service) = match self.service.split_once('/') {
            Some((stack, service)) => (Some(stack.to_owned()), service.to_owned()),
            None => (None, self.service.clone()),
        };
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let min_ms = match self.min.as_str() {
            "" => None,
            text => Some(match text.parse::<f64>() {
                Ok(ms) if ms >= 0.0 => ms,
                _ => DurationMs::parse(text).map(|took| took.0 as f64).map_err(|_| {
                    Report::usage(format!("{text:?} is no time")).hint("for example `200ms` or `1.5s`")
                })?,
            }),
        };
        Ok(TraceQuestion {
            stack,
            service: some(&service),
            name: some(&self.name),
            min_ms,
            errors: self.errors,
            since: Some(Timestamp(now.0 - self.range.seconds() * 1000)),
            limit: Some(TRACES),
            ..TraceQuestion::default()
        })
    }
}

/// The address of one trace, for links.
pub fn address(id: &str) -> String {
    format!("/traces/{id}")
}

fn kept(app: &App) -> Result<Arc<dyn Traces>, Report> {
    app.control.traces().ok_or_else(|| Report::environment("no spans are kept").hint("`daemon.log` says why"))
}

async fn within<T>(answer: impl Future<Output = Result<T, Report>>) -> Result<T, Report> {
    timeout(ANSWER_WAIT, answer).await.unwrap_or_else(|_| {
        Err(Report::environment("the search takes longer than 25 s").hint("choose a shorter range"))
    })
}

pub async fn list(AppState(app): AppState<App>, Extension(caller): Extension<Caller>, uri: Uri) -> Response {
    let search = Search::of(&uri);
    let clock = Clock::system();
    let found = match (kept(&app), search.question(clock.now)) {
        (Ok(traces), Ok(question)) => within(traces.search(question)).await,
        (Err(report), _) | (_, Err(report)) => Err(report),
    };
    let content = html! {
        h1 { "Traces" }
        (form(&search))
        @match &found {
            Err(report) => (parts::report(report)),
            Ok(answer) => (table(answer, &clock)),
        }
    };
    let drawn = Drawn::of("Traces", vec![("Traces".into(), "/traces".into())], content);
    (status_of(found.as_ref().err()), layout::page(&caller, &drawn)).into_response()
}

fn status_of(failure: Option<&Report>) -> StatusCode {
    match failure {
        Some(report) if report.kind == model::ErrorKind::Usage => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}

fn form(search: &Search) -> Markup {
    html! {
        form #search method="get" action="/traces" role="search" {
            label { span.unseen { "Service" }
                input type="search" name="service" value=(plain(&search.service)) maxlength=(PARAMETER_MAX) placeholder="service" autocomplete="off"; }
            label { span.unseen { "Name" }
                input type="search" name="name" value=(plain(&search.name)) maxlength=(PARAMETER_MAX) placeholder="part of a name" autocomplete="off"; }
            label { span.unseen { "At least" }
                input.short name="min" value=(plain(&search.min)) maxlength="16" placeholder="at least 200ms" autocomplete="off"; }
            label { span.unseen { "Range" } select name="range" {
                @for range in Range::ALL { option value=(range.word()) selected[range == search.range] { (range.name()) } }
            } }
            label { input type="checkbox" name="errors" value="1" checked[search.errors]; " Failed" }
            button.main type="submit" { "Search" }
        }
    }
}

fn table(answer: &TraceAnswer, clock: &Clock) -> Markup {
    html! {
        @if answer.is_cut {
            p.error { "The search was ended by its limits of time or memory. Choose a shorter range." }
        }
        @if answer.traces.is_empty() {
            p.quiet { "No trace was found. The gateway records some of the requests that pass, services send their own by OTLP." }
        } @else {
            table #traces {
                thead { tr {
                    th scope="col" { "State" } th scope="col" { "Root" } th scope="col" { "Began" }
                    th.number scope="col" { "Took" } th.number.wide scope="col" { "Spans" } th.number.wide scope="col" { "Services" }
                } }
                tbody { @for trace in &answer.traces { (row(trace, clock)) } }
            }
            @if answer.has_more { p.quiet { "The newest " (answer.traces.len()) "; there are more." } }
        }
    }
}

fn row(trace: &TraceSummary, clock: &Clock) -> Markup {
    let (look, word) = if trace.errors > 0 { (State::Failed, "failed") } else { (State::Ready, "done") };
    html! {
        tr {
            td { (parts::labelled(look, word)) }
            td { a href=(address(&trace.trace)) { (cut(&plain(&trace.name), NAME_MAX)) } " " span.quiet { (plain(&trace.service)) } }
            td { (parts::time(Timestamp(trace.start_ns / 1_000_000), clock)) }
            td.number { (with_unit(trace.duration_ms)) }
            td.number.wide { (trace.spans) }
            td.number.wide { (trace.services) }
        }
    }
}

fn with_unit(ms: f64) -> String {
    took(ms).replace(' ', NBSP)
}

pub async fn one(AppState(app): AppState<App>, Extension(caller): Extension<Caller>, uri: Uri) -> Response {
    let id = uri.path().strip_prefix("/traces/").unwrap_or_default().to_owned();
    let found = match kept(&app) {
        Ok(traces) => within(traces.trace(&id)).await,
        Err(report) => Err(report),
    };
    let trace = match found {
        Ok(trace) => trace,
        Err(report) if report.kind == model::ErrorKind::Usage => {
            return super::refusal(Failure::new(StatusCode::NOT_FOUND, report));
        }
        Err(report) => return super::refusal(Failure::from(report)),
    };
    let path =
        vec![("Traces".to_owned(), "/traces".to_owned()), (cut(&trace.trace, 9).into_owned(), address(&id))];
    let drawn = Drawn::of("Trace", path, draw(&trace, &Clock::system()));
    layout::page(&caller, &drawn).into_response()
}

fn draw(trace: &Trace, clock: &Clock) -> Markup {
    let spans = &trace.spans;
    let (start, end) = bounds_ns(spans);
    let errors = spans.iter().filter(|span| is_error(span)).count();
    let order = in_order(spans);
    let root = order.first().map(|(_, span)| *span);
    let title = root.map(|span| format!("{} of {}", span.name, span.service)).unwrap_or_default();
    html! {
        h1 { (cut(&plain(&title), NAME_MAX)) }
        ul.facts {
            li { (parts::time(Timestamp(start / 1_000_000), clock)) }
            li { (with_unit((end - start) as f64 / 1e6)) }
            li { (spans.len()) (if spans.len() == 1 { " span" } else { " spans" }) }
            @if errors > 0 { li { (parts::labelled(State::Failed, &format!("{errors} failed"))) } }
            li { a href={ "/logs?q=" (trace.trace) } { "Logs" } }
            li.quiet { code { (trace.trace) } }
        }
        div.waterfall role="table" aria-label="Spans" {
            @for (depth, span) in order.iter().take(SPANS) { (line(*depth, span, (start, end))) }
        }
        @let left_out = spans.len().saturating_sub(SPANS);
        @if trace.has_more || trace.is_cut || left_out > 0 {
            p.quiet { "These are not all spans. " code { "juchu trace " (trace.trace) " --json" } " has more." }
        }
    }
}

/// Who, what, how long, and a bar from its beginning to its end.
fn line(depth: usize, span: &KeptSpan, (start, end): (i64, i64)) -> Markup {
    let place = |time: i64| {
        let whole = (end - start).max(1);
        (i128::from(time - start) * i128::from(PARTS) / i128::from(whole)) as i64
    };
    let begin = place(span.start_ns).clamp(0, PARTS - 2);
    let width = (place(end_ns(span)) - begin).clamp(2, PARTS - begin);
    let service = Subject::service(&span.stack, &span.service).ok().map(|subject| subject.address());
    html! {
        details role="row" {
            summary {
                span.who.{ "d" (depth.min(DEPTH_MAX)) } {
                    @if is_error(span) { (parts::icon(State::Failed)) span.unseen { "failed" } " " }
                    b { (cut(&plain(&span.name), NAME_MAX)) } " " span.quiet { (plain(&span.service)) }
                }
                span.number { (with_unit(span.duration_ms)) }
                svg.span.bad[is_error(span)] viewBox={ "0 0 " (PARTS) " 10" } preserveAspectRatio="none" aria-hidden="true" {
                    rect x=(begin) y="0" width=(width) height="10" {}
                }
            }
            @if !span.message.is_empty() { p.bad { (cut(&plain(&span.message), VALUE_MAX)) } }
            dl.pairs {
                (pair("kind", &span.kind))
                @if let Some(address) = &service { div { dt { "service" } dd { a href=(address) { (plain(&span.stack)) "/" (plain(&span.service)) } } } }
                (pair("instance", &span.instance))
                @for (name, value) in &span.attributes { (pair(name, &text(value))) }
                @for event in &span.events { (pair(&format!("after {}", took(event.at_ms)), &event.name)) }
                (pair("recorded by", &span.scope))
            }
        }
    }
}

fn pair(name: &str, value: &str) -> Markup {
    html! {
        @if !value.is_empty() { div { dt { (cut(&plain(name), NAME_MAX)) } dd { (cut(&plain(value), VALUE_MAX)) } } }
    }
}

fn text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_what_is_asked() {
        let question =
            |address: &str| Search::of(&address.parse().expect("an address")).question(Timestamp(10_000_000));
        let asked = question("/traces?service=shop/web&min=1.5s&errors=1&name=GET&range=1h").expect("valid");
        assert_eq!((asked.stack.as_deref(), asked.service.as_deref()), (Some("shop"), Some("web")));
        assert_eq!((asked.min_ms, asked.errors, asked.name.as_deref()), (Some(1500.0), true, Some("GET")));
        assert_eq!(asked.since, Some(Timestamp(6_400_000)));
        assert_eq!(question("/traces?min=20").expect("valid").min_ms, Some(20.0));
        assert!(question("/traces?min=-1").is_err() && question("/traces?min=soon").is_err());
        assert_eq!(question("/traces").expect("valid").service, None);
    }

    #[test]
    fn names_and_values_of_others_do_no_harm_and_bars_stay_inside() {
        let span = |id: &str, start_ns, duration_ms| KeptSpan {
            span: id.into(),
            name: "<script>\u{1b}[2J".into(),
            service: "a/../b".into(),
            status: "error".into(),
            message: "<b>".into(),
            start_ns,
            duration_ms,
            ..KeptSpan::default()
        };
        let spans = vec![span("1", 5, 0.0), span("2", i64::MAX - 9, 1e9)];
        let trace = Trace { trace: "4bf92f3577b34da6a3ce929d0e0e4736".into(), spans, ..Trace::default() };
        let drawn = draw(&trace, &Clock::utc(Timestamp(0))).into_string();
        assert!(
            !drawn.contains("<script>") && !drawn.contains("<b><") && !drawn.contains('\u{1b}'),
            "{drawn}"
        );
        assert!(drawn.contains("x=\"0\"") && drawn.contains("x=\"998\""), "{drawn}");
        assert!(!drawn.contains("href=\"/stacks/"), "{drawn}");
    }
}
