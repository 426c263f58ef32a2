//! Logs: what services wrote, found by the same queries as those of `juchu logs QUERY`, with counts
//! over time, and what comes as it comes.

use super::chart;
use super::layout;
use super::pages::Drawn;
use super::parts::{self, plain};
use super::refusal;
use crate::api::{Failure, event, event_stream};
use crate::caller::Caller;
use crate::measured::Range;
use crate::serve::App;
use crate::text::{cut, trace_of};
use crate::when::Clock;
use axum::Extension;
use axum::body::Bytes;
use axum::extract::State as AppState;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use maud::{Markup, html};
use model::{Report, Timestamp};
use run::control::State;
use run::rows::{KeptRow, RowAnswer, RowCountQuestion, RowCounts, RowQuestion, Rows};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Rows of a page.
const ROWS: usize = 200;
/// Bars over the time of a page.
const BARS: i64 = 60;
/// Characters of a row that are shown.
const ROW_MAX: usize = 2000;
/// Characters of a parameter.
const PARAMETER_MAX: usize = 4096;
/// A search ends by itself after a time; this is for its turn as well.
const ANSWER_WAIT: Duration = Duration::from_secs(25);
/// What is followed is sent at most so often, and so many rows of it at once.
const TAIL_SPACING: Duration = Duration::from_millis(250);
const TAIL_ROWS: usize = 100;
/// Without rows a comment shows that the connection stands.
const SILENCE: Duration = Duration::from_secs(15);

/// What is looked for: all of it is in the address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Search {
    query: String,
    stack: String,
    service: String,
    instance: String,
    range: Range,
    /// Only what is older, for going back page by page.
    until: Option<i64>,
    is_followed: bool,
}

impl Search {
    fn of(uri: &Uri) -> Self {
        let mut search = Self::default();
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            let value: String = value.chars().take(PARAMETER_MAX).collect();
            match &*name {
                "q" => search.query = value,
                "stack" => search.stack = value,
                "service" => search.service = value,
                "instance" => search.instance = value,
                "range" => search.range = Range::of(&value),
                "until" => search.until = value.parse().ok(),
                "follow" => search.is_followed = value == "1",
                _ => {}
            }
        }
        search
    }

    fn address(&self, path: &str) -> String {
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        let texts = [
            ("q", &self.query),
            ("stack", &self.stack),
            ("service", &self.service),
            ("instance", &self.instance),
        ];
        for (name, value) in texts.into_iter().filter(|(_, value)| !value.is_empty()) {
            pairs.append_pair(name, value);
        }
        if self.range != Range::default() {
            pairs.append_pair("range", self.range.word());
        }
        if let Some(until) = self.until {
            pairs.append_pair("until", &until.to_string());
        }
        if self.is_followed {
            pairs.append_pair("follow", "1");
        }
        let query = pairs.finish();
        if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
    }

    fn question(&self, now: Timestamp) -> RowQuestion {
        let from = self.until.unwrap_or(now.0).saturating_sub(self.range.seconds() * 1000);
        let instance = match self.instance.as_str() {
            "" => String::new(),
            // As a string of the query language, where nothing ends it early.
            id => format!("instance:\"{}\"", id.replace(['"', '\\'], "")),
        };
        let query = match (instance.is_empty(), self.query.trim().is_empty()) {
            (true, _) => self.query.clone(),
            (false, true) => instance,
            (false, false) => format!("{instance} ({})", self.query),
        };
        RowQuestion {
            query,
            stack: (!self.stack.is_empty()).then(|| self.stack.clone()),
            services: if self.service.is_empty() { Vec::new() } else { vec![self.service.clone()] },
            since: Some(Timestamp(from)),
            until: self.until.map(Timestamp),
            limit: Some(ROWS),
        }
    }

    /// `instance web-1 of web in shop`.
    fn place(&self) -> Option<String> {
        let words = [("instance ", &self.instance), ("service ", &self.service), ("stack ", &self.stack)];
        let named: Vec<_> = words
            .iter()
            .filter(|(_, name)| !name.is_empty())
            .map(|(word, name)| format!("{word}{name}"))
            .collect();
        (!named.is_empty()).then(|| named.join(" of "))
    }
}

/// The address of the rows of a service, for links.
pub fn of_service(stack: &str, service: &str) -> String {
    Search { stack: stack.into(), service: service.into(), ..Search::default() }.address("/logs")
}

/// The same of one instance.
pub fn of_instance(stack: &str, service: &str, slot: u32) -> String {
    let (stack, instance, service) = (stack.into(), format!("{service}-{slot}"), service.into());
    Search { stack, service, instance, ..Search::default() }.address("/logs")
}

pub async fn page(AppState(app): AppState<App>, Extension(caller): Extension<Caller>, uri: Uri) -> Response {
    let search = Search::of(&uri);
    let clock = Clock::system();
    let found = match app.control.rows() {
        Some(rows) => find(rows, &search, &clock).await,
        None => Err(Report::environment("what services write is not kept").hint("`daemon.log` says why")),
    };
    let content = html! {
        h1 { "Logs" }
        (form(&search))
        @match &found {
            Err(report) => (parts::report(report)),
            Ok(found) => (found.draw(&search, &clock)),
        }
    };
    let drawn = Drawn::of("Logs", vec![("Logs".into(), search.address("/logs"))], content);
    let status = match found {
        Err(report) if report.kind == model::ErrorKind::Usage => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    };
    (status, layout::page(&caller, &drawn)).into_response()
}

struct Found {
    answer: RowAnswer,
    counts: RowCounts,
    question: RowQuestion,
    to: Timestamp,
}

async fn find(rows: Arc<dyn Rows>, search: &Search, clock: &Clock) -> Result<Found, Report> {
    let question = search.question(clock.now);
    let interval = search.range.seconds() * 1000 / BARS;
    let by_level = RowCountQuestion {
        rows: RowQuestion { limit: None, ..question.clone() },
        interval_ms: u64::try_from(interval).ok(),
        fields: vec!["level".to_owned()],
    };
    let both =
        async { futures_util::future::join(rows.search(question.clone()), rows.count(by_level)).await };
    match timeout(ANSWER_WAIT, both).await {
        Ok((answer, counts)) => {
            let to = question.until.unwrap_or(clock.now);
            Ok(Found { answer: answer?, counts: counts?, question, to })
        }
        Err(_) => {
            Err(Report::environment("the search takes longer than 25 s").hint("choose a shorter range"))
        }
    }
}

fn form(search: &Search) -> Markup {
    html! {
        form #search method="get" action="/logs" role="search" {
            label.unseen for="q" { "Query" }
            input #q type="search" name="q" value=(plain(&search.query)) maxlength=(PARAMETER_MAX)
                placeholder="error timeout · level>=warn · status:503 · path:/\\/api\\/.*/" autocomplete="off" spellcheck="false";
            @for (name, value) in [("stack", &search.stack), ("service", &search.service), ("instance", &search.instance)] {
                @if !value.is_empty() { input type="hidden" name=(name) value=(plain(value)); }
            }
            label { span.unseen { "Range" } select name="range" {
                @for range in Range::ALL {
                    option value=(range.word()) selected[range == search.range] { (range.name()) }
                }
            } }
            label { input type="checkbox" name="follow" value="1" checked[search.is_followed]; " Follow" }
            button.main type="submit" { "Search" }
        }
        @if let Some(place) = search.place() {
            p.quiet { "Of " (plain(&place)) ". " a href=(Search { query: search.query.clone(), ..Search::default() }.address("/logs")) { "Search everywhere" } }
        }
    }
}

impl Found {
    fn draw(&self, search: &Search, clock: &Clock) -> Markup {
        let tail = search.is_followed.then(|| Search { until: None, ..search.clone() }.address("/tail"));
        html! {
            (self.bars(search, clock))
            section #rows {
                h2.unseen { "Rows" }
                @if self.answer.has_more && let Some(oldest) = self.answer.rows.first() {
                    @let before = Search { until: Some(oldest.time_ns.div_euclid(1_000_000)), is_followed: false, ..search.clone() };
                    p { "The newest " (self.answer.rows.len()) ". " a href=(before.address("/logs")) rel="next" { "Older" } }
                }
                @if self.answer.is_cut || self.counts.is_cut {
                    p.error { "The search was ended by its limits of time or memory. Choose a shorter range." }
                }
                @if self.answer.rows.is_empty() && tail.is_none() {
                    p.quiet { "Nothing was found between " (parts::time(self.question.since.unwrap_or(self.to), clock)) " and " (parts::time(self.to, clock)) "." }
                } @else {
                    div.log.rows role="log" tabindex="0" aria-label="Rows" data-tail=[tail] {
                        @for row in &self.answer.rows { (row_of(row, clock)) }
                    }
                }
            }
        }
    }

    /// How many rows there were, one line of bars for each sort of level.
    fn bars(&self, search: &Search, clock: &Clock) -> Markup {
        let span = search.range.seconds() * 1000;
        let from = self.to.0 - span;
        let mut sorts = [("errors", State::Failed), ("warnings", State::Unhealthy), ("others", State::Done)]
            .map(|(name, look)| (name, look, vec![0u64; BARS as usize]));
        for count in &self.counts.counts {
            let sort = match count.values.first().map_or("", String::as_str) {
                "error" | "fatal" => 0,
                "warn" => 1,
                _ => 2,
            };
            let at = count.at.map_or(0, |at| (at.0 - from) * BARS / span).clamp(0, BARS - 1);
            sorts[sort].2[at as usize] += count.rows;
        }
        html! {
            section #counts {
                h2.unseen { "Rows over time" }
                @for (name, look, bars) in &sorts {
                    div.bars {
                        span { @if *look == State::Done { (name) } @else { (parts::labelled(*look, name)) } }
                        (chart::bars(bars))
                        span.number { (bars.iter().sum::<u64>()) }
                    }
                }
                div.bars.quiet { span {} div.foot { (parts::time(Timestamp(from), clock)) (parts::time(self.to, clock)) } span {} }
            }
        }
    }
}

/// One row; its level has a shape and a word.
fn row_of(row: &KeptRow, clock: &Clock) -> Markup {
    let at = Timestamp(row.time_ns.div_euclid(1_000_000));
    html! {
        div {
            (parts::time(at, clock)) " " (level(&row.level)) " "
            @if !row.instance.is_empty() { span.quiet { (plain(&row.instance)) } " " }
            (cut(&plain(&row.text), ROW_MAX))
            @if let Some(trace) = trace_of(&row.text) { " " a href=(super::traces::address(&trace)) { "trace" } }
        }
    }
}

fn level(level: &str) -> Markup {
    html! {
        @match level {
            "" => {},
            "error" | "fatal" => span.level.bad { (parts::icon(State::Failed)) (level) },
            "warn" => span.level.warn { (parts::icon(State::Unhealthy)) (level) },
            other => span.level.quiet { (plain(other)) },
        }
    }
}

/// Rows as they come.
pub async fn tail(AppState(app): AppState<App>, Extension(caller): Extension<Caller>, uri: Uri) -> Response {
    let search = Search::of(&uri);
    let question =
        RowQuestion { since: None, until: None, limit: None, ..search.question(Clock::system().now) };
    let followed = match app.control.rows() {
        Some(rows) => rows.follow(question).await,
        None => Err(Report::environment("what services write is not kept")),
    };
    let receiver = match followed {
        Ok(receiver) => receiver,
        Err(report) => return refusal(Failure::from(report)),
    };
    let tail = Tail { app, caller, receiver };
    event_stream(stream::unfold(tail, |mut tail| async move {
        let sent = tail.next().await?;
        Some((Ok(sent), tail))
    }))
}

struct Tail {
    app: App,
    caller: Caller,
    receiver: mpsc::Receiver<KeptRow>,
}

impl Tail {
    /// What has come since the last time; `None` when the session or the rows have ended.
    async fn next(&mut self) -> Option<Bytes> {
        tokio::time::sleep(TAIL_SPACING).await;
        let first = match timeout(SILENCE, self.receiver.recv()).await {
            Ok(row) => row?,
            Err(_) => return self.is_signed_in().then(|| Bytes::from_static(b": here\n\n")),
        };
        if !self.is_signed_in() {
            return None;
        }
        let clock = Clock::system();
        let mut rows = vec![first];
        while rows.len() < TAIL_ROWS
            && let Ok(row) = self.receiver.try_recv()
        {
            rows.push(row);
        }
        let drawn = html! { @for row in &rows { (row_of(row, &clock)) } };
        Some(event("rows", &drawn.into_string()))
    }

    fn is_signed_in(&self) -> bool {
        match &self.caller {
            Caller::Browser { secret, .. } => self.app.access.session(secret).is_some(),
            Caller::Local { .. } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(address: &str) -> Search {
        Search::of(&address.parse().expect("an address"))
    }

    #[test]
    fn a_search_is_its_address() {
        for address in [
            "/logs",
            "/logs?q=level%3E%3Dwarn+%22a%26b%22&stack=shop&service=web&range=7d&follow=1",
            "/logs?until=5",
        ] {
            assert_eq!(search(address).address("/logs"), address);
        }
        let long = format!("/logs?q={}", "x".repeat(9000));
        assert_eq!(search(&long).query.len(), PARAMETER_MAX);
        assert_eq!(search("/logs?range=nothing&until=x").address("/logs"), "/logs");
    }

    #[test]
    fn an_instance_narrows_and_never_widens() {
        let question = |address: &str| search(address).question(Timestamp(10_000_000)).query;
        assert_eq!(question("/logs?instance=web-1"), "instance:\"web-1\"");
        assert_eq!(question("/logs?instance=web-1&q=a+OR+b"), "instance:\"web-1\" (a OR b)");
        assert_eq!(question("/logs?instance=x%22+OR+*"), "instance:\"x OR *\"");
        let asked = search("/logs?range=6h&until=30000000").question(Timestamp(0));
        assert_eq!((asked.since, asked.until), (Some(Timestamp(8_400_000)), Some(Timestamp(30_000_000))));
    }
}
