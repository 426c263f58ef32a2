//! `juchu probe`: how long an address takes, phase by phase, and whether a page may take so long.

use super::args::Probe;
use super::screen::{Ended, Hue, Outcome, Paint, Screen};
use model::{ErrorKind, Report};
use observe::probe::{NETWORK_BUDGET, Options, Phases, ProbeError, Probed, Prober, SERVER_BUDGET, Url};
use serde::Serialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Characters of the longest bar.
const BAR: usize = 32;
/// A certificate that ends sooner is said to.
const SOON_DAYS: i64 = 14;

/// What `--json` prints; times in milliseconds.
#[derive(Serialize)]
struct Told {
    url: String,
    address: String,
    status: u16,
    bytes: u64,
    resolve_ms: f64,
    connect_ms: f64,
    tls_ms: f64,
    first_byte_ms: f64,
    transfer_ms: f64,
    server_ms: f64,
    network_ms: f64,
    total_ms: f64,
    within_budget: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_days: Option<i64>,
}

pub async fn probe(screen: &Screen, args: Probe) -> Outcome {
    let url = Url::parse(&args.url)
        .map_err(|error| Report::usage(error.to_string()).hint("juchu probe https://example.org/"))?;
    let options = Options { limit: args.timeout.as_std(), verify: !args.insecure };
    let prober = Prober::new(url, options).map_err(|error| report(&error))?;
    let probed = prober.ask().await.map_err(|error| report(&error))?;
    let told = Told::of(&args.url, &probed);
    match args.output.json {
        true => screen.json(&told)?,
        false => screen.print(&text(&told, &probed.phases, screen.out))?,
    }
    let is_refused = probed.status >= 400;
    match (is_refused, told.within_budget) {
        (true, _) => Err(Ended::Code(ErrorKind::Unhealthy.exit_code())),
        (false, false) => Err(Ended::Code(ErrorKind::Check.exit_code())),
        (false, true) => Ok(()),
    }
}

fn report(error: &ProbeError) -> Report {
    let hint = match error {
        ProbeError::Resolve { .. } | ProbeError::NoAddress { .. } => "the name must be known to this machine",
        ProbeError::Tls { .. } | ProbeError::Name { .. } => "--insecure times it with any certificate",
        ProbeError::TimedOut { .. } => "--timeout 30s waits longer",
        _ => "`juchu route test URL` says where the gateway would send it",
    };
    Report::from_error(ErrorKind::Unhealthy, error).hint(hint)
}

fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e5).round() / 100.0
}

impl Told {
    fn of(url: &str, probed: &Probed) -> Self {
        let phases = &probed.phases;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
        Self {
            url: url.to_owned(),
            address: probed.address.to_string(),
            status: probed.status,
            bytes: probed.bytes,
            resolve_ms: ms(phases.resolve),
            connect_ms: ms(phases.connect),
            tls_ms: ms(phases.tls),
            first_byte_ms: ms(phases.first_byte),
            transfer_ms: ms(phases.transfer),
            server_ms: ms(phases.first_byte),
            network_ms: ms(phases.network()),
            total_ms: ms(phases.total()),
            within_budget: phases.within_budget(),
            location: probed.location.clone(),
            certificate_days: probed.certificate_ends_s.map(|ends| (ends - now).div_euclid(86_400)),
        }
    }
}

fn text(told: &Told, phases: &Phases, paint: Paint) -> String {
    let mut text = format!("{} from {}, {} bytes\n", told.status, told.address, told.bytes);
    if let Some(location) = &told.location {
        text.push_str(&format!("leads to {}, which was not asked\n", super::screen::safe(location)));
    }
    let total = phases.total().as_secs_f64().max(f64::MIN_POSITIVE);
    let mut before = 0.0;
    for (name, took) in [
        ("DNS", phases.resolve),
        ("TCP", phases.connect),
        ("TLS", phases.tls),
        ("first byte", phases.first_byte),
        ("download", phases.transfer),
    ] {
        let share = took.as_secs_f64() / total;
        let start = (before * BAR as f64).round() as usize;
        let end = ((before + share) * BAR as f64).round() as usize;
        before += share;
        let bar = format!("{}{}", " ".repeat(start), "█".repeat(end.saturating_sub(start)));
        text.push_str(format!("{name:<10} {:>9.2} ms  {bar}", ms(took)).trim_end());
        text.push('\n');
    }
    text.push('\n');
    text.push_str(&verdict("server", phases.first_byte, SERVER_BUDGET, paint));
    text.push_str(&verdict("network", phases.network(), NETWORK_BUDGET, paint));
    text.push_str(&verdict("in all", phases.total(), SERVER_BUDGET + NETWORK_BUDGET, paint));
    if let Some(days) = told.certificate_days {
        let hue = if days < SOON_DAYS { Hue::Warn } else { Hue::Quiet };
        text.push_str(&paint.on(hue, &format!("the certificate ends in {days} days")));
        text.push('\n');
    }
    text
}

fn verdict(what: &str, took: Duration, budget: Duration, paint: Paint) -> String {
    let (sign, word, hue) = match took <= budget {
        true => ("✓", "within", Hue::Good),
        false => ("✗", "over", Hue::Bad),
    };
    let line =
        format!("{sign} {what:<8} {:>9.2} ms, {word} the {} ms it may take", ms(took), budget.as_millis());
    format!("{}\n", paint.on(hue, &line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_shown_one_after_the_other() {
        let ms = Duration::from_millis;
        let phases =
            Phases { resolve: ms(100), connect: ms(100), tls: ms(0), first_byte: ms(500), transfer: ms(100) };
        let address = "127.0.0.1:80".parse().expect("an address");
        let probed = Probed {
            address,
            phases,
            status: 200,
            bytes: 1234,
            version: "1.1",
            location: Some("/there".into()),
            certificate_ends_s: None,
        };
        insta::assert_snapshot!(text(&Told::of("http://a/", &probed), &phases, Paint(false)), @"
        200 from 127.0.0.1:80, 1234 bytes
        leads to /there, which was not asked
        DNS           100.00 ms  ████
        TCP           100.00 ms      ████
        TLS             0.00 ms
        first byte    500.00 ms          ████████████████████
        download      100.00 ms                              ████

        ✗ server      500.00 ms, over the 400 ms it may take
        ✓ network     300.00 ms, within the 400 ms it may take
        ✓ in all      800.00 ms, within the 800 ms it may take
        ");
    }
}
