//! Signals, incidents, promises and receivers of the fake guestbook: one of each kind.

use super::{NOW, service, stack};
use async_trait::async_trait;
use model::range::{Bounds, Level, Unit};
use model::{ReleaseId, Report};
use run::ranges::*;
use signals::incident::{Book, Context};
use signals::range::{Band, Standing};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Remembers what it was asked to change.
#[derive(Default)]
pub struct FakeRanges {
    /// Nothing is watched yet.
    pub is_empty: bool,
    pub asked: Mutex<Vec<String>>,
}

impl FakeRanges {
    fn note(&self, text: String) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }
}

const fn ms_ago(seconds: i64) -> i64 {
    NOW.0 - seconds * 1000
}

fn of(name: &str) -> Subject {
    Subject::service(stack("guestbook"), service(name))
}

fn signal(subject: Subject, name: &str, unit: Unit, value: f64) -> RangeStatus {
    RangeStatus {
        name: SignalName { subject, signal: name.to_owned() },
        unit,
        level: Level::Important,
        standing: Standing::Inside,
        value: Some(value),
        bounds: None,
        source: BoundsSource::None,
        band: None,
        beyond: 0.0,
        since_ms: ms_ago(7200),
        learned_since_ms: Some(ms_ago(4 * 86_400)),
        decay: None,
        expression: Some(format!("{name} by (stack, service)")),
    }
}

fn band(low: f64, high: f64) -> Option<Band> {
    Some(Band { low, high, median: (low + high) / 2.0, width: high - low })
}

fn at_most(high: f64) -> Option<Bounds> {
    Bounds::new(None, Some(high)).ok()
}

fn at_least(low: f64) -> Option<Bounds> {
    Bounds::new(Some(low), None).ok()
}

/// One of each standing, and of each way to a range.
pub fn ranges() -> Vec<RangeStatus> {
    let mib = 1024.0 * 1024.0;
    vec![
        RangeStatus {
            standing: Standing::Far,
            band: band(0.012, 0.045),
            bounds: at_most(0.4),
            source: BoundsSource::File,
            level: Level::Urgent,
            beyond: 11.4,
            since_ms: ms_ago(540),
            ..signal(of("web"), "p95", Unit::Seconds, 0.42)
        },
        RangeStatus {
            standing: Standing::Outside,
            bounds: at_least(2.0),
            source: BoundsSource::Kind,
            level: Level::Urgent,
            since_ms: ms_ago(580),
            learned_since_ms: None,
            expression: None,
            ..signal(of("web"), "instances", Unit::Number, 1.0)
        },
        RangeStatus {
            band: band(180.0 * mib, 260.0 * mib),
            decay: Some("a leak: 38 MiB more each day".to_owned()),
            ..signal(of("db"), "memory", Unit::Bytes, 244.0 * mib)
        },
        RangeStatus {
            band: band(0.0, 0.004),
            bounds: at_most(0.01),
            source: BoundsSource::Set,
            ..signal(of("web"), "errors", Unit::Share, 0.002)
        },
        RangeStatus { band: band(8.0, 61.0), ..signal(of("web"), "requests", Unit::PerSecond, 34.2) },
        RangeStatus {
            standing: Standing::Edge,
            band: band(0.05, 0.6),
            beyond: 0.2,
            ..signal(of("web"), "cpu", Unit::Cores, 0.71)
        },
        RangeStatus {
            standing: Standing::Learning,
            learned_since_ms: Some(ms_ago(7200)),
            ..signal(of("cache"), "memory", Unit::Bytes, 12.0 * mib)
        },
        RangeStatus {
            standing: Standing::Unknown,
            value: None,
            ..signal(of("cache"), "requests", Unit::PerSecond, 0.0)
        },
        RangeStatus {
            bounds: at_least(0.05),
            source: BoundsSource::Kind,
            band: band(0.44, 0.52),
            level: Level::Urgent,
            ..signal(Subject::MACHINE, "disk left /", Unit::Share, 0.47)
        },
    ]
}

fn finding(name: &str, signal: &str, value: &str, range: &str, beyond: f64, since_ms: i64) -> Finding {
    Finding {
        subject: of(name),
        signal: signal.to_owned(),
        level: Level::Urgent,
        release: Some(ReleaseId(5)),
        value: value.to_owned(),
        range: range.to_owned(),
        beyond,
        since_ms,
    }
}

/// One that is over, and one that lasts.
pub fn incidents() -> Vec<IncidentStatus> {
    let mut book = Book::default();
    let changed = |text: &str| Context {
        changed: BTreeMap::from([(of("web"), text.to_owned())]),
        ..Context::default()
    };
    let crash = finding("db", "instances", "0", "at least 1", 1000.0, ms_ago(90_000));
    book.update(ms_ago(90_000), &[crash], &Context::default());
    book.acknowledge(1, Note { by: "ada (cli)".into(), at_ms: ms_ago(89_800), why: "disk was full".into() });
    book.update(ms_ago(89_500), &[], &Context::default());
    let context = changed("deploy web by root (cli) 1 min before (r5, kept)");
    let slow = finding("web", "p95", "420 ms", "12 ms to 45 ms, at most 400 ms", 11.4, ms_ago(540));
    let fewer = finding("web", "instances", "1", "at least 2", 1000.0, ms_ago(580));
    book.update(ms_ago(580), std::slice::from_ref(&fewer), &context);
    book.update(ms_ago(540), &[fewer, slow], &context);
    let status = |incident: &Incident| IncidentStatus {
        text: incident.sentence(),
        suspects: incident.suspects().iter().map(|subject| subject.to_string()).collect(),
        is_silenced: book.is_silenced(incident, NOW.0),
        incident: incident.clone(),
    };
    book.all().map(status).collect()
}

/// One that is broken, one that is kept, one that nobody asks for.
pub fn objectives() -> Vec<ObjectiveStatus> {
    let window = |minutes, requests, good: f64, target: f64| BurnWindow {
        minutes,
        requests,
        good: Some(good),
        rate: Some((1.0 - good) / (1.0 - target)),
    };
    let silent = |minutes| BurnWindow { minutes, requests: 0, good: None, rate: None };
    let one = |name: &str, promise: &str, target, windows: Vec<BurnWindow>| ObjectiveStatus {
        subject: of(name),
        name: promise.to_owned(),
        target,
        windows,
        budget_days: 30,
        budget_left: None,
        level: None,
        since_ms: None,
    };
    let broken = [(60, 41_000, 0.982), (360, 250_000, 0.9957), (4320, 2_900_000, 0.9991)];
    let kept = [(60, 41_000, 0.9981), (360, 250_000, 0.9978), (4320, 2_900_000, 0.9980)];
    let windows = |all: [(u64, u64, f64); 3], target| {
        all.map(|(minutes, requests, good)| window(minutes, requests, good, target)).to_vec()
    };
    vec![
        ObjectiveStatus {
            budget_left: Some(0.41),
            level: Some(Level::Urgent),
            since_ms: Some(ms_ago(480)),
            ..one("web", "availability", 0.999, windows(broken, 0.999))
        },
        ObjectiveStatus {
            budget_left: Some(0.8),
            ..one("web", "answers within 300 ms", 0.99, windows(kept, 0.99))
        },
        one("cache", "availability", 0.995, [60, 360, 4320].map(silent).to_vec()),
    ]
}

/// One that is told, and one that cannot be.
pub fn receivers() -> Vec<ReceiverStatus> {
    let one = |name: &str, kind: &str, place: &str| ReceiverStatus {
        name: name.to_owned(),
        kind: kind.to_owned(),
        place: place.to_owned(),
        least: Level::Important,
        waiting: 0,
        sent: 7,
        failures: 0,
        given_up: 0,
        last_sent_ms: Some(ms_ago(579)),
        trouble: None,
    };
    vec![
        one("chat", "slack", "https://hooks.example.org"),
        ReceiverStatus {
            waiting: 2,
            failures: 9,
            trouble: Some("it cannot be connected to".to_owned()),
            ..one("ops", "mail", "ops@example.org by smtp.example.org:587")
        },
    ]
}

#[async_trait]
impl Ranges for FakeRanges {
    async fn ranges(&self) -> Result<Vec<RangeStatus>, Report> {
        Ok(if self.is_empty { Vec::new() } else { ranges() })
    }

    async fn set(&self, request: RangeChange) -> Result<RangeStatus, Report> {
        if request.max.as_deref() == Some("nonsense") {
            return Err(Report::usage("nonsense is no value of it").hint("such as 400ms, 1%, 512mb, 3"));
        }
        let ends = (request.min.unwrap_or_default(), request.max.unwrap_or_default());
        self.note(format!(
            "set {} {} to {} by {}: {}",
            request.signal, ends.0, ends.1, request.actor, request.why
        ));
        Ok(ranges().remove(0))
    }

    async fn accept(&self, request: SignalNote) -> Result<RangeStatus, Report> {
        self.note(format!("accept {} by {}: {}", request.signal, request.actor, request.why));
        Ok(ranges().remove(0))
    }

    async fn objectives(&self) -> Result<Vec<ObjectiveStatus>, Report> {
        Ok(if self.is_empty { Vec::new() } else { objectives() })
    }

    async fn incidents(&self) -> Result<Vec<IncidentStatus>, Report> {
        Ok(if self.is_empty { Vec::new() } else { incidents() })
    }

    async fn acknowledge(&self, number: u64, request: Words) -> Result<IncidentStatus, Report> {
        self.note(format!("acknowledge {number} by {}: {}", request.actor, request.why));
        let found = incidents().into_iter().find(|one| one.incident.number == number);
        found.ok_or_else(|| Report::usage(format!("there is no incident {number}")))
    }

    async fn silence(&self, request: SilenceRequest) -> Result<Silence, Report> {
        let until_ms = NOW.0 + request.lasting.0 as i64;
        self.note(format!("silence {:?} for {} by {}", request.incident, request.lasting, request.actor));
        Ok(Silence { subject: None, signal: None, until_ms, by: request.actor, why: request.why })
    }

    async fn receivers(&self) -> Result<Vec<ReceiverStatus>, Report> {
        Ok(if self.is_empty { Vec::new() } else { receivers() })
    }

    async fn add_receiver(&self, _: ReceiverRequest) -> Result<ReceiverStatus, Report> {
        Ok(receivers().remove(0))
    }

    async fn remove_receiver(&self, _: &str) -> Result<(), Report> {
        Ok(())
    }

    async fn test_receiver(&self, _: &str) -> Result<(), Report> {
        Ok(())
    }
}
