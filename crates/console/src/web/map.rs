//! Who calls whom: the map, and the same as a table.

use super::graph;
use super::layout;
use super::pages::Drawn;
use super::parts::{self, plain};
use super::subject::Subject;
use super::unit::Unit;
use crate::caller::Caller as Looker;
use crate::calls::{self, Call, CallMap, Caller};
use crate::serve::App;
use crate::when::Clock;
use axum::Extension;
use axum::extract::State as AppState;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use run::control::State;

/// Times that can be chosen, in minutes.
const PERIODS: [(u32, &str); 3] = [(5, "5 minutes"), (60, "1 hour"), (360, "6 hours")];

pub async fn page(AppState(app): AppState<App>, Extension(looker): Extension<Looker>, uri: Uri) -> Response {
    let minutes = minutes_of(&uri);
    let content = match calls::map(&app.shelf, minutes, Clock::system().now).await {
        Err(report) => html! { h1 { "Who calls whom" } (parts::report(&report)) },
        Ok(map) => draw(&map),
    };
    let drawn = Drawn::of("Map", vec![("Map".into(), format!("/map?minutes={minutes}"))], content);
    layout::page(&looker, &drawn).into_response()
}

fn minutes_of(uri: &Uri) -> u32 {
    let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let asked =
        pairs.into_iter().find(|(name, _)| name == "minutes").and_then(|(_, minutes)| minutes.parse().ok());
    asked.filter(|minutes| PERIODS.iter().any(|(known, _)| known == minutes)).unwrap_or(PERIODS[0].0)
}

fn draw(map: &CallMap) -> Markup {
    html! {
        h1 { (sentence(map)) }
        nav.ranges aria-label="Time" {
            @for (minutes, name) in PERIODS {
                a href={ "/map?minutes=" (minutes) } aria-current=[(minutes == map.minutes).then_some("true")] { (name) }
            }
        }
        @if map.calls.is_empty() {
            p { "Nothing has passed the gateway in this time." }
        } @else {
            (graph::draw(&map.calls, address))
            (table(map))
        }
        p.quiet {
            "Counted by the gateway, which every connection between services passes, but for those of services with "
            code { "x-juchu.direct" } " and datagrams. " code { "juchu map" } " shows the same."
        }
    }
}

fn sentence(map: &CallMap) -> String {
    let worst = map.calls.iter().filter(|call| call.errors > 0.0).max_by(|a, b| {
        let weight = |call: &Call| call.errors;
        weight(a).total_cmp(&weight(b))
    });
    match worst {
        _ if map.calls.is_empty() => "Nobody calls anybody.".to_owned(),
        None => "All calls are answered.".to_owned(),
        Some(call) => {
            let text = format!(
                "{} of what {} asks of {} fails.",
                graph::percent(call.failed()),
                call.caller,
                call.called()
            );
            plain(&text).into_owned()
        }
    }
}

/// The page of a service, `stack/service`.
fn address(name: &str) -> Option<String> {
    let (stack, service) = name.split_once('/')?;
    Subject::service(stack, service).ok().map(|subject| subject.address())
}

fn table(map: &CallMap) -> Markup {
    html! {
        section #calls {
            h2 { "Calls" }
            table {
                thead { tr {
                    th scope="col" { "State" } th scope="col" { "Caller" } th scope="col" { "Calls" }
                    th.number scope="col" { "Requests/s" } th.number scope="col" { "Failed" }
                    th.number scope="col" { "Median" } th.number scope="col" { "95\u{a0}%" }
                    th.number scope="col" { "Open" } th.number.wide scope="col" { "Received" } th.number.wide scope="col" { "Sent" }
                } }
                tbody { @for call in &map.calls { (row(call)) } }
            }
        }
    }
}

fn row(call: &Call) -> Markup {
    let (look, word) = match call.failed() {
        none if none <= 0.0 => (State::Ready, "answered"),
        some if some < 0.5 => (State::Unhealthy, "some fail"),
        _ => (State::Failed, "fail"),
    };
    let named = |name: &str, more: &str| {
        html! {
            @match address(name) { Some(address) => a href=(address) { (plain(name)) }, None => (plain(name)) } (plain(more))
        }
    };
    let time = |seconds: Option<f64>| seconds.map(|s| Unit::Seconds.text(s)).unwrap_or_default();
    let rate = |value: f64| if value > 0.0 { Unit::BytesPerSecond.text(value) } else { String::new() };
    let is_http = call.requests > 0.0;
    let port = if call.port.is_empty() { String::new() } else { format!(":{}", call.port) };
    html! {
        tr {
            td { (parts::labelled(look, word)) }
            td { @match &call.caller { Caller::Service(name) => (named(name, "")), other => (other) } }
            td.called data-name="calls" { (named(&call.called(), &port)) }
            td.number data-name="requests/s" { @if is_http { (calls::rate(call.requests)) } }
            td.number data-name="failed" { (graph::percent(call.failed())) }
            td.number data-name="median" { (time(call.median_s)) }
            td.number data-name="95 %" { (time(call.p95_s)) }
            td.number data-name="open" { @if !is_http { (call.open) } }
            td.number.wide { (rate(call.received)) }
            td.number.wide { (rate(call.sent)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_times_are_asked_for() {
        let minutes = |address: &str| minutes_of(&address.parse().expect("an address"));
        assert_eq!((minutes("/map?minutes=60"), minutes("/map?minutes=61"), minutes("/map")), (60, 5, 5));
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        let drawn = draw(&CallMap { minutes: 5, calls: Vec::new() }).into_string();
        assert!(drawn.contains("Nobody calls anybody.") && !drawn.contains("<svg"));
    }
}
