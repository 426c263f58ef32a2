//! What can be known to fail before anything is done: so that nothing is left half-made.

use crate::ports::Machine;
use model::mount::MountSource;
use model::service::{NetworkMode, Transport};
use model::stack::FileSource;
use model::{ErrorKind, Release, Report, Stack};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

/// The first thing that stands in the way, in the order of the file.
pub fn check(
    stack: &Stack,
    previous: Option<&Release>,
    others: &[&Release],
    machine: &dyn Machine,
) -> Result<(), Report> {
    for service in stack.services.values() {
        for mount in &service.mounts {
            if let MountSource::Bind { path, create: false, .. } = &mount.source {
                exists(path).map_err(|why| bind_missing(service.name.as_str(), path, &why))?;
            }
        }
        if let NetworkMode::Service { service: target } = &service.network_mode
            && !stack.services.contains_key(target)
        {
            return Err(Report::usage(format!(
                "service {}: network_mode names {target}, which is not declared",
                service.name
            )));
        }
    }
    files(stack)?;
    external(stack)?;
    ports(stack, previous, others, machine)
}

fn exists(path: &Path) -> Result<(), String> {
    std::fs::metadata(path).map(|_| ()).map_err(|error| error.to_string())
}

fn bind_missing(service: &str, path: &Path, why: &str) -> Report {
    Report::usage(format!("service {service}: the bind source {} cannot be used: {why}", path.display()))
        .hint(format!("mkdir -p {}", path.display()))
}

fn files(stack: &Stack) -> Result<(), Report> {
    let all = stack.configs.iter().map(|c| ("config", c)).chain(stack.secrets.iter().map(|s| ("secret", s)));
    for (kind, (name, source)) in all {
        match source {
            FileSource::Inline(_) => {}
            FileSource::File(path) => {
                let meta = std::fs::metadata(path).map_err(|error| {
                    Report::usage(format!("{kind} {name}: {}: {error}", path.display())).hint(format!(
                        "create the file, or correct `{kind}s.{name}.file` in the Compose file"
                    ))
                })?;
                if !meta.is_file() {
                    return Err(Report::usage(format!("{kind} {name}: {} is not a file", path.display())));
                }
            }
            FileSource::External(key) => {
                return Err(Report::usage(format!(
                    "{kind} {name}: external {kind}s such as `{key}` are not available on this host"
                ))
                .hint(format!("give `{kind}s.{name}` a `file:`, `environment:` or `content:`")));
            }
        }
    }
    Ok(())
}

fn external(stack: &Stack) -> Result<(), Report> {
    match stack.networks.iter().find(|(_, n)| n.external) {
        Some((key, network)) => Err(Report::usage(format!(
            "network {key}: joining the external network `{}` is not available yet",
            network.name
        ))
        .hint(format!("remove `external: true` from `networks.{key}`"))),
        None => Ok(()),
    }
}

/// Published ports: no two services, no other stack, nobody else on this machine.
fn ports(
    stack: &Stack,
    previous: Option<&Release>,
    others: &[&Release],
    machine: &dyn Machine,
) -> Result<(), Report> {
    let mut wanted: Vec<(SocketAddr, &str)> = Vec::new();
    let already: Vec<SocketAddr> =
        previous.into_iter().flat_map(|r| published(&r.stack)).map(|(a, _)| a).collect();
    for (address, service) in published(stack) {
        if let Some((_, other)) = wanted.iter().find(|(a, _)| overlap(*a, address)) {
            return Err(Report::usage(format!(
                "port {} is published by both {other} and {service}",
                address.port()
            ))
            .hint("give one of them another host port under `ports`"));
        }
        wanted.push((address, service));
        for other in others {
            if published(&other.stack).any(|(a, _)| overlap(a, address)) {
                let text = format!(
                    "service {service}: port {} is published by the stack {}",
                    address.port(),
                    other.stack.name
                );
                return Err(Report::environment(text).hint(format!(
                    "publish another port under `ports`, or stop that one: `juchu -p {} stop`",
                    other.stack.name
                )));
            }
        }
        let ours = already.iter().any(|a| overlap(*a, address));
        if let Some(why) = (!ours).then(|| machine.port_in_use(address)).flatten() {
            let text = format!("service {service}: port {} cannot be published: {why}", address.port());
            return Err(Report::new(ErrorKind::Environment, text).hint(format!(
                "see who holds it with `ss -ltnp 'sport = :{}'`, or publish another port",
                address.port()
            )));
        }
    }
    Ok(())
}

/// TCP ports of the host that a stack asks for by number.
pub fn published(stack: &Stack) -> impl Iterator<Item = (SocketAddr, &str)> {
    stack.services.values().flat_map(|service| {
        let fixed = service.ports.iter().filter(|p| p.transport == Transport::Tcp && p.published != 0);
        fixed.map(|p| {
            let host = p.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            (SocketAddr::new(host, p.published), service.name.as_str())
        })
    })
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}
