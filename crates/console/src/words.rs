//! Words for people, the same on the command line and on the pages.

use crate::when::Clock;
use model::DurationMs;
use model::certificate::CertificateStatus;
use run::control::{ReleaseStanding, ReleaseStatus};
use store::record::v1::ServiceFigures;

/// `by ada (cli)`; nobody asked for what the daemon does on its own.
pub fn by(actor: &str) -> String {
    if actor == store::BY_ITSELF { "by itself".to_owned() } else { format!("by {actor}") }
}

/// `2 replicas ready in 1.9 s, decided 540 ms later, swapped in 0.4 ms, no gap`.
pub fn figures_text(figures: &ServiceFigures) -> String {
    let replicas = match figures.instances {
        1 => "1 replica".to_owned(),
        number => format!("{number} replicas"),
    };
    let started = match figures.ready_ms {
        // What was warm had only to be swapped.
        _ if figures.instances == 0 => None,
        Some(ms) => Some(format!("{replicas} ready in {}", DurationMs(ms))),
        None => Some(format!("{replicas}, not ready")),
    };
    let mut parts: Vec<String> = started.into_iter().collect();
    parts.extend(figures.decided_ms.map(|ms| format!("decided {} later", DurationMs(ms))));
    parts.extend(figures.swap_us.map(|us| format!("swapped in {}", milliseconds(us))));
    parts.push(match figures.gap_ms {
        0 => "no gap".to_owned(),
        ms => format!("gap of {}", DurationMs(ms)),
    });
    let text = parts.join(", ");
    match &figures.judged {
        Some(judged) => format!("{text}; {judged}"),
        None => text,
    }
}

/// `2.8 ms`, `12 ms`, `3 s`.
pub fn milliseconds(us: u64) -> String {
    match us {
        us if us < 10_000 => format!("{}.{} ms", us / 1000, us % 1000 / 100),
        us if us < 10_000_000 => format!("{} ms", us / 1000),
        us => format!("{} s", us / 1_000_000),
    }
}

/// How a release was judged: an outcome, or `under way`.
pub fn verdict_word(release: &ReleaseStatus) -> &'static str {
    match (release.outcome, release.standing) {
        (Some(outcome), _) => outcome.word(),
        (None, ReleaseStanding::Active) => "under way",
        (None, _) => "not judged",
    }
}

/// What can be done with a release: `in force`, `warm until 14:32`, `kept on disk`.
pub fn standing_text(standing: ReleaseStanding, clock: &Clock) -> String {
    match standing {
        ReleaseStanding::Active => "in force".to_owned(),
        ReleaseStanding::Warm { until } => format!("warm until {}", clock.soon(until)),
        ReleaseStanding::Kept => "kept on disk".to_owned(),
        ReleaseStanding::Refused => "kept, was bad".to_owned(),
        ReleaseStanding::Collected => "collected".to_owned(),
    }
}

/// Whether a rollback to it can be asked for.
pub const fn can_be_gone_back_to(standing: ReleaseStanding) -> bool {
    matches!(standing, ReleaseStanding::Warm { .. } | ReleaseStanding::Kept)
}

/// `deploy by ada (cli): second replica`.
pub fn origin_text(release: &ReleaseStatus) -> String {
    let why = if release.why.is_empty() { String::new() } else { format!(": {}", release.why) };
    format!("{} {}{why}", release.intent.word(), by(&release.actor))
}

/// How a certificate stands, and why it could not be had.
pub fn certificate_text(status: &CertificateStatus, clock: &Clock) -> String {
    let problem = status.problem.as_deref().map(|problem| format!(": {problem}")).unwrap_or_default();
    certificate_state(status, clock) + &problem
}

/// `valid until 2027-02-21, from an authority by ACME, renewed Jan 22 03:10`.
pub fn certificate_state(status: &CertificateStatus, clock: &Clock) -> String {
    let source = match status.source.as_str() {
        "internal" => "from this machine's own authority",
        "files" => "from files",
        _ => "from an authority by ACME",
    };
    let next = match (status.next, status.source.as_str()) {
        (_, "files") => ", the files are looked at every 5 s".to_owned(),
        (Some(at), _) if at <= clock.now => ", under way".to_owned(),
        (Some(at), _) if status.problem.is_some() => {
            format!(", {}tried again at {}", tries(status.failures), clock.soon(at))
        }
        (Some(at), _) => format!(", renewed {}", clock.soon(at)),
        (None, _) => String::new(),
    };
    match status.expires {
        None => format!("none yet, {source}{next}"),
        Some(at) if at <= clock.now => format!("ended {}, {source}{next}", clock.short(at)),
        Some(at) if status.problem.is_none() => format!("valid until {}, {source}{next}", clock.short(at)),
        Some(at) => {
            format!("valid until {}, {source}, cannot be renewed{next}", clock.short(at))
        }
    }
}

fn tries(failures: u32) -> String {
    if failures > 1 { format!("{failures} tries failed, ") } else { String::new() }
}

/// Whether somebody who looks at it should do something.
pub fn certificate_is_lacking(status: &CertificateStatus, clock: &Clock) -> bool {
    status.problem.is_some() || status.expires.is_none_or(|at| at <= clock.now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{NOW, figures, guestbook_releases};

    #[test]
    fn figures_are_one_phrase() {
        let [db, web] = figures().try_into().expect("two services");
        assert_eq!(figures_text(&db), "1 replica ready in 2.4 s, decided 40 ms later, gap of 1.9 s");
        let expected = "2 replicas ready in 1.9 s, decided 540 ms later, swapped in 0.4 ms, no gap";
        assert_eq!(figures_text(&web), expected);
        let warm = ServiceFigures { instances: 0, ready_ms: None, decided_ms: None, ..web.clone() };
        assert_eq!(figures_text(&warm), "swapped in 0.4 ms, no gap");
        let never = ServiceFigures { instances: 1, ready_ms: None, decided_ms: None, swap_us: None, ..web };
        assert_eq!(figures_text(&never), "1 replica, not ready, no gap");
    }

    #[test]
    fn a_certificate_says_how_long_it_lasts_or_why_there_is_none() {
        let clock = Clock::utc(NOW);
        let hours = |hours: i64| Some(model::Timestamp(NOW.0 + hours * 3_600_000));
        let check = |source: &str, expires, next, problem: Option<&str>| {
            let status = CertificateStatus {
                name: "shop.web".to_owned(),
                hosts: vec!["shop.test".to_owned()],
                source: source.to_owned(),
                expires,
                problem: problem.map(str::to_owned),
                next,
                failures: if problem.is_some() { 2 } else { 0 },
            };
            let mark = if certificate_is_lacking(&status, &clock) { "! " } else { "" };
            format!("{mark}{}", certificate_text(&status, &clock))
        };
        let refused = Some("the authority refused: no such host");
        let told = [
            check("auto", hours(24 * 90), hours(24 * 60), None),
            check("auto", hours(24 * 20), hours(3), refused),
            check("auto", None, hours(3), refused),
            check("auto", None, hours(0), None),
            check("internal", hours(24 * 7), hours(24 * 4), None),
            check("internal", hours(-24), hours(3), refused),
            check("files", hours(24 * 7), None, None),
            check("files", None, None, Some("/srv/web.pem: No such file or directory (os error 2)")),
        ];
        insta::assert_snapshot!(told.join("\n"), @"
        valid until 2027-02-20, from an authority by ACME, renewed Jan 21 12:00
        ! valid until Dec 12 12:00, from an authority by ACME, cannot be renewed, 2 tries failed, tried again at 15:00: the authority refused: no such host
        ! none yet, from an authority by ACME, 2 tries failed, tried again at 15:00: the authority refused: no such host
        ! none yet, from an authority by ACME, under way
        valid until Nov 29 12:00, from this machine's own authority, renewed Nov 26 12:00
        ! ended Nov 21 12:00, from this machine's own authority, 2 tries failed, tried again at 15:00: the authority refused: no such host
        valid until Nov 29 12:00, from files, the files are looked at every 5 s
        ! none yet, from files, the files are looked at every 5 s: /srv/web.pem: No such file or directory (os error 2)
        ");
    }

    #[test]
    fn a_release_says_what_can_be_done_with_it() {
        let clock = Clock::utc(NOW);
        let told = |release: &ReleaseStatus| {
            let standing = standing_text(release.standing, &clock);
            format!("{}, {}, {standing}", origin_text(release), verdict_word(release))
        };
        let told: Vec<_> = guestbook_releases().iter().map(told).collect();
        insta::assert_snapshot!(told.join("\n"), @"
        up by root (cli), kept, collected
        deploy by ada (cli, sudo): second replica, kept, kept on disk
        deploy by ada (console), rolled back, kept, was bad
        up by ada (cli, sudo), kept, warm until 12:03
        deploy by root (cli), kept, in force
        ");
        let mut active = guestbook_releases().remove(4);
        active.outcome = None;
        assert_eq!(verdict_word(&active), "under way");
        active.standing = ReleaseStanding::Refused;
        active.actor = store::BY_ITSELF.to_owned();
        assert_eq!((verdict_word(&active), &*origin_text(&active)), ("not judged", "deploy by itself"));
    }
}
