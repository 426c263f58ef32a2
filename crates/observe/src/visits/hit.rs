//! One request as the access log has it, and what it counts as.

use serde::Deserialize;
use std::borrow::Cow;

/// Characters of a page's name.
const NAME_MAX: usize = 200;

/// A finished request of somebody outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit<'a> {
    pub time_ms: i64,
    pub client: Cow<'a, str>,
    pub agent: Cow<'a, str>,
    pub host: Cow<'a, str>,
    pub path: Cow<'a, str>,
    pub method: Cow<'a, str>,
    pub status: u16,
    pub micros: u64,
    pub bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// What people look at.
    Page,
    /// Pictures, styles, scripts: parts of pages.
    File,
    /// What programs ask: other methods, and addresses that say so.
    Call,
}

/// A line of the access log. `agent` is there for requests from outside alone.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    client: Cow<'a, str>,
    #[serde(borrow, default)]
    agent: Option<Cow<'a, str>>,
    #[serde(borrow)]
    host: Cow<'a, str>,
    #[serde(borrow)]
    path: Cow<'a, str>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    status: u16,
    duration_us: u64,
    bytes_out: u64,
}

impl<'a> Hit<'a> {
    /// Nothing for a line that is none, that is from inside, or that asked for nothing.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let line: Line<'a> = serde_json::from_slice(line).ok()?;
        let agent = line.agent.filter(|_| !line.path.is_empty())?;
        let time: jiff::Timestamp = line.time.parse().ok()?;
        Some(Self {
            time_ms: time.as_millisecond(),
            client: line.client,
            agent,
            host: line.host,
            path: line.path,
            method: line.method,
            status: line.status,
            micros: line.duration_us,
            bytes: line.bytes_out,
        })
    }

    /// Host and path, of bounded length.
    pub fn name(&self) -> String {
        let host = self.host.rsplit_once(':').map_or(&*self.host, |(host, _)| host).to_ascii_lowercase();
        let path = self.path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(&self.path);
        host.chars().chain(path.chars()).take(NAME_MAX).collect()
    }

    /// An address without its port.
    pub fn address(&self) -> &str {
        match self.client.parse::<std::net::SocketAddr>() {
            Ok(_) => self.client.rsplit_once(':').map_or(&self.client, |(address, _)| address),
            Err(_) => &self.client,
        }
    }
}

/// Endings of parts of pages.
const FILES: &[&str] = &[
    "css",
    "js",
    "mjs",
    "map",
    "json",
    "xml",
    "txt",
    "png",
    "jpg",
    "jpeg",
    "gif",
    "svg",
    "webp",
    "avif",
    "ico",
    "bmp",
    "woff",
    "woff2",
    "ttf",
    "otf",
    "eot",
    "mp3",
    "mp4",
    "webm",
    "ogg",
    "wav",
    "pdf",
    "zip",
    "gz",
    "tar",
    "wasm",
    "webmanifest",
];

pub fn sort(method: &str, path: &str) -> Sort {
    let last = path.rsplit('/').next().unwrap_or_default();
    let ending = last.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    let is_file = ending.is_some_and(|ending| FILES.contains(&ending.as_str()));
    let is_call = path.split('/').any(|part| matches!(part, "api" | "graphql" | "rpc"));
    match method {
        "GET" | "HEAD" if is_call => Sort::Call,
        "GET" | "HEAD" if is_file => Sort::File,
        "GET" => Sort::Page,
        _ => Sort::Call,
    }
}

/// Words in the names of programs that are not used by people, in lower case.
const BOTS: &[&str] = &[
    // Our own first request after a deploy, and probes.
    "juchu",
    "bot",
    "crawl",
    "spider",
    "slurp",
    "curl/",
    "wget/",
    "python",
    "go-http-client",
    "java/",
    "libwww",
    "okhttp",
    "httpclient",
    "headless",
    "scrapy",
    "httpx",
    "node-fetch",
    "axios/",
    "ruby",
    "perl",
    "php/",
    "monitor",
    "probe",
    "facebookexternalhit",
    "pingdom",
    "uptime",
    "archiver",
    "feed",
    "preview",
    "scan",
    "check_http",
];

/// Who says nothing is none of those that people use.
pub fn is_bot(agent: &str) -> bool {
    let agent = agent.to_ascii_lowercase();
    agent.trim().is_empty() || BOTS.iter().any(|word| agent.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"time":"2026-11-23T14:24:32.123Z","client":"10.0.0.1","agent":"Mozilla \"x\"","backend":"s/web:80","rule":"","instance":"web1","http":"1.1","method":"GET","host":"Shop.example:8080","path":"/cart/","id":"i","fault":"","listener":"0.0.0.0:80","revision":4,"status":200,"bytes_in":0,"bytes_out":5,"duration_us":1500}"#;

    #[test]
    fn a_line_is_a_hit_when_it_came_from_outside() {
        let hit = Hit::parse(LINE.as_bytes()).expect("a line");
        assert_eq!((hit.name().as_str(), &*hit.agent), ("shop.example/cart", "Mozilla \"x\""));
        assert_eq!((hit.time_ms, hit.status, hit.micros, hit.bytes), (1_795_443_872_123, 200, 1500, 5));
        let inside = LINE.replace(r#""agent":"Mozilla \"x\"","#, "");
        for wrong in [inside.as_str(), "", "{", "null", &LINE[..100], &LINE.replace("2026-", "x")] {
            assert_eq!(Hit::parse(wrong.as_bytes()), None, "{wrong}");
        }
        let long = LINE.replace("/cart/", &"/x".repeat(3000));
        assert_eq!(Hit::parse(long.as_bytes()).expect("a line").name().chars().count(), NAME_MAX);
    }

    #[test]
    fn pages_files_and_calls_are_told_apart() {
        for (method, path, expect) in [
            ("GET", "/", Sort::Page),
            ("GET", "/shop/cart", Sort::Page),
            ("GET", "/a.html", Sort::Page),
            ("GET", "/v1.2/notes", Sort::Page),
            ("GET", "/a/B.PNG", Sort::File),
            ("GET", "/api/items", Sort::Call),
            ("POST", "/login", Sort::Call),
        ] {
            assert_eq!(sort(method, path), expect, "{method} {path}");
        }
        assert!(
            is_bot("Googlebot/2.1 (+http://www.google.com/bot.html)")
                && is_bot("curl/8.1")
                && is_bot("juchu")
                && is_bot("")
        );
        assert!(!is_bot("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"));
    }
}
