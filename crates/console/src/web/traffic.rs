//! What passes through the gateway at the moment, on a service's page: the same figures as those of
//! `juchu top`, from two looks at the gateway's counts that all who look share.

use super::parts::{NBSP, labelled, plain};
use crate::traffic::{self, Figures, Names, Row, View};
use maud::{Markup, html};
use model::flow::Status;
use model::{DurationMs, InstanceId, ServiceName, StackName};
use run::control::{Control, State};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// Looks that are closer are one.
const SPACING: Duration = Duration::from_secs(1);
/// What is older says nothing about the present.
const STALE: Duration = Duration::from_secs(10);
/// A gateway that does not answer does not hold up the page.
const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// The last two looks.
#[derive(Clone, Default)]
pub struct Looks(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    before: Option<Status>,
    last: Option<(Instant, Status)>,
}

/// What happened to a service over a time.
pub struct Passed {
    view: View,
    span: DurationMs,
    /// Nobody has looked lately: it is everything since the gateway started.
    is_all: bool,
}

impl Looks {
    /// Looks again unless somebody just did; nothing when the gateway does not answer.
    pub async fn of(&self, control: &dyn Control, service: String, names: &Names) -> Option<Passed> {
        let mut kept = self.0.lock().await;
        let age = kept.last.as_ref().map(|(at, _)| at.elapsed());
        if age.is_none_or(|age| age >= SPACING) {
            let status = timeout(ANSWER_WAIT, control.traffic()).await.ok()?.ok()?;
            let last = kept.last.replace((Instant::now(), status));
            kept.before = last.filter(|_| age.is_some_and(|age| age < STALE)).map(|(_, status)| status);
        }
        let (_, now) = kept.last.as_ref()?;
        let before = kept.before.as_ref().filter(|one| one.pid == now.pid && one.uptime_ms < now.uptime_ms);
        // Another gateway counts from nothing.
        let nothing = Status { pid: 0, ..now.clone() };
        let span = DurationMs(now.uptime_ms - before.map_or(0, |before| before.uptime_ms));
        let view = View::between(before.unwrap_or(&nothing), now, &[service], names);
        Some(Passed { view, span, is_all: before.is_none() })
    }
}

pub fn section(passed: Option<&Passed>, stack: &StackName, service: &ServiceName) -> Markup {
    let of = format!("{stack}/{service}");
    html! {
        section #traffic {
            h2 { "Traffic" }
            @match passed {
                None => p.quiet { "The gateway does not answer; " code { "juchu doctor" } " tells more." },
                Some(Passed { view, .. }) if view.routes.is_empty() && view.instances.is_empty() => {
                    p.quiet { "Nothing of it passes through the gateway: it has no port." }
                }
                Some(passed) => (table(passed, &of)),
            }
        }
    }
}

fn table(passed: &Passed, of: &str) -> Markup {
    let Passed { view, span, is_all } = passed;
    // The time between two looks is never the same; numbers of it would only distract.
    let over = match is_all {
        true => format!("Since the gateway started, {}{}ago.", with_unit(&span.to_string()), NBSP),
        false => "Over the last seconds.".to_owned(),
    };
    html! {
        table {
            thead { tr {
                th scope="col" { "State" } th scope="col" { "Address, route, instance" }
                th.number scope="col" { "Requests/s" } th.number scope="col" { "Errors/s" }
                th.number scope="col" { "Median" } th.number scope="col" { "99" (NBSP) "%" }
                th.number.wide scope="col" { "5xx/s" } th.number.wide scope="col" { "4xx/s" }
                th.number.wide scope="col" { "Active" } th.number.wide scope="col" { "Sent/s" }
            } }
            tbody {
                @for (index, one) in view.routes.iter().chain(&view.instances).enumerate() {
                    (row(index, one, of))
                }
            }
        }
        p.quiet { (over) }
    }
}

fn row(index: usize, row: &Row, of: &str) -> Markup {
    let Figures { requests, errors, server_errors, client_errors, bytes_out, active, p50_us, p99_us, .. } =
        row.figures;
    let time = |us: Option<u64>| us.map(|us| with_unit(&traffic::time(us))).unwrap_or_default();
    let (look, words) = row.state().unwrap_or_else(|| in_use(&row.figures));
    html! {
        tr #{ "traffic-" (index) } {
            td { (labelled(look, &words)) }
            td {
                @if let Some(address) = address(row, of) { a href=(address) { (plain(&row.name)) } }
                @else { (plain(&row.name)) }
            }
            td.number data-name="requests/s" { (traffic::rate(requests)) }
            td.number data-name="errors/s" { (traffic::rate(errors)) }
            td.number data-name="median" { (time(p50_us)) }
            td.number data-name="99 %" { (time(p99_us)) }
            td.number.wide { (traffic::rate(server_errors)) }
            td.number.wide { (traffic::rate(client_errors)) }
            td.number.wide { (active) }
            td.number.wide { (with_unit(&traffic::bytes(bytes_out))) }
        }
    }
}

/// The page of a route or an instance of the service `of`.
fn address(row: &Row, of: &str) -> Option<String> {
    let (stack, service) = of.split_once('/')?;
    let at = format!("/stacks/{stack}/services/{service}");
    match &row.instance {
        Some(id) => InstanceId::new(id.as_str()).ok().map(|id| format!("{at}/instances/{id}")),
        None => row
            .name
            .strip_prefix(of)?
            .strip_prefix('#')?
            .parse::<u32>()
            .ok()
            .map(|n| format!("{at}/routes/{n}")),
    }
}

/// How an address, a route or a service looks that has no state of its own.
fn in_use(figures: &Figures) -> (State, String) {
    let (look, word) = match figures {
        figures if figures.errors > 0.0 => (State::Unhealthy, "errors"),
        figures if figures.requests > 0.0 || figures.active > 0 => (State::Ready, "in use"),
        _ => (State::Stopped, "idle"),
    };
    (look, word.to_owned())
}

fn with_unit(text: &str) -> String {
    text.replace(' ', NBSP)
}
