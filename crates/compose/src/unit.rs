//! A unit is a set of files that are read with one directory and one environment: the project
//! itself, or what one `include` names. Each file goes through the stages, then onto the others.

use crate::diagnostics::{Pos, Sink};
use crate::load::{Files, Skip};
use crate::paths::Base;
use crate::tags::Tags;
use crate::trace::{Role, Trace};
use crate::tree::{Map, Node, Value};
use crate::{canonical, interpolate, merge, paths, project, resolve, schema, tree, unique, validate};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Files one load may read, environment files among them.
pub(crate) const MAX_FILES: usize = 512;

pub(crate) struct Loader<'a> {
    pub files: &'a dyn Files,
    pub sink: Sink,
    /// A file could not be read or parsed, so that something may be missing.
    pub broken: bool,
    pub skip: Skip,
    /// Kept only where it was asked for.
    pub trace: Option<Trace>,
    /// Where paths stay relative: the directory they are relative to.
    relative_to: Option<PathBuf>,
    environments: Vec<Rc<BTreeMap<String, String>>>,
    parsed: HashMap<PathBuf, Option<Rc<Vec<Node>>>>,
    reads: usize,
}

pub(crate) struct Unit {
    /// With the place that asked for each.
    pub files: Vec<(PathBuf, Option<Pos>)>,
    pub directory: PathBuf,
    /// Index of its environment.
    pub environment: usize,
    /// The including files, outermost first.
    pub chain: Vec<PathBuf>,
}

/// What the files of a unit say together.
pub(crate) struct Merged {
    pub tree: Node,
    /// `section/name` → index of the environment of the unit that declared it.
    pub origins: HashMap<String, usize>,
}

impl<'a> Loader<'a> {
    pub fn new(files: &'a dyn Files, sink: Sink) -> Self {
        Self {
            files,
            sink,
            broken: false,
            skip: Skip::default(),
            trace: None,
            relative_to: None,
            environments: Vec::new(),
            parsed: HashMap::new(),
            reads: 0,
        }
    }

    pub fn add_environment(&mut self, environment: BTreeMap<String, String>) -> usize {
        self.environments.push(Rc::new(environment));
        self.environments.len() - 1
    }

    pub fn environment(&self, index: usize) -> Rc<BTreeMap<String, String>> {
        Rc::clone(&self.environments[index])
    }

    /// The bytes of a file; a failure is reported at `at`.
    pub fn read(&mut self, path: &Path, what: &str, at: Option<Pos>) -> Option<Vec<u8>> {
        self.reads += 1;
        let shown = self.sink.show(path);
        if self.reads > MAX_FILES {
            self.sink.error(at, format!("more than {MAX_FILES} files are read, the last was {shown}"));
            return None;
        }
        let error = match self.files.read(path) {
            Ok(bytes) => return Some(bytes),
            Err(error) => error,
        };
        if self.files.is_dir(path) {
            let hint = format!("name a file in it, such as {}", path.join("compose.yaml").display());
            self.sink.error_hint(at, format!("the {what} {shown} is a directory"), hint);
        } else if error.kind() == std::io::ErrorKind::NotFound {
            let hint = format!("create {}, or correct the path", path.display());
            self.sink.error_hint(at, format!("the {what} {shown} does not exist"), hint);
        } else {
            let hint = format!("check its owner and mode: ls -l {}", path.display());
            self.sink.error_hint(at, format!("the {what} {shown} cannot be read: {error}"), hint);
        }
        None
    }

    pub fn read_text(&mut self, path: &Path, what: &str, at: Option<Pos>) -> Option<String> {
        let bytes = self.read(path, what, at)?;
        match String::from_utf8(bytes) {
            Ok(text) => Some(text),
            Err(_) => {
                let shown = self.sink.show(path);
                self.sink.error(at, format!("the {what} {shown} is not UTF-8 text"));
                None
            }
        }
    }

    /// The parsed documents of a file, read once.
    pub fn documents(&mut self, path: &Path, at: Option<Pos>) -> Option<Rc<Vec<Node>>> {
        if let Some(known) = self.parsed.get(path) {
            return known.clone();
        }
        let documents = self.parse(path, at).map(Rc::new);
        self.broken |= documents.is_none();
        self.parsed.insert(path.to_owned(), documents.clone());
        documents
    }

    /// The same for their last reader: large files are not kept twice.
    fn take_documents(&mut self, path: &Path, at: Option<Pos>) -> Option<Vec<Node>> {
        let documents = self.documents(path, at)?;
        self.parsed.remove(path);
        Some(Rc::unwrap_or_clone(documents))
    }

    fn parse(&mut self, path: &Path, at: Option<Pos>) -> Option<Vec<Node>> {
        let bytes = self.read(path, "Compose file", at)?;
        let file = self.sink.add_file(path);
        tree::parse(&bytes, file, &mut self.sink)
    }

    /// One document with its variables replaced; its tags apart.
    pub fn interpolated(&mut self, mut root: Node, environment: usize) -> Option<(Node, Tags)> {
        if root.as_map().is_none() {
            let message = format!("a Compose file must be a mapping, this is {}", root.kind());
            self.sink.error_hint(root.pos, message, "start it with `services:`");
            self.broken = true;
            return None;
        }
        let tags = Tags::take(&mut root);
        if !self.skip.interpolation {
            let environment = self.environment(environment);
            interpolate::tree(&mut root, &|name| environment.get(name).cloned(), &mut self.sink);
        }
        Some((root, tags))
    }

    /// The trace with the files that were only read for what they lend, if it was asked for.
    pub fn finished_trace(&mut self) -> Option<Trace> {
        let mut trace = self.trace.take()?;
        let mut lent: Vec<_> = trace.extensions.iter().map(|extension| extension.base.0.clone()).collect();
        lent.retain(|path| !trace.layers.iter().any(|layer| layer.path == *path));
        lent.sort();
        lent.dedup();
        for path in lent {
            for document in
                self.parsed.get(&path).into_iter().flatten().flat_map(|documents| documents.iter())
            {
                trace.layer(&path, document, Role::Extended);
            }
        }
        trace.files = self.sink.file_names();
        Some(trace)
    }

    /// A path of a file as it is looked for.
    pub fn absolute(&self, text: &str, directory: &Path, environment: usize) -> PathBuf {
        let environment = self.environment(environment);
        let home = environment.get("HOME").map(String::as_str);
        paths::clean(&Base { directory, home, files: self.files, relative: None }.absolute(text))
    }

    /// Makes the relative paths of a tree mean the same everywhere.
    pub fn resolve_paths(&self, root: &mut Node, directory: &Path, environment: usize) {
        let environment = self.environment(environment);
        let home = environment.get("HOME").map(String::as_str);
        let relative = self.relative_to.as_deref().map(|from| paths::between(from, directory));
        paths::resolve(root, &Base { directory, home, files: self.files, relative: relative.as_deref() });
    }

    fn version(&mut self, root: &mut Node) {
        let entry = root.as_map().and_then(|map| map.get("version"));
        let Some((key, node)) = entry.map(|entry| (entry.key, entry.node.clone())) else { return };
        if node.as_text().is_some()
            && let Some(map) = root.as_map_mut()
        {
            self.sink.warning_hint(key, "`version` is obsolete and has no effect", "remove the line");
            map.shift_remove("version");
        }
    }

    /// Reads the files of a unit and lays them onto each other.
    pub fn unit(&mut self, unit: &Unit) -> Merged {
        let empty = Node::new(Pos::default(), Value::Map(Map::new()));
        let mut merged = Merged { tree: empty, origins: HashMap::new() };
        // What is included has absolute paths in any case.
        let main = self.skip.paths && unit.chain.is_empty();
        let relative = main.then(|| unit.directory.clone());
        let outer = std::mem::replace(&mut self.relative_to, relative);
        for (path, at) in &unit.files {
            if self.is_include_cycle(path, *at, unit) {
                continue;
            }
            let Some(documents) = self.take_documents(path, *at) else { continue };
            for document in documents.into_iter().filter(|document| !project::is_empty(document)) {
                self.lay(document, path, unit, &mut merged);
            }
        }
        for (_, entry) in merged.tree.get_mut("services").into_iter().flat_map(Node::entries_mut) {
            default_context(&mut entry.node, if main { Path::new(".") } else { &unit.directory });
        }
        if !self.skip.interpolation {
            validate::unit(&merged.tree, &mut self.sink);
        }
        self.resolve_paths(&mut merged.tree, &unit.directory, unit.environment);
        self.relative_to = outer;
        resolve::listed(&mut merged.tree, &self.environment(unit.environment));
        merged
    }

    /// Lays one document onto what is there, completed by what it extends and includes.
    fn lay(&mut self, document: Node, path: &Path, unit: &Unit, merged: &mut Merged) {
        if let Some(trace) = &mut self.trace {
            let role = if unit.chain.is_empty() { Role::Main } else { Role::Included };
            trace.layer(path, &document, role);
        }
        let Some((mut root, tags)) = self.interpolated(document, unit.environment) else { return };
        self.extends(&mut root, &tags, path, unit);
        tags.apply(&mut merged.tree);
        let includes = root.as_map_mut().and_then(|map| map.shift_remove("include"));
        if let Some(includes) = includes {
            self.include(&includes.node, &mut root, path, unit, merged);
        }
        for section in ["services", "networks", "volumes", "configs", "secrets"] {
            for (name, _) in root.get(section).into_iter().flat_map(Node::entries) {
                merged.origins.entry(format!("{section}/{name}")).or_insert(unit.environment);
            }
        }
        if merged.tree.pos == Pos::default() {
            merged.tree.pos = root.pos;
        }
        merge::merge(&mut merged.tree, root, &mut self.sink);
        unique::unify(&mut merged.tree, &mut self.sink);
        schema::check(&mut merged.tree, &schema::ROOT, &mut self.sink);
        self.version(&mut merged.tree);
        canonical::canonical(&mut merged.tree, self.skip.interpolation, &mut self.sink);
        unique::unify(&mut merged.tree, &mut self.sink);
    }

    fn is_include_cycle(&mut self, path: &Path, at: Option<Pos>, unit: &Unit) -> bool {
        let Some(start) = unit.chain.iter().position(|file| file == path) else { return false };
        let circle: Vec<String> =
            unit.chain[start..].iter().chain([&path.to_owned()]).map(|file| self.sink.show(file)).collect();
        let message = format!("files include each other: {}", circle.join(" → "));
        self.sink.error_hint(at, message, "remove one of these `include` entries");
        true
    }
}

/// A build without a context has the directory of its files as one.
fn default_context(service: &mut Node, directory: &Path) {
    if let Some(build) = service.get_mut("build")
        && build.as_map().is_some_and(|map| !map.contains_key("context"))
    {
        build.set("context", Node::text(build.pos, directory.to_string_lossy()));
    }
}
