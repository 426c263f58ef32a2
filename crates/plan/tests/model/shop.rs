//! The stack of a case: services of several kinds, with policies as people might declare them, and
//! the changes that are made to their file.

use crate::journal::Declared;
use crate::machine::PORT;
use crate::program::{CONFIGURATION, Program, Programs, SLOWEST_MS};
use crate::random::Random;
use crate::schedule::Edit;
use model::image::{BuiltImage, ImageConfig, ImageSource, PullPolicy};
use model::mount::{Mount, MountSource};
use model::service::*;
use model::stack::{Network, Volume};
use model::{
    Digest, DurationMs, NetworkName, Percent, Release, ReleaseId, Service, ServiceName, Stack, StackName,
    Timestamp, VolumeName,
};
use std::collections::BTreeMap;

/// What a service is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Published on a host port.
    Web,
    /// Reached by the others.
    Api,
    /// Writes to a volume that has one writer.
    Db,
    /// Has no port.
    Worker,
    /// Runs to its end.
    Job,
}

const KINDS: [(&str, Kind); 6] = [
    ("api", Kind::Api),
    ("db", Kind::Db),
    ("job", Kind::Job),
    ("site", Kind::Web),
    ("web", Kind::Web),
    ("worker", Kind::Worker),
];

/// Renamed services keep the beginning of their names.
fn kind(name: &ServiceName) -> Kind {
    let known = KINDS.iter().find(|(text, _)| name.as_str().trim_end_matches(char::is_numeric) == *text);
    known.map_or(Kind::Worker, |(_, kind)| *kind)
}

pub fn is_job(name: &ServiceName) -> bool {
    kind(name) == Kind::Job
}

fn name(text: &str) -> ServiceName {
    ServiceName::new(text).expect("the model's own names are valid")
}

/// Some of the services, to begin with.
pub fn first(random: &mut Random) -> Declared {
    let mut file = Declared::new();
    for (text, _) in KINDS {
        if random.percent(if text == "web" { 85 } else { 35 }) {
            let service = service(random, &name(text), &file);
            file.insert(service.name.clone(), service);
        }
    }
    if file.is_empty() {
        let service = service(random, &name("web"), &file);
        file.insert(service.name.clone(), service);
    }
    file
}

fn service(random: &mut Random, name: &ServiceName, others: &Declared) -> Service {
    let kind = kind(name);
    let network = NetworkName::new("default").expect("valid");
    let mut service = Service {
        name: name.clone(),
        image: ImageSource::Pull { reference: format!("{name}:0"), policy: PullPolicy::Missing },
        platform: None,
        command: None,
        entrypoint: None,
        environment: BTreeMap::new(),
        ports: Vec::new(),
        expose: Vec::new(),
        mounts: Vec::new(),
        configs: Vec::new(),
        secrets: Vec::new(),
        depends_on: BTreeMap::new(),
        healthcheck: None,
        network_mode: NetworkMode::Stack,
        networks: BTreeMap::from([(network, Attachment::default())]),
        restart: RestartPolicy::UnlessStopped,
        links: BTreeMap::new(),
        replicas: 1,
        resources: Default::default(),
        update: Default::default(),
        rollback: None,
        process: Default::default(),
        stop_grace: DurationMs(random.mostly_low(50, 10_000)),
        stop_grace_given: false,
        hooks: Default::default(),
        stop_signal: None,
        labels: BTreeMap::new(),
        policy: Default::default(),
        watch: Default::default(),
    };
    match kind {
        Kind::Web => {
            let published = if name.as_str().starts_with("web") { 8001 } else { 8002 };
            service.ports.push(PublishedPort {
                target: PORT,
                published,
                host_ip: None,
                published_last: 0,
                transport: Transport::Tcp,
                protocol: Protocol::Auto,
                http2: false,
            });
        }
        Kind::Api | Kind::Db => {
            service.expose.push(ExposedPort { port: PORT, transport: Transport::Tcp });
        }
        Kind::Worker | Kind::Job => {}
    }
    if kind == Kind::Db {
        let name = VolumeName::new("shop_data").expect("valid");
        let source = MountSource::Volume { name, no_copy: false, subpath: None };
        service.mounts.push(Mount { source, target: "/data".into(), read_only: false, options: Vec::new() });
    }
    service.restart = match kind {
        Kind::Job => RestartPolicy::No,
        _ => random.weighted(&[
            (7, RestartPolicy::UnlessStopped),
            (2, RestartPolicy::Always),
            (1, RestartPolicy::OnFailure { max_retries: None }),
            (1, RestartPolicy::No),
        ]),
    };
    service.replicas = replicas(random, kind);
    if kind != Kind::Job && random.percent(45) {
        service.healthcheck = Some(healthcheck(random));
    }
    set_policies(random, &mut service);
    depend(random, &mut service, others);
    service
}

fn replicas(random: &mut Random, kind: Kind) -> u32 {
    match kind {
        Kind::Db | Kind::Job => 1,
        _ => random.weighted(&[(5, 1), (4, 2), (2, 3)]),
    }
}

fn healthcheck(random: &mut Random) -> Healthcheck {
    Healthcheck {
        test: HealthTest::Tcp { port: PORT },
        interval: Some(DurationMs(random.between(200, 2_000))),
        timeout: Some(DurationMs(500)),
        retries: Some(random.between(1, 3) as u32),
        // As long as the slowest good program takes.
        start_period: Some(DurationMs(random.between(SLOWEST_MS, 20_000))),
        start_interval: None,
    }
}

/// Dependencies point to services whose names come before, so that there are no circles.
fn depend(random: &mut Random, service: &mut Service, others: &Declared) {
    for other in others.values().filter(|o| o.name != service.name) {
        if !random.percent(30) {
            continue;
        }
        let condition = match kind(&other.name) {
            Kind::Job => Condition::ServiceCompletedSuccessfully,
            _ if random.percent(50) => Condition::ServiceHealthy,
            _ => Condition::ServiceStarted,
        };
        let dependency = Dependency { condition, required: true, restart: false };
        service.depends_on.insert(other.name.clone(), dependency);
    }
}

fn set_policies(random: &mut Random, service: &mut Service) {
    let kind = kind(&service.name);
    service.update = update(random, kind);
    service.rollback = random.percent(30).then(|| update(random, kind));
    let maybe = |random: &mut Random, chance: u64, low: u64, high: u64| {
        random.percent(chance).then(|| DurationMs(random.between(low, high)))
    };
    service.policy.on_unhealthy = random.weighted(&[
        (6, None),
        (1, Some(OnUnhealthy::Restart)),
        (1, Some(OnUnhealthy::Drain)),
        (1, Some(OnUnhealthy::Rollback)),
        (1, Some(OnUnhealthy::None)),
    ]);
    service.policy.ready_timeout = maybe(random, 70, SLOWEST_MS + 3_000, 30_000);
    service.policy.hold = maybe(random, 20, 500, 10_000);
    let rollout = &mut service.policy.rollout;
    let share = random.between(1, 60);
    rollout.canary = random.percent(25).then(|| Percent::parse(&share.to_string()).expect("a share"));
    rollout.canary_time = maybe(random, 80, 200, 5_000);
    rollout.min_healthy = maybe(random, 40, 0, 3_000);
    rollout.drain = maybe(random, 40, 0, 5_000);
    rollout.warm = match random.below(4) {
        0 => Some(DurationMs(0)),
        1 => Some(DurationMs(random.between(500, 20_000))),
        _ => None,
    };
}

fn update(random: &mut Random, kind: Kind) -> UpdateConfig {
    let order = match kind {
        Kind::Db => random.weighted(&[(3, None), (1, Some(UpdateOrder::StopFirst))]),
        _ => random.weighted(&[
            (7, None),
            (2, Some(UpdateOrder::StartFirst)),
            (3, Some(UpdateOrder::StopFirst)),
        ]),
    };
    let delay = random.between(500, 5_000);
    let monitor = random.between(500, 10_000);
    UpdateConfig {
        order,
        parallelism: random.weighted(&[(5, None), (1, Some(0)), (1, Some(1)), (2, Some(2))]),
        delay: random.percent(20).then_some(DurationMs(delay)),
        monitor: random.weighted(&[(5, None), (2, Some(DurationMs(0))), (3, Some(DurationMs(monitor)))]),
        failure_action: random.weighted(&[
            (6, None),
            (1, Some(FailureAction::Rollback)),
            (2, Some(FailureAction::Pause)),
            (1, Some(FailureAction::Continue)),
        ]),
        max_failure_ratio: random.weighted(&[(7, None), (1, Some(0.34)), (1, Some(0.5))]),
    }
}

/// The file after somebody has changed it.
pub fn edited(random: &mut Random, file: &Declared, edit: Edit) -> Declared {
    let mut file = file.clone();
    let names: Vec<ServiceName> = file.keys().cloned().collect();
    let Some(chosen) = random.pick(&names).cloned() else { return first(random) };
    match edit {
        Edit::NewVersions | Edit::Configuration => {
            let all = random.percent(25);
            for service in file.values_mut().filter(|s| all || s.name == chosen) {
                renew(random, service, edit == Edit::NewVersions);
            }
        }
        Edit::Replicas => {
            let service = file.get_mut(&chosen).expect("chosen from it");
            service.replicas = replicas(random, kind(&chosen));
        }
        Edit::Policies => set_policies(random, file.get_mut(&chosen).expect("chosen from it")),
        Edit::Add => {
            let absent: Vec<&str> =
                KINDS.iter().map(|(n, _)| *n).filter(|n| !names.iter().any(|k| kind_of(k) == *n)).collect();
            if let Some(text) = random.pick(&absent) {
                let service = service(random, &name(text), &Declared::new());
                file.insert(service.name.clone(), service);
            }
        }
        Edit::Remove if names.len() > 1 => {
            file.remove(&chosen);
            file.values_mut().for_each(|s| {
                s.depends_on.remove(&chosen);
            });
        }
        Edit::Rename => rename(random, &mut file, &chosen),
        Edit::Remove | Edit::Nothing => {}
    }
    file
}

fn kind_of(name: &ServiceName) -> &str {
    name.as_str().trim_end_matches(char::is_numeric)
}

/// Another image or another configuration.
pub fn renew(random: &mut Random, service: &mut Service, image: bool) {
    let mark = random.next() % 100_000;
    if image {
        let reference = format!("{}:{mark}", service.name);
        service.image = ImageSource::Pull { reference, policy: PullPolicy::Missing };
    } else {
        service.environment.insert(CONFIGURATION.to_owned(), mark.to_string());
    }
}

fn rename(random: &mut Random, file: &mut Declared, from: &ServiceName) {
    let to = name(&format!("{}{}", kind_of(from), random.between(2, 99)));
    if file.contains_key(&to) {
        return;
    }
    let Some(service) = file.remove(from) else { return };
    file.insert(to.clone(), Service { name: to.clone(), ..service });
    for service in file.values_mut() {
        if let Some(dependency) = service.depends_on.remove(from) {
            service.depends_on.insert(to.clone(), dependency);
        }
    }
}

/// The release that is made of a file: images by their references, addresses kept where they were.
pub fn release(id: ReleaseId, file: &Declared, previous: Option<&Release>, made: Timestamp) -> Release {
    let network = Network {
        name: "shop_default".into(),
        external: false,
        internal: false,
        subnet: None,
        labels: BTreeMap::new(),
        ..Default::default()
    };
    let volume = Volume {
        name: VolumeName::new("shop_data").expect("valid"),
        external: false,
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
    };
    let stack = Stack {
        name: StackName::new("shop").expect("valid"),
        directory: "/srv/shop".into(),
        files: Vec::new(),
        services: file.clone(),
        networks: BTreeMap::from([(NetworkName::new("default").expect("valid"), network)]),
        volumes: BTreeMap::from([("data".to_owned(), volume)]),
        configs: BTreeMap::new(),
        secrets: BTreeMap::new(),
        policy: serde_json::Value::Null,
    };
    let images = file.values().map(|s| (s.name.clone(), image(s))).collect();
    let addresses = plan::address::allocate(&stack, previous, &[], "/home", &[]).expect("there is room");
    Release { id, stack, images, files: BTreeMap::new(), addresses, made, hashes: Default::default() }
}

fn image(service: &Service) -> BuiltImage {
    let reference = match &service.image {
        ImageSource::Pull { reference, .. } => reference.clone(),
        other => format!("{other:?}"),
    };
    BuiltImage {
        manifest: Digest::of(reference.as_bytes()),
        layers: vec![Digest::of(b"layer")],
        config: ImageConfig { command: vec!["run".into()], ..ImageConfig::default() },
        origin: reference,
    }
}

/// Decides once what each image does with each configuration.
pub fn learn(programs: &mut Programs, file: &Declared, random: &mut Random, bad_percent: u64) -> Vec<String> {
    let mut told = Vec::new();
    for service in file.values() {
        let image = image(service).manifest;
        if programs.knows(service, &image) {
            continue;
        }
        let is_job = is_job(&service.name);
        let program = match random.percent(bad_percent) {
            true => Program::bad(random, is_job),
            false => Program::good(random, is_job),
        };
        told.push(format!("{}: {}", service.name, program.describe()));
        programs.learn(service, &image, program);
    }
    told
}
