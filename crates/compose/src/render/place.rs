//! Paths such as `web.environment.LOG` or `networks.front.ipam`: what they lead to in the resolved
//! tree, and what a document as written says at the same place.

use crate::diagnostics::Pos;
use crate::tree::{Node, Tag, Value};

/// One step of a path.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Segment {
    Key(String),
    /// An item of a list.
    Item(Item),
}

/// An item as the resolved list has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    pub index: usize,
    /// Where it was written.
    pub pos: Pos,
    /// The path inside of instances that it stands for: a later one for the same replaces it.
    pub target: Option<String>,
}

impl Item {
    fn of(index: usize, node: &Node) -> Self {
        let target = node.get("target").and_then(Node::as_text).filter(|target| target.starts_with('/'));
        Self { index, pos: node.pos, target: target.map(str::to_owned) }
    }

    /// Whether an item as written is this one, or one that this one replaced.
    fn is(&self, written: &Node) -> bool {
        let target = match written.as_text() {
            Some(text) => crate::canonical::volume_target(text),
            None => written.get("target").and_then(Node::scalar_text),
        };
        written.pos == self.pos || (self.target.is_some() && target == self.target)
    }
}

/// Where a path ends when it leads nowhere.
pub(super) struct Stopped {
    /// The part that led somewhere.
    pub reached: Vec<Segment>,
    /// The part that did not.
    pub rest: String,
    /// What there would have been.
    pub known: Vec<String>,
}

/// Follows a path from the root of a tree.
pub(super) fn find<'t>(root: &'t Node, path: &str) -> Result<(Vec<Segment>, &'t Node), Stopped> {
    let mut reached = Vec::new();
    let (mut node, mut rest) = (root, path);
    while !rest.is_empty() {
        let step = match &node.value {
            Value::List(list) => item(list, rest),
            _ => key(node, rest),
        };
        let Some((segment, next, after)) = step else {
            return Err(Stopped { reached, rest: rest.to_owned(), known: known(node) });
        };
        reached.push(segment);
        (node, rest) = (next, after);
    }
    Ok((reached, node))
}

/// The longest key that the path can begin with: keys may have dots in them.
fn key<'t, 'p>(node: &'t Node, path: &'p str) -> Option<(Segment, &'t Node, &'p str)> {
    let fitting = node.entries().filter_map(|(key, entry)| {
        let after = path.strip_prefix(key.as_str())?;
        let ends = after.is_empty() || after.starts_with(['.', '[']);
        ends.then_some((key, &entry.node, after.strip_prefix('.').unwrap_or(after)))
    });
    let (key, node, after) = fitting.max_by_key(|(key, _, _)| key.len())?;
    Some((Segment::Key(key.clone()), node, after))
}

/// `[0]`, `0`, or what the item is called.
fn item<'t, 'p>(list: &'t [Node], path: &'p str) -> Option<(Segment, &'t Node, &'p str)> {
    let bare = path.strip_prefix('[').unwrap_or(path);
    let end = bare.find(|c: char| !c.is_ascii_digit()).unwrap_or(bare.len());
    let after = bare[end..].strip_prefix(']').unwrap_or(&bare[end..]);
    let ends = after.is_empty() || after.starts_with(['.', '[']);
    let by_number =
        bare[..end].parse().ok().filter(|_| ends).and_then(|index: usize| {
            Some((index, list.get(index)?, after.strip_prefix('.').unwrap_or(after)))
        });
    let by_name = || {
        let named = list
            .iter()
            .enumerate()
            .flat_map(|(index, node)| names(node).into_iter().map(move |name| (index, node, name)));
        let fitting = named.filter_map(|(index, node, name)| {
            let after = path.strip_prefix(name.as_str())?;
            let ends = after.is_empty() || after.starts_with('.');
            ends.then(|| (name.len(), index, node, after.strip_prefix('.').unwrap_or(after)))
        });
        let (_, index, node, after) = fitting.max_by_key(|(length, ..)| *length)?;
        Some((index, node, after))
    };
    let (index, node, after) = by_number.or_else(by_name)?;
    Some((Segment::Item(Item::of(index, node)), node, after))
}

/// What an item of a list can be called.
fn names(node: &Node) -> Vec<String> {
    let keys = ["target", "source", "path", "published", "name", "subnet"];
    match node.scalar_text() {
        Some(text) => vec![text],
        None => keys.iter().filter_map(|key| node.get(key)?.scalar_text()).collect(),
    }
}

fn known(node: &Node) -> Vec<String> {
    match &node.value {
        Value::List(list) => list
            .iter()
            .enumerate()
            .map(|(index, node)| names(node).into_iter().next().unwrap_or_else(|| index.to_string()))
            .collect(),
        _ => node.entries().map(|(key, _)| key.clone()).collect(),
    }
}

/// What a document says about a place.
pub(super) enum Stated<'d> {
    /// The value under a key or in a list, and where it stands.
    Value(&'d Node, Pos),
    /// A name without a value, which the environment has to give.
    Name(&'d Node),
    /// It is taken away, or something around it is.
    Reset(Pos),
}

/// Everything a document says about the place that `path` leads to in the resolved tree.
pub(super) fn stated<'d>(document: &'d Node, path: &[Segment]) -> Vec<Stated<'d>> {
    let Some((first, rest)) = path.split_first() else {
        return vec![Stated::Value(document, document.pos)];
    };
    match (first, &document.value) {
        (Segment::Key(key), Value::Map(map)) => {
            let Some(entry) = map.get(key) else { return Vec::new() };
            match entry.node.tag {
                Tag::Reset => vec![Stated::Reset(entry.key)],
                tag => {
                    let mut all = stated(&entry.node, rest);
                    if rest.is_empty() && entry.node.is_null() {
                        all = vec![Stated::Name(&entry.node)];
                    }
                    if all.is_empty() && tag == Tag::Override {
                        all.push(Stated::Reset(entry.key));
                    }
                    all
                }
            }
        }
        (Segment::Key(key), Value::List(list)) => {
            list.iter().filter_map(|item| named_item(item, key)).collect()
        }
        (Segment::Key(key), Value::Text(_))
            if rest.is_empty() && matches!(key.as_str(), "context" | "service") =>
        {
            vec![Stated::Value(document, document.pos)]
        }
        (Segment::Item(wanted), Value::List(list)) => list
            .iter()
            .filter(|item| wanted.is(item))
            .flat_map(|item| match item.value {
                Value::Map(_) => stated(item, rest),
                _ => vec![Stated::Value(item, item.pos)],
            })
            .collect(),
        (Segment::Item(wanted), _) if document.pos == wanted.pos => {
            vec![Stated::Value(document, document.pos)]
        }
        _ => Vec::new(),
    }
}

/// `KEY=VALUE`, `KEY:VALUE` or `KEY` in a list, for the place `KEY` of the mapping it becomes.
fn named_item<'d>(item: &'d Node, key: &str) -> Option<Stated<'d>> {
    let text = item.scalar_text()?;
    let after = text.strip_prefix(key)?;
    match after.chars().next() {
        None => Some(Stated::Name(item)),
        Some('=' | ':') => Some(Stated::Value(item, item.pos)),
        Some(_) => None,
    }
}
