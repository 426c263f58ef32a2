//! Commands inside a running instance, through a helper process of this same program.

use super::instance::Instance;
use crate::cgroup::Cgroup;
use crate::layout::Layout;
use run::engine::{EngineError, ExecOutcome, ExecRequest};
use rustix::pipe::{PipeFlags, pipe_with};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

/// How long output may still come after the command has ended.
const DRAIN_LIMIT: Duration = Duration::from_millis(200);

/// The argument vector of the helper; `group` names a control group for the command alone.
pub fn arguments(
    executable: &Path,
    layout: &Layout,
    request: &ExecRequest,
    tty: bool,
    group: Option<&str>,
) -> Vec<String> {
    let mut list =
        vec![executable.display().to_string(), "enter".to_owned(), layout.runtime.display().to_string()];
    let mut option = |name: &str, value: &str| list.extend([name.to_owned(), value.to_owned()]);
    if let Some(user) = &request.user {
        option("--user", user);
    }
    if let Some(dir) = &request.working_dir {
        option("--workdir", dir);
    }
    if let Some(group) = group {
        option("--group", group);
    }
    for (key, value) in &request.environment {
        option("--env", &format!("{key}={value}"));
    }
    if request.privileged {
        list.push("--privileged".to_owned());
    }
    if tty {
        list.push("--tty".to_owned());
    }
    list.push("--".to_owned());
    list.extend(request.argv.iter().cloned());
    list
}

/// How long the helper may take to end after its command was ended.
const HELPER_LIMIT: Duration = Duration::from_secs(5);

/// Runs a command to its end or its time limit; what it leaves running ends with it.
pub async fn execute(
    executable: &Path,
    instance: &Instance,
    instance_group: Cgroup,
    request: ExecRequest,
) -> Result<ExecOutcome, EngineError> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    instance.running()?;
    let group = format!("exec-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let list = arguments(executable, &instance.layout, &request, false, Some(&group));
    let context = || format!("run a command in {}", instance.spec.id);
    let (output, inside) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| EngineError::io(context())(e.into()))?;
    let errors = inside.try_clone().map_err(EngineError::io(context()))?;
    let mut helper = tokio::process::Command::new(&list[0])
        .args(&list[1..])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::from(inside))
        .stderr(Stdio::from(errors))
        .kill_on_drop(true)
        .spawn()
        .map_err(EngineError::io(context()))?;
    let mut kept = Vec::new();
    let waited =
        collect(output, &mut helper, &mut kept, request.output_limit, request.timeout.map(|t| t.as_std()))
            .await;
    let status = waited.map_err(EngineError::io(context()))?;
    let timed_out = status.is_none();
    if timed_out {
        end_group(&instance_group, group).await;
        // The helper sees its command end and ends, too. Ended before that, it would leave a dead
        // process to whoever is the first process here, and not all of them bury what they inherit.
        if tokio::time::timeout(HELPER_LIMIT, helper.wait()).await.is_err() {
            helper.kill().await.map_err(EngineError::io(context()))?;
        }
    }
    Ok(ExecOutcome {
        code: status.map_or(128 + libc::SIGKILL, exit_code),
        output: String::from_utf8_lossy(&kept).into_owned(),
        timed_out,
    })
}

/// Reads the output while the command runs; `None` when the time was up.
async fn collect(
    output: OwnedFd,
    helper: &mut tokio::process::Child,
    kept: &mut Vec<u8>,
    limit: usize,
    timeout: Option<Duration>,
) -> std::io::Result<Option<std::process::ExitStatus>> {
    let mut output = pipe::Receiver::from_owned_fd(output)?;
    let time_is_up = tokio::time::sleep(timeout.unwrap_or(Duration::MAX));
    tokio::pin!(time_is_up);
    let mut buffer = vec![0; 16 << 10];
    let mut is_open = true;
    let status = loop {
        tokio::select! {
            length = output.read(&mut buffer), if is_open => {
                is_open = keep(kept, &buffer[..length?], limit);
            }
            status = helper.wait() => break status?,
            () = &mut time_is_up => return Ok(None),
        }
    };
    let rest = async {
        while is_open {
            let Ok(length) = output.read(&mut buffer).await else { return };
            is_open = keep(kept, &buffer[..length], limit);
        }
    };
    // Beyond this, something else holds the pipe open.
    let _ = tokio::time::timeout(DRAIN_LIMIT, rest).await;
    Ok(Some(status))
}

/// Keeps the beginning; false at the end of the stream.
fn keep(kept: &mut Vec<u8>, read: &[u8], limit: usize) -> bool {
    let room = limit.saturating_sub(kept.len());
    kept.extend_from_slice(&read[..read.len().min(room)]);
    !read.is_empty()
}

async fn end_group(instance_group: &Cgroup, name: String) {
    let instance_group = instance_group.clone();
    let ending = tokio::task::spawn_blocking(move || {
        if let Ok(group) = instance_group.command_group(&name) {
            group.close();
        }
    });
    // A panic there would leave the group to the end of the instance.
    let _ = ending.await;
}

fn exit_code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
