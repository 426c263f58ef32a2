//! Who may open a journal, and what it looks like on disk.

use crate::kit::{Journal, change};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use store::{Intent, Ledger as _, SqliteLedger, StoreError};

fn open_error(path: &std::path::Path) -> StoreError {
    SqliteLedger::open(path).err().expect("it must not open")
}

#[test]
fn everything_on_disk_is_private() {
    let journal = Journal::new();
    journal.append("shop", change(Intent::Up, &[]));
    let mut names = Vec::new();
    for file in std::fs::read_dir(journal.directory.path()).expect("the directory") {
        let file = file.expect("an entry");
        let mode = file.metadata().expect("metadata").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", file.file_name());
        names.push(file.file_name().into_string().expect("UTF-8"));
    }
    names.sort();
    assert_eq!(names, ["journal.db", "journal.db-shm", "journal.db-wal", "journal.db.lock"]);
}

#[test]
fn a_file_with_a_wider_mode_is_made_private() {
    let journal = Journal::new();
    let path = journal.path();
    let Journal { directory: _directory, ledger } = journal;
    drop(ledger);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    let _ledger = SqliteLedger::open(&path).expect("open");
    assert_eq!(std::fs::metadata(&path).expect("metadata").permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_second_ledger_of_this_process_is_refused() {
    let journal = Journal::new();
    assert!(matches!(open_error(&journal.path()), StoreError::Locked(p) if p == journal.path()));
}

#[test]
fn a_second_process_is_refused_until_the_first_is_dead() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("journal.db");
    let mut holder = Command::new(env!("CARGO_BIN_EXE_journal-probe"))
        .args(["hold".as_ref(), path.as_os_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the probe");
    let mut line = String::new();
    BufReader::new(holder.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    assert_eq!(line, "held\n");
    let refused = open_error(&path);
    holder.kill().expect("kill");
    holder.wait().expect("wait");
    assert!(matches!(refused, StoreError::Locked(_)), "{refused}");
    SqliteLedger::open(&path).expect("the lock went with the process");
}

#[test]
fn a_newer_form_is_refused_and_left_as_it_is() {
    let journal = Journal::new();
    journal.append("shop", change(Intent::Up, &[]));
    journal.sql("PRAGMA user_version = 2");
    let path = journal.path();
    let Journal { directory: _directory, ledger } = journal;
    drop(ledger);
    let before = std::fs::read(&path).expect("the file");
    let error = open_error(&path);
    assert!(matches!(error, StoreError::Newer { found: 2, known: 1, .. }), "{error}");
    assert_eq!(std::fs::read(&path).expect("the file"), before);
}

#[test]
fn a_file_that_is_no_journal_is_refused_by_name() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("journal.db");
    std::fs::write(&path, "something a person wrote, longer than a header ".repeat(30)).expect("write");
    let error = open_error(&path);
    assert!(error.to_string().contains("journal.db"), "{error}");
    assert!(std::fs::read_to_string(&path).expect("read").starts_with("something"));
}

#[test]
fn a_closed_journal_is_one_file_and_opens_as_it_was() {
    let journal = Journal::new();
    journal.up("shop", 1);
    let before = journal.ledger.stacks().expect("stacks");
    let journal = journal.reopen();
    assert_eq!(journal.ledger.stacks().expect("stacks"), before);
    assert_eq!(before.len(), 1);
}

#[test]
fn a_view_that_cannot_be_read_is_derived_again_when_the_journal_is_opened() {
    let journal = Journal::new();
    journal.up("shop", 1);
    let before = journal.ledger.stacks().expect("stacks");
    assert_eq!(journal.sql("UPDATE views SET body = '{\"name\":\"shop\"}'"), 1);
    assert!(matches!(journal.ledger.stacks(), Err(StoreError::DamagedView { .. })));
    assert_eq!(journal.reopen().ledger.stacks().expect("stacks"), before);
}

#[test]
fn views_of_an_older_derivation_are_derived_again() {
    let journal = Journal::new();
    journal.up("shop", 1);
    let before = journal.ledger.stacks().expect("stacks");
    journal.sql("UPDATE meta SET value = 0");
    journal.sql("DELETE FROM views");
    assert_eq!(journal.reopen().ledger.stacks().expect("stacks"), before);
}
