//! All signals and all incidents: values come in, news come out. Knows no clock and asks nobody.

use super::ask::{Input, Overrides};
use super::catalogue::Decay;
use super::grown::Line;
use super::keep::Known;
use super::promised::Promised;
use run::control::Watched;
use run::ranges::{BoundsSource, IncidentStatus, RangeStatus, SignalName, range_text};
use signals::burn::Burn;
use signals::decay;
use signals::incident::{BEYOND_BOUNDS, Book, Calls, Context, Finding, News, Subject};
use signals::range::{Point, Ranged, Reading, SLOT_MS};
use std::collections::{BTreeMap, BTreeSet};

/// A signal that was not seen for so long is forgotten.
const FORGOTTEN_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// After a change, signals that look back a minute need so long to be of the new release alone.
const AFTER_CHANGE_MS: i64 = 75_000;
/// After a start nothing counts as over: what was outside has to be seen outside again first.
pub const SETTLING_MS: i64 = 40_000;

/// One signal.
#[derive(Debug, Clone)]
struct Signal {
    ranged: Ranged,
    input: Option<Input>,
    reading: Option<Reading>,
    /// A steady rise, as its value and what is normal.
    decay: Option<(String, String)>,
    decay_of: Option<i64>,
    seen_ms: i64,
}

/// Which signals an evaluation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What is measured, every ten seconds.
    Measured,
    /// What the control plane sees, every second.
    Seen,
}

pub struct State {
    signals: BTreeMap<SignalName, Signal>,
    pub promised: Promised,
    pub book: Book,
    pub overrides: Overrides,
    /// What was learned has to be written as a whole, not only what came to it.
    pub is_whole_due: bool,
    /// The half hour in which it was.
    whole_of: i64,
    begun_ms: i64,
    /// When a change of a stack was last under way, and starts and releases of services.
    changed_ms: BTreeMap<model::StackName, i64>,
    starts: BTreeMap<Subject, (u64, Option<model::ReleaseId>)>,
    off: BTreeSet<Subject>,
    known: BTreeSet<Subject>,
    calls: Calls,
    /// Caller and called, as seen at the gateway.
    called: BTreeSet<(Subject, Subject)>,
}

impl State {
    pub fn new(known: Known, now_ms: i64) -> Self {
        let Known { signals, burns, book, overrides } = known;
        let signal = |ranged| Signal {
            ranged,
            input: None,
            reading: None,
            decay: None,
            decay_of: None,
            seen_ms: now_ms,
        };
        Self {
            signals: signals.into_iter().map(|(name, ranged)| (name, signal(ranged))).collect(),
            promised: Promised::new(burns),
            book,
            overrides,
            is_whole_due: true,
            whole_of: 0,
            begun_ms: now_ms,
            changed_ms: BTreeMap::new(),
            starts: BTreeMap::new(),
            off: BTreeSet::new(),
            known: BTreeSet::new(),
            calls: Calls::default(),
            called: BTreeSet::new(),
        }
    }

    /// What services are there, who calls whom, what began anew.
    pub fn see(&mut self, now_ms: i64, watched: &[Watched]) {
        self.calls = calls(watched);
        for (caller, called) in &self.called {
            self.calls.add(caller.clone(), called.clone());
        }
        self.promised.see(watched);
        self.off.clear();
        self.known.clear();
        for service in watched {
            let subject = Subject::service(service.stack.clone(), service.service.clone());
            if service.is_changing {
                self.changed_ms.insert(service.stack.clone(), now_ms);
            }
            if service.is_off {
                self.off.insert(subject.clone());
            }
            let starts = service.instances.iter().map(|instance| u64::from(instance.starts)).sum();
            let now = (starts, service.release);
            if self.starts.insert(subject.clone(), now).is_some_and(|before| before != now) {
                let mine = self.signals.iter_mut().filter(|(name, _)| name.subject == subject);
                mine.for_each(|(_, signal)| signal.begin_anew());
            }
            self.known.insert(subject);
        }
        self.changed_ms.retain(|_, at| now_ms - *at < AFTER_CHANGE_MS);
        self.starts.retain(|subject, _| self.known.contains(subject));
    }

    /// Who called whom lately, beside what is declared.
    pub fn called(&mut self, called: BTreeSet<(Subject, Subject)>) {
        self.called = called;
    }

    /// Holds values against ranges. Signals of this part that have no value now are told so.
    pub fn evaluate(&mut self, now_ms: i64, part: Part, inputs: Vec<Input>) {
        let present: BTreeSet<SignalName> = inputs.iter().map(|input| input.name.clone()).collect();
        for input in inputs {
            let is_changing = part == Part::Measured && self.is_changing(&input);
            let signal = self.signals.entry(input.name.clone()).or_insert_with(|| Signal::new(now_ms));
            signal.seen_ms = now_ms;
            if !is_changing {
                signal.take(now_ms, input);
            }
        }
        let is_seen_part =
            |signal: &Signal| signal.input.as_ref().is_some_and(|input| is_seen(&input.name.signal));
        for (name, signal) in &mut self.signals {
            if !present.contains(name) && is_seen_part(signal) == (part == Part::Seen) {
                signal.miss(now_ms);
            }
        }
        if part == Part::Measured {
            self.judge_decay();
            self.signals.retain(|_, signal| now_ms - signal.seen_ms < FORGOTTEN_MS);
        }
    }

    fn is_changing(&self, input: &Input) -> bool {
        let stack = input.name.subject.stack.as_ref();
        input.is_changing || stack.is_some_and(|stack| self.changed_ms.contains_key(stack))
    }

    /// Once for each half hour.
    fn judge_decay(&mut self) {
        let loads = self.loads();
        for (name, signal) in &mut self.signals {
            let last = signal.ranged.course().points().next_back().map(|point| point.at);
            let Some(kind) = signal.input.as_ref().and_then(|input| input.decay) else { continue };
            if last.is_none() || last == signal.decay_of {
                continue;
            }
            signal.decay_of = last;
            let points: Vec<Point> = signal.ranged.course().points().copied().collect();
            let of_service = loads.get(&name.subject);
            let load: Vec<Option<f64>> = points
                .iter()
                .map(|point| of_service.and_then(|loads| loads.get(&point.at)).copied())
                .collect();
            signal.decay = signal.input.as_ref().and_then(|input| decay_of(kind, input, &points, &load));
        }
    }

    /// Requests of each service, by half hour.
    fn loads(&self) -> BTreeMap<Subject, BTreeMap<i64, f64>> {
        let requests = self.signals.iter().filter(|(name, _)| name.signal == "requests");
        let course = |signal: &Signal| {
            let rule = signal.input.as_ref().map(|input| input.rule.clone()).unwrap_or_default();
            signal.ranged.course().points().map(|point| (point.at, rule.value_of(point.median))).collect()
        };
        requests.map(|(name, signal)| (name.subject.clone(), course(signal))).collect()
    }

    /// All that is outside now.
    pub fn findings(&self, now_ms: i64) -> Vec<Finding> {
        let is_there = |subject: &Subject| {
            *subject == Subject::MACHINE || self.known.contains(subject) && !self.off.contains(subject)
        };
        let mine = self.signals.iter().filter(|(name, _)| is_there(&name.subject));
        let promises = self.promised.findings(now_ms).filter(|finding| is_there(&finding.subject));
        mine.flat_map(|(name, signal)| signal.findings(name)).chain(promises).collect()
    }

    /// Subjects of findings that are in no open incident yet.
    pub fn newly_outside(&self, findings: &[Finding]) -> BTreeSet<Subject> {
        let open: BTreeSet<&Subject> = self.book.open().map(|incident| &incident.subject).collect();
        findings.iter().map(|f| &f.subject).filter(|subject| !open.contains(subject)).cloned().collect()
    }

    pub fn update(
        &mut self,
        now_ms: i64,
        findings: &[Finding],
        changed: BTreeMap<Subject, String>,
    ) -> Vec<News> {
        let is_settling = (now_ms - self.begun_ms).abs() < SETTLING_MS;
        self.book.update(now_ms, findings, &Context { calls: self.calls.clone(), changed, is_settling })
    }

    pub fn ranges(&self) -> Vec<RangeStatus> {
        let mut all: Vec<RangeStatus> =
            self.signals.iter().filter_map(|(name, signal)| signal.status(name)).collect();
        all.sort_by_key(|range| (!range.standing.is_out(), range.decay.is_none()));
        all
    }

    pub fn range(&self, name: &SignalName) -> Option<RangeStatus> {
        self.signals.get(name)?.status(name)
    }

    pub fn unit(&self, name: &SignalName) -> Option<model::range::Unit> {
        Some(self.signals.get(name)?.input.as_ref()?.unit)
    }

    /// What a signal is now is normal; none when there is nothing to go by.
    pub fn accept(&mut self, name: &SignalName, now_ms: i64) -> Option<String> {
        let signal = self.signals.get_mut(name)?;
        let input = signal.input.as_ref()?;
        let band = signal.ranged.accept(&input.rule, now_ms)?;
        signal.decay = None;
        self.is_whole_due = true;
        let text = range_text(input.unit, None, Some(&band));
        if let Some(reading) = &mut signal.reading {
            (reading.band, reading.standing) = (Some(band), signal.ranged.standing());
        }
        Some(text)
    }

    /// The rule of a signal is that of its input, until the next one comes.
    pub fn apply_override(&mut self, name: &SignalName) {
        let declared = self.overrides.get(&name.to_string());
        if let Some(input) = self.signals.get_mut(name).and_then(|signal| signal.input.as_mut())
            && let Some(declared) = declared
        {
            super::ask::apply(input, declared, BoundsSource::Set);
        }
    }

    pub fn forget(&mut self, name: &SignalName) {
        if let Some(signal) = self.signals.get_mut(name) {
            (signal.input, signal.reading, signal.decay) = (None, None, None);
        }
    }

    pub fn incident(&self, number: u64, now_ms: i64) -> Option<IncidentStatus> {
        let incident = self.book.get(number)?;
        Some(IncidentStatus {
            text: incident.sentence(),
            suspects: incident.suspects().iter().map(|subject| subject.to_string()).collect(),
            is_silenced: self.book.is_silenced(incident, now_ms),
            incident: incident.clone(),
        })
    }

    /// All that was learned, to be written.
    pub fn kept(&mut self, now_ms: i64) -> (BTreeMap<String, Ranged>, BTreeMap<String, Burn>) {
        self.is_whole_due = false;
        let all = self.signals.iter_mut();
        let ranged = all.map(|(name, signal)| {
            signal.ranged.grown(true);
            (name.to_string(), signal.ranged.clone())
        });
        (ranged.collect(), self.promised.burns(now_ms))
    }

    /// What came since it was written; none when it has to be written as a whole, as at the end of
    /// each half hour.
    pub fn grown(&mut self, now_ms: i64) -> Option<Vec<Line>> {
        let slot = now_ms.div_euclid(SLOT_MS);
        if std::mem::replace(&mut self.whole_of, slot) != slot || self.is_whole_due {
            return None;
        }
        let mut lines = self.promised.fresh();
        for (name, signal) in &mut self.signals {
            let with_values = !is_seen(&name.signal);
            if signal.ranged.has_grown(with_values) {
                lines.push(Line::Signal { name: name.to_string(), grown: signal.ranged.grown(with_values) });
            }
        }
        Some(lines)
    }
}

impl Signal {
    fn new(now_ms: i64) -> Self {
        Self {
            ranged: Ranged::default(),
            input: None,
            reading: None,
            decay: None,
            decay_of: None,
            seen_ms: now_ms,
        }
    }

    fn take(&mut self, now_ms: i64, input: Input) {
        self.reading = Some(self.ranged.evaluate(&input.rule, now_ms, input.value, true));
        self.input = Some(input);
    }

    fn miss(&mut self, now_ms: i64) {
        if let Some(input) = &self.input {
            self.reading = Some(self.ranged.evaluate(&input.rule, now_ms, None, false));
        }
    }

    fn begin_anew(&mut self) {
        self.ranged.restarted();
        (self.decay, self.decay_of) = (None, None);
    }

    fn findings(&self, name: &SignalName) -> Vec<Finding> {
        let (Some(input), Some(reading)) = (&self.input, &self.reading) else { return Vec::new() };
        let finding = |signal: String, level, value, range, beyond| Finding {
            subject: name.subject.clone(),
            signal,
            level,
            release: input.release,
            value,
            range,
            beyond,
            since_ms: reading.since_ms,
        };
        let mut findings = Vec::new();
        if reading.standing.is_out() {
            let is_far = reading.standing == signals::range::Standing::Far;
            let level = if is_far { input.far } else { input.level };
            let value = reading.value.map_or_else(|| "gone".to_owned(), |value| input.unit.show(value));
            let range = range_text(input.unit, input.rule.bounds.as_ref(), reading.band.as_ref());
            let beyond = if reading.is_beyond_bounds { BEYOND_BOUNDS } else { reading.beyond };
            findings.push(finding(name.signal.clone(), level, value, range, beyond));
        }
        if let Some((value, range)) = &self.decay {
            let name = format!("{} over days", name.signal);
            findings.push(finding(
                name,
                input.level.min(model::range::Level::Important),
                value.clone(),
                range.clone(),
                1.0,
            ));
        }
        findings
    }

    fn status(&self, name: &SignalName) -> Option<RangeStatus> {
        let (input, reading) = (self.input.as_ref()?, self.reading.as_ref()?);
        Some(RangeStatus {
            name: name.clone(),
            unit: input.unit,
            level: input.level,
            standing: reading.standing,
            value: reading.value,
            bounds: input.rule.bounds,
            source: input.source,
            band: reading.band,
            beyond: reading.beyond,
            since_ms: reading.since_ms,
            learned_since_ms: self.ranged.history().first_ms().filter(|_| input.rule.learns),
            decay: self.decay.as_ref().map(|(value, _)| value.clone()),
            expression: input.expression.clone().map(std::borrow::Cow::into_owned),
        })
    }
}

/// Those of the control plane.
fn is_seen(signal: &str) -> bool {
    super::live::NAMES.contains(&signal)
}

fn decay_of(kind: Decay, input: &Input, points: &[Point], loads: &[Option<f64>]) -> Option<(String, String)> {
    if kind == Decay::Filling {
        let left = decay::time_to(points, 0.0).filter(|left| *left < decay::EXHAUSTION_SOON_MS)?;
        let hours = left / 3_600_000;
        return Some((format!("full in {hours} h if it goes on so"), "room for a day at least".to_owned()));
    }
    let found = decay::judge(points, loads, input.rule.floor)?;
    let word = if kind == Decay::Leak { "a leak" } else { "creeping" };
    let value = format!("{word}: {} more each day", input.unit.show(found.per_day));
    Some((value, "no steady rise".to_owned()))
}

fn calls(watched: &[Watched]) -> Calls {
    let mut calls = Calls::default();
    for service in watched {
        let caller = Subject::service(service.stack.clone(), service.service.clone());
        for called in &service.depends_on {
            calls.add(caller.clone(), Subject::service(service.stack.clone(), called.clone()));
        }
    }
    calls
}
