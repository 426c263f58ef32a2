//! The load as a process of its own, started and watched from a bench or a test.

use crate::report::{Failure, Report, Sample, read_samples};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use std::io::{BufRead as _, BufReader, Error, Result};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long the load may take to start.
const START_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub struct Settings {
    pub http: SocketAddr,
    pub lines: SocketAddr,
    pub rate: u64,
    pub requests: u64,
    pub websockets: u32,
    pub sessions: u32,
    pub seed: u64,
    /// Runs before all other processes (needs root), so that it does not measure its own waiting.
    pub before_others: bool,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct Progress {
    pub done: u64,
    pub failed: u64,
    pub in_flight: u64,
}

/// Killed when dropped before its end.
pub struct Load {
    child: Child,
    /// When the first second of requests begins, by `clock::now_us`.
    pub started_us: u64,
    progress: Arc<Mutex<Progress>>,
    reader: Option<JoinHandle<()>>,
    report: PathBuf,
    samples: PathBuf,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Started { started_us: u64 },
    Failed { failure: Box<Failure> },
    Second(Progress),
}

impl Load {
    /// `directory` gets the report and the samples. Each failure is told as it is seen.
    pub fn start(
        program: &Path,
        directory: &Path,
        settings: &Settings,
        on_failure: impl FnMut(Failure) + Send + 'static,
    ) -> Result<Self> {
        let (report, samples) = (directory.join("report.json"), directory.join("samples.bin"));
        let mut command = match settings.before_others {
            true => Command::new("chrt"),
            false => Command::new(program),
        };
        if settings.before_others {
            command.args(["--fifo", "1"]).arg(program);
        }
        let mut child = command
            .args(arguments(settings))
            .arg("--report")
            .arg(&report)
            .arg("--samples")
            .arg(&samples)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = child.stdout.take().expect("it is piped");
        let progress = Arc::new(Mutex::new(Progress::default()));
        let (reader, started) = read(lines, Arc::clone(&progress), on_failure);
        let mut load = Self { child, started_us: 0, progress, reader: Some(reader), report, samples };
        load.started_us = started
            .recv_timeout(START_LIMIT)
            .map_err(|_| Error::other(format!("{} did not start", program.display())))?;
        Ok(load)
    }

    /// As of the last second.
    pub fn progress(&self) -> Progress {
        *self.progress.lock().expect("the reader does not panic")
    }

    /// No more requests; what has begun is finished.
    pub fn stop(&self) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a child's id is not 0");
        // It fails when the load has ended by itself; it was not waited for, so the id is its own.
        let _ = kill_process(pid, Signal::TERM);
    }

    /// Waits for the end.
    pub fn finish(mut self) -> Result<(Report, Vec<Sample>)> {
        let status = self.child.wait()?;
        if let Some(reader) = self.reader.take() {
            reader.join().map_err(|_| Error::other("what the load told could not be taken"))?;
        }
        if !status.success() {
            return Err(Error::other(format!("the load: {status}")));
        }
        let report = serde_json::from_slice(&std::fs::read(&self.report)?)?;
        Ok((report, read_samples(std::fs::File::open(&self.samples)?)?))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Both fail when it has ended, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn arguments(settings: &Settings) -> Vec<String> {
    let pairs = [
        ("--http", settings.http.to_string()),
        ("--lines", settings.lines.to_string()),
        ("--rate", settings.rate.to_string()),
        ("--requests", settings.requests.to_string()),
        ("--websockets", settings.websockets.to_string()),
        ("--sessions", settings.sessions.to_string()),
        ("--seed", settings.seed.to_string()),
    ];
    pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
}

fn read(
    from: ChildStdout,
    progress: Arc<Mutex<Progress>>,
    mut on_failure: impl FnMut(Failure) + Send + 'static,
) -> (JoinHandle<()>, Receiver<u64>) {
    let (start, started) = sync_channel(1);
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                // Nobody waits any more when the start took too long.
                Ok(Line::Started { started_us }) => drop(start.try_send(started_us)),
                Ok(Line::Failed { failure }) => on_failure(*failure),
                Ok(Line::Second(now)) => *progress.lock().expect("the other side does not panic") = now,
                Err(error) => eprintln!("the load said {line:?}: {error}"),
            }
        }
    });
    (reader, started)
}
