//! What the gateway does when a service does not do well, or is asked too much. One file for each
//! policy: pure over atomics, told the time, tested without waiting.

pub mod adaptive;
pub mod breaker;
pub mod compress;
pub mod fault;
pub mod limit;
pub mod mirror;
pub mod queue;
pub mod rate;
pub mod retry;
pub mod shed;
pub mod trace;

use breaker::Settings;
use model::DurationMs;
use model::traffic::{Limit, PriorityFrom, ProxyVersion, Traffic};
use rate::Limiter;
use std::sync::Arc;
use std::time::Duration;

/// The policies of one backend, ready to be used.
pub struct Policy {
    pub connect: Option<Duration>,
    pub response: Option<Duration>,
    pub idle: Option<Duration>,
    pub retries: retry::Settings,
    /// None: nobody is left alone.
    pub breaker: Option<Settings>,
    pub rates: Vec<Arc<Limiter>>,
    pub faults: Vec<model::traffic::Fault>,
    /// How many requests an instance has at a time; none: as many as come.
    pub limit: Option<Limit>,
    pub queue: queue::Settings,
    pub priority: Option<PriorityFrom>,
    /// Instances are told for whom the gateway speaks.
    pub proxy: Option<ProxyVersion>,
    /// Instances are spoken to in HTTP/2.
    pub http2: bool,
    pub trace: trace::Settings,
    /// None: answers stay as they are.
    pub compression: Option<compress::Settings>,
    /// Copies of requests are sent to another service.
    pub mirror: Option<mirror::Mirror>,
}

impl Policy {
    /// `known` are the limiters of the table before, which go on counting where nothing changed.
    pub fn new(traffic: &Traffic, known: &[Arc<Limiter>]) -> Self {
        let time = |limit: &Option<DurationMs>| limit.map(|limit| Duration::from_millis(limit.0));
        let limiter = |(index, rate): (usize, &model::traffic::Rate)| {
            let same = known.get(index).filter(|limiter| limiter.rate() == rate);
            same.cloned().unwrap_or_else(|| Arc::new(Limiter::new(rate.clone())))
        };
        Self {
            connect: time(&traffic.timeouts.connect),
            response: time(&traffic.timeouts.response),
            idle: time(&traffic.timeouts.idle),
            retries: retry::Settings::new(&traffic.retries),
            breaker: Settings::new(&traffic.breaker),
            rates: traffic.rates.iter().enumerate().map(limiter).collect(),
            faults: traffic.faults.clone(),
            limit: traffic.limit.clone(),
            queue: queue::Settings::new(&traffic.queue),
            priority: traffic.priority.clone(),
            proxy: traffic.proxy,
            http2: traffic.http2,
            trace: trace::Settings::new(&traffic.trace),
            mirror: traffic.mirror.as_ref().map(mirror::Mirror::new),
            compression: traffic.compression.as_ref().map(compress::Settings::new),
        }
    }
}
