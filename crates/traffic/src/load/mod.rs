//! The load: an open model, in which each request has a moment at which it begins whatever became
//! of those before it, and its time counts from that moment.
//!
//! One thread, so that it takes little from what it loads; what it takes and how late it was are
//! part of the report, and a run in which it was too late is called invalid.

mod arrivals;
mod failing;
mod pacer;
mod pool;
mod record;
mod request;
mod session;
mod streams;
mod websocket;

pub use record::FAILURES_KEPT;
pub use request::ANSWER_LIMIT;
pub use streams::CROSSING;

use crate::clock;
use crate::report::{Failure, Kind, Report, Sample};
use arrivals::Arrivals;
use pacer::Pacer;
use pool::Pool;
use record::{Failed, Intended, Record};
use request::Bodies;
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Most requests of one run; a sample of each is kept.
pub const REQUESTS_LIMIT: u64 = 10_000_000;
/// Most requests under way at one time: beyond it the system under load stands still.
const IN_FLIGHT_LIMIT: u64 = 10_000;
/// Between the first stream and the first request.
const STREAMS_FIRST_US: u64 = 1_500_000;
const TELL_EVERY: Duration = Duration::from_secs(1);
/// A run is invalid when 1 of 100 requests began later than this.
const LATE_LIMIT_US: u64 = 1000;
/// … or when the load took more than this share of one core.
const PROCESSOR_LIMIT: f64 = 0.85;

#[derive(Debug, Clone)]
pub struct Options {
    pub http: SocketAddr,
    pub lines: SocketAddr,
    pub rate: u64,
    pub requests: u64,
    pub websockets: usize,
    pub sessions: usize,
    pub seed: u64,
}

/// What is told while it runs.
pub enum News<'a> {
    Started { at_us: u64 },
    Failed(&'a Failure),
    Second { done: u64, failed: u64, in_flight: u64 },
}

/// Runs the load until all requests were answered, those that had begun when `stop` came; must run
/// on a local runtime.
pub async fn run(
    options: Options,
    stop: impl Future<Output = ()>,
    tell: impl FnMut(News<'_>),
) -> io::Result<(Report, Vec<Sample>)> {
    let record = Rc::new(RefCell::new(Record::default()));
    let (end, stopping) = watch::channel(false);
    let processor_us = clock::processor_us();
    let mut streams = start_streams(&options, &record, &stopping);
    requests(&options, &record, stop, tell).await?;
    end.send_replace(true);
    while streams.join_next().await.is_some() {}
    let mut record = record.borrow_mut();
    let mut report = record.sum_up(options.rate);
    report.processor_us -= processor_us;
    report.invalid = why_invalid(&report);
    Ok((report, std::mem::take(&mut record.samples)))
}

fn start_streams(
    options: &Options,
    record: &Rc<RefCell<Record>>,
    stopping: &watch::Receiver<bool>,
) -> JoinSet<()> {
    let streams = |address| streams::Streams { address, record: record.clone(), stopping: stopping.clone() };
    let mut all = JoinSet::new();
    for number in 0..options.websockets {
        all.spawn_local(streams(options.http).keep::<websocket::WebSocket>(number, options.websockets));
    }
    for number in 0..options.sessions {
        all.spawn_local(streams(options.lines).keep::<session::Session>(number, options.sessions));
    }
    all
}

/// All requests from the first to the last answer.
async fn requests(
    options: &Options,
    record: &Rc<RefCell<Record>>,
    stop: impl Future<Output = ()>,
    mut tell: impl FnMut(News<'_>),
) -> io::Result<()> {
    let pool = Rc::new(Pool::new(options.http, record.clone()));
    let bodies = Rc::new(Bodies::new());
    let mut pacer = Pacer::new()?;
    let started_us = clock::now_us() + STREAMS_FIRST_US;
    record.borrow_mut().started_us = started_us;
    tell(News::Started { at_us: started_us });
    let mut under_way = JoinSet::new();
    let mut ticks = tokio::time::interval(TELL_EVERY);
    tokio::pin!(stop);
    'arrivals: for arrival in Arrivals::new(options.seed, options.rate, options.requests) {
        let at_us = started_us + arrival.at_us;
        loop {
            tokio::select! {
                biased;
                waited = pacer.until(at_us) => { waited?; break }
                () = &mut stop => break 'arrivals,
                _ = ticks.tick() => tell_second(record, &mut tell),
                Some(_) = under_way.join_next() => {}
            }
        }
        let late_us = clock::now_us() - at_us;
        let intended = Intended { kind: arrival.kind, at_us, planned_us: arrival.planned_us };
        let mut now = record.borrow_mut();
        now.pacing.add(late_us);
        if now.in_flight >= IN_FLIGHT_LIMIT {
            let cause = failing::Cause::new(crate::report::Class::Local, "too many requests are under way");
            now.request(intended, Err(Failed { cause, on_kept_connection: false, local_port: None }));
            continue;
        }
        now.in_flight += 1;
        under_way.spawn_local(one(pool.clone(), bodies.clone(), record.clone(), intended));
    }
    loop {
        tokio::select! {
            ended = under_way.join_next() => if ended.is_none() { break },
            _ = ticks.tick() => tell_second(record, &mut tell),
        }
    }
    tell_second(record, &mut tell);
    Ok(())
}

async fn one(pool: Rc<Pool>, bodies: Rc<Bodies>, record: Rc<RefCell<Record>>, intended: Intended) {
    let outcome = request::perform(&pool, &bodies, intended).await;
    let mut record = record.borrow_mut();
    record.in_flight -= 1;
    record.request(intended, outcome);
}

fn tell_second(record: &Rc<RefCell<Record>>, tell: &mut impl FnMut(News<'_>)) {
    let mut record = record.borrow_mut();
    record.untold().iter().for_each(|failure| tell(News::Failed(failure)));
    let (done, failed) = record.done();
    tell(News::Second { done, failed, in_flight: record.in_flight });
}

fn why_invalid(report: &Report) -> Vec<String> {
    let mut why = Vec::new();
    // What is measured must be large against how late the measuring was.
    let measured = report.by_kind.get(&Kind::KeepAlive).map_or(0, |kind| kind.p99_us);
    let limit = LATE_LIMIT_US.max(measured / 10);
    if report.pacing.p99_us > limit {
        let (late, limit) = (report.pacing.p99_us as f64 / 1e3, limit as f64 / 1e3);
        why.push(format!("1 of 100 requests began {late:.2} ms late or later, over {limit:.2} ms"));
    }
    let share = report.processor_us as f64 / report.ended_us.saturating_sub(report.started_us).max(1) as f64;
    if share > PROCESSOR_LIMIT {
        why.push(format!("the load took {:.0} % of a core", share * 100.0));
    }
    if let Some(count) = report.by_class.get(&crate::report::Class::Local) {
        why.push(format!("{count} requests met the limits of the load itself"));
    }
    why
}
