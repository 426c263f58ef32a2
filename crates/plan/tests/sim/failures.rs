use crate::world::{World, restarting, service};
use model::service::RestartPolicy;

#[test]
fn three_quick_ends_are_a_crash_loop() {
    let mut world = World::of(vec![restarting(service("web"), RestartPolicy::Always)]);
    world.ends_at_once.insert("web".into(), 7);
    for _ in 0..4 {
        world.settle();
        world.pass(1000);
    }
    let plan = world.plan();
    let reason = &plan.failures[0].reason;
    assert!(reason.starts_with("crash loop, ") && reason.ends_with("exited with code 7"), "{reason}");
}

#[test]
fn removal_takes_dependents_first_and_leaves_nothing() {
    use crate::world::after;
    use model::service::Condition;
    let db = service("db");
    let web = after(service("web"), "db", Condition::ServiceStarted);
    let mut world = World::of(vec![db, web]);
    world.settle();
    world.desired = None;
    assert_eq!(world.turn(), ["stop web#1: the stack is removed"]);
    assert_eq!(world.turn(), ["stop db#1: the stack is removed", "remove web#1"]);
    assert_eq!(world.settle(), ["remove db#1", "remove network"]);
    assert!(world.networks.is_empty() && world.instances.is_empty());
}
