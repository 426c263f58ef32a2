//! The metrics that services show themselves, read by a task for each place that shows some.
//!
//! Where nobody shows any, nothing of this runs: no task, no timer.

use super::{now_ms, probe, pulse};
use model::{DurationMs, StackName};
use observe::api::{Known, Targets};
use observe::keep::Metrics;
use observe::scrape::fetch::{Asked, Room, fetch};
use observe::scrape::target::{Place, Target};
use run::control::{Control, Scraped};
use run::engine::Engine;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::sleep;

/// Places that are read.
const TARGETS_MAX: usize = 500;
/// How long a change is given to settle before it is looked at who runs now.
const SETTLE: Duration = Duration::from_millis(200);

/// What all tasks share.
#[derive(Clone)]
pub struct Scrapes {
    pub metrics: Arc<Metrics>,
    pub known: Known,
    pub targets: Targets,
    pub engine: Arc<dyn Engine>,
    pub room: Room,
}

/// One that is read; it ends when this is dropped, and says so in the store.
struct Running {
    scraped: Scraped,
    _until: oneshot::Sender<()>,
}

/// Goes on until the daemon ends.
pub async fn follow(scrapes: Scrapes, control: Arc<dyn Control>) {
    let mut changed = control.watch();
    let mut running: BTreeMap<String, Running> = BTreeMap::new();
    let mut asked = probe::Asked::new();
    let mut is_full = false;
    loop {
        changed.mark_unchanged();
        if let Ok(wanted) = control.scraped().await {
            let was_full = is_full;
            is_full = wanted.len() > TARGETS_MAX;
            if is_full && !was_full {
                eprintln!("metrics of {} places are shown, and {TARGETS_MAX} are read", wanted.len());
            }
            reconcile(&scrapes, &mut running, wanted);
        }
        if let Ok(wanted) = control.probed().await {
            probe::reconcile(&scrapes, &mut asked, wanted);
        }
        if changed.changed().await.is_err() {
            return;
        }
        sleep(SETTLE).await;
    }
}

fn reconcile(scrapes: &Scrapes, running: &mut BTreeMap<String, Running>, wanted: Vec<Scraped>) {
    let wanted: BTreeMap<String, Scraped> =
        wanted.into_iter().take(TARGETS_MAX).map(|scraped| (name(&scraped), scraped)).collect();
    running.retain(|name, one| wanted.get(name) == Some(&one.scraped));
    for (name, scraped) in wanted {
        running.entry(name.clone()).or_insert_with(|| {
            let (until, ended) = oneshot::channel();
            tokio::spawn(read(scrapes.clone(), name, scraped.clone(), ended));
            Running { scraped, _until: until }
        });
    }
}

/// The name of the target in the store.
fn name(scraped: &Scraped) -> String {
    format!("scrape/{}:{}{}", scraped.id, scraped.endpoint.port, scraped.endpoint.path)
}

fn labels(scraped: &Scraped) -> Vec<(String, String)> {
    let endpoint = &scraped.endpoint;
    let job = endpoint.job.clone().unwrap_or_else(|| scraped.service.to_string());
    let own = [
        ("job", job),
        ("instance", scraped.id.to_string()),
        ("service", scraped.service.to_string()),
        ("stack", scraped.stack.to_string()),
    ];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
    let declared = endpoint.labels.iter().map(|(name, value)| (name.clone(), value.clone()));
    declared.chain(own).collect()
}

/// Reads one place until it is not wanted any more.
async fn read(scrapes: Scrapes, name: String, scraped: Scraped, mut ended: oneshot::Receiver<()>) {
    let endpoint = &scraped.endpoint;
    let asked = Asked {
        host: scraped.address.to_string(),
        path: endpoint.path.clone(),
        limit: endpoint.timeout().as_std(),
    };
    let place = Place {
        pool: pool(&scraped.stack, &scraped),
        url: format!("http://{}{}", asked.host, asked.path),
        interval: endpoint.interval().as_std(),
        timeout: asked.limit,
    };
    let mut target = Target::new(&name, labels(&scraped), place);
    scrapes.targets.set(&name, target.status());
    let mut last = i64::MIN;
    loop {
        let second = next(now_ms().max(last), endpoint.interval(), &name);
        let wait = Duration::from_millis((second - now_ms()).max(0) as u64);
        tokio::select! {
            () = sleep(wait) => {}
            _ = &mut ended => break,
        }
        // A clock that was set back: the store takes nothing before its newest.
        last = second;
        let begun = Instant::now();
        let connect = async { scrapes.engine.stream_socket(scraped.address)?.connect(scraped.address).await };
        let page = tokio::select! {
            page = fetch(connect, &asked, &scrapes.room) => page,
            _ = &mut ended => break,
        };
        let now = now_ms() / pulse::TICK_MS * pulse::TICK_MS;
        target.record(&scrapes.metrics, &scrapes.known, (second, now), page, begun.elapsed());
        scrapes.targets.set(&name, target.status());
    }
    target.end(&scrapes.metrics, now_ms());
    scrapes.targets.remove(&name);
}

fn pool(stack: &StackName, scraped: &Scraped) -> String {
    format!("{stack}/{}", scraped.service)
}

/// The next whole second at which it is this target's turn: not that of all others.
pub fn next(after_ms: i64, interval: DurationMs, name: &str) -> i64 {
    let interval_s = (interval.0 / 1000).max(1) as i64;
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let offset_s = (hasher.finish() % interval_s as u64) as i64;
    let after_s = after_ms.div_euclid(pulse::TICK_MS);
    let turns = (after_s - offset_s).div_euclid(interval_s) + 1;
    (turns * interval_s + offset_s) * pulse::TICK_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_whole_seconds_at_their_distance() {
        for seconds in [1, 2, 10, 120] {
            let interval = DurationMs::from_secs(seconds);
            let start = 1_790_000_000_123;
            let first = next(start, interval, "scrape/a");
            assert!(first > start && first - start <= interval.0 as i64, "{first}");
            assert_eq!(first % 1000, 0);
            assert_eq!(next(first, interval, "scrape/a"), first + interval.0 as i64);
            assert_eq!(next(first + 1, interval, "scrape/a"), first + interval.0 as i64);
        }
    }
}
