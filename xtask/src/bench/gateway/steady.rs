//! Load at a fixed rate by `roles load`, request by request, and what is read from it.

use super::proxies::{LOAD_CPU, Proxy, pinned_command};
use crate::Failure;
use std::path::Path;
use std::process::{Child, Stdio};

/// One request: when it was due, how long it took from then, and its status (0: no answer).
#[derive(Debug, Clone, Copy)]
pub struct Request {
    pub due_us: u64,
    pub took_us: u64,
    pub status: u16,
}

impl Request {
    pub fn is_served(&self) -> bool {
        self.status == 200
    }
    pub fn end_us(&self) -> u64 {
        self.due_us + self.took_us
    }
}

/// A load that runs.
pub struct Steady(Child);

/// Begins to send `rate` requests a second for `path` over `connections`.
pub fn begin(
    program: &Path,
    proxy: &Proxy,
    path: &str,
    (rate, connections, seconds): (u64, u64, u64),
) -> Result<Steady, Failure> {
    let [port, rate, connections, seconds] =
        [u64::from(proxy.http), rate, connections, seconds].map(|n| n.to_string());
    let mut command = pinned_command(LOAD_CPU, program);
    command.args(["load", &port, path, &rate, &connections, &seconds]);
    Ok(Steady(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?))
}

impl Steady {
    /// All requests in the order in which they were due.
    pub fn end(self) -> Result<Vec<Request>, Failure> {
        let output = self.0.wait_with_output()?;
        if !output.status.success() {
            return Err("the load ended early".into());
        }
        let said = String::from_utf8(output.stdout)?;
        let mut requests = said.lines().map(request).collect::<Result<Vec<_>, _>>()?;
        requests.sort_by_key(|request| request.due_us);
        Ok(requests)
    }
}

fn request(line: &str) -> Result<Request, Failure> {
    let mut words = line.split(' ');
    let mut next = || words.next().ok_or_else(|| format!("the load said `{line}`"));
    Ok(Request { due_us: next()?.parse()?, took_us: next()?.parse()?, status: next()?.parse()? })
}

/// The time in microseconds below which this share of the requests lies; 0 of none.
pub fn percentile(requests: &[Request], share: f64) -> u64 {
    let mut times: Vec<u64> = requests.iter().map(|request| request.took_us).collect();
    times.sort_unstable();
    let at = (times.len() as f64 * share).ceil() as usize;
    times.get(at.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_time_of_a_request() {
        let of = |times: &[u64]| -> Vec<Request> {
            times.iter().map(|&took_us| Request { due_us: 0, took_us, status: 200 }).collect()
        };
        assert_eq!(percentile(&of(&[]), 0.99), 0);
        assert_eq!(percentile(&of(&[5]), 0.5), 5);
        let hundred: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(percentile(&of(&hundred), 0.5), 50);
        assert_eq!(percentile(&of(&hundred), 0.99), 99);
        assert_eq!(percentile(&of(&hundred), 0.999), 100);
    }

    #[test]
    fn what_the_load_says_is_read_or_named() {
        let read = request("5 7 200").expect("it is a line");
        assert_eq!((read.end_us(), read.is_served()), (12, true));
        assert!(request("5 7").is_err());
        assert!(request("a b c").is_err());
    }
}
