//! Measurements that are made up: the same for the same question, with a beginning, a gap and an end.

use crate::measured::{Asked, Course, Measured};
use async_trait::async_trait;
use model::{Report, Timestamp};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

/// How the answers are.
#[derive(Default)]
pub struct FakeMeasured {
    /// Nothing was measured yet.
    pub is_empty: AtomicBool,
    /// Every question fails.
    pub fails: AtomicBool,
    /// Questions that reached it.
    pub asked: AtomicUsize,
    /// Of the label by which an expression sums up.
    pub names: std::sync::Mutex<Vec<String>>,
}

impl FakeMeasured {
    fn names(&self) -> Vec<String> {
        let names = self.names.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if names.is_empty() { vec!["vm-1".to_owned(), "vm-2".to_owned()] } else { names }
    }
}

#[async_trait]
impl Measured for FakeMeasured {
    async fn ask(&self, asked: &Asked) -> Result<Vec<Course>, Report> {
        self.asked.fetch_add(1, SeqCst);
        if self.fails.load(SeqCst) {
            return Err(Report::environment("query timed out in expression evaluation")
                .hint("a shorter range reads fewer samples"));
        }
        if self.is_empty.load(SeqCst) {
            return Ok(Vec::new());
        }
        if asked.expression.contains("juchu_calls_") {
            return Ok(calls(asked));
        }
        if asked.expression.ends_with("by (stack, service)") {
            let labels = [("stack", "guestbook"), ("service", "web")];
            let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
            return Ok(vec![Course { labels, points: points(asked, 7) }]);
        }
        let names = self.names();
        let by = ["instance", "mountpoint", "severity"]
            .into_iter()
            .find(|label| asked.expression.contains(&format!("by ({label})")) || *label == "instance");
        let label = by.unwrap_or("instance");
        let is_total = asked.expression.starts_with("sum(") && !asked.expression.contains(" by (");
        let count = if is_total { 1 } else { names.len() };
        let seed: u32 =
            asked.expression.bytes().fold(7, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let course = |(index, name): (usize, &String)| Course {
            labels: vec![(label.to_owned(), name.clone())],
            points: points(asked, seed.wrapping_add(index as u32 * 977)),
        };
        Ok(names.iter().take(count).enumerate().map(course).collect())
    }

    async fn since(&self) -> Option<Timestamp> {
        (!self.is_empty.load(SeqCst)).then_some(Timestamp(super::NOW.0 - 5 * 86_400_000))
    }
}

/// Caller with its stack, service with its port, requests and errors for each second, sessions that are open.
const CALLS: [(&str, &str, &str, &str, f64, f64, f64); 8] = [
    ("", "outside", "web", "8000", 152.4, 3.1, 0.0),
    ("", "host", "web", "8000", 0.2, 0.0, 0.0),
    ("guestbook", "web", "db", "5432", 0.0, 0.0, 8.0),
    ("guestbook", "web", "cache", "6379", 0.0, 0.0, 4.0),
    ("guestbook", "web", "mailer", "8080", 12.5, 0.0, 0.0),
    ("guestbook", "mailer", "db", "5432", 0.0, 0.0, 2.0),
    ("guestbook", "mailer", "web", "8000", 0.4, 0.4, 0.0),
    ("shop", "reports", "db", "5432", 0.0, 0.2, 0.0),
];

/// Who calls whom in the guestbook.
fn calls(asked: &Asked) -> Vec<Course> {
    let is = |name: &str| asked.expression.contains(name);
    let value = |(_, _, service, _, requests, errors, open): (&str, &str, &str, &str, f64, f64, f64)| {
        let is_http = requests > 0.0;
        match () {
            () if is("duration_seconds") && is("(0.5,") => is_http.then_some(0.004),
            () if is("duration_seconds") => is_http.then_some(if service == "web" { 0.180 } else { 0.021 }),
            () if is("requests_total") => is_http.then_some(requests),
            () if is("errors_total") => Some(errors),
            () if is("connections_total") => (!is_http).then_some(open / 40.0),
            () if is("calls_active") => (!is_http).then_some(open),
            () if is("received_bytes") => Some(requests * 410.0 + open * 900.0),
            () => Some(requests * 2_100.0 + open * 12_000.0),
        }
    };
    let course = |call: (&str, &str, &str, &str, f64, f64, f64)| {
        let (caller_stack, caller, service, port, ..) = call;
        let labels = [
            ("caller", caller),
            ("caller_stack", caller_stack),
            ("port", port),
            ("service", service),
            ("stack", "guestbook"),
        ];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        Some(Course { labels, points: vec![(asked.to, value(call)?)] })
    };
    CALLS.into_iter().filter_map(course).collect()
}

/// Waves between 0 and 0.6 in whole thousandths, `up` is 1; a tenth of the steps is missing.
fn points(asked: &Asked, seed: u32) -> Vec<(Timestamp, f64)> {
    let steps = asked.steps();
    let gap = steps / 3..steps / 3 + steps / 10;
    let value = |step: usize| match asked.expression.starts_with("up{") {
        true => 1.0,
        false => {
            let phase = step as f64 / 9.0 + f64::from(seed % 97);
            (300.0 + 200.0 * phase.sin() + 100.0 * (phase * 3.1).cos()).round() / 1000.0
        }
    };
    let at = |step: usize| Timestamp(asked.from.0 + step as i64 * asked.step_ms);
    (0..steps).filter(|step| !gap.contains(step)).map(|step| (at(step), value(step))).collect()
}
