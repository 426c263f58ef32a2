//! The spanned tree every stage before typing works on.

mod parse;
mod scalar;

pub(crate) use parse::parse;
pub(crate) use scalar::go_float;

use crate::diagnostics::Pos;
use indexmap::IndexMap;

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub pos: Pos,
    pub tag: Tag,
    pub value: Value,
}

/// Merge tags of the Compose Specification; other tags do not matter after parsing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Tag {
    #[default]
    None,
    /// `!reset`: the key is taken away by the merge.
    Reset,
    /// `!override`: the value replaces instead of being merged.
    Override,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// A date, or a date with a time, in the form of RFC 3339.
    Time(String),
    List(Vec<Node>),
    Map(Map),
    /// Something was wrong here and was reported; later stages pass over it.
    Invalid,
}

pub(crate) type Map = IndexMap<String, Entry>;

/// A value under a key, with the place of the key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub key: Pos,
    pub node: Node,
}

impl Node {
    pub fn new(pos: Pos, value: Value) -> Self {
        Self { pos, tag: Tag::None, value }
    }
    pub fn text(pos: Pos, text: impl Into<String>) -> Self {
        Self::new(pos, Value::Text(text.into()))
    }
    pub fn null(pos: Pos) -> Self {
        Self::new(pos, Value::Null)
    }
    pub fn map(pos: Pos, entries: impl IntoIterator<Item = (&'static str, Node)>) -> Self {
        let mut map = Map::new();
        for (key, node) in entries {
            map.insert(key.to_owned(), Entry { key: pos, node });
        }
        Self::new(pos, Value::Map(map))
    }
    /// How many values it is, with everything in it.
    pub fn size(&self) -> usize {
        1 + match &self.value {
            Value::List(list) => list.iter().map(Node::size).sum(),
            Value::Map(map) => map.values().map(|entry| entry.node.size()).sum(),
            _ => 0,
        }
    }
    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }
    /// Neither null nor wrong.
    pub fn is_given(&self) -> bool {
        !matches!(self.value, Value::Null | Value::Invalid)
    }
    pub fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }
    pub fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }
    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(list) => Some(list),
            _ => None,
        }
    }
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
    pub fn as_bool(&self) -> Option<bool> {
        match self.value {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }
    pub fn as_int(&self) -> Option<i64> {
        match self.value {
            Value::Int(value) => Some(value),
            _ => None,
        }
    }
    /// The value under `key`; null and what was wrong count as absent.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.get(key).map(|entry| &entry.node).filter(|node| node.is_given())
    }
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.as_map_mut()?.get_mut(key).map(|entry| &mut entry.node).filter(|node| node.is_given())
    }
    /// The entries of a map, none for anything else.
    pub fn entries(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.as_map().into_iter().flatten()
    }
    pub fn entries_mut(&mut self) -> impl Iterator<Item = (&String, &mut Entry)> {
        self.as_map_mut().into_iter().flatten()
    }
    /// The items of a list, none for anything else.
    pub fn items(&self) -> &[Node] {
        self.as_list().unwrap_or_default()
    }
    /// Whether `key` was written at all, rightly or wrongly.
    pub fn has(&self, key: &str) -> bool {
        self.as_map().is_some_and(|map| map.get(key).is_some_and(|entry| !entry.node.is_null()))
    }
    pub fn set(&mut self, key: &str, node: Node) {
        let pos = node.pos;
        if let Some(map) = self.as_map_mut() {
            map.insert(key.to_owned(), Entry { key: pos, node });
        }
    }
    /// A scalar as Compose turns it into text; `None` for lists, maps and null.
    pub fn scalar_text(&self) -> Option<String> {
        match &self.value {
            Value::Text(text) => Some(text.clone()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Int(value) => Some(value.to_string()),
            Value::Float(value) => Some(go_float(*value)),
            Value::Null | Value::Invalid | Value::Time(_) | Value::List(_) | Value::Map(_) => None,
        }
    }
    /// What kind of value this is, for people.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null | Value::Invalid => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::Time(_) => "a date",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null | Value::Invalid => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => Json::from(*value),
            Value::Float(value) => Json::from(*value),
            Value::Text(text) | Value::Time(text) => Json::String(text.clone()),
            Value::List(list) => Json::Array(list.iter().map(Node::to_json).collect()),
            Value::Map(map) => map.iter().map(|(key, entry)| (key.clone(), entry.node.to_json())).collect(),
        }
    }
}
