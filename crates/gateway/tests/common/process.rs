//! A gateway in a process of its own, started from the test program itself: each test file that
//! uses it has a test of the name [`ROLE`] which calls [`serve_if_asked`].

use super::short_limits;
use gateway::GatewayOptions;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub const ROLE: &str = "a_gateway_as_a_process";

/// Serves until it is told to end, if this process was started for that.
pub fn serve_if_asked() {
    let Some(dir) = std::env::var_os("GATEWAY_TEST_DIR") else { return };
    let dir = Path::new(&dir);
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let mut options = GatewayOptions::new(dir.join("gateway.sock"), dir.join("table.json"));
    options.limits = short_limits();
    options.pid_file = Some(dir.join("gateway.pid"));
    options.threads = number("GATEWAY_TEST_THREADS").map(|threads| threads as usize);
    options.take_over = number("GATEWAY_TEST_TAKE_OVER").is_some();
    options.name_port = number("GATEWAY_TEST_NAME_PORT").map_or(53, |port| port as u16);
    if let Some(grace) = number("GATEWAY_TEST_GRACE_MS") {
        options.limits.grace = Duration::from_millis(grace);
    }
    options.limits.keep_alive = super::PATIENCE;
    options.limits.successor_ready = Duration::from_secs(1);
    options.limits.successor_serves = Duration::from_millis(500);
    let exit = format!("{:?}", gateway::main(options));
    let expect = std::env::var("GATEWAY_TEST_EXIT").unwrap_or(success());
    assert_eq!(exit, expect);
}

pub fn success() -> String {
    format!("{:?}", std::process::ExitCode::SUCCESS)
}

/// Ends with the test.
pub struct Process(pub Child);

impl Process {
    pub fn start(dir: &Path, exit: &str) -> Self {
        Self::with(dir, &[("GATEWAY_TEST_EXIT", exit)])
    }
    pub fn with(dir: &Path, variables: &[(&str, &str)]) -> Self {
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", ROLE, "--nocapture"])
            .env("GATEWAY_TEST_DIR", dir)
            .envs(variables.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        Self(child.expect("it can be started"))
    }
    pub fn id(&self) -> u32 {
        self.0.id()
    }
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).expect("it runs");
    }
    /// Whether it ended as expected, and what it said.
    pub fn wait(&mut self) -> (bool, String) {
        let mut told = String::new();
        if let Some(stderr) = &mut self.0.stderr {
            std::io::Read::read_to_string(stderr, &mut told).expect("it can be read");
        }
        (self.0.wait().expect("it ends").success(), told)
    }
    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("it can be asked").is_some()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
