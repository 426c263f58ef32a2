//! One service.

use super::{
    count, duration, flag, gateway, health, hooks, image, metrics, mounts, network, objectives, probes,
    process, ranges, resources, rollout, text_list, texts_of, tls, watch, word,
};
use crate::diagnostics::Sink;
use crate::quantity;
use crate::suggest;
use crate::tree::{Entry, Node};
use model::service::{Condition, Dependency, LogPolicy, OnUnhealthy, Protocol, RestartPolicy, ServicePolicy};
use model::stack::Volume;
use model::{Bytes, DurationMs, Service, ServiceName};
use std::collections::BTreeMap;
use std::path::Path;

/// How long a stop may take where the file says nothing.
const STOP_GRACE: DurationMs = DurationMs::from_secs(10);

pub(super) fn service(
    name: ServiceName,
    entry: &Entry,
    root: &Node,
    volumes: &BTreeMap<String, Volume>,
    directory: &Path,
    sink: &mut Sink,
) -> Option<Service> {
    let node = &entry.node;
    sink.about(name.as_str());
    let protocol = protocol(node);
    // Every part is typed before the image is looked at, so that all problems are reported.
    let process = process::process(node, sink);
    let mounts = mounts::mounts(node, volumes, sink);
    let configs = mounts::grants(node, "configs", sink);
    let secrets = mounts::grants(node, "secrets", sink);
    let healthcheck = health::healthcheck(node, sink);
    let ports = network::ports(node, protocol, sink);
    let expose = network::exposed(node, sink);
    let (network_mode, networks) = network::networks(node, root, sink);
    let replicas = replicas(node, sink);
    let resources = resources::resources(node, sink);
    let image = image::image(node, &name, entry.key, root, directory, sink);
    let tls = tls::policy(node, &ports, directory, sink);
    let reach =
        metrics::Reach { service: name.as_str(), mode: &network_mode, ports: &ports, expose: &expose };
    let metrics = metrics::endpoints(node, &reach, sink);
    let probes = probes::probes(node, sink);
    let ranges = ranges::ranges(node, sink);
    let objectives = objectives::objectives(node, sink);
    let policy =
        ServicePolicy { tls, metrics, probes, ranges, objectives, ..policy(&name, directory, node, sink) };
    Some(Service {
        name,
        image: image?,
        platform: word(node, "platform"),
        command: node.get("command").map(|node| text_list(Some(node))),
        entrypoint: node.get("entrypoint").map(|node| text_list(Some(node))),
        environment: texts_of(node.get("environment")),
        ports,
        expose,
        mounts,
        configs,
        secrets,
        depends_on: dependencies(node, root),
        healthcheck,
        network_mode,
        networks,
        links: network::links(node),
        restart: restart(node, sink),
        replicas,
        resources,
        update: rollout::update(node, sink),
        rollback: rollout::rollback(node, sink),
        process,
        stop_grace: duration(node, "stop_grace_period").unwrap_or(STOP_GRACE),
        stop_grace_given: node.get("stop_grace_period").is_some_and(Node::is_given),
        hooks: hooks::hooks(node),
        stop_signal: word(node, "stop_signal"),
        labels: texts_of(node.get("labels")),
        policy,
        watch: watch::rules(node),
    })
}

fn protocol(node: &Node) -> Protocol {
    match node.get("x-juchu").and_then(|policy| policy.get("protocol")).and_then(Node::as_text) {
        Some("http") => Protocol::Http,
        Some("tcp") => Protocol::Tcp,
        _ => Protocol::Auto,
    }
}

fn replicas(node: &Node, sink: &mut Sink) -> u32 {
    let deploy = node.get("deploy");
    // On one machine, one for each machine is one.
    if let Some(mode) = deploy.and_then(|deploy| deploy.get("mode"))
        && !matches!(mode.as_text(), Some("replicated" | "global" | ""))
    {
        let shown = mode.as_text().unwrap_or_default();
        let why = "it runs as a service does; with `restart: \"no\"` it may end";
        sink.no_effect(mode.pos, &format!("deploy.mode: {shown}"), why);
    }
    let declared = deploy.and_then(|deploy| count(deploy, "replicas", sink));
    declared.or_else(|| count(node, "scale", sink)).unwrap_or(1)
}

/// A dependency with `required: false` on a service that does not take part is none.
fn dependencies(node: &Node, root: &Node) -> BTreeMap<ServiceName, Dependency> {
    let mut all = BTreeMap::new();
    for (name, entry) in node.get("depends_on").into_iter().flat_map(Node::entries) {
        let Ok(name) = ServiceName::new(name.as_str()) else { continue };
        let condition = match entry.node.get("condition").and_then(Node::as_text) {
            Some("service_healthy") => Condition::ServiceHealthy,
            Some("service_completed_successfully") => Condition::ServiceCompletedSuccessfully,
            _ => Condition::ServiceStarted,
        };
        let required = entry.node.get("required").and_then(Node::as_bool).unwrap_or(true);
        if !required && !root.get("services").is_some_and(|services| services.has(name.as_str())) {
            continue;
        }
        all.insert(name, Dependency { condition, required, restart: flag(&entry.node, "restart") });
    }
    all
}

/// `deploy.restart_policy` where it is given, else `restart`.
fn restart(node: &Node, sink: &mut Sink) -> RestartPolicy {
    if let Some(policy) = node.get("deploy").and_then(|deploy| deploy.get("restart_policy")) {
        return deploy_restart(policy, sink);
    }
    let Some(found) = node.get("restart") else { return RestartPolicy::No };
    let text = found.as_text().unwrap_or_default();
    let (word, retries) = match text.split_once(':') {
        Some((word, retries)) => (word, Some(retries)),
        None => (text, None),
    };
    let max_retries = retries.map(str::parse::<u32>);
    match (word, max_retries) {
        ("no", None) => RestartPolicy::No,
        ("always", None) => RestartPolicy::Always,
        ("unless-stopped", None) => RestartPolicy::UnlessStopped,
        ("on-failure", None) => RestartPolicy::OnFailure { max_retries: None },
        ("on-failure", Some(Ok(max))) => RestartPolicy::OnFailure { max_retries: Some(max) },
        _ => {
            let words = ["no", "always", "on-failure", "unless-stopped"];
            let hint = suggest::hint(word, words)
                .filter(|_| !words.contains(&word))
                .unwrap_or_else(|| "use no, always, on-failure[:TIMES] or unless-stopped".to_owned());
            sink.error_hint(found.pos, format!("`restart` cannot be `{text}`"), hint);
            RestartPolicy::No
        }
    }
}

fn deploy_restart(policy: &Node, sink: &mut Sink) -> RestartPolicy {
    let max_retries = count(policy, "max_attempts", sink);
    let Some(condition) = policy.get("condition") else {
        return if max_retries.is_some() {
            RestartPolicy::OnFailure { max_retries }
        } else {
            RestartPolicy::Always
        };
    };
    match condition.as_text().unwrap_or_default() {
        "none" | "no" => RestartPolicy::No,
        "on-failure" => RestartPolicy::OnFailure { max_retries },
        "any" | "always" => RestartPolicy::Always,
        "unless-stopped" => RestartPolicy::UnlessStopped,
        other => {
            let message = format!("`restart_policy.condition` cannot be `{other}`");
            sink.error_hint(condition.pos, message, "use none, on-failure or any");
            RestartPolicy::No
        }
    }
}

fn policy(name: &ServiceName, directory: &Path, node: &Node, sink: &mut Sink) -> ServicePolicy {
    let log = log_policy(node, sink);
    // Answers with every instance instead of one address for all: that is what `direct` does.
    let mode = node.get("deploy").and_then(|deploy| deploy.get("endpoint_mode")).and_then(Node::as_text);
    let direct = mode == Some("dnsrr");
    let Some(policy) = node.get("x-juchu") else {
        return ServicePolicy { log, direct, ..ServicePolicy::default() };
    };
    let on_unhealthy = match policy.get("on_unhealthy").and_then(Node::as_text) {
        Some("restart") => Some(OnUnhealthy::Restart),
        Some("drain") => Some(OnUnhealthy::Drain),
        Some("rollback") => Some(OnUnhealthy::Rollback),
        Some("none") => Some(OnUnhealthy::None),
        _ => None,
    };
    ServicePolicy {
        direct: direct || flag(policy, "direct"),
        on_unhealthy,
        ready_timeout: policy
            .get("rollout")
            .and_then(|rollout| duration(rollout, "progress_deadline"))
            .or_else(|| duration(policy, "ready_timeout")),
        log,
        rollout: policy.get("rollout").map(|node| rollout::policy(node, sink)).unwrap_or_default(),
        hold: duration(policy, "hold"),
        gateway: policy
            .get("gateway")
            .map(|node| gateway::policy(name, directory, node, sink))
            .unwrap_or_default(),
        tls: None,
        metrics: Vec::new(),
        probes: Vec::new(),
        ranges: Default::default(),
        objectives: Default::default(),
    }
}

/// `x-juchu.log`, and below it the caps of Docker's own log drivers, which many files set.
fn log_policy(node: &Node, sink: &mut Sink) -> LogPolicy {
    let mut log = node.get("logging").map(|logging| driver_caps(logging, sink)).unwrap_or_default();
    if let Some(ours) = node.get("x-juchu").and_then(|policy| policy.get("log")) {
        log.max_size = size(ours, "max_size").or(log.max_size);
        log.max_files = count(ours, "max_files", sink).or(log.max_files);
    }
    log
}

fn size(node: &Node, key: &str) -> Option<Bytes> {
    node.get(key).and_then(Node::as_text).and_then(|text| Bytes::parse(text).ok())
}

fn driver_caps(logging: &Node, sink: &mut Sink) -> LogPolicy {
    let why = "output is kept on this host; set `x-juchu: {log: {max_size: 10m, max_files: 3}}`";
    if logging.get("driver").and_then(Node::as_text) == Some("none") {
        return LogPolicy { off: true, ..LogPolicy::default() };
    }
    if let Some(driver) = logging.get("driver")
        && !matches!(driver.as_text(), Some("json-file" | "local" | ""))
    {
        let shown = driver.as_text().unwrap_or_default();
        sink.no_effect(driver.pos, &format!("logging.driver: {shown}"), why);
        return LogPolicy::default();
    }
    let options = logging.get("options");
    for (key, entry) in options.into_iter().flat_map(Node::entries) {
        if !matches!(key.as_str(), "max-size" | "max-file") {
            sink.no_effect(entry.key, &format!("logging.options.{key}"), why);
        }
    }
    let Some(options) = options else { return LogPolicy::default() };
    let max_size = super::parsed(options, "max-size", sink, Bytes::parse);
    let max_files = super::parsed(options, "max-file", sink, |text| {
        text.parse::<u32>().map_err(|_| format!("`{text}` is not a number of files"))
    });
    LogPolicy { max_size, max_files, off: false }
}

/// A size that may be unlimited, for limits of memory and swap.
pub(super) fn size_or_unlimited(node: &Node, key: &str, sink: &mut Sink) -> Option<i64> {
    super::parsed(node, key, sink, quantity::size_or_unlimited)
}
