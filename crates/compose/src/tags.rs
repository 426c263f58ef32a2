//! `!reset` and `!override`: a file takes away what those before it, or the service it extends, say
//! at the tagged places, whatever it says there itself.

use crate::tree::{Node, Tag, Value};
use indexmap::IndexMap;

/// The tagged places of a document.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Tags {
    tagged: bool,
    below: IndexMap<String, Tags>,
}

impl Tags {
    /// Takes the tags out of a document, with the values that are only there to be tagged.
    pub fn take(node: &mut Node) -> Self {
        let mut tags = Self { tagged: node.tag != Tag::None, ..Self::default() };
        if std::mem::take(&mut node.tag) == Tag::Override {
            clear(node);
            return tags;
        }
        match &mut node.value {
            Value::Map(map) => map.retain(|key, entry| {
                let reset = entry.node.tag == Tag::Reset;
                let below = Self::take(&mut entry.node);
                if below != Self::default() {
                    tags.below.insert(key.clone(), below);
                }
                !reset
            }),
            Value::List(list) => {
                // Places in lists have no names: an item is only taken away here.
                list.retain(|item| item.tag != Tag::Reset);
                list.iter_mut().for_each(|item| drop(Self::take(item)));
            }
            _ => {}
        }
        tags
    }

    /// The tagged places below a key.
    pub fn child(&self, key: &str) -> Option<&Self> {
        self.below.get(key)
    }

    /// Takes what is tagged away from what is written over.
    pub fn apply(&self, target: &mut Node) {
        let Some(map) = target.as_map_mut() else { return };
        for (key, tags) in &self.below {
            if tags.tagged {
                map.shift_remove(key);
            } else if let Some(entry) = map.get_mut(key) {
                tags.apply(&mut entry.node);
            }
        }
    }
}

/// Tags below an overriding value mean nothing.
fn clear(node: &mut Node) {
    node.tag = Tag::None;
    match &mut node.value {
        Value::Map(map) => map.values_mut().for_each(|entry| clear(&mut entry.node)),
        Value::List(list) => list.iter_mut().for_each(clear),
        _ => {}
    }
}
