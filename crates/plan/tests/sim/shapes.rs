//! Properties that hold for any small stack under any order of events.

use crate::world::{World, after, published, restarting, service};
use model::service::{Condition, RestartPolicy};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Happens {
    Exit(usize, i32),
    Pass(u64),
    Change(usize),
    Scale(usize, u32),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        (0..3usize, 0..2i32).prop_map(|(s, c)| Happens::Exit(s, c)),
        (1..20_000u64).prop_map(Happens::Pass),
        (0..3usize).prop_map(Happens::Change),
        (0..3usize, 0..4u32).prop_map(|(s, n)| Happens::Scale(s, n)),
    ]
}

const NAMES: [&str; 3] = ["db", "queue", "web"];

fn services(versions: &[u32; 3], replicas: &[u32; 3]) -> Vec<model::Service> {
    let policy = [RestartPolicy::Always, RestartPolicy::UnlessStopped, RestartPolicy::Always];
    let mut all: Vec<model::Service> = (0..3)
        .map(|i| {
            let mut this = restarting(published(service(NAMES[i]), 80 + i as u16), policy[i]);
            this.replicas = replicas[i];
            this.environment.insert("VERSION".into(), versions[i].to_string());
            this
        })
        .collect();
    all[2] = after(all[2].clone(), "db", Condition::ServiceHealthy);
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Whatever happened, when it stops happening the stack becomes what was declared last, and
    /// no two instances ever share an address.
    #[test]
    fn every_story_ends_as_declared(events in proptest::collection::vec(happens(), 0..24)) {
        let (mut versions, mut replicas) = ([1; 3], [1; 3]);
        let mut world = World::of(services(&versions, &replicas));
        world.settle();
        for event in events {
            match event {
                Happens::Exit(s, code) => { world.exits(NAMES[s], code); }
                Happens::Pass(ms) => { world.pass(ms); }
                Happens::Change(s) => { versions[s] += 1; world.declare(services(&versions, &replicas)); }
                Happens::Scale(s, n) => { replicas[s] = n; world.declare(services(&versions, &replicas)); }
            }
            world.turn();
            let mut addresses: Vec<String> =
                world.instances.iter().map(|i| format!("{:?}", i.observed.spec.network)).collect();
            let count = addresses.len();
            addresses.sort();
            addresses.dedup();
            prop_assert_eq!(addresses.len(), count);
        }
        for _ in 0..8 {
            world.settle();
            world.pass(61_000);
        }
        world.settle();
        let plan = world.plan();
        prop_assert!(plan.is_settled(), "{:?} {:?} {:?}", plan.steps, plan.waiting, plan.unsettled);
        prop_assert_eq!(world.instances.len() as u32, replicas.iter().sum::<u32>());
    }
}
