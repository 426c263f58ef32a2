//! Content that nothing needs any more is removed, and only that.

use crate::kit::{Journal, change, stack_name};
use model::{Digest, ReleaseId};
use store::view::RELEASES_HELD;
use store::{Event, Intent, Ledger as _};

fn is_there(journal: &Journal, content: &str) -> bool {
    journal.ledger.blob(&Digest::of(content.as_bytes())).expect("read").is_some()
}

#[test]
fn releases_that_are_remembered_keep_everything() {
    let journal = Journal::new();
    journal.up("shop", 1);
    journal.up("shop", 2);
    journal.ledger.prune(0).expect("prune");
    assert!(is_there(&journal, "config shop 1") && is_there(&journal, "config shop 2"));
    assert!(journal.ledger.verify().expect("a report").is_whole());
}

#[test]
fn a_forgotten_release_loses_its_content_and_the_journal_stays_whole() {
    let journal = Journal::new();
    let releases = RELEASES_HELD as u64 + 3;
    let bundles: Vec<_> = (1..=releases).map(|r| journal.up("shop", r)).collect();
    let head = journal.ledger.verify().expect("a report").head;
    let nothing = journal.ledger.prune(releases as usize + 1).expect("prune");
    assert_eq!(nothing.blobs, 0, "more releases are to be kept than there are");

    let report = journal.ledger.prune(10).expect("prune");
    assert!(report.blobs >= 6 && report.bytes > 0, "{report:?}");
    for (release, bundle) in (1..).zip(&bundles) {
        let kept = release > 3;
        assert_eq!(journal.ledger.blob(&Digest::of(bundle)).expect("read").is_some(), kept, "r{release}");
        assert_eq!(is_there(&journal, &format!("config shop {release}")), kept, "r{release}");
    }
    let verified = journal.ledger.verify().expect("a report");
    assert!(verified.is_whole(), "{verified:?}");
    assert_eq!(verified.head, head);
    assert_eq!(journal.ledger.prune(10).expect("prune").blobs, 0, "nothing is left to remove");
}

#[test]
fn the_stack_of_a_pending_change_is_needed() {
    let journal = Journal::new();
    let declared = b"the stack that is to come".to_vec();
    let accepted = Event::ChangeAccepted {
        intent: Intent::Up,
        stack: Some(Digest::of(&declared)),
        services: vec![],
        why: String::new(),
        from: None,
        again: false,
    };
    journal.append_with("shop", accepted, vec![declared]);
    journal.ledger.prune(0).expect("prune");
    assert!(is_there(&journal, "the stack that is to come"));
}

#[test]
fn a_removed_stack_keeps_as_many_releases_as_asked() {
    let journal = Journal::new();
    (1..=3).for_each(|r| drop(journal.up("shop", r)));
    journal.down("shop");
    assert_eq!(journal.ledger.stack(&stack_name("shop")).expect("read"), None);
    journal.ledger.prune(1).expect("prune");
    assert!(!is_there(&journal, "config shop 2") && is_there(&journal, "config shop 3"));
    journal.ledger.prune(0).expect("prune");
    assert!(!is_there(&journal, "config shop 3"));
    assert!(journal.ledger.verify().expect("a report").is_whole());
}

#[test]
fn content_shared_with_a_younger_release_stays() {
    let journal = Journal::new();
    let shared = b"the same for both".to_vec();
    let made = |release: u64| Event::ReleaseMade {
        release: ReleaseId(release),
        change: 1,
        bundle: Digest::of(format!("bundle {release} {}", Digest::of(b"the same for both")).as_bytes()),
        differences: vec![],
        made_of: None,
    };
    let bundle = |release: u64| format!("bundle {release} {}", Digest::of(&shared)).into_bytes();
    for release in 1..=RELEASES_HELD as u64 + 1 {
        journal.append_with("shop", made(release), vec![bundle(release), shared.clone()]);
    }
    assert_eq!(journal.ledger.prune(0).expect("prune").blobs, 1, "the bundle of the first release");
    assert!(is_there(&journal, "the same for both"));
}

#[test]
fn a_stack_that_comes_back_goes_on_counting_its_releases() {
    let journal = Journal::new();
    journal.up("shop", 1);
    journal.up("shop", 2);
    journal.down("shop");
    journal.append("shop", change(Intent::Up, &[]));
    let view = journal.ledger.stack(&stack_name("shop")).expect("read").expect("it is back");
    assert_eq!((view.newest, view.releases.len()), (2, 0));
    assert!(journal.ledger.verify().expect("a report").is_whole());
}
