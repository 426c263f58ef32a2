//! `juchu map`: who calls whom, as the gateway counts it.

use super::args::Map;
use super::reach;
use super::screen::{Hue, Outcome, Screen};
use super::table::{Cell, Column, Table};
use crate::home::Home;
use console::api::v1::{Call, CallMap};
use console::{calls, traffic};

pub async fn map(screen: &Screen, home: &Home, args: Map) -> Outcome {
    let client = reach::running(home).await?;
    let mut map = client.map(args.range).await?;
    let is_wanted = |name: &str| {
        let short = name.rsplit('/').next().unwrap_or_default();
        args.services.is_empty() || args.services.iter().any(|wanted| wanted == name || wanted == short)
    };
    map.calls.retain(|call| is_wanted(&call.caller.to_string()) || is_wanted(&call.called()));
    if args.output.json {
        return screen.json(&map);
    }
    if map.calls.is_empty() {
        screen.note(format!("nothing has passed the gateway in the last {} minutes", map.minutes));
        screen.hint("`juchu map --range 6h` looks back further");
        return Ok(());
    }
    screen.print(&table(&map).render(screen.width, screen.out))
}

fn table(map: &CallMap) -> Table {
    let mut table = Table::new(vec![
        Column::kept("CALLER"),
        Column::kept("CALLS"),
        Column::kept("REQ/S").right(),
        Column::kept("FAILED").right(),
        Column::rank("MEDIAN", 2).right(),
        Column::kept("95 %").right(),
        Column::kept("OPEN").right(),
        Column::rank("RECEIVED/S", 3).right(),
        Column::rank("SENT/S", 3).right(),
    ]);
    for call in &map.calls {
        table.row(row(call));
    }
    table
}

fn row(call: &Call) -> Vec<Cell> {
    let is_http = call.requests > 0.0;
    let only = |is_there: bool, text: String| if is_there { text } else { String::new() };
    let time = |seconds: Option<f64>| seconds.map(|s| traffic::time((s * 1e6) as u64)).unwrap_or_default();
    let port = only(!call.port.is_empty(), format!(":{}", call.port));
    let failed = match call.failed() * 100.0 {
        none if none <= 0.0 => Cell::from(""),
        small if small < 0.1 => Cell::from("✗ <0.1 %").hue(Hue::Bad),
        some => Cell::from(format!("✗ {some:.1} %")).hue(Hue::Bad),
    };
    vec![
        Cell::from(call.caller.to_string()),
        Cell::from(format!("{}{port}", call.called())),
        Cell::from(only(is_http, calls::rate(call.requests))),
        failed,
        Cell::from(time(call.median_s)),
        Cell::from(time(call.p95_s)),
        Cell::from(only(!is_http, call.open.to_string())),
        Cell::from(traffic::bytes(call.received)),
        Cell::from(traffic::bytes(call.sent)),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::screen::Paint;
    use super::*;
    use console::calls::Caller;

    #[test]
    fn requests_and_sessions_stand_within_eighty_columns() {
        let http = Call {
            caller: Caller::Outside,
            stack: "shop".into(),
            service: "web".into(),
            port: "8000".into(),
            requests: 152.4,
            errors: 3.1,
            median_s: Some(0.0042),
            p95_s: Some(0.18),
            connections: 0.0,
            open: 0,
            received: 62_000.0,
            sent: 320_000.0,
        };
        let session = Call {
            caller: Caller::Service("shop/web".into()),
            service: "db".into(),
            port: "5432".into(),
            requests: 0.0,
            errors: 0.0,
            median_s: None,
            p95_s: None,
            connections: 0.1,
            open: 8,
            ..http.clone()
        };
        let map = CallMap { minutes: 5, calls: vec![http, session] };
        let wide = table(&map).render(None, Paint(false));
        insta::assert_snapshot!(wide, @r"
        CALLER    CALLS          REQ/S   FAILED  MEDIAN    95 %  OPEN  RECEIVED/S    SENT/S
        outside   shop/web:8000    152  ✗ 2.0 %  4.2 ms  180 ms           62.0 kB  320.0 kB
        shop/web  shop/db:5432                                      8     62.0 kB  320.0 kB
        ");
        let narrow = table(&map).render(Some(80), Paint(false));
        assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
    }
}
