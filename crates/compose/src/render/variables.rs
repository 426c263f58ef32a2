//! The variables that files ask for, with what the expressions say about them.

use super::Resolved;
use crate::tree::{Node, Value};
use std::collections::BTreeMap;

/// Expressions within expressions that are looked into.
const MAX_NESTING: usize = crate::interpolate::MAX_NESTING;

/// A variable as it is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variable {
    /// `${NAME:-this}`; empty without one.
    pub default: String,
    /// `${NAME:+this}`; empty without one.
    pub alternate: String,
    /// `${NAME:?…}`: it must be set.
    pub required: bool,
}

impl Resolved {
    /// Every variable by its name; of a project that was read with its variables in place.
    pub fn variables(&self) -> BTreeMap<String, Variable> {
        let mut found = BTreeMap::new();
        walk(&self.tree, &mut found);
        found
    }
}

/// The variables of one text.
pub(super) fn of(text: &str) -> BTreeMap<String, Variable> {
    let mut found = BTreeMap::new();
    expressions(text, 0, &mut found);
    found
}

fn walk(node: &Node, found: &mut BTreeMap<String, Variable>) {
    match &node.value {
        Value::Text(text) => expressions(text, 0, found),
        Value::List(list) => list.iter().for_each(|node| walk(node, found)),
        Value::Map(map) => map.values().for_each(|entry| walk(&entry.node, found)),
        _ => {}
    }
}

fn expressions(text: &str, nesting: usize, found: &mut BTreeMap<String, Variable>) {
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
        } else if let Some(inner) = rest.strip_prefix('{') {
            let end = crate::interpolate::closing_brace(inner).unwrap_or(inner.len());
            braced(&inner[..end], nesting, found);
            rest = inner.get(end + 1..).unwrap_or_default();
        } else {
            let (name, after) = crate::interpolate::split_name(rest);
            if !name.is_empty() {
                found.insert(name.to_owned(), Variable::default());
            }
            rest = after;
        }
    }
}

fn braced(inner: &str, nesting: usize, found: &mut BTreeMap<String, Variable>) {
    let (name, operation) = crate::interpolate::split_name(inner);
    if name.is_empty() || nesting > MAX_NESTING {
        return;
    }
    let operation = operation.strip_prefix(':').unwrap_or(operation);
    let mut variable = Variable::default();
    let word = operation.get(1..).unwrap_or_default();
    match operation.as_bytes().first() {
        Some(b'?') => variable.required = true,
        Some(b'-') => variable.default = word.to_owned(),
        Some(b'+') => variable.alternate = word.to_owned(),
        _ => {}
    }
    if !variable.required {
        expressions(word, nesting + 1, found);
    }
    found.insert(name.to_owned(), variable);
}
