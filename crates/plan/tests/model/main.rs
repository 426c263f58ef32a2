//! The planner under random schedules: deploys, rollbacks, crashes, slow and bad programs, failing
//! health checks, failing steps and killed daemons, and what must hold all the same.
//!
//! `JUCHU_MODEL_CASES` says how many cases, `JUCHU_MODEL_SEED` which one alone, with its story.

mod case;
mod change;
mod conclude;
mod daemon;
mod end;
mod journal;
mod machine;
mod operation;
mod program;
mod random;
mod schedule;
mod shop;
mod watch;
mod world;

use case::Tally;
use std::sync::atomic::{AtomicU64, Ordering};

/// Cases unless said otherwise.
const CASES: u64 = 2_000;
/// Failing seeds after which no more are looked for.
const FAILURES: usize = 3;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

mod slow {
    use super::*;

    #[test]
    fn random_schedules_keep_every_promise() {
        if let Some(seed) = number("JUCHU_MODEL_SEED") {
            println!("{}", case::story(seed));
            if let Err(text) = case::run(seed) {
                panic!("{text}");
            }
            return;
        }
        let (cases, first) =
            (number("JUCHU_MODEL_CASES").unwrap_or(CASES), number("JUCHU_MODEL_FIRST").unwrap_or(0));
        let next = AtomicU64::new(first);
        let failures = std::sync::Mutex::new(Vec::new());
        let work = || {
            let mut tally = Tally::default();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                let failed = failures.lock().expect("nobody panics with it").len();
                if seed >= first + cases || failed >= FAILURES {
                    return tally;
                }
                match case::run(seed) {
                    Ok(one) => tally.add(one),
                    Err(text) => failures.lock().expect("nobody panics with it").push(text),
                }
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        let mut total = Tally::default();
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            for worker in workers {
                total.add(worker.join().expect("a case that panics is a failure of its own"));
            }
        });
        println!("{total:?}");
        let failures = failures.into_inner().expect("nobody panics with it");
        assert!(failures.is_empty(), "{} broken promises\n\n{}", failures.len(), failures.join("\n\n"));
    }
}
