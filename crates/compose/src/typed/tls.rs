//! `x-juchu.tls`: which published ports speak TLS, and where their certificate comes from.

use super::{duration, flag, text_list};
use crate::diagnostics::{Pos, Sink};
use crate::tree::Node;
use model::DurationMs;
use model::certificate::{Acme, CertificateSource, Challenge, TlsPolicy};
use model::gateway::{DEFAULT_PORT, SECURED_PORT};
use model::service::{PublishedPort, Transport};
use std::path::Path;

/// How long browsers keep to TLS where nothing is said: half a year.
const HSTS_MAX_AGE: DurationMs = DurationMs::from_secs(180 * 86_400);
/// The least with which browsers take a host into their lists.
const HSTS_PRELOADED: DurationMs = DurationMs::from_secs(365 * 86_400);
/// Names of one certificate, as authorities allow them.
const MAX_HOSTS: usize = 100;

pub(super) fn policy(
    node: &Node,
    ports: &[PublishedPort],
    directory: &Path,
    sink: &mut Sink,
) -> Option<TlsPolicy> {
    let extension = node.get("x-juchu")?;
    let node = extension.get("tls")?;
    let routes = extension.get("gateway").and_then(|gateway| gateway.get("routes"));
    let routes = routes.map(Node::items).unwrap_or_default();
    if matches!(word(node, "from").or(node.as_text()), Some("off")) {
        return None;
    }
    let source = source(node, directory, sink)?;
    let policy = TlsPolicy {
        hosts: hosts(node, &source, sink),
        ports: declared_ports(node, ports, routes, sink),
        redirect: flag(node, "redirect"),
        hsts: node.get("hsts").and_then(|node| hsts(node, sink)),
        source,
    };
    if policy.hosts.is_empty() && matches!(policy.source, CertificateSource::Auto(_)) {
        let hint = "name them: `hosts: [shop.example.org]`; they have to lead to this machine";
        sink.error_hint(node.pos, "`x-juchu.tls` from an authority needs its hosts", hint);
    }
    if routes.is_empty() && !ports.iter().any(|port| port.transport == Transport::Tcp) {
        let hint = "publish one: `ports: [\"443:8080\"]`";
        sink.error_hint(node.pos, "`x-juchu.tls` has no published TCP port to speak it on", hint);
    }
    Some(policy)
}

/// The value of the header field, as RFC 6797 has it.
fn hsts(node: &Node, sink: &mut Sink) -> Option<String> {
    if node.scalar_text().as_deref() == Some("false") {
        return None;
    }
    let max_age = duration(node, "max_age").unwrap_or(HSTS_MAX_AGE);
    let (subdomains, preload) = (flag(node, "subdomains"), flag(node, "preload"));
    if preload && (!subdomains || max_age < HSTS_PRELOADED) {
        let hint = "add `subdomains: true` and `max_age: 8760h`, which the lists of browsers ask for";
        sink.error_hint(node.pos, "`preload` is for all names below and for a year at least", hint);
    }
    let mut value = format!("max-age={}", max_age.0 / 1000);
    value.push_str(if subdomains { "; includeSubDomains" } else { "" });
    value.push_str(if preload { "; preload" } else { "" });
    Some(value)
}

fn word<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.get(key).and_then(Node::as_text)
}

fn source(node: &Node, directory: &Path, sink: &mut Sink) -> Option<CertificateSource> {
    let file = |key: &str| word(node, key).map(|text| directory.join(text).to_string_lossy().into_owned());
    match (file("certificate"), file("key")) {
        (Some(certificate), Some(key)) => return Some(CertificateSource::Files { certificate, key }),
        (None, None) => {}
        _ => {
            let hint = "name two files in PEM: `certificate: shop.pem` and `key: shop.key`";
            sink.error_hint(node.pos, "`x-juchu.tls` needs both `certificate` and `key`", hint);
            return None;
        }
    }
    match word(node, "from").or(node.as_text()) {
        Some("internal") => Some(CertificateSource::Internal),
        Some("auto") => auto(node, directory, sink),
        _ => {
            let hint = "write `internal`, or `from: auto` with `hosts`, or `certificate` and `key`";
            sink.error_hint(node.pos, "`x-juchu.tls` does not say where its certificate comes from", hint);
            None
        }
    }
}

fn auto(node: &Node, directory: &Path, sink: &mut Sink) -> Option<CertificateSource> {
    if !flag(node, "accept_terms") {
        let hint = "read the authority's terms, then add `accept_terms: true`; `internal` needs none";
        sink.error_hint(node.pos, "`x-juchu.tls` from an authority needs its terms accepted", hint);
        return None;
    }
    let challenge = match word(node, "challenge") {
        Some("http") => Some(Challenge::Http),
        Some("tls") => Some(Challenge::Tls),
        _ => None,
    };
    if let Some(url) = node.get("directory")
        && !url.as_text().is_some_and(|url| url.starts_with("https://"))
    {
        sink.error_hint(
            url.pos,
            "the directory of an authority is an https address",
            "write `directory: https://…`",
        );
    }
    Some(CertificateSource::Auto(Acme {
        email: word(node, "email").map(str::to_owned),
        directory: word(node, "directory").map(str::to_owned),
        trust: word(node, "trust").map(|text| directory.join(text).to_string_lossy().into_owned()),
        challenge,
    }))
}

fn hosts(node: &Node, source: &CertificateSource, sink: &mut Sink) -> Vec<String> {
    let Some(declared) = node.get("hosts") else { return Vec::new() };
    let hosts: Vec<String> = text_list(Some(declared)).iter().map(|h| h.to_ascii_lowercase()).collect();
    let is_auto = matches!(source, CertificateSource::Auto(_));
    for host in &hosts {
        if let Some(wrong) = wrong(host, is_auto) {
            sink.error_hint(
                declared.pos,
                format!("`{host}` in `hosts` {wrong}"),
                "write names as shop.example.org",
            );
        }
    }
    if hosts.len() > MAX_HOSTS {
        sink.error(
            declared.pos,
            format!("`hosts` has {} names; one certificate has at most {MAX_HOSTS}", hosts.len()),
        );
    }
    hosts
}

/// What is wrong with a name, if anything is.
fn wrong(host: &str, is_auto: bool) -> Option<&'static str> {
    let (wildcard, name) = match host.strip_prefix("*.") {
        Some(rest) => (true, rest),
        None => (false, host),
    };
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    match () {
        () if is_address && is_auto => Some("is an address; authorities certify names"),
        () if is_address => None,
        () if name.len() > 253 || !name.split('.').all(is_label) => Some("is not a name"),
        () if is_auto && wildcard => Some("cannot be proved over HTTP or TLS; name each host"),
        () if is_auto && !name.contains('.') => Some("is not a name that others know"),
        () => None,
    }
}

/// Those that are named, each of them published.
fn declared_ports(node: &Node, ports: &[PublishedPort], routes: &[Node], sink: &mut Sink) -> Vec<u16> {
    let Some(declared) = node.get("ports") else { return Vec::new() };
    let mut found = Vec::new();
    let is_published = |port: u16| ports.iter().any(|p| p.transport == Transport::Tcp && p.published == port);
    let is_routed = |port: u16| {
        routes.iter().any(|route| match route.get("listen").and_then(Node::scalar_text) {
            Some(listen) => listen.rsplit(':').next().and_then(|text| text.parse().ok()) == Some(port),
            None => matches!(port, DEFAULT_PORT | SECURED_PORT),
        })
    };
    for text in text_list(Some(declared)) {
        let port = text.parse::<u16>().ok();
        match port.filter(|port| is_published(*port) || is_routed(*port)) {
            Some(port) => found.push(port),
            None => unpublished(declared.pos, &text, sink),
        }
    }
    found
}

fn unpublished(at: Pos, text: &str, sink: &mut Sink) {
    let hint = "name host ports, those before the colon in `ports`";
    sink.error_hint(at, format!("`{text}` in `x-juchu.tls.ports` is no published TCP port"), hint);
}
