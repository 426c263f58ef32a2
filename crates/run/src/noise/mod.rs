//! How much equal releases of a service differ, learned from its traffic while nothing changes: what
//! a new release is judged by.
//!
//! Beside the loop, every quarter of a minute, from what the gateway counts. Kept in a file, so that
//! a daemon that ends loses minutes at most.

mod keep;

use crate::ports::{Machine, Router};
use crate::watched::{Watched, watched};
use crate::world::Snapshot;
use keep::{Keep, Kept};
use model::flow::Status;
use model::{DurationMs, ServiceName, StackName, Timestamp};
use signals::release::{LOOK_S, Learner, Seen, Usual, Watch, add};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How long the gateway may take to say what it has counted.
const LOOK_LIMIT: Duration = Duration::from_secs(2);
/// Looks between two times that what was learned is written.
const WRITTEN_EACH: u64 = 20;
/// Services that are remembered; beyond it the one that was seen longest ago is forgotten.
const SERVICES_MOST: usize = 1_000;
/// What was learned of a service that did not run for so long says nothing any more.
const FORGOTTEN_AFTER: DurationMs = DurationMs::from_secs(14 * 86_400);

type Name = (StackName, ServiceName);

/// What is known of each service.
pub(crate) struct Noise {
    known: Mutex<BTreeMap<Name, Known>>,
    keep: Keep,
}

#[derive(Default)]
struct Known {
    watch: Watch,
    /// When it was last seen running.
    at: Timestamp,
}

impl Noise {
    /// What is kept in this directory.
    pub fn open(home: &Path) -> Arc<Self> {
        let keep = Keep::new(home);
        let known = keep.read().into_iter().map(|(name, kept)| {
            let watch = Watch::of(kept.learner, kept.past);
            (name, Known { watch, at: kept.at })
        });
        Arc::new(Self { known: Mutex::new(known.collect()), keep })
    }

    /// What was learned of a service so far.
    pub fn of(&self, stack: &StackName, service: &ServiceName) -> Learner {
        let known = self.known();
        known.get(&(stack.clone(), service.clone())).map(|k| k.watch.learner().clone()).unwrap_or_default()
    }

    /// What was usual of a service before now.
    pub fn usual(&self, stack: &StackName, service: &ServiceName, now: Timestamp) -> Option<Usual> {
        self.known().get(&(stack.clone(), service.clone()))?.watch.past().usual(now)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Name, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one look; says whether something was learned. `line` is a time that does not jump.
    fn look(&self, watched: &[Watched], status: &Status, now: Timestamp, line: Timestamp) -> bool {
        let mut known = self.known();
        let mut counts: BTreeMap<&str, Seen> = BTreeMap::new();
        for endpoint in status.backends.iter().flat_map(|backend| &backend.endpoints) {
            add(&mut counts.entry(&endpoint.instance).or_default().counts, &endpoint.counts);
        }
        let mut has_learned = false;
        let mut quiet = BTreeSet::new();
        for service in watched {
            let name = (service.stack.clone(), service.service.clone());
            let running = service.instances.iter().filter(|instance| instance.is_running);
            let seen: BTreeMap<String, Seen> = running
                .filter_map(|i| Some((i.id.to_string(), counts.get(i.id.as_str())?.clone())))
                .collect();
            // Where a replica is away the others have its load, and none is as usual.
            if service.is_changing || service.ready < service.replicas || seen.is_empty() {
                continue;
            }
            let one = known.entry(name.clone()).or_default();
            one.at = now;
            has_learned |= one.watch.look(line, now, seen);
            quiet.insert(name);
        }
        known.iter_mut().filter(|(name, _)| !quiet.contains(*name)).for_each(|(_, one)| one.watch.pause());
        forget(&mut known, now);
        has_learned
    }

    /// Writes down what was learned; blocks for as long as the disk takes.
    fn write(&self) {
        let kept = self
            .known()
            .iter()
            .filter(|(_, one)| one.watch.learner().windows() > 0.0)
            .map(|(name, one)| {
                let (learner, past) = (one.watch.learner().clone(), one.watch.past().clone());
                (name.clone(), Kept { at: one.at, learner, past })
            })
            .collect();
        if let Err(error) = self.keep.write(kept) {
            crate::world::tell(&format!("what was learned of releases is not written down: {error}"));
        }
    }
}

fn forget(known: &mut BTreeMap<Name, Known>, now: Timestamp) {
    known.retain(|_, one| now.since(one.at) < FORGOTTEN_AFTER);
    while known.len() > SERVICES_MOST {
        let oldest = known.iter().min_by_key(|(_, one)| one.at).map(|(name, _)| name.clone());
        oldest.and_then(|name| known.remove(&name));
    }
}

/// Learns until the loop that publishes what runs has ended.
pub(crate) async fn follow(
    noise: Arc<Noise>,
    router: Arc<dyn Router>,
    machine: Arc<dyn Machine>,
    snapshot: Receiver<Arc<Snapshot>>,
) {
    let began = Instant::now();
    let mut looks = interval(Duration::from_secs(LOOK_S));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_new = false;
    for number in 1u64.. {
        looks.tick().await;
        if snapshot.has_changed().is_err() {
            return;
        }
        let watched = watched(&snapshot.borrow().clone());
        // While it does not answer nothing is learned.
        if let Ok(Ok(status)) = tokio::time::timeout(LOOK_LIMIT, router.traffic()).await {
            let line = Timestamp(began.elapsed().as_millis() as i64);
            is_new |= noise.look(&watched, &status, machine.now(), line);
        }
        if is_new && number.is_multiple_of(WRITTEN_EACH) {
            is_new = false;
            let writer = Arc::clone(&noise);
            // It is written again in some minutes.
            let _ = tokio::task::spawn_blocking(move || writer.write()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watched::WatchedInstance;
    use model::InstanceId;
    use model::flow::{BackendStatus, Counts, EndpointStatus, Latency};

    const STEP: i64 = LOOK_S as i64 * 1000;

    fn name(stack: &str) -> Name {
        (StackName::new(stack).expect("valid"), ServiceName::new("web").expect("valid"))
    }

    fn service(stack: &str, instances: &[&str]) -> Watched {
        let instance = |id: &&str| WatchedInstance {
            id: InstanceId::new(*id).expect("valid"),
            starts: 1,
            is_running: true,
            ports: Vec::new(),
            ended: None,
        };
        let (stack, service) = name(stack);
        Watched {
            stack,
            service,
            release: None,
            is_off: false,
            is_changing: false,
            replicas: instances.len() as u32,
            ready: instances.len() as u32,
            memory_limit: None,
            ranges: Default::default(),
            objectives: Default::default(),
            depends_on: Vec::new(),
            instances: instances.iter().map(instance).collect(),
        }
    }

    fn status(instances: &[&str], requests: u64) -> Status {
        let endpoint = |instance: &&str| EndpointStatus {
            instance: (*instance).to_owned(),
            address: "127.0.0.1:80".parse().expect("valid"),
            draining: false,
            limit: None,
            standing: Default::default(),
            counts: Counts {
                requests,
                errors: requests / 50,
                latency: Latency { ln: requests * 900, ln_squares: requests * 820_000, ..Latency::default() },
                ..Counts::default()
            },
        };
        let backend = BackendStatus {
            backend: "shop/web:80".into(),
            without_endpoint: 0,
            endpoints: instances.iter().map(endpoint).collect(),
            queue: None,
            mirror: None,
        };
        Status {
            revision: 1,
            pid: 1,
            uptime_ms: 0,
            program: String::new(),
            threads: 1,
            connections: 0,
            listeners: Vec::new(),
            rules: Vec::new(),
            backends: vec![backend],
            calls: Vec::new(),
            spans: Default::default(),
            failed: Vec::new(),
            names: Default::default(),
            log_dropped: 0,
            predecessors: Vec::new(),
        }
    }

    fn minutes(noise: &Noise, services: &[Watched], count: i64) {
        for look in 0..=count * 4 {
            let at = Timestamp(look * STEP);
            noise.look(services, &status(&["a", "b"], look as u64 * 1000), at, at);
        }
    }

    fn windows(noise: &Noise) -> u64 {
        let (stack, service) = name("shop");
        noise.of(&stack, &service).windows().round() as u64
    }

    #[test]
    fn what_was_learned_outlives_the_daemon() {
        let home = tempfile::tempdir().expect("a directory");
        let noise = Noise::open(home.path());
        minutes(&noise, &[service("shop", &["a", "b"])], 30);
        assert_eq!(windows(&noise), 30);
        noise.write();
        let again = Noise::open(home.path());
        let (stack, service) = name("shop");
        assert_eq!(again.of(&stack, &service), noise.of(&stack, &service));
        let now = Timestamp(30 * 60_000);
        let usual = again.usual(&stack, &service, now).expect("half an hour is known");
        assert_eq!(Some(usual), noise.usual(&stack, &service, now));
        assert_eq!((usual.minutes, usual.days), (30, 0));
        assert_eq!(again.of(&stack, &ServiceName::new("db").expect("valid")).windows(), 0.0);
    }

    #[test]
    fn nothing_is_learned_while_something_changes_or_is_away() {
        let changing = Watched { is_changing: true, ..service("shop", &["a", "b"]) };
        let short = Watched { replicas: 3, ..service("shop", &["a", "b"]) };
        let unknown = service("shop", &["c", "d"]);
        let home = tempfile::tempdir().expect("a directory");
        for service in [changing, short, unknown] {
            let noise = Noise::open(home.path());
            minutes(&noise, &[service], 10);
            assert_eq!(windows(&noise), 0);
        }
    }

    #[test]
    fn services_that_are_gone_are_forgotten() {
        let home = tempfile::tempdir().expect("a directory");
        let noise = Noise::open(home.path());
        let many: Vec<Watched> =
            (0..SERVICES_MOST + 5).map(|n| service(&format!("s{n}"), &["a", "b"])).collect();
        minutes(&noise, &many, 1);
        assert_eq!(noise.known().len(), SERVICES_MOST);
        let later = Timestamp(FORGOTTEN_AFTER.0 as i64 + 5 * STEP);
        noise.look(&[service("shop", &["a"])], &status(&["a"], 9), later, later);
        assert_eq!(noise.known().len(), 1);
    }
}
