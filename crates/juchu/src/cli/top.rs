//! `juchu top`: what passes through the gateway at the moment, by route and by instance.

mod keys;

use super::args::Top;
use super::reach;
use super::screen::{Hue, Outcome, Paint, Screen, look_of};
use super::signals::Signals;
use super::table::{Cell, Column, Table};
use crate::home::Home;
use console::client::Client;
use console::traffic::{self, Figures, Names, Row, View};
use model::flow::Status;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// From the alternate screen to the one that was there, with its cursor.
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
const HOME: &str = "\u{1b}[H";
const REST_OF_LINE: &str = "\u{1b}[K\n";
const REST_OF_SCREEN: &str = "\u{1b}[J";

pub async fn top(screen: &Screen, home: &Home, args: Top) -> Outcome {
    let client = reach::running(home).await?;
    let interval = args.interval.as_std();
    let first = client.traffic().await?;
    if args.output.json || args.once || screen.width.is_none() {
        let next = after(&client, interval).await?;
        let names = Names::of(&client.stacks().await?);
        let view = View::between(&first, &next, &args.services, &names);
        return match args.output.json {
            true => screen.json(&view),
            false => screen.print(&text(&view, screen.width, screen.out)),
        };
    }
    live(screen, &client, first, &args, interval).await
}

async fn after(client: &Client, interval: Duration) -> Outcome<Status> {
    tokio::time::sleep(interval).await;
    Ok(client.traffic().await?)
}

/// Shows it anew until somebody has seen enough.
async fn live(screen: &Screen, client: &Client, mut last: Status, args: &Top, interval: Duration) -> Outcome {
    let mut signals = Signals::new()?;
    let mut keys = keys::Keys::listen();
    screen.print(ENTER)?;
    let _back = Back(screen);
    let mut next = Instant::now() + interval;
    let mut names = Names::default();
    loop {
        tokio::select! {
            _ = signals.next() => return Ok(()),
            () = keys.quit() => return Ok(()),
            () = sleep_until(next) => {}
        }
        next = Instant::now() + interval;
        let now = client.traffic().await?;
        // They change when instances come and go, which is seldom.
        if !names.cover(&now) {
            names = Names::of(&client.stacks().await?);
        }
        let view = View::between(&last, &now, &args.services, &names);
        let (columns, lines) = size(screen);
        let shown = text(&view, Some(columns), screen.out);
        let shown: Vec<&str> = shown.lines().take(lines.saturating_sub(1)).collect();
        screen.print(&format!("{HOME}{}{REST_OF_LINE}{REST_OF_SCREEN}", shown.join(REST_OF_LINE)))?;
        last = now;
    }
}

/// The terminal as it was, however this ends.
struct Back<'s>(&'s Screen);

impl Drop for Back<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing any more.
        let _ = self.0.print(LEAVE);
    }
}

/// Columns and lines, which may change at any time.
fn size(screen: &Screen) -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    let known = |length: u16, or: usize| if length == 0 { or } else { usize::from(length) };
    let columns = size.map_or(80, |size| known(size.ws_col, 80));
    (screen.width.map_or(80, |_| columns), size.map_or(24, |size| known(size.ws_row, 24)))
}

fn text(view: &View, width: Option<usize>, paint: Paint) -> String {
    let mut text = headline(view);
    for (title, rows) in [("ADDRESS, ROUTE", &view.routes), ("SERVICE, INSTANCE", &view.instances)] {
        if !rows.is_empty() {
            text.push('\n');
            text.push_str(&table(title, rows).render(width, paint));
        }
    }
    if view.routes.is_empty() && view.instances.is_empty() {
        text.push_str("\nnothing passes through the gateway: no service has a port\n");
    }
    text
}

fn headline(view: &View) -> String {
    let uptime = model::DurationMs(view.uptime_s * 1_000);
    let mut text = format!(
        "gateway {} for {}, {} connections, {} requests/s\n",
        view.pid,
        uptime,
        view.connections,
        traffic::rate(view.requests_per_s),
    );
    if view.before > 0 {
        text.push_str(&format!("an older gateway still finishes {} connections\n", view.before));
    }
    text
}

fn table(title: &'static str, rows: &[Row]) -> Table {
    let mut table = Table::new(vec![
        Column::kept(title),
        Column::kept("REQ/S").right(),
        Column::kept("ERR/S").right(),
        Column::kept("P50").right(),
        Column::kept("P99").right(),
        Column::rank("5XX/S", 3).right(),
        Column::rank("4XX/S", 5).right(),
        Column::rank("ACTIVE", 2).right(),
        Column::rank("CONN/S", 6).right(),
        Column::rank("IN/S", 7).right(),
        Column::rank("OUT/S", 4).right(),
        Column::rank("STATE", 1),
    ]);
    for row in rows {
        table.row(cells(row));
    }
    table
}

fn cells(row: &Row) -> Vec<Cell> {
    let Figures { requests, errors, server_errors, client_errors, connections, bytes_in, bytes_out, .. } =
        row.figures;
    let counted = |value: f64| Cell::from(traffic::rate(value));
    let alarming = |value: f64, hue| if value > 0.0 { counted(value).hue(hue) } else { counted(value) };
    let time = |micros: Option<u64>| Cell::from(micros.map(traffic::time).unwrap_or_default());
    let indent = if row.is_part { "  " } else { "" };
    let (state, hue) = match row.state() {
        Some((state, words)) => (format!("{} {words}", look_of(state).0), look_of(state).2),
        None => (String::new(), Hue::Quiet),
    };
    vec![
        Cell::from(format!("{indent}{}", row.name)),
        counted(requests),
        alarming(errors, Hue::Bad),
        time(row.figures.p50_us),
        time(row.figures.p99_us),
        alarming(server_errors, Hue::Bad),
        alarming(client_errors, Hue::Warn),
        Cell::from(row.figures.active.to_string()),
        counted(connections),
        Cell::from(traffic::bytes(bytes_in)),
        Cell::from(traffic::bytes(bytes_out)),
        Cell::from(state).hue(hue),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use console::fake;

    fn check(services: &[&str], width: Option<usize>) -> String {
        let services: Vec<String> = services.iter().map(|name| (*name).to_owned()).collect();
        let stack = fake::guestbook_status();
        let (before, now) = (fake::traffic::guestbook(60), fake::traffic::guestbook(62));
        let view = View::between(&before, &now, &services, &Names::of(&[stack]));
        text(&view, width, Paint(false))
    }

    #[test]
    fn what_passes_is_shown_by_route_and_by_instance() {
        insta::assert_snapshot!(check(&[], None), @r#"
        gateway 4711 for 1 min 2 s, 5 connections, 150 requests/s

        ADDRESS, ROUTE                   REQ/S  ERR/S    P50    P99  5XX/S  4XX/S  ACTIVE  CONN/S     IN/S     OUT/S
        0.0.0.0:8080 guestbook/web:8000    150    3.0  12 ms  98 ms    3.0      0       2     1.0  60.0 kB  315.0 kB
        guestbook/web#1                     50    1.0  12 ms  98 ms    1.0      0       2     1.0  20.0 kB  105.0 kB

        SERVICE, INSTANCE                REQ/S  ERR/S    P50    P99  5XX/S  4XX/S  ACTIVE  CONN/S     IN/S     OUT/S  STATE
        guestbook/web:8000                 150    3.0  12 ms  98 ms    3.0      0       4     2.0  60.0 kB  315.0 kB
          web-1                            150    3.0  12 ms  98 ms    3.0      0       2     1.0  60.0 kB  315.0 kB  ● serving
          web-2                              0      0                    0      0       2     1.0        0         0  ✗ left alone
          copies to guestbook/next:8000     10      0  12 ms  12 ms      0      0       2     1.0   4.0 kB   21.0 kB  ▲ 1.0/s left out
        guestbook/db:5432                    0      0                    0      0       2     1.0        0         0
          db-1                               0      0                    0      0       2     1.0        0         0  ● serving
        "#);
    }

    #[test]
    fn a_narrow_terminal_keeps_what_matters() {
        insta::assert_snapshot!(check(&["web"], Some(60)), @r#"
        gateway 4711 for 1 min 2 s, 5 connections, 150 requests/s

        ADDRESS, ROUTE                   REQ/S  ERR/S    P50    P99
        0.0.0.0:8080 guestbook/web:8000    150    3.0  12 ms  98 ms
        guestbook/web#1                     50    1.0  12 ms  98 ms

        SERVICE, INSTANCE                REQ/S  ERR/S    P50    P99
        guestbook/web:8000                 150    3.0  12 ms  98 ms
          web-1                            150    3.0  12 ms  98 ms
          web-2                              0      0
          copies to guestbook/next:8000     10      0  12 ms  12 ms
        "#);
    }

    #[test]
    fn a_gateway_that_began_anew_counts_from_nothing() {
        let mut next = fake::traffic::guestbook(2);
        next.pid += 1;
        let view = View::between(&fake::traffic::guestbook(600), &next, &[], &Names::default());
        assert_eq!(view.requests_per_s, 150.0);
    }
}
