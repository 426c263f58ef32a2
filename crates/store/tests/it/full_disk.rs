//! A full disk: the call fails as `Full`, nothing of it stays, and the journal goes on afterwards.

use crate::kit::{change, stack_name};
use model::Timestamp;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use std::path::Path;
use store::{Draft, HistoryQuery, Intent, Ledger as _, SqliteLedger, StoreError};

const DISK: &str = "size=2m,mode=0700";

/// Runs `test` with a disk of two megabytes at the path it is given.
///
/// The mount is made in a mount namespace of one thread and of those it starts, so that it goes
/// away with them whatever happens.
fn on_a_small_disk(test: impl FnOnce(&Path) + Send) {
    assert!(rustix::process::geteuid().is_root(), "mounting a small disk needs root");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let directory = directory.path();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // SAFETY: this thread shares no file system state that another thread relies on.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }
                .expect("a mount namespace");
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
                .expect("private mounts");
            let data = std::ffi::CString::new(DISK).expect("no zero byte");
            mount("tmpfs", directory, "tmpfs", MountFlags::empty(), Some(data.as_c_str()))
                .expect("a small disk");
            test(directory);
        });
    });
}

fn draft(blob: Vec<u8>) -> Draft {
    let event = change(Intent::Up, &[]);
    Draft { stack: Some(stack_name("shop")), actor: "ada".into(), event, blobs: vec![blob] }
}

fn entries(ledger: &SqliteLedger) -> usize {
    let query = HistoryQuery { limit: usize::MAX, ..Default::default() };
    ledger.history(&query).expect("history").len()
}

/// Appends until the disk is full; the number of calls that succeeded.
fn fill(ledger: &SqliteLedger) -> usize {
    for written in 0..200_usize {
        let blob = [&written.to_le_bytes()[..], &[7; 40_000]].concat();
        match ledger.append(Timestamp(0), vec![draft(vec![1]), draft(blob)]) {
            Ok(_) => {}
            Err(StoreError::Full) => return written,
            Err(other) => panic!("{other:?}"),
        }
    }
    panic!("two megabytes took 200 calls of 40 kB");
}

#[test]
fn a_full_disk_is_named_and_nothing_half_written_stays() {
    on_a_small_disk(|disk| {
        let ballast = disk.join("ballast");
        std::fs::write(&ballast, vec![0; 600_000]).expect("ballast");
        let ledger = SqliteLedger::open(&disk.join("journal.db")).expect("a new journal");
        let written = fill(&ledger);
        assert!(written > 3, "{written}");
        assert_eq!(entries(&ledger), written * 2, "a call is there as a whole or not at all");
        let report = ledger.verify().expect("a report");
        assert!(report.is_whole(), "{report:?}");

        std::fs::remove_file(&ballast).expect("space returns");
        let went_on = ledger.append(Timestamp(0), vec![draft(vec![2])]).expect("it goes on");
        assert_eq!(went_on[0].seq, written as u64 * 2 + 1);
        drop(ledger);
        let ledger = SqliteLedger::open(&disk.join("journal.db")).expect("open");
        assert!(ledger.verify().expect("a report").is_whole());
        assert_eq!(entries(&ledger), written * 2 + 1);
    });
}

#[test]
fn a_small_entry_is_written_where_a_large_one_of_the_same_group_finds_no_space() {
    on_a_small_disk(|disk| {
        let ledger = SqliteLedger::open(&disk.join("journal.db")).expect("a new journal");
        ledger.append(Timestamp(0), vec![draft(vec![])]).expect("append");
        // The write lock is held until both calls wait, so that they come as one group.
        let blocker = rusqlite::Connection::open(disk.join("journal.db")).expect("open");
        blocker.execute_batch("BEGIN IMMEDIATE").expect("the write lock");
        std::thread::scope(|scope| {
            let first = scope.spawn(|| ledger.append(Timestamp(0), vec![draft(vec![1])]));
            while ledger.stats().calls < 2 {
                std::thread::yield_now();
            }
            let large = scope.spawn(|| ledger.append(Timestamp(0), vec![draft(vec![0; 5 << 20])]));
            let small = scope.spawn(|| ledger.append(Timestamp(0), vec![draft(vec![2])]));
            while ledger.stats().calls < 4 {
                std::thread::yield_now();
            }
            blocker.execute_batch("ROLLBACK").expect("rollback");
            assert!(first.join().expect("no panic").is_ok());
            assert!(matches!(large.join().expect("no panic"), Err(StoreError::Full)));
            assert!(small.join().expect("no panic").is_ok());
        });
        assert_eq!(entries(&ledger), 3);
        assert!(ledger.verify().expect("a report").is_whole());
    });
}

#[test]
fn a_journal_cannot_be_made_on_a_full_disk_and_says_so() {
    on_a_small_disk(|disk| {
        let ballast = disk.join("ballast");
        let mut size = 2 << 20;
        while std::fs::write(&ballast, vec![0; size]).is_err() {
            size -= 4096;
        }
        let error = SqliteLedger::open(&disk.join("journal.db")).err().expect("no space");
        assert!(matches!(error, StoreError::Full), "{error:?}");
        std::fs::remove_file(&ballast).expect("space returns");
        SqliteLedger::open(&disk.join("journal.db")).expect("what was left behind does no harm");
    });
}
