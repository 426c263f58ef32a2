//! `juchu trace`: the newest traces that are wanted, or one of them as a waterfall.

mod waterfall;

use super::args::Trace;
use super::logs::since;
use super::reach;
use super::screen::{Hue, Outcome, Paint, Screen};
use super::table::{Cell, Column, Table};
use crate::home::Home;
use console::api::v1::{TraceAnswer, TraceQuestion, TraceSummary};
use console::traces::took;
use console::when::Clock;
use model::Timestamp;

pub async fn trace(screen: &Screen, home: &Home, args: Trace) -> Outcome {
    let client = reach::running(home).await?;
    if let Some(id) = &args.id {
        let trace = client.trace(id).await?;
        if args.output.json {
            return screen.json(&trace);
        }
        screen.print(&waterfall::text(&trace, screen.width, screen.out, &screen.clock))?;
        if trace.has_more || trace.is_cut {
            screen.warn(format!("these are the first {} spans; there are more", trace.spans.len()));
        }
        return Ok(());
    }
    let time = |text: &Option<String>| text.as_deref().map(|text| since(text, screen.clock.now)).transpose();
    let question = TraceQuestion {
        stack: args.stack,
        service: args.service,
        name: args.name,
        min_ms: args.min.map(|min| min.0 as f64),
        max_ms: args.max.map(|max| max.0 as f64),
        errors: args.errors,
        since: time(&args.since)?,
        until: time(&args.until)?,
        limit: Some(args.limit),
    };
    let answer = client.search_traces(&question).await?;
    if args.output.json {
        return screen.json(&answer);
    }
    list(screen, &answer)
}

fn list(screen: &Screen, answer: &TraceAnswer) -> Outcome {
    if answer.traces.is_empty() {
        screen.note("no trace was found");
        screen.hint("services send spans by OTLP: `docs/guides/sending.md`; `juchu trace --help`");
    } else {
        screen.print(&table(&answer.traces, screen.width, screen.out, &screen.clock))?;
    }
    if answer.has_more {
        screen.note("these are the newest; `-n` lists more, `--until` earlier ones");
    }
    if answer.is_cut {
        screen.warn("the search was ended by its limits of time or memory; narrow it with `--since`");
    }
    Ok(())
}

fn table(traces: &[TraceSummary], width: Option<usize>, paint: Paint, clock: &Clock) -> String {
    let mut table = Table::new(vec![
        Column::kept("began"),
        Column::kept("took").right(),
        Column::rank("spans", 2).right(),
        Column::kept("errors").right(),
        Column::rank("root", 1),
        Column::kept("trace"),
    ]);
    for trace in traces {
        let errors = match trace.errors {
            0 => Cell::from(""),
            count => Cell::from(format!("✗ {count}")).hue(Hue::Bad),
        };
        table.row(vec![
            Cell::from(clock.short(Timestamp(trace.start_ns / 1_000_000))),
            Cell::from(took(trace.duration_ms)),
            Cell::from(trace.spans.to_string()),
            errors,
            Cell::from(format!("{} {}", trace.service, trace.name)),
            Cell::from(trace.trace.as_str()).hue(Hue::Quiet),
        ]);
    }
    table.render(width, paint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_listed_within_eighty_columns() {
        let trace = |service: &str, name: &str, duration_ms, errors| TraceSummary {
            trace: "4bf92f3577b34da6a3ce929d0e0e4736".into(),
            name: name.into(),
            stack: "shop".into(),
            service: service.into(),
            start_ns: 1_795_420_800_000_000_000,
            duration_ms,
            spans: 7,
            errors,
            services: 3,
        };
        let traces = [
            trace("web", "GET /checkout", 212.4, 1),
            trace("worker", "nightly report of everything", 61_000.0, 0),
        ];
        let text = table(&traces, Some(80), Paint(false), &Clock::utc(Timestamp(1_795_421_000_000)));
        insta::assert_snapshot!(text, @r"
        began        took  errors  root                 trace
        08:00:00   212 ms     ✗ 1  web GET /checkout    4bf92f3577b34da6a3ce929d0e0e4736
        08:00:00  1.0 min          worker nightly rep…  4bf92f3577b34da6a3ce929d0e0e4736
        ");
        assert!(text.lines().all(|line| line.chars().count() <= 80));
    }
}
