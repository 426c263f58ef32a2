//! Makes every path of a file absolute, against the directory that the specification names.

use crate::tree::{Node, Value};
use std::path::{Component, Path, PathBuf};

/// What relative paths and `~` mean.
pub(crate) struct Base<'a> {
    pub directory: &'a Path,
    pub home: Option<&'a str>,
}

impl Base<'_> {
    /// `text` as an absolute path without `.` and `..`.
    pub fn absolute(&self, text: &str) -> PathBuf {
        let path = match (text.strip_prefix('~'), self.home) {
            (Some(""), Some(home)) => PathBuf::from(home),
            (Some(rest), Some(home)) if rest.starts_with('/') => Path::new(home).join(&rest[1..]),
            _ => self.directory.join(text),
        };
        clean(&path)
    }

    fn rewrite(&self, node: Option<&mut Node>) {
        if let Some(node) = node
            && let Value::Text(text) = &node.value
            && !text.is_empty()
        {
            node.value = Value::Text(self.absolute(text).to_string_lossy().into_owned());
        }
    }

    /// A text, or each text of a list.
    fn rewrite_all(&self, node: Option<&mut Node>) {
        match node {
            Some(Node { value: Value::List(list), .. }) => {
                list.iter_mut().for_each(|n| self.rewrite(Some(n)))
            }
            other => self.rewrite(other),
        }
    }
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

/// Whether a build context is something to fetch rather than a directory.
pub(crate) fn is_remote(context: &str) -> bool {
    [
        "https://",
        "http://",
        "git://",
        "ssh://",
        "git@",
        "github.com/",
        "docker-image://",
        "oci-layout://",
        "service:",
    ]
    .iter()
    .any(|prefix| context.starts_with(prefix))
}

/// Rewrites the paths of one canonical file.
pub(crate) fn resolve(root: &mut Node, base: &Base<'_>) {
    if let Some(services) = root.get_mut("services") {
        services.entries_mut().for_each(|(_, entry)| service(&mut entry.node, base));
    }
    for section in ["configs", "secrets"] {
        if let Some(section) = root.get_mut(section) {
            section.entries_mut().for_each(|(_, entry)| base.rewrite(entry.node.get_mut("file")));
        }
    }
    if let Some(volumes) = root.get_mut("volumes") {
        volumes.entries_mut().for_each(|(_, entry)| bind_volume(&mut entry.node, base));
    }
    if let Some(Node { value: Value::List(includes), .. }) = root.get_mut("include") {
        for include in includes {
            for key in ["path", "project_directory", "env_file"] {
                base.rewrite_all(include.get_mut(key));
            }
        }
    }
}

fn service(service: &mut Node, base: &Base<'_>) {
    if let Some(build) = service.get_mut("build")
        && !build.get("context").and_then(Node::as_text).is_some_and(is_remote)
    {
        base.rewrite(build.get_mut("context"));
    }
    if let Some(extends) = service.get_mut("extends") {
        base.rewrite(extends.get_mut("file"));
    }
    base.rewrite_all(service.get_mut("label_file"));
    let rules = service.get_mut("develop").and_then(|develop| develop.get_mut("watch"));
    if let Some(Node { value: Value::List(rules), .. }) = rules {
        rules.iter_mut().for_each(|rule| base.rewrite(rule.get_mut("path")));
    }
    if let Some(Node { value: Value::List(files), .. }) = service.get_mut("env_file") {
        files.iter_mut().for_each(|file| base.rewrite(file.get_mut("path")));
    }
    if let Some(Node { value: Value::List(volumes), .. }) = service.get_mut("volumes") {
        for volume in volumes {
            if volume.get("type").and_then(Node::as_text) == Some("bind") {
                base.rewrite(volume.get_mut("source"));
            }
        }
    }
}

/// A local volume that binds a directory: `driver_opts: {o: bind, device: ./data}`.
fn bind_volume(volume: &mut Node, base: &Base<'_>) {
    let Some(options) = volume.get_mut("driver_opts") else { return };
    let is_bind = options.get("o").and_then(Node::as_text).is_some_and(|o| o.split(',').any(|o| o == "bind"));
    if is_bind {
        base.rewrite(options.get_mut("device"));
    }
}
