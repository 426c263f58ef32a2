//! Pieces that pages are made of. `html!` escapes whatever is put into it; text from programs is
//! also freed of control characters.

use super::verdict::word_of;
use crate::access::Session;
use crate::story::{Change, Incident, incident_word, place_of};
use crate::text::{beyond, cut, without_controls};
use crate::when::Clock;
use crate::words::{by, certificate_is_lacking, certificate_text, figures_text};
use maud::{Markup, PreEscaped, html};
use model::certificate::CertificateStatus;
use model::instance::Health;
use model::{Bytes, DurationMs, Report, StackName, Timestamp};
use run::control::{Address, InstanceStatus, ServiceLine, ServiceStatus, StackStatus, State};
use run::engine::LogStream;
use std::borrow::Cow;
use store::record::v1::{Outcome, Seen, ServiceFigures};

/// Keeps a number and its unit on one line.
pub const NBSP: &str = "\u{a0}";
/// Characters of a log line that are shown.
const LINE_MAX: usize = 400;
/// Characters of a value before and after.
const VALUE_MAX: usize = 120;
/// Differences of one change, and services whose numbers are shown.
const DIFFERENCES_MAX: usize = 50;

/// Text from elsewhere goes into a page through here.
pub fn plain(text: &str) -> Cow<'_, str> {
    without_controls(text, false)
}

/// Each state has its own shape, so that colour is never alone.
pub fn icon(state: State) -> Markup {
    let (class, shape) = match state {
        State::Ready => ("good", r#"<circle cx="8" cy="8" r="7"/><path d="M5 8.2l2.2 2.3 4-4.8"/>"#),
        State::Done => ("quiet", r#"<path d="M2.5 8.5l3.7 4 7.3-9"/>"#),
        State::Stopped => ("quiet", r#"<rect x="2.5" y="2.5" width="11" height="11" rx="1"/>"#),
        State::Starting => ("busy", r#"<circle cx="8" cy="8" r="6.5"/><path d="M8 4v4h3.5"/>"#),
        State::Stopping => ("busy", r#"<circle cx="8" cy="8" r="6.5"/><path d="M5 8h6"/>"#),
        State::Unhealthy => ("warn", r#"<path d="M8 1.5l7 13H1z"/><path d="M8 6v4.2M8 12v.6"/>"#),
        State::Failed => {
            ("bad", r#"<rect x="1.5" y="1.5" width="13" height="13" rx="3"/><path d="M5 5l6 6M11 5l-6 6"/>"#)
        }
    };
    html! { svg.icon.(class) viewBox="0 0 16 16" aria-hidden="true" { (PreEscaped(shape)) } }
}

/// Icon and word.
pub fn state(state: State) -> Markup {
    labelled(state, word_of(state))
}

pub fn labelled(look: State, word: &str) -> Markup {
    html! { span.state { (icon(look)) (word) } }
}

pub fn report(report: &Report) -> Markup {
    html! {
        p.error { (plain(&report.error)) }
        @for hint in &report.hints { p.hint { span.quiet { "Hint: " } (hinted(hint)) } }
    }
}

/// Commands stand between back quotes.
fn hinted(hint: &str) -> Markup {
    html! {
        @for (position, part) in hint.split('`').enumerate() {
            @if position % 2 == 1 { code { (plain(part)) } } @else { (plain(part)) }
        }
    }
}

pub fn form_token(session: &Session) -> Markup {
    html! { input type="hidden" name="token" value=(session.form_token); }
}

/// One small form for each action; `words` are also the ends of their addresses.
pub fn actions(session: Option<&Session>, address: &str, words: &[&str]) -> Markup {
    html! {
        div #actions {
            @for word in words {
                form method="post" action={ (address) "/" (word) } {
                    @if let Some(session) = session { (form_token(session)) }
                    button type="submit" { (capital(word)) }
                }
            }
        }
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// What is going on, where it is reached, what release, from where.
pub fn stack_line(stack: &StackStatus) -> Markup {
    html! {
        @if let Some(pending) = &stack.pending { p #pending { (labelled(State::Starting, &plain(pending))) } }
        ul.facts {
            @for address in &stack.addresses { li { (reach(address)) } }
            @if let Some(release) = stack.release { li { "release " (release) } }
            li.quiet { (plain(&stack.directory)) }
        }
    }
}

pub fn service_line(service: &ServiceStatus, addresses: &[Address], clock: &Clock) -> Markup {
    html! {
        @if let Some(certificate) = &service.certificate { (certificate_line(certificate, clock)) }
        ul.facts {
            @for address in addresses.iter().filter(|a| a.service == service.name) { li { (reach(address)) } }
            @if !service.ports.is_empty() { li { (ports(service)) } }
            li.quiet { (plain(&service.image)) }
        }
    }
}

fn certificate_line(status: &CertificateStatus, clock: &Clock) -> Markup {
    let look = match (certificate_is_lacking(status, clock), &status.problem) {
        (false, _) => State::Ready,
        (true, Some(_)) => State::Unhealthy,
        (true, None) => State::Starting,
    };
    html! {
        p #certificate {
            (labelled(look, "Certificate"))
            " " (plain(&status.hosts.join(", "))) ": " (plain(&certificate_text(status, clock)))
        }
    }
}

/// Only what a browser can open is a link.
fn reach(address: &Address) -> Markup {
    html! {
        @if address.url.starts_with("http://") || address.url.starts_with("https://") {
            a href=(plain(&address.url)) rel="noopener" { (plain(&address.url)) }
        } @else { (plain(&address.url)) }
        @if let Some(us) = address.first_byte_us {
            span.quiet { " first byte in " (milliseconds(us)) }
        }
    }
}

fn milliseconds(us: u64) -> String {
    match us {
        us if us < 10_000 => format!("{}.{}{NBSP}ms", us / 1000, us % 1000 / 100),
        us => format!("{}{NBSP}ms", us / 1000),
    }
}

fn ports(service: &ServiceStatus) -> String {
    plain(&service.ports.join(", ")).replace("->", " → ")
}

pub fn services(stack: &StackStatus, services: &[&ServiceStatus]) -> Markup {
    if services.is_empty() {
        return html! { p.quiet { "No services." } };
    }
    html! {
        table {
            thead { tr {
                th scope="col" { "State" } th scope="col" { "Service" } th.number scope="col" { "Ready" }
                th scope="col" { "Condition" } th.wide scope="col" { "Ports" } th.wide scope="col" { "Image" }
            } }
            tbody {
                @for service in services {
                    tr #{ "service-" (stack.name) "-" (service.name) } {
                        td { (state(service.state)) }
                        td { a href={ "/stacks/" (stack.name) "/services/" (service.name) } { (service.name) } }
                        td.number { (service.ready) "/" (service.replicas) }
                        td.text { (plain(beyond(word_of(service.state), &service.text))) }
                        td.wide.quiet { (ports(service)) }
                        td.wide.quiet { (plain(&service.image)) }
                    }
                }
            }
        }
    }
}

pub fn instances<'a>(
    stack: &StackName,
    of: impl IntoIterator<Item = (&'a ServiceStatus, &'a [InstanceStatus])>,
    clock: &Clock,
) -> Markup {
    let rows: Vec<_> = of.into_iter().flat_map(|(s, list)| list.iter().map(move |i| (s, i))).collect();
    if rows.is_empty() {
        return html! { p.quiet { "No instances." } };
    }
    html! {
        table {
            thead { tr {
                th scope="col" { "State" } th scope="col" { "Instance" } th scope="col" { "Condition" }
                th scope="col" { "Since" } th.number scope="col" { "Memory" }
                th.number.wide scope="col" { "Processor" } th.number.wide scope="col" { "Starts" }
                th.wide scope="col" { "Release" }
            } }
            tbody {
                @for (service, instance) in rows {
                    tr #{ "instance-" (instance.id) } {
                        td { (state(instance.state)) }
                        td {
                            a href={ "/stacks/" (stack) "/services/" (service.name) "/instances/" (instance.id) } {
                                (service.name) " " (instance.slot)
                            }
                        }
                        td.text { (condition(instance)) }
                        td { @if let Some(since) = instance.since { (time(since, clock)) } }
                        td.number { (memory(instance)) }
                        td.number.wide { (processor(instance)) }
                        td.number.wide { (instance.starts) }
                        td.wide.quiet { (instance.release) }
                    }
                }
            }
        }
    }
}

fn condition(instance: &InstanceStatus) -> String {
    let health = match instance.health {
        Health::Unchecked => "",
        Health::Starting => "waits for its first check",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    };
    match beyond(word_of(instance.state), &instance.text) {
        "" => health.to_owned(),
        text => plain(text).into_owned(),
    }
}

fn memory(instance: &InstanceStatus) -> String {
    instance.memory_bytes.map(|bytes| with_unit(&Bytes(bytes).to_string())).unwrap_or_default()
}

fn processor(instance: &InstanceStatus) -> String {
    instance.cpu_us.map(|us| with_unit(&DurationMs(us / 1000).to_string())).unwrap_or_default()
}

fn with_unit(text: &str) -> String {
    text.replace(' ', NBSP)
}

/// Keeps only what stands after a number at its number.
fn with_units(text: &str) -> String {
    let mut spaced = String::with_capacity(text.len());
    let mut after_number = false;
    for word in text.split(' ') {
        if !spaced.is_empty() {
            spaced.push_str(if after_number { NBSP } else { " " });
        }
        spaced.push_str(word);
        after_number = word.ends_with(|letter: char| letter.is_ascii_digit());
    }
    spaced
}

pub fn changes(changes: &[&Change], clock: &Clock, with_stack: bool) -> Markup {
    html! {
        ol.changes {
            @for change in changes {
                li #{ "change-" (change.number) } {
                    div.head {
                        (outcome(change))
                        b { (change.what()) }
                        @if with_stack && let Some(stack) = &change.stack { span { "in " (stack) } }
                        span { (plain(&by(&change.actor))) }
                        (time(change.at, clock))
                    }
                    @if let Some(ending) = &change.ending {
                        div.quiet {
                            (plain(&ending.reason)) " (" (with_unit(&ending.took.to_string()))
                            @if !change.release_text().is_empty() { ", release " (change.release_text()) }
                            ")"
                        }
                    } @else if let Some(back) = &change.going_back {
                        div.quiet {
                            @if let Some(release) = back.release { "back to release " (release) ": " }
                            (plain(&back.cause))
                        }
                    }
                    @if !change.why.is_empty() { div { "“" (plain(&change.why)) "”" } }
                    (details(change))
                }
            }
        }
    }
}

fn outcome(change: &Change) -> Markup {
    let look = match (&change.ending, &change.going_back) {
        (Some(ending), _) => look_of_outcome(ending.outcome),
        (None, Some(_)) => State::Stopping,
        (None, None) => State::Starting,
    };
    labelled(look, change.outcome_word())
}

/// The shape and colour of an outcome.
pub const fn look_of_outcome(outcome: Outcome) -> State {
    match outcome {
        Outcome::Kept => State::Ready,
        Outcome::Unchanged => State::Done,
        Outcome::Failed => State::Failed,
        Outcome::RolledBack | Outcome::Undecided => State::Unhealthy,
        Outcome::Superseded => State::Stopped,
    }
}

/// What differed, and what was measured.
fn details(change: &Change) -> Markup {
    let differences = &change.differences;
    let figures = change.ending.as_ref().map(|ending| ending.figures.as_slice()).unwrap_or_default();
    let count = match differences.len() {
        0 => None,
        1 => Some("1 difference".to_owned()),
        number => Some(format!("{number} differences")),
    };
    let numbers = (!figures.is_empty()).then(|| "numbers".to_owned());
    let summary: Vec<_> = count.into_iter().chain(numbers).collect();
    if summary.is_empty() {
        return html! {};
    }
    html! {
        details {
            summary { (summary.join(", ")) }
            ul {
                @for difference in differences.iter().take(DIFFERENCES_MAX) {
                    li { (plain(&place_of(difference))) ": " (value(difference.before.as_deref())) " → " (value(difference.after.as_deref())) }
                }
                @if differences.len() > DIFFERENCES_MAX { li.quiet { "and " (differences.len() - DIFFERENCES_MAX) " more" } }
                @for figures in figures.iter().take(DIFFERENCES_MAX) { li { (numbers_of(figures)) } }
            }
        }
    }
}

fn numbers_of(figures: &ServiceFigures) -> String {
    format!("{}: {}", figures.service, with_units(&figures_text(figures)))
}

fn value(value: Option<&str>) -> Markup {
    html! {
        @match value {
            Some(value) => code { (cut(&plain(value), VALUE_MAX)) },
            None => span.quiet { "nothing" },
        }
    }
}

pub fn incidents(incidents: &[&Incident], clock: &Clock) -> Markup {
    html! {
        ol.changes {
            @for incident in incidents {
                li { div.head {
                    (labelled(look_of(incident.what), incident_word(incident.what)))
                    b { (incident.service) }
                    span { (plain(&incident.detail)) }
                    (time(incident.at, clock))
                } }
            }
        }
    }
}

const fn look_of(what: Seen) -> State {
    match what {
        Seen::Unhealthy => State::Unhealthy,
        _ => State::Failed,
    }
}

pub fn log(lines: &[ServiceLine], clock: &Clock, with_slot: bool) -> Markup {
    if lines.is_empty() {
        return html! { p.quiet { "No output yet." } };
    }
    html! {
        div.log role="log" tabindex="0" {
            @for line in lines {
                div {
                    (time(line.line.at, clock)) " "
                    @if with_slot { span.quiet { (line.slot) } " " }
                    @if line.line.stream == LogStream::Stderr { span.warn title="standard error" { "! " } }
                    (cut(&plain(&line.line.text), LINE_MAX))
                }
            }
        }
    }
}

pub fn time(at: Timestamp, clock: &Clock) -> Markup {
    html! { time datetime=(Clock::rfc3339(at)) title=(clock.full(at)) { (clock.short(at)) } }
}
