//! The resolved project as people and other programs read it: the whole tree after merging, in the
//! form the reference implementation prints, whether or not every part of it can be run here.
//! What is printed of a key stands in `keys` and `service_keys`.

mod convert;
mod defaults;
mod form;
mod json;
mod keys;
mod printed;
mod quantity;
mod service_keys;

use crate::tree::Node;
use printed::{Language, Printed, Shown};
use std::collections::BTreeMap;

/// A project that was read without errors.
#[derive(Debug, Clone)]
pub struct Resolved {
    tree: Node,
    project: String,
}

impl Resolved {
    pub(crate) fn new(tree: Node, project: &str) -> Self {
        Self { tree, project: project.to_owned() }
    }

    /// The whole project.
    pub fn json(&self) -> serde_json::Value {
        json::value(&self.printed())
    }

    /// The same as the text that the reference implementation prints: sorted keys at the top, `$`
    /// doubled so that it can be read again.
    pub fn json_text(&self) -> String {
        let printed = self.printed();
        let entries = printed.entries(Language::Json).into_iter();
        let sorted: BTreeMap<String, Printed> =
            entries.map(|(key, value)| (key.to_owned(), value.clone())).collect();
        json::text(&Printed::Named(sorted), true).replace('$', "$$")
    }

    fn printed(&self) -> Printed {
        let mut tree = self.tree.clone();
        defaults::fill(&mut tree, &self.project);
        let mut entries = convert::record(&tree, keys::PROJECT);
        for entry in &mut entries {
            match entry.key.as_str() {
                key if key.starts_with("x-") => entry.shown = Shown::Both,
                "models" => entry.shown = Shown::Yaml,
                _ => {}
            }
        }
        Printed::Record(entries)
    }
}
