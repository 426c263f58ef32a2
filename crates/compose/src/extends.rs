//! `extends`: a service laid over another one of the same or another file.

use crate::diagnostics::Pos;
use crate::merge;
use crate::suggest;
use crate::tree::{Map, Node, Value};
use crate::unit::{Loader, Unit};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Services in one chain of `extends`.
pub(crate) const MAX_EXTENDS: usize = 32;

/// The services of one file, before they are extended.
struct Scope {
    path: PathBuf,
    services: Map,
}

/// What one resolution of a file remembers.
struct Extender<'l, 'a> {
    loader: &'l mut Loader<'a>,
    /// Index of the environment files are read with.
    environment: usize,
    /// Services of the files before this one, already extended.
    before: Option<&'l Node>,
    scopes: HashMap<PathBuf, Option<Rc<Scope>>>,
    done: HashMap<(PathBuf, String), Option<Node>>,
    chain: Vec<(PathBuf, String)>,
}

impl Loader<'_> {
    /// Replaces each service of `root` that extends another one.
    pub fn extends(&mut self, root: &mut Node, before: &Node, path: &Path, unit: &Unit) {
        let Some(services) = root.get_mut("services").and_then(Node::as_map_mut) else { return };
        if !services.values().any(|entry| entry.node.get("extends").is_some()) {
            return;
        }
        let scope = Rc::new(Scope { path: path.to_owned(), services: services.clone() });
        let mut extender = Extender {
            loader: self,
            environment: unit.environment,
            before: before.get("services"),
            scopes: HashMap::from([(path.to_owned(), Some(Rc::clone(&scope)))]),
            done: HashMap::new(),
            chain: Vec::new(),
        };
        for (name, entry) in services.iter_mut() {
            if entry.node.get("extends").is_none() {
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
        if let Some(done) = self.done.get(&id) {
            return done.clone();
        }
        let node = scope.services.get(name)?.node.clone();
        let Some(extends) = node.get("extends") else { return Some(node) };
        if !self.may_enter(&id, extends.pos) {
            return None;
        }
        self.chain.push(id.clone());
        let merged = self.base(scope, extends).map(|mut base| {
            let mut own = node.clone();
            if let Some(map) = own.as_map_mut() {
                map.shift_remove("extends");
            }
            let pos = own.pos;
            merge::merge_service(&mut base, own);
            Node { pos, ..base }
        });
        self.chain.pop();
        self.done.insert(id, merged.clone());
        merged
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
        let service = extends.get("service")?;
        let name = service.as_text()?;
        let scope = match extends.get("file") {
            Some(file) => self.scope(Path::new(file.as_text()?), file.pos)?,
            None => Rc::clone(scope),
        };
        if scope.services.contains_key(name) {
            return self.service(&scope, name);
        }
        let before = self.before.filter(|_| extends.get("file").is_none());
        if let Some(node) = before.and_then(|services| services.get(name)) {
            return Some(node.clone());
        }
        let shown = self.loader.sink.show(&scope.path);
        let message = format!("the extended service `{name}` is not in {shown}");
        match suggest::hint(name, scope.services.keys().map(String::as_str)) {
            Some(hint) => self.loader.sink.error_hint(service.pos, message, hint),
            None => self.loader.sink.error_hint(service.pos, message, format!("declare `{name}` in {shown}")),
        }
        None
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
        for document in documents.iter().filter(|document| !document.is_null()) {
            let root = self.loader.prepared(document, directory, self.environment)?;
            merge::merge(&mut all, root);
        }
        let services = all.get("services").and_then(Node::as_map).cloned().unwrap_or_default();
        Some(Scope { path: path.to_owned(), services })
    }
}
