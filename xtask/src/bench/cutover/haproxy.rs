//! HAProxy: its servers are changed by the runtime API (another address, then the old one drains);
//! for an upgrade a second process gets the sockets from the first (`-x`, `-sf`).

use super::super::home::{page, time_until};
use super::application::{Application, Releases, free_address};
use super::run::{Figures, System};
use super::script::Change;
use crate::packages::Peers;
use crate::{Failure, Outcome};
use std::cell::{Cell, RefCell};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use traffic::programs::Programs;

pub struct Haproxy {
    server: Server,
    releases: Releases,
}

struct Server {
    peers: Peers,
    directory: PathBuf,
    http: SocketAddr,
    lines: SocketAddr,
    /// The process that takes what is new last; those before it finish.
    processes: RefCell<Vec<Child>>,
    /// Which of the two places for servers is in use.
    place: Cell<usize>,
}

const BACKENDS: [&str; 2] = ["web", "echo"];
const PLACES: [&str; 2] = ["a", "b"];
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

impl Haproxy {
    pub fn start(peers: &Peers, programs: &Programs) -> Result<Self, Failure> {
        let directory = std::env::temp_dir().join(format!("juchu-haproxy-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let releases = Releases::start(&programs.app)?;
        let (http, lines) = (free_address()?, free_address()?);
        let (processes, place) = (RefCell::default(), Cell::new(0));
        let server = Server { peers: peers.clone(), directory, http, lines, processes, place };
        let haproxy = Self { server, releases };
        haproxy.server.configure(&haproxy.releases.present)?;
        haproxy.server.spawn(&[])?;
        time_until("haproxy", || page(http.port(), "/health").is_some())?;
        Ok(haproxy)
    }
}

impl System for Haproxy {
    fn name(&self) -> &'static str {
        "haproxy"
    }

    fn addresses(&self) -> (SocketAddr, SocketAddr) {
        (self.server.http, self.server.lines)
    }

    fn change(&mut self, change: Change) -> Result<Figures, Failure> {
        let server = &self.server;
        match change {
            Change::Deploy => self.releases.deploy(false, |to| server.switch(to))?,
            Change::Configure => self.releases.deploy(true, |to| server.switch(to))?,
            Change::Rollback => self.releases.rollback(|to| server.switch(to))?,
            Change::Upgrade => server.upgrade(&self.releases.present)?,
            Change::Kill | Change::KillWithin => return Err("haproxy has no daemon beside it".into()),
        }
        Ok(Figures::default())
    }

    fn needs_help(&self) -> bool {
        true
    }

    fn proxies(&self) -> Vec<u32> {
        self.server.processes.borrow().iter().map(Child::id).collect()
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        for child in self.server.processes.borrow_mut().iter_mut() {
            // Both fail when it has ended, which is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
        // What is left is in a directory of its own for somebody to look at.
        let _ = std::fs::remove_dir_all(&self.server.directory);
    }
}

impl Server {
    /// The new server takes what is new, the old one finishes what it has.
    fn switch(&self, to: &Application) -> Outcome {
        let old = PLACES[self.place.get()];
        self.place.set(1 - self.place.get());
        let new = PLACES[self.place.get()];
        for (backend, address) in BACKENDS.iter().zip([to.http, to.lines]) {
            let (ip, port) = (address.ip(), address.port());
            self.ask(&format!("set server {backend}/{new} addr {ip} port {port}"))?;
            self.ask(&format!("set server {backend}/{new} state ready"))?;
            self.ask(&format!("set server {backend}/{old} state drain"))?;
        }
        Ok(())
    }

    /// One command of the runtime API; what it answers, if anything, is an error.
    fn ask(&self, command: &str) -> Outcome {
        let mut socket = UnixStream::connect(self.directory.join("api.sock"))?;
        socket.set_read_timeout(Some(ANSWER_LIMIT))?;
        writeln!(socket, "{command}")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        match answer.trim() {
            "" => Ok(()),
            // It says so when an address is replaced by another.
            said if said.contains("changed from") || said.contains("no need to change") => Ok(()),
            said => Err(format!("haproxy: {command}: {said}").into()),
        }
    }

    /// What the runtime API did is not in the file: it is written anew for the next process.
    fn upgrade(&self, present: &Application) -> Outcome {
        self.place.set(0);
        self.configure(present)?;
        let old = self.processes.borrow().last().ok_or("no haproxy runs")?.id().to_string();
        let sockets = self.directory.join("api.sock");
        self.spawn(&["-x", &sockets.to_string_lossy(), "-sf", &old])
    }

    /// Returns when the new process has the API's socket.
    fn spawn(&self, arguments: &[&str]) -> Outcome {
        let errors = std::fs::File::create(self.directory.join("said"))?;
        let child = Command::new(&self.peers.haproxy)
            .arg("-db")
            .arg("-f")
            .arg(self.directory.join("haproxy.cfg"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()?;
        let pid = child.id();
        self.processes.borrow_mut().push(child);
        let answered = time_until("haproxy's API", || self.pid_of_api() == Some(pid));
        let said = || std::fs::read_to_string(self.directory.join("said")).unwrap_or_default();
        answered.map(drop).map_err(|failure| format!("{failure}: {}", said().trim()).into())
    }

    fn pid_of_api(&self) -> Option<u32> {
        let mut socket = UnixStream::connect(self.directory.join("api.sock")).ok()?;
        socket.set_read_timeout(Some(ANSWER_LIMIT)).ok()?;
        writeln!(socket, "show info").ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        answer.lines().find_map(|line| line.strip_prefix("Pid: "))?.trim().parse().ok()
    }

    fn configure(&self, to: &Application) -> Outcome {
        let api = self.directory.join("api.sock");
        let (api, http, lines, web, echo) = (api.display(), self.http, self.lines, to.http, to.lines);
        let text = format!(
            "global
  nbthread 2
  maxconn 4000
  stats socket {api} mode 600 level admin expose-fd listeners
defaults
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
  option redispatch
  retries 3
frontend web
  mode http
  bind {http}
  default_backend web
backend web
  mode http
  server a {web}
  server b 127.0.0.1:1 disabled
listen echo
  mode tcp
  bind {lines}
  server a {echo}
  server b 127.0.0.1:1 disabled
"
        );
        std::fs::write(self.directory.join("haproxy.cfg"), text)?;
        Ok(())
    }
}
