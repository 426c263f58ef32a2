//! The application as a plain process, started and stopped as an operator does it beside a proxy.

use super::super::home::{free_port, page, time_until};
use crate::Failure;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub struct Application {
    child: Child,
    pub http: SocketAddr,
    pub lines: SocketAddr,
}

impl Application {
    /// Returns when it answers.
    pub fn start(program: &Path, release: &str, configuration: &str) -> Result<Self, Failure> {
        let (http, lines) = (free_address()?, free_address()?);
        let child = Command::new(program)
            .args(["--http", &http.to_string(), "--lines", &lines.to_string(), "--release", release])
            .env("CONFIGURATION", configuration)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let started = Self { child, http, lines };
        time_until("the application", || page(http.port(), "/health").is_some())?;
        Ok(started)
    }

    /// Asks it to finish what it has; it ends by itself.
    pub fn ask_to_stop(&self) {
        // It is not waited for before it is dropped or gone: the number is its own.
        signal(self.child.id() as i32, libc::SIGTERM);
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.ask_to_stop();
        // It has a limit of its own.
        let _ = self.child.wait();
    }
}

/// The release that serves, the one before it that is kept running to go back to, and those that
/// still finish what they have.
pub struct Releases {
    program: std::path::PathBuf,
    pub present: Application,
    before: Option<Application>,
    finishing: Vec<Application>,
    number: u32,
    configuration: u32,
}

impl Releases {
    pub fn start(program: &Path) -> Result<Self, Failure> {
        let present = Application::start(program, "r1", "c1")?;
        let program = program.to_owned();
        Ok(Self { program, present, before: None, finishing: Vec::new(), number: 1, configuration: 1 })
    }

    /// A new release beside the present one; `switch` makes the proxy send what is new to it.
    pub fn deploy(
        &mut self,
        configuration_only: bool,
        switch: impl FnOnce(&Application) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        // Nothing new has come to it since the last change.
        if let Some(oldest) = self.before.take() {
            oldest.ask_to_stop();
            self.finishing.push(oldest);
        }
        let number = if configuration_only { &mut self.configuration } else { &mut self.number };
        *number += 1;
        let (release, configuration) = (format!("r{}", self.number), format!("c{}", self.configuration));
        let fresh = Application::start(&self.program, &release, &configuration)?;
        switch(&fresh)?;
        self.before = Some(std::mem::replace(&mut self.present, fresh));
        self.finishing.retain_mut(|application| matches!(application.child.try_wait(), Ok(None)));
        Ok(())
    }

    pub fn rollback(
        &mut self,
        switch: impl FnOnce(&Application) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let before = self.before.take().ok_or("there is nothing to go back to")?;
        switch(&before)?;
        self.before = Some(std::mem::replace(&mut self.present, before));
        Ok(())
    }
}

/// An address of this host that nobody holds now.
pub fn free_address() -> Result<SocketAddr, Failure> {
    Ok(SocketAddr::from(([127, 0, 0, 1], free_port()?)))
}

/// Signals a process that this bench started.
pub fn signal(pid: i32, signal: i32) {
    assert!(pid > 1, "a process of ours");
    // SAFETY: kill only takes numbers.
    unsafe { libc::kill(pid, signal) };
}

pub fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}
