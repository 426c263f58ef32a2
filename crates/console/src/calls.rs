//! Who calls whom, over the last minutes, from what was measured at the gateway.
//!
//! The forms here are version 1 of the API; fields are added, never renamed.

use crate::measured::{Asked, Course, Shelf};
use model::{Report, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub use model::flow::Caller;

/// Minutes unless asked for otherwise, and the most.
pub const MINUTES: u32 = 5;
pub const MINUTES_MAX: u32 = 360;
/// All who ask within so long get the same.
const MOVES_MS: i64 = 5_000;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CallMap {
    /// How long it looks back.
    pub minutes: u32,
    /// The busiest first.
    pub calls: Vec<Call>,
}

/// What one service has of another. Rates are for each second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    pub caller: Caller,
    pub stack: String,
    pub service: String,
    /// With `/udp` behind it for datagrams; empty: several that are too many to be told apart.
    pub port: String,
    /// Over HTTP.
    pub requests: f64,
    /// Requests that failed or were answered with 500 and above, and connections that were not served.
    pub errors: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub median_s: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_s: Option<f64>,
    /// Other connections than those of HTTP: begun, and open now.
    pub connections: f64,
    pub open: u64,
    pub received: f64,
    pub sent: f64,
}

impl Call {
    /// `shop/db`
    pub fn called(&self) -> String {
        match self.service.as_str() {
            "" => "others".to_owned(),
            _ => format!("{}/{}", self.stack, self.service),
        }
    }

    /// The share of its requests, or connections, that failed.
    pub fn failed(&self) -> f64 {
        let all = self.requests + self.connections;
        if self.errors > 0.0 { (self.errors / all.max(self.errors)).min(1.0) } else { 0.0 }
    }
}

/// `<0.1`, `3.5`, `1200`: what is there is never nothing.
pub fn rate(value: f64) -> String {
    if value > 0.0 && value < 0.05 { "<0.1".to_owned() } else { crate::traffic::rate(value) }
}

const BY: &str = "caller, caller_stack, port, service, stack";
/// What is asked for, in the order of [`Call`]'s numbers; `$by` and `$range` are filled in.
const FIGURES: [&str; 8] = [
    "sum by ($by) (rate(juchu_calls_requests_total[$range]))",
    "sum by ($by) (rate(juchu_calls_errors_total[$range]))",
    "histogram_quantile(0.5, sum by (le, $by) (rate(juchu_calls_duration_seconds_bucket[$range])))",
    "histogram_quantile(0.95, sum by (le, $by) (rate(juchu_calls_duration_seconds_bucket[$range])))",
    "sum by ($by) (rate(juchu_calls_connections_total[$range]))",
    "sum by ($by) (juchu_calls_active)",
    "sum by ($by) (rate(juchu_calls_received_bytes_total[$range]))",
    "sum by ($by) (rate(juchu_calls_sent_bytes_total[$range]))",
];
/// Their places.
const REQUESTS: usize = 0;
const ERRORS: usize = 1;
const MEDIAN: usize = 2;
const P95: usize = 3;
const CONNECTIONS: usize = 4;
const OPEN: usize = 5;
const RECEIVED: usize = 6;
const SENT: usize = 7;

/// Asks for the map of the last minutes.
pub async fn map(shelf: &Shelf, minutes: u32, now: Timestamp) -> Result<CallMap, Report> {
    if !shelf.has_source() {
        return Err(Report::environment("nothing is measured, so nobody knows who calls whom")
            .hint("`daemon.log` says why"));
    }
    let at = Timestamp(now.0.div_euclid(MOVES_MS) * MOVES_MS);
    let asked = FIGURES.map(|figure| Asked {
        expression: figure.replace("$by", BY).replace("$range", &format!("{minutes}m")),
        from: at,
        to: at,
        step_ms: 1000,
    });
    let mut all: BTreeMap<Vec<String>, [Option<f64>; 8]> = BTreeMap::new();
    for (place, (answer, asked)) in shelf.ask_all(&asked).await.into_iter().zip(&asked).enumerate() {
        for course in answer?.iter() {
            all.entry(key(course)).or_default()[place] = course.last(asked);
        }
    }
    let mut calls: Vec<Call> = all.into_iter().filter_map(|(key, values)| call(key, values)).collect();
    let weight = |call: &Call| call.requests + call.connections;
    calls.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    Ok(CallMap { minutes, calls })
}

fn key(course: &Course) -> Vec<String> {
    BY.split(", ").map(|label| course.label(label).to_owned()).collect()
}

/// As its series are labelled.
fn caller_of(stack: &str, name: &str) -> Caller {
    match (stack, name) {
        ("", "outside") => Caller::Outside,
        ("", "host") => Caller::Host,
        ("", "others") => Caller::Others,
        ("", _) => Caller::Unknown,
        _ => Caller::Service(format!("{stack}/{name}")),
    }
}

/// What has neither traffic nor an open connection is not shown.
fn call(key: Vec<String>, values: [Option<f64>; 8]) -> Option<Call> {
    let [caller, caller_stack, port, service, stack] = <[String; 5]>::try_from(key).ok()?;
    let number = |place: usize| values[place].unwrap_or_default();
    let call = Call {
        caller: caller_of(&caller_stack, &caller),
        stack,
        service,
        port,
        requests: number(REQUESTS),
        errors: number(ERRORS),
        median_s: values[MEDIAN],
        p95_s: values[P95],
        connections: number(CONNECTIONS),
        open: number(OPEN).max(0.0) as u64,
        received: number(RECEIVED),
        sent: number(SENT),
    };
    let is_idle = call.requests + call.errors + call.connections + call.received + call.sent <= 0.0;
    (!is_idle || call.open > 0).then_some(call)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::measured::FakeMeasured;
    use std::sync::Arc;
    use std::sync::atomic::Ordering::SeqCst;

    #[tokio::test]
    async fn a_map_is_put_together_from_what_was_measured() {
        let source = Arc::new(FakeMeasured::default());
        let shelf = Shelf::new(Some(source.clone()));
        let map = map(&shelf, 5, crate::fake::NOW).await.expect("measured");
        let lines: Vec<String> = map
            .calls
            .iter()
            .map(|call| {
                format!(
                    "{} → {}:{} {:.1}/s {:.1}/s",
                    call.caller,
                    call.called(),
                    call.port,
                    call.requests,
                    call.connections
                )
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        outside → guestbook/web:8000 152.4/s 0.0/s
        guestbook/web → guestbook/mailer:8080 12.5/s 0.0/s
        guestbook/mailer → guestbook/web:8000 0.4/s 0.0/s
        this host → guestbook/web:8000 0.2/s 0.0/s
        guestbook/web → guestbook/db:5432 0.0/s 0.2/s
        guestbook/web → guestbook/cache:6379 0.0/s 0.1/s
        guestbook/mailer → guestbook/db:5432 0.0/s 0.1/s
        shop/reports → guestbook/db:5432 0.0/s 0.0/s
        ");
        let web = &map.calls[0];
        assert!(web.median_s < web.p95_s && web.failed() > 0.0 && web.failed() < 0.1, "{web:?}");
        source.fails.store(true, SeqCst);
        assert!(super::map(&shelf, 6, crate::fake::NOW).await.is_err(), "a failure is told");
        assert!(super::map(&Shelf::new(None), 5, crate::fake::NOW).await.is_err());
    }

    #[test]
    fn callers_that_are_no_services_are_none_whatever_services_are_called() {
        assert_eq!(caller_of("", "host"), Caller::Host);
        assert_eq!(caller_of("shop", "host"), Caller::Service("shop/host".into()));
        assert_eq!(serde_json::to_string(&Caller::Service("a/b".into())).unwrap(), r#"{"service":"a/b"}"#);
        assert_eq!(serde_json::to_string(&Caller::Outside).unwrap(), r#""outside""#);
    }
}
