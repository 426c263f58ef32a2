//! Releases of the fake guestbook, and how its changes can end.

use super::{NOW, ago, difference, guestbook_status, line, service};
use model::{DurationMs, ErrorKind, ReleaseId, Report, ServiceName, Timestamp};
use run::control::*;
use store::record::v1::{Difference, Intent, Outcome, ServiceFigures};

/// One of each standing, oldest first.
pub fn guestbook_releases() -> Vec<ReleaseStatus> {
    let release = |id, seconds, intent, actor: &str, outcome, reason: &str, standing| ReleaseStatus {
        id: ReleaseId(id),
        made: ago(seconds),
        change: id * 3,
        intent,
        actor: actor.to_owned(),
        why: String::new(),
        outcome,
        reason: reason.to_owned(),
        standing,
        images: images(id),
        changed: vec![service("web")],
    };
    let ready = "every service is ready";
    let crashed = "web: exited with code 1";
    let mut releases = vec![
        release(1, 90_000, Intent::Up, "root (cli)", Some(Outcome::Kept), ready, ReleaseStanding::Collected),
        release(
            2,
            7290,
            Intent::Deploy,
            "ada (cli, sudo)",
            Some(Outcome::Kept),
            ready,
            ReleaseStanding::Kept,
        ),
        release(
            3,
            3600,
            Intent::Deploy,
            "ada (console)",
            Some(Outcome::RolledBack),
            crashed,
            ReleaseStanding::Refused,
        ),
        release(4, 600, Intent::Up, "ada (cli, sudo)", Some(Outcome::Kept), ready, warm()),
        release(5, 90, Intent::Deploy, "root (cli)", Some(Outcome::Kept), ready, ReleaseStanding::Active),
    ];
    releases[0].images.clear();
    releases[0].changed = ["cache", "db", "web"].map(service).to_vec();
    releases[1].why = "second replica".to_owned();
    releases
}

const WARM_UNTIL: Timestamp = Timestamp(NOW.0 + 210_000);

const fn warm() -> ReleaseStanding {
    ReleaseStanding::Warm { until: WARM_UNTIL }
}

fn images(release: u64) -> std::collections::BTreeMap<ServiceName, String> {
    let web = format!("guestbook/web ({:012x})", 0x1a2b_3c00_u64 + release);
    [("db", "postgres 15.14 (9f8e7d6c5b4a)".to_owned()), ("web", web)]
        .map(|(name, image)| (service(name), image))
        .into()
}

/// One of each kind.
pub fn guestbook_differences() -> Vec<Difference> {
    vec![
        difference(
            Some("web"),
            "image",
            Some("00001a2b3c04 (guestbook/web)"),
            Some("00001a2b3c05 (guestbook/web)"),
        ),
        difference(Some("web"), "environment.DEBUG", None, Some("(1 characters, 6b86b2)")),
        difference(Some("web"), "replicas", Some("1"), Some("2")),
        difference(None, "config/settings", Some("0a1b2c3d4e5f"), Some("f5e4d3c2b1a0")),
    ]
}

pub fn figures() -> Vec<ServiceFigures> {
    let figures = |name, instances, ready_ms, decided_ms, gap_ms, swap_us| ServiceFigures {
        service: service(name),
        instances,
        ready_ms,
        decided_ms,
        gap_ms,
        swap_us,
    };
    vec![
        figures("db", 1, Some(2400), Some(40), 1900, None),
        figures("web", 2, Some(1900), Some(540), 0, Some(420)),
    ]
}

fn conclusion(outcome: Outcome, reason: &str) -> Conclusion {
    Conclusion {
        change: 101,
        outcome,
        reason: reason.to_owned(),
        release: Some(ReleaseId(5)),
        took: DurationMs(3120),
        addresses: guestbook_status().addresses,
        report: None,
        last_lines: vec![],
        before: Some(ReleaseId(4)),
        warm_until: None,
        figures: figures(),
    }
}

/// A release that took over; the one before is warm.
pub fn kept() -> Conclusion {
    Conclusion { warm_until: Some(WARM_UNTIL), ..conclusion(Outcome::Kept, "every service is ready") }
}

/// What is known of a service that never got ready.
fn crashed() -> Vec<ServiceFigures> {
    let crashed = ServiceFigures {
        service: service("web"),
        instances: 1,
        ready_ms: None,
        decided_ms: None,
        gap_ms: 0,
        swap_us: None,
    };
    vec![crashed]
}

/// A release that crashed; the one before serves again.
pub fn rolled_back() -> Conclusion {
    Conclusion {
        release: Some(ReleaseId(4)),
        took: DurationMs(8400),
        addresses: vec![],
        report: Some(
            Report::new(ErrorKind::RolledBack, "service web: exited with code 1 three times")
                .hint("juchu logs web")
                .hint("juchu diff r4 r5"),
        ),
        last_lines: crash_lines(),
        figures: crashed(),
        ..conclusion(Outcome::RolledBack, "service web: exited with code 1 three times")
    }
}

/// An image that could not be built: nothing was touched.
pub fn failed() -> Conclusion {
    Conclusion {
        release: Some(ReleaseId(4)),
        addresses: vec![],
        figures: vec![],
        report: Some(
            Report::new(ErrorKind::Build, "service web: requirements.txt:2: there is no package `falsk`")
                .hint("did you mean `flask`?"),
        ),
        ..conclusion(Outcome::Failed, "service web: requirements.txt:2: there is no package `falsk`")
    }
}

/// A rollout that was halted half way, as `failure_action: pause` asks for.
pub fn undecided() -> Conclusion {
    Conclusion {
        addresses: vec![],
        report: Some(
            Report::new(ErrorKind::Undecided, "service web: no answer on port 8000 within 30 s")
                .hint("juchu logs web")
                .hint("juchu rollback"),
        ),
        last_lines: crash_lines(),
        figures: crashed(),
        ..conclusion(Outcome::Undecided, "service web: no answer on port 8000 within 30 s")
    }
}

fn crash_lines() -> Vec<ServiceLine> {
    vec![
        line("web", 1, ago(3), "listening on 0.0.0.0:8000"),
        line("web", 1, ago(2), "error: DEBUG must be 0 or 1, not `yes`"),
    ]
}

/// A deploy that ends like that.
pub fn story_to(conclusion: Conclusion) -> Vec<Progress> {
    let moved = |phase, text: &str, at| Progress::Service {
        service: service("web"),
        phase,
        text: text.to_owned(),
        at,
    };
    let mut story = vec![
        Progress::Planned { differences: guestbook_differences(), steps: vec!["start web 1".to_owned()] },
        moved(Phase::Starting, "instance 1", ago(8)),
    ];
    match conclusion.outcome {
        Outcome::RolledBack => {
            story.push(moved(Phase::Failed, "exited with code 1 three times", ago(2)));
            let cause = conclusion.reason.clone();
            story.push(Progress::GoingBack { release: conclusion.release, cause });
            story.push(moved(Phase::Ready, "2 of 2 ready", ago(1)));
        }
        Outcome::Kept => story.push(moved(Phase::Ready, "2 of 2 ready", ago(1))),
        _ => story.push(moved(Phase::Failed, &conclusion.reason, ago(1))),
    }
    story.push(Progress::Concluded(conclusion));
    story
}

/// What the second of two people is told.
pub fn conflict() -> Report {
    let text = "the stack guestbook is held by deploy web of ada (cli, sudo), begun 12 s ago";
    Report::new(ErrorKind::Conflict, text).hint("juchu ps").hint("juchu history")
}
