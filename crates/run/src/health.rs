//! Health checks, run by the platform with Compose's timing.
//!
//! ```text
//! start ──interval──▶ probe ──interval──▶ probe …       starting ─ok─▶ healthy ─retries fail─▶ unhealthy
//!        (start_interval within the start period; failures there do not count)      └──────ok──────┘
//! ```

use crate::engine::{Engine, ExecRequest};
use model::instance::{Health, Observed};
use model::service::{HealthTest, Healthcheck};
use model::{DurationMs, InstanceId};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

/// Compose's defaults.
pub const INTERVAL: DurationMs = DurationMs::from_secs(30);
pub const TIMEOUT: DurationMs = DurationMs::from_secs(30);
pub const RETRIES: u32 = 3;
pub const START_INTERVAL: DurationMs = DurationMs::from_secs(5);
/// What is kept of a probe's output.
const OUTPUT_LIMIT: usize = 4096;
/// What is read of an HTTP answer to know its status.
const STATUS_LINE_LIMIT: usize = 512;

/// Something a probe found out, sent when the state changed.
#[derive(Debug, Clone)]
pub struct HealthReport {
    pub id: InstanceId,
    /// The run of the instance it belongs to.
    pub starts: u32,
    pub health: Health,
    /// Of the last probe.
    pub detail: String,
}

/// The check that holds for an instance: the declared one, else its image's.
pub fn effective(declared: Option<&Healthcheck>, observed: &Observed) -> Option<Healthcheck> {
    declared
        .or(observed.spec.image_config.healthcheck.as_ref())
        .filter(|check| check.test != HealthTest::None)
        .cloned()
}

/// The state machine of one run's checks; pure.
#[derive(Debug)]
struct Judge {
    retries: u32,
    failures: u32,
    successes: u32,
    /// Successes in a row that make it healthy.
    wanted: u32,
    health: Health,
}

impl Judge {
    fn judge(&mut self, success: bool, in_start_period: bool) -> Health {
        self.successes = if success { self.successes.saturating_add(1) } else { 0 };
        if success {
            self.failures = 0;
            if self.successes >= self.wanted {
                self.health = Health::Healthy;
            }
        } else if !in_start_period || self.health != Health::Starting {
            self.failures += 1;
            if self.failures >= self.retries {
                self.health = Health::Unhealthy;
            }
        }
        self.health
    }
}

/// What is to be watched, and what is known before the first probe.
pub struct Watch {
    pub check: Healthcheck,
    pub observed: Observed,
    /// Where it is reached from this host; none if it has no network.
    pub host: Option<IpAddr>,
    pub known: Health,
    /// Successes in a row that make it healthy.
    pub probes: u32,
}

/// Probes one run of an instance until the task is dropped.
pub async fn watch(engine: Arc<dyn Engine>, watch: Watch, reports: mpsc::Sender<HealthReport>) {
    let Watch { check, observed, host, known, probes } = watch;
    let started = Instant::now();
    let start_period = check.start_period.unwrap_or_default().as_std();
    let interval = positive(check.interval, INTERVAL);
    let start_interval = positive(check.start_interval, START_INTERVAL);
    let mut judge = Judge {
        retries: check.retries.filter(|r| *r > 0).unwrap_or(RETRIES),
        failures: 0,
        successes: 0,
        wanted: probes.max(1),
        health: known,
    };
    loop {
        let starting = started.elapsed() < start_period && judge.health == Health::Starting;
        sleep(if starting { start_interval.min(interval) } else { interval }).await;
        let before = judge.health;
        let (success, detail) = probe(engine.as_ref(), &check, (&observed, host)).await;
        let health = judge.judge(success, started.elapsed() < start_period);
        let report = HealthReport { id: observed.spec.id.clone(), starts: observed.starts, health, detail };
        if health != before && reports.send(report).await.is_err() {
            return;
        }
    }
}

fn positive(declared: Option<DurationMs>, default: DurationMs) -> Duration {
    declared.filter(|d| d.0 > 0).unwrap_or(default).as_std()
}

/// What is said of an instance that cannot be asked from outside.
const NO_NETWORK: &str = "the instance has no network to be reached by";

async fn probe(
    engine: &dyn Engine,
    check: &Healthcheck,
    (observed, host): (&Observed, Option<IpAddr>),
) -> (bool, String) {
    let limit = positive(check.timeout, TIMEOUT);
    match &check.test {
        HealthTest::None => (true, String::new()),
        HealthTest::Exec { argv } => by_command(engine, observed, argv.clone(), limit).await,
        HealthTest::Shell { script } => {
            let argv = vec!["/bin/sh".to_owned(), "-c".to_owned(), script.clone()];
            by_command(engine, observed, argv, limit).await
        }
        HealthTest::Http { port, path } => match host {
            Some(host) => within(limit, by_http(engine, SocketAddr::new(host, *port), path)).await,
            None => (false, NO_NETWORK.to_owned()),
        },
        HealthTest::Tcp { port } => match host {
            Some(host) => within(limit, by_connection(engine, SocketAddr::new(host, *port))).await,
            None => (false, NO_NETWORK.to_owned()),
        },
    }
}

async fn by_command(
    engine: &dyn Engine,
    observed: &Observed,
    argv: Vec<String>,
    limit: Duration,
) -> (bool, String) {
    let request = ExecRequest {
        argv,
        timeout: Some(DurationMs(limit.as_millis() as u64)),
        output_limit: OUTPUT_LIMIT,
        ..ExecRequest::default()
    };
    match engine.exec(&observed.spec.id, request).await {
        Ok(outcome) if outcome.timed_out => {
            (false, format!("no answer within {}", DurationMs(limit.as_millis() as u64)))
        }
        Ok(outcome) => (outcome.code == 0, outcome.output.trim_end().to_owned()),
        Err(error) => (false, error.to_string()),
    }
}

async fn within(
    limit: Duration,
    probe: impl Future<Output = std::io::Result<(bool, String)>>,
) -> (bool, String) {
    match timeout(limit, probe).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => (false, error.to_string()),
        Err(_) => (false, format!("no answer within {}", DurationMs(limit.as_millis() as u64))),
    }
}

async fn by_connection(engine: &dyn Engine, address: SocketAddr) -> std::io::Result<(bool, String)> {
    engine
        .stream_socket(address)?
        .connect(address)
        .await
        .map(|_| (true, format!("{address} accepts connections")))
}

async fn by_http(engine: &dyn Engine, address: SocketAddr, path: &str) -> std::io::Result<(bool, String)> {
    let mut stream = engine.stream_socket(address)?.connect(address).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: juchu-health\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::with_capacity(STATUS_LINE_LIMIT);
    while !head.contains(&b'\n') && head.len() < STATUS_LINE_LIMIT {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    let status: Option<u16> =
        line.strip_prefix("HTTP/1.").and_then(|r| r.get(2..5)).and_then(|s| s.parse().ok());
    Ok((status.is_some_and(|s| (200..400).contains(&s)), line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(probes: &[(bool, bool)]) -> Vec<Health> {
        run_wanting(1, probes)
    }

    fn run_wanting(wanted: u32, probes: &[(bool, bool)]) -> Vec<Health> {
        let mut judge = Judge { retries: 2, failures: 0, successes: 0, wanted, health: Health::Starting };
        probes.iter().map(|(success, starting)| judge.judge(*success, *starting)).collect()
    }

    #[test]
    fn failures_in_the_start_period_do_not_count() {
        use Health::*;
        assert_eq!(run(&[(false, true), (false, true), (false, true)]), [Starting, Starting, Starting]);
        assert_eq!(run(&[(false, true), (false, false), (false, false)]), [Starting, Starting, Unhealthy]);
    }

    #[test]
    fn one_success_heals_and_ends_the_start_period() {
        use Health::*;
        assert_eq!(run(&[(true, true), (false, true), (false, true)]), [Healthy, Healthy, Unhealthy]);
        assert_eq!(run(&[(false, false), (false, false), (true, false)]), [Starting, Unhealthy, Healthy]);
    }

    #[test]
    fn as_many_successes_in_a_row_as_are_asked_for() {
        use Health::*;
        let probes = [(true, false), (false, false), (true, false), (true, false)];
        assert_eq!(run_wanting(2, &probes), [Starting, Starting, Starting, Healthy]);
    }
}
