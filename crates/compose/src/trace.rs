//! What was read, in the order in which it was laid over each other: kept only for those who ask
//! where a value came from.

use crate::diagnostics::Pos;
use crate::tree::Node;
use std::path::{Path, PathBuf};

/// The story of one load.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace {
    pub layers: Vec<Layer>,
    pub extensions: Vec<Extension>,
    pub lines: Vec<EnvLine>,
    /// Files read from now on are those of services, no longer those variables come from.
    pub of_services: bool,
    /// Shown names of files, by the number positions have for them.
    pub files: Vec<String>,
}

/// A document as it was written.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub path: PathBuf,
    pub document: Node,
    pub role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Named by the person, or found.
    Main,
    Included,
    /// Read for the services it lends.
    Extended,
}

/// A service that extends another one, each with its file.
#[derive(Debug, Clone)]
pub(crate) struct Extension {
    pub service: (PathBuf, String),
    pub base: (PathBuf, String),
}

/// A line of an environment file that gives a variable.
#[derive(Debug, Clone)]
pub(crate) struct EnvLine {
    pub name: String,
    pub pos: Pos,
    /// Where the file was asked for.
    pub at: Option<Pos>,
    pub of_service: bool,
}

impl Trace {
    pub fn layer(&mut self, path: &Path, document: &Node, role: Role) {
        self.layers.push(Layer { path: path.to_owned(), document: document.clone(), role });
    }

    pub fn line(&mut self, name: &str, pos: Pos, at: Option<Pos>) {
        self.lines.push(EnvLine { name: name.to_owned(), pos, at, of_service: self.of_services });
    }
}
