//! Runs the tool: its steps are told as they come, what it said last is kept, and it ends with the
//! whole process group when nobody wants it any more.

use super::Request;
use super::arguments::{Line, OWN_VARIABLES, Place};
use super::tool::Tool;
use build::{BuildError, Job};
use model::Report;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::time::Duration;

const LINES_KEPT: usize = 40;
const LINE_MAX: u64 = 64 << 10;
const LINES_WAITING: usize = 256;
const LOOK: Duration = Duration::from_millis(100);
/// Variables of the person who builds that the tool sees, beside proxies.
const PASSED_ON: [&str; 10] = [
    "PATH",
    "HOME",
    "LANG",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "REGISTRY_AUTH_FILE",
    "DOCKER_CONFIG",
    "BUILDKIT_HOST",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];
const PROXIES: [&str; 4] = ["http_proxy", "https_proxy", "no_proxy", "all_proxy"];

/// How it ended, and what it said last.
pub struct Ended {
    pub status: ExitStatus,
    pub last: VecDeque<String>,
}

impl Ended {
    pub fn is_success(&self) -> bool {
        self.status.success()
    }
}

pub fn run(
    tool: &Tool,
    line: &Line,
    place: &Place,
    request: &Request<'_>,
    job: &Job<'_>,
) -> Result<Ended, Report> {
    let mut child = command(tool, line, place, request)
        .spawn()
        .map_err(|error| BuildError::io(format!("run {}", tool.path.display()))(error).report())?;
    let (sender, lines) = mpsc::sync_channel(LINES_WAITING);
    let readers = [listen(child.stdout.take(), sender.clone()), listen(child.stderr.take(), sender)];
    let mut last = VecDeque::new();
    loop {
        match lines.recv_timeout(LOOK) {
            Ok(line) => {
                if let Some(step) = step_of(&line) {
                    job.say(&step);
                }
                last.push_back(line);
                if last.len() > LINES_KEPT {
                    last.pop_front();
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if job.cancel.load(Ordering::Relaxed) {
            end(&mut child);
            return Err(BuildError::Cancelled.report());
        }
    }
    for reader in readers {
        // A reader ends with its stream and cannot panic.
        let _ = reader.join();
    }
    let status = child.wait().map_err(|error| BuildError::io("wait for the builder")(error).report())?;
    Ok(Ended { status, last })
}

fn command(tool: &Tool, line: &Line, place: &Place, request: &Request<'_>) -> Command {
    let mut command = Command::new(&tool.path);
    command.args(&line.arguments).env_clear();
    let passed =
        |name: &str| PASSED_ON.contains(&name) || PROXIES.contains(&name.to_ascii_lowercase().as_str());
    command.envs(request.environment.iter().filter(|(name, _)| passed(name)));
    command.envs(line.variables.iter().filter(|(name, _)| !OWN_VARIABLES.contains(&name.as_str())).cloned());
    command.env("TMPDIR", place.scratch.join("tmp"));
    if let Some(registries) = &place.registries {
        command.env("CONTAINERS_REGISTRIES_CONF", registries);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own, so that giving up also ends what it started.
    command.process_group(0);
    command
}

/// `STEP 2/5: …`, with its stage before it where there are several; `#7 [web 2/5] …` of BuildKit.
pub fn step_of(line: &str) -> Option<String> {
    if let Some((place, instruction)) = line.strip_prefix('#').and_then(|rest| rest.split_once("] ")) {
        let (number, place) = place.split_once(" [")?;
        let is_step = number.bytes().all(|byte| byte.is_ascii_digit()) && place.contains('/');
        return is_step.then(|| format!("step {place}: {instruction}"));
    }
    match line.split_once("STEP ")? {
        ("", step) => Some(format!("step {step}")),
        (stage, step) if stage.starts_with('[') && stage.ends_with("] ") => {
            Some(format!("stage {}, step {step}", &stage[1..stage.len() - 2]))
        }
        _ => None,
    }
}

/// Ends it with everything in its process group; what left that group ends with the build's own
/// control group.
fn end(child: &mut Child) {
    if let Some(group) = Pid::from_raw(child.id().cast_signed()) {
        // It may have ended by itself in the meantime.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
}

fn listen(
    stream: Option<impl Read + Send + 'static>,
    lines: SyncSender<String>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let Some(stream) = stream else { return };
        let mut stream = BufReader::new(stream);
        let mut bytes = Vec::new();
        while stream.by_ref().take(LINE_MAX).read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            bytes.clear();
            if lines.send(line).is_err() {
                return;
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::step_of;

    #[test]
    fn steps_are_told_with_their_stage() {
        assert_eq!(step_of("STEP 2/5: RUN a").as_deref(), Some("step 2/5: RUN a"));
        assert_eq!(step_of("[1/2] STEP 1/2: FROM b").as_deref(), Some("stage 1/2, step 1/2: FROM b"));
        assert_eq!(step_of("a STEP of a program"), None);
        assert_eq!(step_of("#7 [web 2/5] RUN a").as_deref(), Some("step web 2/5: RUN a"));
        assert_eq!(step_of("#7 [internal] load build definition"), None);
        assert_eq!(step_of("#7 0.2 said [1/2] so"), None);
    }
}
