//! `x-juchu.gateway`: the ways by which requests come to a service.

use super::{port_number, text, texts_of};
use crate::diagnostics::{Pos, Sink};
use crate::tree::Node;
use model::gateway::{GatewayPolicy, MirrorPolicy, Route, RouteAction, RouteTarget};
use model::rule::{Edits, HeaderEdits, PathMatch, Redirect, Sticky};
use model::traffic::Priority;
use model::{Percent, Service, ServiceName};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

/// Status of a redirect that does not say: for good, and the method stays.
const REDIRECT_STATUS: u16 = 308;
/// Longest host name there is.
const MAX_HOST_BYTES: usize = 253;
/// Fields that say where a message ends or whom it concerns: they are the gateway's own.
const OWN_FIELDS: [&str; 19] = [
    "te",
    "host",
    "proxy",
    "expect",
    "upgrade",
    "forwarded",
    "x-real-ip",
    "connection",
    "keep-alive",
    "tracestate",
    "traceparent",
    "x-request-id",
    "content-length",
    "http2-settings",
    "x-forwarded-for",
    "x-forwarded-host",
    "proxy-connection",
    "transfer-encoding",
    "x-forwarded-proto",
];

/// `x-juchu.gateway` of the service.
pub(super) fn policy(name: &ServiceName, directory: &Path, node: &Node, sink: &mut Sink) -> GatewayPolicy {
    let routes = node.get("routes").map(Node::items).unwrap_or_default();
    GatewayPolicy {
        routes: routes.iter().filter_map(|node| route(name, directory, node, sink)).collect(),
        traffic: super::traffic::traffic(node, sink),
        proxy: super::proxy::policy(node, sink),
        mirror: node.get("mirror").and_then(|node| mirror(name, node, sink)),
    }
}

fn route(name: &ServiceName, directory: &Path, node: &Node, sink: &mut Sink) -> Option<Route> {
    let errors = sink.errors();
    let route = Route {
        listen: node.get("listen").and_then(|node| listen(node, sink)),
        hosts: words(node.get("host")).iter().filter_map(|(node, text)| host(node, text, sink)).collect(),
        path: node.get("path").map(|node| path(node, sink)).unwrap_or_default(),
        methods: words(node.get("method"))
            .iter()
            .filter_map(|(node, text)| method(node, text, sink))
            .collect(),
        headers: headers(node, sink),
        action: action(name, directory, node, sink)?,
        edits: edits(node, sink),
        priority: text(node, "priority").and_then(|word| Priority::parse(word.as_bytes())),
    };
    (sink.errors() == errors).then_some(route)
}

/// One text, or a list of them, with their places.
fn words(node: Option<&Node>) -> Vec<(&Node, String)> {
    let Some(node) = node else { return Vec::new() };
    let nodes = node.as_list().unwrap_or(std::slice::from_ref(node));
    nodes.iter().filter_map(|node| Some((node, node.scalar_text()?))).collect()
}

/// `8080`, `127.0.0.1:8080` or `[::1]:8080`.
fn listen(node: &Node, sink: &mut Sink) -> Option<SocketAddr> {
    let text = node.scalar_text()?;
    let port = text.parse::<u16>().ok().map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port));
    let found = port.or_else(|| text.parse().ok()).filter(|address| address.port() != 0);
    if found.is_none() {
        let message = format!("`{text}` is not an address to listen on");
        sink.error_hint(node.pos, message, "write a port such as 8080, or 127.0.0.1:8080");
    }
    found
}

fn host(node: &Node, text: &str, sink: &mut Sink) -> Option<String> {
    let host = text.to_ascii_lowercase();
    let name = host.strip_prefix("*.").unwrap_or(&host);
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    let is_address = host.starts_with('[') && host.ends_with(']');
    if host.len() <= MAX_HOST_BYTES && (is_address || name.split('.').all(is_label)) {
        return Some(host);
    }
    let message = format!("`{text}` is not the name of a host");
    let hint = match text {
        _ if text.contains("://") || text.contains('/') => "write the name alone; paths have `path`",
        _ if text.contains(':') => "write the name alone; ports have `listen`",
        "*" => "leave `host` away for every host",
        _ => "write shop.example.org, or *.example.org for every name below it",
    };
    sink.error_hint(node.pos, message, hint);
    None
}

fn path(node: &Node, sink: &mut Sink) -> PathMatch {
    if node.as_map().is_none() {
        return PathMatch::Prefix(a_path(node, sink).unwrap_or_default());
    }
    match (node.get("exact"), node.get("prefix")) {
        (Some(exact), None) => PathMatch::Exact(a_path(exact, sink).unwrap_or_default()),
        (None, Some(prefix)) => PathMatch::Prefix(a_path(prefix, sink).unwrap_or_default()),
        _ => {
            sink.error_hint(node.pos, "a path is either `exact` or a `prefix`", "give one of them");
            PathMatch::default()
        }
    }
}

/// A path as requests have it once nothing needless is in it.
fn a_path(node: &Node, sink: &mut Sink) -> Option<String> {
    let path = node.scalar_text()?;
    let message = format!("`{path}` is not the path of a request");
    let hint = if !path.starts_with('/') {
        "begin it with /"
    } else if path.contains(['?', '#']) {
        "leave away what follows the path"
    } else if path.contains("//") || path.split('/').any(|segment| matches!(segment, "." | "..")) {
        "write it without `//`, `.` and `..`"
    } else if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        "write other characters as %20"
    } else {
        return Some(path);
    };
    sink.error_hint(node.pos, message, hint);
    None
}

fn method(node: &Node, text: &str, sink: &mut Sink) -> Option<String> {
    if !text.is_empty() && text.len() <= 32 && text.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-') {
        return Some(text.to_ascii_uppercase());
    }
    sink.error_hint(node.pos, format!("`{text}` is not a method"), "write GET, POST or another one");
    None
}

/// A value of `true`, or none, asks only that the field is there.
fn headers(node: &Node, sink: &mut Sink) -> BTreeMap<String, Option<String>> {
    let mut all = BTreeMap::new();
    for (key, entry) in node.get("headers").into_iter().flat_map(Node::entries) {
        if !is_field_name(key) {
            let message = format!("`{key}` is not the name of a header field");
            sink.error_hint(entry.key, message, "names have letters, digits and -");
            continue;
        }
        let value = entry.node.scalar_text().filter(|text| !text.is_empty() && text != "true");
        all.insert(key.to_ascii_lowercase(), value);
    }
    all
}

pub(super) fn is_field_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

fn action(name: &ServiceName, directory: &Path, node: &Node, sink: &mut Sink) -> Option<RouteAction> {
    let given: Vec<&str> =
        ["to", "redirect", "answer", "files"].into_iter().filter(|key| node.has(key)).collect();
    if let [one, other, ..] = given.as_slice() {
        let message = format!("a route has `{one}` or `{other}`, not both");
        sink.error_hint(node.pos, message, "make two routes of it");
        return None;
    }
    if let Some(redirect) = node.get("redirect") {
        return self::redirect(redirect, sink).map(RouteAction::Redirect);
    }
    if let Some(answer) = node.get("answer") {
        let status = status(answer, 200..=599, sink)?;
        return Some(RouteAction::Answer { status, body: text(answer, "body").unwrap_or_default() });
    }
    if let Some(files) = node.get("files") {
        return self::files(files, directory, sink);
    }
    let sticky = node.get("sticky").and_then(|node| sticky(node, sink));
    Some(RouteAction::Forward { to: targets(name, node, sink), sticky })
}

/// A directory, seen from that of the file.
fn files(node: &Node, directory: &Path, sink: &mut Sink) -> Option<RouteAction> {
    let text = node.scalar_text().filter(|text| !text.is_empty());
    if text.is_none() {
        sink.error_hint(node.pos, "`files` names no directory", "write `files: ./public`");
    }
    let directory = directory.join(text?).to_string_lossy().into_owned();
    Some(RouteAction::Files { directory })
}

/// `to`, or the service itself.
fn targets(name: &ServiceName, node: &Node, sink: &mut Sink) -> Vec<RouteTarget> {
    let port = node.get("port").and_then(|node| port_number(node, sink));
    let Some(to) = node.get("to") else {
        return vec![RouteTarget { service: name.clone(), port, weight: 1 }];
    };
    let nodes = to.as_list().unwrap_or(std::slice::from_ref(to));
    if nodes.is_empty() {
        sink.error_hint(to.pos, "`to` leads nowhere", "name a service, or leave it away");
    }
    nodes.iter().filter_map(|node| target(node, port, sink)).collect()
}

fn mirror(name: &ServiceName, node: &Node, sink: &mut Sink) -> Option<MirrorPolicy> {
    let target = node.get("to").and_then(|to| target(to, None, sink))?;
    if target.service == *name {
        let hint = "name the service that is to be tried, such as its next version";
        sink.error_hint(
            node.get("to").map(|to| to.pos),
            "a service cannot be sent its own requests twice",
            hint,
        );
    }
    let port = node.get("port").and_then(|node| port_number(node, sink));
    let share = match node.has("share") {
        true => super::parsed(node, "share", sink, Percent::parse)?,
        false => Percent::parse("100%").expect("it is a share"),
    };
    Some(MirrorPolicy { to: target.service, port, share })
}

fn target(node: &Node, port: Option<u16>, sink: &mut Sink) -> Option<RouteTarget> {
    let named = node.get("service").unwrap_or(node);
    let service = match ServiceName::new(named.scalar_text()?) {
        Ok(service) => service,
        Err(error) => {
            sink.error(named.pos, error.to_string());
            return None;
        }
    };
    let own_port = node.get("port").and_then(|node| port_number(node, sink));
    let weight = super::count(node, "weight", sink).unwrap_or(1);
    Some(RouteTarget { service, port: own_port.or(port), weight })
}

fn sticky(node: &Node, sink: &mut Sink) -> Option<Sticky> {
    match (text(node, "cookie"), text(node, "header")) {
        _ if node.as_text() == Some("client") => Some(Sticky::Client),
        (Some(cookie), None) if is_field_name(&cookie) => Some(Sticky::Cookie(cookie)),
        (None, Some(header)) if is_field_name(&header) => Some(Sticky::Header(header.to_ascii_lowercase())),
        _ => {
            let hint = "use client, {cookie: NAME} or {header: NAME}";
            sink.error_hint(node.pos, "`sticky` does not say by what", hint);
            None
        }
    }
}

fn redirect(node: &Node, sink: &mut Sink) -> Option<Redirect> {
    if ["scheme", "host", "path"].iter().all(|key| !node.has(key)) {
        let hint = "give one of scheme, host and path";
        sink.error_hint(node.pos, "a redirect to the same address would go round in circles", hint);
        return None;
    }
    let status = match node.has("status") {
        true => status(node, 301..=308, sink)?,
        false => REDIRECT_STATUS,
    };
    if matches!(status, 304..=306) {
        sink.error_hint(node.pos, format!("{status} is no redirect"), "use 301, 302, 303, 307 or 308");
        return None;
    }
    let host = node.get("host").and_then(|node| authority(node, sink));
    let path = node.get("path").and_then(|node| a_path(node, sink));
    Some(Redirect { status, scheme: text(node, "scheme"), host, port: None, path })
}

/// A host, with its port or without.
fn authority(node: &Node, sink: &mut Sink) -> Option<String> {
    let text = node.scalar_text()?;
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (text.as_str(), None),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        sink.error(node.pos, format!("`{text}` has no number behind its colon"));
        return None;
    }
    host(node, name, sink).map(|_| text)
}

fn status(node: &Node, range: std::ops::RangeInclusive<u16>, sink: &mut Sink) -> Option<u16> {
    let node = node.get("status")?;
    let status = node.as_int().and_then(|status| u16::try_from(status).ok());
    let found = status.filter(|status| range.contains(status));
    if found.is_none() {
        let shown = node.scalar_text().unwrap_or_default();
        sink.error_hint(
            node.pos,
            format!("`status` cannot be {shown}"),
            format!("use {} to {}", range.start(), range.end()),
        );
    }
    found
}

fn edits(node: &Node, sink: &mut Sink) -> Edits {
    let rewrite = node.get("rewrite");
    Edits {
        prefix: rewrite.and_then(|node| a_path(node.get("prefix")?, sink)),
        host: rewrite.and_then(|node| authority(node.get("host")?, sink)),
        request: header_edits(node.get("request_headers"), sink),
        response: header_edits(node.get("response_headers"), sink),
    }
}

fn header_edits(node: Option<&Node>, sink: &mut Sink) -> HeaderEdits {
    let Some(node) = node else { return HeaderEdits::default() };
    let mut edits = HeaderEdits::default();
    for (node, name) in words(node.get("remove")) {
        if may_edit(&name, node, sink) {
            edits.remove.push(name.to_ascii_lowercase());
        }
    }
    for (name, value) in texts_of(node.get("set")) {
        let Some(place) = node.get("set").and_then(|set| set.get(&name)) else { continue };
        if !value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte)) {
            sink.error(place.pos, format!("the value of `{name}` cannot stand in a header field"));
        } else if may_edit(&name, place, sink) {
            edits.set.insert(name.to_ascii_lowercase(), value);
        }
    }
    edits
}

fn may_edit(name: &str, node: &Node, sink: &mut Sink) -> bool {
    let own = OWN_FIELDS.contains(&name.to_ascii_lowercase().replace('_', "-").as_str());
    if own {
        let message = format!("the header field `{name}` is the gateway's own");
        sink.error_hint(node.pos, message, "Host has `rewrite: {host: …}`; the others cannot be changed");
    } else if !is_field_name(name) {
        sink.error(node.pos, format!("`{name}` is not the name of a header field"));
    }
    !own && is_field_name(name)
}

/// What can be judged only when all services are known.
pub(super) fn check(root: &Node, services: &BTreeMap<ServiceName, Service>, sink: &mut Sink) {
    let mut taken = BTreeMap::<String, String>::new();
    for service in services.values() {
        let gateway = || root.get("services")?.get(service.name.as_str())?.get("x-juchu")?.get("gateway");
        let Some(gateway) = gateway() else { continue };
        sink.about(service.name.as_str());
        super::proxy::check(service, gateway, sink);
        if let Some(mirror) = &service.policy.gateway.mirror
            && !services.contains_key(&mirror.to)
        {
            let pos = gateway.get("mirror").and_then(|node| node.get("to")).map(|to| to.pos);
            let what = ("requests are mirrored", "copies go to a service of the same stack");
            unknown_service(what, &mirror.to, services, pos, sink);
        }
        let place = |index: usize| gateway.get("routes")?.items().get(index);
        for (index, route) in service.policy.gateway.routes.iter().enumerate() {
            let Some(node) = place(index) else { continue };
            sink.about(service.name.as_str());
            known_targets(route, services, node, sink);
            for key in service.marks_of(route) {
                let here = sink.place(node.pos);
                if let Some(there) = taken.insert(key.to_string(), here) {
                    let message = format!("this route takes the same requests as the one {there}");
                    sink.error_hint(
                        node.pos,
                        message,
                        "let them differ in host, path, method, headers or listen",
                    );
                    break;
                }
            }
        }
    }
    sink.about("");
}

fn known_targets(route: &Route, services: &BTreeMap<ServiceName, Service>, node: &Node, sink: &mut Sink) {
    let RouteAction::Forward { to, .. } = &route.action else { return };
    for target in to.iter().filter(|target| !services.contains_key(&target.service)) {
        let pos = node.get("to").unwrap_or(node).pos;
        let what = ("the route leads", "routes lead to services of the same stack");
        unknown_service(what, &target.service, services, Some(pos), sink);
    }
}

fn unknown_service(
    (what, hint): (&str, &str),
    name: &ServiceName,
    services: &BTreeMap<ServiceName, Service>,
    pos: Option<Pos>,
    sink: &mut Sink,
) {
    let known = services.keys().map(ServiceName::as_str);
    let hint = crate::suggest::hint(name.as_str(), known).unwrap_or_else(|| hint.to_owned());
    sink.error_hint(pos, format!("{what} to `{name}`, which is not a service here"), hint);
}
