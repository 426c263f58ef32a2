//! The port [`Traces`] over the store: bounded in time.

use async_trait::async_trait;
use model::{Report, Timestamp};
use observe::logs::Logs;
use observe::traces::search::{Placed, SPANS_MAX, Summary, TRACES_MAX, Wanted, trace, traces};
use run::traces::{KeptSpan, Trace, TraceAnswer, TraceQuestion, TraceSummary, Traces};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// A search ends after this with what it has.
const SEARCH_TIME: Duration = Duration::from_secs(10);
/// Searches at the same time; more wait.
const SEARCHES_MAX: usize = 2;
/// Traces of an answer unless asked for otherwise.
const TRACES: usize = 20;
/// Digits of the identifier of a trace.
const ID_DIGITS: usize = 32;

/// The spans of this machine.
pub struct Kept {
    store: Arc<Logs>,
    searches: Arc<Semaphore>,
}

impl Kept {
    pub fn new(store: Arc<Logs>) -> Self {
        Self { store, searches: Arc::new(Semaphore::new(SEARCHES_MAX)) }
    }

    /// Does the work beside the runtime, when it is its turn.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Logs, &dyn Fn() -> bool) -> T + Send + 'static,
    ) -> T {
        let store = self.store.clone();
        let turn = self.searches.clone().acquire_owned().await;
        let worked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let started = Instant::now();
            work(&store, &|| started.elapsed() > SEARCH_TIME)
        });
        worked.await.expect("a search does not panic")
    }
}

#[async_trait]
impl Traces for Kept {
    async fn search(&self, question: TraceQuestion) -> Result<TraceAnswer, Report> {
        let limit = question.limit.unwrap_or(TRACES);
        if limit > TRACES_MAX {
            return Err(Report::usage(format!("{TRACES_MAX} traces are listed at most"))
                .hint("`--since`, `--service` and `--min` narrow a search"));
        }
        let ns = |at: Timestamp| at.0.saturating_mul(1_000_000);
        let wanted = Wanted {
            stack: question.stack,
            service: question.service,
            name: question.name,
            min_ms: question.min_ms,
            max_ms: question.max_ms,
            errors: question.errors,
            from_ns: question.since.map_or(0, ns),
            to_ns: question.until.map_or(i64::MAX, |until| ns(until).saturating_add(999_999)),
            limit,
        };
        let answer = self.work(move |store, stop| traces(store, &wanted, stop)).await;
        let traces = answer.found.into_iter().map(summary).collect();
        Ok(TraceAnswer { traces, has_more: answer.has_more, is_cut: answer.is_cut })
    }

    async fn trace(&self, id: &str) -> Result<Trace, Report> {
        let id = id.to_ascii_lowercase();
        if id.len() != ID_DIGITS || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Report::usage(format!(
                "a trace is named by {ID_DIGITS} hexadecimal digits, and `{id}` is not"
            ))
            .hint("`juchu trace` lists the newest"));
        }
        let wanted = id.clone();
        let answer = self.work(move |store, stop| trace(store, &wanted, stop)).await;
        if answer.found.is_empty() {
            return Err(Report::usage(format!("no span of the trace {id} is kept"))
                .hint("`juchu trace` lists the newest; spans come from the gateway, which records some of what passes, and from services that send OTLP"));
        }
        debug_assert!(answer.found.len() <= SPANS_MAX);
        let spans = answer.found.into_iter().map(span).collect();
        Ok(Trace { trace: id, spans, has_more: answer.has_more, is_cut: answer.is_cut })
    }
}

fn summary(found: Summary) -> TraceSummary {
    let Placed { stream, span } = found.root;
    TraceSummary {
        trace: found.trace,
        name: span.name,
        stack: stream.stack,
        service: stream.service,
        start_ns: found.start_ns,
        duration_ms: found.duration_ms,
        spans: found.spans,
        errors: found.errors,
        services: found.services,
    }
}

fn span(placed: Placed) -> KeptSpan {
    let Placed { stream, span } = placed;
    let told = serde_json::to_value(span).and_then(serde_json::from_value::<KeptSpan>);
    let kept = told.expect("both have the same fields");
    KeptSpan { stack: stream.stack, service: stream.service, instance: stream.instance, ..kept }
}
