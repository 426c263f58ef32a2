//! The history of a stack and of a service, found by index.

use crate::kit::{Journal, change, concluded, difference, seen, service, stack_name};
use model::{Digest, ReleaseId};
use store::record::v1::Seen;
use store::{Draft, Event, HistoryQuery, Intent, Ledger as _};

fn sample() -> Journal {
    let journal = Journal::new();
    let plan = Event::PlanAccepted { plan: 1, parent: 0, steps: vec![] };
    let release = |names: &[Option<&str>]| Event::ReleaseMade {
        release: ReleaseId(1),
        change: 1,
        bundle: Digest::of(b""),
        differences: names.iter().map(|n| difference(*n, "image")).collect(),
        made_of: None,
    };
    journal.append("shop", change(Intent::Up, &[])); // 1: all of shop
    journal.append("shop", change(Intent::Stop, &["web", "db"])); // 2: two services
    journal.append("blog", change(Intent::Up, &["web"])); // 3: the same name in another stack
    journal.append("shop", plan); // 4: a step between
    journal.append("shop", seen("web", Seen::Started)); // 5: nothing went wrong
    journal.append("shop", seen("db", Seen::CrashLoop)); // 6: something did
    journal.append("shop", release(&[Some("web"), Some("web")])); // 7: one service differs
    journal.append("shop", release(&[Some("db"), None])); // 8: the stack itself differs
    journal.append("shop", concluded(1, Some(1))); // 9: all of shop
    let started = Event::DaemonStarted { version: "0".into(), pid: 1 };
    let draft = Draft { stack: None, actor: "juchu".into(), event: started, blobs: vec![] };
    journal.ledger.append(model::Timestamp(0), vec![draft]).expect("append"); // 10
    journal
}

#[track_caller]
fn check(journal: &Journal, query: HistoryQuery, expect: &[u64]) {
    let found = journal.ledger.history(&query).expect("history");
    assert_eq!(found.iter().map(|e| e.seq).collect::<Vec<_>>(), expect, "{query:?}");
}

fn all() -> HistoryQuery {
    HistoryQuery { limit: 100, ..Default::default() }
}

#[test]
fn history_is_filtered_as_asked() {
    let journal = sample();
    let shop = || HistoryQuery { stack: Some(stack_name("shop")), ..all() };
    let of = |name: &str| HistoryQuery { service: Some(service(name)), ..shop() };
    check(&journal, all(), &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    check(&journal, shop(), &[1, 2, 4, 5, 6, 7, 8, 9]);
    check(&journal, HistoryQuery { changes_only: true, ..all() }, &[1, 2, 3, 6, 7, 8, 9]);
    check(&journal, of("web"), &[1, 2, 4, 5, 7, 8, 9]);
    check(&journal, of("db"), &[1, 2, 4, 6, 8, 9]);
    check(&journal, of("cache"), &[1, 4, 8, 9]);
    check(&journal, HistoryQuery { changes_only: true, ..of("web") }, &[1, 2, 7, 8, 9]);
    check(&journal, HistoryQuery { service: Some(service("web")), ..all() }, &[1, 2, 3, 4, 5, 7, 8, 9, 10]);
    check(&journal, HistoryQuery { stack: Some(stack_name("none")), ..all() }, &[]);
}

#[test]
fn the_newest_come_oldest_first_and_after_a_number() {
    let journal = sample();
    let web = || HistoryQuery { stack: Some(stack_name("shop")), service: Some(service("web")), ..all() };
    check(&journal, HistoryQuery { limit: 3, ..web() }, &[7, 8, 9]);
    check(&journal, HistoryQuery { limit: 0, ..web() }, &[]);
    check(&journal, HistoryQuery { after: Some(5), ..web() }, &[7, 8, 9]);
    check(&journal, HistoryQuery { after: Some(u64::MAX), ..web() }, &[]);
    check(&journal, HistoryQuery { limit: usize::MAX, after: Some(8), ..all() }, &[9, 10]);
}

#[test]
fn rebuilding_derives_the_index_too() {
    let journal = sample();
    journal.sql("DELETE FROM concern");
    let db = HistoryQuery { stack: Some(stack_name("shop")), service: Some(service("db")), ..all() };
    check(&journal, db.clone(), &[]);
    journal.ledger.rebuild_views().expect("rebuild");
    check(&journal, db, &[1, 2, 4, 6, 8, 9]);
}
