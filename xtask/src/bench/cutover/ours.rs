//! Ours: a stack of that application, changed by the commands that people type. The application
//! does not finish what it has when it is stopped: the gateway has to have seen to that.

use super::super::home::{Home, free_port, page, time_until};
use super::application::signal;
use super::run::{Figures, System};
use super::script::Change;
use crate::{Failure, Outcome};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use traffic::programs::Programs;

pub struct Ours {
    home: Home,
    place: PathBuf,
    http: SocketAddr,
    lines: SocketAddr,
    release: u32,
    configuration: u32,
    /// Each process that carried the traffic, the present one last.
    gateways: Vec<u32>,
}

/// So long after its beginning a deploy is interrupted.
const WITHIN_DEPLOY: Duration = Duration::from_millis(700);
/// So long the traffic goes on without a control plane.
const WITHOUT_DAEMON: Duration = Duration::from_secs(2);

impl Ours {
    pub fn start(program: PathBuf, programs: &Programs) -> Result<Self, Failure> {
        let home = Home::of(program, "cutover")?;
        let place = home.directory.join("cutover");
        std::fs::create_dir_all(place.join("web"))?;
        std::fs::copy(&programs.app, place.join("web/traffic-app"))?;
        let address = || free_port().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let (http, lines) = (address()?, address()?);
        let mut ours = Self { home, place, http, lines, release: 1, configuration: 1, gateways: Vec::new() };
        ours.declare()?;
        ours.home.must(&ours.place, &["up", "-d"])?;
        time_until("ours", || page(http.port(), "/health").is_some())?;
        ours.gateways.push(ours.home.control_processes()?[1]);
        Ok(ours)
    }

    /// Writes the image's content and the Compose file.
    fn declare(&self) -> Outcome {
        let (http, lines, configuration) = (self.http.port(), self.lines.port(), self.configuration);
        let compose = format!(
            "name: cutover
services:
  web:
    build: ./web
    command: [/app/traffic-app, --http, '0.0.0.0:8080', --lines, '0.0.0.0:9000', --release-file, /app/release.txt, --on-stop, exit]
    environment: {{ CONFIGURATION: c{configuration} }}
    ports:
      - {{ target: 8080, published: '{http}', host_ip: 127.0.0.1, app_protocol: http }}
      - {{ target: 9000, published: '{lines}', host_ip: 127.0.0.1, app_protocol: tcp }}
    stop_grace_period: 30s
    x-juchu:
      builder: native
      image: {{ kind: binary }}
      health: {{ http: 8080/health, interval: 1s, start_period: 5s, start_interval: 100ms }}
      rollout: {{ drain: 10s }}
"
        );
        std::fs::write(self.place.join("web/release.txt"), format!("r{}\n", self.release))?;
        std::fs::write(self.place.join("compose.yaml"), compose)?;
        Ok(())
    }

    /// Runs a change to its end; its figures, or the sentence of its failure.
    fn to_the_end(&self, arguments: &[&str]) -> Result<Figures, Failure> {
        let output = self.home.command(&self.place, arguments).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let last = said.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok());
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            let last = last.map(|value| value.to_string()).unwrap_or_default();
            return Err(format!(
                "juchu {}: {}: {} {last}",
                arguments.join(" "),
                output.status,
                errors.trim()
            )
            .into());
        }
        Ok(last.as_ref().map(figures).unwrap_or_default())
    }

    fn deploy(&mut self) -> Result<Figures, Failure> {
        self.release += 1;
        self.declare()?;
        self.to_the_end(&["deploy", "--json"])
    }

    fn daemon(&self) -> Result<u32, Failure> {
        Ok(self.home.control_processes()?[0])
    }

    /// It is dead when this returns.
    fn kill(&self, daemon: u32) -> Outcome {
        signal(daemon as i32, libc::SIGKILL);
        let state = || std::fs::read_to_string(format!("/proc/{daemon}/stat")).unwrap_or_default();
        time_until("the death of the daemon", || {
            let state = state();
            state.is_empty() || state.contains(") Z ")
        })
        .map(drop)
    }

    fn kill_within_deploy(&mut self) -> Result<Figures, Failure> {
        let daemon = self.daemon()?;
        self.release += 1;
        self.declare()?;
        let mut deploying: Command = self.home.command(&self.place, &["deploy", "--json"]);
        let mut deploying = deploying.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        std::thread::sleep(WITHIN_DEPLOY);
        let under_way = deploying.try_wait()?.is_none();
        self.kill(daemon)?;
        deploying.wait()?;
        if !under_way {
            return Err("the deploy had ended before the daemon was killed".into());
        }
        // What was accepted is carried out by the next daemon; asked again, it is there or ends.
        let begun = Instant::now();
        loop {
            match self.to_the_end(&["up", "-d", "--json"]) {
                Err(_) if begun.elapsed() < Duration::from_secs(60) => {}
                outcome => return outcome,
            }
        }
    }
}

/// The worst of all services.
fn figures(conclusion: &Value) -> Figures {
    let all = conclusion["figures"].as_array().into_iter().flatten();
    let worst = |field: &str| all.clone().filter_map(|service| service[field].as_u64()).max();
    Figures { swap_us: worst("swap_us"), decided_ms: worst("decided_ms"), gap_ms: worst("gap_ms") }
}

impl System for Ours {
    fn name(&self) -> &'static str {
        "ours"
    }

    fn addresses(&self) -> (SocketAddr, SocketAddr) {
        (self.http, self.lines)
    }

    fn change(&mut self, change: Change) -> Result<Figures, Failure> {
        match change {
            Change::Deploy => self.deploy(),
            Change::Rollback => self.to_the_end(&["rollback", "--json"]),
            Change::Configure => {
                self.configuration += 1;
                self.declare()?;
                self.to_the_end(&["up", "-d", "--json"])
            }
            Change::Upgrade => {
                let figures = self.to_the_end(&["upgrade", "--gateway"])?;
                self.gateways.push(self.home.control_processes()?[1]);
                Ok(figures)
            }
            Change::Kill => {
                self.kill(self.daemon()?)?;
                std::thread::sleep(WITHOUT_DAEMON);
                // The next command starts it again.
                self.to_the_end(&["up", "-d", "--json"])
            }
            Change::KillWithin => self.kill_within_deploy(),
        }
    }

    fn needs_help(&self) -> bool {
        false
    }

    fn check(&self) -> Outcome {
        self.home.must(&self.place, &["verify"]).map(drop)
    }

    fn proxies(&self) -> Vec<u32> {
        self.gateways.clone()
    }
}
