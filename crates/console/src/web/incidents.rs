//! Pages about what is wrong: all incidents, and one with its story.

use super::parts::{self, plain};
use super::ranges::{address, page_of};
use crate::access::Session;
use crate::report::IncidentReport;
use crate::story::{Alarm, incident_word};
use crate::text::cut;
use crate::when::Clock;
use crate::words::by;
use maud::{Markup, html};
use model::Timestamp;
use model::range::{Level, Unit};
use run::control::State;
use run::ranges::{IncidentStatus, ReceiverStatus, SignalName};
use store::record::v1::IncidentStep;

/// Incidents that are over with a row of their own.
const OVER_MAX: usize = 50;
/// Characters of a row.
const ROW_MAX: usize = 200;
/// For how long nobody is told, as in a form.
const SILENCES: [(&str, &str); 4] =
    [("1h", "1 hour"), ("4h", "4 hours"), ("24h", "1 day"), ("168h", "7 days")];

pub fn look(one: &IncidentStatus) -> State {
    match (one.incident.is_open(), one.incident.level) {
        (false, _) => State::Done,
        (true, Level::Urgent) => State::Failed,
        (true, _) => State::Unhealthy,
    }
}

pub fn list(all: &[IncidentStatus], receivers: &[ReceiverStatus], clock: &Clock) -> Markup {
    let whole = || all.iter().rev().filter(|one| one.incident.part_of.is_none());
    let open: Vec<&IncidentStatus> = whole().filter(|one| one.incident.is_open()).collect();
    let over: Vec<&IncidentStatus> = whole().filter(|one| !one.incident.is_open()).collect();
    html! {
        h1 {
            (parts::icon(open.iter().map(|one| look(one)).max().unwrap_or(State::Ready)))
            @match open.as_slice() {
                [] => { "Nothing is wrong." }
                [one] => { (plain(&one.text)) "." }
                several => { (several.len()) " incidents." }
            }
        }
        @if !open.is_empty() { section #open { h2 { "Now" } (table(&open, clock, false)) } }
        @if !over.is_empty() {
            section #over {
                h2 { "Over" }
                (table(&over.iter().copied().take(OVER_MAX).collect::<Vec<_>>(), clock, true))
                @if over.len() > OVER_MAX { p.quiet { (over.len() - OVER_MAX) " more: " code { "juchu incidents --all" } } }
            }
        }
        @if all.is_empty() { p.quiet { "What leaves its " a href="/ranges" { "normal range" } " is an incident, told once." } }
        (told(receivers, clock))
    }
}

fn table(all: &[&IncidentStatus], clock: &Clock, are_over: bool) -> Markup {
    html! {
        table.incidents {
            thead { tr {
                th scope="col" { "Level" } th scope="col" { "What" } th scope="col" { "Since" }
                @if are_over { th.wide scope="col" { "Over" } }
                th.wide scope="col" { "Known by" }
            } }
            tbody { @for one in all { tr {
                td { (parts::labelled(look(one), one.incident.level.word())) }
                td.what { a href={ "/incidents/" (one.incident.number) } { (plain(&one.text)) } }
                td { (parts::time(Timestamp(one.incident.opened_ms), clock)) }
                @if are_over { td.wide { @if let Some(at) = one.incident.closed_ms { (parts::time(Timestamp(at), clock)) } } }
                td.wide.quiet {
                    @if one.is_silenced { "silenced" }
                    @else if let Some(note) = &one.incident.acknowledged { (plain(&note.by)) }
                }
            } } }
        }
    }
}

/// Who is told, and how that goes. Addresses are shown without what may be secret.
fn told(receivers: &[ReceiverStatus], clock: &Clock) -> Markup {
    html! {
        section #told {
            h2 { "Who is told" }
            @if receivers.is_empty() { p.quiet { "Nobody: " code { "juchu notify add" } " or " code { "x-juchu.notify" } "." } }
            @else { table {
                thead { tr {
                    th scope="col" { "State" } th scope="col" { "Name" } th scope="col" { "Where" }
                    th.wide scope="col" { "Of what" } th.number scope="col" { "Told" } th.number.wide scope="col" { "Waiting" } th.wide scope="col" { "Last" }
                } }
                tbody { @for one in receivers { tr {
                    td { @if one.trouble.is_some() { (parts::labelled(State::Failed, "fails")) } @else { (parts::labelled(State::Ready, "told")) } }
                    td { (plain(&one.name)) }
                    td.text {
                        (plain(&one.kind)) " " (plain(&one.place))
                        @if let Some(trouble) = &one.trouble { div.bad { (plain(trouble)) } }
                    }
                    td.wide { (one.least.word()) @if one.least < Level::Urgent { " and more" } }
                    td.number { (one.sent) }
                    td.number.wide { (one.waiting) }
                    td.wide { @if let Some(at) = one.last_sent_ms { (parts::time(Timestamp(at), clock)) } }
                } } }
            } }
        }
    }
}

pub fn one(report: &IncidentReport, alarms: &[&Alarm], session: Option<&Session>, clock: &Clock) -> Markup {
    let status = &report.incident;
    let incident = &status.incident;
    html! {
        h1 { (parts::icon(look(status))) (plain(&status.text)) "." }
        dl.tiles {
            div { dt { "Level" } dd { b { (incident.level.word()) } } }
            div { dt { "Since" } dd { (parts::time(Timestamp(incident.opened_ms), clock)) } }
            @if let Some(at) = incident.closed_ms { div { dt { "Over" } dd { (parts::time(Timestamp(at), clock)) } } }
            div { dt { "Of" } dd {
                @if let Some(page) = page_of(&incident.subject) { a href=(page) { (plain(&incident.subject.to_string())) } }
                @else { (plain(&incident.subject.to_string())) }
            } }
            @if let Some(release) = incident.release { div { dt { "Release" } dd { (release) } } }
            @if incident.flaps > 0 { div { dt { "Came again" } dd { (incident.flaps) " times" } } }
        }
        @if let Some(part_of) = incident.part_of { p { "It is part of " a href={ "/incidents/" (part_of) } { "incident " (part_of) } "." } }
        (known(status, session, clock))
        section #cause { h2 { "Cause" } p { (plain(&report.cause)) "." } }
        @if let Some(change) = &report.change { section #change { h2 { "Change before it" } (parts::changes(&[change], clock, false)) } }
        (signals(status, clock))
        (findings(report, clock))
        (story(alarms, clock))
        @if !report.unknown.is_empty() {
            section #unknown { h2 { "Not known" } ul { @for text in &report.unknown { li.quiet { (plain(text)) } } } }
        }
    }
}

/// Who knows, and the way to say so.
fn known(status: &IncidentStatus, session: Option<&Session>, clock: &Clock) -> Markup {
    let incident = &status.incident;
    let token = || html! { @if let Some(session) = session { (parts::form_token(session)) } };
    html! {
        @if let Some(note) = &incident.acknowledged {
            p {
                (parts::labelled(State::Ready, "Known")) " " (plain(&by(&note.by))) " since " (parts::time(Timestamp(note.at_ms), clock))
                @if !note.why.is_empty() { ": “" (plain(&note.why)) "”" }
            }
        }
        @if status.is_silenced { p { (parts::labelled(State::Stopped, "Silenced")) " Nobody is told." } }
        @if incident.is_open() {
            div.said {
                @if incident.acknowledged.is_none() {
                    form.said method="post" action={ "/incidents/" (incident.number) "/acknowledge" } {
                        (token())
                        label { "Why" input name="why" maxlength="500" autocomplete="off"; }
                        button type="submit" { "Acknowledge" }
                    }
                }
                @if !status.is_silenced {
                    form.said method="post" action={ "/incidents/" (incident.number) "/silence" } {
                        (token())
                        label { "Tell nobody for" select name="lasting" { @for (value, name) in SILENCES { option value=(value) { (name) } } } }
                        button type="submit" { "Silence" }
                    }
                }
            }
        }
    }
}

fn signals(status: &IncidentStatus, clock: &Clock) -> Markup {
    let incident = &status.incident;
    html! {
        section #signals {
            h2 { "Outside" }
            table {
                thead { tr {
                    th scope="col" { "State" } th scope="col" { "Signal" } th.number scope="col" { "Value" }
                    th scope="col" { "Normal" } th scope="col" { "Since" } th.wide scope="col" { "Back" }
                } }
                tbody { @for affected in &incident.signals {
                    @let finding = &affected.finding;
                    @let name = SignalName { subject: finding.subject.clone(), signal: finding.signal.clone() };
                    tr {
                        td {
                            @if affected.back_ms.is_some() { (parts::labelled(State::Done, "back")) }
                            @else if finding.level == Level::Urgent { (parts::labelled(State::Failed, "outside")) }
                            @else { (parts::labelled(State::Unhealthy, "outside")) }
                        }
                        td { a href=(address(&name)) { (plain(&name.to_string())) } }
                        td.number { (plain(&finding.value)) }
                        td.text { (plain(&finding.range)) }
                        td { (parts::time(Timestamp(finding.since_ms), clock)) }
                        td.wide { @if let Some(at) = affected.back_ms { (parts::time(Timestamp(at), clock)) } }
                    }
                } }
            }
            @if incident.more_signals > 0 { p.quiet { "and " (incident.more_signals) " more" } }
        }
    }
}

/// What was found in routes, instances, rows, code and traces.
fn findings(report: &IncidentReport, clock: &Clock) -> Markup {
    html! {
        @if let Some(code) = &report.code {
            section #code { h2 { "Line of code" }
                p { code { (plain(&code.place.to_string())) } " " span.quiet { "named by " (code.rows) @if code.rows == 1 { " row" } @else { " rows" } } }
                p { (plain(&code.text)) }
            }
        }
        @if !report.routes.is_empty() {
            section #routes { h2 { "Routes" } ul.facts { @for route in &report.routes {
                li { (plain(&route.route)) ": " (format!("{:.0}", route.failed)) " failed"
                    @if let Some(slow) = route.p95_s { ", 95 of 100 within " (Unit::Seconds.show(slow)) } }
            } } }
        }
        @if !report.events.is_empty() {
            section #events { h2 { "Instances" } ol.changes { @for event in &report.events {
                li { div.head { (parts::labelled(State::Failed, incident_word(event.what))) b { (plain(event.instance.as_str())) }
                    span { (plain(&event.detail)) } (parts::time(event.at, clock)) } }
            } } }
        }
        @if !report.rows.is_empty() {
            section #rows { h2 { "What was written" } div.log { @for group in &report.rows {
                div { (parts::time(group.first, clock)) " " span.quiet { (group.rows) " × " (plain(&group.service)) } " "
                    (cut(&plain(group.text.lines().next().unwrap_or_default()), ROW_MAX)) }
            } } }
        }
        @if !report.traces.is_empty() {
            section #traces { h2 { "Failed requests" } ul { @for trace in &report.traces {
                li { (plain(&trace.name)) ", " (Unit::Seconds.show(trace.duration_ms / 1e3)) ": " code { "juchu trace " (plain(&trace.trace)) } }
            } } }
        }
        @if let Some(release) = &report.release {
            section #build { h2 { "Build" } ul.facts {
                li { "release " (release.release) " " (plain(&by(&release.actor))) " at " (parts::time(release.made, clock)) }
                @if let Some(image) = &release.image { li { (plain(image)) } }
                @if let Some(commit) = &release.commit { li { "commit " code { (cut(&plain(commit), 12)) } } }
            } }
        }
    }
}

fn story(alarms: &[&Alarm], clock: &Clock) -> Markup {
    html! {
        @if !alarms.is_empty() {
            section #story { h2 { "Story" } ol.changes { @for alarm in alarms {
                li { div.head {
                    (parts::labelled(look_of(alarm), alarm.what.word()))
                    span { (plain(&alarm.text)) }
                    @if alarm.actor != store::BY_ITSELF { span { (plain(&by(&alarm.actor))) } }
                    (parts::time(alarm.at, clock))
                } }
            } } }
        }
    }
}

const fn look_of(alarm: &Alarm) -> State {
    match (alarm.what, alarm.level) {
        (IncidentStep::Over, _) => State::Done,
        (IncidentStep::Acknowledged, _) => State::Ready,
        (IncidentStep::Silenced, _) => State::Stopped,
        (_, Level::Urgent) => State::Failed,
        _ => State::Unhealthy,
    }
}
