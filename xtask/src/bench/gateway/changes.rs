//! What requests notice of routes that change all the time, and what the memory does under load.

use super::load::Load;
use super::proxies::{Place, Proxy};
use super::steady::{self, Request, percentile};
use crate::Failure;
use crate::bench::Measured;
use std::process::Stdio;
use std::time::Duration;

const EVERY_MS: u64 = 10;
const SECONDS: u64 = 60;
const RATE: u64 = 2_000;
const CONNECTIONS: u64 = 32;
const DEFAULT_MINUTES: u64 = 2;
/// Samples of the memory; the first tenth of the time is for what is needed once.
const SAMPLES: u64 = 20;
const WARM_SAMPLES: usize = 2;

/// A whole new table every 10 ms, each with another instance behind the route.
pub fn routes(place: &Place, upstreams: [u16; 2]) -> Result<Measured, Failure> {
    let ours = place.ours("ours, changing", 1, 1, upstreams[0], upstreams[1])?;
    let program = place.program();
    let words = ["changes", &ours.directory.to_string_lossy(), &EVERY_MS.to_string(), &SECONDS.to_string()]
        .map(str::to_owned);
    let load = steady::begin(program, &ours, ours.path(), (RATE, CONNECTIONS, SECONDS))?;
    let changing = std::process::Command::new(program).args(words).stdin(Stdio::null()).output()?;
    let requests = load.end()?;
    let said = String::from_utf8_lossy(&changing.stdout).trim().to_owned();
    if !changing.status.success() {
        return Err(
            format!("the routes were not changed: {}", String::from_utf8_lossy(&changing.stderr)).into()
        );
    }
    let failed = requests.iter().filter(|request| !Request::is_served(request)).count();
    let p99 = percentile(&requests, 0.99);
    Ok(Measured {
        number: "failed requests while the routes change every 10 ms for a minute",
        promised: "0",
        value: format!("{failed} of {}; {said} changes, p99 {p99} µs", requests.len()),
        kept: Some(failed == 0),
    })
}

/// Load for so many minutes.
pub fn memory(ours: &Proxy, minutes: Option<u64>) -> Result<Measured, Failure> {
    let minutes = minutes.unwrap_or(DEFAULT_MINUTES).max(1);
    let each = Duration::from_secs(minutes * 60) / SAMPLES as u32;
    let mut samples = Vec::new();
    for _ in 0..SAMPLES {
        Load::Requests.put_on(ours, &each.as_secs().max(1).to_string())?;
        samples.push(ours.resident_kb()?);
    }
    let (first, last) = (samples[WARM_SAMPLES - 1], samples[samples.len() - 1]);
    let growth = last as f64 / first as f64;
    Ok(Measured {
        number: "growth of the gateway's memory under load, after the first tenth of the time",
        promised: "≤ 1.05×",
        value: format!("{growth:.3}× ({first} kB, then {last} kB; {minutes} minutes of load)"),
        kept: Some(growth <= 1.05),
    })
}
