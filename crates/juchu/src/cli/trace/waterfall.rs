//! One trace: its spans below each other as they called each other, each with a bar from its beginning to
//! its end.

use super::super::screen::{Hue, Paint, safe};
use console::api::v1::{KeptSpan, Trace};
use console::text::cut;
use console::traces::{bounds_ns, end_ns, in_order, is_error, took};
use console::when::Clock;
use model::Timestamp;
use std::collections::HashSet;

/// Columns where nobody says how many there are.
const WIDTH: usize = 100;
const WIDTH_MIN: usize = 60;
/// Columns of the longest name of a service, and of the durations.
const SERVICE_MAX: usize = 14;
const TOOK: usize = 8;
/// A bar takes this share of the line, in columns out of a hundred.
const BAR_PERCENT: usize = 35;
/// Deeper spans are drawn at this depth.
const DEPTH_MAX: usize = 12;

pub fn text(trace: &Trace, width: Option<usize>, paint: Paint, clock: &Clock) -> String {
    let width = width.unwrap_or(WIDTH).max(WIDTH_MIN);
    let spans = &trace.spans;
    let (start, end) = bounds_ns(spans);
    let order = in_order(spans);
    let mut text = head(trace, start, end, clock, paint);
    let longest = spans.iter().map(|span| span.service.chars().count()).max().unwrap_or_default();
    let service = longest.min(SERVICE_MAX);
    let bar = width * BAR_PERCENT / 100;
    let name = width - TOOK - service - bar - 3 * GAP;
    for (depth, span) in order {
        let hue = if is_error(span) { Hue::Bad } else { Hue::Busy };
        let indent = "  ".repeat(depth.min(DEPTH_MAX).saturating_sub(1));
        let branch = if depth > 0 { "└ " } else { "" };
        let sign = if is_error(span) { "✗ " } else { "" };
        let title = padded(&format!("{indent}{branch}{sign}{}", line_of(&span.name)), name);
        let title = if is_error(span) { paint.on(Hue::Bad, &title) } else { title };
        let line = format!(
            "{:>TOOK$}  {}  {title}  {}",
            took(span.duration_ms),
            paint.on(Hue::Quiet, &padded(&line_of(&span.service), service)),
            paint.on(hue, &bar_of(span, start, end, bar)),
        );
        text.push_str(line.trim_end());
        text.push('\n');
        if !span.message.is_empty() {
            let said = cut(&line_of(&span.message), width - TOOK - service - 2 * GAP - indent.len() - 2)
                .into_owned();
            let pad = " ".repeat(TOOK + service + 2 * GAP + indent.len() + 2);
            text.push_str(&format!("{pad}{}\n", paint.on(Hue::Bad, &said)));
        }
    }
    text
}

/// Columns between two of them.
const GAP: usize = 2;

fn head(trace: &Trace, start: i64, end: i64, clock: &Clock, paint: Paint) -> String {
    let errors = trace.spans.iter().filter(|span| is_error(span)).count();
    let services: HashSet<&str> = trace.spans.iter().map(|span| &*span.service).collect();
    let count = |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    let mut facts = vec![
        clock.full(Timestamp(start / 1_000_000)),
        took((end - start) as f64 / 1e6),
        count(trace.spans.len(), "span"),
        count(services.len(), "service"),
    ];
    if errors > 0 {
        facts.push(paint.on(Hue::Bad, &format!("✗ {}", count(errors, "error"))));
    }
    format!("{}\n{}\n\n", paint.on(Hue::Strong, &trace.trace), facts.join(", "))
}

fn bar_of(span: &KeptSpan, start: i64, end: i64, width: usize) -> String {
    let length = (end - start).max(1) as f64;
    let place = |time: i64| ((time - start) as f64 / length * width as f64).round() as usize;
    let begin = place(span.start_ns).min(width - 1);
    let stop = place(end_ns(span)).clamp(begin + 1, width);
    format!("{}{}", " ".repeat(begin), "█".repeat(stop - begin))
}

/// What others wrote, on one line, without anything that moves the cursor.
fn line_of(text: &str) -> String {
    safe(text).replace(['\n', '\t'], " ")
}

fn padded(text: &str, width: usize) -> String {
    let cut = cut(text, width);
    format!("{cut}{}", " ".repeat(width.saturating_sub(cut.chars().count())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: &str, parent: &str, service: &str, name: &str, at_ms: i64, duration_ms: f64) -> KeptSpan {
        KeptSpan {
            span: id.into(),
            parent: parent.into(),
            service: service.into(),
            name: name.into(),
            start_ns: 1_795_420_800_000_000_000 + at_ms * 1_000_000,
            duration_ms,
            ..KeptSpan::default()
        }
    }

    fn shown(spans: Vec<KeptSpan>) -> String {
        let trace = Trace { trace: "4bf92f3577b34da6a3ce929d0e0e4736".into(), spans, ..Trace::default() };
        let text = text(&trace, Some(80), Paint(false), &Clock::utc(Timestamp(1_795_421_000_000)));
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        text
    }

    #[test]
    fn callers_stand_above_those_they_called() {
        let mut failed =
            span("d", "b", "inventory", "SELECT * FROM items WHERE id = $1 AND left_over > 0", 60, 90.0);
        failed.status = "error".into();
        failed.message = "connection refused\nby the database".into();
        let spans = vec![
            span("a", "0", "web", "GET /checkout", 0, 212.0),
            span("b", "a", "web", "POST api /orders", 10, 180.0),
            span("c", "b", "orders-service-of-the-shop", "POST /orders", 20, 30.0),
            failed,
            span("e", "a", "web", "render", 195, 0.4),
        ];
        insta::assert_snapshot!(shown(spans), @r"
        4bf92f3577b34da6a3ce929d0e0e4736
        2026-11-23 08:00:00, 212 ms, 5 spans, 3 services, ✗ 1 error

          212 ms  web             GET /checkout             ████████████████████████████
          180 ms  web             └ POST api /orders         ████████████████████████
         30.0 ms  orders-servic…    └ POST /orders             ████
         90.0 ms  inventory         └ ✗ SELECT * FROM ite…          ████████████
                                      connection refused by the database
         0.40 ms  web             └ render                                            █
        ");
    }

    #[test]
    fn circles_and_strangers_end() {
        let text = shown(vec![
            span("a", "b", "x", "one", 0, 1.0),
            span("b", "a", "x", "two", 0, 1.0),
            span("c", "c", "x", "itself", 0, 1.0),
            span("d", "gone", "x", "\u{1b}[31mred", 0, 90_000.0),
        ]);
        for name in ["one", "two", "itself", "red"] {
            assert_eq!(text.matches(name).count(), 1, "{text}");
        }
        assert!(!text.contains('\u{1b}') && text.contains("1.5 min"));
    }
}
