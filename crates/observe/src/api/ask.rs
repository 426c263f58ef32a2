//! Queries, and what there is to ask for.

use super::answer::{Refusal, put_labels, success, value};
use super::parameters::Parameters;
use super::{Api, QUERY_TIMEOUT};
use crate::promql::{Query, Settings};
use crate::{Labels, Matcher, NAME};
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

type Answer = Result<Response, Refusal>;

pub async fn instant(State(api): State<Api>, headers: HeaderMap, asked: Parameters) -> Answer {
    let time = asked.time("time", (api.now_ms)())?;
    let query = Query::parse(asked.get("query").unwrap_or_default())?;
    let lookback = lookback(&asked)?;
    let text = evaluate(&api, timeout(&asked)?, move |api, is_over| {
        let settings = Settings { is_over, lookback_ms: lookback, ..Settings::default() };
        Ok(value(&query.instant(&*api.metrics, time, &settings)?))
    });
    Ok(success(&headers, &text.await?))
}

pub async fn range(State(api): State<Api>, headers: HeaderMap, asked: Parameters) -> Answer {
    let (start, end) = (asked.needed_time("start")?, asked.needed_time("end")?);
    let Some(step) = asked.duration("step")? else {
        return Err(Refusal::parameter("step", "cannot parse \"\" to a valid duration"));
    };
    let query = Query::parse(asked.get("query").unwrap_or_default())?;
    let lookback = lookback(&asked)?;
    let text = evaluate(&api, timeout(&asked)?, move |api, is_over| {
        let settings = Settings { is_over, lookback_ms: lookback, ..Settings::default() };
        Ok(value(&query.range(&*api.metrics, start, end, step, &settings)?))
    });
    Ok(success(&headers, &text.await?))
}

fn lookback(asked: &Parameters) -> Result<i64, Refusal> {
    let asked = asked.duration("lookback_delta")?.filter(|length| *length > 0);
    Ok(asked.unwrap_or(Settings::default().lookback_ms))
}

fn timeout(asked: &Parameters) -> Result<Duration, Refusal> {
    let asked = asked.duration("timeout")?.and_then(|length| u64::try_from(length).ok());
    Ok(asked.map_or(QUERY_TIMEOUT, |length| Duration::from_millis(length).min(QUERY_TIMEOUT)))
}

/// Says so when nobody waits for the answer any more.
struct Left(Arc<AtomicBool>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does the work on a thread that may be held, within the time, and only while somebody waits.
async fn evaluate<T: Send + 'static>(
    api: &Api,
    limit: Duration,
    work: impl FnOnce(&Api, &dyn Fn() -> bool) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let end = Instant::now() + limit;
    let place = tokio::time::timeout(limit, Arc::clone(&api.running).acquire_owned());
    let Ok(Ok(place)) = place.await else { return Err(Refusal::timed_out()) };
    let left = Left(Arc::default());
    let (api, flag) = (api.clone(), Arc::clone(&left.0));
    let working = tokio::task::spawn_blocking(move || {
        let _place = place;
        work(&api, &|| flag.load(Ordering::Relaxed) || Instant::now() >= end)
    });
    let done = working.await;
    drop(left);
    done.map_err(|_| Refusal::internal("the query could not be evaluated"))?
}

/// None are kept.
pub async fn exemplars(headers: HeaderMap, asked: Parameters) -> Answer {
    Query::parse(asked.get("query").unwrap_or_default())?;
    Ok(success(&headers, "[]"))
}

/// Series of any of the selectors; of all where none is given.
async fn found(api: &Api, asked: &Parameters) -> Result<BTreeSet<Labels>, Refusal> {
    let mut selectors = asked.selectors()?;
    if selectors.is_empty() {
        selectors.push(vec![Matcher::differs(NAME, "")]);
    }
    let (from, to) = (asked.time("start", i64::MIN / 2)?, asked.time("end", i64::MAX / 2)?);
    let limit = timeout(asked)?;
    evaluate(api, limit, move |api, is_over| {
        let mut found = BTreeSet::new();
        for selector in &selectors {
            if is_over() {
                return Err(Refusal::timed_out());
            }
            found.extend(api.metrics.labels(selector, from, to)?);
        }
        Ok(found)
    })
    .await
}

pub async fn series(State(api): State<Api>, headers: HeaderMap, asked: Parameters) -> Answer {
    if asked.selectors()?.is_empty() {
        return Err(Refusal::bad_data("no match[] parameter provided"));
    }
    let mut text = String::from("[");
    for (at, labels) in found(&api, &asked).await?.iter().take(asked.limit()?).enumerate() {
        if at > 0 {
            text.push(',');
        }
        put_labels(&mut text, labels);
    }
    text.push(']');
    Ok(success(&headers, &text))
}

pub async fn labels(State(api): State<Api>, headers: HeaderMap, asked: Parameters) -> Answer {
    let found = found(&api, &asked).await?;
    let names: BTreeSet<&str> = found.iter().flat_map(|labels| labels.iter()).map(|(name, _)| name).collect();
    Ok(success(&headers, &list(names.into_iter().take(asked.limit()?))))
}

pub async fn values(
    State(api): State<Api>,
    Path(name): Path<String>,
    headers: HeaderMap,
    asked: Parameters,
) -> Answer {
    let is_name = |text: &str| {
        text.bytes()
            .enumerate()
            .all(|(at, byte)| byte == b'_' || byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()))
    };
    if name.is_empty() || !is_name(&name) {
        return Err(Refusal::bad_data(format!("invalid label name: {name:?}")));
    }
    let found = found(&api, &asked).await?;
    let values: BTreeSet<&str> =
        found.iter().map(|labels| labels.get(&name)).filter(|value| !value.is_empty()).collect();
    Ok(success(&headers, &list(values.into_iter().take(asked.limit()?))))
}

fn list<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    serde_json::Value::from_iter(texts).to_string()
}

/// Kind and meaning of metrics, by their names.
pub async fn metadata(State(api): State<Api>, headers: HeaderMap, asked: Parameters) -> Answer {
    let wanted = asked.get("metric").map(str::to_owned);
    let limit = asked.limit()?;
    let data = evaluate(&api, QUERY_TIMEOUT, move |api, _| {
        let matcher = match &wanted {
            Some(name) => Matcher::equal(NAME, name),
            None => Matcher::differs(NAME, ""),
        };
        // What was there lately: clients ask for it to complete what is typed.
        let now = (api.now_ms)();
        let found = api.metrics.labels(&[matcher], now - 3_600_000, now)?;
        let names: BTreeSet<&str> = found.iter().map(|labels| labels.get(NAME)).collect();
        let mut data = serde_json::Map::new();
        for name in names {
            let (family, described) = api.known.describe(name);
            if data.len() >= limit && !data.contains_key(family) {
                continue;
            }
            let entry = serde_json::json!([{ "type": described.kind, "help": described.help, "unit": "" }]);
            data.entry(family).or_insert(entry);
        }
        Ok(serde_json::Value::from(data).to_string())
    });
    Ok(success(&headers, &data.await?))
}
