//! `juchu incidents` and `juchu incident`: what is wrong, since when, why perhaps, and who knows.

use super::args::{Incident, IncidentCommand, Incidents};
use super::reach;
use super::screen::{Hue, Outcome, Paint, Screen, safe};
use super::table::{Cell, Column, Table};
use crate::home::Home;
use console::api::v1::{IncidentStatus, SilenceRequest, Words};
use console::client::ClientError;
use console::when::Clock;
use model::range::Level;
use model::{Report, Timestamp};
use std::collections::BTreeMap;

pub async fn incidents(screen: &Screen, home: &Home, args: Incidents) -> Outcome {
    let client = match reach::running(home).await {
        Ok(client) => client,
        Err(ClientError::NotRunning) => return not_running(screen, home, &args),
        Err(error) => return Err(error.into()),
    };
    let mut all = client.incidents().await?;
    if let Some(number) = args.number {
        let found = all.iter().find(|one| one.incident.number == number).ok_or_else(|| {
            Report::usage(format!("there is no incident {number}")).hint("`juchu incidents --all` lists them")
        })?;
        return match args.output.json {
            true => screen.json(found),
            false => screen.print(&text(found, &screen.clock, screen.out)),
        };
    }
    all.retain(|one| (args.all || one.incident.is_open()) && one.incident.part_of.is_none());
    if args.output.json {
        return screen.json(&all);
    }
    if all.is_empty() {
        screen.note("nothing is outside its range; `--all` lists what was");
        screen.hint("`juchu range ls` shows what is watched; after a start it is known within 10 s");
        return Ok(());
    }
    screen.print(&table(&all, &screen.clock).render(screen.width, screen.out))
}

/// What the daemon wrote down last; that it does not run is a failure all the same.
fn not_running(screen: &Screen, home: &Home, args: &Incidents) -> Outcome {
    let path = home.join("vigil/incidents.json");
    let text = std::fs::read(&path).unwrap_or_default();
    let last =
        serde_json::from_slice::<LastWritten>(&text).map(|last| last.book.incidents).unwrap_or_default();
    let mut all: Vec<IncidentStatus> = last.into_values().map(status).collect();
    all.retain(|one| (args.all || one.incident.is_open()) && one.incident.part_of.is_none());
    all.retain(|one| args.number.is_none_or(|number| one.incident.number == number));
    if !args.output.json && !all.is_empty() {
        screen.note("as it was written down last; it is not known what became of it");
        screen.print(&table(&all, &screen.clock).render(screen.width, screen.out))?;
    }
    let known = match all.len() {
        0 => "no incident was open when it ended".to_owned(),
        1 => "1 incident was open when it ended".to_owned(),
        count => format!("{count} incidents were open when it ended"),
    };
    let known = if args.all || args.number.is_some() { String::new() } else { format!("; {known}") };
    Err(Report::environment(format!("the daemon does not run, and nothing is watched{known}"))
        .hint("`juchu up` starts it; `juchu doctor` says what is wrong with it")
        .into())
}

/// The file of incidents, as far as it is needed here.
#[derive(serde::Deserialize)]
struct LastWritten {
    book: LastBook,
}

#[derive(serde::Deserialize)]
struct LastBook {
    incidents: BTreeMap<u64, run::ranges::Incident>,
}

fn status(incident: run::ranges::Incident) -> IncidentStatus {
    IncidentStatus {
        text: incident.sentence(),
        suspects: incident.suspects().iter().map(|subject| subject.to_string()).collect(),
        is_silenced: false,
        incident,
    }
}

fn table(all: &[IncidentStatus], clock: &Clock) -> Table {
    let mut table = Table::new(vec![
        Column::kept("NUMBER").right(),
        Column::kept("LEVEL"),
        Column::kept("SINCE"),
        Column::rank("OVER", 2),
        Column::kept("WHAT"),
        Column::rank("KNOWN BY", 1),
    ]);
    for one in all.iter().rev() {
        let incident = &one.incident;
        let (icon, hue) = look(one);
        let over = incident.closed_ms.map(|at| clock.short(Timestamp(at))).unwrap_or_default();
        let known = incident.acknowledged.as_ref().map(|note| note.by.clone()).unwrap_or_default();
        table.row(vec![
            Cell::from(incident.number.to_string()),
            Cell::from(format!("{icon} {}", incident.level.word())).hue(hue),
            Cell::from(clock.short(Timestamp(incident.opened_ms))),
            Cell::from(over),
            Cell::from(safe(&one.text).into_owned()),
            Cell::from(if one.is_silenced { "silenced".to_owned() } else { known }),
        ]);
    }
    table
}

const fn look(one: &IncidentStatus) -> (&'static str, Hue) {
    match (one.incident.is_open(), one.incident.level) {
        (false, _) => ("✓", Hue::Quiet),
        (true, Level::Urgent) => ("✗", Hue::Bad),
        (true, Level::Important) => ("!", Hue::Warn),
        (true, Level::Information) => ("·", Hue::Quiet),
    }
}

pub fn text(one: &IncidentStatus, clock: &Clock, paint: Paint) -> String {
    let incident = &one.incident;
    let (icon, hue) = look(one);
    let mut text = format!("{} {}\n", paint.on(hue, icon), safe(&one.text));
    let mut line = |name: &str, value: String| text.push_str(&format!("  {name:<9} {}\n", safe(&value)));
    line("level", incident.level.word().to_owned());
    line("since", clock.full(Timestamp(incident.opened_ms)));
    if let Some(over) = incident.closed_ms {
        line("over", clock.full(Timestamp(over)));
    }
    if let Some(release) = incident.release {
        line("release", release.to_string());
    }
    if !incident.changed.is_empty() {
        line("changed", incident.changed.clone());
    }
    if one.suspects.len() > 1 {
        line("cause", format!("likely {}", one.suspects.join(", then ")));
    }
    if let Some(part_of) = incident.part_of {
        line("part of", format!("incident {part_of}"));
    }
    if incident.flaps > 0 {
        line("again", format!("{} times", incident.flaps));
    }
    if let Some(note) = &incident.acknowledged {
        let why = if note.why.is_empty() { String::new() } else { format!(": {}", note.why) };
        line("known by", format!("{} since {}{why}", note.by, clock.short(Timestamp(note.at_ms))));
    }
    text.push('\n');
    text + &signals(one, clock).render(None, paint)
}

fn signals(one: &IncidentStatus, clock: &Clock) -> Table {
    let mut table = Table::new(vec![
        Column::kept("OF"),
        Column::kept("SIGNAL"),
        Column::kept("VALUE"),
        Column::kept("NORMAL"),
        Column::kept("SINCE"),
        Column::kept("BACK"),
    ]);
    for affected in &one.incident.signals {
        let finding = &affected.finding;
        table.row(vec![
            Cell::from(finding.subject.to_string()),
            Cell::from(safe(&finding.signal).into_owned()),
            Cell::from(finding.value.clone()),
            Cell::from(finding.range.clone()),
            Cell::from(clock.short(Timestamp(finding.since_ms))),
            Cell::from(affected.back_ms.map(|at| clock.short(Timestamp(at))).unwrap_or_default()),
        ]);
    }
    table
}

pub async fn incident(screen: &Screen, home: &Home, args: Incident) -> Outcome {
    let client = reach::running(home).await?;
    match args.command {
        IncidentCommand::Ack(args) => {
            let words = Words { actor: String::new(), why: args.message };
            let known = client.acknowledge(args.number, &words).await?;
            screen.note(format!("incident {} is known: {}", args.number, known.text));
        }
        IncidentCommand::Silence(args) => {
            let incident = args.what.as_ref().and_then(|what| what.parse().ok());
            let request = SilenceRequest {
                what: args.what.clone().filter(|_| incident.is_none()),
                incident,
                lasting: args.lasting,
                actor: String::new(),
                why: args.message,
            };
            let silence = client.silence(&request).await?;
            let what = args.what.unwrap_or_else(|| "anything".to_owned());
            let until = screen.clock.full(Timestamp(silence.until_ms));
            screen.note(format!("nobody is told of {what} until {until}; it is written down all the same"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use console::fake::NOW;

    #[test]
    fn what_a_daemon_wrote_down_last_is_told_when_it_is_gone() {
        let text = include_str!("../vigil/golden/incidents-v1.json");
        let last: LastWritten = serde_json::from_str(text).expect("form 1");
        let all: Vec<IncidentStatus> = last.book.incidents.into_values().map(status).collect();
        let shown = table(&all, &Clock::utc(NOW)).render(None, Paint(false));
        assert!(shown.contains("shop/web: p95 is 1.4 s"), "{shown}");
    }
}
