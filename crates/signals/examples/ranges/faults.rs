//! Twenty kinds of faults, each at several services at several times of a day: whether an incident
//! is opened, how long it takes, and whether the service is among the first three named.

use super::system::{DAY_MS, Fault, NONE, System};
use signals::incident::NewsKind;
use signals::range::EVERY_MS;

const KINDS: [Fault; 20] = [
    Fault { name: "process dead", instances: 1.0, ..NONE },
    Fault { name: "port closed", ports: 1.0, errors: 0.9, ..NONE },
    Fault { name: "crash loop", restarts: 3.0, instances: 1.0, errors: 0.4, ..NONE },
    Fault { name: "one restart", restarts: 1.0, ..NONE },
    Fault { name: "all requests fail", errors: 1.0, ..NONE },
    Fault { name: "a fifth fails", errors: 0.2, ..NONE },
    Fault { name: "one in twenty fails", errors: 0.05, ..NONE },
    Fault { name: "latency ten times", latency: 10.0, ..NONE },
    Fault { name: "latency four times", latency: 4.0, ..NONE },
    Fault { name: "cpu loop", cpu: 1.0, waiting: 0.6, ..NONE },
    Fault { name: "cpu stolen", cpu: 0.0, latency: 4.0, waiting: 0.8, ..NONE },
    Fault { name: "memory grows at once", memory_mib: 600.0, ..NONE },
    Fault { name: "memory short, swapping", memory_mib: 300.0, latency: 8.0, waiting: 0.7, ..NONE },
    Fault { name: "disk slow", latency: 5.0, waiting: 0.9, ..NONE },
    Fault { name: "disk full", errors: 0.6, ..NONE },
    Fault { name: "packets lost", latency: 6.0, errors: 0.03, ..NONE },
    Fault { name: "partitioned", errors: 0.95, load: 0.2, ..NONE },
    Fault { name: "pool exhausted", latency: 15.0, errors: 0.1, passed_latency: 0.9, ..NONE },
    Fault { name: "nobody comes", load: 0.02, ..NONE },
    Fault { name: "certificate refused", errors: 0.8, load: 0.8, ..NONE },
];
/// How long a fault lasts, and how long it is quiet before the next.
const LASTS_MS: i64 = 10 * 60_000;
const REST_MS: i64 = 3 * 60 * 60_000;
/// What was found later than this was not found.
const LIMIT_MS: i64 = 120_000;
const PLACES: [usize; 5] = [4, 8, 12, 17, 21];

pub fn run() {
    let mut system = System::new(25, 2);
    for _ in 0..4 * DAY_MS / EVERY_MS {
        system.step(None);
    }
    let (mut kinds, mut found, mut named, mut all, mut times) = (0, 0, 0, 0, Vec::new());
    for kind in &KINDS {
        let (mut of_kind, mut first) = (0, 0);
        for place in PLACES {
            for _ in 0..REST_MS / EVERY_MS {
                system.step(None);
            }
            all += 1;
            if let Some((took, is_named)) = inject(&mut system, place, kind) {
                of_kind += 1;
                first += usize::from(is_named);
                times.push(took);
            }
        }
        eprintln!("{:<24} found {of_kind} of {}, named {first}", kind.name, PLACES.len());
        kinds += usize::from(of_kind == PLACES.len() && first == PLACES.len());
        (found, named) = (found + of_kind, named + first);
    }
    times.sort_unstable();
    println!("faults_found {found} of {all}");
    println!("faults_named {named} of {all}");
    println!("faults_kinds {kinds} of {}", KINDS.len());
    println!("faults_seconds {} {}", times[times.len() / 2] / 1000, times[times.len() * 95 / 100] / 1000);
}

/// How long it took until an incident named the service, and whether it was among the first three.
fn inject(system: &mut System, place: usize, fault: &Fault) -> Option<(i64, bool)> {
    let begun = system.now_ms;
    let stack = system.subject(place).stack.clone();
    let mut found = None;
    let mut numbers = Vec::new();
    for _ in 0..LASTS_MS / EVERY_MS {
        let news = system.step(Some((place, fault)));
        for one in news.iter().filter(|one| one.incident.subject.stack == stack) {
            if matches!(one.kind, NewsKind::Opened | NewsKind::Again | NewsKind::Worse) {
                numbers.push(one.incident.number);
                found = found.or(Some(system.now_ms - begun).filter(|took| *took <= LIMIT_MS));
            }
        }
    }
    let subject = system.subject(place);
    let open = system.book.open().filter(|incident| incident.subject.stack == stack);
    let told = numbers.iter().filter_map(|number| system.book.get(*number));
    let is_named = open.chain(told).any(|incident| incident.suspects().contains(&subject));
    found.map(|took| (took, is_named))
}
