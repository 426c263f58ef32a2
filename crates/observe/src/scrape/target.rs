//! One target: what was read of it goes into the store, with the labels that say whose it is.

use super::exposition::{Exposition, ExpositionError};
use super::fetch::{FetchError, Page};
use crate::api::{Known, TargetStatus};
use crate::collect::{Recorder, Sink};
use crate::keep::{Ends, Metrics, TickError};
use std::collections::BTreeMap;
use std::time::Duration;

/// The most bytes that are kept of what a target says of a metric.
const HELP_BYTES_MAX: usize = 1024;

#[derive(Debug, thiserror::Error)]
pub enum ScrapeError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("read the metrics: {0}")]
    Read(#[from] ExpositionError),
}

impl ScrapeError {
    /// With what it comes from.
    pub fn told(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.ends_with(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            source = cause.source();
        }
        text
    }
}

/// How one look at a target went.
#[derive(Debug)]
pub struct Looked {
    /// Samples that its text has, and those of them that were kept.
    pub scraped: usize,
    pub kept: usize,
    pub error: Option<ScrapeError>,
}

/// Where a target is and how often it is looked at, for those who ask about it.
#[derive(Debug, Clone)]
pub struct Place {
    /// Those that belong together.
    pub pool: String,
    pub url: String,
    pub interval: Duration,
    pub timeout: Duration,
}

/// Where the samples of one target go.
#[derive(Debug)]
pub struct Target {
    recorder: Recorder,
    status: TargetStatus,
    /// Labels of the target, and what a sample's own of the same name is called.
    own: Vec<(String, String)>,
    last_ms: i64,
}

impl Target {
    /// `labels` are those of every sample, such as `job` and `instance`.
    pub fn new(name: impl Into<String>, labels: Vec<(String, String)>, place: Place) -> Self {
        let own = labels.iter().map(|(name, _)| (name.clone(), format!("exported_{name}"))).collect();
        let status = TargetStatus {
            discovered_labels: BTreeMap::new(),
            labels: labels.iter().cloned().collect(),
            scrape_pool: place.pool,
            global_url: place.url.clone(),
            scrape_url: place.url,
            last_error: String::new(),
            last_scrape: "0001-01-01T00:00:00Z".into(),
            last_scrape_duration: 0.0,
            health: "unknown".into(),
            scrape_interval: format!("{}s", place.interval.as_secs()),
            scrape_timeout: format!("{}s", place.timeout.as_secs_f64()),
        };
        let recorder = Recorder::new(name, Ends::WhenMissing, labels);
        Self { recorder, status, own, last_ms: i64::MIN }
    }

    /// Who it is and how the last look at it went.
    pub fn status(&self) -> TargetStatus {
        self.status.clone()
    }

    /// Records what was read at a time; what was not there any more has ended.
    pub fn record(
        &mut self,
        metrics: &Metrics,
        known: &Known,
        (time_ms, now_ms): (i64, i64),
        page: Result<Page, FetchError>,
        took: Duration,
    ) -> Looked {
        let read = page.map_err(ScrapeError::Fetch);
        let (page, failed) = match read {
            Ok(page) => (Some(page), None),
            Err(error) => (None, Some(error)),
        };
        let parsed = page.as_ref().map(|page| Exposition::parse(&page.text, page.format));
        let (exposition, error) = match parsed {
            Some(Ok(exposition)) => (Some(exposition), None),
            Some(Err(error)) => (None, Some(ScrapeError::Read(error))),
            None => (None, failed),
        };
        let shown = exposition.unwrap_or_default();
        learn(&shown, known);
        // What is slow may come when its second is closed for writing.
        let kept = match self.put(metrics, time_ms, &shown, error.is_none(), took) {
            Err(TickError::TooOld) => self.put(metrics, now_ms, &shown, error.is_none(), took),
            done => done,
        };
        // Left out where the clock was set back, as one that never came.
        let kept = kept.unwrap_or(0);
        self.status.last_scrape = jiff::Timestamp::from_millisecond(time_ms).unwrap_or_default().to_string();
        self.status.last_scrape_duration = took.as_secs_f64();
        self.status.health = if error.is_none() { "up" } else { "down" }.into();
        self.status.last_error = error.as_ref().map(ScrapeError::told).unwrap_or_default();
        Looked { scraped: shown.len() + shown.surplus, kept, error }
    }

    fn put(
        &mut self,
        metrics: &Metrics,
        time_ms: i64,
        shown: &Exposition<'_>,
        is_up: bool,
        took: Duration,
    ) -> Result<usize, TickError> {
        let Self { recorder, own, last_ms, .. } = self;
        let kept = recorder.tick(metrics, time_ms, |sink| {
            sink.gauge("up", &[], if is_up { 1.0 } else { 0.0 });
            sink.gauge("scrape_duration_seconds", &[], took.as_secs_f64());
            sink.gauge("scrape_samples_scraped", &[], (shown.len() + shown.surplus) as f64);
            sink.gauge("scrape_samples_post_metric_relabeling", &[], shown.len() as f64);
            put_all(shown, own, sink);
        })?;
        *last_ms = time_ms;
        Ok(kept.saturating_sub(OF_OURS))
    }

    /// Says that everything of it has ended.
    pub fn end(&mut self, metrics: &Metrics, now_ms: i64) {
        // A row of its own: what is in the last one has been measured.
        let time_ms = now_ms.max(self.last_ms.saturating_add(1));
        if self.last_ms != i64::MIN {
            let _ = self.recorder.tick(metrics, time_ms, |_| {});
        }
    }
}

/// Samples that each look has of its own.
const OF_OURS: usize = 4;

fn put_all(shown: &Exposition<'_>, own: &[(String, String)], sink: &mut dyn Sink) {
    let mut labels: Vec<(&str, &str)> = Vec::new();
    for (sample, sample_labels) in shown.samples() {
        labels.clear();
        for (name, value) in sample_labels {
            let taken = own.iter().find(|(taken, _)| taken == name);
            labels.push((taken.map_or(*name, |(_, other)| other), value));
        }
        sink.put(sample.name, sample.kind, &labels, sample.value);
    }
}

fn learn(shown: &Exposition<'_>, known: &Known) {
    for family in shown.families() {
        let end = family.help.floor_char_boundary(HELP_BYTES_MAX);
        known.learn(family.name, family.kind.word(), &family.help[..end]);
    }
}
