//! Expressions and their answers: those of Prometheus, stored and asked for anew.
//!
//! `expressions.txt` is our list, `answers.json` what Debian's Prometheus 2.42 says to it. With
//! `OBSERVE_WRITE_ANSWERS=1` the test that asks Prometheus writes them. `OBSERVE_EXPRESSIONS` and
//! `OBSERVE_SAMPLES` (OpenMetrics) name other lists and data to compare both programs with.

mod memory;
mod prometheus;

use memory::Memory;
use observe::promql::{Query, QueryError, Settings, Value};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where the steps of range queries lie, in seconds.
const START: i64 = 1_790_006_400;
const RANGE: (i64, i64, i64) = (START + 5000, START + 5600, 150);

/// Others' data is looked at more closely.
fn range() -> (i64, i64, i64) {
    let (start, end, step) = RANGE;
    (start, end, if std::env::var_os("OBSERVE_SAMPLES").is_some() { 10 } else { step })
}

fn expressions() -> Vec<String> {
    let path = std::env::var("OBSERVE_EXPRESSIONS").map(PathBuf::from);
    let text = match path {
        Ok(path) => std::fs::read_to_string(path).unwrap(),
        Err(_) => include_str!("expressions.txt").to_owned(),
    };
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// The answer as Prometheus writes it, series by labels; or the error.
fn ours(samples: &Memory, expression: &str) -> Json {
    let settings = Settings::default();
    let (start, end, step) = range();
    let answer = Query::parse(expression)
        .and_then(|query| query.range(samples, start * 1000, end * 1000, step * 1000, &settings));
    match answer {
        Ok(Value::Matrix(answers)) => answers
            .into_iter()
            .map(|answer| {
                let labels: BTreeMap<&str, &str> = answer.labels.iter().collect();
                let points = answer.points.times_ms.iter().zip(&answer.points.values);
                let values: Vec<Json> =
                    points.map(|(time, value)| json!([time / 1000, text(*value)])).collect();
                (serde_json::to_string(&labels).unwrap(), Json::from(values))
            })
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Ok(other) => panic!("{expression}: a range has no answer of the kind {other:?}"),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

fn text(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".into(),
        f64::NEG_INFINITY => "-Inf".into(),
        value => value.to_string(),
    }
}

/// What differs, if anything: labels, times, values by more than 1e-9 of them; that both fail is enough.
fn difference(ours: &Json, theirs: &Json) -> Option<String> {
    let object = |json: &Json| json.as_object().expect("an answer is an object").clone();
    let (a, b) = (object(ours), object(theirs));
    match (a.get("error"), b.get("error")) {
        (Some(_), Some(_)) => return None,
        (None, None) => {}
        _ => return Some(format!("ours {ours}\ntheirs {theirs}")),
    }
    if a.keys().ne(b.keys()) {
        return Some(format!("series: ours {:?}\ntheirs {:?}", a.keys(), b.keys()));
    }
    a.iter().find_map(|(labels, values)| {
        let (x, y) = (values.as_array().expect("values"), b[labels].as_array().expect("values"));
        let is_same = x.len() == y.len()
            && x.iter().zip(y).all(|(x, y)| x[0].as_i64() == y[0].as_i64() && is_near(&x[1], &y[1]));
        (!is_same).then(|| format!("{labels}: ours {values}\ntheirs {}", b[labels]))
    })
}

fn is_near(a: &Json, b: &Json) -> bool {
    let number = |json: &Json| json.as_str().unwrap().parse::<f64>().unwrap();
    let (a, b) = (number(a), number(b));
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

fn samples_text() -> String {
    match std::env::var("OBSERVE_SAMPLES") {
        Ok(path) => std::fs::read_to_string(path).unwrap(),
        Err(_) => memory::invented(START),
    }
}

fn assert_same(samples: &Memory, theirs: impl Fn(&str) -> Json) {
    let expressions = expressions();
    let (mut differences, mut mistakes, mut empty) = (Vec::new(), 0, 0);
    for expression in &expressions {
        let ours = ours(samples, expression);
        mistakes += usize::from(ours.get("error").is_some());
        empty += usize::from(ours.as_object().is_some_and(serde_json::Map::is_empty));
        if let Some(difference) = difference(&ours, &theirs(expression)) {
            differences.push(format!("{expression}\n{}", difference.chars().take(1500).collect::<String>()));
        }
    }
    let (all, agreed) = (expressions.len(), expressions.len() - differences.len());
    eprintln!("{agreed} of {all} expressions agree; {mistakes} are mistakes, {empty} have no answer");
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

#[test]
fn answers_are_those_that_prometheus_gave() {
    if std::env::var_os("OBSERVE_EXPRESSIONS").is_some()
        || std::env::var_os("OBSERVE_WRITE_ANSWERS").is_some()
    {
        return;
    }
    let stored: Json = serde_json::from_str(include_str!("answers.json")).unwrap();
    assert_same(&Memory::parse(&memory::invented(START)), |expression| {
        stored.get(expression).unwrap_or_else(|| panic!("no stored answer for {expression}")).clone()
    });
}

#[test]
fn answers_are_those_that_prometheus_gives() {
    let Some(program) = testkit::needs("prometheus", "prometheus") else { return };
    let Some(tool) = testkit::needs("promtool", "prometheus") else { return };
    let text = samples_text();
    let server = prometheus::Server::start(&program, &tool, &text);
    let theirs = |expression: &str| server.range(expression, range());
    if std::env::var_os("OBSERVE_WRITE_ANSWERS").is_some() {
        let answers: BTreeMap<String, Json> =
            expressions().into_iter().map(|expression| (expression.clone(), theirs(&expression))).collect();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/promql/answers.json");
        let lines: Vec<String> =
            answers.iter().map(|(of, answer)| format!("{}: {answer}", Json::from(of.as_str()))).collect();
        std::fs::write(path, format!("{{\n{}\n}}\n", lines.join(",\n"))).unwrap();
    }
    assert_same(&Memory::parse(&text), theirs);
}

fn instant(samples: &Memory, expression: &str, time: i64) -> Result<Value, QueryError> {
    Query::parse(expression)?.instant(samples, time * 1000, &Settings::default())
}

fn numbers(value: Value) -> Vec<(String, f64)> {
    let Value::Vector(answers) = value else { panic!("an instant vector is expected, not {value:?}") };
    answers.into_iter().map(|answer| (answer.labels.to_string(), answer.points.values[0])).collect()
}

#[test]
fn an_ended_series_is_gone_at_once_and_a_silent_one_after_the_lookback() {
    let stale = f64::to_bits(observe::STALE);
    let samples = Memory::of([
        ("ended", vec![(0, 1f64.to_bits()), (10, stale)]),
        ("silent", vec![(0, 2f64.to_bits())]),
    ]);
    let at = |expression, time| numbers(instant(&samples, expression, time).unwrap());
    assert_eq!(at("ended", 9), [("ended".to_owned(), 1.0)]);
    assert_eq!(at("ended", 10), []);
    assert_eq!(at("silent", 300), [("silent".to_owned(), 2.0)]);
    assert_eq!(at("silent", 301), []);
    assert_eq!(at("count_over_time(ended[1m])", 30), [("{}".to_owned(), 1.0)]);
}

#[test]
fn an_instant_answer_has_the_order_and_the_kind_that_is_asked_for() {
    let value = |number: f64| vec![(0, number.to_bits())];
    let samples =
        Memory::of([("a", value(2.0)), ("b", value(3.0)), ("c", value(f64::NAN)), ("d", value(1.0))]);
    let names = |expression: &str| -> String {
        numbers(instant(&samples, expression, 10).unwrap()).into_iter().map(|(labels, _)| labels).collect()
    };
    let all = r#"{__name__=~"[a-d]"}"#;
    assert_eq!(names(&format!("sort({all})")), "dabc");
    assert_eq!(names(&format!("sort_desc({all})")), "badc");
    assert_eq!(names(&format!("topk(2, {all})")), "ba");
    assert_eq!(names(&format!("bottomk(5, {all})")), "dabc");
    assert_eq!(instant(&samples, "1+1", 10).unwrap(), Value::Scalar { time_ms: 10_000, value: 2.0 });
    assert_eq!(instant(&samples, "\"x\"", 10).unwrap(), Value::String { time_ms: 10_000, value: "x".into() });
    assert!(
        matches!(instant(&samples, "a[1m]", 10).unwrap(), Value::Matrix(found) if found[0].points.len() == 1)
    );
}

#[test]
fn limits_end_a_query_with_the_text_that_clients_know() {
    let samples = Memory::parse(&memory::invented(START));
    let run = |expression: &str, settings: &Settings<'_>, end: i64, step: i64| {
        let error =
            Query::parse(expression).unwrap().range(&samples, START * 1000, end, step, settings).unwrap_err();
        error.to_string()
    };
    let hour = START * 1000 + 3_600_000;
    assert_eq!(
        run("1", &Settings::default(), START * 1000 + 11_000_000, 1000),
        "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"
    );
    let few = Settings { samples_max: 100, ..Settings::default() };
    assert!(run("rate(hits_total[5m])", &few, hour, 1000).contains("too many samples"));
    let small = Settings { numbers_max: 100, ..Settings::default() };
    assert!(run("hits_total", &small, hour, 1000).contains("too many samples"));
    assert!(
        run("max_over_time(vector(1)[10y:1ms])", &Settings::default(), hour, 1000)
            .contains("too many samples")
    );
    let over = Settings { is_over: &|| true, ..Settings::default() };
    assert_eq!(run("hits_total", &over, hour, 1000), "query timed out in expression evaluation");
    assert!(run("hits_total", &Settings::default(), START, 1000).contains("end timestamp"));
    assert!(
        Query::parse("sum(").is_err_and(|error| error.to_string().starts_with("invalid parameter \"query\""))
    );
}

/// As deep as the limit allows, on the small stack of a test.
#[test]
fn the_deepest_expression_is_evaluated() {
    let samples = Memory::parse(&memory::invented(START));
    let deep = [
        "-".repeat(290) + "cores",
        "(".repeat(290) + "cores" + &")".repeat(290),
        "abs(".repeat(290) + "cores" + &")".repeat(290),
        vec!["cores"; 290].join(" or "),
        vec!["cores"; 140].join(" + on(host) "),
    ];
    for expression in deep {
        let settings = Settings { numbers_max: u64::MAX, ..Settings::default() };
        let answer = Query::parse(&expression)
            .and_then(|query| query.instant(&samples, (START + 60) * 1000, &settings));
        assert_eq!(numbers(answer.unwrap()).len(), 3);
    }
}
