//! The released program with a home of its own, taken down at the end.

use crate::{Failure, workspace};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything that is waited for may take.
const LIMIT: Duration = Duration::from_secs(60);

pub struct Home {
    pub program: PathBuf,
    pub directory: PathBuf,
    stack: String,
}

impl Home {
    /// `stack` is what is taken down at the end.
    pub fn new(stack: &str) -> Result<Self, Failure> {
        Self::of(super::program::release()?, stack)
    }

    /// The same with another program than the release build.
    pub fn of(program: PathBuf, stack: &str) -> Result<Self, Failure> {
        // Sockets below it must have short paths.
        let directory = std::env::temp_dir().join(format!("juchu-bench-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        Ok(Self { program, directory, stack: stack.to_owned() })
    }

    pub fn command(&self, place: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(place)
            .env("JUCHU_HOME", &self.directory)
            .env("JUCHU_CONSOLE", "127.0.0.1:0")
            .stdin(Stdio::null());
        command
    }

    /// Standard output of a command that has to succeed.
    pub fn must(&self, place: &Path, arguments: &[&str]) -> Result<String, Failure> {
        let output = self.command(place, arguments).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("juchu {}: {}", arguments.join(" "), said.trim()).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The example under a port of its own, below this home.
    pub fn example(&self, port: u16) -> Result<PathBuf, Failure> {
        let place = self.directory.join("guestbook");
        copy(&workspace::root().join("examples/guestbook"), &place)?;
        let file = place.join("compose.yaml");
        let text = std::fs::read_to_string(&file)?;
        let text = text.replace("\"8080:8080\"", &format!("\"{port}:8080\""));
        std::fs::write(&file, text.replace("name: guestbook", &format!("name: {}", self.stack)))?;
        Ok(place)
    }

    /// Processes of the daemon and the gateway.
    pub fn control_processes(&self) -> Result<[u32; 2], Failure> {
        let json = self.must(&self.directory, &["doctor", "--json"])?;
        let value: serde_json::Value = serde_json::from_str(&json)?;
        let pid = |field: &str| {
            let found = value["daemon"][field].as_u64().and_then(|p| u32::try_from(p).ok());
            found.ok_or_else(|| Failure::from(format!("`juchu doctor --json` names no {field}: {json}")))
        };
        Ok([pid("pid")?, pid("gateway_pid")?])
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let pids = self.control_processes();
        if let Err(failure) = self.must(&self.directory, &["down", "--volumes", "-p", &self.stack]) {
            eprintln!("{failure}");
        }
        for pid in pids.into_iter().flatten() {
            // SAFETY: kill only takes numbers; the processes are those this home started.
            unsafe { libc::kill(pid as i32, libc::SIGTERM) };
        }
        // What is left is in a directory of its own for somebody to look at.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target)?,
            false => drop(std::fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
}

/// A port that nobody holds now.
pub fn free_port() -> Result<u16, Failure> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The body of a page, if it comes with status 200.
pub fn page(port: u16, path: &str) -> Option<String> {
    use std::io::{Read, Write};
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = std::net::TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200").then_some(answer)
}

/// How long until the condition holds, looked at every millisecond.
pub fn time_until(what: &str, condition: impl Fn() -> bool) -> Result<Duration, Failure> {
    let begun = Instant::now();
    while !condition() {
        if begun.elapsed() > LIMIT {
            return Err(format!("{what}: not within {} s", LIMIT.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(begun.elapsed())
}
