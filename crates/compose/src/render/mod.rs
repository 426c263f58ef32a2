//! The resolved project as people and other programs read it: the whole tree after merging, in the
//! form the reference implementation prints, whether or not every part of it can be run here.

use crate::tree::Node;
use serde_json::Value as Json;

/// A project that was read without errors.
#[derive(Debug, Clone)]
pub struct Resolved {
    json: Json,
}

impl Resolved {
    pub(crate) fn new(tree: &Node) -> Self {
        Self { json: tree.to_json() }
    }

    /// The whole project.
    pub fn json(&self) -> &Json {
        &self.json
    }
}
