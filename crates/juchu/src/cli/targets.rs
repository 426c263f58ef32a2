//! `juchu query --targets`: whose metrics are read, and how that went.

use super::reach;
use super::screen::{Hue, Outcome, Screen};
use super::table::{Cell, Column, Table};
use crate::home::Home;
use serde_json::Value as Json;

pub async fn targets(screen: &Screen, home: &Home, as_json: bool) -> Outcome {
    let answer = reach::running(home).await?.prometheus("targets", &[]).await?;
    let targets = &answer["data"]["activeTargets"];
    if as_json {
        return screen.json(targets);
    }
    let targets = targets.as_array().map(Vec::as_slice).unwrap_or_default();
    if targets.is_empty() {
        screen.note("no service that runs says where it shows metrics");
        screen.hint("give a service `x-juchu: {metrics: PORT}`");
        return Ok(());
    }
    screen.print(&table(targets).render(screen.width, screen.out))
}

fn table(targets: &[Json]) -> Table {
    let mut table = Table::new(vec![
        Column::kept("SERVICE"),
        Column::rank("INSTANCE", 1),
        Column::kept("STATE"),
        Column::rank("EVERY", 4).right(),
        Column::rank("TOOK", 3).right(),
        Column::rank("ADDRESS", 2),
        Column::kept("ERROR"),
    ]);
    for target in targets {
        let text = |key: &str| target[key].as_str().unwrap_or_default().to_owned();
        let state = text("health");
        let hue = match state.as_str() {
            "up" => Hue::Good,
            "down" => Hue::Bad,
            _ => Hue::Quiet,
        };
        let took = target["lastScrapeDuration"].as_f64().unwrap_or_default() * 1000.0;
        let took = if state == "unknown" { String::new() } else { format!("{took:.1} ms") };
        table.row(vec![
            Cell::from(text("scrapePool")),
            Cell::from(target["labels"]["instance"].as_str().unwrap_or_default()),
            Cell::from(state).hue(hue),
            Cell::from(text("scrapeInterval")),
            Cell::from(took),
            Cell::from(text("scrapeUrl")),
            Cell::from(text("lastError")),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::screen::Paint;
    use super::*;

    #[test]
    fn one_that_fails_says_why() {
        let targets = serde_json::json!([
            {"scrapePool": "shop/web", "labels": {"instance": "66cc5cd471f8"}, "health": "up", "scrapeInterval": "10s",
             "lastScrapeDuration": 0.00123, "scrapeUrl": "http://10.90.0.2:80/metrics", "lastError": ""},
            {"scrapePool": "shop/db", "labels": {"instance": "8397108635ec"}, "health": "down", "scrapeInterval": "10s",
             "lastScrapeDuration": 0.5, "scrapeUrl": "http://10.90.0.3:9187/metrics",
             "lastError": "connect: Connection refused (os error 111)"},
        ]);
        let text = table(targets.as_array().expect("a list")).render(None, Paint(false));
        insta::assert_snapshot!(text, @r"
        SERVICE   INSTANCE      STATE  EVERY      TOOK  ADDRESS                        ERROR
        shop/web  66cc5cd471f8  up       10s    1.2 ms  http://10.90.0.2:80/metrics
        shop/db   8397108635ec  down     10s  500.0 ms  http://10.90.0.3:9187/metrics  connect: Connection refused (os error 111)
        ");
    }
}
