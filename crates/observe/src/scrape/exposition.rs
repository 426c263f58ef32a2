//! From a text of Prometheus (0.0.4) or OpenMetrics (1.0) to samples.
//!
//! All or nothing, as Prometheus has it: one line that cannot be read makes the whole text unread.
//! Times and exemplars in the text are read and left away.

use super::line::{Line, Wrong};
use crate::keep::Kind;
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

/// Samples of one text that are taken; what comes after is counted.
pub const SAMPLES_MAX: usize = 10_000;
/// Labels of one sample.
const LABELS_MAX: usize = 64;

/// Which of the two a text is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    OpenMetrics,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {wrong}")]
pub struct ExpositionError {
    pub line: usize,
    #[source]
    pub wrong: Wrong,
}

/// What a text says.
#[derive(Debug, Default)]
pub struct Exposition<'t> {
    samples: Vec<Sample<'t>>,
    labels: Vec<(&'t str, Cow<'t, str>)>,
    families: Vec<Family<'t>>,
    by_name: HashMap<&'t str, usize>,
    /// Samples beyond [`SAMPLES_MAX`].
    pub surplus: usize,
}

#[derive(Debug)]
pub struct Sample<'t> {
    pub name: &'t str,
    pub kind: Kind,
    pub value: f64,
    labels: Range<usize>,
}

/// A metric as its `TYPE` and `HELP` have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family<'t> {
    pub name: &'t str,
    pub kind: FamilyKind,
    pub help: Cow<'t, str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FamilyKind {
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    Summary,
    Info,
    StateSet,
    #[default]
    Unknown,
}

impl FamilyKind {
    fn parse(word: &str, format: Format) -> Option<Self> {
        Some(match (word, format) {
            ("counter", _) => Self::Counter,
            ("gauge", _) => Self::Gauge,
            ("histogram", _) => Self::Histogram,
            ("summary", _) => Self::Summary,
            ("untyped", Format::Text) | ("unknown", _) => Self::Unknown,
            ("gaugehistogram", _) => Self::GaugeHistogram,
            ("info", _) => Self::Info,
            ("stateset", _) => Self::StateSet,
            _ => return None,
        })
    }

    /// As the API of Prometheus says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::Unknown => "unknown",
        }
    }

    /// Whether a sample of the family, with this after the family's name, only rises.
    fn counts(self, suffix: &str) -> bool {
        match self {
            Self::Counter => matches!(suffix, "" | "_total"),
            Self::Histogram => matches!(suffix, "_bucket" | "_sum" | "_count"),
            Self::Summary => matches!(suffix, "_sum" | "_count"),
            _ => false,
        }
    }
}

/// What a sample's name may have after its family's.
const SUFFIXES: [&str; 8] = ["_bucket", "_sum", "_count", "_total", "_created", "_info", "_gsum", "_gcount"];

impl<'t> Exposition<'t> {
    pub fn parse(text: &'t str, format: Format) -> Result<Self, ExpositionError> {
        let mut all = Self::default();
        let mut has_ended = false;
        for (at, line) in text.split('\n').enumerate() {
            let fail = |wrong| ExpositionError { line: at + 1, wrong };
            if has_ended {
                if line.is_empty() {
                    continue;
                }
                return Err(fail(Wrong::AfterEnd));
            }
            if format == Format::OpenMetrics && line == "# EOF" {
                has_ended = true;
                continue;
            }
            all.take(Line::new(line), format).map_err(fail)?;
        }
        if format == Format::OpenMetrics && !has_ended {
            let line = text.split('\n').count();
            return Err(ExpositionError { line, wrong: Wrong::NoEnd });
        }
        Ok(all)
    }

    pub fn samples(&self) -> impl Iterator<Item = (&Sample<'t>, &[(&'t str, Cow<'t, str>)])> {
        self.samples.iter().map(|sample| (sample, &self.labels[sample.labels.clone()]))
    }

    pub fn families(&self) -> &[Family<'t>] {
        &self.families
    }

    /// Those that were taken.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    fn take(&mut self, mut line: Line<'t>, format: Format) -> Result<(), Wrong> {
        line.skip_blanks();
        match line.peek() {
            None => Ok(()),
            Some(b'#') => self.take_comment(line, format),
            Some(_) => self.take_sample(line, format),
        }
    }

    fn take_comment(&mut self, mut line: Line<'t>, format: Format) -> Result<(), Wrong> {
        line.skip(1);
        line.skip_blanks();
        match line.word() {
            "HELP" => {
                let name = line.metric_name()?;
                line.skip_one_blank();
                self.family(name).help = line.help();
            }
            "TYPE" => {
                let name = line.metric_name()?;
                line.skip_blanks();
                let word = line.word();
                let kind = FamilyKind::parse(word, format).ok_or_else(|| Wrong::type_of(name, word))?;
                self.family(name).kind = kind;
            }
            _ => {}
        }
        Ok(())
    }

    fn family(&mut self, name: &'t str) -> &mut Family<'t> {
        let at = *self.by_name.entry(name).or_insert_with(|| {
            self.families.push(Family { name, kind: FamilyKind::Unknown, help: Cow::Borrowed("") });
            self.families.len() - 1
        });
        &mut self.families[at]
    }

    fn take_sample(&mut self, mut line: Line<'t>, format: Format) -> Result<(), Wrong> {
        let name = line.metric_name()?;
        let start = self.labels.len();
        line.skip_blanks();
        if line.peek() == Some(b'{') {
            line.labels(LABELS_MAX, &mut self.labels)?;
        }
        let value = line.value()?;
        match format {
            Format::Text => line.time_ms()?,
            Format::OpenMetrics => line.time_and_exemplar()?,
        }
        if self.samples.len() == SAMPLES_MAX {
            self.surplus += 1;
            self.labels.truncate(start);
            return Ok(());
        }
        let kind = self.kind_of(name);
        self.samples.push(Sample { name, kind, value, labels: start..self.labels.len() });
        Ok(())
    }

    fn kind_of(&self, name: &str) -> Kind {
        let of = |family: &str| self.by_name.get(family).map(|at| self.families[*at].kind);
        let stripped = || SUFFIXES.iter().find_map(|suffix| Some((of(name.strip_suffix(suffix)?)?, *suffix)));
        let found = of(name).filter(|kind| *kind != FamilyKind::Unknown).map(|kind| (kind, ""));
        let counts = match found.or_else(stripped) {
            Some((FamilyKind::Unknown, _)) | None => name.ends_with("_total"),
            Some((kind, suffix)) => kind.counts(suffix),
        };
        if counts { Kind::Counter } else { Kind::Gauge }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Each sample on a line, a counter with a + before it.
    fn check(format: Format, text: &str, expect: Result<&[&str], &str>) {
        let shown = Exposition::parse(text, format).map(|all| {
            let line = |(sample, labels): (&Sample<'_>, &[(&str, Cow<'_, str>)])| {
                let sign = if sample.kind == Kind::Counter { "+" } else { "" };
                let labels: Vec<String> =
                    labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("{sign}{}{{{}}} {}", sample.name, labels.join(","), sample.value)
            };
            all.samples().map(line).collect::<Vec<_>>()
        });
        let shown = shown.map_err(|error| error.to_string());
        let expect = expect.map(|lines| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
        assert_eq!(shown, expect.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn samples_of_the_text_format() {
        let text = check_text;
        text(
            "# just a comment\n\n  a 1 \n\tb{} 2.5e3 1395066363000\nc{x=\"1\",} NaN\n",
            &["a{} 1", "b{} 2500", "c{x=1} NaN"],
        );
        text("a { x = \"1\" , y=\"\\\\\\\"\\n\\q\" } +Inf\nb -Inf", &["a{x=1,y=\\\"\n\\q} inf", "b{} -inf"]);
        text("a{x=\"}, y=\\\"\",é=\"\"} 1".replace("é", "e").as_str(), &["a{x=}, y=\",e=} 1"]);
        text("a:b{x=\"ü\"} 0", &["a:b{x=ü} 0"]);
        text("", &[]);
    }

    fn check_text(text: &str, expect: &[&str]) {
        check(Format::Text, text, Ok(expect));
    }

    #[test]
    fn the_type_says_what_only_rises() {
        check_text(
            "# TYPE a counter\na 1\n# TYPE b gauge\nb_total 1\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\n\
             h_sum 1\nh_count 1\n# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 1\ns_count 1\n\
             # TYPE u untyped\nu 1\nother_total 1\n",
            &[
                "+a{} 1",
                "b_total{} 1",
                "+h_bucket{le=1} 1",
                "+h_sum{} 1",
                "+h_count{} 1",
                "s{quantile=0.5} 1",
                "+s_sum{} 1",
                "+s_count{} 1",
                "u{} 1",
                "+other_total{} 1",
            ],
        );
        let help = Exposition::parse("# HELP a One\\nTwo \\\\ \n# TYPE a gauge\n", Format::Text).unwrap();
        let expect = Family { name: "a", kind: FamilyKind::Gauge, help: "One\nTwo \\ ".into() };
        assert_eq!(help.families(), [expect]);
    }

    #[test]
    fn openmetrics_has_an_end_and_exemplars() {
        let open = |text: &str, expect| check(Format::OpenMetrics, text, expect);
        open(
            "# TYPE a counter\n# UNIT a seconds\na_total 1 1.5 # {id=\"x # {\"} 0.5 1.2\na_created 7\n# TYPE i info\n\
             i_info{v=\"1\"} 1\n# TYPE s stateset\ns{s=\"on\"} 0\nh_bucket{le=\"1\"} 2 # {} 1\n# EOF\n",
            Ok(&["+a_total{} 1", "a_created{} 7", "i_info{v=1} 1", "s{s=on} 0", "h_bucket{le=1} 2"]),
        );
        open("a 1\n", Err("line 2: the text ends without # EOF, so a part of it may be missing"));
        open("# EOF\na 1\n", Err("line 2: the text goes on after its # EOF"));
        open("a 1 # x\n# EOF", Err("line 1: an exemplar is expected after the #"));
        open("a 1 x\n# EOF", Err("line 1: \"x\" is not a time"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let wrong = |text: &str, expect| check(Format::Text, text, Err(expect));
        wrong("a 1\n<html>", "line 2: a name is expected, not \"<html>\"");
        wrong("1a 1", "line 1: a name is expected, not \"1a 1\"");
        wrong("a one", "line 1: \"one\" is not a number");
        wrong("a 0x10", "line 1: \"0x10\" is not a number");
        wrong("a 1_000", "line 1: \"1_000\" is not a number");
        wrong("a", "line 1: \"\" is not a number");
        wrong("a 1\r\n", "line 1: \"1\\r\" is not a number");
        wrong("a 1 1.5", "line 1: \"1.5\" is not a time");
        wrong("a 1 15 b", "line 1: \"b\" comes after what a line may have");
        wrong("a{x=1} 1", "line 1: the label \"x\" has no value in quotes");
        wrong("a{x=\"1} 1", "line 1: the label \"x\" has no value in quotes");
        wrong("a{x=\"1\\", "line 1: the label \"x\" has no value in quotes");
        wrong("a{x=\"1\" y=\"2\"} 1", "line 1: a comma or a closing brace is expected after the label \"x\"");
        wrong("a{,} 1", "line 1: a name is expected, not \",} 1\"");
        wrong("a{x:y=\"1\"} 1", "line 1: the label \"x\" has no value in quotes");
        wrong("a{x=\"1\",x=\"2\"} 1", "line 1: the label \"x\" is there twice");
        wrong("a{__name__=\"b\"} 1", "line 1: the label \"__name__\" is there twice");
        wrong("# TYPE a thing", "line 1: the type of a cannot be \"thing\"");
        let many: Vec<String> = (0..=LABELS_MAX).map(|at| format!("l{at}=\"\"")).collect();
        wrong(&format!("a{{{}}} 1", many.join(",")), "line 1: a sample has more than 64 labels");
    }

    #[test]
    fn samples_have_a_limit() {
        let text: String = (0..SAMPLES_MAX + 3).map(|at| format!("a{{n=\"{at}\"}} 1\n")).collect();
        let all = Exposition::parse(&text, Format::Text).unwrap();
        assert_eq!((all.len(), all.surplus, all.labels.len()), (SAMPLES_MAX, 3, SAMPLES_MAX));
    }

    type Generated = Vec<(String, Vec<(String, String)>, f64)>;

    fn generated() -> impl Strategy<Value = Generated> {
        let labels = prop::collection::btree_map("[a-zA-Z_][a-zA-Z0-9_]{0,5}", any::<String>(), 0..5);
        let labels = labels.prop_map(|labels| labels.into_iter().collect::<Vec<_>>());
        prop::collection::vec(("[a-zA-Z_:][a-zA-Z0-9_:]{0,8}", labels, any::<f64>()), 0..8)
    }

    fn written(all: &Generated) -> String {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let label = |(name, value): &(String, String)| format!("{name}=\"{}\"", escaped(value));
        let line = |(name, labels, value): &(String, Vec<(String, String)>, f64)| {
            format!("{name}{{{}}} {value}\n", labels.iter().map(label).collect::<Vec<_>>().join(","))
        };
        all.iter().map(line).collect()
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(all in generated()) {
            for (format, end) in [(Format::Text, ""), (Format::OpenMetrics, "# EOF\n")] {
                let text = written(&all) + end;
                let read = Exposition::parse(&text, format).unwrap();
                prop_assert_eq!(read.len(), all.len());
                for ((sample, labels), (name, expected, value)) in read.samples().zip(&all) {
                    prop_assert_eq!(sample.name, name);
                    prop_assert!(sample.value == *value || sample.value.is_nan() && value.is_nan());
                    let labels: Vec<(String, String)> =
                        labels.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into_owned())).collect();
                    prop_assert_eq!(&labels, expected);
                }
            }
        }

        #[test]
        fn nothing_makes_it_panic(text in "[#aT{}=\",\\\\ \t\n0.1+NHELPYOFé]{0,60}", open in any::<bool>()) {
            let format = if open { Format::OpenMetrics } else { Format::Text };
            let _ = Exposition::parse(&text, format);
        }
    }
}
