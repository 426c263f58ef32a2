use crate::world::{SECOND, World, published, service};
use model::image::{ImageSource, PullPolicy};
use model::mount::{Mount, MountSource};
use model::{DurationMs, Service, VolumeName};

fn version(mut this: Service, tag: &str) -> Service {
    this.image = ImageSource::Pull { reference: format!("{}:{tag}", this.name), policy: PullPolicy::Missing };
    this
}

fn with_volume(mut this: Service) -> Service {
    let name = VolumeName::new("shop_data").expect("valid");
    let source = MountSource::Volume { name, no_copy: false, subpath: None };
    this.mounts.push(Mount { source, target: "/data".into(), read_only: false });
    this
}

#[test]
fn the_new_one_starts_before_the_old_one_stops() {
    let web = published(service("web"), 80);
    let mut world = World::of(vec![web.clone()]);
    world.settle();
    world.declare(vec![version(web, "2")]);
    assert_eq!(world.settle(), ["create web#1 r2", "stop web#1: replaced", "remove web#1"]);
}

#[test]
fn a_new_one_that_is_not_ready_leaves_the_old_one_alone() {
    let web = published(service("web"), 80);
    let mut world = World::of(vec![web.clone()]);
    world.settle();
    world.deaf.insert("web".into());
    world.declare(vec![version(web, "2")]);
    assert_eq!(world.settle(), ["create web#1 r2"]);
    world.pass(61 * SECOND);
    let plan = world.plan();
    assert!(plan.steps.is_empty(), "the old one still serves: {:?}", plan.steps);
    assert_eq!(plan.failures.len(), 1);
}

#[test]
fn a_volume_has_one_writer_at_a_time_forward_and_back() {
    let db = with_volume(published(service("db"), 5432));
    let mut world = World::of(vec![db.clone()]);
    world.settle();
    let first = world.desired.clone();
    world.deaf.insert("db".into());
    world.declare(vec![version(db, "2")]);
    assert_eq!(world.settle(), ["stop db#1: its successor needs what it holds", "create db#1 r2"]);
    // It fails, and the old release is declared again.
    world.deaf.clear();
    world.desired = first;
    assert_eq!(
        world.settle(),
        [
            "stop db#1: its successor needs what it holds",
            "start db#1: stopped and wanted again",
            "remove db#1",
        ]
    );
}

#[test]
fn replicas_are_replaced_one_after_the_other() {
    let mut web = published(service("web"), 80);
    web.replicas = 2;
    let mut world = World::of(vec![web.clone()]);
    world.settle();
    world.declare(vec![version(web, "2")]);
    assert_eq!(world.turn(), ["create web#1 r2"]);
    assert_eq!(world.turn(), ["stop web#1: replaced", "create web#2 r2"]);
    assert_eq!(world.settle(), ["remove web#1", "stop web#2: replaced", "remove web#2"]);
}

#[test]
fn parallelism_and_delay_are_honoured() {
    let mut web = published(service("web"), 80);
    web.replicas = 3;
    web.update.parallelism = Some(2);
    web.update.delay = Some(DurationMs::from_secs(5));
    let mut world = World::of(vec![web.clone()]);
    world.settle();
    world.declare(vec![version(web, "2")]);
    assert_eq!(world.turn(), ["create web#1 r2", "create web#2 r2"]);
    let rest = world.settle();
    assert!(!rest.iter().any(|s| s.starts_with("create")), "{rest:?}");
    assert_eq!(world.pass(5 * SECOND).settle()[0], "create web#3 r2");
}

#[test]
fn what_is_no_longer_declared_goes() {
    let mut world = World::of(vec![service("web"), service("old")]);
    world.settle();
    world.declare(vec![service("web")]);
    assert_eq!(
        world.settle(),
        ["stop old#1: no longer declared", "make network", "remove old#1"],
        "the network loses the address of the service that went"
    );
}

#[test]
fn fewer_replicas_stop_the_highest() {
    let mut web = published(service("web"), 80);
    web.replicas = 3;
    let mut world = World::of(vec![web.clone()]);
    world.settle();
    web.replicas = 1;
    world.declare(vec![web]);
    let done = world.settle();
    assert_eq!(done.len(), 4);
    assert!(done.iter().all(|s| s.contains("#2") || s.contains("#3")), "{done:?}");
}

#[test]
fn a_port_or_a_policy_changes_nothing_that_runs() {
    let web = published(service("web"), 80);
    let mut world = World::of(vec![web.clone()]);
    world.settle();
    let mut changed = published(web, 81);
    changed.ports.remove(0);
    changed.stop_grace = DurationMs::from_secs(3);
    world.instances[0].observed.listening.push(81);
    world.declare(vec![changed]);
    assert_eq!(world.settle(), Vec::<String>::new());
}
