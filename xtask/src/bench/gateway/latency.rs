//! How long requests take while the proxy has half of what it can do, all with the same rate.

use super::load::Load;
use super::proxies::{Place, Proxy};
use super::steady::{self, Request, percentile};
use crate::Failure;
use crate::bench::Measured;
use crate::bench::harness::median;
use crate::bench::table::Table;

const ROUNDS: usize = 5;
const SECONDS: u64 = 4;
const CONNECTIONS: u64 = 32;
/// The first part of a round finds connections that are not open yet.
const WARM_UP_US: u64 = 1_000_000;

/// Of each proxy the 99th percentile and that of 99.9, round by round, in microseconds.
#[derive(Default)]
struct Times {
    p99: Vec<f64>,
    p999: Vec<f64>,
}

pub fn measure(place: &Place, proxies: &[&Proxy]) -> Result<Vec<Measured>, Failure> {
    let mut slowest = f64::INFINITY;
    for proxy in proxies {
        slowest = slowest.min(Load::Requests.per_second(proxy)?);
    }
    let rate = (slowest / 2.0) as u64;
    let mut times: Vec<Times> = proxies.iter().map(|_| Times::default()).collect();
    for round in 0..ROUNDS {
        let mut order: Vec<usize> = (0..proxies.len()).collect();
        order.rotate_left(round % proxies.len());
        for at in order {
            let requests = one(place, proxies[at], rate)?;
            times[at].p99.push(percentile(&requests, 0.99) as f64);
            times[at].p999.push(percentile(&requests, 0.999) as f64);
        }
    }
    let mut table = Table::new(&["at half of saturation", "p99 µs", "p99.9 µs"]);
    for (proxy, times) in proxies.iter().zip(&times) {
        let figure = |rounds: &[f64]| format!("{:.0}", median(rounds.to_vec()));
        table.row([proxy.name.clone(), figure(&times.p99), figure(&times.p999)]);
    }
    eprint!("{rate} requests a second\n{}", table.to_text());
    Ok(vec![
        against("p99 at half of saturation, over the better of nginx and HAProxy", 1.0, rate, &times, |t| {
            &t.p99
        }),
        against(
            "p99.9 at half of saturation, over the better of nginx and HAProxy",
            1.5,
            rate,
            &times,
            |t| &t.p999,
        ),
    ])
}

fn one(place: &Place, proxy: &Proxy, rate: u64) -> Result<Vec<Request>, Failure> {
    let load = steady::begin(place.program(), proxy, proxy.path(), (rate, CONNECTIONS, SECONDS))?;
    let mut requests = load.end()?;
    requests.retain(|request| request.due_us >= WARM_UP_US);
    match requests.iter().all(Request::is_served) {
        true => Ok(requests),
        false => Err(format!("{} left requests unserved", proxy.name).into()),
    }
}

/// The first of the proxies over the best of the others.
fn against(
    number: &'static str,
    limit: f64,
    rate: u64,
    times: &[Times],
    pick: fn(&Times) -> &Vec<f64>,
) -> Measured {
    let figures: Vec<f64> = times.iter().map(|times| median(pick(times).clone())).collect();
    let best = figures[1..].iter().copied().fold(f64::INFINITY, f64::min);
    let ratio = figures[0] / best;
    Measured {
        number,
        promised: if limit > 1.0 { "≤ 1.5×" } else { "≤ 1×" },
        value: format!("{ratio:.2}× ({:.0} µs beside {best:.0} µs, {rate} requests a second)", figures[0]),
        kept: Some(ratio <= limit),
    }
}
