use crate::world::{World, published, service};
use model::instance::Health;
use plan::routes::{Routed, table};
use std::collections::BTreeSet;

fn told(world: &mut World, draining: &BTreeSet<model::InstanceId>) -> Vec<String> {
    world.note_ready();
    let table = table(&[Routed { draining, ..world.routed() }], &BTreeSet::new(), 1);
    let listeners = table.listeners.iter().map(|l| {
        let ends = &table.backends[&l.backend].endpoints;
        let ends: Vec<String> = ends
            .iter()
            .map(|e| format!("{}{}", e.address, if e.draining { " draining" } else { "" }))
            .collect();
        format!("{} -> {}", l.address, ends.join(", "))
    });
    let zones = table.zones.iter().flat_map(|z| z.names.iter().map(|(n, a)| format!("{n} = {a:?}")));
    let short = zones.filter(|z| !z.starts_with(|c: char| c.is_ascii_hexdigit() && z.len() > 28));
    listeners.chain(short).collect()
}

#[test]
fn published_ports_and_names_lead_to_ready_instances() {
    let mut world = World::of(vec![published(service("web"), 80)]);
    world.settle();
    let lines = told(&mut world, &BTreeSet::new());
    assert!(lines.contains(&"0.0.0.0:80 -> 10.208.1.0:80".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"10.208.0.2:80 -> 10.208.1.0:80".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"web = [10.208.0.2]".to_owned()), "{lines:#?}");
    assert!(lines.contains(&"shop-web-1 = [10.208.1.0]".to_owned()), "{lines:#?}");
}

#[test]
fn an_unhealthy_instance_gets_nothing() {
    let mut world = World::of(vec![published(service("web"), 80)]);
    world.settle();
    world.health("web", Health::Unhealthy);
    assert!(told(&mut world, &BTreeSet::new()).contains(&"0.0.0.0:80 -> 10.208.1.0:80 draining".to_owned()));
}

#[test]
fn a_draining_instance_is_marked_and_others_take_over() {
    let mut web = published(service("web"), 80);
    web.replicas = 2;
    let mut world = World::of(vec![web]);
    world.settle();
    let first = world.instances[0].observed.spec.id.clone();
    let lines = told(&mut world, &BTreeSet::from([first]));
    assert!(lines.contains(&"0.0.0.0:80 -> 10.208.1.1:80, 10.208.1.0:80 draining".to_owned()), "{lines:#?}");
}

#[test]
fn a_direct_service_resolves_to_its_instances() {
    let mut web = published(service("web"), 80);
    web.policy.direct = true;
    let mut world = World::of(vec![web]);
    world.settle();
    let lines = told(&mut world, &BTreeSet::new());
    assert!(lines.contains(&"web = [10.208.1.0]".to_owned()), "{lines:#?}");
    assert!(!lines.iter().any(|l| l.starts_with("10.208.0.2:80")), "{lines:#?}");
}
