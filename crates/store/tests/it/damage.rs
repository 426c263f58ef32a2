//! A flipped bit anywhere in what is kept is found, and the place is named.

use crate::kit::{Journal, change, stack_name};
use model::{Digest, StackName};
use store::record::chain::GENESIS;
use store::{Intent, Ledger as _, StoreError, VerifyReport};

/// A journal with two stacks and eight entries.
fn sample() -> Journal {
    let journal = Journal::new();
    journal.up("shop", 1);
    journal.up("blog", 1);
    journal
}

/// Flips the lowest bit of one byte of a column.
fn flip(journal: &Journal, table: &str, column: &str, at: usize, condition: &str) {
    let connection = rusqlite::Connection::open(journal.path()).expect("open");
    let select = format!("SELECT rowid, CAST({column} AS BLOB) FROM {table} WHERE {condition}");
    let (row, mut bytes): (i64, Vec<u8>) =
        connection.query_row(&select, [], |r| Ok((r.get(0)?, r.get(1)?))).expect("the row");
    bytes[at] ^= 1;
    let text = column != "content";
    let value = if text { "CAST(?1 AS TEXT)" } else { "?1" };
    let update = format!("UPDATE {table} SET {column} = {value} WHERE rowid = ?2");
    connection.execute(&update, rusqlite::params![bytes, row]).expect("update");
}

fn verify(journal: &Journal) -> VerifyReport {
    journal.ledger.verify().expect("a report")
}

#[test]
fn a_whole_journal_is_whole() {
    let journal = sample();
    let report = verify(&journal);
    assert!(report.is_whole(), "{report:?}");
    assert_eq!(report.entries, 8);
    let last = journal.ledger.history(&store::HistoryQuery { limit: 1, ..Default::default() });
    assert_eq!(report.head, last.expect("history")[0].hash);
}

#[test]
fn an_empty_journal_is_whole() {
    let report = verify(&Journal::new());
    assert!(report.is_whole());
    assert_eq!((report.entries, report.head.as_str()), (0, GENESIS));
}

#[test]
fn a_flipped_bit_in_any_column_of_an_entry_is_found_and_named() {
    for column in ["stack", "actor", "kind", "body", "blobs", "hash", "prev"] {
        // The sixth entry brought content, so that no column of it is empty.
        let journal = sample();
        flip(&journal, "journal", column, 3, "seq = 6");
        let report = verify(&journal);
        assert_eq!(report.broken_at, Some(6), "{column}");
    }
}

#[test]
fn every_byte_of_a_body_counts() {
    let journal = sample();
    let connection = rusqlite::Connection::open(journal.path()).expect("open");
    let length: usize = connection
        .query_row("SELECT length(body) FROM journal WHERE seq = 4", [], |r| r.get::<_, i64>(0))
        .expect("the row") as usize;
    for at in 0..length {
        flip(&journal, "journal", "body", at, "seq = 4");
        assert_eq!(verify(&journal).broken_at, Some(4), "byte {at}");
        flip(&journal, "journal", "body", at, "seq = 4");
    }
    assert!(verify(&journal).is_whole());
}

#[test]
fn an_altered_time_or_flag_is_found() {
    for statement in
        ["UPDATE journal SET at = at + 1 WHERE seq = 2", "UPDATE journal SET change = 0 WHERE seq = 2"]
    {
        let journal = sample();
        assert_eq!(journal.sql(statement), 1);
        assert_eq!(verify(&journal).broken_at, Some(2), "{statement}");
    }
}

#[test]
fn a_missing_entry_is_found() {
    let journal = sample();
    journal.sql("DELETE FROM journal WHERE seq = 3");
    assert_eq!(verify(&journal).broken_at, Some(3));
}

#[test]
fn an_entry_written_anew_with_its_own_hash_breaks_the_next() {
    let journal = sample();
    journal.sql("UPDATE journal SET actor = 'eve' WHERE seq = 3");
    // The forger computes the hash of the altered entry as this crate does.
    let connection = rusqlite::Connection::open(journal.path()).expect("open");
    let (body, blobs, prev): (String, String, String) = connection
        .query_row("SELECT body, blobs, prev FROM journal WHERE seq = 3", [], |r| {
            Ok((r.get(0)?, r.get(1)?, r.get(2)?))
        })
        .expect("the row");
    let forged = store::record::chain::Link {
        prev: prev.as_bytes(),
        seq: 3,
        at: 1_000,
        stack: Some(b"shop"),
        actor: b"eve",
        body: body.as_bytes(),
        blobs: blobs.as_bytes(),
    }
    .hash();
    connection.execute("UPDATE journal SET hash = ?1 WHERE seq = 3", [forged.as_str()]).expect("update");
    assert_eq!(verify(&journal).broken_at, Some(4));
}

#[test]
fn altered_content_is_named_and_not_handed_out() {
    let journal = sample();
    let digest = Digest::of(b"config shop 1");
    flip(&journal, "blobs", "content", 0, &format!("digest = '{digest}'"));
    let report = verify(&journal);
    assert_eq!((report.broken_at, &report.bad_blobs[..]), (None, &[digest.clone()][..]));
    assert!(matches!(journal.ledger.blob(&digest), Err(StoreError::DamagedBlob(d)) if d == digest));
}

#[test]
fn missing_content_that_a_release_needs_is_named() {
    for content in [&b"config shop 1"[..], b"bundle"] {
        let journal = Journal::new();
        let bundle = journal.up("shop", 1);
        let digest = Digest::of(if content == b"bundle" { &bundle } else { content });
        assert_eq!(journal.sql(&format!("DELETE FROM blobs WHERE digest = '{digest}'")), 1);
        assert_eq!(verify(&journal).bad_blobs, [digest]);
    }
}

#[test]
fn damaged_content_is_put_right_when_it_is_handed_in_again() {
    let journal = sample();
    let digest = Digest::of(b"config shop 1");
    flip(&journal, "blobs", "content", 0, &format!("digest = '{digest}'"));
    journal.append_with("shop", change(Intent::Up, &[]), vec![b"config shop 1".to_vec()]);
    assert!(verify(&journal).is_whole());
    assert_eq!(journal.ledger.blob(&digest).expect("read").as_deref(), Some(&b"config shop 1"[..]));
}

#[test]
fn a_view_that_differs_is_named_and_can_be_derived_again() {
    let blog: StackName = stack_name("blog");
    for statement in [
        "UPDATE views SET body = replace(body, '\"newest\":1', '\"newest\":2') WHERE stack = 'blog'",
        "UPDATE views SET body = 'x' WHERE stack = 'blog'",
        "UPDATE views SET body = NULL WHERE stack = 'blog'",
        "DELETE FROM views WHERE stack = 'blog'",
    ] {
        let journal = sample();
        assert_eq!(journal.sql(statement), 1);
        assert_eq!(verify(&journal).bad_views, std::slice::from_ref(&blog), "{statement}");
        journal.ledger.rebuild_views().expect("rebuild");
        assert!(verify(&journal).is_whole(), "{statement}");
    }
}

#[test]
fn an_invented_view_is_named() {
    let journal = sample();
    journal.sql("INSERT INTO views (stack, body) SELECT 'ghost', body FROM views WHERE stack = 'blog'");
    assert_eq!(verify(&journal).bad_views, [stack_name("ghost")]);
}
