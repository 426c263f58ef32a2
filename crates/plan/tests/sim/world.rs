//! A machine made of plain data: steps succeed at once, time passes only when told.

use model::image::{BuiltImage, ImageConfig, ImageSource, PullPolicy};
use model::instance::{Exit, Health, InstanceState, NetworkSpec, Observed};
use model::service::{
    Attachment, Condition, Dependency, NetworkMode, PublishedPort, RestartPolicy, Transport,
};
use model::stack::Network;
use model::{
    Digest, DurationMs, NetworkName, Release, ReleaseId, Service, ServiceName, Stack, StackName, Timestamp,
};
use plan::routes::Routed;
use plan::{Direction, Fallback, Input, InstanceView, Phase, Plan, Readiness, Settings, Step};
use std::collections::{BTreeMap, BTreeSet};

pub const SECOND: u64 = 1000;

pub struct World {
    pub stack: StackName,
    pub desired: Option<Release>,
    pub last: Option<Release>,
    pub remove_volumes: bool,
    pub stopped: BTreeSet<ServiceName>,
    pub restart_before: BTreeMap<ServiceName, Timestamp>,
    pub instances: Vec<InstanceView>,
    pub foreign: plan::Foreign,
    pub networks: BTreeMap<String, NetworkSpec>,
    pub now: Timestamp,
    pub number: u64,
    /// Services whose program ends at once with this code.
    pub ends_at_once: BTreeMap<String, i32>,
    /// Services that listen on their ports as soon as they run (all by default).
    pub deaf: BTreeSet<String>,
    /// The release before, and how far the present one has come.
    pub before: Option<(Release, Phase)>,
    pub direction: Direction,
    pub trials: plan::Trials,
    pub is_paused: bool,
    nobody: BTreeSet<model::InstanceId>,
    settings: Settings,
}

pub fn name(text: &str) -> ServiceName {
    ServiceName::new(text).expect("a test's own name")
}

/// A service with image `NAME:1` on the default network.
pub fn service(text: &str) -> Service {
    let network = NetworkName::new("default").expect("valid");
    Service {
        name: name(text),
        image: ImageSource::Pull { reference: format!("{text}:1"), policy: PullPolicy::Missing },
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
        restart: RestartPolicy::No,
        links: BTreeMap::new(),
        replicas: 1,
        resources: Default::default(),
        update: Default::default(),
        rollback: None,
        process: Default::default(),
        stop_grace: DurationMs::from_secs(10),
        stop_grace_given: false,
        hooks: Default::default(),
        stop_signal: None,
        labels: BTreeMap::new(),
        policy: Default::default(),
        watch: Default::default(),
    }
}

pub fn after(mut this: Service, other: &str, condition: Condition) -> Service {
    this.depends_on.insert(name(other), Dependency { condition, required: true, restart: false });
    this
}

pub fn published(mut this: Service, port: u16) -> Service {
    this.ports.push(PublishedPort {
        target: port,
        published: port,
        host_ip: None,
        published_last: 0,
        transport: Transport::Tcp,
        protocol: Default::default(),
        http2: false,
    });
    this
}

pub fn restarting(mut this: Service, policy: RestartPolicy) -> Service {
    this.restart = policy;
    this
}

/// A release of these services; the image of each follows from its reference.
pub fn release(id: u64, services: Vec<Service>, previous: Option<&Release>) -> Release {
    let stack_name = StackName::new("shop").expect("valid");
    let default = Network {
        name: "shop_default".into(),
        external: false,
        internal: false,
        subnet: None,
        labels: BTreeMap::new(),
        ..Default::default()
    };
    let images = services.iter().map(|s| {
        let ImageSource::Pull { reference, .. } = &s.image else { panic!("tests use references") };
        let image = BuiltImage {
            manifest: Digest::of(reference.as_bytes()),
            layers: vec![Digest::of(b"layer")],
            config: ImageConfig { command: vec!["run".into()], ..ImageConfig::default() },
            origin: reference.clone(),
        };
        (s.name.clone(), image)
    });
    let images = images.collect();
    let stack = Stack {
        name: stack_name,
        directory: "/srv/shop".into(),
        files: vec!["/srv/shop/compose.yaml".into()],
        services: services.into_iter().map(|s| (s.name.clone(), s)).collect(),
        networks: BTreeMap::from([(NetworkName::new("default").expect("valid"), default)]),
        volumes: BTreeMap::new(),
        configs: BTreeMap::new(),
        secrets: BTreeMap::new(),
        policy: serde_json::Value::Null,
    };
    let addresses = plan::address::allocate(&stack, previous, &[], "/home", &[]).expect("there is room");
    Release {
        id: ReleaseId(id),
        stack,
        images,
        files: BTreeMap::new(),
        addresses,
        made: Timestamp(id as i64),
        hashes: Default::default(),
    }
}

impl World {
    pub fn new(desired: Release) -> Self {
        Self {
            stack: desired.stack.name.clone(),
            last: Some(desired.clone()),
            desired: Some(desired),
            remove_volumes: false,
            stopped: BTreeSet::new(),
            restart_before: BTreeMap::new(),
            instances: Vec::new(),
            foreign: plan::Foreign::default(),
            networks: BTreeMap::new(),
            now: Timestamp(0),
            number: 0,
            ends_at_once: BTreeMap::new(),
            deaf: BTreeSet::new(),
            before: None,
            direction: Direction::Forward,
            trials: plan::Trials::new(),
            is_paused: false,
            nobody: BTreeSet::new(),
            settings: Settings { files: "/files".into() },
        }
    }

    pub fn of(services: Vec<Service>) -> Self {
        Self::new(release(1, services, None))
    }

    /// Declares a next release.
    pub fn declare(&mut self, services: Vec<Service>) {
        let previous = self.desired.take();
        let id = previous.as_ref().map_or(1, |r| r.id.0 + 1);
        let next = release(id, services, previous.as_ref());
        self.last = Some(next.clone());
        self.desired = Some(next);
    }

    pub fn plan(&mut self) -> Plan {
        self.number += 1;
        self.note_ready();
        plan::plan(&Input {
            foreign: &self.foreign,
            fallback: self.before.as_ref().map(|(release, phase)| Fallback {
                release,
                phase: *phase,
                trials: &self.trials,
            }),
            direction: self.direction,
            is_paused: self.is_paused,
            in_flight: &BTreeMap::new(),
            stack: &self.stack,
            desired: self.desired.as_ref(),
            last: self.last.as_ref(),
            remove_volumes: self.remove_volumes,
            stopped: &self.stopped,
            restart_before: &self.restart_before,
            instances: &self.instances,
            networks: &self.networks,
            now: self.now,
            number: self.number,
            settings: &self.settings,
        })
    }

    /// Remembers since when each instance is ready, as the loop does.
    pub fn note_ready(&mut self) {
        let releases: Vec<Release> =
            self.desired.iter().cloned().chain(self.before.iter().map(|(r, _)| r.clone())).collect();
        for instance in &mut self.instances {
            let declared = releases.iter().find_map(|r| r.stack.services.get(instance.service()));
            let ready = declared.is_some_and(|s| plan::readiness(s, instance, self.now) == Readiness::Ready);
            instance.ready_since = ready.then_some(instance.ready_since.unwrap_or(self.now));
        }
    }

    /// Declares a next release that takes the place of the present one.
    pub fn deploy(&mut self, services: Vec<Service>) {
        let before = self.desired.clone().expect("something is in force");
        self.declare(services);
        self.before = Some((before, Phase::TakingOver));
        self.direction = Direction::Forward;
    }

    /// The release in force is kept.
    pub fn keep(&mut self) {
        if let Some((_, phase)) = &mut self.before {
            *phase = Phase::Kept(self.now);
        }
    }

    /// The release before is declared again.
    pub fn go_back(&mut self) {
        let (before, _) = self.before.take().expect("there was one before");
        let after = self.desired.replace(before);
        self.before = after.map(|r| (r, Phase::TakingOver));
        self.direction = Direction::Back;
    }

    /// Which instances get what is new: `web#1 r2 10`, with the share where it is not the whole.
    pub fn serving(&mut self, service: &str) -> Vec<String> {
        self.note_ready();
        let routed = self.routed();
        let service = &routed.release.stack.services[&name(service)];
        let chosen = plan::serving::serving(&routed, service);
        let total: u32 = chosen.iter().map(|s| s.weight).sum();
        let mut told: Vec<String> = chosen
            .iter()
            .map(|s| {
                let spec = &s.instance.observed.spec;
                format!("#{} {} {}%", spec.slot, spec.release, s.weight * 100 / total)
            })
            .collect();
        told.sort();
        told
    }

    pub fn routed(&self) -> Routed<'_> {
        Routed {
            release: self.desired.as_ref().expect("something is declared"),
            fallback: self.before.as_ref().map(|(release, phase)| Fallback {
                release,
                phase: *phase,
                trials: &self.trials,
            }),
            direction: self.direction,
            instances: &self.instances,
            draining: &self.nobody,
            now: self.now,
        }
    }

    /// Plans and carries out once; the steps as text.
    pub fn turn(&mut self) -> Vec<String> {
        let plan = self.plan();
        self.check_plan(&plan);
        let told = plan.steps.iter().map(Self::tell).collect();
        plan.steps.into_iter().for_each(|step| self.carry_out(step));
        told
    }

    /// Turns until nothing is left to do without time passing; everything that was done.
    pub fn settle(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        for _ in 0..50 {
            let told = self.turn();
            if told.is_empty() {
                return all;
            }
            all.extend(told);
        }
        panic!("no end of steps: {all:#?}");
    }

    pub fn pass(&mut self, ms: u64) -> &mut Self {
        self.now = self.now.plus(DurationMs(ms));
        self
    }

    /// What holds for every plan: no key twice, nothing starts on two sides of one volume.
    fn check_plan(&self, plan: &Plan) {
        let keys: BTreeSet<String> = plan.steps.iter().map(Step::key).collect();
        assert_eq!(keys.len(), plan.steps.len(), "two steps with one key: {:?}", plan.steps);
    }

    /// Ids are left out: they follow from numbers that stories do not care about.
    fn tell(step: &Step) -> String {
        match step {
            Step::Create(spec) => format!("create {}#{} {}", spec.service, spec.slot, spec.release),
            Step::Start { service, slot, reason, .. } => format!("start {service}#{slot}: {reason}"),
            Step::Stop { service, slot, reason, .. } => format!("stop {service}#{slot}: {reason}"),
            Step::Remove { service, slot, .. } => format!("remove {service}#{slot}"),
            Step::EnsureNetwork(_) => "make network".into(),
            Step::RemoveNetwork { .. } => "remove network".into(),
            Step::RemoveVolume { name } => format!("remove volume {name}"),
        }
    }

    fn carry_out(&mut self, step: Step) {
        match step {
            Step::EnsureNetwork(network) => {
                self.networks.insert(network.bridge.clone(), network);
            }
            Step::RemoveNetwork { bridge } => {
                self.networks.remove(&bridge);
                self.last = None;
            }
            Step::RemoveVolume { .. } => self.last = None,
            Step::Create(spec) => {
                let id = spec.id.clone();
                let observed = Observed {
                    is_preparing: false,
                    spec: *spec,
                    state: InstanceState::Created,
                    starts: 0,
                    quick_failures: 0,
                    listening_udp: Vec::new(),
                    listening: Vec::new(),
                };
                self.instances.push(InstanceView {
                    observed,
                    health: Health::Unchecked,
                    unhealthy_restarts: 0,
                    ready_since: None,
                });
                self.start(id.as_ref());
            }
            Step::Start { id, .. } => self.start(id.as_str()),
            Step::Stop { id, .. } => self.end(id.as_str(), 143, true),
            Step::Remove { id, .. } => self.instances.retain(|i| i.observed.spec.id != id),
        }
    }

    fn start(&mut self, id: &str) {
        let now = self.now;
        let desired = self.desired.clone();
        let instance =
            self.instances.iter_mut().find(|i| i.observed.spec.id.as_str() == id).expect("it exists");
        let service = instance.service().to_string();
        instance.observed.starts += 1;
        instance.observed.state = InstanceState::Running { pid: 100, since: now };
        let declared = desired.as_ref().and_then(|r| r.stack.services.get(instance.service()));
        instance.health = match declared.and_then(|s| s.healthcheck.as_ref()) {
            Some(_) => Health::Starting,
            None => Health::Unchecked,
        };
        if !self.deaf.contains(&service) {
            instance.observed.listening =
                declared.map(|s| s.ports.iter().map(|p| p.target).collect()).unwrap_or_default();
        }
        if let Some(code) = self.ends_at_once.get(&service).copied() {
            self.end(id, code, false);
        }
    }

    fn end(&mut self, id: &str, code: i32, requested: bool) {
        let now = self.now;
        let instance =
            self.instances.iter_mut().find(|i| i.observed.spec.id.as_str() == id).expect("it exists");
        let started = instance.running_since().unwrap_or(now);
        let quick = now.since(started) < DurationMs::from_secs(10);
        instance.observed.quick_failures =
            if quick && !requested { instance.observed.quick_failures + 1 } else { 0 };
        instance.observed.listening.clear();
        instance.observed.state = InstanceState::Exited(Exit {
            code,
            signal: None,
            oom: false,
            requested,
            start_error: None,
            started,
            finished: now,
        });
    }

    /// The program of one instance ends.
    pub fn ends(&mut self, id: &model::InstanceId, code: i32) -> &mut Self {
        self.end(id.as_str(), code, false);
        self
    }

    /// The running instances of a service begin to listen.
    pub fn listens(&mut self, service: &str, port: u16) -> &mut Self {
        let of_service =
            self.instances.iter_mut().filter(|i| i.service().as_str() == service && i.is_running());
        of_service.for_each(|i| i.observed.listening = vec![port]);
        self
    }

    /// The program of every instance of a service ends.
    pub fn exits(&mut self, service: &str, code: i32) -> &mut Self {
        let ids: Vec<String> = self
            .instances
            .iter()
            .filter(|i| i.service().as_str() == service && i.is_running())
            .map(|i| i.observed.spec.id.to_string())
            .collect();
        ids.iter().for_each(|id| self.end(id, code, false));
        self
    }

    pub fn health(&mut self, service: &str, health: Health) -> &mut Self {
        let of_service =
            self.instances.iter_mut().filter(|i| i.service().as_str() == service && i.is_running());
        of_service.for_each(|i| i.health = health);
        self
    }
}
