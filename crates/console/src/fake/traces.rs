//! Traces that are made up.

use async_trait::async_trait;
use model::Report;
use run::traces::{KeptSpan, SpanEvent, Trace, TraceAnswer, TraceQuestion, TraceSummary, Traces};
use serde_json::json;

pub const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

pub struct FakeTraces;

fn span(id: &str, parent: &str, service: &str, name: &str, at_ms: i64, duration_ms: f64) -> KeptSpan {
    KeptSpan {
        span: id.into(),
        parent: parent.into(),
        name: name.into(),
        kind: "server".into(),
        stack: "guestbook".into(),
        service: service.into(),
        start_ns: super::NOW.0 * 1_000_000 + at_ms * 1_000_000,
        duration_ms,
        ..KeptSpan::default()
    }
}

fn checkout() -> Vec<KeptSpan> {
    let mut root = span("a1", "", "web", "GET /checkout", 0, 212.4);
    root.scope = "juchu.gateway".into();
    root.attributes.insert("http.response.status_code".into(), json!(500));
    root.attributes.insert("juchu.caller".into(), json!("outside"));
    root.events.push(SpanEvent { at_ms: 208.1, name: "first byte".into(), ..SpanEvent::default() });
    let mut failed = span("d4", "b2", "db", "SELECT * FROM items WHERE id = $1", 60, 90.0);
    failed.status = "error".into();
    failed.message = "connection refused by the database".into();
    vec![
        root,
        span("b2", "a1", "web", "checkout", 10, 180.0),
        span("c3", "b2", "mailer", "POST /orders", 20, 30.0),
        failed,
        span("e5", "a1", "web", "render", 195, 0.4),
    ]
}

#[async_trait]
impl Traces for FakeTraces {
    async fn search(&self, question: TraceQuestion) -> Result<TraceAnswer, Report> {
        let trace = |number: i64, name: &str, duration_ms: f64, errors| TraceSummary {
            trace: ID.into(),
            name: name.into(),
            stack: "guestbook".into(),
            service: "web".into(),
            start_ns: (super::NOW.0 - number * 7_300) * 1_000_000,
            duration_ms,
            spans: 5,
            errors,
            services: 3,
        };
        let mut traces = vec![
            trace(1, "GET /checkout", 212.4, 1),
            trace(2, "GET /", 3.2, 0),
            trace(3, "POST /api/orders/4711/items", 1_830.0, 0),
        ];
        traces.retain(|trace| {
            (!question.errors || trace.errors > 0)
                && question.min_ms.is_none_or(|min| trace.duration_ms >= min)
                && question.service.as_ref().is_none_or(|service| *service == trace.service)
        });
        Ok(TraceAnswer { traces, has_more: false, is_cut: false })
    }

    async fn trace(&self, id: &str) -> Result<Trace, Report> {
        if id != ID {
            return Err(Report::usage(format!("no span of the trace {id} is kept"))
                .hint("`juchu trace` lists the newest"));
        }
        Ok(Trace { trace: ID.into(), spans: checkout(), ..Trace::default() })
    }
}
