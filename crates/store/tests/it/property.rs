//! Whatever is appended: it verifies, and the views rebuilt from it are the views kept along.

use crate::kit::{activated, change, concluded, difference, image, seen, service, stack_name};
use model::{Digest, ReleaseId, StackName, Timestamp};
use proptest::prelude::*;
use store::fold::Fold;
use store::record::v1::Seen;
use store::{Draft, Event, HistoryQuery, Intent, Ledger as _, Outcome, SqliteLedger};

const SERVICES: [&str; 3] = ["web", "db", "cache"];

fn intent() -> impl Strategy<Value = Intent> {
    prop_oneof![
        Just(Intent::Up),
        Just(Intent::Deploy),
        Just(Intent::Stop),
        Just(Intent::Start),
        any::<i64>().prop_map(|at| Intent::Restart { at: Timestamp(at) }),
        any::<bool>().prop_map(|volumes| Intent::Down { volumes }),
    ]
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&SERVICES[..])
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop::sample::select(vec![Outcome::Kept, Outcome::Failed, Outcome::RolledBack, Outcome::Superseded])
}

/// Events refer to changes 1–40 at random: most to none that is pending, as after a crash.
fn event() -> impl Strategy<Value = Event> {
    let number = 1_u64..40;
    prop_oneof![
        (intent(), prop::collection::vec(name(), 0..3)).prop_map(|(i, names)| change(i, &names)),
        (name(), ".{0,20}").prop_map(|(n, text)| Event::ImageBuilt {
            service: service(n),
            inputs: Digest::of(text.as_bytes()),
            image: image(&text),
        }),
        (number.clone(), number.clone(), prop::option::of(name())).prop_map(|(release, change, n)| {
            Event::ReleaseMade {
                release: ReleaseId(release),
                change,
                bundle: Digest::of(b"bundle"),
                differences: vec![difference(n, "replicas")],
                made_of: None,
            }
        }),
        (number.clone(), number.clone()).prop_map(|(release, change)| activated(release, change)),
        (number.clone(), 0_u64..40).prop_map(|(plan, parent)| Event::PlanAccepted {
            plan,
            parent,
            steps: vec!["start web".into()],
        }),
        (number.clone(), any::<u32>(), prop::option::of(".{0,20}"))
            .prop_map(|(plan, step, error)| Event::StepDone { plan, step, error }),
        (number.clone(), outcome()).prop_map(|(change, outcome)| Event::Concluded {
            change,
            outcome,
            release: Some(ReleaseId(change)),
            reason: "\u{0}\"✓".into(),
            took_ms: u64::MAX,
            figures: vec![],
        }),
        number.prop_map(|change| concluded(change, None)),
        (name(), any::<bool>()).prop_map(|(n, up)| seen(n, if up { Seen::Started } else { Seen::Unhealthy })),
        Just(Event::DaemonStarted { version: "0.1.0".into(), pid: 1 }),
    ]
}

fn draft() -> impl Strategy<Value = Draft> {
    let stack = prop::option::weighted(0.9, prop::sample::select(vec!["shop", "blog"]));
    (stack, "[a-z \u{e9}\u{4e2d}]{0,12}", event(), any::<bool>()).prop_map(|(stack, actor, event, blob)| {
        // The content that every release here refers to is always handed in.
        let blobs = if blob || matches!(event, Event::ReleaseMade { .. }) {
            vec![b"bundle".to_vec()]
        } else {
            vec![]
        };
        Draft { stack: stack.map(stack_name), actor, event, blobs }
    })
}

/// Calls of one to four drafts.
fn calls() -> impl Strategy<Value = Vec<Vec<Draft>>> {
    prop::collection::vec(prop::collection::vec(draft(), 1..5), 1..25)
}

fn history(ledger: &SqliteLedger, query: HistoryQuery) -> Vec<store::Entry> {
    ledger.history(&query).expect("history")
}

fn concerns(event: &Event, name: &str) -> bool {
    let services = store::concern::services(event);
    services.contains(name) || services.contains("")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_appended_verifies_and_rebuilds(calls in calls(), limit in 0_usize..30, after in 0_u64..30) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("journal.db");
        let ledger = SqliteLedger::open(&path).expect("a new journal");
        let mut all = Vec::new();
        for (at, drafts) in calls.into_iter().enumerate() {
            let entries = ledger.append(Timestamp(at as i64), drafts.clone()).expect("append");
            for (entry, draft) in entries.iter().zip(&drafts) {
                prop_assert_eq!(&entry.event, &draft.event);
            }
            all.extend(entries);
        }

        let report = ledger.verify().expect("a report");
        prop_assert!(report.is_whole(), "{:?}", report);
        prop_assert_eq!(report.entries, all.len() as u64);
        prop_assert_eq!(&report.head, &all.last().expect("at least one").hash);

        // What is read is what was said at the time, and its fold are the views.
        let everything = HistoryQuery { limit: usize::MAX, ..Default::default() };
        prop_assert_eq!(&history(&ledger, everything.clone()), &all);
        let mut fold = Fold::default();
        for entry in &all {
            if let Some(name) = &entry.stack {
                fold.apply(name, entry.seq, entry.at, &entry.actor, &entry.event);
            }
        }
        let views = ledger.stacks().expect("stacks");
        prop_assert_eq!(&views, &fold.views().cloned().collect::<Vec<_>>());
        ledger.rebuild_views().expect("rebuild");
        prop_assert_eq!(&ledger.stacks().expect("stacks"), &views);

        // Every filter gives what filtering by hand gives.
        for stack in [None, Some("shop")] {
            for name in [None, Some("web")] {
                for changes_only in [false, true] {
                    let found = history(&ledger, HistoryQuery {
                        stack: stack.map(stack_name),
                        service: name.map(service),
                        after: Some(after),
                        changes_only,
                        limit,
                    });
                    let mut by_hand: Vec<_> = all.iter().rev()
                        .filter(|e| stack.is_none_or(|s| e.stack.as_ref().map(StackName::as_str) == Some(s)))
                        .filter(|e| name.is_none_or(|n| concerns(&e.event, n)))
                        .filter(|e| !changes_only || store::concern::is_change(&e.event))
                        .filter(|e| e.seq > after)
                        .take(limit).cloned().collect();
                    by_hand.reverse();
                    prop_assert_eq!(found, by_hand);
                }
            }
        }

        drop(ledger);
        let ledger = SqliteLedger::open(&path).expect("the same journal");
        prop_assert_eq!(&ledger.stacks().expect("stacks"), &views);
        prop_assert!(ledger.verify().expect("a report").is_whole());
    }
}
