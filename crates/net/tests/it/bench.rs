//! How long it takes: printed by `cargo test -p net --release -- --ignored --nocapture bench`.

use crate::world::*;
use std::time::{Duration, Instant};

fn report(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{what:<28} min {:>7.2?}  median {:>7.2?}  p95 {:>7.2?}", at(0.0), at(0.5), at(0.95));
    at(0.5)
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

#[test]
#[ignore = "a measurement"]
fn bench() {
    let Some(world) = World::new() else { return };
    let _internet = internet(&world);
    let (mut made, mut again, mut removed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..40 {
        made.push(timed(|| ensure(&network(1))));
        again.push(timed(|| ensure(&network(1))));
        removed.push(timed(|| net::remove_bridge("jct1").unwrap()));
    }
    report("bridge, made", made);
    report("bridge, there already", again);
    report("bridge, removed", removed);
    ensure(&network(1));
    let (mut made, mut again, mut removed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..100 {
        made.push(timed(|| drop(world.instance("web1", &[(&network(1), [1, 0])]))));
        again.push(timed(|| drop(world.instance("web1", &[(&network(1), [1, 0])]))));
        removed.push(timed(|| world.remove("web1")));
    }
    report("instance, made", made);
    report("instance, there already", again);
    report("instance, removed", removed);
}
