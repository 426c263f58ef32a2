//! The port of the pages to measurements, over the store: questions with limits of time and memory.

use async_trait::async_trait;
use console::measured::{Asked, Course, Measured};
use model::{Report, Timestamp};
use observe::keep::Metrics;
use observe::promql::{Answer, Query, QueryError, Settings, Value};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Questions worked on at the same time; more wait.
const RUNNING_MAX: usize = 2;
/// For one question, without its turn.
const TIME: Duration = Duration::from_secs(4);
/// Samples that one question reads: a week at one a second of 33 series.
const SAMPLES_MAX: u64 = 20_000_000;
/// Numbers that one question makes.
const NUMBERS_MAX: u64 = 2_000_000;
/// Series of one answer; a chart shows fewer.
const COURSES_MAX: usize = 200;

pub struct Charts {
    metrics: Arc<Metrics>,
    running: Arc<Semaphore>,
}

impl Charts {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, running: Arc::new(Semaphore::new(RUNNING_MAX)) }
    }
}

#[async_trait]
impl Measured for Charts {
    async fn ask(&self, asked: &Asked) -> Result<Vec<Course>, Report> {
        let turn = self.running.clone().acquire_owned().await;
        let (metrics, asked) = (self.metrics.clone(), asked.clone());
        let answered = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            answer(&metrics, &asked)
        });
        let answered = answered.await.map_err(|_| Report::internal("the question could not be answered"))?;
        answered.map_err(|error| {
            Report::environment(error.to_string()).hint("a shorter range reads fewer samples")
        })
    }

    async fn since(&self) -> Option<Timestamp> {
        self.metrics.first_ms().map(Timestamp)
    }
}

fn answer(metrics: &Metrics, asked: &Asked) -> Result<Vec<Course>, QueryError> {
    let end = Instant::now() + TIME;
    let is_over = || Instant::now() >= end;
    let settings = Settings {
        // What was measured once a second and is not there has ended.
        lookback_ms: asked.step_ms.clamp(60_000, 300_000),
        samples_max: SAMPLES_MAX,
        numbers_max: NUMBERS_MAX,
        is_over: &is_over,
        ..Settings::default()
    };
    let query = Query::parse(&asked.expression)?;
    let value = query.range(metrics, asked.from.0, asked.to.0, asked.step_ms, &settings)?;
    let answers = match value {
        Value::Matrix(answers) | Value::Vector(answers) => answers,
        Value::Scalar { .. } | Value::String { .. } => Vec::new(),
    };
    Ok(answers.into_iter().take(COURSES_MAX).map(course).collect())
}

fn course(answer: Answer) -> Course {
    let labels = answer.labels.without_name();
    let labels = labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let points = answer.points.times_ms.into_iter().map(Timestamp).zip(answer.points.values).collect();
    Course { labels, points }
}

#[cfg(test)]
mod tests {
    use super::*;
    use observe::Labels;
    use observe::keep::{Ends, Kind};
    use testkit::TempDir;

    #[tokio::test]
    async fn what_was_measured_is_a_course_with_its_labels() {
        let directory = TempDir::new();
        let metrics = Metrics::open(directory.path(), observe::keep::Settings::default(), 100_000).unwrap();
        let target = metrics.target("node", Ends::WhenMissing).unwrap();
        let labels = Labels::new([("__name__", "node_load1"), ("instance", "vm")]);
        let series = metrics.series(target, &labels, Kind::Gauge).unwrap();
        for second in 0..10 {
            metrics.tick(target, 90_000 + second * 1000, &[(series, second as f64)]).unwrap();
        }
        let charts = Charts::new(Arc::new(metrics));
        assert_eq!(charts.since().await, Some(Timestamp(90_000)));
        let asked = |expression: &str| Asked {
            expression: expression.into(),
            from: Timestamp(90_000),
            to: Timestamp(98_000),
            step_ms: 4000,
        };
        let courses = charts.ask(&asked("node_load1")).await.unwrap();
        let points: Vec<(i64, f64)> = courses[0].points.iter().map(|(at, value)| (at.0, *value)).collect();
        assert_eq!((courses[0].label("instance"), courses[0].label("__name__")), ("vm", ""));
        assert_eq!(points, [(90_000, 0.0), (94_000, 4.0), (98_000, 8.0)]);
        let wrong = charts.ask(&asked("sum(")).await.unwrap_err();
        assert!(wrong.error.contains("parse error") || wrong.error.contains("query"), "{}", wrong.error);
    }
}
