//! What must fit together: references between sections, exclusive keys, circles of dependencies.

use crate::diagnostics::{Pos, Sink};
use crate::suggest;
use crate::tree::{Entry, Map, Node};
use crate::unit::Loader;
use std::collections::BTreeMap;

/// Checks the merged tree; `inactive` are services whose profile is not active.
pub(crate) fn validate(root: &mut Node, inactive: &BTreeMap<String, Vec<String>>, loader: &mut Loader<'_>) {
    let sink = &mut loader.sink;
    imply_dependencies(root);
    let empty = Map::new();
    let services = root.get("services").and_then(Node::as_map).unwrap_or(&empty);
    for (name, entry) in services.iter().filter(|(_, entry)| entry.node.as_map().is_some()) {
        let mut service = Service { name, entry, root, inactive, sink };
        service.has_an_image();
        service.dependencies_exist();
        service.resources_exist();
        service.keys_fit_together();
    }
    circles(services, sink);
    resources_have_a_source(root, sink);
}

struct Service<'a> {
    name: &'a str,
    entry: &'a Entry,
    root: &'a Node,
    inactive: &'a BTreeMap<String, Vec<String>>,
    sink: &'a mut Sink,
}

impl Service<'_> {
    fn node(&self) -> &Node {
        &self.entry.node
    }

    fn has_an_image(&mut self) {
        let policy = self.entry.node.get("x-juchu");
        let stated = policy.is_some_and(|policy| policy.has("component") || policy.has("image"));
        let image = self.node().get("image").and_then(Node::as_text).is_none_or(|image| !image.is_empty());
        let image = image && self.node().has("image");
        if !stated && !image && !self.node().has("build") && !self.node().has("provider") {
            self.sink.error_hint(
                self.entry.key,
                format!("the service `{}` has neither `image`, `build` nor `x-juchu.component`", self.name),
                "say where its image comes from, such as `build: .`",
            );
        }
        if let Some(build) = self.entry.node.get("build")
            && build.get("dockerfile").is_some()
            && let Some(inline) = build.as_map().and_then(|map| map.get("dockerfile_inline"))
        {
            let message =
                format!("the service `{}` has both `dockerfile` and `dockerfile_inline`", self.name);
            self.sink.error_hint(inline.key, message, "keep one of the two");
        }
    }

    fn dependencies_exist(&mut self) {
        let entry = self.entry;
        for (name, dependency) in entry.node.get("depends_on").into_iter().flat_map(Node::entries) {
            let required = dependency.node.get("required").and_then(Node::as_bool).unwrap_or(true);
            let services = self.root.get("services").and_then(Node::as_map);
            if !required && !services.is_some_and(|services| services.contains_key(name)) {
                continue;
            }
            if name == self.name {
                let message = format!("the service `{name}` depends on itself");
                self.sink.error_hint(
                    dependency.key,
                    message,
                    "remove it from `depends_on`, `links` or the mode",
                );
            } else {
                self.service_exists(name, dependency.key, "depends on");
            }
        }
    }

    fn service_exists(&mut self, name: &str, at: Pos, verb: &str) {
        let services = self.root.get("services").and_then(Node::as_map);
        if services.is_some_and(|services| services.contains_key(name)) {
            return;
        }
        if let Some(profiles) = self.inactive.get(name) {
            let message = format!("the service `{}` {verb} `{name}`, whose profile is not active", self.name);
            let hint = format!("say `--profile {}`, or set `required: false`", profiles[0]);
            return self.sink.error_hint(at, message, hint);
        }
        let message = format!("the service `{}` {verb} `{name}`, which is not declared", self.name);
        let known = services.into_iter().flatten().map(|(name, _)| name.as_str());
        let hint = suggest::hint(name, known).unwrap_or_else(|| format!("declare `{name}` under `services`"));
        self.sink.error_hint(at, message, hint);
    }

    fn resources_exist(&mut self) {
        let entry = self.entry;
        for (name, network) in entry.node.get("networks").into_iter().flat_map(Node::entries) {
            if name != "default" {
                self.resource_exists("networks", name, network.key);
            }
        }
        for section in ["configs", "secrets"] {
            for grant in entry.node.get(section).map(Node::items).unwrap_or_default() {
                match grant.get("source").and_then(Node::as_text) {
                    Some(source) => self.resource_exists(section, source, grant.pos),
                    None if grant.has("source") || !grant.is_given() => {}
                    None => self.sink.error(grant.pos, format!("an entry of `{section}` has no `source`")),
                }
            }
        }
        for volume in entry.node.get("volumes").map(Node::items).unwrap_or_default() {
            let is_volume = volume.get("type").and_then(Node::as_text) == Some("volume");
            let source = volume.get("source").filter(|_| is_volume);
            if let Some((text, pos)) = source.and_then(|node| Some((node.as_text()?, node.pos))) {
                self.resource_exists("volumes", text, pos);
            }
        }
    }

    fn resource_exists(&mut self, section: &'static str, name: &str, at: Pos) {
        let declared = self.root.get(section).and_then(Node::as_map);
        if declared.is_some_and(|map| map.contains_key(name)) {
            return;
        }
        let what = section.trim_end_matches('s');
        let message = format!("the service `{}` uses the {what} `{name}`, which is not declared", self.name);
        let known = declared.into_iter().flatten().map(|(name, _)| name.as_str());
        let hint = suggest::hint(name, known).unwrap_or_else(|| match section {
            "volumes" if name.contains('/') => format!("write `./{name}` for a directory beside the file"),
            _ => format!("declare it: `{section}: {{{name}: {{}}}}`"),
        });
        self.sink.error_hint(at, message, hint);
    }

    fn keys_fit_together(&mut self) {
        let map = self.entry.node.as_map();
        let has = |key: &str| map.and_then(|map| map.get(key)).filter(|entry| entry.node.is_given());
        if let (Some(mode), Some(_)) = (has("network_mode"), has("networks")) {
            let message = format!("the service `{}` has both `network_mode` and `networks`", self.name);
            self.sink.error_hint(mode.key, message, "keep one of the two");
        }
        self.distinct("scale", &["deploy", "replicas"]);
        self.distinct("cpus", &["deploy", "resources", "limits", "cpus"]);
        self.distinct("mem_limit", &["deploy", "resources", "limits", "memory"]);
        self.distinct("mem_reservation", &["deploy", "resources", "reservations", "memory"]);
        self.distinct("pids_limit", &["deploy", "resources", "limits", "pids"]);
        self.container_name_with_replicas();
        self.platform_is_built();
        self.watch_rules();
    }

    /// What is built for some platforms must be built for the one that is run.
    fn platform_is_built(&mut self) {
        let platform = self.entry.node.get("platform");
        let platforms = self.entry.node.get("build").and_then(|build| build.get("platforms"));
        let (Some(platform), Some(platforms)) = (platform, platforms) else { return };
        let Some(text) = platform.as_text().filter(|text| !text.is_empty()) else { return };
        if platforms.items().is_empty() || platforms.items().iter().any(|item| item.as_text() == Some(text)) {
            return;
        }
        let message =
            format!("the platform `{text}` of the service `{}` is not in `build.platforms`", self.name);
        self.sink.error_hint(platform.pos, message, "add it there, or change `platform`");
    }

    /// Two keys that say the same thing must say the same value.
    fn distinct(&mut self, key: &str, long: &[&str]) {
        let Some(short) = self.entry.node.as_map().and_then(|map| map.get(key)) else { return };
        let other = long.iter().try_fold(&self.entry.node, |node, key| node.get(key));
        let Some(other) = other else { return };
        if short.node.scalar_text() != other.scalar_text() && short.node.is_given() {
            let message = format!("`{key}` and `{}` of the service `{}` differ", long.join("."), self.name);
            self.sink.error_hint(short.key, message, "keep one of the two");
        }
    }

    /// What the shape of a rule does not say.
    fn watch_rules(&mut self) {
        let develop = self.entry.node.get("develop");
        for rule in develop.and_then(|develop| develop.get("watch")).map(Node::items).unwrap_or_default() {
            let text = |key| rule.get(key).and_then(Node::as_text);
            if let Some(path) = rule.get("path").filter(|path| path.as_text() == Some("")) {
                let message = format!("the `path` of a watch rule of the service `{}` is empty", self.name);
                self.sink.error_hint(path.pos, message, "`path: .` is the whole directory");
            }
            let action = text("action").filter(|action| action.starts_with("sync"));
            if let Some(action) = action.filter(|_| text("target").is_none_or(str::is_empty)) {
                let message =
                    format!("a watch rule of `{}` with `action: {action}` has no `target`", self.name);
                let hint = "say where the files are inside the instance: `target: /app`";
                self.sink.error_hint(rule.pos, message, hint);
            }
        }
    }

    fn container_name_with_replicas(&mut self) {
        let Some(entry) = self.entry.node.as_map().and_then(|map| map.get("container_name")) else { return };
        let deploy = self.entry.node.get("deploy").and_then(|deploy| deploy.get("replicas"));
        let replicas = self.entry.node.get("scale").or(deploy).and_then(Node::as_int).unwrap_or(1);
        if replicas > 1 {
            let message =
                format!("the service `{}` has a `container_name` and {replicas} replicas", self.name);
            self.sink.error_hint(
                entry.key,
                message,
                "remove `container_name`: every replica needs its own name",
            );
        }
    }
}

/// `links`, `volumes_from` and the modes that share with a service make it a dependency.
fn imply_dependencies(root: &mut Node) {
    for (_, entry) in root.get_mut("services").into_iter().flat_map(Node::entries_mut) {
        let service = &mut entry.node;
        let implied = implied(service);
        let Some(first) = implied.first() else { continue };
        if service.get("depends_on").is_none() {
            service.set("depends_on", Node::map(first.pos, []));
        }
        let Some(map) = service.get_mut("depends_on").and_then(Node::as_map_mut) else { continue };
        for Implied { name, pos, restart } in implied {
            let restart = Node::new(pos, crate::tree::Value::Bool(restart));
            let value =
                Node::map(pos, [("condition", Node::text(pos, "service_started")), ("restart", restart)]);
            map.entry(name).or_insert(Entry { key: pos, node: value });
        }
    }
}

/// A dependency that follows from another key.
struct Implied {
    name: String,
    pos: Pos,
    /// Restarted together with it.
    restart: bool,
}

fn implied(service: &Node) -> Vec<Implied> {
    let first_part = |text: &str| text.split_once(':').map_or(text, |(name, _)| name).to_owned();
    let mut all = Vec::new();
    for key in ["network_mode", "ipc", "pid"] {
        let Some(node) = service.get(key) else { continue };
        let name = node.as_text().and_then(|text| text.strip_prefix("service:"));
        all.extend(name.map(|name| Implied { name: name.to_owned(), pos: node.pos, restart: true }));
    }
    for (key, restart) in [("links", true), ("volumes_from", false)] {
        for item in service.get(key).map(Node::items).unwrap_or_default() {
            let text = item.as_text().filter(|text| !text.starts_with("container:"));
            all.extend(text.map(|text| Implied { name: first_part(text), pos: item.pos, restart }));
        }
    }
    all
}

/// Reports each circle of `depends_on` once. The stack is explicit: files choose its depth.
fn circles(services: &Map, sink: &mut Sink) {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let targets: Vec<Vec<(usize, Pos)>> = services
        .values()
        .map(|entry| {
            let dependencies = entry.node.get("depends_on").into_iter().flat_map(Node::entries);
            dependencies.filter_map(|(name, entry)| Some((services.get_index_of(name)?, entry.key))).collect()
        })
        .collect();
    let mut marks = vec![Mark::New; services.len()];
    for start in 0..services.len() {
        if marks[start] != Mark::New {
            continue;
        }
        marks[start] = Mark::Open;
        let mut stack = vec![(start, 0)];
        while let Some((index, next)) = stack.last_mut() {
            let Some((target, pos)) = targets[*index].get(*next).copied() else {
                marks[*index] = Mark::Done;
                stack.pop();
                continue;
            };
            *next += 1;
            match marks[target] {
                Mark::New => {
                    marks[target] = Mark::Open;
                    stack.push((target, 0));
                }
                // On itself is reported where the dependency is checked.
                Mark::Open if stack.last().is_some_and(|(index, _)| *index != target) => {
                    let names = stack.iter().map(|(index, _)| *index).skip_while(|index| *index != target);
                    let circle: Vec<&str> = names
                        .chain([target])
                        .map(|i| services.get_index(i).map_or("", |(n, _)| n.as_str()))
                        .collect();
                    let message = format!("services depend on each other: {}", circle.join(" → "));
                    sink.error_hint(pos, message, "remove one of these dependencies");
                }
                Mark::Open | Mark::Done => {}
            }
        }
    }
}

/// Every config and secret needs exactly one source.
fn resources_have_a_source(root: &Node, sink: &mut Sink) {
    for (section, keys) in
        [("configs", &["file", "content", "environment"][..]), ("secrets", &["file", "environment"])]
    {
        for (name, entry) in root.get(section).into_iter().flat_map(Node::entries) {
            let given: Vec<&str> = keys.iter().copied().filter(|key| entry.node.has(key)).collect();
            let external = entry.node.get("external").and_then(Node::as_bool).unwrap_or(false);
            let what = section.trim_end_matches('s');
            let choice = keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(" or ");
            match given.len() {
                0 if !external => {
                    let message = format!("the {what} `{name}` has no source");
                    sink.error_hint(entry.key, message, format!("give it {choice}"));
                }
                0 | 1 => {}
                _ => {
                    let message = format!("the {what} `{name}` has more than one source");
                    sink.error_hint(entry.key, message, format!("keep one of {choice}"));
                }
            }
        }
    }
}
