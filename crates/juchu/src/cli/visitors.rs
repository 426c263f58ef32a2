//! `juchu visitors`: who visits what, as the gateway counts it.

use super::args::Visitors;
use super::reach;
use super::screen::{Outcome, Paint, Screen};
use super::table::{Column, Table};
use crate::home::Home;
use console::api::v1::{VisitDay, VisitReport, VisitedPage};
use console::traffic;

/// Pages unless all are asked for.
const PAGES: usize = 15;

pub async fn visitors(screen: &Screen, home: &Home, args: Visitors) -> Outcome {
    let client = reach::running(home).await?;
    let report = client.visits(args.days).await?;
    if args.output.json {
        return screen.json(&report);
    }
    if report.days.iter().all(|day| day.requests + day.bot_requests == 0) {
        screen.note("nobody has asked for anything on a published port in this time");
        return Ok(());
    }
    let shown = if args.all { usize::MAX } else { PAGES };
    screen.print(&text(&report, shown, screen.width, screen.out))
}

fn text(report: &VisitReport, shown: usize, width: Option<usize>, paint: Paint) -> String {
    let mut text = format!("{} visitors in the last {} minutes\n\n", report.now, report.now_minutes);
    text.push_str(&days(&report.days).render(width, paint));
    if !report.pages.is_empty() {
        text.push('\n');
        text.push_str(&pages(&report.pages[..report.pages.len().min(shown)]).render(width, paint));
    }
    let left_out = report.pages.len().saturating_sub(shown);
    if left_out > 0 {
        text.push_str(&format!("{left_out} more pages; --all shows them\n"));
    }
    text
}

fn days(days: &[VisitDay]) -> Table {
    let mut table = Table::new(vec![
        Column::kept("DAY"),
        Column::kept("VISITS").right(),
        Column::kept("PAGES").right(),
        Column::rank("REQUESTS", 1).right(),
        Column::rank("4XX", 3).right(),
        Column::kept("5XX").right(),
        Column::rank("SENT", 2).right(),
        Column::rank("BOTS", 4).right(),
    ]);
    for day in days {
        let about = if day.is_estimate { "~" } else { "" };
        table.row(vec![
            day.date.as_str().into(),
            format!("{about}{}", day.visitors).into(),
            day.pages.to_string().into(),
            day.requests.to_string().into(),
            day.refused.to_string().into(),
            day.failed.to_string().into(),
            traffic::bytes(day.bytes as f64).into(),
            day.bots.to_string().into(),
        ]);
    }
    table
}

fn pages(pages: &[VisitedPage]) -> Table {
    let mut table = Table::new(vec![
        Column::kept("PAGE"),
        Column::kept("VIEWS").right(),
        Column::kept("MEAN").right(),
        Column::rank("SLOWEST", 2).right(),
        Column::rank("IN 0.4 S", 1).right(),
        Column::rank("5XX", 3).right(),
    ]);
    for page in pages {
        table.row(vec![
            page.name.as_str().into(),
            page.views.to_string().into(),
            traffic::time(page.mean_us).into(),
            traffic::time(page.slowest_us).into(),
            format!("{} %", page.in_time_percent()).into(),
            page.failed.to_string().into(),
        ]);
    }
    table
}
