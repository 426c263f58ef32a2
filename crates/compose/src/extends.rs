//! `extends`: a service laid over another one of the same or another file.

use crate::diagnostics::Pos;
use crate::suggest;
use crate::tags::Tags;
use crate::trace::Extension;
use crate::tree::{Map, Node, Value};
use crate::unit::{Loader, Unit};
use crate::{canonical, merge, unique};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Services in one chain of `extends`.
pub(crate) const MAX_EXTENDS: usize = 32;

/// Values that `extends` may repeat in one file: many services over a large one grow quickly.
pub(crate) const MAX_REPEATED: usize = 100_000;

/// The services of one file, before they are extended.
struct Scope {
    path: PathBuf,
    services: Map,
    /// What its file takes away from services that are extended.
    tags: Tags,
}

/// What one resolution of a file remembers.
struct Extender<'l, 'a> {
    loader: &'l mut Loader<'a>,
    /// What relative paths of the first file mean.
    directory: &'l Path,
    /// Index of the environment files are read with.
    environment: usize,
    scopes: HashMap<PathBuf, Option<Rc<Scope>>>,
    done: HashMap<(PathBuf, String), Option<Node>>,
    chain: Vec<(PathBuf, String)>,
    repeated: usize,
}

impl Loader<'_> {
    /// Replaces each service of `root` that extends another one.
    pub fn extends(&mut self, root: &mut Node, tags: &Tags, path: &Path, unit: &Unit) {
        let Some(services) = root.get_mut("services").and_then(Node::as_map_mut) else { return };
        if !services.values().any(|entry| extends_of(&entry.node).is_some()) {
            return;
        }
        let tags = tags.child("services").cloned().unwrap_or_default();
        let scope = Rc::new(Scope { path: path.to_owned(), services: services.clone(), tags });
        let mut extender = Extender {
            loader: self,
            directory: &unit.directory,
            environment: unit.environment,
            scopes: HashMap::from([(path.to_owned(), Some(Rc::clone(&scope)))]),
            done: HashMap::new(),
            chain: Vec::new(),
            repeated: 0,
        };
        for (name, entry) in services.iter_mut() {
            if extends_of(&entry.node).is_none() {
                continue;
            }
            if let Some(node) = extender.service(&scope, name) {
                entry.node = node;
            } else if let Some(map) = entry.node.as_map_mut() {
                // The reason is reported; an image keeps later stages from reporting more.
                map.shift_remove("extends");
                let pos = entry.node.pos;
                entry.node.set("image", Node::new(pos, Value::Invalid));
            }
        }
    }
}

impl Extender<'_, '_> {
    /// The service with everything it extends below it; `None` after a reported problem.
    fn service(&mut self, scope: &Rc<Scope>, name: &str) -> Option<Node> {
        let id = (scope.path.clone(), name.to_owned());
        if let Some(done) = self.done.get(&id).cloned() {
            return done.filter(|node| self.may_repeat(node));
        }
        let node = scope.services.get(name)?.node.clone();
        let Some(extends) = extends_of(&node) else { return Some(node) };
        if !self.may_enter(&id, extends.pos) {
            return None;
        }
        self.chain.push(id.clone());
        let base = self.base(scope, extends).filter(|base| self.may_repeat(base));
        let merged = base.map(|mut base| {
            let mut own = node.clone();
            if let Some(map) = own.as_map_mut() {
                map.shift_remove("extends");
            }
            let pos = own.pos;
            if let Some(tags) = scope.tags.child(name) {
                tags.apply(&mut base);
            }
            merge::merge_service(&mut base, own, &mut self.loader.sink);
            Node { pos, ..base }
        });
        self.chain.pop();
        // Where a chain begins is seldom asked for once more; it is not worth a copy.
        if !self.chain.is_empty() {
            self.done.insert(id, merged.clone());
        }
        merged
    }

    fn may_repeat(&mut self, node: &Node) -> bool {
        self.repeated += node.size();
        if self.repeated > MAX_REPEATED {
            let message = format!("`extends` repeats more than {MAX_REPEATED} values");
            self.loader.sink.error(node.pos, message);
        }
        self.repeated <= MAX_REPEATED
    }

    fn may_enter(&mut self, id: &(PathBuf, String), pos: Pos) -> bool {
        if let Some(start) = self.chain.iter().position(|known| known == id) {
            let circle: Vec<&str> =
                self.chain[start..].iter().chain([id]).map(|(_, name)| name.as_str()).collect();
            let message = format!("services extend each other: {}", circle.join(" → "));
            self.loader.sink.error_hint(pos, message, "remove one of these `extends`");
            return false;
        }
        if self.chain.len() >= MAX_EXTENDS {
            let message = format!("`extends` goes over more than {MAX_EXTENDS} services");
            self.loader.sink.error(pos, message);
            return false;
        }
        true
    }

    /// The service that `extends` names.
    fn base(&mut self, scope: &Rc<Scope>, extends: &Node) -> Option<Node> {
        let service = match extends.value {
            Value::Map(_) => extends.get("service"),
            _ => Some(extends),
        };
        let Some((service, name)) = service.and_then(|node| Some((node, node.as_text()?))) else {
            let hint = "write `extends: {service: NAME}`";
            self.loader.sink.error_hint(extends.pos, "`extends` names no service", hint);
            return None;
        };
        let scope = match extends.get("file") {
            Some(file) => self.other_file(file)?,
            None => Rc::clone(scope),
        };
        if scope.services.contains_key(name) {
            if let (Some(trace), Some(service)) = (&mut self.loader.trace, self.chain.last()) {
                let base = (scope.path.clone(), name.to_owned());
                trace.extensions.push(Extension { service: service.clone(), base });
            }
            return self.service(&scope, name);
        }
        let shown = self.loader.sink.show(&scope.path);
        let message = format!("the extended service `{name}` is not in {shown}");
        match suggest::hint(name, scope.services.keys().map(String::as_str)) {
            Some(hint) => self.loader.sink.error_hint(service.pos, message, hint),
            None => self.loader.sink.error_hint(service.pos, message, format!("declare `{name}` in {shown}")),
        }
        None
    }

    fn other_file(&mut self, file: &Node) -> Option<Rc<Scope>> {
        let Some(text) = file.as_text() else {
            let message = format!("`extends.file` must be text, this is {}", file.kind());
            self.loader.sink.error(file.pos, message);
            return None;
        };
        // In another file it is resolved already, against the directory of that file.
        let path = self.loader.absolute(text, self.directory, self.environment);
        self.scope(&path, file.pos)
    }

    fn forms(&mut self, name: &str, service: &Node) {
        for (key, text, list, map) in FORMS {
            let Some(entry) = service.as_map().and_then(|keys| keys.get(key)) else { continue };
            let fits = match entry.node.value {
                Value::Text(_) => text,
                Value::List(_) => list,
                Value::Map(_) => map,
                Value::Null => !matches!(key, "build" | "depends_on" | "env_file" | "ports"),
                Value::Invalid => true,
                _ => false,
            };
            if !fits {
                let message = format!("`services.{name}.{key}` cannot be {}", entry.node.kind());
                self.loader.sink.error(entry.node.pos, message);
            }
        }
    }

    /// The services of another file, its paths resolved against its own directory.
    fn scope(&mut self, path: &Path, at: Pos) -> Option<Rc<Scope>> {
        if let Some(known) = self.scopes.get(path) {
            return known.clone();
        }
        let scope = self.load_scope(path, at).map(Rc::new);
        self.scopes.insert(path.to_owned(), scope.clone());
        scope
    }

    fn load_scope(&mut self, path: &Path, at: Pos) -> Option<Scope> {
        let documents = self.loader.documents(path, Some(at))?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        let mut all = Node::new(Pos::default(), Value::Map(Map::new()));
        let mut all_tags = Tags::default();
        for document in documents.iter() {
            let (root, tags) = self.loader.interpolated(document.clone(), self.environment)?;
            all_tags = tags.child("services").cloned().unwrap_or_default();
            merge::merge(&mut all, root, &mut self.loader.sink);
            unique::unify(&mut all, &mut self.loader.sink);
            canonical::canonical(&mut all, self.loader.skip.interpolation, &mut self.loader.sink);
            unique::unify(&mut all, &mut self.loader.sink);
        }
        for (name, entry) in all.get("services").into_iter().flat_map(Node::entries) {
            self.forms(name, &entry.node);
        }
        self.loader.resolve_paths(&mut all, directory, self.environment);
        let services = all.get("services").and_then(Node::as_map).cloned().unwrap_or_default();
        Some(Scope { path: path.to_owned(), services, tags: all_tags })
    }
}

/// Keys of a service that must be of some kind even where the service is not the extended one.
const FORMS: [(&str, bool, bool, bool); 9] = [
    // Key, text, list, mapping.
    ("build", true, false, true),
    ("configs", false, true, false),
    ("depends_on", false, true, true),
    ("devices", false, true, false),
    ("env_file", true, true, false),
    ("ports", false, true, false),
    ("secrets", false, true, false),
    ("ulimits", false, false, true),
    ("volumes", false, true, false),
];

/// What a service says under `extends`, if only that it says nothing.
fn extends_of(service: &Node) -> Option<&Node> {
    service.as_map()?.get("extends").map(|entry| &entry.node)
}
