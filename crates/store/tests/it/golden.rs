//! Form 1 of the journal, kept for ever: each kind of event with its JSON and its place in the
//! chain. A difference here means that journals people have can no longer be read or verified; the
//! answer is another form beside this one, never another golden file.

use crate::kit::{activated, change, difference, image, seen, service, stack_name};
use model::range::Level;
use model::{Digest, ReleaseId, Timestamp};
use store::record::v1::{IncidentStep, Seen, ServiceFigures, Verdict};
use store::{Draft, Entry, Event, HistoryQuery, Intent, Ledger as _, Outcome, SqliteLedger};

const JOURNAL: &str = include_str!("../golden/journal-v1.jsonl");
const SCHEMA: &str = include_str!("../golden/schema-v1.sql");

/// One of each, with every optional field present and absent.
fn events() -> Vec<Event> {
    let mut events = vec![
        Event::ChangeAccepted {
            intent: Intent::Up,
            stack: Some(Digest::of(b"stack")),
            services: vec![service("web"), service("db")],
            why: "a first try".into(),
            from: None,
            again: false,
        },
        Event::ImageBuilt { service: service("web"), inputs: Digest::of(b"inputs"), image: image("native") },
        Event::ReleaseMade {
            release: ReleaseId(1),
            change: 1,
            bundle: Digest::of(b"bundle"),
            differences: vec![difference(Some("web"), "image"), difference(None, "networks")],
            made_of: None,
        },
        activated(1, 1),
        Event::ReleaseActivated { release: None, change: 1, reason: String::new() },
        Event::PlanAccepted { plan: 2, parent: 1, steps: vec!["start web".into()] },
        Event::StepDone { plan: 2, step: 0, error: None },
        Event::StepDone { plan: 2, step: 1, error: Some("no space".into()) },
        Event::DaemonStarted { version: "0.1.0".into(), pid: 7 },
    ];
    let intents = [
        Intent::Deploy,
        Intent::Stop,
        Intent::Start,
        Intent::Restart { at: Timestamp(1_700_000_000_000) },
        Intent::Down { volumes: true },
    ];
    events.extend(intents.map(|intent| change(intent, &[])));
    let outcomes = [
        Outcome::Kept,
        Outcome::Unchanged,
        Outcome::Failed,
        Outcome::RolledBack,
        Outcome::Undecided,
        Outcome::Superseded,
    ];
    events.extend(outcomes.map(|outcome| Event::Concluded {
        change: 1,
        outcome,
        release: (outcome == Outcome::Kept).then_some(ReleaseId(1)),
        reason: "ready \"✓\"".into(),
        took_ms: 900,
        figures: vec![],
    }));
    let sightings = [
        Seen::Started,
        Seen::Exited,
        Seen::CrashLoop,
        Seen::Healthy,
        Seen::Unhealthy,
        Seen::Lost,
        Seen::Removed,
    ];
    events.extend(sightings.map(|what| seen("web", what)));
    events.extend(later());
    events
}

/// Kinds and fields that were added since; lines that stood before stay as they are.
fn later() -> Vec<Event> {
    let figures = |ready_ms, swap_us| ServiceFigures {
        service: service("web"),
        instances: 2,
        ready_ms,
        decided_ms: ready_ms,
        gap_ms: 0,
        swap_us,
        judged: None,
    };
    vec![
        change(Intent::Rollback { to: None }, &[]),
        change(Intent::Rollback { to: Some(ReleaseId(3)) }, &["web"]),
        change(Intent::Promote { release: Some(ReleaseId(3)) }, &[]),
        Event::ChangeAccepted {
            intent: Intent::Promote { release: None },
            stack: Some(Digest::of(b"stack")),
            services: vec![],
            why: String::new(),
            from: Some(stack_name("staging")),
            again: false,
        },
        Event::GoingBack { release: None, change: 1, cause: "web crashes".into(), instance: None },
        Event::GoingBack {
            release: Some(ReleaseId(1)),
            change: 1,
            cause: "web crashes".into(),
            instance: Some(model::InstanceId::new("a1b2").expect("valid")),
        },
        Event::ReleasesCollected {
            releases: vec![ReleaseId(1), ReleaseId(2)],
            reason: "ten are kept".into(),
        },
        Event::Concluded {
            change: 1,
            outcome: Outcome::Kept,
            release: Some(ReleaseId(2)),
            reason: "ready".into(),
            took_ms: 900,
            figures: vec![figures(Some(400), Some(700)), figures(None, None)],
        },
        judged(Verdict::Worse, "5 % failed", Some("errors 400 : 1 (333 : 1 needed)")),
        judged(Verdict::Undecided, "too little traffic", None),
        Event::Concluded {
            change: 1,
            outcome: Outcome::Kept,
            release: Some(ReleaseId(2)),
            reason: "ready".into(),
            took_ms: 900,
            figures: vec![ServiceFigures {
                instances: 1,
                judged: Some("not much worse".into()),
                ..figures(None, None)
            }],
        },
        Event::Incident {
            incident: 4,
            service: Some(service("web")),
            what: IncidentStep::Opened,
            level: Level::Urgent,
            text: "shop/web: p95 is 1.4 s".into(),
        },
        Event::Incident {
            incident: 4,
            service: None,
            what: IncidentStep::Over,
            level: Level::Important,
            text: "machine: disk / is 3 %".into(),
        },
        Event::RangeChanged {
            service: Some(service("web")),
            signal: "p95".into(),
            text: "at most 400 ms".into(),
            why: "agreed".into(),
        },
        Event::RangeChanged { service: None, signal: "cpu".into(), text: "off".into(), why: String::new() },
        Event::ChangeAccepted {
            intent: Intent::Deploy,
            stack: None,
            services: vec![service("web")],
            why: String::new(),
            from: None,
            again: true,
        },
        Event::ReleaseMade {
            release: ReleaseId(3),
            change: 43,
            bundle: Digest::of(b"bundle"),
            differences: vec![],
            made_of: Some(Digest::of(b"made of")),
        },
        Event::Judged {
            release: ReleaseId(3),
            change: 43,
            service: service("web"),
            verdict: Verdict::Worse,
            text: "5 % failed".into(),
            evidence: None,
            basis: Some("by the usual noise".into()),
            judgement: Digest::of(b"judgement"),
        },
    ]
}

fn judged(verdict: Verdict, text: &str, evidence: Option<&str>) -> Event {
    Event::Judged {
        release: ReleaseId(2),
        change: 1,
        service: service("web"),
        verdict,
        text: text.into(),
        evidence: evidence.map(Into::into),
        basis: None,
        judgement: Digest::of(b"judgement"),
    }
}

fn drafts() -> Vec<Draft> {
    let draft = |event: Event| {
        let of_a_stack = !matches!(event, Event::DaemonStarted { .. });
        let blobs: &[&[u8]] = match &event {
            Event::ReleaseMade { .. } => &[b"bundle", b"config"],
            Event::ChangeAccepted { stack: Some(_), .. } => &[b"stack"],
            _ => &[],
        };
        Draft {
            stack: of_a_stack.then(|| stack_name("shop")),
            actor: if of_a_stack { "ada (cli)" } else { "juchu" }.into(),
            event,
            blobs: blobs.iter().map(|b| b.to_vec()).collect(),
        }
    };
    events().into_iter().map(draft).collect()
}

/// The stored columns of a journal, a line of JSON for each entry.
fn lines(path: &std::path::Path) -> String {
    let connection = rusqlite::Connection::open(path).expect("open");
    let mut select = connection
        .prepare(
            "SELECT json_object('seq', seq, 'at', at, 'stack', stack, 'kind', kind, 'change', change,
             'actor', actor, 'body', body, 'blobs', blobs, 'hash', hash, 'prev', prev)
             FROM journal ORDER BY seq",
        )
        .expect("prepare");
    let rows = select.query_map([], |r| r.get::<_, String>(0)).expect("query");
    rows.map(|line| line.expect("a row") + "\n").collect()
}

#[test]
fn form_1_is_written_as_it_always_was() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("journal.db");
    let ledger = SqliteLedger::open(&path).expect("a new journal");
    for (i, draft) in drafts().into_iter().enumerate() {
        ledger.append(Timestamp(1_700_000_000_000 + i as i64), vec![draft]).expect("append");
    }
    let written = lines(&path);
    for (written, golden) in written.lines().zip(JOURNAL.lines()) {
        assert_eq!(written, golden);
    }
    assert_eq!(written.lines().count(), JOURNAL.lines().count());
}

/// A journal as the first version left it: made from the golden files alone.
fn old_journal(path: &std::path::Path) {
    let connection = rusqlite::Connection::open(path).expect("open");
    connection.execute_batch(SCHEMA).expect("the schema");
    connection.execute_batch("PRAGMA user_version = 1").expect("the form");
    for line in JOURNAL.lines() {
        let columns = "seq, at, stack, kind, change, actor, body, blobs, hash, prev";
        let values: Vec<_> = columns.split(", ").map(|c| format!("?1 ->> '{c}'")).collect();
        let insert = format!("INSERT INTO journal ({columns}) VALUES ({})", values.join(", "));
        connection.execute(&insert, [line]).expect("an entry");
    }
    for content in [&b"stack"[..], b"bundle", b"config"] {
        let insert = "INSERT INTO blobs (digest, content) VALUES (?1, ?2)";
        connection.execute(insert, (Digest::of(content).as_str(), content)).expect("content");
    }
}

#[test]
fn form_1_is_read_verified_and_continued() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("journal.db");
    old_journal(&path);
    let ledger = SqliteLedger::open(&path).expect("the old journal");
    let report = ledger.verify().expect("a report");
    assert!(report.is_whole(), "{report:?}");

    let query = HistoryQuery { limit: 1_000, ..Default::default() };
    let read: Vec<Entry> = ledger.history(&query).expect("history");
    assert_eq!(read.iter().map(|e| e.event.clone()).collect::<Vec<_>>(), events());
    let entry = ledger.append(Timestamp(0), drafts()).expect("append").remove(0);
    assert_eq!(entry.seq, read.len() as u64 + 1);
    assert!(ledger.verify().expect("a report").is_whole());
}

/// A kind of event that is added is added to the golden file too.
#[test]
fn every_kind_of_event_has_its_golden_lines() {
    let kinds: std::collections::BTreeSet<_> = events().iter().map(store::concern::kind).collect();
    assert_eq!(kinds.len(), store::concern::KINDS.len());
    for kind in store::concern::KINDS {
        assert!(kinds.contains(kind), "{kind} has no golden line");
    }
}
