//! Where collectors put what they read.

use crate::keep::Kind;

/// Takes samples. In the steady state the same ones come in the same order, so that nothing has to
/// be made for them.
pub trait Sink {
    fn put(&mut self, name: &str, kind: Kind, labels: &[(&str, &str)], value: f64);

    fn gauge(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.put(name, Kind::Gauge, labels, value);
    }

    fn counter(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.put(name, Kind::Counter, labels, value);
    }
}

/// Samples that are looked at rarely and said again at each tick.
#[derive(Debug, Default, Clone)]
pub struct Kept(Vec<Sample>);

#[derive(Debug, Clone)]
struct Sample {
    name: String,
    kind: Kind,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Kept {
    pub fn replay(&self, into: &mut dyn Sink) {
        // More labels than this no collector has.
        let mut labels = [("", ""); 12];
        for sample in &self.0 {
            let count = sample.labels.len().min(labels.len());
            for (place, (name, value)) in labels.iter_mut().zip(&sample.labels) {
                *place = (name, value);
            }
            into.put(&sample.name, sample.kind, &labels[..count], sample.value);
        }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Sink for Kept {
    fn put(&mut self, name: &str, kind: Kind, labels: &[(&str, &str)], value: f64) {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.0.push(Sample { name: name.to_owned(), kind, labels, value });
    }
}

/// As the text format has it, a sample on each line: what tests compare.
impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for Sample { name, labels, value, .. } in &self.0 {
            let labels: Vec<String> =
                labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
            match labels.is_empty() {
                true => writeln!(f, "{name} {value}")?,
                false => writeln!(f, "{name}{{{}}} {value}", labels.join(","))?,
            }
        }
        Ok(())
    }
}

/// What a collector puts for a text.
#[cfg(test)]
pub(crate) fn shown(collect: impl FnOnce(&mut Kept)) -> String {
    let mut kept = Kept::default();
    collect(&mut kept);
    kept.to_string()
}
