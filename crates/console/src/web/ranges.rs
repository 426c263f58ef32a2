//! Pages about what is normal: every signal with its band, one signal with its course, and what
//! services promise.

use super::parts::{self, NBSP, plain};
use crate::access::Session;
use crate::story::Change;
use crate::when::Clock;
use maud::{Markup, html};
use model::Timestamp;
use model::objective::share_text;
use model::range::{Level, Unit};
use run::control::State;
use run::ranges::{BoundsSource, BurnWindow, ObjectiveStatus, RangeStatus, SignalName, Subject, range_text};
use signals::range::Standing;

/// Signals with a row of their own.
const ROWS_MAX: usize = 500;
/// A drawn band reaches from here to there, of a hundred.
const BAND: (f64, f64) = (30.0, 70.0);

pub fn address(name: &SignalName) -> String {
    let quoted: String = form_urlencoded::byte_serialize(name.to_string().as_bytes()).collect();
    format!("/ranges/{}", quoted.replace('+', "%20"))
}

/// The shape that stands for a standing.
pub const fn look(range: &RangeStatus) -> State {
    match range.standing {
        Standing::Outside | Standing::Far => match range.level {
            Level::Urgent => State::Failed,
            Level::Important | Level::Information => State::Unhealthy,
        },
        Standing::Edge => State::Unhealthy,
        Standing::Inside => State::Ready,
        Standing::Learning => State::Starting,
        Standing::Unknown => State::Stopped,
    }
}

pub fn list(ranges: &[RangeStatus], objectives: &[ObjectiveStatus], clock: &Clock) -> Markup {
    let (outside, within): (Vec<&RangeStatus>, Vec<&RangeStatus>) =
        ranges.iter().take(ROWS_MAX).partition(|range| range.standing.is_out() || range.decay.is_some());
    html! {
        h1 {
            @if ranges.is_empty() { "No signal is watched yet." }
            @else { (parts::icon(worst(&outside))) (sentence(&outside, ranges.len())) }
        }
        @if ranges.is_empty() { p.quiet { "A daemon that has just started knows them after 10" (NBSP) "s." } }
        @if !outside.is_empty() {
            section #outside { h2 { "Outside" } (table(&outside, clock, true)) }
        }
        (promises(objectives, clock))
        @if !within.is_empty() {
            section #within { h2 { "Signals" } (table(&within, clock, false)) }
        }
        @if ranges.len() > ROWS_MAX { p.quiet { (ranges.len() - ROWS_MAX) " more: " code { "juchu range ls" } } }
        @if !ranges.is_empty() {
            p.quiet { "A band is learned from the last days and the same hour; bounds are of a signal's kind, of the file ("
                code { "x-juchu.ranges" } ") or set here." }
        }
    }
}

fn worst(outside: &[&RangeStatus]) -> State {
    outside.iter().map(|range| look(range)).max().unwrap_or(State::Ready)
}

fn sentence(outside: &[&RangeStatus], all: usize) -> String {
    let out = outside.iter().filter(|range| range.standing.is_out()).count();
    match (out, outside.len() - out) {
        (0, 0) => format!("All {all} signals are within their ranges or being learned."),
        (0, decay) => format!("{decay} of {all} signals rise steadily."),
        (1, _) => format!("1 of {all} signals is outside its range."),
        (out, _) => format!("{out} of {all} signals are outside their ranges."),
    }
}

fn table(ranges: &[&RangeStatus], clock: &Clock, with_since: bool) -> Markup {
    html! {
        table.signals {
            thead { tr {
                th scope="col" { "State" } th scope="col" { "Signal" } th.number scope="col" { "Value" }
                th.gauged scope="col" { span.unseen { "Drawn" } } th scope="col" { "Normal" }
                @if with_since { th scope="col" { "Since" } } @else { th.wide scope="col" { "How" } }
            } }
            tbody { @for range in ranges { tr {
                td { (parts::labelled(look(range), range.standing.word())) }
                td { a href=(address(&range.name)) { (plain(&range.name.to_string())) } }
                td.number { (value(range)) }
                td.gauged { (gauge(range)) }
                td.normal {
                    (spaced(&range.range_text()))
                    @if let Some(decay) = &range.decay { div.warn { (plain(decay)) } }
                }
                @if with_since { td { (parts::time(Timestamp(range.since_ms), clock)) } }
                @else { td.wide.quiet { (how(range)) } }
            } } }
        }
    }
}

pub fn value(range: &RangeStatus) -> String {
    range.value.map_or_else(|| "–".to_owned(), |value| spaced(&range.unit.show(value)))
}

/// Numbers stay with their units.
fn spaced(text: &str) -> String {
    let mut all = String::with_capacity(text.len());
    let mut words = text.split(' ').peekable();
    while let Some(word) = words.next() {
        all.push_str(word);
        if let Some(next) = words.peek() {
            let is_unit = word.ends_with(|c: char| c.is_ascii_digit()) && !next.starts_with("to");
            all.push_str(if is_unit { NBSP } else { " " });
        }
    }
    all
}

fn how(range: &RangeStatus) -> &'static str {
    match (range.source, range.band.is_some(), range.learned_since_ms.is_some()) {
        (BoundsSource::File, true, _) => "file, learned",
        (BoundsSource::File, false, _) => "file",
        (BoundsSource::Set, true, _) => "set, learned",
        (BoundsSource::Set, false, _) => "set",
        (_, true, _) => "learned",
        (_, false, true) => "is being learned",
        (_, false, false) => "of its kind",
    }
}

/// The band as a bar, and the value as a line across it.
fn gauge(range: &RangeStatus) -> Markup {
    let ends = range.band.map(|band| (band.low, band.high));
    let ends = ends.or_else(|| {
        let bounds = range.bounds?;
        let (low, high) = (bounds.low(), bounds.high());
        Some((low.or(high.map(|high| high.min(0.0)))?, high.or(low.map(|low| low.abs() * 2.0 + low))?))
    });
    let Some((low, high)) = ends else { return html! {} };
    let span = (high - low).max(f64::MIN_POSITIVE);
    let place = |value: f64| (BAND.0 + (BAND.1 - BAND.0) * (value - low) / span).clamp(2.0, 98.0);
    let class = if range.standing.is_out() { "tick out" } else { "tick" };
    html! {
        svg.gauge viewBox="0 0 100 16" preserveAspectRatio="none" aria-hidden="true" {
            path.grid d="M0 8H100" {}
            path.band d={ "M" (BAND.0) " 2H" (BAND.1) "V14H" (BAND.0) "z" } {}
            @if let Some(value) = range.value.filter(|value| value.is_finite()) {
                path class=(class) d={ "M" (format!("{:.1}", place(value))) " 0V16" } {}
            }
        }
    }
}

fn promises(objectives: &[ObjectiveStatus], clock: &Clock) -> Markup {
    let good = |window: Option<&BurnWindow>| {
        let share = window.and_then(|window| window.good);
        share.map_or_else(|| "–".to_owned(), |share| spaced(&share_text(share)))
    };
    html! {
        @if !objectives.is_empty() { section #promises {
            h2 { "Promises" }
            table.promised {
                thead { tr {
                    th scope="col" { "State" } th scope="col" { "Service" } th scope="col" { "Promise" }
                    th.number scope="col" { "1" (NBSP) "h" } th.number.wide scope="col" { "6" (NBSP) "h" }
                    th.number.wide scope="col" { "3" (NBSP) "d" } th.number scope="col" { "Left" } th.wide scope="col" { "Since" }
                } }
                tbody { @for one in objectives { tr {
                    td { (kept(one)) }
                    td { (plain(&one.subject.to_string())) }
                    td.normal { (spaced(&share_text(one.target))) " " (spaced(&one.name)) }
                    td.number data-name="1 h" { (good(one.windows.first())) }
                    td.number.wide { (good(one.windows.get(1))) }
                    td.number.wide { (good(one.windows.get(2))) }
                    td.number data-name="left" {
                        @if let Some(left) = one.budget_left { (format!("{:.0}{NBSP}%", left * 100.0)) } @else { "–" }
                    }
                    td.wide { @if let Some(since) = one.since_ms { (parts::time(Timestamp(since), clock)) } }
                } } }
            }
            p.quiet { "Left: of the misses that the requests of 30 days allow." }
        } }
    }
}

fn kept(one: &ObjectiveStatus) -> Markup {
    let is_asked = one.windows.iter().any(|window| window.rate.is_some());
    match one.level {
        Some(Level::Urgent) => parts::labelled(State::Failed, "broken"),
        Some(_) => parts::labelled(State::Unhealthy, "broken"),
        None if is_asked => parts::labelled(State::Ready, "kept"),
        None => parts::labelled(State::Stopped, "no requests"),
    }
}

/// One signal: how it stands, how its range came about, what changed just before, what to do.
pub fn one(
    range: &RangeStatus,
    changed: Option<&Change>,
    chart: &Markup,
    session: Option<&Session>,
    clock: &Clock,
) -> Markup {
    let name = range.name.to_string();
    html! {
        h1 { (parts::icon(look(range))) (plain(&name)) " is " (value(range)) ", " (range.standing.word()) "." }
        dl.tiles {
            div { dt { "Normal" } dd { (spaced(&range.range_text())) } }
            div { dt { @if range.standing.is_out() { "Outside since" } @else { "So since" } } dd { (parts::time(Timestamp(range.since_ms), clock)) } }
            div { dt { "When it leaves" } dd { (range.level.word()) } }
            @if range.beyond != 0.0 { div { dt { "Beyond" } dd { (format!("{:.1}", range.beyond.abs())) " widths of the band" } } }
        }
        @if let Some(decay) = &range.decay { p { (parts::labelled(State::Unhealthy, "Over days")) " " (plain(decay)) } }
        (origin(range, clock))
        (before(range, changed, clock))
        (chart)
        section #say {
            h2 { "Say what is normal" }
            (accept(range, session))
            (edit(range, session))
        }
    }
}

fn origin(range: &RangeStatus, clock: &Clock) -> Markup {
    let bounds = range_text(range.unit, range.bounds.as_ref(), None);
    let who = match range.source {
        BoundsSource::Kind => Some("as for all signals of this kind"),
        BoundsSource::File => Some("by x-juchu.ranges of its file"),
        BoundsSource::Set => Some("set by somebody; history tells who"),
        BoundsSource::None => None,
    };
    html! {
        ul.facts {
            @if let Some(who) = who { li { "Bounds: " (spaced(&bounds)) ", " (who) } }
            @match (&range.band, range.learned_since_ms) {
                (Some(band), Some(since)) => li { "Band: " (spaced(&range_text(range.unit, None, Some(band)))) ", learned since " (parts::time(Timestamp(since), clock)) },
                (Some(band), None) => li { "Band: " (spaced(&range_text(range.unit, None, Some(band)))) ", as somebody said" },
                (None, Some(since)) => li.quiet { "A band is being learned since " (parts::time(Timestamp(since), clock)) "; it takes a day" },
                (None, None) => li.quiet { "No band is learned" },
            }
        }
    }
}

fn before(range: &RangeStatus, changed: Option<&Change>, clock: &Clock) -> Markup {
    html! {
        @if range.standing.is_out() {
            section #before {
                h2 { "Changed just before" }
                @match changed {
                    Some(change) => (parts::changes(&[change], clock, false)),
                    None => p.quiet { "Nothing of it in the hour before." },
                }
            }
        }
    }
}

fn accept(range: &RangeStatus, session: Option<&Session>) -> Markup {
    html! {
        form.said method="post" action="/ranges-accept" {
            (token(session)) (named(range))
            label { "Why" input name="why" maxlength="500" autocomplete="off"; }
            button type="submit" { "This is the new normal" }
        }
        p.quiet { "What it was in the last ten minutes becomes part of its band, until a day was learned anew. The journal says who said so." }
    }
}

fn edit(range: &RangeStatus, session: Option<&Session>) -> Markup {
    let shown = |end: Option<f64>| end.map(|end| range.unit.show(end)).unwrap_or_default();
    let (low, high) = range.bounds.map(|bounds| (bounds.low(), bounds.high())).unwrap_or_default();
    let example = example(range.unit);
    html! {
        form.said method="post" action="/ranges-set" {
            (token(session)) (named(range))
            label { "Never below" input name="min" value=(shown(low)) placeholder=(example) maxlength="40" autocomplete="off"; }
            label { "Never above" input name="max" value=(shown(high)) placeholder=(example) maxlength="40" autocomplete="off"; }
            label { "Level" select name="level" {
                @for level in [Level::Information, Level::Important, Level::Urgent] {
                    option value=(level.word()) selected[level == range.level] { (level.word()) }
                }
            } }
            label { "Band" select name="learn" {
                option value="yes" { "learned as well" }
                option value="no" selected[range.band.is_none() && range.learned_since_ms.is_none()] { "bounds alone" }
            } }
            label { "Why" input name="why" maxlength="500" autocomplete="off"; }
            button type="submit" name="do" value="set" { "Set" }
            @if range.source == BoundsSource::Set {
                button type="submit" name="do" value="reset" formnovalidate { "As its file says" }
            }
        }
    }
}

const fn example(unit: Unit) -> &'static str {
    match unit {
        Unit::Seconds => "400 ms",
        Unit::Share => "1 %",
        Unit::Bytes => "512 MiB",
        Unit::PerSecond | Unit::Cores | Unit::Number => "3",
    }
}

fn token(session: Option<&Session>) -> Markup {
    html! { @if let Some(session) = session { (parts::form_token(session)) } }
}

fn named(range: &RangeStatus) -> Markup {
    html! { input type="hidden" name="signal" value=(range.name.to_string()); }
}

/// Where a subject has its page.
pub fn page_of(subject: &Subject) -> Option<String> {
    let (stack, service) = (subject.stack.as_ref()?, subject.service.as_ref()?);
    Some(format!("/stacks/{stack}/services/{service}"))
}
