//! A process of its own that writes a journal: killed by tests, and the source of the figures.
//!
//! `append PATH THREADS` appends until it is killed and prints `SEQ HASH` of each entry it was
//! told is on disk; `hold PATH` keeps the journal open until its input ends; `bench PATH` prints
//! what one append costs, alone and with others.

use model::{Digest, StackName, Timestamp};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};
use store::{Draft, Event, Intent, Ledger, SqliteLedger, StoreError};

fn main() -> Result<(), StoreError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["append", path, threads] => append(Path::new(path), threads.parse().expect("a number of threads")),
        ["hold", path] => hold(Path::new(path)),
        ["bench", path] => bench(Path::new(path)),
        _ => panic!("usage: journal-probe append PATH THREADS | hold PATH | bench PATH"),
    }
}

fn draft(thread: usize, round: u64) -> Draft {
    // From a few bytes to several pages, so that a kill meets writes of every size.
    let blob = vec![thread as u8; (round as usize * 977) % 20_000];
    Draft {
        stack: Some(StackName::new(format!("stack-{thread}")).expect("valid")),
        actor: "probe (test)".into(),
        event: Event::ChangeAccepted {
            intent: Intent::Up,
            stack: Some(Digest::of(&blob)),
            services: vec![],
            why: format!("round {round}"),
            from: None,
            again: false,
        },
        blobs: vec![blob],
    }
}

fn append(path: &Path, threads: usize) -> Result<(), StoreError> {
    let ledger = SqliteLedger::open(path)?;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let ledger = &ledger;
            scope.spawn(move || {
                for round in 0.. {
                    let drafts = vec![draft(thread, round), draft(thread, round + 1)];
                    let entries = ledger.append(Timestamp(round as i64), drafts).expect("append");
                    let lines: String = entries.iter().map(|e| format!("{} {}\n", e.seq, e.hash)).collect();
                    // One write, so that a line is whole or absent when the kill comes.
                    std::io::stdout().write_all(lines.as_bytes()).expect("a reader");
                    std::io::stdout().flush().expect("a reader");
                }
            });
        }
    });
    Ok(())
}

fn hold(path: &Path) -> Result<(), StoreError> {
    let _ledger = SqliteLedger::open(path)?;
    println!("held");
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).expect("standard input");
    Ok(())
}

fn bench(path: &Path) -> Result<(), StoreError> {
    let ledger = SqliteLedger::open(path)?;
    for (threads, rounds) in [(1, 500), (8, 500), (64, 100)] {
        let before = ledger.stats();
        let (took, mut each) = appends(&ledger, threads, rounds)?;
        each.sort();
        let after = ledger.stats();
        let calls = (after.calls - before.calls) as f64;
        println!(
            "{threads:>3} writers: {:>7.0} appends/s, median {:>7.3} ms, p99 {:>7.3} ms, {:>5.1} appends per commit",
            calls / took.as_secs_f64(),
            each[each.len() / 2].as_secs_f64() * 1e3,
            each[each.len() * 99 / 100].as_secs_f64() * 1e3,
            calls / (after.commits - before.commits) as f64,
        );
    }
    let start = Instant::now();
    let report = ledger.verify()?;
    println!("verify: {} entries in {:.1} ms", report.entries, start.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

fn appends(
    ledger: &SqliteLedger,
    threads: usize,
    rounds: usize,
) -> Result<(Duration, Vec<Duration>), StoreError> {
    let start = Instant::now();
    let each = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    (0..rounds)
                        .map(|_| {
                            let begun = Instant::now();
                            ledger.append(Timestamp(0), vec![draft(thread, 1)]).map(|_| begun.elapsed())
                        })
                        .collect::<Result<Vec<_>, _>>()
                })
            })
            .collect();
        workers.into_iter().map(|w| w.join().expect("no panic")).collect::<Result<Vec<_>, _>>()
    })?;
    Ok((start.elapsed(), each.concat()))
}
