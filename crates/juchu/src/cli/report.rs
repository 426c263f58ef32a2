//! `juchu report`: all that is known of one incident, and what is not.

use super::args::Report as Args;
use super::history::differences_text;
use super::incidents;
use super::reach;
use super::screen::{Hue, Outcome, Paint, Screen, safe};
use crate::home::Home;
use console::report::{IncidentReport, ReleaseOrigin};
use console::story::incident_word;
use console::text::cut;
use console::when::Clock;
use console::words::by;
use model::Timestamp;
use model::range::Unit;
use std::fmt::Write;

/// Characters of a row, and of a commit.
const ROW_MAX: usize = 160;
const COMMIT_MAX: usize = 12;

pub async fn report(screen: &Screen, home: &Home, args: Args) -> Outcome {
    let report = reach::running(home).await?.report(args.number).await?;
    match args.output.json {
        true => screen.json(&report),
        false => screen.print(&text(&report, &screen.clock, screen.out)),
    }
}

fn text(report: &IncidentReport, clock: &Clock, paint: Paint) -> String {
    let mut text = incidents::text(&report.incident, clock, paint);
    let head = |text: &mut String, name: &str| {
        let _ = writeln!(text, "\n{}", paint.on(Hue::Strong, name));
    };
    head(&mut text, "Cause");
    let _ = writeln!(text, "  {}", safe(&report.cause));
    if let Some(change) = &report.change {
        head(&mut text, "Change before it");
        let _ = write!(text, "  {} {} at {}", change.what(), safe(&by(&change.actor)), clock.full(change.at));
        let _ = writeln!(text, ", {}", change.outcome_word());
        if !change.why.is_empty() {
            let _ = writeln!(text, "  “{}”", safe(&change.why));
        }
        text += &differences_text(&change.differences, "    ", paint);
    }
    if let Some(release) = &report.release {
        head(&mut text, "Build");
        text += &release_text(release, clock);
    }
    if !report.routes.is_empty() {
        head(&mut text, "Routes");
        for route in &report.routes {
            let slow = route.p95_s.map(|s| format!(", 95 of 100 within {}", Unit::Seconds.show(s)));
            let slow = slow.unwrap_or_default();
            let _ = writeln!(text, "  {}: {:.0} failed{slow}", safe(&route.route), route.failed);
        }
    }
    if !report.events.is_empty() {
        head(&mut text, "Instances");
        for event in &report.events {
            let (time, word) = (clock.short(event.at), incident_word(event.what));
            let _ = writeln!(text, "  {time}  {word}  {}: {}", event.instance, safe(&event.detail));
        }
    }
    if !report.rows.is_empty() {
        head(&mut text, "Rows");
        for group in &report.rows {
            let first = cut(group.text.lines().next().unwrap_or_default(), ROW_MAX).to_string();
            let time = clock.short(group.first);
            let _ = writeln!(text, "  {time}  {:>4} ×  {}  {}", group.rows, group.service, safe(&first));
        }
    }
    if let Some(code) = &report.code {
        head(&mut text, "Code");
        let _ = writeln!(text, "  {} ({} ×)", safe(&code.place.to_string()), code.rows);
        let _ = writeln!(text, "  {}", safe(&code.text));
    }
    if !report.traces.is_empty() {
        head(&mut text, "Traces");
        for trace in &report.traces {
            let time = clock.short(Timestamp(trace.start_ns / 1_000_000));
            let took = Unit::Seconds.show(trace.duration_ms / 1e3);
            let _ = writeln!(text, "  {time}  juchu trace {}  {} in {took}", trace.trace, safe(&trace.name));
        }
    }
    if !report.unknown.is_empty() {
        head(&mut text, "Not known");
        for unknown in &report.unknown {
            let _ = writeln!(text, "  {}", safe(unknown));
        }
    }
    text
}

fn release_text(release: &ReleaseOrigin, clock: &Clock) -> String {
    let mut text =
        format!("  {} made {} at {}", release.release, safe(&by(&release.actor)), clock.full(release.made));
    if !release.why.is_empty() {
        let _ = write!(text, ": “{}”", safe(&release.why));
    }
    text.push('\n');
    if let Some(image) = &release.image {
        let _ = writeln!(text, "  image {}", safe(image));
    }
    if let Some(commit) = &release.commit {
        let _ = writeln!(text, "  commit {}", cut(&safe(commit), COMMIT_MAX));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use console::fake::{FakeControl, FakeRanges, NOW};
    use console::measured::Shelf;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_report_says_what_is_known_and_what_is_not() {
        let control = FakeControl::guestbook().watching(Arc::new(FakeRanges::default()));
        let report = console::report::gather(&control, &Shelf::default(), None, 2, NOW).await.expect("there");
        insta::assert_snapshot!(text(&report, &Clock::utc(NOW), Paint(false)), @"
        ✗ guestbook/web: instances is 1, normal is at least 2
          level     urgent
          since     2026-11-22 11:50:20
          release   r5
          changed   deploy web by root (cli) 1 min before (r5, kept)

        OF             SIGNAL     VALUE   NORMAL                          SINCE     BACK
        guestbook/web  instances  1       at least 2                      11:50:20
        guestbook/web  p95        420 ms  12 ms to 45 ms, at most 400 ms  11:51:00

        Cause
          likely web1x7k2 exited: exited with code 1

        Change before it
          deploy web by ada (cli, sudo) at 2026-11-22 09:58:20, kept
          “second replica”
            ~ web replicas: 1 → 2

        Build
          r5 made by root (cli) at 2026-11-22 11:58:30
          image guestbook/web (00001a2b3c05)

        Instances
          11:50:00  exited  web1x7k2: exited with code 1

        Rows
          11:59:21    10 ×  web  connection refused
          11:59:22    10 ×  web  slow query took=812ms
          11:59:23    10 ×  web  GET / 200
          11:59:24    10 ×  web  listening on port 8000

        Traces
          11:59:52  juchu trace 4bf92f3577b34da6a3ce929d0e0e4736  GET /checkout in 212 ms

        Not known
          which route: none of web was measured in this time
          which line of code: no stack trace was written in this time
          which commit: the image was not built here from a folder with a repository
        ");
    }
}
