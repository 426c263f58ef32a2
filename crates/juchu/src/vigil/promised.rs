//! Objectives: what services promise, counted once a minute from the measured requests, and told when
//! errors come faster than it allows.

use super::grown::Line;
use model::objective::{Objectives, share_text};
use model::range::Level;
use run::control::Watched;
use run::ranges::{BurnWindow, ObjectiveStatus};
use signals::burn::{Burn, Burning, DAYS, WINDOWS_MIN};
use signals::incident::{Finding, Subject};
use std::collections::BTreeMap;

/// A daemon that was away catches up with so much; what was before is not known.
const CAUGHT_UP_MS: i64 = 10 * 60_000;
const EACH_MS: i64 = 60_000;
/// Promises of all services together.
const PROMISES_MAX: usize = 1_000;

/// Which promise of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    Availability,
    Latency,
}

/// Requests of one service since the last time, and those that broke the promise.
#[derive(Debug, Clone, PartialEq)]
pub struct Counted {
    pub subject: Subject,
    pub promise: Promise,
    pub all: f64,
    pub bad: f64,
}

#[derive(Debug, Clone, Default)]
struct Kept {
    burn: Burn,
    burning: Option<Burning>,
    since_ms: i64,
}

/// All that is promised.
#[derive(Debug, Default)]
pub struct Promised {
    kept: BTreeMap<(Subject, Promise), Kept>,
    declared: BTreeMap<Subject, Objectives>,
    counted_ms: Option<i64>,
    fresh: Vec<Line>,
}

impl Promise {
    const ALL: [Self; 2] = [Self::Availability, Self::Latency];

    const fn word(self) -> &'static str {
        match self {
            Self::Availability => "availability",
            Self::Latency => "latency",
        }
    }

    /// Which share may go wrong, where it is promised.
    fn allowed(self, objectives: &Objectives) -> Option<f64> {
        match self {
            Self::Availability => objectives.availability.map(|target| target.allowed()),
            Self::Latency => objectives.latency.map(|latency| latency.target.allowed()),
        }
    }

    /// `availability`, `answers within 300 ms`; and `at least 99.9 %`.
    fn names(self, objectives: &Objectives) -> Option<(String, f64)> {
        match self {
            Self::Availability => Some((self.word().to_owned(), objectives.availability?.share())),
            Self::Latency => {
                let latency = objectives.latency?;
                Some((format!("answers within {}", latency.within), latency.target.share()))
            }
        }
    }
}

impl Promised {
    /// As it was written: `shop/web/availability`.
    pub fn new(burns: BTreeMap<String, Burn>) -> Self {
        let one = |(name, burn): (String, Burn)| Some((parsed(&name)?, Kept { burn, ..Kept::default() }));
        Self { kept: burns.into_iter().filter_map(one).collect(), ..Self::default() }
    }

    pub fn see(&mut self, watched: &[Watched]) {
        let promising = watched.iter().filter(|service| !service.objectives.is_empty());
        self.declared = promising
            .map(|one| (Subject::service(one.stack.clone(), one.service.clone()), one.objectives))
            .collect();
    }

    /// The time that is to be counted now; none when nothing is due.
    pub fn due(&self, now_ms: i64) -> Option<i64> {
        if self.declared.is_empty() {
            return None;
        }
        match self.counted_ms.map(|before| now_ms - before) {
            Some(since) if (0..EACH_MS).contains(&since) => None,
            Some(since) if since > 0 => Some(since.min(CAUGHT_UP_MS)),
            _ => Some(EACH_MS),
        }
    }

    pub fn count(&mut self, now_ms: i64, counted: Vec<Counted>) {
        self.counted_ms = Some(now_ms);
        for Counted { subject, promise, all, bad } in counted {
            let has_room =
                self.kept.len() < PROMISES_MAX || self.kept.contains_key(&(subject.clone(), promise));
            if all <= 0.0 || !has_room || !self.is_promised(&subject, promise) {
                continue;
            }
            let name = format!("{subject}/{}", promise.word());
            self.kept.entry((subject, promise)).or_default().burn.add(now_ms, all, bad);
            self.fresh.push(Line::Burn { name, at_ms: now_ms, all, bad });
        }
        self.judge(now_ms);
    }

    fn is_promised(&self, subject: &Subject, promise: Promise) -> bool {
        self.declared.get(subject).and_then(|objectives| promise.allowed(objectives)).is_some()
    }

    fn judge(&mut self, now_ms: i64) {
        for ((subject, promise), kept) in &mut self.kept {
            let allowed = self.declared.get(subject).and_then(|objectives| promise.allowed(objectives));
            let burning = allowed.and_then(|allowed| kept.burn.burning(now_ms, allowed));
            if burning.is_some() != kept.burning.is_some() {
                kept.since_ms = now_ms;
            }
            kept.burning = burning;
        }
    }

    /// What is broken faster than promised.
    pub fn findings<'a>(&'a self, now_ms: i64) -> impl Iterator<Item = Finding> + 'a {
        self.kept.iter().filter_map(move |((subject, promise), kept)| {
            let burning = kept.burning?;
            let (signal, target) = promise.names(self.declared.get(subject)?)?;
            let good = kept.burn.over(now_ms, burning.long_min).good().unwrap_or(1.0);
            Some(Finding {
                subject: subject.clone(),
                signal,
                level: burning.level,
                release: None,
                value: format!(
                    "{} over {}, {} times as many misses as it allows",
                    share_text(good),
                    span(burning.long_min),
                    times(burning.long)
                ),
                range: format!("at least {}", share_text(target)),
                beyond: burning.long,
                since_ms: kept.since_ms,
            })
        })
    }

    pub fn statuses(&self, now_ms: i64) -> Vec<ObjectiveStatus> {
        let declared = self.declared.iter().flat_map(|one| Promise::ALL.map(|promise| (one, promise)));
        let one = |((subject, objectives), promise): ((&Subject, &Objectives), Promise)| {
            let allowed = promise.allowed(objectives)?;
            let (name, target) = promise.names(objectives)?;
            let kept = self.kept.get(&(subject.clone(), promise)).cloned().unwrap_or_default();
            let window = |minutes| {
                let sum = kept.burn.over(now_ms, minutes);
                let (good, rate) = (sum.good(), sum.rate(allowed));
                BurnWindow { minutes: minutes as u64, requests: sum.all.round() as u64, good, rate }
            };
            Some(ObjectiveStatus {
                subject: subject.clone(),
                name,
                target,
                windows: WINDOWS_MIN.map(window).to_vec(),
                budget_days: DAYS as u64,
                budget_left: kept.burn.budget_left(now_ms, allowed),
                level: kept.burning.map(|burning| burning.level).filter(|level| *level > Level::Information),
                since_ms: kept.burning.map(|_| kept.since_ms),
            })
        };
        declared.filter_map(one).collect()
    }

    /// All that was counted, to be written. What nobody asked for thirty days is left out.
    pub fn burns(&mut self, now_ms: i64) -> BTreeMap<String, Burn> {
        self.fresh.clear();
        self.kept.retain(|_, kept| kept.burn.has_any(now_ms));
        let name = |subject: &Subject, promise: &Promise| format!("{subject}/{}", promise.word());
        let all = self.kept.iter();
        all.map(|((subject, promise), kept)| (name(subject, promise), kept.burn.clone())).collect()
    }

    /// What was counted since it was written.
    pub fn fresh(&mut self) -> Vec<Line> {
        std::mem::take(&mut self.fresh)
    }
}

fn parsed(name: &str) -> Option<(Subject, Promise)> {
    let name = run::ranges::SignalName::parse(name)?;
    let promise = Promise::ALL.into_iter().find(|promise| promise.word() == name.signal)?;
    Some((name.subject, promise))
}

fn times(rate: f64) -> String {
    if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

fn span(minutes: usize) -> String {
    match minutes {
        0..=119 => format!("{minutes} min"),
        120..=2879 => format!("{} h", minutes / 60),
        _ => format!("{} d", minutes / 1440),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::objective::{Quickness, Target};
    use model::{DurationMs, ServiceName, StackName};

    const START: i64 = 1_790_000_000_000;

    fn web() -> Subject {
        Subject::service(StackName::new("shop").expect("valid"), ServiceName::new("web").expect("valid"))
    }

    fn promised() -> Promised {
        let target = |text| Target::parse(text).expect("valid");
        let latency = Quickness { target: target("99%"), within: DurationMs(300) };
        let objectives = Objectives { availability: Some(target("99.9%")), latency: Some(latency) };
        Promised { declared: BTreeMap::from([(web(), objectives)]), ..Promised::default() }
    }

    /// Minutes of 100 requests with so many failed ones.
    fn minutes(promised: &mut Promised, from: i64, count: i64, bad: f64) -> i64 {
        for minute in from..from + count {
            let counted = Counted { subject: web(), promise: Promise::Availability, all: 100.0, bad };
            promised.count(START + minute * 60_000, vec![counted]);
        }
        START + (from + count - 1) * 60_000
    }

    #[test]
    fn errors_that_come_too_fast_are_found_and_their_end_as_well() {
        let mut promised = promised();
        let now = minutes(&mut promised, 0, 60, 0.0);
        assert_eq!(promised.findings(now).count(), 0);
        let now = minutes(&mut promised, 60, 30, 4.0);
        let found: Vec<String> = promised.findings(now).map(|finding| finding.sentence()).collect();
        assert_eq!(
            found,
            [
                "availability is 98 % over 60 min, 20 times as many misses as it allows, normal is at least 99.9 %"
            ]
        );
        let status = &promised.statuses(now)[0];
        assert_eq!((status.level, status.windows[0].requests), (Some(Level::Urgent), 6000));
        assert!(status.budget_left.is_some_and(|left| left < 0.0), "{status:?}");
        assert_eq!(promised.statuses(now)[1].name, "answers within 300 ms");
        let now = minutes(&mut promised, 90, 2000, 0.0);
        assert_eq!(promised.findings(now).count(), 0);
    }

    #[test]
    fn a_minute_is_counted_once_and_a_pause_is_caught_up_with() {
        let mut promised = promised();
        assert_eq!(promised.due(START), Some(60_000));
        promised.count(START, Vec::new());
        assert_eq!(promised.due(START + 59_000), None);
        assert_eq!(promised.due(START + 65_000), Some(65_000));
        assert_eq!(promised.due(START + 3_600_000), Some(CAUGHT_UP_MS));
        assert_eq!(promised.due(START - 5_000), Some(60_000), "the clock was set back");
        assert_eq!(Promised::default().due(START), None, "nothing is promised");
    }

    #[test]
    fn what_was_counted_is_read_back() {
        let mut promised = promised();
        let now = minutes(&mut promised, 0, 5, 1.0);
        assert_eq!(promised.fresh().len(), 5);
        let again = Promised { declared: promised.declared.clone(), ..Promised::new(promised.burns(now)) };
        // Whether it burns too fast is decided anew.
        let counted = |of: &Promised| -> Vec<_> {
            of.statuses(now).into_iter().map(|one| (one.name, one.windows, one.budget_left)).collect()
        };
        assert_eq!(counted(&again), counted(&promised));
    }
}
