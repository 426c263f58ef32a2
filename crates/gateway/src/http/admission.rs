//! What stands before an instance is chosen: rates, and disturbances on purpose.

use super::connection::Client;
use super::request::Refusal;
use crate::policy::fault;
use crate::snapshot::fingerprint;
use model::traffic::RateKey;
use std::net::IpAddr;

/// Longest delay on purpose.
const MAX_DELAY: std::time::Duration = std::time::Duration::from_secs(60);
const TOO_OFTEN: Refusal = Refusal { status: 429, reason: "too many requests in a short time" };
const ON_PURPOSE: &str = "a disturbance is declared for this service";

/// Why a request is not let through.
pub struct KeptOut {
    pub refusal: Refusal,
    /// When it may come again.
    pub retry_after_s: Option<u64>,
}

/// Whether requests are let through as they come.
pub fn is_open(client: &Client) -> bool {
    let policy = &client.backend.policy;
    policy.rates.is_empty() && policy.faults.is_empty()
}

/// Lets a request through, perhaps later than it came.
pub async fn admit(client: &Client, head: &[u8]) -> Result<(), KeptOut> {
    let policy = client.backend.policy.clone();
    let now_us = client.worker.shared.started.elapsed().as_micros() as u64 + 1;
    for limiter in &policy.rates {
        let key = key(&limiter.rate().key, client, head);
        if let Err(wait_us) = limiter.take(key, now_us) {
            let retry_after_s = Some(wait_us.div_ceil(1_000_000));
            return Err(KeptOut { refusal: TOO_OFTEN, retry_after_s });
        }
    }
    let met = fault::draw(&policy.faults, || client.worker.random.next());
    if let Some(delay) = met.delay {
        // The wait itself is the disturbance that was declared.
        tokio::time::sleep(delay.min(MAX_DELAY)).await;
    }
    match met.status {
        Some(status) => {
            let refusal = Refusal { status, reason: ON_PURPOSE };
            Err(KeptOut { refusal, retry_after_s: None })
        }
        None => Ok(()),
    }
}

/// What of the request is counted together.
fn key(key: &RateKey, client: &Client, head: &[u8]) -> u64 {
    match key {
        RateKey::All => 0,
        RateKey::Client => match client.peer.parse() {
            // A single customer often has a whole network.
            Ok(IpAddr::V6(address)) => fingerprint(address.octets()[..8].iter().copied()),
            _ => fingerprint(client.peer.bytes()),
        },
        RateKey::Header(name) => fingerprint(field(head, name).iter().copied()),
    }
}

/// The value of a field of the head that goes to the instance; empty if it is not there.
pub fn field<'h>(head: &'h [u8], name: &str) -> &'h [u8] {
    let lines = head.split(|&b| b == b'\n').skip(1);
    let values = lines.filter_map(|line| {
        let colon = line.iter().position(|&b| b == b':')?;
        line[..colon].eq_ignore_ascii_case(name.as_bytes()).then(|| line[colon + 1..].trim_ascii())
    });
    values.into_iter().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_name_alone() {
        let head = b"GET /x-key: 1 HTTP/1.1\r\nHost: a\r\nX-Keys: 2\r\nx-KEY:  3 \r\n\r\n";
        assert_eq!(field(head, "x-key"), b"3");
        assert_eq!(field(head, "x-other"), b"");
    }
}
