//! What the measurements say of all signals, asked at once.

use super::catalogue::{Decay, Kind, MACHINE, OWN, SERVICE};
use super::promised::Counted;
use model::range::{Bounds, Declared, Level, Unit};
use model::{ReleaseId, ServiceName, StackName};
use observe::keep::Metrics;
use observe::promql::{Query, Settings, Value};
use observe::{Labels, is_stale};
use run::control::Watched;
use run::ranges::{BoundsSource, SignalName};
use signals::incident::Subject;
use signals::range::Rule;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Older values say nothing of now.
const LOOKBACK_MS: i64 = 45_000;
/// Of probes, which are asked every 30 s or more seldom.
const PROBE_LOOKBACK_MS: i64 = 150_000;
/// For all signals together.
const LIMIT: Duration = Duration::from_secs(5);
const SAMPLES_MAX: u64 = 5_000_000;
/// Signals of this machine and all services together.
pub const SIGNALS_MAX: usize = 5_000;
/// Expressions of services' own signals that are kept understood.
const QUERIES_MAX: usize = 500;

/// One signal with its value now, and what holds for it.
#[derive(Debug, Clone)]
pub struct Input {
    pub name: SignalName,
    pub value: Option<f64>,
    pub unit: Unit,
    pub level: Level,
    pub far: Level,
    pub rule: Rule,
    pub source: BoundsSource,
    pub decay: Option<Decay>,
    pub release: Option<ReleaseId>,
    pub expression: Option<Cow<'static, str>>,
    /// Its service changes: neither judged nor learned.
    pub is_changing: bool,
}

/// What the measurements say at one time.
pub struct Asked {
    pub inputs: Vec<Input>,
    /// What was promised and what was broken, once a minute.
    pub counted: Option<Vec<Counted>>,
}

/// What was declared of signals, by a file or by somebody.
pub type Overrides = BTreeMap<String, Declared>;

pub struct Asker {
    metrics: Arc<Metrics>,
    kinds: Vec<(&'static Kind, Query)>,
    own: HashMap<String, Query>,
}

impl Asker {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let all = SERVICE.iter().chain(&MACHINE);
        let parsed = |kind: &'static Kind| Some((kind, Query::parse(kind.query?).ok()?));
        Self { metrics, kinds: all.filter_map(parsed).collect(), own: HashMap::new() }
    }

    /// The values of all signals. Blocks while the measurements are read.
    pub fn ask(&mut self, now_ms: i64, watched: &[Watched], overrides: &Overrides) -> Vec<Input> {
        let until = Instant::now() + LIMIT;
        let by_service: HashMap<Subject, &Watched> =
            watched.iter().map(|w| (Subject::service(w.stack.clone(), w.service.clone()), w)).collect();
        let mut inputs = Vec::new();
        for (kind, query) in &self.kinds {
            let is_rare = kind.name.starts_with("probe") || kind.name == "certificate";
            let lookback_ms = if is_rare { PROBE_LOOKBACK_MS } else { LOOKBACK_MS };
            for (labels, value) in answers(&self.metrics, query, now_ms, lookback_ms, until) {
                let Some(subject) = subject(&labels) else { continue };
                let service = by_service.get(&subject);
                if subject != Subject::MACHINE && service.is_none() {
                    continue;
                }
                inputs.extend(input(
                    kind,
                    signal(kind, &labels),
                    subject,
                    value,
                    service.copied(),
                    overrides,
                ));
            }
        }
        self.ask_own(now_ms, watched, overrides, until, &mut inputs);
        inputs.truncate(SIGNALS_MAX);
        inputs
    }

    /// The requests of the last time of services that promise something, and those that broke it.
    pub fn count(&self, now_ms: i64, last_ms: i64, watched: &[Watched]) -> Vec<Counted> {
        let until = Instant::now() + LIMIT;
        let over = format!("[{last_ms}ms]");
        let ask = |text: &str| match Query::parse(&text.replace("$over", &over)) {
            Ok(query) => answers(&self.metrics, &query, now_ms, LOOKBACK_MS, until),
            Err(_) => Vec::new(),
        };
        let promising: HashMap<Subject, &Watched> = watched
            .iter()
            .filter(|one| !one.objectives.is_empty())
            .map(|one| (Subject::service(one.stack.clone(), one.service.clone()), one))
            .collect();
        super::count::count(&promising, ask)
    }

    /// Signals that services declare by an expression.
    fn ask_own(
        &mut self,
        now_ms: i64,
        watched: &[Watched],
        overrides: &Overrides,
        until: Instant,
        inputs: &mut Vec<Input>,
    ) {
        for service in watched.iter().filter(|service| !service.is_off) {
            for (name, declared) in &service.ranges {
                let Some(text) = &declared.query else { continue };
                if self.own.len() >= QUERIES_MAX {
                    self.own.clear();
                }
                let query = match self.own.get(text) {
                    Some(query) => query,
                    None => match Query::parse(text) {
                        Ok(query) => self.own.entry(text.clone()).or_insert(query),
                        Err(_) => continue,
                    },
                };
                let found = answers(&self.metrics, query, now_ms, LOOKBACK_MS, until);
                let value = found.first().map(|(_, value)| *value);
                let subject = Subject::service(service.stack.clone(), service.service.clone());
                let made = input(&OWN, name.clone(), subject, value, Some(service), overrides);
                let expression = Some(Cow::Owned(text.clone()));
                inputs.extend(made.map(|input| Input { expression, ..input }));
            }
        }
    }
}

/// Applies what is declared; none when the signal is off.
pub fn input(
    kind: &Kind,
    signal: String,
    subject: Subject,
    value: impl Into<Option<f64>>,
    service: Option<&Watched>,
    overrides: &Overrides,
) -> Option<Input> {
    let name = SignalName { subject, signal };
    let of_file = service.and_then(|service| service.ranges.get(&name.signal));
    let set = overrides.get(&name.to_string());
    if service.is_some_and(|service| service.is_off) || [of_file, set].into_iter().flatten().any(|d| d.off) {
        return None;
    }
    let mut input = Input {
        value: value.into(),
        unit: kind.unit,
        level: kind.level,
        far: kind.far,
        rule: kind.rule(),
        source: BoundsSource::Kind,
        decay: kind.decay,
        release: service.and_then(|service| service.release),
        expression: kind.query.map(Cow::Borrowed),
        is_changing: service.is_some_and(|service| service.is_changing),
        name,
    };
    if input.name.signal == "memory"
        && let Some(limit) = service.and_then(|service| service.memory_limit)
    {
        input.rule.bounds = Bounds::new(None, Some(limit as f64 * NEAR_LIMIT)).ok();
    }
    for (declared, source) in [(of_file, BoundsSource::File), (set, BoundsSource::Set)] {
        if let Some(declared) = declared {
            apply(&mut input, declared, source);
        }
    }
    if input.rule.bounds.is_none() {
        input.source = BoundsSource::None;
    }
    Some(input)
}

/// Of its limit, an instance may use so much.
const NEAR_LIMIT: f64 = 0.95;

pub fn apply(input: &mut Input, declared: &Declared, source: BoundsSource) {
    if let Some(bounds) = declared.bounds {
        (input.rule.bounds, input.source) = (Some(bounds), source);
    }
    input.rule.learns &= declared.learn;
    if let Some(level) = declared.level {
        (input.level, input.far) = (level, level);
    }
}

pub fn answers(
    metrics: &Metrics,
    query: &Query,
    now_ms: i64,
    lookback_ms: i64,
    until: Instant,
) -> Vec<(Labels, f64)> {
    let is_over = || Instant::now() > until;
    let settings =
        Settings { lookback_ms, samples_max: SAMPLES_MAX, is_over: &is_over, ..Settings::default() };
    match query.instant(metrics, now_ms, &settings) {
        Ok(Value::Vector(all)) => {
            let last = |answer: observe::promql::Answer| Some((answer.labels, *answer.points.values.last()?));
            all.into_iter().filter_map(last).filter(|(_, value)| !is_stale(*value)).collect()
        }
        Ok(Value::Scalar { value, .. }) => vec![(Labels::default(), value)],
        // No answer is no value: the signal is unknown until there is one.
        Ok(_) | Err(_) => Vec::new(),
    }
}

pub fn subject(labels: &Labels) -> Option<Subject> {
    match (labels.get("stack"), labels.get("service")) {
        ("", _) | (_, "") => Some(Subject::MACHINE),
        (stack, service) => {
            Some(Subject::service(StackName::new(stack).ok()?, ServiceName::new(service).ok()?))
        }
    }
}

fn signal(kind: &Kind, labels: &Labels) -> String {
    match kind.by.map(|label| labels.get(label)) {
        Some(value) if !value.is_empty() => format!("{} {value}", kind.name),
        _ => kind.name.to_owned(),
    }
}
