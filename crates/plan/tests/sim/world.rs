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
use plan::{Input, InstanceView, Plan, Settings, Step};
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
    pub networks: BTreeMap<String, NetworkSpec>,
    pub now: Timestamp,
    pub number: u64,
    /// Services whose program ends at once with this code.
    pub ends_at_once: BTreeMap<String, i32>,
    /// Services that listen on their ports as soon as they run (all by default).
    pub deaf: BTreeSet<String>,
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
        replicas: 1,
        resources: Default::default(),
        update: Default::default(),
        rollback: None,
        process: Default::default(),
        stop_grace: DurationMs::from_secs(10),
        stop_signal: None,
        labels: BTreeMap::new(),
        policy: Default::default(),
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
        transport: Transport::Tcp,
        protocol: Default::default(),
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
    let addresses = plan::address::allocate(&stack, previous, &[], "/home").expect("there is room");
    Release {
        id: ReleaseId(id),
        stack,
        images,
        files: BTreeMap::new(),
        addresses,
        made: Timestamp(id as i64),
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
            networks: BTreeMap::new(),
            now: Timestamp(0),
            number: 0,
            ends_at_once: BTreeMap::new(),
            deaf: BTreeSet::new(),
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
        plan::plan(&Input {
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
                    spec: *spec,
                    state: InstanceState::Created,
                    starts: 0,
                    quick_failures: 0,
                    listening: Vec::new(),
                };
                self.instances.push(InstanceView {
                    observed,
                    health: Health::Unchecked,
                    unhealthy_restarts: 0,
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
