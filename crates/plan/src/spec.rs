//! From a declared service and its image to the exact specification of one instance.

use crate::input::{Foreign, Settings};
use model::image::ImageConfig;
use model::instance::{InstanceNetwork, InstanceSpec, Link, NetworkSpec, PlacedFile, ResolvedMount};
use model::mount::{FileGrant, MountSource};
use model::release::NetworkAddresses;
use model::service::{Attachment, NetworkMode, ProcessSettings, UpdateOrder};
use model::{Bytes, Digest, InstanceId, NetworkName, Release, Service, StackName};
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// Size of one log file unless declared.
pub const LOG_SIZE: Bytes = Bytes::mib(10);
/// Number of log files kept for an instance unless declared.
pub const LOG_FILES: u32 = 3;
/// What a program finds in `PATH` when its image does not say.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How a service is on a network, and the gateway and prefix that tell its subnet.
type OnNetwork<'a> = (&'a model::service::Attachment, Option<(Ipv4Addr, u8)>);

/// What must be equal for two instances to be interchangeable. Ports, replicas, health checks and
/// policies are not in it: they change without a new instance.
#[derive(Serialize)]
struct Interchangeable<'a> {
    image: &'a Digest,
    command: &'a Option<Vec<String>>,
    entrypoint: &'a Option<Vec<String>>,
    environment: &'a BTreeMap<String, String>,
    mounts: &'a [model::mount::Mount],
    files: Vec<(&'static str, &'a FileGrant, Option<&'a Digest>)>,
    network_mode: &'a NetworkMode,
    networks: BTreeMap<&'a NetworkName, OnNetwork<'a>>,
    resources: &'a model::service::Resources,
    process: &'a ProcessSettings,
    stop_signal: &'a Option<String>,
    log: &'a model::service::LogPolicy,
    volumes: Vec<&'a model::stack::Volume>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hooks: Option<&'a model::service::Hooks>,
}

/// The hash that tells whether an instance is what the release wants of one of its services.
pub fn spec_hash(release: &Release, service: &Service) -> Digest {
    let all = || {
        let services = release.stack.services.values().filter(|s| release.images.contains_key(&s.name));
        services.map(|s| (s.name.clone(), compute_hash(release, s))).collect()
    };
    let known = release.hashes.get_or(all).get(&service.name);
    known.cloned().unwrap_or_else(|| compute_hash(release, service))
}

fn compute_hash(release: &Release, service: &Service) -> Digest {
    let networks = service.networks.iter().map(|(name, attachment)| {
        let subnet = release.addresses.get(name).map(|a| (a.gateway, a.prefix_len));
        (name, (attachment, subnet))
    });
    let volumes = service.mounts.iter().filter_map(|m| match &m.source {
        MountSource::Volume { name, .. } => release.stack.volumes.values().find(|v| v.name == *name),
        _ => None,
    });
    let content = Interchangeable {
        image: &release.images[&service.name].manifest,
        command: &service.command,
        entrypoint: &service.entrypoint,
        environment: &service.environment,
        mounts: &service.mounts,
        files: grants(service).map(|(kind, g)| (kind, g, release.files.get(&file_key(kind, g)))).collect(),
        network_mode: &service.network_mode,
        networks: networks.collect(),
        resources: &service.resources,
        process: &service.process,
        stop_signal: &service.stop_signal,
        log: &service.policy.log,
        volumes: volumes.collect(),
        hooks: Some(&service.hooks).filter(|hooks| !hooks.is_empty()),
    };
    Digest::of(&serde_json::to_vec(&content).expect("plain data always serialises"))
}

/// Configs and secrets of a service with the word for their kind.
pub fn grants(service: &Service) -> impl Iterator<Item = (&'static str, &FileGrant)> {
    let configs = service.configs.iter().map(|g| ("config", g));
    configs.chain(service.secrets.iter().map(|g| ("secret", g)))
}

/// The key of a grant's content in `Release::files`.
pub fn file_key(kind: &str, grant: &FileGrant) -> String {
    format!("{kind}/{}", grant.source)
}

/// The identity and the addresses that one instance gets.
pub struct Seat {
    pub id: InstanceId,
    pub slot: u32,
    /// One for each network of the service, in its order.
    pub addresses: BTreeMap<NetworkName, Ipv4Addr>,
    /// For `network_mode: service`, whose network it joins.
    pub joins: Option<InstanceId>,
    /// The same for `ipc: service:NAME` and `pid: service:NAME`.
    pub ipc_of: Option<InstanceId>,
    pub pid_of: Option<InstanceId>,
}

/// The whole specification of an instance of `service`.
pub fn instance_spec(release: &Release, service: &Service, seat: Seat, settings: &Settings) -> InstanceSpec {
    let image = &release.images[&service.name];
    let config = &image.config;
    let process = ProcessSettings {
        user: service.process.user.clone().or_else(|| non_empty(&config.user)),
        working_dir: service.process.working_dir.clone().or_else(|| non_empty(&config.working_dir)),
        ..service.process.clone()
    };
    let log = &service.policy.log;
    InstanceSpec {
        hostname: process.hostname.clone().unwrap_or_else(|| seat.id.to_string()),
        stack: release.stack.name.clone(),
        service: service.name.clone(),
        slot: seat.slot,
        release: release.id,
        spec_hash: spec_hash(release, service),
        image: image.manifest.clone(),
        layers: image.layers.clone(),
        argv: argv_of(service, config),
        environment: environment(release, service),
        process,
        resources: service.resources.clone(),
        mounts: mounts(release, service),
        files: files(release, service, settings),
        network: network(release, service, &seat),
        ipc_of: seat.ipc_of,
        pid_of: seat.pid_of,
        stop_signal: service
            .stop_signal
            .clone()
            .or_else(|| config.stop_signal.clone())
            .unwrap_or_else(|| "SIGTERM".to_owned()),
        stop_grace_ms: service.stop_grace.0,
        hooks: service.hooks.clone(),
        log_max_bytes: log.max_size.unwrap_or(LOG_SIZE).0,
        log_max_files: if log.off { 0 } else { log.max_files.unwrap_or(LOG_FILES).max(1) },
        labels: service.labels.clone(),
        image_config: config.clone(),
        id: seat.id,
    }
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Entry point and command together, by Compose's rule: a declared entry point clears the image's
/// command.
pub fn argv_of(service: &Service, config: &ImageConfig) -> Vec<String> {
    let (head, tail) = match (&service.entrypoint, &service.command) {
        (Some(entrypoint), command) => (entrypoint.clone(), command.clone().unwrap_or_default()),
        (None, Some(command)) => (config.entrypoint.clone(), command.clone()),
        (None, None) => (config.entrypoint.clone(), config.command.clone()),
    };
    head.into_iter().chain(tail).collect()
}

fn environment(release: &Release, service: &Service) -> BTreeMap<String, String> {
    let mut all = release.images[&service.name].config.environment.clone();
    all.extend(service.environment.clone());
    all.entry("PATH".to_owned()).or_insert_with(|| DEFAULT_PATH.to_owned());
    all
}

/// Declared mounts, and an anonymous volume for each the image asks for; outer paths first.
fn mounts(release: &Release, service: &Service) -> Vec<ResolvedMount> {
    let mut all: Vec<ResolvedMount> = service
        .mounts
        .iter()
        .map(|m| ResolvedMount {
            source: m.source.clone(),
            target: m.target.clone(),
            read_only: m.read_only,
            options: m.options.clone(),
            volume_options: volume_options(release, &m.source),
        })
        .collect();
    for target in &release.images[&service.name].config.volumes {
        if !all.iter().any(|m| m.target.trim_end_matches('/') == target.trim_end_matches('/')) {
            let source = MountSource::Anonymous;
            all.push(ResolvedMount {
                source,
                target: target.clone(),
                read_only: false,
                options: Vec::new(),
                volume_options: BTreeMap::new(),
            });
        }
    }
    all.sort_by_key(|m| m.target.trim_end_matches('/').matches('/').count());
    all
}

/// What the declaration of a named volume says of how it is mounted.
fn volume_options(release: &Release, source: &MountSource) -> BTreeMap<String, String> {
    let MountSource::Volume { name, .. } = source else { return BTreeMap::new() };
    let volume = release.stack.volumes.values().find(|volume| volume.name == *name);
    volume.map(|volume| volume.options.clone()).unwrap_or_default()
}

fn files(release: &Release, service: &Service, settings: &Settings) -> Vec<PlacedFile> {
    grants(service)
        .filter_map(|(kind, grant)| {
            let digest = release.files.get(&file_key(kind, grant))?;
            Some(PlacedFile {
                source: settings.files.join(digest.hex()),
                target: grant.target.clone(),
                uid: grant.uid.unwrap_or(0),
                gid: grant.gid.unwrap_or(0),
                mode: grant.mode.unwrap_or(0o444),
            })
        })
        .collect()
}

fn network(release: &Release, service: &Service, seat: &Seat) -> InstanceNetwork {
    match (&service.network_mode, &seat.joins) {
        (NetworkMode::Host, _) => InstanceNetwork::Host,
        (NetworkMode::None, _) => InstanceNetwork::None,
        (NetworkMode::Service { .. }, Some(id)) => InstanceNetwork::Instance { id: id.clone() },
        (NetworkMode::Service { .. }, None) => InstanceNetwork::None,
        (NetworkMode::Stack, _) => links(release, service, seat),
    }
}

/// A network that a service joins.
struct Joined<'a> {
    network: &'a NetworkAddresses,
    attachment: &'a Attachment,
    address: Ipv4Addr,
    /// `ethN`, in the order in which networks are joined.
    number: usize,
}

fn links(release: &Release, service: &Service, seat: &Seat) -> InstanceNetwork {
    let mut all: Vec<(&NetworkName, &Attachment)> = service.networks.iter().collect();
    all.sort_by_key(|(name, attachment)| (-attachment.priority, *name));
    let known = all.into_iter().filter_map(|(name, attachment)| {
        Some((release.addresses.get(name)?, attachment, *seat.addresses.get(name)?))
    });
    let mut joined: Vec<Joined<'_>> = known
        .enumerate()
        .map(|(number, (network, attachment, address))| Joined { network, attachment, address, number })
        .collect();
    // The first has the default route, if it has a way out.
    joined.sort_by_key(|j| (j.network.internal, -j.attachment.gw_priority, j.number));
    let gateway = joined.first().map(|j| IpAddr::V4(j.network.gateway));
    let links = joined.iter().enumerate().map(|(place, joined)| link(joined, place)).collect();
    // Everything is asked of the gateway, which asks the servers of `dns`.
    InstanceNetwork::Links { links, dns: gateway.into_iter().collect() }
}

fn link(joined: &Joined<'_>, place: usize) -> Link {
    let Joined { network, attachment, address, number } = joined;
    let is_elsewhere = place != *number;
    let own_name = attachment.interface_name.clone();
    Link {
        mac: attachment.mac_address.clone(),
        interface: own_name.or_else(|| is_elsewhere.then(|| format!("eth{number}"))),
        link_local: attachment.link_local_ips.clone(),
        ..Link::new(network_spec(network, &Foreign::default()), IpAddr::V4(*address))
    }
}

/// A network as the engine is told of it, with what other stacks have on it.
pub fn network_spec(network: &NetworkAddresses, foreign: &Foreign) -> NetworkSpec {
    let others = foreign.virtual_addresses.get(&network.bridge).into_iter().flatten();
    let mut virtual_addresses: Vec<IpAddr> =
        network.services.values().chain(others).map(|a| IpAddr::V4(*a)).collect();
    virtual_addresses.sort();
    virtual_addresses.dedup();
    NetworkSpec {
        bridge: network.bridge.clone(),
        gateway: IpAddr::V4(network.gateway),
        prefix_len: network.prefix_len,
        internal: network.internal,
        virtual_addresses,
        mtu: network.mtu,
    }
}

/// The id of an instance made by plan `number`: never the same for two instances of a host,
/// because a stack's plan numbers only grow and its name is part of it.
pub fn instance_id(stack: &StackName, service: &Service, slot: u32, number: u64, made: i64) -> InstanceId {
    let digest = Digest::of(format!("{stack}\0{}\0{slot}\0{number}\0{made}", service.name).as_bytes());
    InstanceId::new(digest.short()).expect("hexadecimal digits are a valid id")
}

/// Start-first unless something of the service can have one holder only.
pub fn update_order(service: &Service) -> UpdateOrder {
    match service.update.order {
        Some(order) => order,
        None if held_alone(service).is_some() => UpdateOrder::StopFirst,
        None => UpdateOrder::StartFirst,
    }
}

/// What of the service only one instance can hold at a time, in words.
pub fn held_alone(service: &Service) -> Option<String> {
    let written = service.mounts.iter().filter(|m| !m.read_only).find_map(|m| match &m.source {
        MountSource::Volume { name, .. } => Some(format!("it writes to the volume {name}")),
        MountSource::Bind { path, .. } => Some(format!("it writes to {}", path.display())),
        _ => None,
    });
    let fixed = service.networks.values().find_map(|a| {
        let ip = a.ipv4_address.map(|address| address.to_string());
        ip.or_else(|| a.mac_address.clone())
    });
    let fixed = fixed.map(|address| format!("it has the fixed address {address}"));
    let host = match &service.network_mode {
        NetworkMode::Host => Some("it uses the network of this host".to_owned()),
        NetworkMode::Service { service } => Some(format!("it shares the network of {service}")),
        NetworkMode::Stack | NetworkMode::None => None,
    };
    written.or(fixed).or(host)
}
