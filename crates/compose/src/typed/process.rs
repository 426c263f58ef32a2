//! What the kernel is asked for when the program starts.

use super::{flag, security, sharing, text, text_list, texts_of, word};
use crate::diagnostics::Sink;
use crate::tree::Node;
use model::Bytes;
use model::service::{Device, ProcessSettings};
use std::collections::BTreeMap;
use std::net::IpAddr;

pub(super) fn process(node: &Node, sink: &mut Sink) -> ProcessSettings {
    let security = security::options(node, sink);
    let (pid, ipc) = (sharing::shared(node, "pid", sink), sharing::shared(node, "ipc", sink));
    // This is so anyway; anything else is said to have no effect.
    sharing::is_host(node, "userns_mode", sink);
    ProcessSettings {
        user: word(node, "user"),
        working_dir: word(node, "working_dir"),
        hostname: word(node, "hostname"),
        domainname: word(node, "domainname"),
        container_name: word(node, "container_name"),
        init: flag(node, "init"),
        read_only: flag(node, "read_only"),
        tty: flag(node, "tty"),
        stdin_open: flag(node, "stdin_open"),
        privileged: flag(node, "privileged"),
        cap_add: text_list(node.get("cap_add")),
        cap_drop: text_list(node.get("cap_drop")),
        group_add: text_list(node.get("group_add")),
        ulimits: ulimits(node, sink),
        sysctls: texts_of(node.get("sysctls")),
        extra_hosts: extra_hosts(node, sink),
        dns: dns(node, sink),
        dns_search: text_list(node.get("dns_search")),
        dns_opt: text_list(node.get("dns_opt")),
        shm_size: text(node, "shm_size").and_then(|text| Bytes::parse(&text).ok()).filter(|size| size.0 > 0),
        devices: devices(node),
        oom_score_adj: oom_score(node, sink),
        no_new_privileges: security.no_new_privileges,
        seccomp_unconfined: security.seccomp_unconfined,
        host_pid: pid.is_host,
        host_ipc: ipc.is_host,
        pid_of: pid.of,
        ipc_of: ipc.of,
        host_uts: sharing::is_host(node, "uts", sink),
        host_cgroup: sharing::is_host(node, "cgroup", sink),
        device_cgroup_rules: device_rules(node, sink),
        seccomp_profile: None,
        annotations: texts_of(node.get("annotations")),
    }
}

/// `c 10:229 rw`.
fn device_rules(node: &Node, sink: &mut Sink) -> Vec<String> {
    let mut rules = Vec::new();
    for item in node.get("device_cgroup_rules").map(Node::items).unwrap_or_default() {
        let Some(text) = item.as_text() else { continue };
        let number = |part: &str| part == "*" || part.parse::<u32>().is_ok();
        let is_rule = match text.split_whitespace().collect::<Vec<_>>()[..] {
            ["a" | "b" | "c", device, access] => {
                device.split_once(':').is_some_and(|(major, minor)| number(major) && number(minor))
                    && access.chars().all(|letter| "rwm".contains(letter))
            }
            _ => false,
        };
        if is_rule {
            rules.push(text.to_owned());
        } else {
            let hint = "write a kind (a, b, c), MAJOR:MINOR and some of r, w, m: `c 10:229 rw`";
            sink.error_hint(item.pos, format!("`{text}` is not a rule for devices"), hint);
        }
    }
    rules
}

fn ulimits(node: &Node, sink: &mut Sink) -> BTreeMap<String, (i64, i64)> {
    const NAMES: [&str; 15] = [
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let mut limits = BTreeMap::new();
    for (name, entry) in node.get("ulimits").into_iter().flat_map(Node::entries) {
        let both = entry.node.as_int();
        let value = |key: &str| both.or_else(|| entry.node.get(key).and_then(Node::as_int));
        let (Some(soft), Some(hard)) = (value("soft"), value("hard")) else { continue };
        if !NAMES.contains(&name.as_str()) {
            let hint = crate::suggest::hint(name, NAMES)
                .unwrap_or_else(|| format!("use one of {}", NAMES.join(", ")));
            sink.error_hint(entry.key, format!("`{name}` is not a limit of the kernel"), hint);
            continue;
        }
        let exceeds = hard >= 0 && (soft > hard || soft < 0);
        if exceeds || soft < -1 || hard < -1 {
            let message = format!("the limit `{name}` has soft {soft} and hard {hard}");
            sink.error_hint(entry.key, message, "soft must not be above hard; -1 is unlimited");
            continue;
        }
        limits.insert(name.clone(), (soft, hard));
    }
    limits
}

fn extra_hosts(node: &Node, sink: &mut Sink) -> BTreeMap<String, Vec<String>> {
    let mut hosts = BTreeMap::new();
    for (host, entry) in node.get("extra_hosts").into_iter().flat_map(Node::entries) {
        for item in entry.node.items() {
            let text = item.as_text().unwrap_or_default();
            if text != "host-gateway" && text.parse::<IpAddr>().is_err() {
                let message = format!("the address `{text}` of the extra host `{host}` is not an IP address");
                sink.error_hint(item.pos, message, "write an address, or `host-gateway` for this host");
            }
        }
        hosts.insert(host.clone(), text_list(Some(&entry.node)));
    }
    hosts
}

fn dns(node: &Node, sink: &mut Sink) -> Vec<IpAddr> {
    let mut servers = Vec::new();
    for item in node.get("dns").map(Node::items).unwrap_or_default() {
        let text = item.as_text().unwrap_or_default();
        match text.parse() {
            Ok(address) => servers.push(address),
            Err(_) => sink.error(item.pos, format!("the name server `{text}` is not an IP address")),
        }
    }
    servers
}

fn devices(node: &Node) -> Vec<Device> {
    let items = node.get("devices").map(Node::items).unwrap_or_default();
    items
        .iter()
        .filter_map(|item| {
            let source = text(item, "source")?;
            let target = text(item, "target").unwrap_or_else(|| source.clone());
            let permissions = text(item, "permissions").unwrap_or_else(|| "rwm".to_owned());
            Some(Device { source, target, permissions })
        })
        .collect()
}

fn oom_score(node: &Node, sink: &mut Sink) -> Option<i32> {
    let found = node.get("oom_score_adj")?;
    match found.as_int()? {
        value @ -1000..=1000 => Some(value as i32),
        value => {
            sink.error(found.pos, format!("`oom_score_adj` must be between -1000 and 1000, {value} is not"));
            None
        }
    }
}
