use super::*;
use model::{Digest, ReleaseId};
use store::record::v1::{Difference, Event};

const HOUR: i64 = 3_600_000;

fn stack() -> StackName {
    StackName::new("shop").expect("valid")
}

fn service(name: &str) -> ServiceName {
    ServiceName::new(name).expect("valid")
}

/// A journal that is written as it is told.
#[derive(Default)]
struct Journal {
    entries: Vec<Entry>,
}

impl Journal {
    fn add(&mut self, at_ms: i64, event: Event) -> u64 {
        let seq = self.entries.len() as u64 + 1;
        let (stack, actor) = (Some(stack()), "ada (cli)".to_owned());
        self.entries.push(Entry { seq, at: Timestamp(at_ms), stack, actor, event, hash: Digest::of(b"") });
        seq
    }

    /// A change of `web` that takes this long.
    fn change(&mut self, at_ms: i64, intent: Intent, outcome: Outcome, took_ms: i64) -> u64 {
        let accepted = Event::ChangeAccepted {
            intent,
            stack: None,
            services: Vec::new(),
            why: String::new(),
            from: None,
            again: false,
        };
        let change = self.add(at_ms, accepted);
        let differences = vec![Difference {
            service: Some(service("web")),
            field: "image".into(),
            before: None,
            after: None,
        }];
        if !matches!(intent, Intent::Rollback { .. }) {
            self.add(
                at_ms,
                Event::ReleaseMade {
                    release: ReleaseId(change),
                    change,
                    bundle: Digest::of(b""),
                    differences,
                    made_of: None,
                },
            );
        }
        if outcome == Outcome::RolledBack {
            let cause = "it was worse".to_owned();
            self.add(at_ms + took_ms / 2, Event::GoingBack { release: None, change, cause, instance: None });
        }
        let (release, reason, figures) = (None, String::new(), Vec::new());
        let took = took_ms as u64;
        self.add(
            at_ms + took_ms,
            Event::Concluded { change, outcome, release, reason, took_ms: took, figures },
        );
        change
    }

    fn incident(&mut self, at_ms: i64, incident: u64, what: IncidentStep) {
        let (service, text) = (Some(service("web")), String::new());
        self.add(at_ms, Event::Incident { incident, service, what, level: Level::Urgent, text });
    }

    fn measure(&self, of: Of) -> Vec<Dora> {
        let span = Span { from: Timestamp(0), to: Timestamp(10 * DAY_MS) };
        measure(&self.entries, &span, &of)
    }
}

#[test]
fn an_empty_journal_has_an_answer() {
    let all = Journal::default().measure(Of::default());
    assert_eq!(all.len(), 1);
    let none = &all[0];
    assert_eq!((none.deployments, none.attempts, none.per_day, none.days), (0, 0, 0.0, 0.0));
    assert_eq!((none.lead_time, none.failure_share, none.time_to_restore), (None, None, None));
}

#[test]
fn what_failed_was_taken_back_or_hurt_counts_as_failure() {
    let mut journal = Journal::default();
    journal.change(0, Intent::Up, Outcome::Kept, 10_000);
    journal.change(HOUR, Intent::Deploy, Outcome::Failed, 60_000);
    journal.change(2 * HOUR, Intent::Deploy, Outcome::RolledBack, 40_000);
    let taken_back = journal.change(3 * HOUR, Intent::Deploy, Outcome::Kept, 30_000);
    journal.change(4 * HOUR, Intent::Rollback { to: None }, Outcome::Kept, 1_000);
    let hurt = journal.change(30 * HOUR, Intent::Deploy, Outcome::Kept, 20_000);
    journal.incident(30 * HOUR + 600_000, 1, IncidentStep::Opened);
    journal.incident(30 * HOUR + 900_000, 1, IncidentStep::Over);
    journal.change(50 * HOUR, Intent::Deploy, Outcome::Unchanged, 100);
    let all = journal.measure(Of::default());
    let names: Vec<&str> = all.iter().map(|one| one.what.as_str()).collect();
    assert_eq!(names, ["all stacks", "shop"]);
    let dora = &all[0];
    assert_eq!((dora.deployments, dora.attempts, dora.failures), (3, 5, 4));
    assert_eq!(dora.lead_time, Some(DurationMs(20_000)));
    assert!(dora.failed.starts_with(&[hurt, taken_back]), "{:?}", dora.failed);
    assert_eq!((dora.restored, dora.time_to_restore), (2, Some(DurationMs(20_000))));
    assert!((dora.per_day - 0.3).abs() < 1e-9 && dora.days == 10.0);
}

#[test]
fn an_incident_that_lasts_is_not_restored_and_others_are_not_blamed() {
    let mut journal = Journal::default();
    journal.change(0, Intent::Up, Outcome::Kept, 10_000);
    journal.incident(5 * HOUR, 1, IncidentStep::Opened);
    journal.incident(5 * HOUR, 1, IncidentStep::Acknowledged);
    let of = |name: &str| Of { stack: Some(stack()), service: Some(service(name)) };
    let web = &journal.measure(of("web"))[0];
    assert_eq!((web.what.as_str(), web.failures, web.not_restored, web.restored), ("shop/web", 0, 1, 0));
    let other = &journal.measure(of("db"))[0];
    assert_eq!((other.attempts, other.not_restored), (0, 0));
    let parts = journal.measure(Of { stack: Some(stack()), service: None });
    assert_eq!(parts.iter().map(|one| one.what.as_str()).collect::<Vec<_>>(), ["shop", "shop/web"]);
}
