//! A system of services that call each other: load with the course of days, noise with a memory,
//! bursts, nightly work; and what a fault does to the signals of the service and of its callers.

use super::noise::{Chance, Slow};
use model::range::{Bounds, Level};
use model::{ServiceName, StackName};
use signals::incident::{BEYOND_BOUNDS, Book, Calls, Context, Finding, News, Subject};
use signals::range::{EVERY_MS, Ranged, Reading, Rule, Scale, Side, Standing};

/// The signals of each service, with the rules that the daemon has for them.
pub const SIGNALS: [&str; 10] =
    ["requests", "errors", "p95", "cpu", "memory", "instances", "ports", "restarts", "probe time", "waiting"];
/// A Monday, 00:00.
pub const START_MS: i64 = 1_789_948_800_000;
pub const DAY_MS: i64 = 86_400_000;
const MIB: f64 = 1024.0 * 1024.0;

fn rule(signal: &str) -> Rule {
    let learned = |side, floor| Rule { side, floor, ..Rule::default() };
    let bound =
        |low, high| Rule { bounds: Bounds::new(low, high).ok(), held: 1, learns: false, ..Rule::default() };
    match signal {
        "requests" => Rule { scale: Scale::Ratio, ..learned(Side::Below, 1.0) },
        "errors" => Rule { bounds: Bounds::new(None, Some(0.5)).ok(), ..learned(Side::Above, 0.01) },
        "p95" => learned(Side::Above, 0.005),
        "cpu" => Rule { scale: Scale::Ratio, ..learned(Side::Above, 0.1) },
        "memory" => learned(Side::Above, 16.0 * MIB),
        "instances" => bound(Some(1.0), None),
        "ports" | "restarts" => bound(None, Some(0.0)),
        "probe time" => learned(Side::Above, 0.05),
        _ => learned(Side::Above, 0.25),
    }
}

fn level(signal: &str, standing: Standing) -> Level {
    match (signal, standing) {
        ("errors" | "instances" | "ports", _) | ("p95", Standing::Far) => Level::Urgent,
        _ => Level::Important,
    }
}

/// What is wrong with a service: factors and sums on its signals.
#[derive(Clone, Copy)]
pub struct Fault {
    pub name: &'static str,
    pub load: f64,
    pub errors: f64,
    pub latency: f64,
    pub cpu: f64,
    pub memory_mib: f64,
    pub instances: f64,
    pub ports: f64,
    pub restarts: f64,
    pub waiting: f64,
    /// How much of it reaches those who call it: of the errors, and of the latency.
    pub passed_errors: f64,
    pub passed_latency: f64,
}

pub const NONE: Fault = Fault {
    name: "none",
    load: 1.0,
    errors: 0.0,
    latency: 1.0,
    cpu: 0.0,
    memory_mib: 0.0,
    instances: 0.0,
    ports: 0.0,
    restarts: 0.0,
    waiting: 0.0,
    passed_errors: 0.5,
    passed_latency: 0.5,
};

struct Service {
    subject: Subject,
    /// Whom it calls, by place.
    calls: Vec<usize>,
    load: f64,
    latency: f64,
    memory: f64,
    spread: f64,
    slow: [Slow; 4],
    ranged: Vec<Ranged>,
}

pub struct System {
    services: Vec<Service>,
    rules: Vec<Rule>,
    chance: Chance,
    pub book: Book,
    context: Context,
    pub now_ms: i64,
}

impl System {
    /// Chains of five: each service calls the next one, the last is a database.
    pub fn new(count: usize, seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let stack = |at: usize| StackName::new(format!("stack{}", at / 5)).expect("valid");
        let subject =
            |at: usize| Subject::service(stack(at), ServiceName::new(format!("s{}", at % 5)).expect("valid"));
        let mut calls = Calls::default();
        let services: Vec<Service> = (0..count)
            .map(|at| {
                let called = if at % 5 < 4 && at + 1 < count { vec![at + 1] } else { Vec::new() };
                called.iter().for_each(|to| calls.add(subject(at), subject(*to)));
                Service {
                    subject: subject(at),
                    calls: called,
                    load: 5.0 * (4.0 * chance.uniform()).exp(),
                    latency: 0.002 * (4.0 * chance.uniform()).exp(),
                    memory: (50.0 + 500.0 * chance.uniform()) * MIB,
                    spread: 0.05 + 0.15 * chance.uniform(),
                    slow: Default::default(),
                    ranged: vec![Ranged::default(); SIGNALS.len()],
                }
            })
            .collect();
        let context = Context { calls, ..Context::default() };
        let rules = SIGNALS.map(rule).to_vec();
        Self { services, rules, chance, book: Book::default(), context, now_ms: START_MS }
    }

    pub fn subject(&self, at: usize) -> &Subject {
        &self.services[at].subject
    }

    /// Ten seconds, with a fault at one service; what is told.
    pub fn step(&mut self, fault: Option<(usize, &Fault)>) -> Vec<News> {
        self.now_ms += EVERY_MS;
        let mut findings = Vec::new();
        let mut suffered = vec![NONE; self.services.len()];
        if let Some((at, fault)) = fault {
            suffered[at] = *fault;
            self.pass_on(at, fault, &mut suffered);
        }
        for (service, suffers) in self.services.iter_mut().zip(&suffered) {
            let values = service.values(self.now_ms, suffers, &mut self.chance);
            for ((ranged, rule), (signal, value)) in
                service.ranged.iter_mut().zip(&self.rules).zip(SIGNALS.iter().zip(values))
            {
                let reading = ranged.evaluate(rule, self.now_ms, Some(value), true);
                if reading.standing.is_out() {
                    findings.push(finding(&service.subject, signal, &reading));
                }
            }
        }
        self.book.update(self.now_ms, &findings, &self.context)
    }

    /// Callers fail in part and wait for whom they call.
    fn pass_on(&self, at: usize, fault: &Fault, suffered: &mut [Fault]) {
        let mut reached = vec![(at, 1.0)];
        while let Some((of, share)) = reached.pop() {
            for caller in (0..self.services.len()).filter(|caller| self.services[*caller].calls.contains(&of))
            {
                let share: f64 = share * 0.8;
                let is_down = fault.instances > 0.0 || fault.ports > 0.0;
                let errors = if is_down { 0.9 } else { fault.errors * fault.passed_errors };
                let latency = 1.0 + (fault.latency - 1.0) * fault.passed_latency * share;
                suffered[caller] = Fault { errors: errors * share, latency, ..NONE };
                reached.push((caller, share));
            }
        }
    }
}

impl Service {
    fn values(&mut self, now_ms: i64, fault: &Fault, chance: &mut Chance) -> [f64; SIGNALS.len()] {
        let day = (now_ms - START_MS) as f64 / DAY_MS as f64;
        let course = 1.0 + 0.6 * ((day - 0.3) * std::f64::consts::TAU).sin();
        let weekend = if (day as i64) % 7 >= 5 { 0.6 } else { 1.0 };
        let wander = (0.15 * self.slow[0].step(chance, 0.995)).exp();
        let load = (self.load * course * weekend * wander * fault.load).max(0.01);
        let requests = chance.poisson(load * 30.0) / 30.0;
        // Nightly work, a quarter of an hour at 03:00, and a burst now and then.
        let is_night = (day.fract() * 96.0) as i64 == 12;
        let burst = if chance.uniform() < 0.0005 { 1.5 } else { 1.0 };
        let busy = load / self.load * burst + f64::from(is_night);
        let errors = (chance.poisson(load * 60.0 * 0.0005) / (load * 60.0).max(1.0) + fault.errors).min(1.0);
        let jitter = (self.spread * self.slow[1].step(chance, 0.8)).exp();
        let p95 = self.latency * (1.0 + 0.3 * busy) * jitter * fault.latency;
        let cpu = 0.02 + 0.1 * busy * (self.spread * self.slow[2].step(chance, 0.7)).exp() + fault.cpu;
        let memory = self.memory * (1.0 + 0.05 * self.slow[3].step(chance, 0.999) + 0.02 * busy)
            + fault.memory_mib * MIB;
        let probe = 0.02 + p95 * 0.5 * (0.3 * chance.normal()).exp();
        let waiting = (0.02 * busy * (0.5 * chance.normal()).exp() + fault.waiting).min(1.0);
        [
            requests,
            errors,
            p95,
            cpu,
            memory,
            1.0 - fault.instances,
            fault.ports,
            fault.restarts,
            probe,
            waiting,
        ]
    }
}

fn finding(subject: &Subject, signal: &str, reading: &Reading) -> Finding {
    Finding {
        subject: subject.clone(),
        signal: signal.to_owned(),
        level: level(signal, reading.standing),
        release: None,
        value: String::new(),
        range: String::new(),
        beyond: if reading.is_beyond_bounds { BEYOND_BOUNDS } else { reading.beyond },
        since_ms: reading.since_ms,
    }
}
