//! What a service shares with the host or with another service beside the network: processes, memory,
//! host name, volumes.

use crate::diagnostics::Sink;
use crate::tree::Node;
use model::mount::MountSource;
use model::{Service, ServiceName};
use std::collections::BTreeMap;

/// `pid` or `ipc`.
#[derive(Default)]
pub(super) struct Shared {
    pub is_host: bool,
    pub of: Option<ServiceName>,
}

pub(super) fn shared(node: &Node, key: &str, sink: &mut Sink) -> Shared {
    let Some(found) = node.get(key) else { return Shared::default() };
    let text = found.as_text().unwrap_or_default();
    if let Some(Ok(of)) = text.strip_prefix("service:").map(ServiceName::new) {
        return Shared { is_host: false, of: Some(of) };
    }
    match text {
        "host" => return Shared { is_host: true, of: None },
        "" | "private" | "shareable" => {}
        other => {
            let why = "use `host` or `service:NAME`; without it the service has its own";
            sink.no_effect(found.pos, &format!("{key}: {other}"), why);
        }
    }
    Shared::default()
}

/// `uts: host`, `userns_mode: host` and the like: whether the host's is asked for, which is the only
/// other value there is.
pub(super) fn is_host(node: &Node, key: &str, sink: &mut Sink) -> bool {
    let Some(found) = node.get(key) else { return false };
    match found.as_text().unwrap_or_default() {
        "host" => true,
        "" | "private" => false,
        other => {
            sink.no_effect(found.pos, &format!("{key}: {other}"), "only `host` is known here");
            false
        }
    }
}

/// Gives each service with `volumes_from` the mounts of the services it names, where nothing of its own
/// is mounted. The order of names is that of the file; what a service got itself is not handed on.
pub(super) fn volumes_from(root: &Node, services: &mut BTreeMap<ServiceName, Service>, sink: &mut Sink) {
    let before: BTreeMap<ServiceName, Vec<model::mount::Mount>> =
        services.iter().map(|(name, service)| (name.clone(), service.mounts.clone())).collect();
    for (name, entry) in root.get("services").into_iter().flat_map(Node::entries) {
        let Some(service) = services.get_mut(name.as_str()) else { continue };
        sink.about(name);
        for item in entry.node.get("volumes_from").map(Node::items).unwrap_or_default() {
            let text = item.as_text().unwrap_or_default();
            let (from, mode) = text.split_once(':').unwrap_or((text, "rw"));
            let Some(mounts) = before.get(from) else {
                if from == "container" {
                    let why = "name a service of this file instead";
                    sink.no_effect(item.pos, &format!("volumes_from: {text}"), why);
                }
                continue;
            };
            for mount in mounts {
                match &mount.source {
                    MountSource::Tmpfs { .. } => continue,
                    MountSource::Anonymous => {
                        let why = "a volume without a name is each instance's own; give it one";
                        sink.no_effect(item.pos, &format!("volumes_from: {} of {from}", mount.target), why);
                        continue;
                    }
                    _ => {}
                }
                if service.mounts.iter().all(|own| own.target != mount.target) {
                    let mut mount = mount.clone();
                    mount.read_only |= mode == "ro";
                    service.mounts.push(mount);
                }
            }
        }
    }
    sink.about("");
}
