//! Newest values in the text format: our own for any Prometheus, and whatever is asked for by name.

use super::Api;
use super::answer::{Refusal, packed};
use super::number::put_float;
use super::parameters::Parameters;
use crate::promql::{Query, Settings, Value};
use crate::{Labels, NAME};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use std::collections::BTreeMap;
use std::fmt::Write;

const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What Juchu says of itself and its gateway.
const OWN: &str = "{__name__=~\"juchu_.+|process_.+\"}";

pub async fn own(State(api): State<Api>, headers: HeaderMap) -> Result<Response, Refusal> {
    let text = exposed(&api, vec![OWN.to_owned()], false).await?;
    Ok(packed(&headers, KIND, text))
}

pub async fn federate(
    State(api): State<Api>,
    headers: HeaderMap,
    asked: Parameters,
) -> Result<Response, Refusal> {
    let selectors: Vec<String> = asked.all("match[]").map(str::to_owned).collect();
    asked.selectors()?;
    let text = exposed(&api, selectors, true).await?;
    Ok(packed(&headers, KIND, text))
}

async fn exposed(api: &Api, selectors: Vec<String>, with_times: bool) -> Result<String, Refusal> {
    let api = api.clone();
    let made = tokio::task::spawn_blocking(move || {
        let now = (api.now_ms)();
        let mut samples: BTreeMap<Labels, f64> = BTreeMap::new();
        for selector in &selectors {
            if let Value::Vector(answers) =
                Query::parse(selector)?.instant(&*api.metrics, now, &Settings::default())?
            {
                samples
                    .extend(answers.into_iter().filter_map(|a| Some((a.labels, *a.points.values.first()?))));
            }
        }
        Ok(written(&api, &samples, with_times.then_some(now)))
    });
    made.await.map_err(|_| Refusal::internal("the values could not be read"))?
}

/// All samples of a family together, after what it is.
fn written(api: &Api, samples: &BTreeMap<Labels, f64>, time_ms: Option<i64>) -> String {
    let mut families: BTreeMap<(&str, &str), Vec<(&Labels, f64)>> = BTreeMap::new();
    for (labels, value) in samples {
        let name = labels.get(NAME);
        families.entry((api.known.describe(name).0, name)).or_default().push((labels, *value));
    }
    let mut text = String::new();
    let mut last = "";
    for ((family, name), mut samples) in families {
        if family != last {
            let described = api.known.describe(name).1;
            let kind = if described.kind == "unknown" { "untyped" } else { &described.kind };
            let help = described.help.replace('\\', "\\\\").replace('\n', "\\n");
            writeln!(text, "# HELP {family} {help}\n# TYPE {family} {kind}")
                .expect("a text takes everything");
            last = family;
        }
        // Buckets rise.
        samples.sort_by(|a, b| bound(a.0).total_cmp(&bound(b.0)));
        for (labels, value) in samples {
            put_sample(&mut text, name, labels, value, time_ms);
        }
    }
    text
}

fn bound(labels: &Labels) -> f64 {
    match labels.get("le") {
        "" => 0.0,
        "+Inf" => f64::INFINITY,
        bound => bound.parse().unwrap_or_default(),
    }
}

fn put_sample(text: &mut String, name: &str, labels: &Labels, value: f64, time_ms: Option<i64>) {
    text.push_str(name);
    let mut before = '{';
    for (name, value) in labels.iter().filter(|(name, _)| *name != NAME) {
        text.push(before);
        before = ',';
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        write!(text, "{name}=\"{value}\"").expect("a text takes everything");
    }
    if before == ',' {
        text.push('}');
    }
    text.push(' ');
    put_float(text, value);
    if let Some(time) = time_ms {
        write!(text, " {time}").expect("a text takes everything");
    }
    text.push('\n');
}
