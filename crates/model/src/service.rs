//! One declared service. Optional fields mean "not declared"; defaults are applied by the reader
//! named in the field's comment, so that a diff shows what a person wrote.

use crate::certificate::TlsPolicy;
use crate::gateway::GatewayPolicy;
use crate::image::ImageSource;
use crate::metrics::MetricsEndpoint;
use crate::mount::{FileGrant, Mount};
use crate::objective::Objectives;
use crate::probe::Probe;
use crate::range::Ranges;
use crate::watch::WatchRule;
use crate::{Bytes, Cpus, DurationMs, NetworkName, Percent, ServiceName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    pub name: ServiceName,
    pub image: ImageSource,
    /// `os/arch[/variant]`, when declared.
    #[serde(default)]
    pub platform: Option<String>,
    /// Replaces the image's command.
    #[serde(default)]
    pub command: Option<Vec<String>>,
    /// Replaces the image's entry point (and clears its command).
    #[serde(default)]
    pub entrypoint: Option<Vec<String>>,
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    #[serde(default)]
    pub ports: Vec<PublishedPort>,
    #[serde(default)]
    pub expose: Vec<ExposedPort>,
    #[serde(default)]
    pub mounts: Vec<Mount>,
    #[serde(default)]
    pub configs: Vec<FileGrant>,
    #[serde(default)]
    pub secrets: Vec<FileGrant>,
    #[serde(default)]
    pub depends_on: BTreeMap<ServiceName, Dependency>,
    #[serde(default)]
    pub healthcheck: Option<Healthcheck>,
    #[serde(default)]
    pub network_mode: NetworkMode,
    /// Networks joined when `network_mode` is `stack`; never empty then.
    #[serde(default)]
    pub networks: BTreeMap<NetworkName, Attachment>,
    #[serde(default)]
    pub restart: RestartPolicy,
    /// `links` with an alias and `external_links`: the name this service uses → the name meant.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<String, String>,
    /// 1 unless `deploy.replicas` or `scale` says otherwise.
    pub replicas: u32,
    #[serde(default)]
    pub resources: Resources,
    #[serde(default)]
    pub update: UpdateConfig,
    /// `deploy.rollback_config`: what differs from `update` when an earlier release is gone back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<UpdateConfig>,
    #[serde(default)]
    pub process: ProcessSettings,
    /// How long a stop may take before it is forced (Compose: 10 s).
    pub stop_grace: DurationMs,
    /// It was declared, and is not what Compose gives where nothing is said.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stop_grace_given: bool,
    #[serde(default, skip_serializing_if = "Hooks::is_empty")]
    pub hooks: Hooks,
    #[serde(default)]
    pub stop_signal: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub policy: ServicePolicy,
    /// `develop.watch`. It is read by the command that watches, where the files are: what runs does
    /// not depend on it, so it is neither sent to the daemon nor kept in the journal.
    #[serde(skip)]
    pub watch: Vec<WatchRule>,
}

/// What the kernel is asked for when the program starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessSettings {
    pub user: Option<String>,
    pub working_dir: Option<String>,
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    pub container_name: Option<String>,
    pub init: bool,
    pub read_only: bool,
    pub tty: bool,
    pub stdin_open: bool,
    pub privileged: bool,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub group_add: Vec<String>,
    /// Name → (soft, hard); -1 is "unlimited".
    pub ulimits: BTreeMap<String, (i64, i64)>,
    pub sysctls: BTreeMap<String, String>,
    /// Host name → addresses.
    pub extra_hosts: BTreeMap<String, Vec<String>>,
    pub dns: Vec<IpAddr>,
    pub dns_search: Vec<String>,
    pub dns_opt: Vec<String>,
    pub shm_size: Option<Bytes>,
    pub devices: Vec<Device>,
    pub oom_score_adj: Option<i32>,
    pub no_new_privileges: bool,
    /// `seccomp=unconfined` was asked for.
    pub seccomp_unconfined: bool,
    /// `pid: host`.
    pub host_pid: bool,
    /// `ipc: host`.
    pub host_ipc: bool,
    /// `pid: service:NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid_of: Option<ServiceName>,
    /// `ipc: service:NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipc_of: Option<ServiceName>,
    /// `uts: host`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub host_uts: bool,
    /// `cgroup: host`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub host_cgroup: bool,
    /// `device_cgroup_rules`: `c 1:3 rwm`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_cgroup_rules: Vec<String>,
    /// Content of the file in `seccomp=FILE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp_profile: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Commands run inside an instance at turns of its life.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hooks {
    /// One after the other, right after its program runs; until they have ended it is not ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub post_start: Vec<Hook>,
    /// One after the other, before the stop signal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pre_stop: Vec<Hook>,
}

impl Hooks {
    pub fn is_empty(&self) -> bool {
        self.post_start.is_empty() && self.pre_stop.is_empty()
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hook {
    pub command: Vec<String>,
    pub user: Option<String>,
    pub privileged: bool,
    pub working_dir: Option<String>,
    pub environment: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub source: String,
    pub target: String,
    pub permissions: String,
}

/// A port of the service that people outside reach on this host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Port inside the instance.
    pub target: u16,
    /// Port on the host; 0 asks for any free one.
    pub published: u16,
    /// When not 0: any free one from `published` to this.
    #[serde(default, skip_serializing_if = "is_no_port")]
    pub published_last: u16,
    /// Address on the host; all of them when absent.
    #[serde(default)]
    pub host_ip: Option<IpAddr>,
    #[serde(default)]
    pub transport: Transport,
    /// From `app_protocol` or `x-juchu`.
    #[serde(default)]
    pub protocol: Protocol,
    /// Instances speak HTTP/2 here, from the first byte on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub http2: bool,
}

fn is_no_port(port: &u16) -> bool {
    *port == 0
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExposedPort {
    pub port: u16,
    pub transport: Transport,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    #[default]
    Tcp,
    Udp,
}

/// What is spoken on a TCP port. `Auto` looks at the first bytes of each connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Auto,
    Http,
    Tcp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    pub condition: Condition,
    /// When false, a missing or failing dependency is only a warning.
    pub required: bool,
    /// Restart this service when the dependency was replaced.
    pub restart: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    ServiceStarted,
    ServiceHealthy,
    ServiceCompletedSuccessfully,
}

/// How the platform finds out that an instance works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healthcheck {
    pub test: HealthTest,
    /// 30 s unless declared.
    #[serde(default)]
    pub interval: Option<DurationMs>,
    /// 30 s unless declared.
    #[serde(default)]
    pub timeout: Option<DurationMs>,
    /// 3 unless declared.
    #[serde(default)]
    pub retries: Option<u32>,
    /// 0 unless declared; failures within it do not count.
    #[serde(default)]
    pub start_period: Option<DurationMs>,
    /// 5 s unless declared; the interval within the start period.
    #[serde(default)]
    pub start_interval: Option<DurationMs>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum HealthTest {
    /// `disable: true` or `["NONE"]`: also switches off the image's own.
    None,
    /// `["CMD", …]`.
    Exec { argv: Vec<String> },
    /// `["CMD-SHELL", text]` or a plain string: `/bin/sh -c text`.
    Shell { script: String },
    /// `x-juchu.health: {http: …}`: a GET from the host; 2xx and 3xx are healthy.
    Http { port: u16, path: String },
    /// `x-juchu.health: {tcp: …}`: a connection from the host.
    Tcp { port: u16 },
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum NetworkMode {
    /// On the stack's networks.
    #[default]
    Stack,
    Host,
    None,
    /// Shares the network of another service.
    Service {
        service: ServiceName,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attachment {
    pub aliases: Vec<String>,
    pub ipv4_address: Option<IpAddr>,
    /// `02:42:ac:11:65:43`; one that follows from the address unless declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<String>,
    /// `ethN` unless declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface_name: Option<String>,
    /// 169.254.0.0/16 addresses beside its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub link_local_ips: Vec<IpAddr>,
    /// Networks are joined from the highest to the lowest, then by name.
    #[serde(skip_serializing_if = "is_no_priority")]
    pub priority: i64,
    /// The highest has the default route; without one the first joined that has a way out.
    #[serde(skip_serializing_if = "is_no_priority")]
    pub gw_priority: i64,
}

fn is_no_priority(priority: &i64) -> bool {
    *priority == 0
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RestartPolicy {
    #[default]
    No,
    Always,
    OnFailure {
        #[serde(default)]
        max_retries: Option<u32>,
    },
    UnlessStopped,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    pub cpus: Option<Cpus>,
    /// `cpu_shares`, 2–262144.
    pub cpu_shares: Option<u64>,
    /// `cpuset`, such as `0-1`.
    pub cpuset: Option<String>,
    pub memory: Option<Bytes>,
    pub memory_reservation: Option<Bytes>,
    /// `memswap_limit`: memory and swap together; -1 is unlimited.
    pub memory_swap: Option<i64>,
    pub pids: Option<i64>,
    /// `cpu_quota`, microseconds in each period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_quota_us: Option<i64>,
    /// `cpu_period`, 100 000 unless declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_period_us: Option<u64>,
    /// `mem_swappiness`, 0–100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swappiness: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub oom_kill_disable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_io: Option<Box<BlockIo>>,
}

/// `blkio_config`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockIo {
    /// 10–1000.
    pub weight: Option<u16>,
    pub weight_device: Vec<DeviceNumber>,
    /// Bytes in a second.
    pub device_read_bps: Vec<DeviceNumber>,
    pub device_write_bps: Vec<DeviceNumber>,
    /// Operations in a second.
    pub device_read_iops: Vec<DeviceNumber>,
    pub device_write_iops: Vec<DeviceNumber>,
}

/// What holds for one device of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNumber {
    pub path: String,
    pub number: u64,
}

/// `deploy.update_config`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateConfig {
    /// `start-first` unless a volume has one writer or a port is the host's.
    pub order: Option<UpdateOrder>,
    pub parallelism: Option<u32>,
    pub delay: Option<DurationMs>,
    pub monitor: Option<DurationMs>,
    pub failure_action: Option<FailureAction>,
    pub max_failure_ratio: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateOrder {
    StartFirst,
    StopFirst,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureAction {
    Continue,
    Rollback,
    Pause,
}

/// `x-juchu` of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServicePolicy {
    /// Names resolve to the instances themselves; traffic does not pass the gateway.
    pub direct: bool,
    /// `restart` unless declared.
    pub on_unhealthy: Option<OnUnhealthy>,
    /// How long a new instance may take to become ready (default 60 s beyond its start period).
    pub ready_timeout: Option<DurationMs>,
    pub log: LogPolicy,
    #[serde(skip_serializing_if = "RolloutPolicy::is_default")]
    pub rollout: RolloutPolicy,
    /// How long requests and connections wait while no instance can take them (default: not at all).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<DurationMs>,
    /// Published ports speak TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsPolicy>,
    #[serde(skip_serializing_if = "GatewayPolicy::is_default")]
    pub gateway: GatewayPolicy,
    /// Where its instances show metrics of their own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricsEndpoint>,
    /// Addresses that are asked again and again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<Probe>,
    /// What is normal, by signal.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ranges: Ranges,
    /// What it promises.
    #[serde(skip_serializing_if = "Objectives::is_empty")]
    pub objectives: Objectives,
}

/// `x-juchu.rollout`: how a new release takes over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RolloutPolicy {
    /// Share of new connections and requests that the first new instance gets; none: no canary.
    pub canary: Option<Percent>,
    /// How long the canary has its share (30 s).
    pub canary_time: Option<DurationMs>,
    /// Successful probes in a row that make an instance healthy (1).
    pub probes: Option<u32>,
    /// How long a new instance must have been ready before it takes traffic over (500 ms).
    pub min_healthy: Option<DurationMs>,
    /// How long the replaced release is kept running, without traffic, to go back to (5 min).
    pub warm: Option<DurationMs>,
    /// How long what is under way at a replaced instance may take to end (30 s).
    pub drain: Option<DurationMs>,
    /// How the new release is compared with the one before while both serve; none: only while a
    /// canary has its share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgePolicy>,
}

impl RolloutPolicy {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// How it is judged with shares that grow, if it is.
    pub fn trial(&self) -> Option<&JudgePolicy> {
        self.judge.as_ref().filter(|judge| !judge.off)
    }

    /// One new instance serves beside an old one before it takes its place.
    pub fn serves_beside(&self) -> bool {
        self.canary.is_some() || self.trial().is_some()
    }

    /// What both do meanwhile is compared.
    pub fn is_compared(&self) -> bool {
        self.serves_beside() && !self.judge.as_ref().is_some_and(|judge| judge.off)
    }
}

/// `x-juchu.rollout.judge`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JudgePolicy {
    /// `false`: nothing is compared, not even a canary.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub off: bool,
    /// How long it takes at most (10 min).
    pub limit: Option<DurationMs>,
    /// For how long only an outage counts (30 s).
    pub cold_start: Option<DurationMs>,
    pub without_traffic: WithoutTraffic,
    /// What both releases are asked where people ask them too little.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ask: Vec<Asked>,
}

/// An address of a service that may be asked at any time, as asking changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    pub port: u16,
    /// With its `/` in front.
    pub path: String,
}

/// What follows when there was too little traffic to say anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithoutTraffic {
    #[default]
    Keep,
    /// Until the limit, then it is kept.
    Wait,
    Rollback,
    /// The rollout is halted: people decide.
    Pause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnhealthy {
    /// Take out of traffic, then restart.
    Restart,
    /// Take out of traffic, leave running.
    Drain,
    /// Go back to the last kept release.
    Rollback,
    None,
}

/// Caps of an instance's output on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogPolicy {
    /// Size of one file (10 MiB).
    pub max_size: Option<Bytes>,
    /// Number of files kept (3).
    pub max_files: Option<u32>,
    /// `logging: {driver: none}`: nothing is kept.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub off: bool,
}
