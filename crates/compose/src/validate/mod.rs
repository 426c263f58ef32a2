//! What must fit together: references between sections, exclusive keys, circles of dependencies.

mod dependencies;
mod names;
mod unit;

pub(crate) use names::unique_container_names;
pub(crate) use unit::unit;

pub(crate) use dependencies::imply as imply_dependencies;

use crate::diagnostics::{Pos, Sink};
use crate::paths::clean_text;
use crate::quantity;
use crate::suggest;
use crate::tree::{Entry, Map, Node};
use crate::unit::Loader;
use std::collections::BTreeMap;

/// Checks the merged tree; `inactive` are services whose profile is not active.
pub(crate) fn validate(root: &mut Node, inactive: &BTreeMap<String, Vec<String>>, loader: &mut Loader<'_>) {
    let sink = &mut loader.sink;
    let empty = Map::new();
    let services = root.get("services").and_then(Node::as_map).unwrap_or(&empty);
    for (name, entry) in services.iter().filter(|(_, entry)| entry.node.as_map().is_some()) {
        let mut service = Service { name, entry, root, inactive, sink };
        service.has_an_image();
        service.dependencies_exist();
        service.resources_exist();
        service.keys_fit_together();
    }
    dependencies::circles(services, sink);
    secrets_have_a_source(root, sink);
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
            if !required && self.inactive.contains_key(name) {
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
        for (name, model) in entry.node.get("models").into_iter().flat_map(Node::entries) {
            self.resource_exists("models", name, model.key);
        }
        let build = entry.node.get("build");
        for secret in build.and_then(|build| build.get("secrets")).map(Node::items).unwrap_or_default() {
            let source = secret.get("source").and_then(Node::as_text).unwrap_or_default();
            self.resource_exists("secrets", source, secret.pos);
        }
        for (name, context) in
            build.and_then(|b| b.get("additional_contexts")).into_iter().flat_map(Node::entries)
        {
            if let Some(service) = context.node.as_text().and_then(|text| text.strip_prefix("service:")) {
                self.is_built(service, name, context.node.pos);
            }
        }
        for volume in entry.node.get("volumes").map(Node::items).unwrap_or_default() {
            let is_volume = volume.get("type").and_then(Node::as_text) == Some("volume");
            let named = |source: &&Node| is_volume && source.as_text() != Some("");
            let source = volume.get("source").filter(named);
            if let Some((text, pos)) = source.and_then(|node| Some((node.as_text()?, node.pos))) {
                self.resource_exists("volumes", text, pos);
            }
        }
    }

    /// A context that is the image of another service.
    fn is_built(&mut self, service: &str, context: &str, at: Pos) {
        let other = self.root.get("services").and_then(|services| services.get(service));
        if other.is_none_or(|other| other.get("build").is_none()) {
            let message =
                format!("the context `{context}` is the image of `{service}`, which is not built here");
            self.sink.error_hint(at, message, format!("declare `{service}` with a `build`"));
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
        let joined = has("networks").filter(|entry| entry.node.as_map().is_none_or(|map| !map.is_empty()));
        if let (Some(mode), Some(_)) = (has("network_mode"), joined) {
            let message = format!("the service `{}` has both `network_mode` and `networks`", self.name);
            self.sink.error_hint(mode.key, message, "keep one of the two");
        }
        self.limits();
        self.replicas();
        self.platform_is_built();
        self.watch_rules();
        self.mounts_differ();
        self.health_test();
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

    /// A short key and the long one beside it must say the same.
    fn limits(&mut self) {
        let number =
            |node: &Node| node.scalar_text().and_then(|text| text.parse::<f32>().ok()).map(f64::from);
        let size = |node: &Node| {
            node.scalar_text().and_then(|text| quantity::bytes(&text)).map(|bytes| bytes as f64)
        };
        self.same("cpus", &["limits", "cpus"], number);
        self.same("mem_limit", &["limits", "memory"], size);
        self.same("mem_reservation", &["reservations", "memory"], size);
        self.same("pids_limit", &["limits", "pids"], number);
    }

    /// Where `deploy.resources` has the limits at all, one that is not among them counts as 0.
    fn same(&mut self, key: &str, [group, name]: &[&str; 2], value: fn(&Node) -> Option<f64>) {
        let Some(short) = self.entry.node.as_map().and_then(|map| map.get(key)) else { return };
        let resources = self.entry.node.get("deploy").and_then(|deploy| deploy.get("resources"));
        let Some(group_node) = resources.and_then(|resources| resources.get(group)) else { return };
        let Some(wanted) = value(&short.node).filter(|value| *value != 0.0) else { return };
        let long = format!("deploy.resources.{group}.{name}");
        match group_node.get(name) {
            None => {
                let message =
                    format!("`{key}` of the service `{}` is not in `deploy.resources.{group}`", self.name);
                self.sink.error_hint(short.key, message, format!("write it as `{long}`"));
            }
            Some(other) if value(other).unwrap_or(0.0) != wanted => {
                let message = format!("`{key}` and `{long}` of the service `{}` differ", self.name);
                self.sink.error_hint(short.key, message, "keep one of the two");
            }
            Some(_) => {}
        }
    }

    fn replicas(&mut self) {
        let map = self.entry.node.as_map();
        let scale = map.and_then(|map| map.get("scale"));
        let deploy = self.entry.node.get("deploy").and_then(Node::as_map);
        let replicas = deploy.and_then(|deploy| deploy.get("replicas"));
        let count = |entry: Option<&Entry>| entry.and_then(|entry| entry.node.as_int());
        if let (Some(entry), Some(short), Some(long)) = (scale, count(scale), count(replicas))
            && short != long
        {
            let message = format!("`scale` and `deploy.replicas` of the service `{}` differ", self.name);
            self.sink.error_hint(entry.key, message, "keep one of the two");
        }
        for (key, entry) in [("scale", scale), ("deploy.replicas", replicas)] {
            if let (Some(value), Some(entry)) = (count(entry).filter(|value| *value < 0), entry) {
                let message =
                    format!("`{key}` of the service `{}` must be at least 0, {value} is not", self.name);
                self.sink.error(entry.node.pos, message);
            }
        }
        let all = count(scale).or(count(replicas)).unwrap_or(1);
        let container = map.and_then(|map| map.get("container_name")).filter(|_| all > 1);
        if let Some(entry) = container {
            let message = format!("the service `{}` has a `container_name` and {all} replicas", self.name);
            let hint = "remove `container_name`: every replica needs its own name";
            self.sink.error_hint(entry.key, message, hint);
        }
    }

    /// Nothing is mounted where something else is.
    fn mounts_differ(&mut self) {
        let mut seen = std::collections::HashSet::new();
        let tmpfs = self.entry.node.get("tmpfs").map(Node::items).unwrap_or_default().iter();
        let places = tmpfs.filter_map(|item| {
            let text = item.as_text()?;
            Some((text.split(':').next().unwrap_or(text).to_owned(), item.pos))
        });
        let volumes = self.entry.node.get("volumes").map(Node::items).unwrap_or_default().iter();
        let targets = volumes.filter_map(|item| {
            let target = item.get("target")?;
            Some((clean_text(target.as_text()?), target.pos))
        });
        for (place, pos) in places.chain(targets) {
            if !seen.insert(place.clone()) {
                let message = format!("two mounts have the same target `{place}`");
                self.sink.error_hint(pos, message, "remove one of them");
            }
        }
    }

    fn health_test(&mut self) {
        let test = self.entry.node.get("healthcheck").and_then(|check| check.get("test"));
        let Some((test, first)) = test.and_then(|test| Some((test, test.items().first()?))) else { return };
        if let Some(text) = first.as_text().filter(|text| !matches!(*text, "CMD" | "CMD-SHELL" | "NONE")) {
            let message =
                format!("the health check starts with `{text}` instead of `CMD`, `CMD-SHELL` or `NONE`");
            let hint = format!("write `[CMD, {text}, …]`, or the command as one text");
            self.sink.error_hint(test.pos, message, hint);
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
}

/// What a secret is must be known, whether or not it is used.
fn secrets_have_a_source(root: &Node, sink: &mut Sink) {
    for (name, entry) in root.get("secrets").into_iter().flat_map(Node::entries) {
        let external = entry.node.get("external").and_then(Node::as_bool).unwrap_or(false);
        let text = |key| entry.node.get(key).and_then(Node::as_text).unwrap_or_default();
        if !external
            && entry.node.as_map().is_some()
            && text("file").is_empty()
            && text("environment").is_empty()
        {
            let message = format!("the secret `{name}` has no source");
            sink.error_hint(entry.key, message, "give it `file` or `environment`");
        }
    }
}
