//! `x-juchu.metrics`: where a service shows metrics of its own. Where it says nothing, the labels
//! count that Prometheus finds containers by: `prometheus.io/scrape`, `/port`, `/path`, `/interval`.

use super::{duration, parsed, port_number, texts_of};
use crate::diagnostics::Sink;
use crate::tree::Node;
use model::DurationMs;
use model::metrics::{
    ENDPOINTS_MAX, INTERVAL_MAX, INTERVAL_MIN, LABEL_BYTES_MAX, LABELS_MAX, MetricsEndpoint, OWN_LABELS, PATH,
};
use model::service::{ExposedPort, NetworkMode, PublishedPort, Transport};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a path.
const PATH_MAX: usize = 1024;

/// How the instances of a service are reached.
pub(super) struct Reach<'a> {
    pub service: &'a str,
    pub mode: &'a NetworkMode,
    pub ports: &'a [PublishedPort],
    pub expose: &'a [ExposedPort],
}

pub(super) fn endpoints(node: &Node, reach: &Reach<'_>, sink: &mut Sink) -> Vec<MetricsEndpoint> {
    let Some(declared) = node.get("x-juchu").and_then(|policy| policy.get("metrics")) else {
        return by_labels(node, reach, sink).into_iter().collect();
    };
    if declared.as_bool() == Some(false) {
        return Vec::new();
    }
    if *reach.mode == NetworkMode::None {
        let message = format!("metrics of `{}` cannot be read: it has no network", reach.service);
        sink.error_hint(declared.pos, message, "remove `metrics`, or `network_mode: none`");
    }
    let all = declared.as_list().unwrap_or(std::slice::from_ref(declared));
    if all.len() > ENDPOINTS_MAX {
        sink.error(declared.pos, format!("`metrics` can have {ENDPOINTS_MAX} endpoints at most"));
        return Vec::new();
    }
    let mut jobs = BTreeSet::new();
    let mut endpoints = Vec::new();
    for node in all {
        let Some(endpoint) = endpoint(node, reach, sink) else { continue };
        let job = endpoint.job.as_deref().unwrap_or(reach.service).to_owned();
        if !jobs.insert(job.clone()) {
            let message = format!("two endpoints of `metrics` are the job `{job}`");
            sink.error_hint(node.pos, message, "give one of them another `job`");
        }
        endpoints.push(endpoint);
    }
    endpoints
}

/// `PORT`, `PORT/path`, `true` or an object.
fn endpoint(node: &Node, reach: &Reach<'_>, sink: &mut Sink) -> Option<MetricsEndpoint> {
    if node.as_map().is_none() && node.as_bool().is_none() {
        return short(node, sink);
    }
    let port = match node.get("port") {
        Some(port) => port_number(port, sink)?,
        None => only_port(node, reach, sink)?,
    };
    let path = match node.get("path") {
        Some(given) => path(given, sink)?,
        None => PATH.to_owned(),
    };
    let interval = interval(node, sink);
    let endpoint = MetricsEndpoint {
        port,
        path,
        interval,
        timeout: duration(node, "timeout"),
        job: parsed(node, "job", sink, job),
        labels: node.get("labels").map(|labels| own_labels(labels, sink)).unwrap_or_default(),
    };
    if let Some(timeout) = endpoint.timeout
        && (timeout.0 == 0 || timeout > endpoint.interval())
    {
        let pos = node.get("timeout").map(|node| node.pos);
        let message =
            format!("`timeout` must be more than nothing and at most the interval, {}", endpoint.interval());
        sink.error(pos, message);
    }
    Some(endpoint)
}

fn short(node: &Node, sink: &mut Sink) -> Option<MetricsEndpoint> {
    let all = node.scalar_text()?;
    let (port, rest) = all.split_at(all.find('/').unwrap_or(all.len()));
    let mut endpoint = MetricsEndpoint::new(port_number(&Node::text(node.pos, port), sink)?);
    if !rest.is_empty() {
        endpoint.path = path(&Node::text(node.pos, rest), sink)?;
    }
    Some(endpoint)
}

fn only_port(node: &Node, reach: &Reach<'_>, sink: &mut Sink) -> Option<u16> {
    let all = candidates(reach);
    if let [only] = all[..] {
        return Some(only);
    }
    let message = match all.len() {
        0 => format!("which port of `{}` shows its metrics is not said, and it has none", reach.service),
        _ => format!("which port of `{}` shows its metrics is not said", reach.service),
    };
    let port = all.first().map_or(9100, |port| *port);
    sink.error_hint(
        node.pos,
        message,
        format!("write `metrics: {port}`, or `metrics: {{port: {port}, path: {PATH}}}`"),
    );
    None
}

/// The TCP ports that are known of a service.
fn candidates(reach: &Reach<'_>) -> Vec<u16> {
    let published =
        reach.ports.iter().filter(|port| port.transport == Transport::Tcp).map(|port| port.target);
    let exposed = reach.expose.iter().filter(|port| port.transport == Transport::Tcp).map(|port| port.port);
    let all: BTreeSet<u16> = published.chain(exposed).collect();
    all.into_iter().collect()
}

fn path(node: &Node, sink: &mut Sink) -> Option<String> {
    let given = node.scalar_text()?;
    let path = if given.starts_with('/') { given } else { format!("/{given}") };
    if path.len() > PATH_MAX || path.contains('#') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        let shown: String = path.chars().take(60).collect();
        sink.error_hint(
            node.pos,
            format!("`{}` is not the path of an address", shown.escape_debug()),
            "write it as /metrics, or /metrics?name=value",
        );
        return None;
    }
    Some(path)
}

fn interval(node: &Node, sink: &mut Sink) -> Option<DurationMs> {
    let interval = duration(node, "interval")?;
    if (INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) && interval.0 % 1000 == 0 {
        return Some(interval);
    }
    let pos = node.get("interval").map(|node| node.pos);
    sink.error(pos, "`interval` must be whole seconds between 1s and 2m".to_owned());
    None
}

fn job(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.len() <= LABEL_BYTES_MAX && !text.chars().any(char::is_control);
    if fits {
        Ok(text.to_owned())
    } else {
        Err(format!("a name of 1 to {LABEL_BYTES_MAX} bytes is expected"))
    }
}

fn own_labels(node: &Node, sink: &mut Sink) -> BTreeMap<String, String> {
    let labels = texts_of(Some(node));
    if labels.len() > LABELS_MAX {
        sink.error(node.pos, format!("`labels` can be {LABELS_MAX} at most"));
    }
    for (name, entry) in node.entries() {
        if OWN_LABELS.contains(&name.as_str()) {
            let message = format!("the label `{name}` is given by Juchu");
            let hint = if name == "job" { "set `job` beside `labels`" } else { "choose another name" };
            sink.error_hint(entry.key, message, hint);
        } else if !is_label_name(name) {
            let message = format!("`{name}` cannot be the name of a label");
            sink.error_hint(
                entry.key,
                message,
                "use letters, digits and _, not beginning with a digit or __",
            );
        }
        if labels.get(name).is_some_and(|value| value.len() > LABEL_BYTES_MAX) {
            sink.error(
                entry.node.pos,
                format!("the label `{name}` can have {LABEL_BYTES_MAX} bytes at most"),
            );
        }
    }
    labels
}

fn is_label_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with("__")
        && !name.as_bytes()[0].is_ascii_digit()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Labels belong to other programs, too: what is wrong with them is a warning.
fn by_labels(node: &Node, reach: &Reach<'_>, sink: &mut Sink) -> Option<MetricsEndpoint> {
    let labels = node.get("labels")?;
    let found = |name: &str| labels.entries().find(|(key, _)| plain(key) == name);
    let value = |name: &str| found(name).and_then(|(_, entry)| entry.node.scalar_text());
    if !value("prometheus_io_scrape").is_some_and(|value| value.trim().eq_ignore_ascii_case("true")) {
        return None;
    }
    let mut warn = |message: String, hint: &str| sink.warning_hint(labels.pos, message, hint);
    if *reach.mode == NetworkMode::None {
        warn(
            format!("metrics of `{}` are not read: it has no network", reach.service),
            "remove the label prometheus.io/scrape",
        );
        return None;
    }
    let declared = value("prometheus_io_port");
    let port = match (&declared, &candidates(reach)[..]) {
        (Some(port), _) => port.trim().parse().ok().filter(|port| *port != 0),
        (None, [only]) => Some(*only),
        (None, _) => None,
    };
    let Some(port) = port else {
        let message = match declared {
            Some(port) => format!(
                "metrics of `{}` are not read: `{port}` in prometheus.io/port is no port",
                reach.service
            ),
            None => format!(
                "metrics of `{}` are not read: prometheus.io/scrape does not say on which port they are",
                reach.service
            ),
        };
        warn(message, "add the label prometheus.io/port, or `x-juchu: {metrics: PORT}`");
        return None;
    };
    if let Some(scheme) = value("prometheus_io_scheme").filter(|scheme| scheme != "http") {
        warn(
            format!("metrics of `{}` are not read: they are spoken by {scheme}", reach.service),
            "show them by http",
        );
        return None;
    }
    let mut endpoint = MetricsEndpoint::new(port);
    if let Some(given) = value("prometheus_io_path") {
        let mut silent = sink.sibling();
        match path(&Node::text(labels.pos, &given), &mut silent) {
            Some(path) => endpoint.path = path,
            None => sink.warning(
                labels.pos,
                format!(
                    "prometheus.io/path of `{}` is not the path of an address; {PATH} is read",
                    reach.service
                ),
            ),
        }
    }
    let every = value("prometheus_io_interval").and_then(|text| DurationMs::parse(&text).ok());
    endpoint.interval =
        every.filter(|every| every.0 % 1000 == 0 && (INTERVAL_MIN..=INTERVAL_MAX).contains(every));
    Some(endpoint)
}

/// As Prometheus makes the name of a label of a container's: `prometheus.io/port` is
/// `prometheus_io_port`.
fn plain(key: &str) -> String {
    key.chars().map(|character| if character.is_ascii_alphanumeric() { character } else { '_' }).collect()
}
