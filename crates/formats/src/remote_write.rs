//! Prometheus remote write, versions 1 and 2: series one after the other with their samples, and back.
//! <https://prometheus.io/docs/specs/prw/remote_write_spec/>

use crate::Malformed;
use crate::protobuf::{Fields, Value, put_bytes, put_fixed64, put_message, put_number};

/// Labels of a series that are read; a store takes fewer.
const LABELS_MAX: usize = 128;
/// Samples of a series in one message.
const SAMPLES_MAX: usize = 100_000;
/// Texts of a message of version 2.
const SYMBOLS_MAX: usize = 100_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    One,
    Two,
}

/// A series as it is read; the same vectors are filled again for the next.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Series<'a> {
    /// In the order in which they came; `__name__` is one of them.
    pub labels: Vec<(&'a str, &'a str)>,
    /// Milliseconds since 1970, and the value.
    pub samples: Vec<(i64, f64)>,
    /// Samples of native histograms, which are only counted.
    pub histograms: usize,
}

/// What is said of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata<'a> {
    pub family: &'a str,
    /// As the text format has it.
    pub kind: &'static str,
    pub help: &'a str,
}

/// Takes what a message holds.
pub trait Sink<'a> {
    fn series(&mut self, series: &Series<'a>);
    fn metadata(&mut self, metadata: Metadata<'a>);
}

pub fn read<'a>(message: &'a [u8], version: Version, sink: &mut dyn Sink<'a>) -> Result<(), Malformed> {
    match version {
        Version::One => read_one(message, sink),
        Version::Two => read_two(message, sink),
    }
}

fn read_one<'a>(message: &'a [u8], sink: &mut dyn Sink<'a>) -> Result<(), Malformed> {
    let mut series = Series::default();
    for field in Fields::of(message) {
        match field? {
            (1, value) => {
                series.clear();
                for field in Fields::of(value.bytes()?) {
                    match field? {
                        (1, value) => series.label(pair(value.bytes()?)?),
                        (2, value) => series.sample(value)?,
                        (4, _) => series.histograms += 1,
                        _ => {}
                    }
                }
                sink.series(&series);
            }
            (3, value) => sink.metadata(metadata(value.bytes()?)?),
            _ => {}
        }
    }
    Ok(())
}

fn read_two<'a>(message: &'a [u8], sink: &mut dyn Sink<'a>) -> Result<(), Malformed> {
    let mut symbols: Vec<&str> = Vec::new();
    for field in Fields::of(message) {
        let (4, value) = field? else { continue };
        if symbols.len() >= SYMBOLS_MAX {
            return Err(Malformed("a message has more than 100000 symbols"));
        }
        symbols.push(value.text()?);
    }
    let symbol = |number: u64| {
        let found = usize::try_from(number).ok().and_then(|at| symbols.get(at).copied());
        found.ok_or(Malformed("a symbol is not there"))
    };
    let mut series = Series::default();
    let mut numbers: Vec<u64> = Vec::new();
    for field in Fields::of(message) {
        let (5, value) = field? else { continue };
        series.clear();
        numbers.clear();
        let (mut kind, mut help) = (0, 0);
        for field in Fields::of(value.bytes()?) {
            match field? {
                (1, value) => value.each_number(|number| {
                    if numbers.len() < 2 * LABELS_MAX {
                        numbers.push(number);
                    }
                })?,
                (2, value) => series.sample(value)?,
                (3, _) => series.histograms += 1,
                (5, value) => (kind, help) = described(value.bytes()?)?,
                _ => {}
            }
        }
        let (pairs, rest) = numbers.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(Malformed("a label has no value"));
        }
        for [name, value] in pairs {
            series.label((symbol(*name)?, symbol(*value)?));
        }
        if kind > 0
            && let Some((_, name)) = series.labels.iter().find(|(name, _)| *name == "__name__")
        {
            sink.metadata(Metadata { family: name, kind: kind_name(kind), help: symbol(help)? });
        }
        sink.series(&series);
    }
    Ok(())
}

/// Type and text of help.
fn described(message: &[u8]) -> Result<(u64, u64), Malformed> {
    let mut found = (0, 0);
    for field in Fields::of(message) {
        match field? {
            (1, value) => found.0 = value.number()?,
            (3, value) => found.1 = value.number()?,
            _ => {}
        }
    }
    Ok(found)
}

impl<'a> Series<'a> {
    fn clear(&mut self) {
        self.labels.clear();
        self.samples.clear();
        self.histograms = 0;
    }

    fn label(&mut self, pair: (&'a str, &'a str)) {
        if self.labels.len() < LABELS_MAX {
            self.labels.push(pair);
        }
    }

    fn sample(&mut self, value: Value<'_>) -> Result<(), Malformed> {
        let mut sample = (0, 0.0);
        for field in Fields::of(value.bytes()?) {
            match field? {
                (1, value) => sample.1 = value.float()?,
                (2, value) => sample.0 = value.signed()?,
                _ => {}
            }
        }
        if self.samples.len() >= SAMPLES_MAX {
            return Err(Malformed("a series has more than 100000 samples"));
        }
        self.samples.push(sample);
        Ok(())
    }

    /// The value of a label; empty where there is none.
    pub fn get(&self, name: &str) -> &'a str {
        self.labels.iter().find(|(found, _)| *found == name).map_or("", |(_, value)| value)
    }
}

fn pair(message: &[u8]) -> Result<(&str, &str), Malformed> {
    let mut pair = ("", "");
    for field in Fields::of(message) {
        match field? {
            (1, value) => pair.0 = value.text()?,
            (2, value) => pair.1 = value.text()?,
            _ => {}
        }
    }
    Ok(pair)
}

fn metadata(message: &[u8]) -> Result<Metadata<'_>, Malformed> {
    let mut found = Metadata { family: "", kind: "unknown", help: "" };
    for field in Fields::of(message) {
        match field? {
            (1, value) => found.kind = kind_name(value.number()?),
            (2, value) => found.family = value.text()?,
            (4, value) => found.help = value.text()?,
            _ => {}
        }
    }
    Ok(found)
}

fn kind_name(kind: u64) -> &'static str {
    const NAMES: [&str; 8] =
        ["unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset"];
    usize::try_from(kind).ok().and_then(|kind| NAMES.get(kind)).unwrap_or(&"unknown")
}

/// Appends a series to a message of version 1; labels must be in the order of their names.
pub fn put_series<'l>(
    out: &mut Vec<u8>,
    labels: impl Iterator<Item = (&'l str, &'l str)>,
    samples: impl Iterator<Item = (i64, f64)>,
) {
    put_message(out, 1, |out| {
        for (name, value) in labels {
            put_message(out, 1, |out| {
                put_bytes(out, 1, name.as_bytes());
                put_bytes(out, 2, value.as_bytes());
            });
        }
        for (time_ms, value) in samples {
            put_message(out, 2, |out| {
                put_fixed64(out, 1, value.to_bits());
                put_number(out, 2, time_ms.cast_unsigned());
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::put_varint;
    use proptest::prelude::*;

    #[derive(Default)]
    struct Seen(Vec<String>);

    impl<'a> Sink<'a> for Seen {
        fn series(&mut self, series: &Series<'a>) {
            self.0.push(format!("{:?} {:?} {}", series.labels, series.samples, series.histograms));
        }

        fn metadata(&mut self, metadata: Metadata<'a>) {
            self.0.push(format!("{metadata:?}"));
        }
    }

    fn seen(message: &[u8], version: Version) -> Result<Vec<String>, Malformed> {
        let mut seen = Seen::default();
        read(message, version, &mut seen)?;
        Ok(seen.0)
    }

    #[test]
    fn series_come_back_as_they_were_put() {
        let mut message = Vec::new();
        put_series(
            &mut message,
            [("__name__", "up"), ("job", "a")].into_iter(),
            [(-5, 0.5), (7, 1.0)].into_iter(),
        );
        put_series(&mut message, [("__name__", "x")].into_iter(), [].into_iter());
        put_message(&mut message, 3, |out| {
            put_number(out, 1, 3);
            put_bytes(out, 2, b"x");
            put_bytes(out, 4, b"help");
        });
        assert_eq!(
            seen(&message, Version::One).unwrap(),
            [
                r#"[("__name__", "up"), ("job", "a")] [(-5, 0.5), (7, 1.0)] 0"#,
                r#"[("__name__", "x")] [] 0"#,
                r#"Metadata { family: "x", kind: "histogram", help: "help" }"#,
            ]
        );
    }

    #[test]
    fn the_second_version_names_texts_by_numbers() {
        let mut message = Vec::new();
        put_message(&mut message, 5, |out| {
            put_message(out, 1, |out| [1, 2, 3, 0].into_iter().for_each(|number| put_varint(out, number)));
            put_message(out, 2, |out| {
                put_fixed64(out, 1, 2.5f64.to_bits());
                put_number(out, 2, 1000);
            });
            put_message(out, 5, |out| {
                put_number(out, 1, 1);
                put_number(out, 3, 4);
            });
        });
        for symbol in ["", "__name__", "up", "job", "help"] {
            put_bytes(&mut message, 4, symbol.as_bytes());
        }
        assert_eq!(
            seen(&message, Version::Two).unwrap(),
            [
                r#"Metadata { family: "up", kind: "counter", help: "help" }"#,
                r#"[("__name__", "up"), ("job", "")] [(1000, 2.5)] 0"#,
            ]
        );
        let mut message = Vec::new();
        put_message(&mut message, 5, |out| put_message(out, 1, |out| put_varint(out, 9)));
        assert_eq!(seen(&message, Version::Two), Err(Malformed("a label has no value")));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in prop::collection::vec(prop_oneof![Just(0x0au8), Just(0x2a), Just(2), any::<u8>()], 0..200)
        ) {
            for version in [Version::One, Version::Two] {
                let _ = seen(&bytes, version);
            }
        }
    }
}
