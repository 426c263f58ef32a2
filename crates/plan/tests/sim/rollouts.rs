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
    this.mounts.push(Mount { source, target: "/data".into(), read_only: false, options: Vec::new() });
    this
}

#[test]
fn the_new_one_starts_before_the_old_one_stops() {
    let web = published(service("web"), 80);
    let mut world = World::of(vec![web.clone()]);
    world.settle();
    world.declare(vec![version(web, "2")]);
    assert_eq!(world.settle(), ["create web#1 r2"]);
    assert_eq!(world.serving("web"), ["#1 r1 100%"], "the new one was ready for too short a time");
    assert_eq!(world.pass(500).settle(), ["stop web#1: replaced", "remove web#1"]);
    assert_eq!(world.serving("web"), ["#1 r2 100%"]);
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
    world.deaf.insert("db".into());
    world.deploy(vec![version(db, "2")]);
    assert_eq!(world.settle(), ["stop db#1: its successor needs what it holds", "create db#1 r2"]);
    // It fails, and the old release is declared again.
    world.deaf.clear();
    world.go_back();
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
    assert_eq!(world.settle(), ["create web#1 r2"]);
    assert_eq!(world.pass(500).turn(), ["stop web#1: replaced", "create web#2 r2"]);
    assert_eq!(world.settle(), ["remove web#1"]);
    assert_eq!(world.pass(500).settle(), ["stop web#2: replaced", "remove web#2"]);
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
    let done = world.pass(5 * SECOND).settle();
    assert!(done.contains(&"create web#3 r2".to_owned()), "{done:?}");
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

#[test]
fn the_old_one_is_kept_warm_and_goes_when_its_time_is_over() {
    let web = published(service("web"), 80);
    let mut world = World::of(vec![web.clone()]);
    world.settle();
    world.deploy(vec![version(web, "2")]);
    assert_eq!(world.settle(), ["create web#1 r2"]);
    assert_eq!(world.pass(500).settle(), Vec::<String>::new(), "it may be needed again");
    assert_eq!(world.serving("web"), ["#1 r2 100%"]);
    assert!(!world.plan().is_settled(), "the release is watched before it is kept");
    world.pass(2 * SECOND);
    assert!(world.plan().is_settled());
    world.keep();
    assert_eq!(world.pass(299 * SECOND).settle(), Vec::<String>::new());
    assert_eq!(world.pass(SECOND).settle(), ["stop web#1: replaced", "remove web#1"]);
}

#[test]
fn going_back_to_a_warm_release_is_a_swap() {
    let web = published(service("web"), 80);
    let mut world = World::of(vec![web.clone()]);
    world.settle();
    world.deploy(vec![version(web, "2")]);
    world.settle();
    world.pass(3 * SECOND).settle();
    world.keep();
    world.pass(SECOND).go_back();
    assert_eq!(world.serving("web"), ["#1 r1 100%"]);
    let plan = world.plan();
    assert!(plan.steps.is_empty() && plan.is_settled(), "{plan:?}");
}

#[test]
fn a_new_one_that_dies_gives_its_traffic_back_at_once() {
    let web = published(service("web"), 80);
    let mut world = World::of(vec![web.clone()]);
    world.settle();
    world.deploy(vec![version(web, "2")]);
    world.settle();
    world.pass(3 * SECOND).settle();
    world.keep();
    let new = world.instances.last().expect("it was created").observed.spec.id.clone();
    world.pass(60 * SECOND).ends(&new, 1);
    assert_eq!(world.serving("web"), ["#1 r1 100%"]);
    assert_eq!(world.plan().failures.len(), 1, "and the release is found bad");
}

#[test]
fn a_canary_gets_its_share_first() {
    let mut web = published(service("web"), 80);
    web.replicas = 2;
    web.policy.rollout.canary = Some(model::Percent::parse("10%").expect("valid"));
    let mut world = World::of(vec![web.clone()]);
    world.settle();
    world.deploy(vec![version(web, "2")]);
    assert_eq!(world.settle(), ["create web#1 r2"]);
    world.pass(SECOND).settle();
    assert_eq!(world.serving("web"), ["#1 r1 45%", "#1 r2 10%", "#2 r1 45%"]);
    assert_eq!(world.pass(29 * SECOND).settle(), Vec::<String>::new());
    assert_eq!(world.pass(SECOND).settle(), ["create web#2 r2"]);
    assert_eq!(world.serving("web"), ["#1 r2 50%", "#2 r1 50%"]);
    world.pass(SECOND).settle();
    assert_eq!(world.serving("web"), ["#1 r2 50%", "#2 r2 50%"]);
}

#[test]
fn a_release_that_is_judged_serves_beside_the_old_one_until_it_is_decided() {
    let mut web = published(service("web"), 80);
    web.replicas = 2;
    web.policy.rollout.judge = Some(model::service::JudgePolicy::default());
    let mut world = World::of(vec![web.clone()]);
    world.settle();
    world.deploy(vec![version(web, "2")]);
    assert_eq!(world.settle(), ["create web#1 r2"]);
    world.pass(SECOND).settle();
    let arms = {
        let routed = world.routed();
        let service = &routed.release.stack.services["web"];
        plan::serving::arms(&routed, service).expect("both serve")
    };
    assert_eq!((arms.new.len(), arms.old.len()), (1, 2));
    let trial = |share, over| [(model::ServiceName::new("web").expect("valid"), plan::Trial { share, over })];
    for (share, serving) in
        [(4, ["#1 r1 48%", "#1 r2 4%", "#2 r1 48%"]), (50, ["#1 r1 25%", "#1 r2 50%", "#2 r1 25%"])]
    {
        world.trials = trial(share, None).into();
        assert_eq!(world.pass(100 * SECOND).settle(), Vec::<String>::new());
        assert_eq!(world.serving("web"), serving);
    }
    world.trials = trial(50, Some(world.now)).into();
    assert_eq!(world.settle(), ["create web#2 r2"]);
    world.pass(SECOND).settle();
    assert_eq!(world.serving("web"), ["#1 r2 50%", "#2 r2 50%"]);
}

#[test]
fn a_release_that_nobody_judges_goes_on_after_all() {
    let mut web = published(service("web"), 80);
    web.policy.rollout.judge = Some(model::service::JudgePolicy::default());
    let mut world = World::of(vec![web.clone()]);
    world.settle();
    world.deploy(vec![version(web, "2")]);
    world.settle();
    world.pass(600 * SECOND).settle();
    assert_eq!(world.serving("web"), ["#1 r1 95%", "#1 r2 5%"]);
    world.pass(61 * SECOND).settle();
    assert_eq!(world.serving("web"), ["#1 r2 100%"]);
}

#[test]
fn what_may_have_one_holder_is_not_kept_warm() {
    let db = with_volume(published(service("db"), 5432));
    let mut world = World::of(vec![db.clone()]);
    world.settle();
    world.deploy(vec![version(db, "2")]);
    assert_eq!(
        world.settle(),
        ["stop db#1: its successor needs what it holds", "create db#1 r2", "remove db#1"]
    );
}

#[test]
fn a_worker_without_ports_does_not_work_twice() {
    let worker = service("worker");
    let mut world = World::of(vec![worker.clone()]);
    world.settle();
    world.deploy(vec![version(worker, "2")]);
    assert_eq!(world.settle(), ["create worker#1 r2"]);
    world.pass(SECOND).settle();
    assert_eq!(world.pass(500).settle(), ["stop worker#1: replaced", "remove worker#1"]);
}

#[test]
fn a_service_that_is_renamed_keeps_its_port_until_the_new_one_can_take_it() {
    let mut world = World::of(vec![published(service("web"), 80)]);
    world.settle();
    world.deaf.insert("app".into());
    world.deploy(vec![published(service("app"), 80)]);
    world.settle();
    let listener = |world: &mut World| {
        world.note_ready();
        let table = plan::routes::table(&[world.routed()], &Default::default(), 1);
        table.listeners.iter().find(|l| l.public).map(|l| l.backend.clone())
    };
    assert_eq!(listener(&mut world).as_deref(), Some("shop/web:80"));
    world.listens("app", 80).pass(3 * SECOND).settle();
    assert_eq!(listener(&mut world).as_deref(), Some("shop/app:80"));
    assert!(world.instances.iter().all(|i| i.service().as_str() == "app"), "and then the old one goes");
}
