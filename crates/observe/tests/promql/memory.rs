//! Samples of a test: parsed from OpenMetrics, kept in memory.

use observe::{Labels, Matcher, NAME, Points, Samples, SamplesError, Series, Want};
use std::collections::BTreeMap;
use std::fmt::Write;

pub struct Memory(Vec<One>);

struct One {
    labels: Labels,
    times_ms: Vec<i64>,
    values: Vec<f64>,
}

impl Memory {
    /// Names with seconds and the bits of values.
    pub fn of<const N: usize>(series: [(&str, Vec<(i64, u64)>); N]) -> Self {
        let one = |(name, points): (&str, Vec<(i64, u64)>)| One {
            labels: Labels::new([(NAME, name)]),
            times_ms: points.iter().map(|(time, _)| time * 1000).collect(),
            values: points.iter().map(|(_, bits)| f64::from_bits(*bits)).collect(),
        };
        Self(series.map(one).into())
    }

    /// Lines as `name{a="b"} value seconds`, in the order of time for each series.
    pub fn parse(text: &str) -> Self {
        let mut found: BTreeMap<&str, One> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let mut parts = line.rsplitn(3, ' ');
            let (time, value, name) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
            let one = found.entry(name).or_insert_with(|| One {
                labels: labels(name),
                times_ms: Vec::new(),
                values: Vec::new(),
            });
            one.times_ms.push((time.parse::<f64>().unwrap() * 1000.0).round() as i64);
            one.values.push(value.parse().unwrap());
        }
        Self(found.into_values().collect())
    }
}

fn labels(text: &str) -> Labels {
    let (name, rest) = text.split_once('{').unwrap_or((text, "}"));
    let pairs = rest.trim_end_matches('}').split("\",").filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once("=\"").unwrap();
        (name.to_owned(), value.trim_end_matches('"').to_owned())
    });
    Labels::new(pairs.chain([(NAME.to_owned(), name.to_owned())]))
}

impl Samples for Memory {
    fn select<'a>(
        &'a self,
        matchers: &[Matcher],
        _from_ms: i64,
        _to_ms: i64,
    ) -> Result<Vec<Box<dyn Series + 'a>>, SamplesError> {
        let wanted =
            |one: &&One| matchers.iter().all(|matcher| matcher.accepts(one.labels.get(&matcher.name)));
        Ok(self.0.iter().filter(wanted).map(|one| Box::new(one) as Box<dyn Series>).collect())
    }
}

impl Series for &One {
    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn read(&self, from_ms: i64, to_ms: i64, want: Want, into: &mut Points) -> Result<(), SamplesError> {
        for (time, value) in self.times_ms.iter().zip(&self.values) {
            if (from_ms..=to_ms).contains(time) {
                let is_count = want == Want::Count && !observe::is_stale(*value);
                into.push(*time, if is_count { 1.0 } else { *value });
            }
        }
        Ok(())
    }
}

/// Two hours of a small service, made up the same way each time: three hosts, counters that begin
/// anew, a gauge with gaps, a histogram, and numbers that are none.
pub fn invented(start: i64) -> String {
    let mut families: BTreeMap<&str, (&str, String)> = BTreeMap::new();
    let mut put =
        |family: &'static str, kind: &'static str, name: &str, labels: &str, value: f64, time: i64| {
            let lines = &mut families.entry(family).or_insert_with(|| (kind, String::new())).1;
            writeln!(lines, "{name}{{{labels}}} {value} {time}").unwrap();
        };
    for (host, name) in [(1.0, "a"), (2.0, "b"), (3.0, "c")] {
        let mut counts = [0.0; 4];
        for tick in 0..480 {
            let time = start + tick * 15;
            let x = tick as f64;
            let host_label = format!("host=\"{name}\"");
            for (kind, base) in [("used", 7.5e9), ("free", 2.25e9), ("cached", 1.0e8)] {
                let value = base + (x / 17.0 * host).sin() * base / 10.0;
                put(
                    "memory_bytes",
                    "gauge",
                    "memory_bytes",
                    &format!("{host_label},kind=\"{kind}\""),
                    value,
                    time,
                );
            }
            let hits = ((x * host * 3.0) % 2000.0).floor();
            put("hits", "counter", "hits_total", &format!("{host_label},code=\"200\""), hits, time);
            put(
                "hits",
                "counter",
                "hits_total",
                &format!("{host_label},code=\"500\""),
                (hits / 50.0).floor(),
                time,
            );
            put("cores", "gauge", "cores", &host_label, host * 2.0, time);
            if tick % 60 < 25 {
                put("gappy", "gauge", "gappy", &host_label, x * host, time);
            }
            let odd = [f64::NAN, f64::INFINITY, -0.5, f64::NEG_INFINITY][(tick as usize + host as usize) % 4];
            put("odd", "gauge", "odd", &host_label, odd, time);
            put(
                "disk_bytes",
                "gauge",
                "disk_bytes",
                &host_label,
                1e11 + x * 1e6 * host + (x * 1.7).sin() * 1e5,
                time,
            );
            put("done_seconds", "gauge", "done_seconds", &host_label, (time - tick % 40 * 15) as f64, time);
            for (count, share) in counts.iter_mut().zip([3.0, 5.0, 6.0, 7.0]) {
                *count += share * host;
            }
            for (count, bound) in counts.iter().zip(["0.1", "0.5", "1", "+Inf"]) {
                put(
                    "wait_seconds",
                    "histogram",
                    "wait_seconds_bucket",
                    &format!("{host_label},le=\"{bound}\""),
                    *count,
                    time,
                );
            }
            put("wait_seconds", "histogram", "wait_seconds_count", &host_label, counts[3], time);
            put("wait_seconds", "histogram", "wait_seconds_sum", &host_label, counts[3] * 0.31, time);
        }
    }
    let mut text = String::new();
    for (family, (kind, lines)) in families {
        // Backfilling does not ask for the order of lines within a family whose type it does not know.
        let kind = if kind == "counter" { "counter" } else { "unknown" };
        write!(text, "# TYPE {family} {kind}\n{lines}").unwrap();
    }
    text.replace("-inf", "-Inf").replace(" inf", " +Inf") + "# EOF\n"
}
