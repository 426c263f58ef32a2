//! A layer before it has bytes: every path once, with what is there. Paths are relative to the
//! root of the image and have no `.` or `..`; parents exist before their children.

use crate::error::BuildError;
use crate::plan::{Entry, EntryKind, Source};
use crate::spool::{Content, Spool};
use std::collections::{BTreeMap, HashMap};

const MAX_PATH: usize = 4096;
const MAX_NAME: usize = 255;
/// Symbolic links followed while the place of one entry is found.
const MAX_LINKS: usize = 40;

#[derive(Debug, Clone)]
pub struct Node {
    pub kind: NodeKind,
    /// Permission bits, with set-user-id, set-group-id and sticky.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

#[derive(Debug, Clone)]
pub enum NodeKind {
    File(Content),
    Directory,
    Symlink(String),
    /// The path within the tree of the file it shares.
    Hardlink(String),
}

impl Node {
    pub fn directory(mode: u32) -> Self {
        Self { kind: NodeKind::Directory, mode, uid: 0, gid: 0 }
    }
    pub fn symlink(target: impl Into<String>) -> Self {
        Self { kind: NodeKind::Symlink(target.into()), mode: 0o777, uid: 0, gid: 0 }
    }
    pub fn text(text: impl Into<String>) -> Self {
        let bytes: std::sync::Arc<[u8]> = text.into().into_bytes().into();
        Self { kind: NodeKind::File(Content::Bytes(bytes)), mode: 0o644, uid: 0, gid: 0 }
    }
    pub fn owned(mut self, uid: u32, gid: u32) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, NodeKind::Directory)
    }
}

/// The layer below, as far as an upper one must know it.
pub trait Below {
    /// The target of a symbolic link at `path`.
    fn link(&self, path: &str) -> Option<String>;
    /// Mode, user and group of a directory at `path`.
    fn directory(&self, path: &str) -> Option<(u32, u32, u32)>;
}

/// There is nothing below.
pub struct Nothing;

impl Below for Nothing {
    fn link(&self, _path: &str) -> Option<String> {
        None
    }
    fn directory(&self, _path: &str) -> Option<(u32, u32, u32)> {
        None
    }
}

#[derive(Debug, Default)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Tree {
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }
    pub fn contains(&self, path: &str) -> bool {
        self.nodes.contains_key(path)
    }
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }
    pub fn paths_below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Node)> {
        let range = self.nodes.range(prefix.to_owned()..);
        range.take_while(move |(path, _)| path.starts_with(prefix)).map(|(path, node)| (path.as_str(), node))
    }

    /// Puts `node` at `path` in place of what was there. As dpkg does it, a directory stays a
    /// directory, and a link to a directory stays a link.
    pub fn put(&mut self, path: &str, node: Node) {
        match self.nodes.get(path).map(|old| &old.kind) {
            Some(NodeKind::Directory) if !node.is_directory() && self.has_children(path) => {}
            Some(NodeKind::Symlink(_)) if node.is_directory() => {}
            _ => {
                self.nodes.insert(path.to_owned(), node);
            }
        }
    }

    /// Puts `node` where nothing is.
    pub fn put_missing(&mut self, path: &str, node: Node) {
        if !self.contains(path) {
            self.nodes.insert(path.to_owned(), node);
        }
    }

    fn has_children(&self, path: &str) -> bool {
        let prefix = format!("{path}/");
        self.paths_below(&prefix).next().is_some()
    }

    /// Adds entries of a plan; files are copied to the spool, so that one state of them is what is
    /// hashed and what is run.
    pub fn add_entries(&mut self, entries: &[Entry], spool: &mut Spool) -> Result<(), BuildError> {
        for entry in entries {
            let path = image_path(&entry.path).map_err(|reason| {
                BuildError::input(format!("the path `{}` in the image {reason}", entry.path))
            })?;
            if path.is_empty() {
                continue;
            }
            let kind = match &entry.kind {
                EntryKind::Directory => NodeKind::Directory,
                EntryKind::Symlink(target) => NodeKind::Symlink(target.clone()),
                EntryKind::File(Source::Bytes(bytes)) => NodeKind::File(Content::Bytes(bytes.clone())),
                EntryKind::File(Source::Path(path)) => NodeKind::File(spool.copy(path)?),
            };
            let node = Node { kind, mode: entry.mode & 0o7777, uid: entry.uid, gid: entry.gid };
            self.nodes.insert(path, node);
        }
        Ok(())
    }

    /// Makes the tree fit to be written: entries below a symbolic link move to where it leads,
    /// parents that nobody named appear with the attributes they have below, and the first path
    /// of each set of hard links is the one that holds the content.
    pub fn settle(&mut self, below: &dyn Below) -> Result<(), BuildError> {
        self.move_below_links(below)?;
        self.refuse_below_files()?;
        self.add_parents(below);
        self.order_hardlinks()
    }

    /// A path cannot be a file and hold others at the same time.
    fn refuse_below_files(&self) -> Result<(), BuildError> {
        for path in self.nodes.keys() {
            let parent =
                path.rsplit_once('/').and_then(|(parent, _)| Some((parent, self.nodes.get(parent)?)));
            if let Some((parent, node)) = parent
                && matches!(node.kind, NodeKind::File(_) | NodeKind::Hardlink(_))
            {
                return Err(BuildError::input_hint(
                    format!("/{parent} is a file of the image, and /{path} would lie in it"),
                    "place one of the two elsewhere, under `files` of `x-juchu.image` or in the project",
                ));
            }
        }
        Ok(())
    }

    fn move_below_links(&mut self, below: &dyn Below) -> Result<(), BuildError> {
        let mut known: HashMap<String, String> = HashMap::new();
        let mut moves = Vec::new();
        for path in self.nodes.keys() {
            let Some((parent, name)) = path.rsplit_once('/') else { continue };
            let real = match known.get(parent) {
                Some(real) => real.clone(),
                None => self.real_directory(parent, below)?,
            };
            if real != parent {
                moves.push((path.clone(), format!("{real}/{name}").trim_start_matches('/').to_owned()));
            }
            known.insert(parent.to_owned(), real);
        }
        for (from, to) in moves {
            if let Some(node) = self.nodes.remove(&from) {
                self.put(&to, node);
            }
        }
        Ok(())
    }

    /// Where the directory `path` really is once links are followed.
    fn real_directory(&self, path: &str, below: &dyn Below) -> Result<String, BuildError> {
        let mut todo: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut real = String::new();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    real.truncate(real.rfind('/').unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let next = if real.is_empty() { part } else { format!("{real}/{part}") };
            let link = match self.nodes.get(&next).map(|node| &node.kind) {
                Some(NodeKind::Symlink(target)) => Some(target.clone()),
                Some(_) => None,
                None => below.link(&next),
            };
            let Some(target) = link else {
                real = next;
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(BuildError::malformed(format!("/{path}"), "its symbolic links lead in a circle"));
            }
            if target.starts_with('/') {
                real.clear();
            }
            todo.extend(target.split('/').rev().map(str::to_owned));
        }
        Ok(real)
    }

    fn add_parents(&mut self, below: &dyn Below) {
        let mut missing: BTreeMap<String, Node> = BTreeMap::new();
        for path in self.nodes.keys() {
            let mut at = path.as_str();
            while let Some((parent, _)) = at.rsplit_once('/') {
                if self.nodes.contains_key(parent) || missing.contains_key(parent) {
                    break;
                }
                let (mode, uid, gid) = below.directory(parent).unwrap_or((0o755, 0, 0));
                missing.insert(parent.to_owned(), Node::directory(mode).owned(uid, gid));
                at = parent;
            }
        }
        self.nodes.extend(missing);
    }

    fn order_hardlinks(&mut self) -> Result<(), BuildError> {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (path, node) in &self.nodes {
            if let NodeKind::Hardlink(target) = &node.kind {
                groups.entry(self.hardlink_end(target)?).or_default().push(path.clone());
            }
        }
        for (end, mut paths) in groups {
            paths.push(end.clone());
            paths.sort_unstable();
            let file = self.nodes.get(&end).cloned().expect("the end of every link was found");
            let first = paths.remove(0);
            self.nodes.insert(first.clone(), file.clone());
            for path in paths {
                let kind = NodeKind::Hardlink(first.clone());
                self.nodes.insert(path, Node { kind, ..file.clone() });
            }
        }
        Ok(())
    }

    fn hardlink_end(&self, target: &str) -> Result<String, BuildError> {
        let mut at = target;
        for _ in 0..MAX_LINKS {
            match self.nodes.get(at).map(|node| &node.kind) {
                Some(NodeKind::Hardlink(next)) => at = next,
                Some(NodeKind::File(_) | NodeKind::Symlink(_)) => return Ok(at.to_owned()),
                _ => break,
            }
        }
        Err(BuildError::malformed(format!("/{target}"), "a hard link leads there, and there is no file"))
    }
}

/// The path within the tree of an absolute or `./` path; the root itself is empty.
pub fn image_path(text: &str) -> Result<String, &'static str> {
    if text.len() > MAX_PATH {
        return Err("is too long");
    }
    if text.contains('\0') {
        return Err("has a zero byte");
    }
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err("leads out of the image"),
            part if part.len() > MAX_NAME => return Err("has a name that is too long"),
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Base;

    impl Below for Base {
        fn link(&self, path: &str) -> Option<String> {
            (path == "bin").then(|| "usr/bin".to_owned())
        }
        fn directory(&self, path: &str) -> Option<(u32, u32, u32)> {
            (path == "tmp").then_some((0o1777, 0, 0))
        }
    }

    fn listing(tree: &Tree) -> String {
        let one = |(path, node): (&str, &Node)| match &node.kind {
            NodeKind::Directory => format!("{path}/"),
            NodeKind::File(_) => path.to_owned(),
            NodeKind::Symlink(target) => format!("{path} -> {target}"),
            NodeKind::Hardlink(target) => format!("{path} = {target}"),
        };
        tree.iter().map(one).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn entries_below_links_move_to_where_they_lead() {
        let mut tree = Tree::default();
        tree.put("bin/sh", Node::text("x"));
        tree.put("var/run", Node::symlink("/run"));
        tree.put("var/run/a/b", Node::text("x"));
        tree.settle(&Base).unwrap();
        assert_eq!(
            listing(&tree),
            "run/\nrun/a/\nrun/a/b\nusr/\nusr/bin/\nusr/bin/sh\nvar/\nvar/run -> /run"
        );
    }

    #[test]
    fn parents_keep_what_they_are_below() {
        let mut tree = Tree::default();
        tree.put("tmp/x", Node::text("x"));
        tree.settle(&Base).unwrap();
        assert_eq!(tree.get("tmp").unwrap().mode, 0o1777);
    }

    #[test]
    fn links_in_a_circle_are_refused() {
        let mut tree = Tree::default();
        tree.put("a", Node::symlink("b"));
        tree.put("b", Node::symlink("a"));
        tree.put("a/x", Node::text("x"));
        assert!(tree.settle(&Nothing).is_err());
    }

    #[test]
    fn the_first_of_hard_links_holds_the_content() {
        let mut tree = Tree::default();
        tree.put("z", Node::text("x"));
        let link = |to: &str| Node { kind: NodeKind::Hardlink(to.to_owned()), ..Node::text("") };
        tree.put("m", link("z"));
        tree.put("b", link("m"));
        tree.settle(&Nothing).unwrap();
        assert_eq!(listing(&tree), "b\nm = b\nz = b");
        tree.put("q", link("nowhere"));
        assert!(tree.settle(&Nothing).is_err());
    }

    #[test]
    fn a_directory_with_content_is_not_replaced_by_a_link() {
        let mut tree = Tree::default();
        tree.put("a", Node::directory(0o755));
        tree.put("a/x", Node::text("x"));
        tree.put("a", Node::symlink("b"));
        assert!(tree.get("a").unwrap().is_directory());
    }

    #[test]
    fn paths_stay_in_the_image() {
        assert_eq!(image_path("/./usr//bin/"), Ok("usr/bin".to_owned()));
        for bad in ["../x", "a/../../b", "a\0b", &"x".repeat(300)] {
            assert!(image_path(bad).is_err(), "{bad}");
        }
    }
}
