//! Makes every path of a file absolute, against the directory that the specification names.

use crate::load::Files;
use crate::tree::{Node, Value};
use std::path::{Component, Path, PathBuf};

/// What relative paths and `~` mean.
pub(crate) struct Base<'a> {
    pub directory: &'a Path,
    pub home: Option<&'a str>,
    pub files: &'a dyn Files,
    /// Set where paths stay relative: what stands before them.
    pub relative: Option<&'a Path>,
}

impl Base<'_> {
    /// `text` as an absolute path; one that is absolute already stays as it was written.
    pub fn absolute(&self, text: &str) -> PathBuf {
        match (text.strip_prefix('~'), self.home) {
            (Some(rest), Some(home)) => clean(&Path::new(home).join(rest.trim_start_matches('/'))),
            _ if text.starts_with('/') || is_windows(text) => PathBuf::from(text),
            _ => clean(&self.directory.join(text)),
        }
    }

    /// What is shown of a path: absolute, unless paths stay relative.
    fn shown(&self, text: &str) -> PathBuf {
        match self.relative {
            None => self.absolute(text),
            Some(before) if before.as_os_str().is_empty() => PathBuf::from(text),
            Some(_) if text.starts_with(['/', '~']) || is_windows(text) => self.absolute(text),
            Some(before) => clean_relative(&before.join(text)),
        }
    }

    fn rewrite(&self, node: Option<&mut Node>) {
        self.rewrite_as(node, |text| (!text.is_empty()).then(|| self.shown(text)));
    }

    /// For files that are told apart by their paths: without `.` and `..`.
    fn rewrite_file(&self, node: Option<&mut Node>) {
        self.rewrite_as(node, |text| (!text.is_empty()).then(|| clean(&self.absolute(text))));
    }

    /// The same where an empty path is the directory itself.
    fn rewrite_source(&self, node: Option<&mut Node>) {
        self.rewrite_as(node, |text| Some(self.shown(text)));
    }

    fn rewrite_as(&self, node: Option<&mut Node>, path: impl Fn(&str) -> Option<PathBuf>) {
        for node in items(node) {
            if let Value::Text(text) = &node.value
                && let Some(path) = path(text)
            {
                node.value = Value::Text(path.to_string_lossy().into_owned());
            }
        }
    }
}

/// The items of a list, or the node itself.
fn items(node: Option<&mut Node>) -> impl Iterator<Item = &mut Node> {
    match node {
        Some(Node { value: Value::List(list), .. }) => list.iter_mut(),
        Some(node) => std::slice::from_mut(node).iter_mut(),
        None => [].iter_mut(),
    }
}

/// A path with a drive or a share: means nothing here and is left alone.
fn is_windows(text: &str) -> bool {
    let bytes = text.as_bytes();
    let drive = bytes.len() > 2 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':';
    text.starts_with("\\\\") || (drive && matches!(bytes[2], b'/' | b'\\'))
}

/// Removes `.` and resolves `..` by name.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// The same for a relative path, which may begin with `..`.
fn clean_relative(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        let is_named = matches!(out.components().next_back(), Some(Component::Normal(_)));
        match component {
            Component::CurDir => {}
            Component::ParentDir if is_named => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    if out.as_os_str().is_empty() { PathBuf::from(".") } else { out }
}

/// The relative path that leads from one absolute directory to another.
pub(crate) fn between(from: &Path, to: &Path) -> PathBuf {
    let common = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    up.chain(to.components().skip(common)).collect()
}

/// `.` and `..` of a path inside a container, by name.
pub(crate) fn clean_text(target: &str) -> String {
    if target.is_empty() {
        return String::new();
    }
    let rooted = target.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// Whether a build context is something to fetch rather than a directory.
pub(crate) fn is_remote(context: &str) -> bool {
    let prefixes = ["git@", "github.com/", "service:"];
    context.contains("://") || prefixes.iter().any(|prefix| context.starts_with(prefix))
}

/// Rewrites the paths of one canonical file.
pub(crate) fn resolve(root: &mut Node, base: &Base<'_>) {
    if let Some(services) = root.get_mut("services") {
        services.entries_mut().for_each(|(_, entry)| service(&mut entry.node, base));
    }
    for section in ["configs", "secrets"] {
        if let Some(section) = root.get_mut(section) {
            section.entries_mut().for_each(|(_, entry)| base.rewrite_source(entry.node.get_mut("file")));
        }
    }
    if let Some(volumes) = root.get_mut("volumes") {
        volumes.entries_mut().for_each(|(_, entry)| bind_volume(&mut entry.node, base));
    }
}

fn service(service: &mut Node, base: &Base<'_>) {
    if let Some(build) = service.get_mut("build") {
        context(build.get_mut("context"), base);
        for (_, entry) in build.get_mut("additional_contexts").into_iter().flat_map(Node::entries_mut) {
            context(Some(&mut entry.node), base);
        }
        for (_, entry) in build.get_mut("ssh").into_iter().flat_map(Node::entries_mut) {
            base.rewrite_source(Some(&mut entry.node));
        }
    }
    if let Some(extends) = service.get_mut("extends") {
        base.rewrite_file(extends.get_mut("file"));
    }
    base.rewrite_file(service.get_mut("label_file"));
    for file in items(service.get_mut("env_file")) {
        base.rewrite_file(file.get_mut("path"));
    }
    for rule in items(service.get_mut("develop").and_then(|develop| develop.get_mut("watch"))) {
        let followed = |text: &str| match base.relative {
            None => base.files.follow(&base.absolute(text)),
            Some(_) => base.shown(text),
        };
        base.rewrite_as(rule.get_mut("path"), |text| (!text.is_empty()).then(|| followed(text)));
    }
    for volume in items(service.get_mut("volumes")) {
        if volume.get("type").and_then(Node::as_text) == Some("bind") {
            base.rewrite_source(volume.get_mut("source"));
        }
    }
}

fn context(node: Option<&mut Node>, base: &Base<'_>) {
    let remote = node.as_ref().and_then(|node| node.as_text()).is_some_and(is_remote);
    base.rewrite(node.filter(|_| !remote));
}

/// A local volume that binds a directory: `driver_opts: {o: bind, device: ./data}`.
fn bind_volume(volume: &mut Node, base: &Base<'_>) {
    let text = |node: &Node, key: &str| node.get(key).and_then(Node::as_text).unwrap_or_default().to_owned();
    let is_local = text(volume, "driver") == "local";
    let Some(options) = volume.get_mut("driver_opts").filter(|_| is_local) else { return };
    if text(options, "o") == "bind" {
        base.rewrite_source(options.get_mut("device"));
    }
}
