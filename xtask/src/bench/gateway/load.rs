//! Load by the programs that others use for it, and what the proxy needed for it.

use super::proxies::{LOAD_CPU, Proxy};
use crate::Failure;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

const WARM_UP: &str = "1";
const SECONDS: &str = "2";
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

pub enum Load {
    /// `wrk`, 64 connections.
    Requests,
    /// `h2load` without TLS.
    Http2,
    /// `openssl s_time`, a new session each time.
    Handshakes,
    /// `wrk` through a port of plain TCP, for bodies of 1 MiB.
    Bytes,
}

impl Load {
    /// Microseconds of processor time of the proxy for one unit.
    pub fn cost(&self, proxy: &Proxy) -> Result<f64, Failure> {
        self.put_on(proxy, WARM_UP)?;
        let before = proxy.busy_ns()?;
        let units = self.put_on(proxy, SECONDS)?;
        let spent = proxy.busy_ns()? - before;
        match units {
            0 => Err(format!("{} served nothing", proxy.name).into()),
            _ => Ok(spent as f64 / 1_000.0 / units as f64),
        }
    }

    /// Units a second at saturation.
    pub fn per_second(&self, proxy: &Proxy) -> Result<f64, Failure> {
        self.put_on(proxy, WARM_UP)?;
        let seconds: f64 = SECONDS.parse()?;
        Ok(self.put_on(proxy, SECONDS)? as f64 / seconds)
    }

    /// How many units were served.
    pub fn put_on(&self, proxy: &Proxy, seconds: &str) -> Result<u64, Failure> {
        match self {
            Self::Requests => wrk(&proxy.url(), "64", seconds),
            Self::Bytes => wrk(&format!("http://127.0.0.1:{}/", proxy.tcp), "8", seconds),
            Self::Http2 => {
                let url = format!("http://127.0.0.1:{}/some/path", proxy.http2);
                let said = pinned(&["h2load", "-c16", "-m16", "-t1", "-D", seconds, &url])?;
                let line =
                    said.lines().find(|line| line.starts_with("requests:")).ok_or("h2load says nothing")?;
                let number = |word: &str| {
                    let before = line.split(word).next()?;
                    before.split_whitespace().last()?.parse::<u64>().ok()
                };
                match number(" failed,") {
                    Some(0) => number(" succeeded,").ok_or_else(|| line.to_owned().into()),
                    _ => Err(format!("{}: {line}", proxy.name).into()),
                }
            }
            Self::Handshakes => {
                let at = format!("127.0.0.1:{}", proxy.tls);
                let said =
                    pinned(&["openssl", "s_time", "-new", "-tls1_3", "-connect", &at, "-time", seconds])?;
                let found =
                    said.lines().find_map(|line| line.split_once(" connections in")?.0.trim().parse().ok());
                found.ok_or_else(|| format!("{}: {said}", proxy.name).into())
            }
        }
    }
}

fn wrk(url: &str, connections: &str, seconds: &str) -> Result<u64, Failure> {
    let said = pinned(&["wrk", "-t1", "-c", connections, "-d", seconds, url])?;
    if said.contains("Non-2xx") || said.contains("Socket errors") {
        return Err(format!("requests failed: {said}").into());
    }
    let requests = said.lines().find_map(|line| line.trim().split_once(" requests in")?.0.parse().ok());
    requests.ok_or_else(|| format!("wrk says no number: {said}").into())
}

/// On the core of the load; what it said.
fn pinned(words: &[&str]) -> Result<String, Failure> {
    let output = Command::new("taskset").args(["-c", LOAD_CPU]).args(words).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() {
        true => Ok(said),
        false => Err(format!("{}: {said}{}", words[0], String::from_utf8_lossy(&output.stderr)).into()),
    }
}

/// Connections that have asked once and stay.
pub fn hold(proxy: &Proxy, count: usize) -> Result<Vec<TcpStream>, Failure> {
    let mut held = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.http))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.write_all(b"GET /some/path HTTP/1.1\r\nHost: bench.example\r\n\r\n")?;
        let mut answer = Vec::new();
        let mut part = [0; 4_096];
        while !answer.ends_with(b"xxxxxxxx") {
            match stream.read(&mut part)? {
                0 => return Err("a connection was not kept alive".into()),
                count => answer.extend_from_slice(&part[..count]),
            }
        }
        held.push(stream);
    }
    Ok(held)
}
