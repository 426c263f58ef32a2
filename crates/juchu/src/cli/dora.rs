//! `juchu dora`: the four measures of delivery, from the journal.

use super::args::Dora;
use super::reach;
use super::screen::{Hue, Outcome, Screen};
use super::table::{Cell, Column, Table};
use crate::home::Home;
use console::dora::{self, Of, Span};
use console::when::now;
use model::{Report, ServiceName, StackName, Timestamp};
use serde::Serialize;
use store::HistoryQuery;

/// Entries of the journal that are looked through.
const ENTRIES_MAX: usize = 50_000;
const DAY_MS: i64 = 86_400_000;

#[derive(Serialize)]
struct Measures {
    days: u32,
    /// There was more in the journal than is looked through.
    is_cut: bool,
    measures: Vec<dora::Dora>,
}

pub async fn dora(screen: &Screen, home: &Home, args: Dora) -> Outcome {
    let of = of(args.what.as_deref())?;
    let to = now();
    let span = Span { from: Timestamp(to.0 - i64::from(args.days) * DAY_MS), to };
    let query = HistoryQuery {
        stack: of.stack.clone(),
        changes_only: true,
        limit: ENTRIES_MAX,
        ..HistoryQuery::default()
    };
    let entries = reach::running(home).await?.history(query).await?;
    let is_cut = entries.len() == ENTRIES_MAX && entries.first().is_some_and(|first| first.at > span.from);
    let measures = dora::measure(&entries, &span, &of);
    if args.output.json {
        return screen.json(&Measures { days: args.days, is_cut, measures });
    }
    if measures.iter().all(|one| one.attempts == 0 && one.restored == 0 && one.not_restored == 0) {
        screen.note(format!("nothing was deployed and nothing failed in the last {} days", args.days));
        screen.hint("`juchu deploy` makes a release; `juchu history --all` shows all changes");
        return Ok(());
    }
    screen.print(&table(&measures).render(screen.width, screen.out))?;
    let known = measures.first().map_or(0.0, |one| one.days);
    screen.note(match known + 0.05 < f64::from(args.days) {
        true => format!("the journal knows {known:.1} of the last {} days", args.days),
        false => format!("of the last {} days", args.days),
    });
    if is_cut {
        screen.note(format!("only the last {ENTRIES_MAX} entries of the journal were looked through"));
    }
    screen.note("lead time: from being asked for to being in force; when it was committed is not known");
    let failed: Vec<String> = measures[0].failed.iter().map(u64::to_string).collect();
    if !failed.is_empty() {
        screen.note(format!("changes that failed: {}; `juchu history` tells them", failed.join(", ")));
    }
    Ok(())
}

fn of(what: Option<&str>) -> Result<Of, Report> {
    let Some(what) = what else { return Ok(Of::default()) };
    let wrong =
        || Report::usage(format!("{what} is neither a stack nor a service")).hint("such as shop or shop/web");
    let (stack, service) = match what.split_once('/') {
        Some((stack, service)) => (stack, Some(ServiceName::new(service).map_err(|_| wrong())?)),
        None => (what, None),
    };
    Ok(Of { stack: Some(StackName::new(stack).map_err(|_| wrong())?), service })
}

fn table(measures: &[dora::Dora]) -> Table {
    let mut table = Table::new(vec![
        Column::kept("OF"),
        Column::kept("DEPLOYMENTS").right(),
        Column::rank("A DAY", 2).right(),
        Column::kept("LEAD TIME").right(),
        Column::kept("FAILED").right(),
        Column::kept("RESTORED IN").right(),
        Column::rank("NOT YET", 1).right(),
    ]);
    let known = |duration: Option<model::DurationMs>| duration.map_or("–".to_owned(), |d| d.to_string());
    for one in measures {
        let failed = match one.failure_share {
            Some(share) => format!("{} of {}, {:.0} %", one.failures, one.attempts, share * 100.0),
            None => "–".to_owned(),
        };
        let not_yet = Cell::from(one.not_restored.to_string());
        table.row(vec![
            Cell::from(one.what.clone()),
            Cell::from(one.deployments.to_string()),
            Cell::from(format!("{:.1}", one.per_day)),
            Cell::from(known(one.lead_time)),
            Cell::from(failed),
            Cell::from(known(one.time_to_restore)),
            if one.not_restored > 0 { not_yet.hue(Hue::Bad) } else { not_yet },
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::screen::Paint;
    use super::*;
    use console::fake::{FakeControl, NOW};

    #[test]
    fn each_stack_is_one_line() {
        let span = Span { from: Timestamp(NOW.0 - 30 * DAY_MS), to: NOW };
        let entries = FakeControl::guestbook().held().entries.clone();
        let text = |entries: &[store::Entry]| {
            table(&dora::measure(entries, &span, &Of::default())).render(None, Paint(false))
        };
        insta::assert_snapshot!(text(&entries), @"
        OF          DEPLOYMENTS  A DAY  LEAD TIME        FAILED  RESTORED IN  NOT YET
        all stacks            2    1.9       18 s  1 of 3, 33 %            –        0
        guestbook             2    1.9       18 s  1 of 3, 33 %            –        0
        ");
        let empty = text(&[]);
        assert!(empty.contains("all stacks") && empty.matches('–').count() == 3, "{empty}");
    }

    #[test]
    fn stacks_and_services_can_be_named() {
        assert_eq!(of(Some("shop/web")).map(|of| of.to_string()).ok().as_deref(), Some("shop/web"));
        assert_eq!(of(None).map(|of| of.to_string()).ok().as_deref(), Some("all stacks"));
        for wrong in ["Ä", "shop/", "/web", "a/b/c"] {
            assert!(of(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
