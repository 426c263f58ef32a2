use crate::world::{SECOND, World, name, published, restarting, service};
use model::Timestamp;
use model::instance::{Health, InstanceState};
use model::service::{OnUnhealthy, RestartPolicy};

#[test]
fn a_crash_is_restarted_after_a_growing_pause() {
    let mut world = World::of(vec![restarting(service("web"), RestartPolicy::Always)]);
    world.settle();
    world.exits("web", 1);
    assert_eq!(world.turn(), Vec::<String>::new());
    assert_eq!(world.plan().wake_at, Some(Timestamp(200)));
    assert_eq!(world.pass(200).turn(), ["start web#1: exited with code 1"]);
    world.exits("web", 1);
    assert_eq!(world.plan().wake_at, Some(Timestamp(600)));
}

#[test]
fn a_crash_after_a_long_run_is_restarted_at_once() {
    let mut world = World::of(vec![restarting(service("web"), RestartPolicy::Always)]);
    world.settle();
    world.pass(60 * SECOND).exits("web", 1);
    assert_eq!(world.pass(100).turn(), ["start web#1: exited with code 1"]);
}

#[test]
fn without_a_policy_what_failed_stays_so() {
    let mut world = World::of(vec![service("job")]);
    world.settle();
    world.exits("job", 2);
    assert!(world.pass(3600 * SECOND).turn().is_empty());
    assert_eq!(world.plan().failures[0].reason, "exited with code 2");
}

#[test]
fn a_vanished_supervisor_means_a_new_start() {
    let mut world = World::of(vec![service("web")]);
    world.settle();
    world.instances[0].observed.state = InstanceState::Lost;
    assert_eq!(world.turn(), ["start web#1: its supervisor vanished"]);
}

#[test]
fn unhealthy_means_restart_unless_declared_otherwise() {
    let mut web = published(service("web"), 80);
    let mut world = World::of(vec![web.clone()]);
    world.settle();
    world.pass(SECOND).health("web", Health::Unhealthy);
    assert_eq!(world.turn(), ["stop web#1: unhealthy"]);
    assert_eq!(world.turn(), ["start web#1: stopped and wanted again"]);

    web.policy.on_unhealthy = Some(OnUnhealthy::Drain);
    let mut world = World::of(vec![web]);
    world.settle();
    world.pass(SECOND).health("web", Health::Unhealthy);
    assert!(world.turn().is_empty());
}

#[test]
fn stop_keeps_the_instance_and_start_wakes_it() {
    let mut world = World::of(vec![restarting(service("web"), RestartPolicy::Always)]);
    world.settle();
    world.stopped.insert(name("web"));
    assert_eq!(world.settle(), ["stop web#1: stop was asked for"]);
    assert!(world.pass(3600 * SECOND).turn().is_empty());
    world.stopped.clear();
    assert_eq!(world.settle(), ["start web#1: stopped and wanted again"]);
}

#[test]
fn restart_stops_and_starts_once() {
    let mut world = World::of(vec![service("web")]);
    world.settle();
    world.pass(5 * SECOND);
    world.restart_before.insert(name("web"), world.now);
    assert_eq!(
        world.settle(),
        ["stop web#1: restart was asked for", "start web#1: stopped and wanted again"]
    );
    assert!(world.pass(SECOND).turn().is_empty());
}

#[test]
fn on_failure_counts_its_retries() {
    let policy = RestartPolicy::OnFailure { max_retries: Some(1) };
    let mut world = World::of(vec![restarting(service("job"), policy)]);
    world.settle();
    world.exits("job", 1);
    assert_eq!(world.pass(SECOND).settle().len(), 1);
    world.exits("job", 1);
    assert!(world.pass(60 * SECOND).settle().is_empty());
}
