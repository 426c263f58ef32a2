//! What is printed, the same for JSON and YAML: values in the order of the output tables.

use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Printed {
    Null,
    Bool(bool),
    Int(i64),
    /// A number in single precision.
    Fraction(f32),
    Float(f64),
    Text(String),
    List(Vec<Printed>),
    /// Keys in the order of a table.
    Record(Vec<Entry>),
    /// Keys chosen by people, sorted.
    Named(BTreeMap<String, Printed>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub value: Printed,
    pub shown: Shown,
}

/// Where an entry is seen: JSON has no extensions below the top, YAML no empty parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Both,
    Json,
    Yaml,
}

/// One of the two ways to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Json,
    Yaml,
}

impl Entry {
    pub fn is_seen_in(&self, language: Language) -> bool {
        match self.shown {
            Shown::Both => true,
            Shown::Json => language == Language::Json,
            Shown::Yaml => language == Language::Yaml,
        }
    }
}

impl Printed {
    /// The entries of a mapping as one of the languages has them, in its order as far as tables say.
    pub fn entries(&self, language: Language) -> Vec<(&str, &Printed)> {
        match self {
            Printed::Record(entries) => {
                let seen = entries.iter().filter(|entry| entry.is_seen_in(language));
                seen.map(|entry| (entry.key.as_str(), &entry.value)).collect()
            }
            Printed::Named(map) => map.iter().map(|(key, value)| (key.as_str(), value)).collect(),
            _ => Vec::new(),
        }
    }
}
