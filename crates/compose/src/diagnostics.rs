//! Where diagnostics are gathered, and the compact position each tree node carries.

use model::{Diagnostic, Span};
use std::collections::HashSet;
use std::path::Path;

/// More problems than this are not listed; the last entry says so.
pub(crate) const MAX_DIAGNOSTICS: usize = 500;

/// A place in one of the files of a [`Sink`]; line 0 means the file as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Pos {
    pub file: u32,
    pub line: u32,
    pub column: u32,
    /// Characters from there on that are meant; 0 where it is not known.
    pub length: u32,
}

impl Pos {
    /// The start of a file.
    pub fn start(file: u32) -> Self {
        Self { file, line: 1, column: 1, length: 0 }
    }
}

pub(crate) struct Sink {
    files: Vec<String>,
    root: std::path::PathBuf,
    seen: HashSet<(Option<Pos>, String)>,
    list: Vec<Diagnostic>,
    errors: usize,
    /// Errors of those it was made from.
    earlier: usize,
    full: bool,
    /// Whose keys are looked at.
    owner: String,
}

impl Sink {
    /// Files below `root` are shown relative to it.
    pub fn new(root: &Path) -> Self {
        Self {
            files: Vec::new(),
            root: root.to_owned(),
            seen: HashSet::new(),
            list: Vec::new(),
            errors: 0,
            earlier: 0,
            full: false,
            owner: String::new(),
        }
    }

    /// An empty one in which positions mean the same.
    pub fn sibling(&self) -> Self {
        Self { files: self.files.clone(), earlier: self.earlier + self.errors, ..Self::new(&self.root) }
    }

    /// The number by which positions name `path`.
    pub fn add_file(&mut self, path: &Path) -> u32 {
        let shown = self.show(path);
        let index = self.files.iter().position(|known| *known == shown).unwrap_or_else(|| {
            self.files.push(shown);
            self.files.len() - 1
        });
        index as u32
    }

    /// How `path` is shown to people.
    pub fn show(&self, path: &Path) -> String {
        match path.strip_prefix(&self.root) {
            Ok(relative) if !relative.as_os_str().is_empty() => relative.display().to_string(),
            _ => path.display().to_string(),
        }
    }

    /// A place in words, for messages about another one.
    pub fn place(&self, pos: Pos) -> String {
        format!("in {} on line {}", self.file_of(pos), pos.line.max(1))
    }

    /// The shown name of the file a position is in.
    pub fn file_of(&self, pos: Pos) -> String {
        self.files.get(pos.file as usize).cloned().unwrap_or_default()
    }

    /// The shown names of all files, by the number positions have for them.
    pub fn file_names(&self) -> Vec<String> {
        self.files.clone()
    }

    /// Whether nothing at all was wrong so far.
    pub fn is_clean(&self) -> bool {
        self.earlier + self.errors == 0
    }

    /// Whether more will not be listed, so that nobody needs to think of hints.
    pub fn is_full(&self) -> bool {
        self.full
    }

    pub fn errors(&self) -> usize {
        self.errors
    }

    pub fn error(&mut self, at: impl Into<Option<Pos>>, message: impl Into<String>) {
        let at = at.into();
        self.push(at, Diagnostic::error(message, self.span(at)));
    }

    pub fn error_hint(
        &mut self,
        at: impl Into<Option<Pos>>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let at = at.into();
        self.push(at, Diagnostic::error(message, self.span(at)).hint(hint));
    }

    pub fn warning(&mut self, at: impl Into<Option<Pos>>, message: impl Into<String>) {
        let at = at.into();
        self.push(at, Diagnostic::warning(message, self.span(at)));
    }

    pub fn warning_hint(
        &mut self,
        at: impl Into<Option<Pos>>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let at = at.into();
        self.push(at, Diagnostic::warning(message, self.span(at)).hint(hint));
    }

    /// A valid key, or a value of one, that is not acted on. Whose it is was said by
    /// [`Sink::about`].
    pub fn no_effect(&mut self, at: impl Into<Option<Pos>>, key: &str, why: &str) {
        let at = at.into();
        self.push(at, Diagnostic::no_effect(key, &self.owner, why, self.span(at)));
    }

    /// From here on it is about this service, network or the like; nothing: about the file.
    pub fn about(&mut self, owner: &str) {
        owner.clone_into(&mut self.owner);
    }

    /// What is looked at now.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Everything said, in the order of the files, lines and columns.
    pub fn finish(mut self) -> Vec<Diagnostic> {
        let files = std::mem::take(&mut self.files);
        self.list.sort_by_key(|diagnostic| {
            let rank = |span: &Span| files.iter().position(|file| *file == span.file);
            diagnostic.span.as_ref().map(|span| (rank(span), span.line, span.column))
        });
        if self.full {
            let text = format!("more than {MAX_DIAGNOSTICS} problems; the rest is not listed");
            self.list.push(Diagnostic::warning(text, None));
        }
        self.list
    }

    /// The place as people are shown it.
    pub fn span(&self, at: Option<Pos>) -> Option<Span> {
        at.and_then(|pos| {
            let file = self.files.get(pos.file as usize)?.clone();
            Some(Span { file, line: pos.line.max(1), column: pos.column.max(1), length: pos.length })
        })
    }

    /// The same words at the same place are said once: aliases repeat nodes.
    fn push(&mut self, at: Option<Pos>, diagnostic: Diagnostic) {
        if self.full || !self.seen.insert((at, diagnostic.message.clone())) {
            self.errors += usize::from(self.full && diagnostic.is_error());
            return;
        }
        self.errors += usize::from(diagnostic.is_error());
        if self.list.len() < MAX_DIAGNOSTICS {
            self.list.push(diagnostic);
        } else {
            self.full = true;
        }
    }
}
