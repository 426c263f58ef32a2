//! What a request costs in the gateway, beside nginx, HAProxy and Caddy: processor time of the
//! proxy alone, which a busy machine disturbs least, round by round in turns, medians.
//!
//! The proxy runs on one core, load and upstream on another. Ours counts and writes its access log
//! in all of it; the others write none.

mod changes;
mod faults;
mod latency;
mod load;
mod proxies;
mod steady;

use super::harness::median;
use super::table::Table;
use super::{Bench, Measured, Options};
use crate::process::run;
use crate::{Failure, packages, workspace};
use load::Load;
use proxies::{Place, Proxy};

pub const BENCH: Bench = Bench {
    name: "gateway",
    about: "processor time and latency beside nginx, HAProxy and Caddy; memory; faults and changes under load",
    run: measure,
};

const ROUNDS: usize = 7;
/// Of what should differ by nothing, more of them: seven leave some percent of chance.
const ROUNDS_FOR_NOTHING: usize = 15;
/// Routes of a large table.
const MANY_ROUTES: usize = 10_000;
/// Connections that are held open without a request.
const IDLE_CONNECTIONS: usize = 1_000;

fn measure(options: &Options) -> Result<Vec<Measured>, Failure> {
    let program = match &options.program {
        Some(program) => program.into(),
        None => {
            let arguments = ["build", "--quiet", "--release", "-p", "gateway", "--example", "roles"];
            run(&workspace::root(), "cargo", &arguments)?;
            workspace::root().join("target/release/examples/roles")
        }
    };
    packages::provide()?;
    let peers = packages::provide_gateway_peers()?;
    let place = Place::new(program)?;
    let upstream = place.upstream(1_024)?;
    let large = place.upstream(1 << 20)?;
    let ours = place.ours("ours", 1, 1, upstream.port, large.port)?;
    let nginx = place.nginx(&peers, upstream.port, large.port)?;
    let haproxy = place.haproxy(&peers, upstream.port, large.port)?;
    let caddy = place.caddy(&peers, upstream.port)?;
    let wanted = |part: &str| options.only.as_deref().is_none_or(|only| only == part);
    let mut results = Vec::new();
    if wanted("requests") {
        results.extend(requests(&[&ours, &nginx, &haproxy, &caddy])?);
    }
    drop(caddy);
    if wanted("latency") {
        results.extend(latency::measure(&place, &[&ours, &nginx, &haproxy])?);
    }
    if wanted("faults") {
        results.extend(faults::measure(&place)?);
    }
    if wanted("changes") {
        let second = place.upstream(1_024)?;
        results.push(changes::routes(&place, [upstream.port, second.port])?);
    }
    if wanted("memory") {
        results.push(changes::memory(
            &place.ours("ours, load", 1, 1, upstream.port, large.port)?,
            options.minutes,
        )?);
    }
    if wanted("http2") {
        results.extend(http2(&[&ours, &nginx, &haproxy])?);
    }
    if wanted("handshakes") {
        results.extend(handshakes(&[&ours, &nginx, &haproxy])?);
    }
    if wanted("bytes") {
        results.extend(bytes(&[&ours, &haproxy])?);
    }
    if wanted("idle") {
        // One of its own: what had load has room for connections already.
        results.push(idle(&place.ours("ours, idle", 1, 1, upstream.port, large.port)?)?);
    }
    if wanted("threads") {
        results.extend(two_threads(&place, &[&nginx, &haproxy], upstream.port, large.port)?);
    }
    if wanted("routes") {
        results.extend(many_routes(&place, upstream.port, large.port)?);
    }
    match results.is_empty() {
        true => {
            let parts =
                "requests, latency, faults, changes, memory, http2, handshakes, bytes, idle, threads, routes";
            Err(format!("`--only` is one of {parts}").into())
        }
        false => Ok(results),
    }
}

/// Microseconds of the proxy for one unit of the load, round by round.
struct Costs {
    name: String,
    rounds: Vec<f64>,
}

impl Costs {
    fn median(&self) -> f64 {
        median(self.rounds.clone())
    }
    /// Of the ratios of the rounds, which share the machine's mood.
    fn over(&self, other: &Self) -> f64 {
        median(self.rounds.iter().zip(&other.rounds).map(|(a, b)| a / b).collect())
    }
}

/// In turns, the order reversed in every other round.
fn in_turns(title: &str, proxies: &[&Proxy], load: &Load, rounds: usize) -> Result<Vec<Costs>, Failure> {
    let mut costs: Vec<Costs> =
        proxies.iter().map(|proxy| Costs { name: proxy.name.clone(), rounds: Vec::new() }).collect();
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..proxies.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            costs[at].rounds.push(load.cost(proxies[at])?);
        }
    }
    let mut table = Table::new(&[title, "µs each", "lowest", "ours over it"]);
    for one in &costs {
        table.row([
            one.name.clone(),
            format!("{:.1}", one.median()),
            format!("{:.1}", one.rounds.iter().copied().fold(f64::INFINITY, f64::min)),
            format!("{:.2}", costs[0].over(one)),
        ]);
    }
    eprint!("{}", table.to_text());
    Ok(costs)
}

fn against(
    number: &'static str,
    promised: &'static str,
    limit: f64,
    costs: &[Costs],
    other: usize,
) -> Measured {
    let ratio = costs[0].over(&costs[other]);
    let value = format!("{ratio:.2}× ({:.1} µs beside {:.1} µs)", costs[0].median(), costs[other].median());
    Measured { number, promised, value, kept: Some(ratio <= limit) }
}

fn requests(proxies: &[&Proxy]) -> Result<Vec<Measured>, Failure> {
    let costs = in_turns("HTTP/1.1, 1 kB, kept alive", proxies, &Load::Requests, ROUNDS)?;
    Ok(vec![
        against("processor time of a request, over nginx without its access log", "≤ 0.9×", 0.9, &costs, 1),
        against("the same over HAProxy", "≤ 0.8×", 0.8, &costs, 2),
        against("the same over Caddy", "–", f64::INFINITY, &costs, 3),
    ])
}

fn http2(proxies: &[&Proxy]) -> Result<Vec<Measured>, Failure> {
    let costs = in_turns("HTTP/2, 1 kB, 16 connections of 16 streams", proxies, &Load::Http2, ROUNDS)?;
    Ok(vec![
        against("the same for HTTP/2 in clear, over nginx", "≤ 1×", 1.0, &costs, 1),
        against("the same for HTTP/2 in clear, over HAProxy", "–", f64::INFINITY, &costs, 2),
    ])
}

fn handshakes(proxies: &[&Proxy]) -> Result<Vec<Measured>, Failure> {
    let costs = in_turns("TLS 1.3 handshakes, P-256", proxies, &Load::Handshakes, ROUNDS)?;
    let a_second = |costs: &Costs| 1_000_000.0 / costs.median();
    let (ours, nginx) = (a_second(&costs[0]), a_second(&costs[1]));
    Ok(vec![
        against("a TLS handshake, over nginx", "≤ 1×", 1.0, &costs, 1),
        Measured {
            number: "TLS handshakes in a second of one core",
            promised: "≥ nginx",
            value: format!("{ours:.0} (nginx {nginx:.0})"),
            kept: Some(ours >= nginx),
        },
    ])
}

fn bytes(proxies: &[&Proxy]) -> Result<Vec<Measured>, Failure> {
    let costs = in_turns("TCP, a connection's MiB", proxies, &Load::Bytes, ROUNDS)?;
    Ok(vec![against("a MiB over plain TCP, over HAProxy", "≤ 1.1×", 1.1, &costs, 1)])
}

/// What connections cost that say nothing.
fn idle(ours: &Proxy) -> Result<Measured, Failure> {
    let _first = load::hold(ours, 1)?;
    let before = ours.resident_kb()?;
    let held = load::hold(ours, IDLE_CONNECTIONS)?;
    let each = (ours.resident_kb()?.saturating_sub(before)) as f64 / held.len() as f64;
    Ok(Measured {
        number: "memory of an idle kept-alive connection",
        promised: "≤ 25 kB",
        value: format!("{each:.1} kB ({} of them)", held.len()),
        kept: Some(each <= 25.0),
    })
}

fn two_threads(place: &Place, peers: &[&Proxy], upstream: u16, large: u16) -> Result<Vec<Measured>, Failure> {
    let ours = place.ours("ours, 2 threads", 2, 1, upstream, large)?;
    let proxies = [&ours, peers[0], peers[1]];
    let costs = in_turns("HTTP/1.1 with two threads of ours", &proxies, &Load::Requests, ROUNDS)?;
    Ok(vec![against(
        "a request with two threads on two cores, over nginx with one",
        "≤ 0.9×",
        0.9,
        &costs,
        1,
    )])
}

fn many_routes(place: &Place, upstream: u16, large: u16) -> Result<Vec<Measured>, Failure> {
    let thousand = place.ours("ours, 1,000 routes", 1, 1_000, upstream, large)?;
    let idle = thousand.resident_kb()? as f64 / 1_024.0;
    drop(thousand);
    let many = place.ours("ours, 10,000 routes", 1, MANY_ROUTES, upstream, large)?;
    let few = place.ours("ours, one route", 1, 1, upstream, large)?;
    let title = "HTTP/1.1 by the last of 10,000 routes";
    let costs = in_turns(title, &[&many, &few], &Load::Requests, ROUNDS_FOR_NOTHING)?;
    Ok(vec![
        Measured {
            number: "memory of an idle gateway with 1,000 routes",
            promised: "≤ 20 MB",
            value: format!("{idle:.1} MB"),
            kept: Some(idle <= 20.0),
        },
        against("a request with 10,000 routes, over one route", "≤ 1.05×", 1.05, &costs, 1),
    ])
}
