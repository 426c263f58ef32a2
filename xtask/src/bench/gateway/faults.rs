//! What is noticed when one of four instances of a service hangs and goes on: by those who ask the
//! service, by those who ask another one beside it, and by the instance itself.

use super::proxies::{Place, Upstream};
use super::steady::{self, Request, percentile};
use crate::Failure;
use crate::bench::Measured;
use serde_json::{Value, json};
use std::fs;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Requests a second to the service of which one instance hangs, and to the other one.
const SICK_RATE: u64 = 1_000;
const WELL_RATE: u64 = 500;
const CONNECTIONS: u64 = 64;
const INSTANCES: usize = 4;
/// All is well, then one hangs, then it goes on.
const BEFORE_S: u64 = 6;
const HANGING_S: u64 = 8;
const AFTER_S: u64 = 9;
const SECOND_US: u64 = 1_000_000;
const DAY_US: i64 = 86_400_000_000;
/// The instance that hangs.
const SICK: &str = "sick.0";
/// Of its share, to have it again.
const ENOUGH: f64 = 0.8;
/// In which the returning instance's requests are counted together.
const WINDOW_US: u64 = 250_000;

pub fn measure(place: &Place) -> Result<Vec<Measured>, Failure> {
    let instances: Vec<Upstream> = (0..INSTANCES).map(|_| place.upstream(1_024)).collect::<Result<_, _>>()?;
    let other = place.upstream(1_024)?;
    let ours = place.ours_by("faults", |http| table(http, &instances, &other))?;
    let all = BEFORE_S + HANGING_S + AFTER_S;
    let program = place.program();
    let sick = steady::begin(program, &ours, "/sick", (SICK_RATE, CONNECTIONS, all))?;
    let well = steady::begin(program, &ours, "/well", (WELL_RATE, CONNECTIONS, all))?;
    sleep(Duration::from_secs(BEFORE_S));
    instances[0].hang()?;
    sleep(Duration::from_secs(HANGING_S));
    let went_on = SystemTime::now().duration_since(UNIX_EPOCH)?;
    instances[0].go_on()?;
    let (sick, well) = (sick.end()?, well.end()?);
    // Written ten times a second, and at the end of the process.
    let directory = ours.directory.clone();
    drop(ours);
    let log = fs::read_to_string(directory.join("access.log"))?;
    Ok(vec![neighbours(&well), failures(&sick), back(&log, went_on.as_micros() as i64)?])
}

fn between(requests: &[Request], from_s: u64, to_s: u64) -> Vec<Request> {
    let wanted = |request: &&Request| (from_s * SECOND_US..to_s * SECOND_US).contains(&request.due_us);
    requests.iter().filter(wanted).copied().collect()
}

fn neighbours(well: &[Request]) -> Measured {
    let before = percentile(&between(well, 1, BEFORE_S), 0.99);
    let hanging = percentile(&between(well, BEFORE_S, BEFORE_S + HANGING_S), 0.99);
    let failed = well.iter().filter(|request| !request.is_served()).count();
    let ratio = hanging as f64 / before.max(1) as f64;
    Measured {
        number: "p99 of another route while one of four instances hangs, over that before",
        promised: "≤ 1.2×",
        value: format!("{ratio:.2}× ({hanging} µs beside {before} µs), {failed} failed"),
        kept: Some(ratio <= 1.2 && failed == 0),
    }
}

/// The worst share of a second that begins one second or more after the first failure.
fn failures(sick: &[Request]) -> Measured {
    let failed: Vec<&Request> = sick.iter().filter(|request| !request.is_served()).collect();
    let first = failed.iter().map(|request| request.end_us()).min();
    let late =
        first.map_or(0, |first| failed.iter().filter(|request| request.end_us() > first + SECOND_US).count());
    let since = first.map_or(sick.len(), |first| {
        sick.iter().filter(|request| request.end_us() > first + SECOND_US).count()
    });
    let share = 100.0 * late as f64 / since.max(1) as f64;
    Measured {
        number: "share of errors from one second after the first, one of four instances hanging",
        promised: "< 0.1 %",
        value: format!("{share:.2} % ({late} of {since}); {} of {} in all", failed.len(), sick.len()),
        kept: Some(share < 0.1),
    }
}

/// When the instance that went on has its share again, and the most it got at once.
fn back(log: &str, went_on_us: i64) -> Result<Measured, Failure> {
    let fair = (SICK_RATE * WINDOW_US) as f64 / (INSTANCES as u64 * SECOND_US) as f64;
    let mut windows = vec![0_u32; (AFTER_S * SECOND_US / WINDOW_US) as usize];
    for line in log.lines() {
        let line: Value = serde_json::from_str(line)?;
        if line["instance"] != SICK || line["status"] != 200 {
            continue;
        }
        let time = time_of_day_us(line["time"].as_str().unwrap_or_default()).ok_or("a line has no time")?;
        let window = (time - went_on_us).rem_euclid(DAY_US) / WINDOW_US as i64;
        if let Some(count) = usize::try_from(window).ok().and_then(|window| windows.get_mut(window)) {
            *count += 1;
        }
    }
    let whole = windows.iter().position(|&count| f64::from(count) >= ENOUGH * fair);
    let most = f64::from(windows.iter().copied().max().unwrap_or_default()) / fair;
    let seconds = whole.map(|at| (at as u64 * WINDOW_US) as f64 / SECOND_US as f64);
    Ok(Measured {
        number: "until an instance that hung has its share again",
        promised: "≤ 5 s, no burst",
        value: match seconds {
            Some(seconds) => {
                format!("{seconds:.2} s; at most {most:.2}× its share within 0.25 s")
            }
            None => "not within the bench".to_owned(),
        },
        kept: Some(seconds.is_some_and(|seconds| seconds <= 5.0) && most <= 1.5),
    })
}

/// Microseconds since midnight of `2026-11-22T14:24:32.123Z`.
fn time_of_day_us(text: &str) -> Option<i64> {
    let part = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let seconds = part(11..13)? * 3600 + part(14..16)? * 60 + part(17..19)?;
    Some((seconds * 1_000 + part(20..23)?) * 1_000)
}

/// One listener whose paths lead to the service with the instance that hangs, and to another.
fn table(http: u16, instances: &[Upstream], other: &Upstream) -> Value {
    let endpoint =
        |name: String, port: u16| json!({ "instance": name, "address": format!("127.0.0.1:{port}") });
    let sick: Vec<Value> = instances
        .iter()
        .enumerate()
        .map(|(number, instance)| endpoint(format!("sick.{number}"), instance.port))
        .collect();
    let rule = |path: &str, to: &str| {
        json!({
            "id": format!("bench{path}"),
            "hosts": [],
            "path": { "prefix": path },
            "action": { "forward": { "to": [{ "backend": to, "weight": 1 }] } },
        })
    };
    json!({
        "version": 1,
        "revision": 1,
        "listeners": [{
            "address": format!("127.0.0.1:{http}"),
            "protocol": "http",
            "backend": "bench/well:80",
            "public": true,
            "rules": [rule("/sick", "bench/sick:80"), rule("/well", "bench/well:80")],
        }],
        "backends": {
            "bench/sick:80": { "endpoints": sick },
            "bench/well:80": { "endpoints": [endpoint("well.0".into(), other.port)] },
        },
        "zones": [],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_line_says_when_in_the_day() {
        assert_eq!(time_of_day_us("2026-11-22T00:00:01.002Z"), Some(1_002_000));
        assert_eq!(time_of_day_us("2026-11-22T14:24:32.123Z"), Some(51_872_123_000));
        assert_eq!(time_of_day_us("2026-11-22"), None);
    }

    #[test]
    fn the_share_counts_from_a_second_after_the_first_failure() {
        let at = |due_ms: u64, took_ms: u64, status: u16| Request {
            due_us: due_ms * 1_000,
            took_us: took_ms * 1_000,
            status,
        };
        let well: Vec<Request> = (0..3_000).map(|ms| at(ms, 1, 200)).collect();
        assert_eq!(failures(&well).kept, Some(true));
        let once = [well.clone(), vec![at(500, 1, 0), at(900, 1, 503)]].concat();
        assert_eq!(failures(&once).kept, Some(true));
        let for_long =
            [well, (1_600..1_650).map(|ms| at(ms, 1, 503)).chain([at(500, 1, 0)]).collect()].concat();
        assert_eq!(failures(&for_long).kept, Some(false));
    }
}
