//! `juchu history` and `juchu why`: what changed, who did it, and what came of it.

use super::args::{History, StackArgs, Why};
use super::ending::look_of as look_of_outcome;
use super::screen::{Hue, Outcome, Paint, Screen, look_of, safe};
use super::table::{Cell, Column, Table};
use super::{reach, target};
use crate::home::Home;
use console::client::Client;
use console::story::{Alarm, Change, Incident, Judged, Story, incident_word, place_of};
use console::text::{beyond, cut};
use console::when::Clock;
use console::words::{by, figures_text};
use model::ServiceName;
use run::control::{ServiceStatus, State};
use serde::Serialize;
use std::fmt::Write;
use store::HistoryQuery;
use store::record::v1::{self, Difference, ServiceFigures};

/// A change is about four entries, with what happened to instances between them.
const ENTRIES_PER_CHANGE: usize = 8;
const ENTRIES_MAX: usize = 10_000;
const WHY_ENTRIES: usize = 2000;
const INCIDENTS_SHOWN: usize = 10;
/// Characters of a value before or after.
const VALUE_MAX: usize = 80;

pub async fn history(screen: &Screen, home: &Home, args: History, stack: StackArgs) -> Outcome {
    let client = reach::running(home).await?;
    let stack = if args.all { None } else { Some(target::stack(&client, &stack).await?) };
    let service = match &args.service {
        None => None,
        // A service of the past may be gone from the present, so its name is only checked for form.
        Some(name) => Some(ServiceName::new(name.as_str()).map_err(|e| model::Report::usage(e.to_string()))?),
    };
    let query =
        HistoryQuery { stack, service: service.clone(), changes_only: true, ..HistoryQuery::default() };
    let story = last_changes(&client, query, args.number).await?;
    if args.output.json {
        return screen.json(&story);
    }
    if story.changes.is_empty() {
        screen.note("nothing was changed yet");
        screen.hint("`juchu up` makes the first change");
    }
    screen.print(&changes_text(
        &story.changes,
        args.all,
        args.diff,
        &screen.clock,
        screen.width,
        screen.out,
    ))?;
    screen.print(&collections_text(&story, &screen.clock, screen.out))
}

/// Which releases are gone, in one line for each time that happened.
fn collections_text(story: &Story, clock: &Clock, paint: Paint) -> String {
    let mut text = String::new();
    for collection in &story.collections {
        let ids: Vec<_> = collection.releases.iter().map(|release| release.to_string()).collect();
        let time = paint.on(Hue::Quiet, &clock.short(collection.at));
        let _ =
            writeln!(text, "{time}  collected by itself: {} ({})", ids.join(", "), safe(&collection.reason));
    }
    text
}

/// At least so many changes, or all there are.
async fn last_changes(client: &Client, mut query: HistoryQuery, number: usize) -> Outcome<Story> {
    query.limit = number.saturating_mul(ENTRIES_PER_CHANGE).clamp(1, ENTRIES_MAX);
    loop {
        let entries = client.history(query.clone()).await?;
        let all = entries.len() < query.limit || query.limit == ENTRIES_MAX;
        let mut story = Story::of(&entries);
        if let Some(service) = &query.service {
            story.changes.retain(|change| change.touches(service));
        }
        if all || story.changes.len() >= number {
            story.changes.drain(..story.changes.len().saturating_sub(number));
            return Ok(story);
        }
        query.limit = (query.limit * 4).min(ENTRIES_MAX);
    }
}

fn outcome_cell(change: &Change) -> Cell {
    let (icon, hue) = look(change);
    Cell::from(format!("{icon} {}", change.outcome_word())).hue(hue)
}

const fn look(change: &Change) -> (&'static str, Hue) {
    match (&change.ending, &change.going_back) {
        (Some(ending), _) => look_of_outcome(ending.outcome),
        (None, Some(_)) => ("◁", Hue::Busy),
        (None, None) => ("◐", Hue::Busy),
    }
}

/// `ada (cli)`; what the daemon does without being asked, it does by itself.
fn who(actor: &str) -> &str {
    if actor == store::BY_ITSELF { "by itself" } else { actor }
}

/// Why it ended so, or why it is taken back.
fn reason(change: &Change) -> &str {
    match (&change.ending, &change.going_back) {
        (Some(ending), _) => &ending.reason,
        (None, Some(back)) => &back.cause,
        (None, None) => "",
    }
}

fn changes_text(
    changes: &[Change],
    all: bool,
    diff: bool,
    clock: &Clock,
    width: Option<usize>,
    paint: Paint,
) -> String {
    if changes.is_empty() {
        return String::new();
    }
    let stack = if all { Column::kept("STACK") } else { Column::rank("STACK", 9) };
    let mut table = Table::new(vec![
        Column::kept("TIME"),
        stack,
        Column::kept("WHO"),
        Column::kept("WHAT"),
        Column::kept("OUTCOME"),
        Column::rank("RELEASE", 1),
        Column::rank("TOOK", 3).right(),
        Column::rank("REASON", 2),
    ]);
    for change in changes {
        let ending = change.ending.as_ref();
        let stack = change.stack.as_ref().filter(|_| all).map(|s| s.to_string()).unwrap_or_default();
        table.row(vec![
            Cell::from(clock.short(change.at)),
            Cell::from(stack),
            Cell::from(who(&change.actor)),
            Cell::from(change.what()),
            outcome_cell(change),
            Cell::from(change.release_text()),
            Cell::from(ending.map(|ending| ending.took.to_string()).unwrap_or_default()),
            Cell::from(reason(change)),
        ]);
    }
    let text = table.render(width, paint);
    if diff { with_differences(&text, changes, paint) } else { text }
}

/// Under each line of the table what differed.
fn with_differences(table: &str, changes: &[Change], paint: Paint) -> String {
    let mut lines = table.lines();
    let mut text = format!("{}\n", lines.next().unwrap_or_default());
    for (line, change) in lines.zip(changes) {
        let _ = writeln!(text, "{line}");
        text += &differences_text(&change.differences, "  ", paint);
    }
    text
}

/// `+` came, `-` went, `~` became another: the sign says it, the colour repeats it.
pub fn differences_text(differences: &[Difference], indent: &str, paint: Paint) -> String {
    let mut text = String::new();
    for difference in differences {
        let (sign, hue, values) = match (&difference.before, &difference.after) {
            (None, Some(after)) => ("+", Hue::Good, value(after)),
            (Some(before), None) => ("-", Hue::Bad, value(before)),
            (Some(before), Some(after)) => ("~", Hue::Warn, format!("{} → {}", value(before), value(after))),
            (None, None) => ("~", Hue::Warn, String::new()),
        };
        let place = place_of(difference);
        let rest = if values.is_empty() { String::new() } else { format!(": {values}") };
        let _ = writeln!(text, "{indent}{} {}{rest}", paint.on(hue, sign), safe(&place));
    }
    text
}

fn value(text: &str) -> String {
    cut(&safe(text).replace('\n', "⏎"), VALUE_MAX).into_owned()
}

/// A verdict with its numbers, and by what it was made.
fn judged_text(judged: &Judged, clock: &Clock) -> String {
    let word = match judged.verdict {
        v1::Verdict::Kept => "good enough",
        v1::Verdict::Worse => "worse",
        v1::Verdict::Undecided => "undecided",
    };
    let mut text = format!("    judged {word} at {}: {}\n", clock.short(judged.at), safe(&judged.text));
    if let Some(evidence) = &judged.evidence {
        let _ = writeln!(text, "      evidence against it: {}", safe(evidence));
    }
    if let Some(basis) = &judged.basis {
        let _ = writeln!(text, "      {}", safe(basis));
    }
    text
}

/// What `why --json` prints.
#[derive(Serialize)]
struct Told<'a> {
    service: &'a ServiceStatus,
    last_change: Option<&'a Change>,
    /// The last change that was kept, when the last one was not.
    last_kept: Option<&'a Change>,
    incidents: Vec<&'a Incident>,
    /// When signals of it left their ranges, and what was said of that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    alarms: Vec<&'a Alarm>,
}

pub async fn why(screen: &Screen, home: &Home, args: Why, stack: StackArgs) -> Outcome {
    let client = reach::running(home).await?;
    let stack = target::stack(&client, &stack).await?;
    let status = client.stack(&stack).await?;
    let named =
        target::services(std::slice::from_ref(&args.service), status.services.iter().map(|s| &s.name))?;
    let service = named.first().expect("one name in, one name out");
    let current = status.services.iter().find(|s| s.name == *service).expect("it was found among them");
    let query = HistoryQuery {
        stack: Some(stack),
        service: Some(service.clone()),
        after: None,
        changes_only: true,
        limit: WHY_ENTRIES,
    };
    let story = Story::of(&client.history(query).await?);
    let told = Told::of(current, &story);
    if args.output.json {
        return screen.json(&told);
    }
    screen.print(&told.text(&screen.clock, screen.out))
}

impl<'a> Told<'a> {
    fn of(service: &'a ServiceStatus, story: &'a Story) -> Self {
        let last_change = story.last_change_of(&service.name);
        let kept = |change: &&Change| {
            change.touches(&service.name)
                && change.ending.as_ref().is_some_and(|ending| ending.outcome == v1::Outcome::Kept)
        };
        let last_kept = story.changes.iter().rev().find(kept).filter(|kept| Some(*kept) != last_change);
        let since = last_change.map(|change| change.at).unwrap_or_default();
        let mine = story.incidents_since(since).filter(|incident| incident.service == service.name);
        let alarms = story.alarms.iter().filter(|alarm| alarm.service.as_ref() == Some(&service.name));
        Self { service, last_change, last_kept, incidents: mine.collect(), alarms: alarms.collect() }
    }

    fn text(&self, clock: &Clock, paint: Paint) -> String {
        let (icon, word, hue) = look_of(self.service.state);
        let name = &self.service.name;
        let more = match beyond(word, &self.service.text) {
            "" => String::new(),
            more => format!(": {}", safe(more)),
        };
        let verb = if self.service.state == State::Failed { "has" } else { "is" };
        let mut text = format!("{} {name} {verb} {word}{more}\n", paint.on(hue, icon));
        match self.last_change {
            None => text += "\nNo change of it is on record.\n",
            Some(change) => text += &format!("\nLast change\n{}", self.change_text(change, clock, paint)),
        }
        if let Some(change) = self.last_kept {
            text += &format!("\nLast change that was kept\n{}", self.change_text(change, clock, paint));
        }
        text + &self.incidents_text(clock, paint) + &self.alarms_text(clock)
    }

    /// The newest last.
    fn alarms_text(&self, clock: &Clock) -> String {
        if self.alarms.is_empty() {
            return String::new();
        }
        let mut text = "\nOutside its normal range\n".to_owned();
        let skipped = self.alarms.len().saturating_sub(INCIDENTS_SHOWN);
        for alarm in self.alarms.iter().skip(skipped) {
            let (at, what) = (clock.short(alarm.at), alarm.what.word());
            let who = if alarm.actor == store::BY_ITSELF {
                String::new()
            } else {
                format!(" by {}", safe(&alarm.actor))
            };
            let _ = writeln!(text, "  {at}  incident {} {what}{who}: {}", alarm.incident, safe(&alarm.text));
        }
        text
    }

    fn change_text(&self, change: &Change, clock: &Clock, paint: Paint) -> String {
        let (icon, hue) = look(change);
        let release = match change.release_text() {
            release if release.is_empty() => release,
            release => format!(", {release}"),
        };
        let (who, at) = (by(&change.actor), clock.full(change.at));
        let mut text = format!("  {} {} at {at}{release}\n", change.what(), safe(&who));
        if !change.why.is_empty() {
            let _ = writeln!(text, "  “{}”", safe(&change.why));
        }
        let word = paint.on(hue, &format!("{icon} {}", change.outcome_word()));
        match &change.ending {
            Some(ending) => {
                let _ = writeln!(text, "  {word} after {}: {}", ending.took, safe(&ending.reason));
            }
            None => {
                let _ = writeln!(text, "  {word}");
            }
        }
        text += &self.numbers_text(change, clock);
        let (mine, others): (Vec<_>, Vec<_>) = change
            .differences
            .iter()
            .cloned()
            .partition(|d| d.service.as_ref().is_none_or(|service| *service == self.service.name));
        text += &differences_text(&mine, "    ", paint);
        if !others.is_empty() {
            let word = if others.len() == 1 { "difference" } else { "differences" };
            let _ = writeln!(text, "    and {} {word} in other services", others.len());
        }
        text
    }

    /// When it was taken back and why, and what was measured of this service.
    fn numbers_text(&self, change: &Change, clock: &Clock) -> String {
        let mut text = String::new();
        if let Some(back) = &change.going_back {
            let to = back.release.map_or_else(|| "nothing".to_owned(), |release| release.to_string());
            let told = change.ending.as_ref().is_some_and(|ending| ending.reason == back.cause);
            let cause = if told { String::new() } else { format!(": {}", safe(&back.cause)) };
            let _ = writeln!(text, "    back to {to} from {} on{cause}", clock.short(back.at));
        }
        let figures = change.ending.iter().flat_map(|ending| &ending.figures);
        let verdicts = || change.verdicts.iter().filter(|judged| judged.service == self.service.name);
        for figures in figures.filter(|figures| figures.service == self.service.name) {
            // What follows says more of it.
            let judged = figures.judged.clone().filter(|_| verdicts().next().is_none());
            let _ = writeln!(text, "    {}", figures_text(&ServiceFigures { judged, ..figures.clone() }));
        }
        verdicts().for_each(|judged| text += &judged_text(judged, clock));
        text
    }

    fn incidents_text(&self, clock: &Clock, paint: Paint) -> String {
        if self.incidents.is_empty() {
            return "\nNothing went wrong with it since.\n".to_owned();
        }
        let hidden = self.incidents.len().saturating_sub(INCIDENTS_SHOWN);
        let mut text = "\nSince then\n".to_owned();
        if hidden > 0 {
            let _ = writeln!(text, "  {hidden} earlier incidents, then");
        }
        for incident in &self.incidents[hidden..] {
            let word = paint.on(Hue::Bad, &format!("✗ {}", incident_word(incident.what)));
            let (time, id) = (clock.short(incident.at), &incident.instance);
            let _ = writeln!(text, "  {time}  {word}  {id}: {}", safe(&incident.detail));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use console::fake::{FakeControl, NOW, guestbook_status, service, troubled_entries, troubled_status};

    fn story() -> Story {
        Story::of(&FakeControl::guestbook().held().entries)
    }

    fn check(all: bool, diff: bool, width: Option<usize>) -> String {
        changes_text(&story().changes, all, diff, &Clock::utc(NOW), width, Paint(false))
    }

    #[test]
    fn a_change_is_one_line() {
        insta::assert_snapshot!(check(false, false, None), @"
        TIME          WHO              WHAT        OUTCOME   RELEASE       TOOK  REASON
        Nov 21 11:00  root (cli)       up          ● kept    r1            18 s  all 3 services are ready
        09:58:20      ada (cli, sudo)  deploy web  ● kept    r2           3.1 s  web is ready
        11:00:00      ada (console)    up          ✗ failed  r3 → r2  1 min 2 s  web did not become ready within 60 s
        ");
        insta::assert_snapshot!(check(true, false, Some(72)), @"
        TIME          STACK      WHO              WHAT        OUTCOME   RELEASE
        Nov 21 11:00  guestbook  root (cli)       up          ● kept    r1
        09:58:20      guestbook  ada (cli, sudo)  deploy web  ● kept    r2
        11:00:00      guestbook  ada (console)    up          ✗ failed  r3 → r2
        ");
        assert_eq!(changes_text(&[], true, true, &Clock::utc(NOW), None, Paint(false)), "");
    }

    #[test]
    fn going_back_is_a_change_like_others() {
        let story = Story::of(&troubled_entries());
        let clock = Clock::utc(NOW);
        let text = changes_text(&story.changes, false, false, &clock, None, Paint(false));
        insta::assert_snapshot!(text + &collections_text(&story, &clock, Paint(false)), @"
        TIME      WHO         WHAT                     OUTCOME        RELEASE   TOOK  REASON
        11:50:00  ada (cli)   deploy web               ◁ rolled back  r5 → r4  8.4 s  service web: exited with code 1
        11:50:40  by itself   rollback to r3           ● kept         r3       8.4 s  the earlier release serves again
        11:51:00  ada (cli)   promote from staging r9  ● kept         r4       8.4 s  every service is ready
        11:51:30  root (cli)  up web                   ◁ going back   r6              service web: exited with code 1
        11:51:20  collected by itself: r1, r2 (ten are kept)
        ");
    }

    #[test]
    fn why_tells_what_was_taken_back() {
        let (status, entries) = (troubled_status(), troubled_entries());
        let web = &status.services[3];
        let told = |entries: &[store::Entry]| {
            Told::of(web, &Story::of(entries)).text(&Clock::utc(NOW), Paint(false))
        };
        insta::assert_snapshot!(told(&entries[..4]), @"
        ✗ web has failed: restarts in 3 s: exited with code 1

        Last change
          deploy web by ada (cli) at 2026-11-22 11:50:00, r5 → r4
          ◁ rolled back after 8.4 s: service web: exited with code 1
            back to r4 from 11:50:20 on
            1 replica, not ready, no gap
            ~ web replicas: 1 → 2

        Nothing went wrong with it since.
        ");
        insta::assert_snapshot!(told(&entries[..6]), @"
        ✗ web has failed: restarts in 3 s: exited with code 1

        Last change
          rollback to r3 by itself at 2026-11-22 11:50:40, r3
          ● kept after 8.4 s: the earlier release serves again

        Nothing went wrong with it since.
        ");
        insta::assert_snapshot!(told(&entries), @"
        ✗ web has failed: restarts in 3 s: exited with code 1

        Last change
          up web by root (cli) at 2026-11-22 11:51:30, r6
          ◁ going back
            back to r4 from 11:51:50 on: service web: exited with code 1
            ~ web replicas: 1 → 2

        Last change that was kept
          promote from staging r9 by ada (cli) at 2026-11-22 11:51:00, r4
          ● kept after 8.4 s: every service is ready
            2 replicas ready in 1.9 s, decided 540 ms later, swapped in 0.4 ms, no gap

        Nothing went wrong with it since.
        ");
    }

    #[test]
    fn what_differed_stands_below() {
        insta::assert_snapshot!(check(false, true, Some(60)), @"
        TIME          WHO              WHAT        OUTCOME   RELEASE
        Nov 21 11:00  root (cli)       up          ● kept    r1
          + cache: redis 7.0.15
          + db: postgres 15.14
          + web: python 3.11
        09:58:20      ada (cli, sudo)  deploy web  ● kept    r2
          ~ web replicas: 1 → 2
        11:00:00      ada (console)    up          ✗ failed  r3 → r2
          + web environment.DEBUG: 1
          + migrate: python 3.11
        ");
    }

    fn tell(name: &str, status: &run::control::StackStatus) -> String {
        let status = status.services.iter().find(|s| s.name == service(name)).expect("it is there");
        Told::of(status, &story()).text(&Clock::utc(NOW), Paint(false))
    }

    #[test]
    fn why_tells_the_story_of_a_service() {
        insta::assert_snapshot!(tell("web", &troubled_status()), @"
        ✗ web has failed: restarts in 3 s: exited with code 1

        Last change
          up by ada (console) at 2026-11-22 11:00:00, r3 → r2
          ✗ failed after 1 min 2 s: web did not become ready within 60 s
            + web environment.DEBUG: 1
            and 1 difference in other services

        Last change that was kept
          deploy web by ada (cli, sudo) at 2026-11-22 09:58:20, r2
          “second replica”
          ● kept after 3.1 s: web is ready
            ~ web replicas: 1 → 2

        Since then
          11:50:00  ✗ exited  web1x7k2: exited with code 1
        ");
        insta::assert_snapshot!(tell("db", &guestbook_status()), @"
        ● db is ready: 1 of 1 ready

        Last change
          up by root (cli) at 2026-11-21 11:00:00, r1
          ● kept after 18 s: all 3 services are ready
            + db: postgres 15.14
            and 2 differences in other services

        Nothing went wrong with it since.
        ");
    }

    #[test]
    fn a_service_without_a_past_is_no_failure() {
        let status = guestbook_status();
        let told = Told::of(&status.services[0], &Story::default()).text(&Clock::utc(NOW), Paint(false));
        assert!(told.contains("No change of it is on record."), "{told}");
    }
}
