use crate::world::{SECOND, World, after, published, service};
use model::instance::Health;
use model::service::{Condition, HealthTest, Healthcheck};

fn checked(mut this: model::Service) -> model::Service {
    let test = HealthTest::Tcp { port: 1 };
    this.healthcheck = Some(Healthcheck {
        test,
        interval: None,
        timeout: None,
        retries: None,
        start_period: None,
        start_interval: None,
    });
    this
}

#[test]
fn services_start_in_the_order_of_their_conditions() {
    let db = checked(service("db"));
    let migrate = after(service("migrate"), "db", Condition::ServiceHealthy);
    let web = after(published(service("web"), 80), "migrate", Condition::ServiceCompletedSuccessfully);
    let mut world = World::of(vec![db, migrate, web]);

    assert_eq!(world.settle(), ["make network", "create db#1 r1"]);
    assert_eq!(world.pass(SECOND).turn(), Vec::<String>::new(), "db is not healthy yet");
    world.health("db", Health::Healthy);
    assert_eq!(world.settle(), ["create migrate#1 r1"]);
    world.exits("migrate", 0);
    assert_eq!(world.settle(), ["create web#1 r1"]);
    assert!(world.plan().is_settled());
}

#[test]
fn a_failed_job_shuts_the_gate_for_good() {
    let migrate = service("migrate");
    let web = after(service("web"), "migrate", Condition::ServiceCompletedSuccessfully);
    let mut world = World::of(vec![migrate, web]);
    world.settle();
    world.exits("migrate", 3);
    let plan = world.plan();
    let reasons: Vec<&str> = plan.failures.iter().map(|f| f.reason.as_str()).collect();
    assert_eq!(reasons, ["exited with code 3", "its dependency migrate exited with code 3"]);
    assert!(plan.steps.is_empty());
}

#[test]
fn replicas_start_side_by_side_with_addresses_of_their_own() {
    let mut web = published(service("web"), 80);
    web.replicas = 3;
    let mut world = World::of(vec![web]);
    assert_eq!(world.settle(), ["make network", "create web#1 r1", "create web#2 r1", "create web#3 r1"]);
    let addresses: std::collections::BTreeSet<String> =
        world.instances.iter().map(|i| format!("{:?}", i.observed.spec.network)).collect();
    assert_eq!(addresses.len(), 3);
}

#[test]
fn a_service_without_ports_must_run_a_second() {
    let mut world = World::of(vec![service("worker")]);
    world.settle();
    assert!(!world.plan().is_settled());
    assert!(world.pass(SECOND).plan().is_settled());
}

#[test]
fn a_published_port_on_which_nothing_listens_is_never_ready() {
    let mut world = World::of(vec![published(service("web"), 80)]);
    world.deaf.insert("web".into());
    world.settle();
    world.instances[0].observed.listening = vec![8080];
    assert!(world.pass(59 * SECOND).plan().failures.is_empty());
    let plan = world.pass(SECOND).plan();
    assert_eq!(
        plan.failures[0].reason,
        "did not become ready within 1 min 0 s: waiting for something to listen on port 80; it listens on 8080"
    );
}
