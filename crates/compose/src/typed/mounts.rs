//! Volumes, tmpfs, and the files of configs and secrets.

use super::{flag, text};
use crate::diagnostics::{Pos, Sink};
use crate::tree::Node;
use model::Bytes;
use model::mount::{FileGrant, Mount, MountSource};
use model::stack::Volume;
use std::collections::BTreeMap;
use std::path::PathBuf;

pub(super) fn mounts(node: &Node, volumes: &BTreeMap<String, Volume>, sink: &mut Sink) -> Vec<Mount> {
    let declared = node.get("volumes").map(Node::items).unwrap_or_default();
    let mut mounts: Vec<Mount> = declared
        .iter()
        .filter(|node| node.is_given())
        .filter_map(|node| mount(node, volumes, sink))
        .collect();
    let tmpfs = node.get("tmpfs").map(Node::items).unwrap_or_default();
    mounts.extend(tmpfs.iter().filter_map(|node| short_tmpfs(node, sink)));
    let pos = node.get("tmpfs").or(node.get("volumes")).map(|node| node.pos);
    let mut seen = std::collections::BTreeSet::new();
    for mount in &mounts {
        if !seen.insert(&mount.target) {
            let message = format!("two mounts have the same target `{}`", mount.target);
            sink.error_hint(pos, message, "remove one of them");
        }
    }
    mounts
}

fn mount(node: &Node, volumes: &BTreeMap<String, Volume>, sink: &mut Sink) -> Option<Mount> {
    let target = target(node, sink)?;
    let source = text(node, "source").filter(|source| !source.is_empty());
    let source = match node.get("type").and_then(Node::as_text)? {
        "bind" => bind(node, source, sink)?,
        "volume" => match source {
            // An undeclared volume is reported where references are checked.
            Some(key) => named(node, &volumes.get(&key)?.name),
            None => MountSource::Anonymous,
        },
        "tmpfs" => tmpfs(node),
        // Other types are refused where the file is checked.
        _ => return None,
    };
    Some(Mount { source, target, read_only: flag(node, "read_only"), options: options(node, sink) })
}

/// What `bind` says beyond the path.
fn options(node: &Node, sink: &mut Sink) -> Vec<String> {
    let Some(bind) = node.get("bind") else { return Vec::new() };
    let mut options = Vec::new();
    if let Some(found) = bind.get("propagation") {
        match found.as_text().unwrap_or_default() {
            "" | "rprivate" => {}
            word @ ("private" | "slave" | "rslave") => options.push(word.to_owned()),
            word @ ("shared" | "rshared") => {
                options.push(if word == "shared" { "slave" } else { "rslave" }.to_owned());
                let why = "mounts of the host arrive, those made inside stay there, as with `rslave`";
                sink.no_effect(found.pos, &format!("volumes.bind.propagation: {word}"), why);
            }
            word => sink.error_hint(
                found.pos,
                format!("`propagation` cannot be `{word}`"),
                "use private, rprivate, slave, rslave, shared or rshared",
            ),
        }
    }
    if bind.get("recursive").and_then(Node::as_text) == Some("writable") {
        options.push("writable-below".to_owned());
    }
    options
}

fn target(node: &Node, sink: &mut Sink) -> Option<String> {
    let Some(target) = node.get("target") else {
        if !node.has("target") {
            sink.error(node.pos, "the volume has no `target`");
        }
        return None;
    };
    absolute(target.as_text()?, target.pos, "the target of a volume", sink)
}

/// Paths inside an instance are absolute, and no mount covers the whole tree.
fn absolute(text: &str, pos: Pos, what: &str, sink: &mut Sink) -> Option<String> {
    let path = crate::paths::clean(std::path::Path::new(text));
    if !text.starts_with('/') {
        let hint = match text.as_bytes() {
            [letter, b':', ..] if letter.is_ascii_alphabetic() => {
                "use a name of two letters or more: a single one is read as a drive".to_owned()
            }
            _ => format!("write `/{}`", text.trim_start_matches("./")),
        };
        sink.error_hint(pos, format!("{what} must be an absolute path, `{text}` is not"), hint);
        return None;
    }
    if path.as_os_str() == "/" {
        sink.error(pos, format!("{what} cannot be `/`"));
        return None;
    }
    Some(path.to_string_lossy().into_owned())
}

fn bind(node: &Node, source: Option<String>, sink: &mut Sink) -> Option<MountSource> {
    let Some(source) = source else {
        sink.error_hint(node.pos, "a bind mount has no `source`", "name a file or directory of this host");
        return None;
    };
    let options = node.get("bind");
    let create = options.is_some_and(|options| flag(options, "create_host_path"));
    let recursive = options.and_then(|options| text(options, "recursive"));
    // Compose binds what is mounted below as well unless told otherwise.
    let recursive = recursive.as_deref() != Some("disabled");
    let path = crate::paths::clean(&PathBuf::from(source));
    Some(MountSource::Bind { path, create, recursive })
}

fn named(node: &Node, name: &model::VolumeName) -> MountSource {
    let options = node.get("volume");
    MountSource::Volume {
        name: name.clone(),
        no_copy: options.is_some_and(|options| flag(options, "nocopy")),
        subpath: options.and_then(|options| text(options, "subpath")),
    }
}

fn tmpfs(node: &Node) -> MountSource {
    let options = node.get("tmpfs");
    let size = options.and_then(|options| text(options, "size")).and_then(|text| Bytes::parse(&text).ok());
    let mode = options.and_then(|options| options.get("mode")).and_then(Node::as_int);
    MountSource::Tmpfs {
        size: size.filter(|size| size.0 > 0),
        mode: mode.and_then(|mode| u32::try_from(mode).ok()),
    }
}

/// Without a value; the first three say what is not allowed unless it is said.
const TMPFS_OPTIONS: [&str; 10] =
    ["exec", "suid", "dev", "noexec", "nosuid", "nodev", "noatime", "relatime", "strictatime", "nodiratime"];

/// `/path` or `/path:size=64m,mode=1777`.
fn short_tmpfs(node: &Node, sink: &mut Sink) -> Option<Mount> {
    let all = node.as_text()?;
    let (path, options) = all.split_once(':').unwrap_or((all, ""));
    let target = absolute(path, node.pos, "a tmpfs", sink)?;
    let (mut size, mut mode, mut read_only, mut kept) = (None, None, false, Vec::new());
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => match Bytes::parse(value) {
                Ok(bytes) => size = Some(bytes),
                Err(error) => sink.error(node.pos, format!("tmpfs `{path}`: {error}")),
            },
            Some(("mode", value)) => match u32::from_str_radix(value, 8) {
                Ok(bits) => mode = Some(bits),
                Err(_) => sink.error(node.pos, format!("tmpfs `{path}`: `{value}` is not a mode")),
            },
            None if option == "ro" => read_only = true,
            Some(("uid" | "gid", value)) if value.parse::<u32>().is_ok() => kept.push(option.to_owned()),
            Some(("nr_inodes" | "nr_blocks", _)) => kept.push(option.to_owned()),
            None if TMPFS_OPTIONS.contains(&option) => kept.push(option.to_owned()),
            None if option == "rw" => {}
            _ => {
                sink.no_effect(node.pos, &format!("tmpfs: {option}"), "no such option is known here");
            }
        }
    }
    Some(Mount { source: MountSource::Tmpfs { size, mode }, target, read_only, options: kept })
}

/// `configs` or `secrets` of a service.
pub(super) fn grants(node: &Node, section: &str, sink: &mut Sink) -> Vec<FileGrant> {
    let items = node.get(section).map(Node::items).unwrap_or_default();
    items.iter().filter_map(|item| grant(item, section, sink)).collect()
}

fn grant(node: &Node, section: &str, sink: &mut Sink) -> Option<FileGrant> {
    let source = text(node, "source")?;
    let target = match (text(node, "target"), section) {
        (Some(target), _) if target.starts_with('/') => target,
        (Some(target), "secrets") => format!("/run/secrets/{target}"),
        (Some(target), _) => format!("/{target}"),
        (None, "secrets") => format!("/run/secrets/{source}"),
        (None, _) => format!("/{source}"),
    };
    let target = absolute(&target, node.pos, "the target of a file", sink)?;
    let mode = node.get("mode").and_then(Node::as_int).and_then(|mode| u32::try_from(mode).ok());
    Some(FileGrant { source, target, uid: id(node, "uid", sink), gid: id(node, "gid", sink), mode })
}

fn id(node: &Node, key: &str, sink: &mut Sink) -> Option<u32> {
    super::parsed(node, key, sink, |text| {
        text.parse::<u32>().map_err(|_| format!("`{text}` is not a numeric id"))
    })
}
