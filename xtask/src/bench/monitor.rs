//! What watching a machine and its services costs, beside Prometheus and VictoriaMetrics.
//!
//! All of them measure the same machine and read one exporter each, once a second, at the same time,
//! with rules on and a page open. Ours is the whole daemon, with the control loop and the judging.

use super::home::{Home, free_port, page, time_until};
use super::stack::{memory, processor_time};
use super::table::Table;
use super::{Bench, Measured, Options};
use crate::{Failure, packages};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const BENCH: Bench = Bench {
    name: "monitor",
    about: "watching a machine, beside prometheus and victoria-metrics with node-exporter",
    run,
};

/// Before anything is counted: caches fill, and what the start needed is over.
const BEFORE: Duration = Duration::from_secs(90);
const WATCHED: Duration = Duration::from_secs(120);
/// A dashboard asks again so often.
const REFRESH: Duration = Duration::from_secs(5);
/// What a dashboard shows, over the last quarter of an hour.
const PANELS: [&str; 10] = [
    "sum%20by%20(mode)%20(rate(node_cpu_seconds_total%5B1m%5D))",
    "node_memory_MemAvailable_bytes",
    "sum(rate(node_network_receive_bytes_total%5B1m%5D))",
    "sum(rate(node_network_transmit_bytes_total%5B1m%5D))",
    "rate(node_disk_read_bytes_total%5B1m%5D)",
    "rate(node_disk_written_bytes_total%5B1m%5D)",
    "node_load1",
    "node_filesystem_avail_bytes",
    "rate(node_context_switches_total%5B1m%5D)",
    "up",
];
const RULES: usize = 30;

const COMPOSE: &str = r#"
name: monitor
services:
  exporter:
    build: ./exporter
    stop_signal: SIGKILL
    expose: ["9100"]
    x-juchu:
      builder: native
      image: {kind: binary, user: root, entrypoint: ["/app/prometheus-node-exporter"]}
      metrics: {port: 9100, interval: 1s}
"#;

/// A program of somebody else, ended with the value.
struct Running(Child);

impl Running {
    fn start(program: &Path, arguments: &[String], log: &Path) -> Result<Self, Failure> {
        let log = std::fs::File::create(log)?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        Ok(Self(child))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A store, the exporter that measures the machine for it, and the one that it reads besides.
struct Peer {
    name: &'static str,
    port: u16,
    measured: [Running; 2],
    _target: Running,
}

fn run(options: &Options) -> Result<Vec<Measured>, Failure> {
    let programs = Programs::get()?;
    let home = match &options.program {
        Some(program) => Home::of(PathBuf::from(program), "monitor")?,
        None => Home::new("monitor")?,
    };
    let place = home.directory.join("monitor");
    std::fs::create_dir_all(place.join("exporter"))?;
    std::fs::write(place.join("compose.yaml"), COMPOSE)?;
    std::fs::copy(&programs.exporter, place.join("exporter/prometheus-node-exporter"))?;
    home.must(&place, &["up", "-d"])?;
    let peers = [
        peer("prometheus", &home.directory, &programs, prometheus)?,
        peer("victoria-metrics", &home.directory, &programs, victoria_metrics)?,
    ];
    let _page = open_page(&home, &place)?;
    look_at(&peers, BEFORE)?;

    let [daemon, _] = home.control_processes()?;
    let groups: Vec<(&str, Vec<u32>)> = std::iter::once(("juchu, the whole daemon", vec![daemon]))
        .chain(peers.iter().map(|peer| (peer.name, peer.measured.iter().map(Running::pid).collect())))
        .collect();
    let times = |groups: &[(&str, Vec<u32>)]| -> Result<Vec<f64>, Failure> {
        groups.iter().map(|(_, pids)| processor_time(pids)).collect()
    };
    let before = times(&groups)?;
    let begun = Instant::now();
    look_at(&peers, WATCHED)?;
    let seconds = begun.elapsed().as_secs_f64();
    let shares: Vec<f64> = times(&groups)?
        .iter()
        .zip(&before)
        .map(|(after, before)| (after - before) / seconds * 100.0)
        .collect();
    let resident = groups
        .iter()
        .map(|(_, pids)| pids.iter().map(|pid| memory(*pid, "status", "VmRSS:")).sum::<Result<u64, _>>())
        .collect::<Result<Vec<u64>, Failure>>()?;
    let series = series(&home, &place, &peers)?;

    let mut table = Table::new(&["what", "of one core", "memory", "series"]);
    for (at, (name, _)) in groups.iter().enumerate() {
        table.row([
            (*name).to_owned(),
            format!("{:.2} %", shares[at]),
            format!("{:.1} MB", resident[at] as f64 / 1024.0),
            series[at].to_string(),
        ]);
    }
    eprint!("{}", table.to_text());
    let beside = |figures: [String; 3]| {
        format!(
            "{} with {} series; prometheus {}, victoria-metrics {}",
            figures[0], series[0], figures[1], figures[2]
        )
    };
    Ok(vec![
        Measured {
            number: "measuring a machine and a service once a second, rules on, a page open: the whole daemon's share of one core",
            promised: "≤ 0.3 %",
            value: beside([0, 1, 2].map(|at| format!("{:.2} %", shares[at]))),
            kept: Some(shares[0] <= 0.3),
        },
        Measured {
            number: "the same, memory",
            promised: "≤ 32 MB",
            value: beside([0, 1, 2].map(|at| format!("{:.1} MB", resident[at] as f64 / 1024.0))),
            kept: Some(resident[0] <= 32 * 1024),
        },
    ])
}

struct Programs {
    exporter: PathBuf,
    prometheus: PathBuf,
    victoria_metrics: PathBuf,
}

impl Programs {
    fn get() -> Result<Self, Failure> {
        packages::provide()?;
        let of = |name: &str| packages::unpack(name, "usr/bin").map(|root| root.join("usr/bin").join(name));
        Ok(Self {
            exporter: of("prometheus-node-exporter")?,
            prometheus: of("prometheus")?,
            victoria_metrics: of("victoria-metrics")?,
        })
    }
}

/// Two exporters, then what reads them; `start` gets its directory, its port and its configuration.
fn peer(
    name: &'static str,
    directory: &Path,
    programs: &Programs,
    start: impl Fn(&Programs, &Path, u16) -> Result<Running, Failure>,
) -> Result<Peer, Failure> {
    let directory = directory.join(name);
    std::fs::create_dir_all(&directory)?;
    let ports = [free_port()?, free_port()?];
    let [own, target] = ports.map(|port| {
        let arguments = [format!("--web.listen-address=127.0.0.1:{port}")];
        Running::start(&programs.exporter, &arguments, &directory.join(format!("exporter-{port}.log")))
    });
    let mut scrape = String::from(
        "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 10s}\nscrape_configs:\n",
    );
    for (job, port) in ["node", "target"].into_iter().zip(ports) {
        writeln!(scrape, "- job_name: {job}\n  static_configs: [{{targets: ['127.0.0.1:{port}']}}]")?;
    }
    std::fs::write(directory.join("scrape.yml"), &scrape)?;
    let port = free_port()?;
    let store = start(programs, &directory, port)?;
    let peer = Peer { name, port, measured: [store, own?], _target: target? };
    time_until(name, || {
        page(port, "/api/v1/query?query=count(up==1)").is_some_and(|said| said.contains("\"2\""))
    })?;
    Ok(peer)
}

fn prometheus(programs: &Programs, directory: &Path, port: u16) -> Result<Running, Failure> {
    let mut rules = String::from("groups:\n- name: bench\n  interval: 10s\n  rules:\n");
    for number in 0..RULES {
        writeln!(
            rules,
            "  - record: bench:{number}\n    expr: avg_over_time(node_load1[{}m]) > 0",
            1 + number % 10
        )?;
    }
    std::fs::write(directory.join("rules.yml"), rules)?;
    let scrape = std::fs::read_to_string(directory.join("scrape.yml"))?;
    let file = directory.join("prometheus.yml");
    std::fs::write(&file, format!("rule_files: [rules.yml]\n{scrape}"))?;
    let arguments = [
        format!("--config.file={}", file.display()),
        format!("--storage.tsdb.path={}", directory.join("data").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    Running::start(&programs.prometheus, &arguments, &directory.join("log"))
}

fn victoria_metrics(programs: &Programs, directory: &Path, port: u16) -> Result<Running, Failure> {
    // Its rules are a program of their own, which Debian does not start with it.
    let arguments = [
        format!("-promscrape.config={}", directory.join("scrape.yml").display()),
        "-promscrape.config.strictParse=false".to_owned(),
        format!("-storageDataPath={}", directory.join("data").display()),
        format!("-httpListenAddr=127.0.0.1:{port}"),
    ];
    Running::start(&programs.victoria_metrics, &arguments, &directory.join("log"))
}

/// The console's first page, with what it is told as long as it is open.
fn open_page(home: &Home, place: &Path) -> Result<Running, Failure> {
    let said = home.must(place, &["console"])?;
    let link = said.split_whitespace().find(|word| word.contains("/enter/")).ok_or("no link")?.to_owned();
    let base = link.split("/enter/").next().unwrap_or_default().to_owned();
    let jar = home.directory.join("cookies").to_string_lossy().into_owned();
    let curl = |arguments: &[&str]| -> Vec<String> {
        let common = ["--silent", "--show-error", "--location", "--cookie-jar", &jar, "--cookie", &jar];
        common.iter().chain(arguments).map(|&argument| argument.to_owned()).collect()
    };
    let status = Command::new("curl").args(curl(&["--output", "/dev/null", "--fail", &link])).status()?;
    if !status.success() {
        return Err("the console's link leads nowhere".into());
    }
    let page = Running::start(
        Path::new("curl"),
        &curl(&["--no-buffer", &format!("{base}/live")]),
        &home.directory.join("page"),
    )?;
    time_until("the page's first event", || {
        std::fs::metadata(home.directory.join("page")).is_ok_and(|data| data.len() > 0)
    })?;
    Ok(page)
}

/// Asks as a dashboard does, for so long.
fn look_at(peers: &[Peer], how_long: Duration) -> Result<(), Failure> {
    let begun = Instant::now();
    while begun.elapsed() < how_long {
        let next = Instant::now() + REFRESH;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        for peer in peers {
            for panel in PANELS {
                let path = format!("/api/v1/query_range?query={panel}&start={}&end={now}&step=15", now - 900);
                page(peer.port, &path).ok_or_else(|| format!("{} does not answer {path}", peer.name))?;
            }
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// How many each of them holds.
fn series(home: &Home, place: &Path, peers: &[Peer]) -> Result<[u64; 3], Failure> {
    let number = |text: &str| -> Result<u64, Failure> {
        let (_, rest) = text.rsplit_once("\"value\":[").ok_or_else(|| format!("no value in {text}"))?;
        let value = rest.split('"').nth(1).ok_or("no number")?;
        Ok(value.parse()?)
    };
    let ours = home.must(place, &["query", "--json", "count({__name__!=\"\"})"])?;
    let ours: String = ours.split_whitespace().collect();
    let of = |peer: &Peer| -> Result<u64, Failure> {
        let path = "/api/v1/query?query=count(%7B__name__!=%22%22%7D)";
        number(&page(peer.port, path).ok_or_else(|| format!("{} does not answer", peer.name))?)
    };
    Ok([number(&ours)?, of(&peers[0])?, of(&peers[1])?])
}
