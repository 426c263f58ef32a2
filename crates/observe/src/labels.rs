//! Labels of a series and what a selector asks of them.

use regex::Regex;
use std::fmt;
use std::sync::Arc;

/// The label that holds the name of a metric.
pub const NAME: &str = "__name__";

/// Names and values, sorted by name, no name twice, no empty value.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// Sorts; of a name given twice the last counts; an empty value is no label.
    pub fn new<N: Into<Arc<str>>, V: Into<Arc<str>>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let pairs: Vec<_> = pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self::from_pairs(pairs)
    }

    pub(crate) fn from_pairs(mut pairs: Vec<(Arc<str>, Arc<str>)>) -> Self {
        if !pairs.is_sorted_by(|a, b| a.0 < b.0) {
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            pairs.reverse();
            pairs.dedup_by(|a, b| a.0 == b.0);
            pairs.reverse();
        }
        pairs.retain(|(_, value)| !value.is_empty());
        Self(pairs.into())
    }

    /// The value of a label; empty where there is none, as PromQL has it.
    pub fn get(&self, name: &str) -> &str {
        self.find(name).map_or("", |value| value)
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Arc<str>> {
        let at = self.0.binary_search_by(|(n, _)| (**n).cmp(name)).ok()?;
        Some(&self.0[at].1)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    pub(crate) fn pairs(&self) -> &[(Arc<str>, Arc<str>)] {
        &self.0
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those labels for whose name `keep` says yes.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) -> Self {
        if self.0.iter().all(|(name, _)| keep(name)) {
            return self.clone();
        }
        Self(self.0.iter().filter(|(name, _)| keep(name)).cloned().collect())
    }

    /// With one label set to another value; an empty value removes it.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut pairs: Vec<_> = self.0.iter().filter(|(n, _)| &**n != name).cloned().collect();
        if !value.is_empty() {
            let at = pairs.partition_point(|(n, _)| &**n < name);
            pairs.insert(at, (name.into(), value.into()));
        }
        Self(pairs.into())
    }

    /// Without the name of the metric.
    pub fn without_name(&self) -> Self {
        self.retain(|name| name != NAME)
    }
}

/// As Prometheus writes it: `name{a="b"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get(NAME))?;
        let others: Vec<String> = self
            .iter()
            .filter(|(name, _)| *name != NAME)
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        if others.is_empty() && self.find(NAME).is_some() {
            return Ok(());
        }
        write!(f, "{{{}}}", others.join(", "))
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What one label must be.
#[derive(Debug, Clone)]
pub struct Matcher {
    pub name: String,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Equal(String),
    Differs(String),
    Matches(Regex),
    MatchesNot(Regex),
}

#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    #[error("the regular expression {text:?} of a selector cannot be read")]
    Regex { text: String, source: Box<regex::Error> },
}

impl Matcher {
    pub fn equal(name: &str, value: &str) -> Self {
        Self { name: name.into(), test: Test::Equal(value.into()) }
    }

    pub fn differs(name: &str, value: &str) -> Self {
        Self { name: name.into(), test: Test::Differs(value.into()) }
    }

    /// The expression must match the whole value.
    pub fn matches(name: &str, expression: &str) -> Result<Self, LabelError> {
        Ok(Self { name: name.into(), test: Test::Matches(whole(expression)?) })
    }

    pub fn matches_not(name: &str, expression: &str) -> Result<Self, LabelError> {
        Ok(Self { name: name.into(), test: Test::MatchesNot(whole(expression)?) })
    }

    /// An absent label has the value "".
    pub fn accepts(&self, value: &str) -> bool {
        match &self.test {
            Test::Equal(wanted) => value == wanted,
            Test::Differs(other) => value != other,
            Test::Matches(regex) => regex.is_match(value),
            Test::MatchesNot(regex) => !regex.is_match(value),
        }
    }

    /// The value, where only one will do.
    pub fn wanted(&self) -> Option<&str> {
        match &self.test {
            Test::Equal(value) => Some(value),
            _ => None,
        }
    }
}

/// The most memory one compiled expression may take.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Compiles an expression that must match all of a text.
pub(crate) fn whole(expression: &str) -> Result<Regex, LabelError> {
    regex::RegexBuilder::new(&format!("^(?s:{expression})$"))
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|source| LabelError::Regex { text: expression.into(), source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_unique_and_never_empty() {
        let labels = Labels::new([("b", "1"), ("a", "2"), ("b", "3"), ("c", "")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "3")]);
        assert_eq!(labels.get("c"), "");
        assert_eq!(labels.with("aa", "x").with("b", "").to_string(), r#"{a="2", aa="x"}"#);
        assert_eq!(Labels::new([(NAME, "up")]).to_string(), "up");
    }

    #[test]
    fn an_expression_must_match_the_whole_value() {
        let matcher = Matcher::matches("job", "a|b+").unwrap();
        assert!(matcher.accepts("a") && matcher.accepts("bb"));
        assert!(!matcher.accepts("ab") && !matcher.accepts(""));
        assert!(Matcher::matches("job", "(").is_err());
        assert!(Matcher::matches("job", "(x{1000}){1000}").is_err(), "an expression has a limit of memory");
    }
}
