//! Metrics of OTLP into the store of samples, named as Prometheus' own receiver names them.

use super::Taken;
use super::push::{Batch, Made, Pusher};
use crate::api::Known;
use crate::keep::{Kind, Metrics};
use crate::{Labels, NAME, STALE};
use formats::Malformed;
use formats::otlp::names::{Ending, label, metric};
use formats::otlp::{Attributes, Buckets, Data, Metric, Number, Quantiles, Resource, each_item};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Instruments of one export are read one after the other; their times become one.
const ALIGN_MS: i64 = 500;
/// Bytes of a description that are kept.
const HELP_BYTES_MAX: usize = 1024;

pub fn keep(
    pusher: &Pusher,
    metrics: &Metrics,
    known: &Known,
    request: &[u8],
    now_ns: i64,
) -> Result<Taken, Malformed> {
    let (taken, _) = pusher.take(metrics, ALIGN_MS, |batch| {
        each_item(request, &mut |resource, _, message| {
            let metric = Metric::read(message)?;
            Putting { batch, sender: Sender::of(resource), now_ns, newest_ms: 0 }
                .put(&metric, resource, known)
        })
    })?;
    Ok(taken)
}

/// The labels that all series of a resource have.
#[derive(Clone)]
struct Sender {
    target: String,
    labels: Vec<(&'static str, String)>,
}

impl Sender {
    fn of(resource: &Resource<'_>) -> Self {
        let text = |name: &str| resource.attributes.text(name);
        let (service, namespace) = (resource.service(), text("service.namespace"));
        let job = if namespace.is_empty() { service.clone() } else { format!("{namespace}/{service}") };
        let (instance, stack) = (text("service.instance.id"), text("juchu.stack"));
        let target = format!("otlp/{stack}/{job}/{instance}");
        let mut labels = vec![("job", job), ("instance", instance)];
        // As all series of an instance of ours have them.
        if !stack.is_empty() {
            labels.extend([("service", service), ("stack", stack)]);
        }
        Self { target, labels }
    }
}

struct Putting<'b, 'p> {
    batch: &'b mut Batch<'p>,
    sender: Sender,
    now_ns: i64,
    newest_ms: i64,
}

impl Putting<'_, '_> {
    fn put(mut self, read: &Metric<'_>, resource: &Resource<'_>, known: &Known) -> Result<(), Malformed> {
        let of = |ending| metric(read.name, read.unit, ending);
        let help = &read.description[..read.description.floor_char_boundary(HELP_BYTES_MAX)];
        let delta = "points that count from the one before are not taken: the temporality must be cumulative";
        match read.data {
            Data::Gauge(points) => {
                let name = of(Ending::Gauge);
                known.learn(&name, "gauge", help);
                self.numbers(&name, Kind::Gauge, points)?;
            }
            Data::Sum { is_delta: true, .. } | Data::Histogram { is_delta: true, .. } => {
                self.batch.taken.refuse(read.count()? as u64, format!("{}: {delta}", read.name));
            }
            Data::Sum { points, is_monotonic: true, .. } => {
                let name = of(Ending::Counter);
                known.learn(&name, "counter", help);
                self.numbers(&name, Kind::Counter, points)?;
            }
            Data::Sum { points, .. } => {
                let name = of(Ending::Other);
                known.learn(&name, "gauge", help);
                self.numbers(&name, Kind::Gauge, points)?;
            }
            Data::Histogram { points, .. } => {
                let name = of(Ending::Other);
                known.learn(&name, "histogram", help);
                self.histogram(&name, points)?;
            }
            Data::Summary(points) => {
                let name = of(Ending::Other);
                known.learn(&name, "summary", help);
                self.summary(&name, points)?;
            }
            Data::Exponential(_) => {
                let why = "exponential histograms are not taken, those with explicit bounds are";
                self.batch.taken.refuse(read.count()? as u64, format!("{}: {why}", read.name));
            }
            Data::None => {}
        }
        self.info(resource);
        Ok(())
    }

    fn numbers(&mut self, name: &str, kind: Kind, points: &[u8]) -> Result<(), Malformed> {
        Number::each(points, |point| {
            let time = self.time_ms(point.time_ns);
            let value = if point.has_ended { STALE } else { point.value };
            self.one(name, kind, &point.attributes, None, time, value);
            Ok(())
        })
    }

    fn histogram(&mut self, name: &str, points: &[u8]) -> Result<(), Malformed> {
        Buckets::each(points, |point| {
            let time = self.time_ms(point.time_ns);
            let value = |value: f64| if point.has_ended { STALE } else { value };
            let attributes = &point.attributes;
            let bucket = format!("{name}_bucket");
            let mut sum = 0u64;
            for (bound, count) in point.bounds.iter().zip(&point.counts) {
                sum = sum.saturating_add(*count);
                let le = bound.to_string();
                self.one(&bucket, Kind::Counter, attributes, Some(("le", &le)), time, value(sum as f64));
            }
            let count = value(point.count as f64);
            self.one(&bucket, Kind::Counter, attributes, Some(("le", "+Inf")), time, count);
            self.one(&format!("{name}_count"), Kind::Counter, attributes, None, time, count);
            if let Some(sum) = point.sum {
                self.one(&format!("{name}_sum"), Kind::Counter, attributes, None, time, value(sum));
            }
            Ok(())
        })
    }

    fn summary(&mut self, name: &str, points: &[u8]) -> Result<(), Malformed> {
        Quantiles::each(points, |point| {
            let time = self.time_ms(point.time_ns);
            let value = |value: f64| if point.has_ended { STALE } else { value };
            let attributes = &point.attributes;
            for (quantile, found) in &point.quantiles {
                let quantile = quantile.to_string();
                let label = Some(("quantile", &*quantile));
                self.one(name, Kind::Gauge, attributes, label, time, value(*found));
            }
            let count = value(point.count as f64);
            self.one(&format!("{name}_count"), Kind::Counter, attributes, None, time, count);
            self.one(&format!("{name}_sum"), Kind::Counter, attributes, None, time, value(point.sum));
            Ok(())
        })
    }

    /// What else is known of the resource, as `target_info`.
    fn info(&mut self, resource: &Resource<'_>) {
        let is_label =
            |name: &str| ["service.name", "service.namespace", "service.instance.id"].contains(&name);
        let all = resource.attributes.all.iter().filter(|(name, _)| !is_label(name)).copied().collect();
        let others = Attributes { all, surplus: 0 };
        if self.newest_ms > 0 && !others.all.is_empty() {
            self.one("target_info", Kind::Gauge, &others, None, self.newest_ms, 1.0);
        }
    }

    fn time_ms(&mut self, time_ns: u64) -> i64 {
        let time = if time_ns == 0 { self.now_ns } else { time_ns.cast_signed() } / 1_000_000;
        self.newest_ms = self.newest_ms.max(time);
        time
    }

    fn one(
        &mut self,
        name: &str,
        kind: Kind,
        attributes: &Attributes<'_>,
        extra: Option<(&str, &str)>,
        time_ms: i64,
        value: f64,
    ) {
        let labels = labels(&self.sender, name, attributes, extra);
        let mut hasher = DefaultHasher::new();
        ("otlp", &self.sender.target, &labels).hash(&mut hasher);
        let target = &self.sender.target;
        let made = || Made { target: target.clone(), labels, kind };
        let before = self.batch.taken.refused;
        if let Some(place) = self.batch.series(hasher.finish(), made) {
            self.batch.put(place, time_ms, value);
        } else if name == "target_info" {
            // Not one of the points that were sent.
            self.batch.taken.refused = before;
        }
    }
}

fn labels(sender: &Sender, name: &str, attributes: &Attributes<'_>, extra: Option<(&str, &str)>) -> Labels {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in &attributes.all {
        let value = value.text();
        // Names that become the same share their values, as in Prometheus.
        all.entry(label(name)).and_modify(|before| *before = format!("{before};{value}")).or_insert(value);
    }
    // The sender's own come last: they say whose the series is.
    all.extend(extra.map(|(name, value)| (name.to_owned(), value.to_owned())));
    all.extend(sender.labels.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    all.insert(NAME.to_owned(), name.to_owned());
    Labels::new(all)
}
