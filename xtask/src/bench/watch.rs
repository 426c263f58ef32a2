//! From saving a file to what `develop.watch` declares being done.

use super::harness::milliseconds;
use super::home::{Home, free_port, page, time_until};
use super::{Bench, Measured, Options};
use crate::Failure;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

pub const BENCH: Bench =
    Bench { name: "watch", about: "a file saved: synced, restarted, rebuilt (`juchu watch`)", run: measure };

/// Saves of each kind.
const SAVES: usize = 30;
/// How long a line of the watch is waited for.
const LIMIT: Duration = Duration::from_secs(60);

/// Busybox as the application, so that its own start and end take next to nothing.
const COMPOSE: &str = r#"
name: watch-bench
services:
  web:
    ports: ["PORT:8080"]
    stop_signal: SIGKILL
    build: ./web
    x-juchu:
      builder: native
      image:
        kind: binary
        user: root
        files: { "/site/index.html": "index.html" }
        entrypoint: ["/app/busybox", "httpd", "-f", "-p", "8080", "-h", "/site"]
    develop:
      watch:
        - { action: sync, path: ./src, target: /site/src }
        - { action: sync+restart, path: ./conf, target: /etc/conf }
        - { action: rebuild, path: ./web }
"#;

fn measure(options: &Options) -> Result<Vec<Measured>, Failure> {
    let home = match &options.program {
        Some(program) => Home::of(PathBuf::from(program), "watch-bench")?,
        None => Home::new("watch-bench")?,
    };
    let port = free_port()?;
    let place = project(&home, port)?;
    let watch = Watch::start(&home, &place)?;
    Ok(vec![sync(&home, &place)?, restart(&watch, &place)?, rebuild(&watch, &place, port)?])
}

fn project(home: &Home, port: u16) -> Result<PathBuf, Failure> {
    let place = home.directory.join("project");
    for name in ["src", "conf", "web"] {
        std::fs::create_dir_all(place.join(name))?;
    }
    std::fs::write(place.join("compose.yaml"), COMPOSE.replace("PORT", &port.to_string()))?;
    std::fs::copy(testkit::busybox_static(), place.join("web/busybox"))?;
    std::fs::write(place.join("web/index.html"), "first")?;
    // What a small project has beside the file that is saved.
    for number in 0..1_000 {
        let file = place.join(format!("src/d{}/f{number}", number % 20));
        std::fs::create_dir_all(file.parent().expect("it has one"))?;
        std::fs::write(file, "x".repeat(2_000))?;
    }
    Ok(place)
}

/// `juchu watch`, and the lines it prints.
struct Watch {
    child: Child,
    lines: Receiver<String>,
}

impl Watch {
    fn start(home: &Home, place: &Path) -> Result<Self, Failure> {
        let mut child =
            home.command(place, &["watch", "--json"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        let watch = Self { child, lines };
        watch.wait_for("watching")?;
        Ok(watch)
    }

    /// The next line about this.
    fn wait_for(&self, action: &str) -> Result<String, Failure> {
        let wanted = format!(r#""action":"{action}""#);
        let until = Instant::now() + LIMIT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).map_err(|_| format!("no line about `{action}`"))?;
            if line.contains(&wanted) {
                return Ok(line);
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It has ended already, or ends now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In place and by rename in turn, as editors do.
fn save(path: &Path, text: &str, number: usize) -> Result<Instant, Failure> {
    if number.is_multiple_of(2) {
        let begun = Instant::now();
        std::fs::write(path, text)?;
        return Ok(begun);
    }
    let beside = path.with_extension("swx");
    let begun = Instant::now();
    std::fs::write(&beside, text)?;
    std::fs::rename(beside, path)?;
    Ok(begun)
}

fn sync(home: &Home, place: &Path) -> Result<Measured, Failure> {
    let status: serde_json::Value = serde_json::from_str(&home.must(place, &["ps", "--json"])?)?;
    let pid = status["services"][0]["instances"][0]["pid"].as_u64().ok_or("no instance runs")?;
    let inside = PathBuf::from(format!("/proc/{pid}/root/site/src/d1/f1"));
    let mut times = Vec::new();
    for number in 0..SAVES {
        let text = format!("save {number}\n").repeat(200);
        let begun = save(&place.join("src/d1/f1"), &text, number)?;
        time_until("the file inside", || std::fs::read_to_string(&inside).is_ok_and(|now| now == text))?;
        times.push(begun.elapsed());
    }
    Ok(measured(
        "a saved file, its content inside the instance (`sync`)",
        "≤ 1 s",
        times,
        Duration::from_secs(1),
    ))
}

fn restart(watch: &Watch, place: &Path) -> Result<Measured, Failure> {
    let mut times = Vec::new();
    for number in 0..SAVES {
        let begun = save(&place.join("conf/app"), &format!("save {number}"), number)?;
        watch.wait_for("restarted")?;
        times.push(begun.elapsed());
    }
    Ok(measured(
        "a saved file, its instance restarted and ready (`sync+restart`)",
        "≤ 3 s",
        times,
        Duration::from_secs(3),
    ))
}

fn rebuild(watch: &Watch, place: &Path, port: u16) -> Result<Measured, Failure> {
    let mut times = Vec::new();
    for number in 0..SAVES {
        let mark = format!("rebuilt {number}");
        let begun = save(&place.join("web/index.html"), &mark, number)?;
        time_until("the new version", || page(port, "/").is_some_and(|body| body.ends_with(&mark)))?;
        times.push(begun.elapsed());
        watch.wait_for("rebuilt")?;
    }
    Ok(measured(
        "a saved file, the rebuilt version serving (`rebuild`)",
        "≤ 3 s",
        times,
        Duration::from_secs(3),
    ))
}

/// Median and worst; the promise is about the worst.
fn measured(
    number: &'static str,
    promised: &'static str,
    mut times: Vec<Duration>,
    most: Duration,
) -> Measured {
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    let value = format!("{} (worst of {} {})", milliseconds(median), times.len(), milliseconds(worst));
    Measured { number, promised, value, kept: Some(worst <= most) }
}
