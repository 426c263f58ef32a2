//! `juchu query`: the measurements, asked in PromQL. Labels that all answers share are said once,
//! the others are columns.

use super::args::Query;
use super::reach;
use super::screen::{Outcome, Screen};
use super::table::{Cell, Column, Table};
use crate::home::Home;
use model::Report;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

/// How many values a range has unless a step is named.
const STEPS: u64 = 60;
/// Rows that are shown of an answer; `--json` has all.
const ROWS_MAX: usize = 500;
/// Characters of a trend.
const TREND: usize = 24;

pub async fn query(screen: &Screen, home: &Home, args: Query) -> Outcome {
    if args.targets {
        return super::targets::targets(screen, home, args.output.json).await;
    }
    let expression = args.expression.unwrap_or_default();
    let client = reach::running(home).await?;
    let end = match &args.at {
        Some(text) => text.clone(),
        None => seconds_now().to_string(),
    };
    let answer = match args.range {
        None => client.prometheus("query", &[("query", &expression), ("time", &end)]).await,
        Some(range) => {
            let end_s = seconds(&end)?;
            let start = (end_s - range.0 as f64 / 1000.0).to_string();
            let step = args.step.map_or((range.0 / STEPS).max(1000), |step| step.0) as f64 / 1000.0;
            let form = [
                ("query", &*expression),
                ("start", &*start),
                ("end", &*end_s.to_string()),
                ("step", &*step.to_string()),
            ];
            client.prometheus("query_range", &form).await
        }
    };
    let answer = answer.map_err(|error| match error {
        console::client::ClientError::Refused(report) => {
            report.hint("juchu query 'topk(5, rate(container_cpu_usage_seconds_total[1m]))'")
        }
        other => other.into(),
    })?;
    let data = &answer["data"];
    if args.output.json {
        return screen.json(data);
    }
    let series = read(data);
    if series.is_empty() {
        screen.note("nothing was measured by this name at that time");
        screen.hint("`juchu query 'count by (__name__) ({__name__!=\"\"})'` lists what there is");
        return Ok(());
    }
    screen.print(&text(&series, screen.width, screen.out))
}

/// A series of the answer.
struct Series {
    labels: BTreeMap<String, String>,
    values: Vec<f64>,
}

fn read(data: &Json) -> Vec<Series> {
    let number = |point: &Json| point[1].as_str().map(float).unwrap_or(f64::NAN);
    let labels = |series: &Json| {
        let labels = series["metric"].as_object().into_iter().flatten();
        labels.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
    };
    match data["resultType"].as_str() {
        Some("scalar" | "string") => {
            let text = data["result"][1].as_str().unwrap_or_default();
            vec![Series { labels: BTreeMap::new(), values: vec![float(text)] }]
        }
        _ => data["result"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|series| Series {
                labels: labels(series),
                values: match series["values"].as_array() {
                    Some(points) => points.iter().map(number).collect(),
                    None => vec![number(&series["value"])],
                },
            })
            .collect(),
    }
}

fn float(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse().unwrap_or(f64::NAN),
    }
}

fn text(series: &[Series], width: Option<usize>, paint: super::screen::Paint) -> String {
    let names: BTreeSet<&str> = series.iter().flat_map(|s| s.labels.keys()).map(String::as_str).collect();
    let value = |series: &Series, name: &str| series.labels.get(name).cloned().unwrap_or_default();
    let (shared, differing): (Vec<&str>, Vec<&str>) = names
        .into_iter()
        .partition(|name| series.iter().all(|one| value(one, name) == value(&series[0], name)));
    let mut text = String::new();
    let told: Vec<String> = shared
        .iter()
        .filter(|name| **name != "__name__")
        .map(|name| format!("{name}={}", value(&series[0], name)))
        .collect();
    let metric = value(&series[0], "__name__");
    if series.len() > 1 && (!told.is_empty() || (shared.contains(&"__name__") && !metric.is_empty())) {
        let metric = if shared.contains(&"__name__") { metric } else { String::new() };
        text.push_str(format!("{metric} {}", told.join(" ")).trim());
        text.push('\n');
    }
    let columns = if series.len() == 1 { Vec::new() } else { differing };
    let is_range = series.iter().any(|one| one.values.len() > 1);
    text.push_str(&table(series, &columns, is_range).render(width, paint));
    if series.len() > ROWS_MAX {
        text.push_str(&format!("{} more; --json has all\n", series.len() - ROWS_MAX));
    }
    text
}

/// Titles of columns must outlive the program; labels are few.
fn table(series: &[Series], columns: &[&str], is_range: bool) -> Table {
    let mut titles = vec![Column::kept(if columns.is_empty() { "SERIES" } else { "LABELS" })];
    titles.push(Column::kept(if is_range { "LAST" } else { "VALUE" }).right());
    if is_range {
        titles.extend([
            Column::rank("MIN", 1).right(),
            Column::rank("MAX", 1).right(),
            Column::rank("MEAN", 2).right(),
            Column::rank("TREND", 3),
        ]);
    }
    let mut table = Table::new(titles);
    for one in series.iter().take(ROWS_MAX) {
        let name = match columns.is_empty() {
            true => selector(&one.labels),
            false => columns
                .iter()
                .filter_map(|column| one.labels.get(*column).map(|value| format!("{column}={value}")))
                .collect::<Vec<_>>()
                .join(" "),
        };
        let numbers: Vec<f64> = one.values.iter().copied().filter(|value| !value.is_nan()).collect();
        let last = one.values.last().copied().unwrap_or(f64::NAN);
        let mut cells = vec![Cell::from(name), Cell::from(shown(last))];
        if is_range {
            let least = numbers.iter().copied().fold(f64::INFINITY, f64::min);
            let most = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
            cells.extend([least, most, mean].map(|value| Cell::from(shown(value))));
            cells.push(Cell::from(trend(&numbers)));
        }
        table.row(cells);
    }
    table
}

fn selector(labels: &BTreeMap<String, String>) -> String {
    let name = labels.get("__name__").cloned().unwrap_or_default();
    let others: Vec<String> = labels
        .iter()
        .filter(|(name, _)| *name != "__name__")
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    match (others.is_empty(), name.is_empty()) {
        (true, true) => "value".to_owned(),
        (true, false) => name,
        _ => format!("{name}{{{}}}", others.join(", ")),
    }
}

/// Six digits that count, and no more.
fn shown(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return if value.is_nan() { "–".to_owned() } else { value.to_string() };
    }
    if size != 0.0 && !(1e-4..1e15).contains(&size) {
        return format!("{value:.3e}");
    }
    let decimals = (5 - size.max(1.0).log10().floor() as i32).clamp(0, 6) as usize;
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// The course of the values in as many steps of height as there are characters for.
fn trend(values: &[f64]) -> String {
    const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    if values.len() < 2 {
        return String::new();
    }
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let count = values.len().min(TREND);
    (0..count)
        .map(|at| {
            let part = &values[at * values.len() / count..(at + 1) * values.len() / count];
            let mean = part.iter().sum::<f64>() / part.len() as f64;
            let height = if most > least { (mean - least) / (most - least) } else { 0.0 };
            STEPS[((height * 7.0).round() as usize).min(7)]
        })
        .collect()
}

fn seconds(text: &str) -> Result<f64, Report> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let time = console::when::parse(text).ok_or_else(|| {
        Report::usage(format!("{text} is no time")).hint("--at 2026-11-23T07:00:00Z, or seconds since 1970")
    })?;
    Ok(time.0 as f64 / 1000.0)
}

fn seconds_now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::super::screen::Paint;
    use super::*;

    fn check(answer: &str) -> String {
        text(&read(&serde_json::from_str(answer).expect("JSON")), None, Paint(false))
    }

    #[test]
    fn what_differs_is_shown_and_what_is_shared_said_once() {
        insta::assert_snapshot!(check(r#"{"resultType":"vector","result":[
            {"metric":{"__name__":"up","job":"node","instance":"a"},"value":[1,"1"]},
            {"metric":{"__name__":"up","job":"node","instance":"b"},"value":[1,"0"]}]}"#), @"
        up job=node
        LABELS      VALUE
        instance=a      1
        instance=b      0
        ");
        insta::assert_snapshot!(check(r#"{"resultType":"vector","result":[
            {"metric":{"__name__":"node_load1","job":"node"},"value":[1,"0.51234567"]}]}"#), @r#"
        SERIES                    VALUE
        node_load1{job="node"}  0.51235
        "#);
        insta::assert_snapshot!(check(r#"{"resultType":"scalar","result":[1,"2"]}"#), @"
        SERIES  VALUE
        value       2
        ");
    }

    #[test]
    fn a_range_has_its_extremes_and_its_course() {
        insta::assert_snapshot!(check(r#"{"resultType":"matrix","result":[
            {"metric":{"cpu":"0"},"values":[[1,"1"],[2,"2"],[3,"4"],[4,"8"]]},
            {"metric":{"cpu":"1"},"values":[[1,"5"],[2,"NaN"],[3,"5"]]}]}"#), @"
        LABELS  LAST  MIN  MAX  MEAN  TREND
        cpu=0      8    1    8  3.75  ▁▂▄█
        cpu=1      5    5    5     5  ▁▁
        ");
    }

    #[test]
    fn numbers_have_six_digits() {
        let all: Vec<String> =
            [0.0, 1.0, 1234567.0, 0.1 + 0.2, 1e-9, 25276502016.0, f64::NAN].map(shown).to_vec();
        assert_eq!(all, ["0", "1", "1234567", "0.3", "1.000e-9", "25276502016", "–"]);
    }
}
