//! What the file names and this host does not have: build contexts, Dockerfiles, bind sources, the
//! files of configs and secrets. Kept apart from other problems: the file itself is in order.

use crate::diagnostics::Pos;
use crate::paths::{self, is_remote};
use crate::tree::Node;
use crate::unit::Loader;
use model::Diagnostic;
use std::path::{Path, PathBuf};

/// Symbolic links of one path that are followed, as the kernel has it.
const LINKS_MAX: usize = 40;

/// One error for each path that is missing or of the wrong kind.
pub(crate) fn missing(root: &Node, directory: &Path, loader: &Loader<'_>) -> Vec<Diagnostic> {
    let mut finder = Finder { loader, found: Vec::new() };
    for (_, entry) in root.get("services").into_iter().flat_map(Node::entries) {
        finder.build(&entry.node, directory);
        for route in routes(&entry.node) {
            finder.served(route, directory);
        }
        for volume in entry.node.get("volumes").map(Node::items).unwrap_or_default() {
            finder.bind(volume);
        }
    }
    for section in ["configs", "secrets"] {
        finder.granted(root, section);
    }
    finder.found
}

/// `x-juchu.gateway.routes` of a service.
fn routes(service: &Node) -> &[Node] {
    let gateway = service.get("x-juchu").and_then(|policy| policy.get("gateway"));
    gateway.and_then(|gateway| gateway.get("routes")).map(Node::items).unwrap_or_default()
}

struct Finder<'l, 'a> {
    loader: &'l Loader<'a>,
    found: Vec<Diagnostic>,
}

impl Finder<'_, '_> {
    fn build(&mut self, service: &Node, directory: &Path) {
        let policy = service.get("x-juchu");
        let Some(build) =
            service.get("build").filter(|_| policy.is_none_or(|p| p.get("component").is_none()))
        else {
            return;
        };
        let (context, pos) = match build.get("context").map(|node| (node.as_text(), node.pos)) {
            Some((Some(text), _)) if is_remote(text) => return,
            Some((Some(text), pos)) => (PathBuf::from(text), pos),
            _ => (directory.to_owned(), build.pos),
        };
        if !self.loader.files.is_dir(&context) {
            return self.wrong(pos, &context, "the build context", "is not a directory");
        }
        let declared = build.get("dockerfile").and_then(|node| Some((node.as_text()?.to_owned(), node.pos)));
        let asked =
            policy.and_then(|policy| policy.get("builder")).filter(|b| b.as_text() == Some("dockerfile"));
        let implied = asked.filter(|_| build.get("dockerfile_inline").is_none());
        let dockerfile = declared.or(implied.map(|node| ("Dockerfile".to_owned(), node.pos)));
        if let Some((name, pos)) = dockerfile {
            self.file(pos, &context.join(name), "the Dockerfile");
        }
    }

    /// A source that is not made when it is missing.
    fn bind(&mut self, volume: &Node) {
        let is_bind = volume.get("type").and_then(Node::as_text) == Some("bind");
        let create = volume.get("bind").and_then(|bind| bind.get("create_host_path")).and_then(Node::as_bool);
        let Some(source) = volume.get("source").filter(|_| is_bind && create != Some(true)) else { return };
        let path = Path::new(source.as_text().unwrap_or_default());
        if !self.loader.files.exists(path) {
            self.wrong(source.pos, path, "the bind source", "does not exist");
        }
    }

    /// A directory whose files a route answers with: it is seen by everybody who may ask, so that
    /// it has to lie in the project.
    fn served(&mut self, route: &Node, directory: &Path) {
        let Some((text, pos)) = route.get("files").and_then(|node| Some((node.as_text()?, node.pos))) else {
            return;
        };
        let path = paths::clean(&directory.join(text));
        if !self.loader.files.is_dir(&path) {
            return self.wrong(pos, &path, "the directory of `files`", "is not a directory");
        }
        let (real, root) = (self.followed(&path), self.followed(directory));
        if !path.starts_with(directory) || !real.starts_with(&root) {
            let message = format!("the directory of `files` {} lies outside the project", real.display());
            let hint = format!("copy it below {}, or serve it by a service", directory.display());
            self.found.push(Diagnostic::error(message, self.loader.sink.span(Some(pos))).hint(hint));
        }
    }

    /// Where a path leads, by all of its links.
    fn followed(&self, path: &Path) -> PathBuf {
        let mut path = path.to_owned();
        for _ in 0..LINKS_MAX {
            let next = paths::clean(&self.loader.files.follow(&path));
            if next == path {
                break;
            }
            path = next;
        }
        path
    }

    fn granted(&mut self, root: &Node, section: &'static str) {
        let services = root.get("services").into_iter().flat_map(Node::entries);
        let grants = services.filter_map(|(_, entry)| entry.node.get(section)).flat_map(Node::items);
        let used: Vec<&str> = grants.filter_map(|grant| grant.get("source")?.as_text()).collect();
        for (name, entry) in root.get(section).into_iter().flat_map(Node::entries) {
            let Some(file) = entry.node.get("file").filter(|_| used.contains(&name.as_str())) else {
                continue;
            };
            let what = format!("the file of the {} `{name}`", section.trim_end_matches('s'));
            self.file(file.pos, Path::new(file.as_text().unwrap_or_default()), &what);
        }
    }

    fn file(&mut self, pos: Pos, path: &Path, what: &str) {
        if self.loader.files.is_dir(path) {
            self.wrong(pos, path, what, "is a directory");
        } else if !self.loader.files.exists(path) {
            self.wrong(pos, path, what, "does not exist");
        }
    }

    fn wrong(&mut self, pos: Pos, path: &Path, what: &str, how: &str) {
        let exists = self.loader.files.exists(path);
        let how = if exists { how } else { "does not exist" };
        let hint = match exists {
            true => "correct the path".to_owned(),
            false => format!("create {}, or correct the path", path.display()),
        };
        let message = format!("{what} {} {how}", self.loader.sink.show(path));
        self.found.push(Diagnostic::error(message, self.loader.sink.span(Some(pos))).hint(hint));
    }
}
