//! Calls that wait together share a commit; readers are never kept waiting.

use crate::kit::{Journal, change, stack_name};
use model::{StackName, Timestamp};
use std::sync::atomic::{AtomicBool, Ordering};
use store::{Draft, HistoryQuery, Intent, Ledger as _, StoreError};

fn draft(stack: &str) -> Draft {
    let event = change(Intent::Up, &[]);
    Draft { stack: Some(stack_name(stack)), actor: "ada".into(), event, blobs: vec![] }
}

#[test]
fn calls_that_wait_share_one_commit() {
    const CALLS: u64 = 100;
    let journal = Journal::new();
    let ledger = &journal.ledger;
    let blocker = rusqlite::Connection::open(journal.path()).expect("open");
    blocker.execute_batch("BEGIN IMMEDIATE").expect("the write lock");
    let mut seqs: Vec<u64> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..CALLS)
            .map(|i| scope.spawn(move || ledger.append(Timestamp(i as i64), vec![draft("shop")])))
            .collect();
        while ledger.stats().calls < CALLS {
            std::thread::yield_now();
        }
        blocker.execute_batch("ROLLBACK").expect("rollback");
        calls.into_iter().map(|c| c.join().expect("no panic").expect("append")[0].seq).collect()
    });
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=CALLS).collect::<Vec<_>>());
    // What had begun when the lock was taken, and one group for the rest.
    let commits = ledger.stats().commits;
    assert!(commits <= 2, "{commits} commits for {CALLS} calls");
    assert!(ledger.verify().expect("a report").is_whole());
}

#[test]
fn drafts_of_one_call_stay_together_and_in_order() {
    let journal = Journal::new();
    let drafts = ["a", "b", "a", "c"].map(draft).to_vec();
    let entries = journal.ledger.append(Timestamp(5), drafts).expect("append");
    let stacks: Vec<_> = entries.iter().map(|e| e.stack.as_ref().map(StackName::as_str)).collect();
    assert_eq!(stacks, [Some("a"), Some("b"), Some("a"), Some("c")]);
    assert_eq!(entries.iter().map(|e| e.seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(journal.ledger.stats().commits, 1);
    let read = journal.ledger.history(&HistoryQuery { limit: 10, ..Default::default() });
    assert_eq!(read.expect("history"), entries);
    assert_eq!(journal.ledger.append(Timestamp(5), vec![]).expect("append"), []);
}

#[test]
fn readers_go_on_while_the_writer_waits() {
    let journal = Journal::new();
    journal.up("shop", 1);
    let ledger = &journal.ledger;
    let blocker = rusqlite::Connection::open(journal.path()).expect("open");
    blocker.execute_batch("BEGIN IMMEDIATE").expect("the write lock");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| ledger.append(Timestamp(0), vec![draft("shop")]));
        while ledger.stats().calls < 5 {
            std::thread::yield_now();
        }
        // More readers than there are connections; each ends although the writer cannot.
        let readers: Vec<_> = (0..20)
            .map(|_| {
                scope.spawn(|| (ledger.stacks().expect("stacks").len(), ledger.verify().expect("report")))
            })
            .collect();
        for reader in readers {
            let (stacks, report) = reader.join().expect("no panic");
            assert_eq!((stacks, report.entries), (1, 4));
        }
        assert!(!writer.is_finished());
        blocker.execute_batch("ROLLBACK").expect("rollback");
        assert_eq!(writer.join().expect("no panic").expect("append")[0].seq, 5);
    });
}

#[test]
fn a_reader_sees_whole_commits_only() {
    let journal = Journal::new();
    let ledger = &journal.ledger;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut reads = 0;
                    while !done.load(Ordering::Relaxed) {
                        let report = ledger.verify().expect("a report");
                        assert!(report.is_whole() && report.entries.is_multiple_of(3), "{report:?}");
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        for _ in 0..100 {
            ledger.append(Timestamp(0), ["a", "b", "a"].map(draft).to_vec()).expect("append");
        }
        done.store(true, Ordering::Relaxed);
        let reads: i32 = readers.into_iter().map(|r| r.join().expect("no panic")).sum();
        assert!(reads > 0);
    });
}

#[test]
fn what_is_too_large_is_refused_before_it_is_queued() {
    let journal = Journal::new();
    let mut large = draft("shop");
    large.blobs = vec![vec![0; store::sqlite::BLOB_BYTES_MAX + 1]];
    let many = vec![draft("shop"); store::sqlite::DRAFTS_MAX + 1];
    let mut long = draft("shop");
    let why = "x".repeat(store::sqlite::EVENT_BYTES_MAX);
    long.event = store::Event::ChangeAccepted {
        intent: Intent::Up,
        stack: None,
        services: vec![],
        why,
        from: None,
        again: false,
    };
    for drafts in [vec![large], many, vec![draft("shop"), long]] {
        let error = journal.ledger.append(Timestamp(0), drafts).expect_err("too large");
        assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
    }
    assert_eq!(journal.ledger.verify().expect("a report").entries, 0);
}

#[test]
fn content_at_the_limit_is_kept() {
    let journal = Journal::new();
    let mut draft = draft("shop");
    let content = vec![1; store::sqlite::BLOB_BYTES_MAX];
    let digest = model::Digest::of(&content);
    draft.blobs = vec![content];
    journal.ledger.append(Timestamp(0), vec![draft]).expect("append");
    let read = journal.ledger.blob(&digest).expect("read").expect("there");
    assert_eq!(read.len(), store::sqlite::BLOB_BYTES_MAX);
}
