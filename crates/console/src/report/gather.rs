//! Asks everybody who may know something of an incident.

use super::frames::{self, Place};
use super::{CodeLine, IncidentReport, Origins, ReleaseOrigin, RouteTrouble, RowGroup};
use crate::measured::{Asked, Course, Shelf, quoted};
use crate::story::{Change, Story, incident_word};
use crate::text::cut;
use crate::words::by;
use model::{DurationMs, Report, Timestamp};
use run::control::Control;
use run::ranges::{IncidentStatus, Subject};
use run::rows::{KeptRow, RowQuestion};
use run::traces::{TraceQuestion, TraceSummary};
use std::collections::BTreeMap;
use store::{HistoryQuery, Outcome};

/// What was written shortly before may say why.
const BEFORE_MS: i64 = 2 * 60_000;
/// What was written so long after says nothing of the beginning.
const AFTER_MS: i64 = 30 * 60_000;
/// A change so long before may be the cause.
const BLAMED_MS: i64 = 60 * 60_000;
/// What a change did is over so long after it was taken back.
const UNDONE_MS: i64 = 60_000;
const ENTRIES: usize = 2_000;
const ROWS_READ: usize = 2_000;
const GROUPS: usize = 5;
const TRACES: usize = 3;
const ROUTES: usize = 5;
const EVENTS: usize = 10;
/// Characters of a row.
const TEXT_MAX: usize = 2_000;
/// Rows that may say what went wrong.
const TELLING: &str = "level>=warn OR Traceback OR panicked OR \"panic:\" OR Exception";

/// The whole of it; an error only where there is no such incident.
pub async fn gather(
    control: &dyn Control,
    shelf: &Shelf,
    origins: Option<&dyn Origins>,
    number: u64,
    now: Timestamp,
) -> Result<IncidentReport, Report> {
    let ranges = control.ranges().ok_or_else(|| {
        Report::environment("this daemon watches no signals")
            .hint("`juchu upgrade` puts this program in charge")
    })?;
    let found = ranges.incidents().await?.into_iter().find(|one| one.incident.number == number);
    let incident = found.ok_or_else(|| {
        Report::usage(format!("there is no incident {number}")).hint("`juchu incidents --all` lists them")
    })?;
    let opened = incident.incident.opened_ms;
    let end = incident.incident.closed_ms.unwrap_or(now.0).clamp(opened, opened + AFTER_MS);
    let (from, to) = (Timestamp(opened - BEFORE_MS), Timestamp(end));
    let asking = Asking { control, shelf, subject: incident.incident.subject.clone(), from, to };
    let story = asking.story().await;
    let change = story.as_ref().and_then(|story| asking.change(story, opened));
    let rows = asking.rows(&incident).await;
    let mut report = IncidentReport {
        release: asking.release(&incident, origins).await,
        routes: asking.routes().await,
        events: story.map(|story| asking.events(story)).unwrap_or_default(),
        code: code(&rows),
        rows: groups(&rows),
        traces: asking.traces().await,
        cause: String::new(),
        unknown: Vec::new(),
        change,
        incident,
        from,
        to,
    };
    report.cause = cause(&report);
    report.unknown = unknown(&report);
    Ok(report)
}

struct Asking<'a> {
    control: &'a dyn Control,
    shelf: &'a Shelf,
    subject: Subject,
    from: Timestamp,
    to: Timestamp,
}

impl Asking<'_> {
    /// None of this machine, or where the journal cannot be read.
    async fn story(&self) -> Option<Story> {
        let query = HistoryQuery {
            stack: Some(self.subject.stack.clone()?),
            service: self.subject.service.clone(),
            after: None,
            changes_only: true,
            limit: ENTRIES,
        };
        Some(Story::of(&self.control.history(query).await.ok()?))
    }

    fn change(&self, story: &Story, opened: i64) -> Option<Change> {
        let service = self.subject.service.as_ref()?;
        let may_be = |change: &&Change| change.at.0 <= opened && !is_undone_before(change, opened);
        let before = story.changes.iter().filter(may_be).cloned().collect();
        Story { changes: before, ..Story::default() }.last_change_of(service).cloned()
    }

    fn events(&self, story: Story) -> Vec<crate::story::Incident> {
        let is_mine =
            |service: &model::ServiceName| self.subject.service.as_ref().is_none_or(|mine| mine == service);
        let within = |at: Timestamp| (self.from..=self.to).contains(&at);
        let all = story.incidents.into_iter().filter(|one| within(one.at) && is_mine(&one.service));
        all.take(EVENTS).collect()
    }

    /// Of everybody whose signals were outside.
    async fn rows(&self, incident: &IncidentStatus) -> Vec<KeptRow> {
        let (Some(rows), Some(stack)) = (self.control.rows(), &self.subject.stack) else { return Vec::new() };
        let affected = incident.incident.signals.iter().map(|affected| &affected.finding.subject);
        let mine = affected.chain([&self.subject]).filter(|subject| subject.stack.as_ref() == Some(stack));
        let mut services: Vec<String> =
            mine.filter_map(|subject| Some(subject.service.as_ref()?.to_string())).collect();
        services.sort();
        services.dedup();
        let question = RowQuestion {
            query: TELLING.to_owned(),
            stack: Some(stack.to_string()),
            services,
            since: Some(self.from),
            until: Some(self.to),
            limit: Some(ROWS_READ),
        };
        rows.search(question).await.map(|answer| answer.rows).unwrap_or_default()
    }

    async fn traces(&self) -> Vec<TraceSummary> {
        let (Some(traces), Some(stack)) = (self.control.traces(), &self.subject.stack) else {
            return Vec::new();
        };
        let question = TraceQuestion {
            stack: Some(stack.to_string()),
            service: self.subject.service.as_ref().map(ToString::to_string),
            errors: true,
            since: Some(self.from),
            until: Some(self.to),
            limit: Some(TRACES),
            ..TraceQuestion::default()
        };
        traces.search(question).await.map(|answer| answer.traces).unwrap_or_default()
    }

    async fn routes(&self) -> Vec<RouteTrouble> {
        let (Some(stack), Some(service)) = (&self.subject.stack, &self.subject.service) else {
            return Vec::new();
        };
        let of = format!("stack={},service={}", quoted(stack.as_str()), quoted(service.as_str()));
        let over = ((self.to.0 - self.from.0) / 1000).max(60);
        let ask = |expression: String| Asked { expression, from: self.to, to: self.to, step_ms: 1000 };
        let failed = ask(format!(
            "sum by (route) (increase(juchu_gateway_route_requests_total{{{of},code=\"5xx\"}}[{over}s])) \
             or sum by (route) (increase(juchu_gateway_route_errors_total{{{of}}}[{over}s]))"
        ));
        let slow = ask(format!(
            "histogram_quantile(0.95, sum by (route, le) \
             (rate(juchu_gateway_route_duration_seconds_bucket{{{of}}}[{over}s])))"
        ));
        let mut answers = self.shelf.ask_all(&[failed.clone(), slow.clone()]).await.into_iter();
        let mut next = || answers.next().and_then(Result::ok).unwrap_or_default();
        worst(&next(), &next(), (&failed, &slow))
    }

    async fn release(
        &self,
        incident: &IncidentStatus,
        origins: Option<&dyn Origins>,
    ) -> Option<ReleaseOrigin> {
        let (release, stack) = (incident.incident.release?, self.subject.stack.as_ref()?);
        let all = self.control.releases(stack).await.ok()?;
        let found = all.into_iter().find(|one| one.id == release)?;
        let service = self.subject.service.as_ref();
        let manifest = service.and_then(|service| found.manifests.get(service)).cloned();
        let commit = match (&manifest, origins) {
            (Some(manifest), Some(origins)) => origins.commit(manifest).await,
            _ => None,
        };
        Some(ReleaseOrigin {
            release,
            made: found.made,
            actor: found.actor,
            why: found.why,
            image: service.and_then(|service| found.images.get(service)).cloned(),
            manifest,
            commit,
        })
    }
}

fn worst(failed: &[Course], slow: &[Course], asked: (&Asked, &Asked)) -> Vec<RouteTrouble> {
    let mut routes: BTreeMap<String, RouteTrouble> = BTreeMap::new();
    let mut of = |course: &Course, put: &dyn Fn(&mut RouteTrouble)| {
        let route = course.label("route").to_owned();
        let new = RouteTrouble { route: route.clone(), failed: 0.0, p95_s: None };
        put(routes.entry(route).or_insert(new));
    };
    for course in failed {
        let value = course.last(asked.0).unwrap_or_default();
        of(course, &|route| route.failed += value);
    }
    for course in slow {
        of(course, &|route| route.p95_s = course.last(asked.1));
    }
    let mut all: Vec<RouteTrouble> = routes.into_values().filter(|one| !one.route.is_empty()).collect();
    let time = |one: &RouteTrouble| one.p95_s.unwrap_or_default();
    all.sort_by(|a, b| b.failed.total_cmp(&a.failed).then(time(b).total_cmp(&time(a))));
    all.truncate(ROUTES);
    all
}

/// Rows that differ in numbers only count as one.
pub(super) fn groups(rows: &[KeptRow]) -> Vec<RowGroup> {
    let mut groups: BTreeMap<(String, String), RowGroup> = BTreeMap::new();
    for row in rows {
        let first = row.text.lines().next().unwrap_or_default();
        let mut alike: String = first.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        while alike.contains("00") {
            alike = alike.replace("00", "0");
        }
        let group = groups.entry((row.service.clone(), alike)).or_insert_with(|| RowGroup {
            rows: 0,
            first: Timestamp(row.time_ns / 1_000_000),
            service: row.service.clone(),
            instance: row.instance.clone(),
            level: row.level.clone(),
            text: cut(&row.text, TEXT_MAX).to_string(),
        });
        group.rows += 1;
    }
    let mut all: Vec<RowGroup> = groups.into_values().collect();
    all.sort_by(|a, b| b.rows.cmp(&a.rows).then(a.first.cmp(&b.first)));
    all.truncate(GROUPS);
    all
}

pub(super) fn code(rows: &[KeptRow]) -> Option<CodeLine> {
    let mut places: BTreeMap<(String, u32), (Place, u64, &KeptRow)> = BTreeMap::new();
    for row in rows {
        let Some(place) = frames::place(&row.text) else { continue };
        let key = (place.file.clone(), place.line);
        places.entry(key).or_insert((place, 0, row)).1 += 1;
    }
    let (place, rows, row) = places.into_values().max_by_key(|(_, rows, _)| *rows)?;
    Some(CodeLine { place, rows, text: complaint(&row.text).to_owned() })
}

/// Of a stack trace the line that says what went wrong: Python's is the last, others' the first.
fn complaint(text: &str) -> &str {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let line = if text.contains("Traceback") { lines.next_back() } else { lines.next() };
    line.unwrap_or_default().trim()
}

fn cause(report: &IncidentReport) -> String {
    let incident = &report.incident.incident;
    let mut parts = Vec::new();
    let after = |at: Timestamp| (0..=BLAMED_MS).contains(&(incident.opened_ms - at.0));
    if let Some(change) = report.change.as_ref().filter(|change| after(change.at)) {
        let before = DurationMs((incident.opened_ms - change.at.0).max(0) as u64);
        parts.push(format!("{} {}, {before} before", change.what(), by(&change.actor)));
    }
    if let Some(event) = report.events.last() {
        parts.push(format!("{} {}: {}", event.instance, incident_word(event.what), event.detail));
    }
    if let Some(code) = &report.code {
        parts.push(format!("{} at {}", code.text, code.place));
    }
    let others: Vec<&str> = report.incident.suspects.iter().skip(1).map(String::as_str).collect();
    if !others.is_empty() {
        parts.push(format!("{} is at the bottom, {} followed", incident.subject, others.join(" and ")));
    }
    match parts.is_empty() {
        true => "not known: nothing was changed in the hour before, and nothing was written that says why"
            .to_owned(),
        false => format!("likely {}", parts.join("; ")),
    }
}

fn unknown(report: &IncidentReport) -> Vec<String> {
    let incident = &report.incident.incident;
    let Some(service) = &incident.subject.service else {
        return vec!["which service: it is about this machine as a whole".to_owned()];
    };
    let mut unknown = Vec::new();
    let mut say = |is_missing: bool, text: String| {
        if is_missing {
            unknown.push(text);
        }
    };
    say(report.routes.is_empty(), format!("which route: none of {service} was measured in this time"));
    say(
        report.rows.is_empty(),
        format!("what it wrote: no row at warning level or above of {service} in this time"),
    );
    say(report.code.is_none(), "which line of code: no stack trace was written in this time".to_owned());
    say(
        report.traces.is_empty(),
        format!("which request: {service} sent no span of a failed one in this time"),
    );
    match &report.release {
        None => say(true, "who and when: the release is not known any more".to_owned()),
        Some(release) => say(
            release.commit.is_none(),
            "which commit: the image was not built here from a folder with a repository".to_owned(),
        ),
    }
    say(report.change.is_none(), format!("what changed before: no change of {service} is on record"));
    unknown
}

/// It did nothing, or was taken back long enough before.
fn is_undone_before(change: &Change, moment_ms: i64) -> bool {
    change.ending.as_ref().is_some_and(|ending| match ending.outcome {
        Outcome::Unchanged => true,
        Outcome::Failed | Outcome::RolledBack => ending.at.0 + UNDONE_MS < moment_ms,
        Outcome::Kept | Outcome::Undecided | Outcome::Superseded => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{FakeControl, FakeRanges, NOW};
    use std::sync::Arc;

    fn row(at_s: i64, text: &str) -> KeptRow {
        KeptRow {
            time_ns: at_s * 1_000_000_000,
            stack: "guestbook".into(),
            service: "web".into(),
            instance: "web1x7k2".into(),
            source: "stderr".into(),
            level: "error".into(),
            text: text.into(),
        }
    }

    #[test]
    fn rows_that_differ_in_numbers_are_one_and_code_is_what_most_name() {
        let trace = |line: u32| {
            format!(
                "Traceback (most recent call last):\n  File \"/app/web.py\", line {line}, in pay\nKeyError: 'x'"
            )
        };
        let rows = [
            row(1, "try 1 of 3 failed after 12 ms"),
            row(2, "try 2 of 3 failed after 7 ms"),
            row(3, &trace(12)),
            row(4, &trace(12)),
            row(5, &trace(40)),
        ];
        let groups = groups(&rows);
        assert_eq!(groups.iter().map(|group| group.rows).collect::<Vec<_>>(), [3, 2]);
        let code = code(&rows).expect("a place");
        assert_eq!((code.place.to_string().as_str(), code.rows), ("/app/web.py:12 in pay", 2));
        assert_eq!(code.text, "KeyError: 'x'");
        assert_eq!(super::code(&rows[..2]), None);
    }

    async fn report(number: u64) -> Result<IncidentReport, Report> {
        let control = FakeControl::guestbook().watching(Arc::new(FakeRanges::default()));
        gather(&control, &Shelf::default(), None, number, NOW).await
    }

    #[tokio::test]
    async fn what_is_known_is_told_and_what_is_not_is_said() {
        let told = report(2).await.expect("there is one");
        assert!(told.cause.starts_with("likely ") || told.cause.starts_with("not known"), "{}", told.cause);
        assert_eq!(told.release.as_ref().map(|release| release.actor.as_str()), Some("root (cli)"));
        assert!(told.unknown.iter().any(|text| text.starts_with("which line of code")), "{:?}", told.unknown);
        assert!(told.unknown.iter().any(|text| text.starts_with("which commit")), "{:?}", told.unknown);
        let text = serde_json::to_string(&told).expect("string keys only");
        assert_eq!(serde_json::from_str::<IncidentReport>(&text).expect("read back"), told);
    }

    #[tokio::test]
    async fn an_incident_that_is_not_there_is_told() {
        let refused = report(77).await.expect_err("there is none");
        assert_eq!(refused.error, "there is no incident 77");
    }
}
