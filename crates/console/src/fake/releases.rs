//! Releases of the fake guestbook, and how its changes can end.

use super::{NOW, ago, difference, guestbook_status, line, service, stack};
use model::{Digest, DurationMs, ErrorKind, ReleaseId, Report, ServiceName, Timestamp};
use run::control::*;
use store::Entry;
use store::record::v1::{Difference, Event, Intent, Outcome, ServiceFigures};

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
        manifests: Default::default(),
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
        judged: None,
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
        judged: None,
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

/// A deploy that was taken back, a release that was found bad later, a promotion, a collection, and
/// a change that is being taken back at this moment.
pub fn troubled_entries() -> Vec<Entry> {
    let accepted = |intent, services: &[&str], from: Option<&str>| Event::ChangeAccepted {
        intent,
        stack: None,
        services: services.iter().copied().map(service).collect(),
        why: String::new(),
        from: from.map(stack),
        again: false,
    };
    let made = |release, change| Event::ReleaseMade {
        release: ReleaseId(release),
        change,
        bundle: Digest::of(b"bundle"),
        differences: vec![difference(Some("web"), "replicas", Some("1"), Some("2"))],
        made_of: None,
    };
    let back = |change, cause: &str| Event::GoingBack {
        release: Some(ReleaseId(4)),
        change,
        cause: cause.to_owned(),
        instance: None,
    };
    let ended = |change, outcome, release, reason: &str, figures| Event::Concluded {
        change,
        outcome,
        release: Some(ReleaseId(release)),
        reason: reason.to_owned(),
        took_ms: 8400,
        figures,
    };
    let crash = "service web: exited with code 1";
    let serves = "the earlier release serves again";
    let events = [
        ("ada (cli)", accepted(Intent::Deploy, &["web"], None)),
        (store::BY_ITSELF, made(5, 1)),
        (store::BY_ITSELF, back(1, crash)),
        (store::BY_ITSELF, ended(1, Outcome::RolledBack, 4, crash, crashed())),
        (store::BY_ITSELF, accepted(Intent::Rollback { to: Some(ReleaseId(3)) }, &[], None)),
        (store::BY_ITSELF, ended(5, Outcome::Kept, 3, serves, vec![])),
        ("ada (cli)", accepted(Intent::Promote { release: Some(ReleaseId(9)) }, &[], Some("staging"))),
        (store::BY_ITSELF, ended(7, Outcome::Kept, 4, "every service is ready", figures())),
        (
            store::BY_ITSELF,
            Event::ReleasesCollected {
                releases: vec![ReleaseId(1), ReleaseId(2)],
                reason: "ten are kept".to_owned(),
            },
        ),
        ("root (cli)", accepted(Intent::Up, &["web"], None)),
        (store::BY_ITSELF, made(6, 10)),
        (store::BY_ITSELF, back(10, crash)),
    ];
    let entry = |(position, (actor, event)): (usize, (&str, Event))| Entry {
        seq: position as u64 + 1,
        at: ago(600 - 10 * position as i64),
        stack: Some(stack("guestbook")),
        actor: actor.to_owned(),
        event,
        hash: Digest::of(&[position as u8]),
    };
    events.into_iter().enumerate().map(entry).collect()
}
