//! A tree and an output table → what is printed.

use super::form::{Field, Form};
use super::printed::{Entry, Printed, Shown};
use super::quantity;
use crate::tree::{Node, Value};
use std::collections::BTreeMap;

/// A mapping with the keys of `fields`, then its extensions.
pub(super) fn record(node: &Node, fields: &'static [Field]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for field in fields {
        let found = node.as_map().and_then(|map| map.get(field.key)).map(|entry| &entry.node);
        if let Some((value, shown)) = member(found, field.form) {
            entries.extend(named(field, value, shown));
        }
    }
    entries.extend(extensions(node).map(|(key, value)| Entry { key, value, shown: Shown::Yaml }));
    entries
}

/// The entry of a field; two where the languages write its key differently.
fn named(field: &Field, value: Printed, shown: Shown) -> Vec<Entry> {
    match field.printed {
        None => vec![Entry { key: field.key.to_owned(), value, shown }],
        Some((json, yaml)) => vec![
            Entry { key: json.to_owned(), value: value.clone(), shown: Shown::Json },
            Entry { key: yaml.to_owned(), value, shown: Shown::Yaml },
        ],
    }
}

/// `x-` keys with their values as they are.
pub(super) fn extensions(node: &Node) -> impl Iterator<Item = (String, Printed)> {
    let mut all: Vec<_> = node.entries().filter(|(key, _)| key.starts_with("x-")).collect();
    all.sort_by(|(a, _), (b, _)| super::scalar::natural_order(a, b));
    all.into_iter().map(|(key, entry)| (key.clone(), anything(&entry.node)))
}

/// A value as it is.
pub(super) fn anything(node: &Node) -> Printed {
    match &node.value {
        Value::Null | Value::Invalid => Printed::Null,
        Value::Bool(value) => Printed::Bool(*value),
        Value::Int(value) => Printed::Int(*value),
        Value::Float(value) => Printed::Float(*value),
        Value::Text(text) | Value::Time(text) => Printed::Text(text.clone()),
        Value::List(list) => Printed::List(list.iter().map(anything).collect()),
        Value::Map(map) => {
            Printed::Named(map.iter().map(|(key, entry)| (key.clone(), anything(&entry.node))).collect())
        }
    }
}

/// The value of a key and where it is seen; `None` where it is left out.
fn member(node: Option<&Node>, form: Form) -> Option<(Printed, Shown)> {
    let given = node.filter(|node| node.is_given());
    match form {
        Form::Part(fields) => {
            let entries = given.map_or_else(|| record_of_nothing(fields), |node| record(node, fields));
            let says = entries.iter().any(|entry| entry.shown != Shown::Json);
            Some((Printed::Record(entries), if says { Shown::Both } else { Shown::Json }))
        }
        Form::NamedAlways(form) => {
            let map =
                given.map_or_else(|| Printed::Named(BTreeMap::new()), |node| by_name(node, *form, false));
            Some((map, Shown::Both))
        }
        Form::Command if given.is_none() => Some((Printed::Null, Shown::Json)),
        form => value(given?, form).map(|value| (value, Shown::Both)),
    }
}

fn record_of_nothing(fields: &'static [Field]) -> Vec<Entry> {
    record(&Node::map(Default::default(), []), fields)
}

/// A value in its form; `None` where it counts as nothing.
pub(super) fn value(node: &Node, form: Form) -> Option<Printed> {
    let text = || node.scalar_text().unwrap_or_default();
    match form {
        Form::Text => Some(text()).filter(|text| !text.is_empty()).map(Printed::Text),
        Form::Flag => flag(node).filter(|value| *value).map(Printed::Bool),
        Form::FlagGiven => flag(node).map(Printed::Bool),
        Form::Int => quantity::int(node).filter(|value| *value != 0).map(Printed::Int),
        Form::IntGiven => quantity::int(node).map(Printed::Int),
        Form::Fraction => quantity::fraction(node).filter(|value| *value != 0.0).map(Printed::Fraction),
        Form::Size => quantity::bytes(&text()).filter(|value| *value != 0).map(number_text),
        Form::SizeGiven => quantity::bytes(&text()).map(number_text),
        Form::Duration => quantity::nanoseconds(&text()).filter(|value| *value != 0).map(duration),
        Form::DurationGiven => quantity::nanoseconds(&text()).map(duration),
        Form::Mode => quantity::mode(node).map(|mode| Printed::Text(format!("0{mode:o}"))),
        Form::Texts => filled(texts(node)),
        Form::Command => Some(texts(node)),
        Form::Pairs => filled(pairs(node, || Printed::Text(String::new()))),
        Form::Environment => filled(pairs(node, || Printed::Null)),
        Form::Hosts => filled(hosts(node)),
        Form::Limit => Some(limit(node)),
        Form::Keys => filled(keys(node)),
        Form::Count => quantity::count(node).filter(|count| *count != 0).map(Printed::Int),
        Form::Options => filled(options(node)),
        Form::EnvFile => Some(env_file(node)),
        Form::Record(fields) | Form::Part(fields) => Some(Printed::Record(record(node, fields))),
        Form::Each(form) => {
            filled(Printed::List(node.items().iter().filter_map(|item| value(item, *form)).collect()))
        }
        Form::Named(form) | Form::NamedAlways(form) => filled(by_name(node, *form, false)),
        Form::NamedOrNull(form) => filled(by_name(node, *form, true)),
    }
}

/// Empty lists and mappings count as nothing.
fn filled(value: Printed) -> Option<Printed> {
    let empty = match &value {
        Printed::List(list) => list.is_empty(),
        Printed::Named(map) => map.is_empty(),
        _ => false,
    };
    (!empty).then_some(value)
}

fn flag(node: &Node) -> Option<bool> {
    let text = || node.as_text().and_then(crate::quantity::boolean).map(|(value, _)| value);
    node.as_bool().or_else(text)
}

fn number_text(value: i64) -> Printed {
    Printed::Text(value.to_string())
}

fn duration(nanoseconds: i64) -> Printed {
    Printed::Text(quantity::go_duration(nanoseconds))
}

fn texts(node: &Node) -> Printed {
    let items: Vec<_> = match &node.value {
        Value::List(list) => list.iter().filter_map(Node::scalar_text).collect(),
        _ => node.scalar_text().into_iter().collect(),
    };
    Printed::List(items.into_iter().map(Printed::Text).collect())
}

/// A mapping of texts, or `KEY=VALUE` items.
fn pairs(node: &Node, nothing: impl Fn() -> Printed) -> Printed {
    let value = |node: &Node| node.scalar_text().map_or_else(&nothing, Printed::Text);
    let from_item = |item: &Node| {
        let text = item.scalar_text()?;
        Some(match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), Printed::Text(value.to_owned())),
            None => (text, nothing()),
        })
    };
    Printed::Named(match &node.value {
        Value::List(list) => list.iter().filter_map(from_item).collect(),
        _ => node.entries().map(|(key, entry)| (key.clone(), value(&entry.node))).collect(),
    })
}

fn hosts(node: &Node) -> Printed {
    let mut lines = Vec::new();
    for item in node.items().iter().filter_map(Node::scalar_text) {
        let Some((host, addresses)) = item.split_once('=').or_else(|| item.split_once(':')) else { continue };
        lines.extend(addresses.split(',').map(|address| host_line(host, address)));
    }
    for (host, entry) in node.entries() {
        let items = match &entry.node.value {
            Value::List(list) => list.iter().filter_map(Node::scalar_text).collect(),
            _ => vec![entry.node.scalar_text().unwrap_or_default()],
        };
        lines.extend(items.iter().map(|address| host_line(host, address)));
    }
    lines.sort();
    Printed::List(lines.into_iter().map(Printed::Text).collect())
}

fn host_line(host: &str, address: &str) -> String {
    let bare = address.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    format!("{host}={}", bare.filter(|text| !text.is_empty()).unwrap_or(address))
}

/// One number, or a soft and a hard one, which YAML writes even where they are 0.
fn limit(node: &Node) -> Printed {
    let zero = |key: &str| Entry { key: key.to_owned(), value: Printed::Int(0), shown: Shown::Yaml };
    match quantity::int(node).filter(|value| *value != 0) {
        Some(value) => Printed::Int(value),
        None => Printed::Record(
            ["soft", "hard"]
                .into_iter()
                .map(|key| match node.get(key).and_then(quantity::int).filter(|value| *value != 0) {
                    Some(value) => {
                        Entry { key: key.to_owned(), value: Printed::Int(value), shown: Shown::Both }
                    }
                    None => zero(key),
                })
                .collect(),
        ),
    }
}

/// `ID` or `ID: PATH`.
fn keys(node: &Node) -> Printed {
    let Printed::Named(map) = pairs(node, || Printed::Null) else { return Printed::Null };
    let line = |(id, path): (String, Printed)| match path {
        Printed::Text(path) if !path.is_empty() => format!("{id}: {path}"),
        _ => id,
    };
    Printed::List(map.into_iter().map(line).map(Printed::Text).collect())
}

fn env_file(node: &Node) -> Printed {
    let text = |key: &str| Printed::Text(node.get(key).and_then(Node::scalar_text).unwrap_or_default());
    if node.get("required").and_then(Node::as_bool).unwrap_or(true) {
        return text("path");
    }
    let entry = |key: &str, value, shown| Entry { key: key.to_owned(), value, shown };
    let mut entries =
        vec![entry("path", text("path"), Shown::Both), entry("required", Printed::Bool(false), Shown::Both)];
    if node.has("format") {
        entries.push(entry("format", text("format"), Shown::Json));
    }
    Printed::Record(entries)
}

fn options(node: &Node) -> Printed {
    let list = |node: &Node| texts(node);
    Printed::Named(node.entries().map(|(key, entry)| (key.clone(), list(&entry.node))).collect())
}

fn by_name(node: &Node, form: Form, keep_null: bool) -> Printed {
    let empty = Node::map(node.pos, []);
    let mut map = BTreeMap::new();
    for (name, entry) in node.entries() {
        let given = entry.node.is_given();
        let printed = match given || !keep_null {
            true => value(if given { &entry.node } else { &empty }, form),
            false => Some(Printed::Null),
        };
        map.extend(printed.map(|printed| (name.clone(), printed)));
    }
    Printed::Named(map)
}
