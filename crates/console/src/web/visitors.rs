//! Who visits what: visitors and pages by the day, and how long the pages take.

use super::chart;
use super::layout;
use super::pages::Drawn;
use super::parts::{self, plain};
use super::unit::Unit;
use crate::caller::Caller;
use crate::serve::App;
use crate::visits::{VisitDay, VisitReport, VisitedPage};
use axum::Extension;
use axum::extract::State as AppState;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use model::Report;
use run::control::State;
use std::time::Duration;
use tokio::time::timeout;

const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Periods that can be chosen, in days.
const PERIODS: [(u32, &str); 4] = [(1, "today"), (7, "7 days"), (30, "30 days"), (90, "90 days")];
/// Pages with a row of their own.
const PAGES_SHOWN: usize = 50;
/// A page is in time when so many percent of its views are.
const IN_TIME_PERCENT: u64 = 95;

pub async fn page(AppState(app): AppState<App>, Extension(caller): Extension<Caller>, uri: Uri) -> Response {
    let days = days_of(&uri);
    let content = match report(&app, days).await {
        Err(report) => html! { h1 { "Visitors" } (parts::report(&report)) },
        Ok(report) => draw(&report, days),
    };
    let drawn = Drawn::of("Visitors", vec![("Visitors".into(), format!("/visitors?days={days}"))], content);
    layout::page(&caller, &drawn).into_response()
}

fn days_of(uri: &Uri) -> u32 {
    let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let asked = pairs.into_iter().find(|(name, _)| name == "days").and_then(|(_, days)| days.parse().ok());
    asked.filter(|days| PERIODS.iter().any(|(known, _)| known == days)).unwrap_or(PERIODS[1].0)
}

pub async fn report(app: &App, days: u32) -> Result<VisitReport, Report> {
    let Some(visits) = &app.attached.visits else {
        return Err(Report::environment("visits are not counted").hint("`daemon.log` says why"));
    };
    match timeout(ANSWER_WAIT, visits.report(days)).await {
        Ok(report) => report,
        Err(_) => Err(Report::environment("visits gave no answer within 5 s").hint("reload the page")),
    }
}

fn draw(report: &VisitReport, chosen: u32) -> Markup {
    let sum = |of: fn(&VisitDay) -> u64| report.days.iter().map(of).sum::<u64>();
    let nobody = sum(|day| day.requests) == 0;
    html! {
        h1 { (sentence(report)) }
        nav.ranges aria-label="Period" {
            @for (days, name) in PERIODS {
                a href={ "/visitors?days=" (days) } aria-current=[(days == chosen).then_some("true")] { (name) }
            }
        }
        @if nobody {
            p { "Nobody has asked for anything on a published port in this time." }
            @if sum(|day| day.bot_requests) > 0 { p.quiet { "Bots and programs: " (sum(|day| day.bot_requests)) " requests." } }
        } @else {
            dl.tiles {
                (tile("Visits", sum(|day| day.visitors), "one visitor on one day"))
                (tile("Pages viewed", sum(|day| day.pages), ""))
                (tile("Files", sum(|day| day.files), "parts of pages"))
                (tile("Calls", sum(|day| day.calls), "of programs and forms"))
                (tile("Refused", sum(|day| day.refused), "4xx"))
                (tile("Failed", sum(|day| day.failed), "5xx"))
                (tile("Bots", sum(|day| day.bot_requests), "requests, not counted elsewhere"))
            }
            @if report.days.len() > 1 { (days(&report.days)) }
            (pages(report))
        }
        p.quiet {
            "Counted by the gateway without cookies: a visitor is an address and a browser on one day in UTC, told apart by a "
            "key that is thrown away when the day ends. A page has 0.4\u{a0}s on the server and 0.4\u{a0}s on the network; "
            code { "juchu probe URL" } " shows both."
        }
    }
}

fn sentence(report: &VisitReport) -> String {
    match report.now {
        0 => format!("Nobody is here: no visitor in the last {} minutes.", report.now_minutes),
        1 => format!("1 visitor in the last {} minutes.", report.now_minutes),
        count => format!("{count} visitors in the last {} minutes.", report.now_minutes),
    }
}

fn tile(name: &str, value: u64, more: &str) -> Markup {
    html! {
        div { dt { (name) } dd { b { (Unit::Count.text(value as f64)) } @if !more.is_empty() { " " span.quiet { (more) } } } }
    }
}

fn days(days: &[VisitDay]) -> Markup {
    let visitors: Vec<u64> = days.iter().map(|day| day.visitors).collect();
    html! {
        section #days {
            h2 { "Days" }
            div.bars { span { "visits" } (chart::bars(&visitors)) span.number { "most " (visitors.iter().max().unwrap_or(&0)) } }
            details {
                summary { "Each day" }
                table {
                    thead { tr {
                        th scope="col" { "Day" } th.number scope="col" { "Visits" } th.number scope="col" { "Pages" }
                        th.number scope="col" { "Requests" } th.number scope="col" { "Failed" } th.number.wide scope="col" { "Sent" }
                        th.number.wide scope="col" { "Bots" }
                    } }
                    tbody { @for day in days.iter().rev() { tr {
                        td { (plain(&day.date)) }
                        td.number { @if day.is_estimate { "about " } (day.visitors) }
                        td.number { (day.pages) } td.number { (day.requests) } td.number { (day.failed) }
                        td.number.wide { (Unit::Bytes.text(day.bytes as f64)) }
                        td.number.wide { (day.bots) }
                    } } }
                }
            }
        }
    }
}

fn pages(report: &VisitReport) -> Markup {
    html! {
        section #pages {
            h2 { "Pages" }
            @if report.pages.is_empty() { p.quiet { "No page was viewed." } } @else {
                table {
                    thead { tr {
                        th scope="col" { "Server time" } th scope="col" { "Page" } th.number scope="col" { "Views" }
                        th.number scope="col" { "Mean" } th.number.wide scope="col" { "Slowest" }
                        th.number scope="col" { "Within 0.4\u{a0}s" } th.number.wide scope="col" { "Failed" }
                    } }
                    tbody { @for page in report.pages.iter().take(PAGES_SHOWN) { (row(page)) } }
                }
                @let left_out = report.pages.len().saturating_sub(PAGES_SHOWN);
                @if left_out > 0 { p.quiet { (left_out) " more: " code { "juchu visitors --all" } } }
                @if report.other_views > 0 { p.quiet { (report.other_views) " views of pages that are too many to be told apart." } }
            }
        }
    }
}

fn row(page: &VisitedPage) -> Markup {
    let percent = page.in_time_percent();
    let (look, word) =
        if percent >= IN_TIME_PERCENT { (State::Ready, "in time") } else { (State::Unhealthy, "slow") };
    let time = |us: u64| Unit::Seconds.text(us as f64 / 1e6);
    html! {
        tr {
            td { (parts::labelled(look, word)) }
            td { (plain(&page.name)) }
            td.number { (page.views) }
            td.number data-name="mean" { (time(page.mean_us)) }
            td.number.wide { (time(page.slowest_us)) }
            td.number data-name="within 0.4\u{a0}s" { (percent) "\u{a0}%" }
            td.number.wide { (page.failed) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_periods_are_asked_for() {
        let days = |address: &str| days_of(&address.parse().expect("an address"));
        assert_eq!(
            (days("/visitors?days=30"), days("/visitors?days=4000000000"), days("/visitors")),
            (30, 7, 7)
        );
    }

    #[test]
    fn names_of_pages_do_no_harm() {
        let name = "shop/<script>\"\u{1b}[2J".to_owned();
        let page = VisitedPage { name, views: 4, in_time: 3, mean_us: 500_000, ..VisitedPage::default() };
        let day = VisitDay { date: "2026-11-23".into(), requests: 9, visitors: 2, ..VisitDay::default() };
        let report =
            VisitReport { now: 1, now_minutes: 5, days: vec![day], pages: vec![page], other_views: 0 };
        let drawn = draw(&report, 1).into_string();
        assert!(!drawn.contains("<script>") && !drawn.contains('\u{1b}'));
        assert!(drawn.contains("1 visitor in the last 5 minutes.") && drawn.contains("75\u{a0}%"));
        assert!(drawn.contains("slow") && drawn.contains("500\u{a0}ms"));
    }
}
