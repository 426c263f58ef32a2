//! The resolved project as people and other programs read it: the whole tree after merging, in the
//! form the reference implementation prints, whether or not every part of it can be run here.
//! What is printed of a key stands in `keys` and `service_keys`.

mod as_written;
mod convert;
mod defaults;
mod explain;
mod form;
mod json;
mod keys;
mod lists;
mod place;
mod printed;
mod quantity;
mod scalar;
mod service_keys;
mod variables;
mod yaml;

use crate::load::Skip;
use crate::trace::Trace;
use crate::tree::Node;
use printed::{Language, Printed, Shown};
use std::collections::{BTreeMap, BTreeSet};

pub use explain::{Explanation, Part, Source, Step, UnknownPath, Used};
pub use variables::Variable;

/// A text as it stands in YAML on one line, in quotes where it needs them.
pub fn yaml_scalar(text: &str) -> String {
    scalar::one_line(text)
}

/// A project that was read without errors.
#[derive(Debug, Clone)]
pub struct Resolved {
    tree: Node,
    about: About,
}

/// What surrounds the tree.
#[derive(Debug, Clone)]
pub(crate) struct About {
    pub project: String,
    pub environment: BTreeMap<String, String>,
    /// Of every service, active or not.
    pub profiles: BTreeSet<String>,
    pub skip: Skip,
    /// The environment of whoever asked, without what files add to it; kept with `trace`.
    pub outer: BTreeMap<String, String>,
    pub trace: Option<Trace>,
}

impl Resolved {
    pub(crate) fn new(tree: Node, about: About) -> Self {
        Self { tree, about }
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
        let sorted = entries.map(|(key, value)| (key.to_owned(), value.clone())).collect();
        self.escaped(json::text(&Printed::Named(sorted), true))
    }

    /// The same as the YAML text that the reference implementation prints.
    pub fn yaml_text(&self) -> String {
        self.escaped(yaml::text(&self.printed()))
    }

    fn escaped(&self, text: String) -> String {
        if self.about.skip.interpolation { text } else { text.replace('$', "$$") }
    }

    /// The tree with names and defaults in it.
    fn filled(&self) -> Node {
        let mut tree = self.tree.clone();
        defaults::fill(&mut tree, &self.about);
        tree
    }

    fn printed(&self) -> Printed {
        let mut tree = self.filled();
        if self.about.skip.interpolation {
            as_written::environment(&mut tree, &self.about);
            return convert::anything(&tree);
        }
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
