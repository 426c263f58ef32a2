//! The commands of `sync+exec`: each runs in every instance, never twice at a time in one; wanted
//! meanwhile, it runs once more.

use super::super::screen::Screen;
use super::told::Told;
use console::api::v1::EnterRequest;
use console::client::Client;
use console::text::without_controls;
use model::watch::WatchExec;
use model::{InstanceId, Report, ServiceName, StackName};
use run::engine::ExecRequest;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Bytes of one line that are shown; a longer one goes on in the next.
const LINE_MAX: usize = 8 << 10;

/// A rule's command in one instance.
#[derive(Debug, Clone)]
pub struct Job {
    pub rule: usize,
    pub service: ServiceName,
    pub instance: InstanceId,
    pub slot: u32,
    pub exec: WatchExec,
}

type Key = (usize, InstanceId);

pub struct Commands {
    screen: Screen,
    client: Client,
    stack: StackName,
    running: JoinSet<(Key, Result<Told, Report>)>,
    busy: BTreeSet<Key>,
    again: BTreeMap<Key, Job>,
}

impl Commands {
    pub fn new(screen: Screen, client: Client, stack: StackName) -> Self {
        let (running, busy, again) = (JoinSet::new(), BTreeSet::new(), BTreeMap::new());
        Self { screen, client, stack, running, busy, again }
    }

    pub fn run(&mut self, job: Job) {
        let key = (job.rule, job.instance.clone());
        if !self.busy.insert(key.clone()) {
            self.again.insert(key, job);
            return;
        }
        let (screen, client, stack) = (self.screen.clone(), self.client.clone(), self.stack.clone());
        self.running.spawn(async move { (key, enter(&screen, &client, &stack, &job).await) });
    }

    /// How the next one ended; never while none runs.
    pub async fn ended(&mut self) -> Result<Told, Report> {
        let Some(joined) = self.running.join_next().await else { return std::future::pending().await };
        let (key, ended) = joined.expect("running a command does not panic");
        self.busy.remove(&key);
        if let Some(job) = self.again.remove(&key) {
            self.run(job);
        }
        ended
    }
}

async fn enter(screen: &Screen, client: &Client, stack: &StackName, job: &Job) -> Result<Told, Report> {
    let begun = Instant::now();
    let exec = job.exec.clone();
    let request = ExecRequest {
        argv: exec.command.clone(),
        environment: exec.environment.into_iter().collect(),
        user: exec.user,
        working_dir: exec.working_dir,
        privileged: exec.privileged,
        ..ExecRequest::default()
    };
    let request = EnterRequest { slot: Some(job.slot), request, tty: false };
    let argv = client.enter(stack, &job.service, &request).await.map_err(Report::from)?.argv;
    let (program, rest) =
        argv.split_first().ok_or_else(|| Report::internal("the daemon named no way into the instance"))?;
    let cannot = |error: std::io::Error| Report::environment(format!("{program} cannot be run: {error}"));
    let mut child = Command::new(program)
        .args(rest)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(cannot)?;
    let name = format!("{}-{} | ", job.service, job.slot);
    let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let ((), (), status) = tokio::join!(show(screen, &name, out), show(screen, &name, err), child.wait());
    Ok(Told::Ran {
        service: job.service.clone(),
        slot: job.slot,
        command: exec.command,
        code: status.map_err(cannot)?.code(),
        took_ms: begun.elapsed().as_millis() as u64,
    })
}

/// Each line behind the name of the instance.
async fn show(screen: &Screen, name: &str, mut from: impl AsyncRead + Unpin) {
    let mut line = Vec::new();
    let mut buffer = vec![0; LINE_MAX];
    loop {
        // A pipe that breaks has said all it says.
        let read = from.read(&mut buffer).await.unwrap_or(0);
        for byte in &buffer[..read] {
            if *byte == b'\n' || line.len() >= LINE_MAX {
                say(screen, name, &line);
                line.clear();
            }
            if *byte != b'\n' {
                line.push(*byte);
            }
        }
        if read == 0 {
            if !line.is_empty() {
                say(screen, name, &line);
            }
            return;
        }
    }
}

fn say(screen: &Screen, name: &str, line: &[u8]) {
    let text = String::from_utf8_lossy(line);
    screen.note(format!("{name}{}", without_controls(text.trim_end_matches('\r'), screen.err.0)));
}
