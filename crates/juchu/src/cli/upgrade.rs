//! `juchu upgrade`: this program takes the daemon's and the gateway's place. Services run on under
//! their shims, and the gateway hands its listening sockets over, so nobody outside notices.

use super::args::Upgrade;
use super::reach::{self, Options};
use super::screen::{Hue, Outcome, Paint, Screen, safe};
use crate::home::Home;
use console::client::{Client, ClientError};
use console::text::cut;
use model::{DurationMs, ErrorKind, Report};
use run::control::{DaemonStatus, GatewayUpgrade};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Serialize;
use std::fmt::Write;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// A daemon that was asked to end is killed after this: it finds everything again either way.
const END_LIMIT: Duration = Duration::from_secs(5);
/// A killed process is gone by then, unless the kernel holds it.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// What `upgrade --json` prints.
#[derive(Debug, Serialize)]
struct Upgraded {
    #[serde(skip_serializing_if = "Option::is_none")]
    daemon: Option<Replaced>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<GatewayUpgrade>,
}

#[derive(Debug, Serialize)]
struct Replaced {
    before: DaemonStatus,
    after: DaemonStatus,
    /// How long nobody answered commands.
    away: DurationMs,
    /// It did not end when asked to, so it was killed.
    killed: bool,
}

pub async fn upgrade(screen: &Screen, home: &Home, args: Upgrade) -> Outcome {
    let client = reach::running(home).await.map_err(not_running)?;
    let mut upgraded = Upgraded { daemon: None, gateway: None };
    let client = match args.gateway {
        true => client,
        false => {
            let (client, replaced) = replace_daemon(screen, home, client).await?;
            upgraded.daemon = Some(replaced);
            client
        }
    };
    if !args.daemon {
        match client.upgrade_gateway().await {
            Ok(gateway) => upgraded.gateway = Some(gateway),
            Err(error) => return Err(half_done(screen, &upgraded, error).into()),
        }
    }
    match args.output.json {
        true => screen.json(&upgraded),
        false => screen.print(&upgraded.text(screen.out)),
    }
}

fn not_running(error: ClientError) -> Report {
    let running = !matches!(error, ClientError::NotRunning);
    let report = Report::from(error);
    match running {
        true => report,
        false => Report::environment(format!("{}: there is nothing to upgrade", report.error))
            .hint("`juchu up` starts one of this program, and a gateway when none runs"),
    }
}

/// The gateway that runs goes on with its routes, whatever happened to its successor.
fn half_done(screen: &Screen, upgraded: &Upgraded, error: ClientError) -> Report {
    screen.say(&upgraded.text(screen.err));
    Report::from(error).hint("the gateway that runs goes on; `juchu upgrade --gateway` tries again")
}

async fn replace_daemon(screen: &Screen, home: &Home, client: Client) -> Result<(Client, Replaced), Report> {
    let before = client.daemon().await?;
    let process = process_of(&client, &before).await?;
    // Read while it lives: the new one listens where the old one did.
    let options = Options::of(before.pid);
    drop(client);
    let began = Instant::now();
    let killed = !end(&process, before.pid)?;
    let client = reach::start(home, &options).await.map_err(|report| {
        report.hint("services and traffic go on without it; `juchu up` starts it once that is mended")
    })?;
    let away = DurationMs(began.elapsed().as_millis() as u64);
    let after = client.daemon().await?;
    if !is_this_program(after.pid) {
        screen.warn(format!("process {} was quicker: it is a daemon of another program", after.pid));
        screen.hint("`juchu doctor` shows it; whatever starts daemons here must start this program");
    }
    Ok((client, Replaced { before, after, away, killed }))
}

/// A hold on the very process that answers: its number may be another's as soon as it is gone.
async fn process_of(client: &Client, daemon: &DaemonStatus) -> Result<OwnedFd, Report> {
    let failed = |error: io::Error| {
        Report::environment(format!("the daemon (process {}) cannot be ended: {error}", daemon.pid))
            .hint("run the command with `sudo`, outside containers")
    };
    let pid = i32::try_from(daemon.pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| failed(error.into()))?;
    let still = client.daemon().await?;
    if still.pid != daemon.pid {
        let text = "another daemon took over in the meantime";
        return Err(Report::new(ErrorKind::Conflict, text).hint("run the command again"));
    }
    Ok(process)
}

/// Asks it to end, then makes it; `true` when asking was enough.
fn end(process: &OwnedFd, pid: u32) -> Result<bool, Report> {
    let failed = |error: io::Error| {
        Report::environment(format!("the daemon (process {pid}) cannot be ended: {error}"))
            .hint("run the command with `sudo`")
    };
    for (signal, limit) in [(Signal::TERM, END_LIMIT), (Signal::KILL, KILL_LIMIT)] {
        match pidfd_send_signal(process, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(failed(error.into())),
        }
        if has_ended(process, limit).map_err(failed)? {
            return Ok(signal == Signal::TERM);
        }
    }
    Err(failed(io::Error::other("the kernel holds it")))
}

fn has_ended(process: &OwnedFd, limit: Duration) -> io::Result<bool> {
    let until = Instant::now() + limit;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether that process runs the file that we run.
fn is_this_program(pid: u32) -> bool {
    let file = |path: &Path| path.metadata().map(|about| (about.dev(), about.ino())).ok();
    let own = file(Path::new("/proc/self/exe"));
    own.is_some() && own == file(Path::new(&format!("/proc/{pid}/exe")))
}

impl Upgraded {
    fn text(&self, paint: Paint) -> String {
        let mut text = String::new();
        let good = paint.on(Hue::Good, "●");
        if let Some(Replaced { before, after, away, killed }) = &self.daemon {
            let how = if *killed { "killed, " } else { "" };
            let (old, new) = (version(&before.version), version(&after.version));
            let _ = writeln!(
                text,
                "{good} daemon   {old} (process {}) → {new} (process {}), {how}away for {away}",
                before.pid, after.pid
            );
        }
        if let Some(gateway) = &self.gateway {
            let before = gateway.before.map_or_else(|| "none ran".to_owned(), |pid| format!("process {pid}"));
            let left = match gateway.draining {
                0 => "no connection was left to the one before".to_owned(),
                1 => "1 connection ends with the one before".to_owned(),
                number => format!("{number} connections end with the one before"),
            };
            let _ = writeln!(text, "{good} gateway  {before} → process {}, {left}", gateway.after);
        }
        text
    }
}

fn version(text: &str) -> String {
    cut(&safe(text), 40).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use console::fake::NOW;

    fn daemon(version: &str, pid: u32) -> DaemonStatus {
        DaemonStatus {
            version: version.to_owned(),
            pid,
            started: NOW,
            gateway_pid: Some(41),
            home: "/var/lib/juchu".to_owned(),
        }
    }

    #[test]
    fn before_and_after_stand_on_one_line() {
        let replaced = Replaced {
            before: daemon("0.1.0", 7),
            after: daemon("0.2.0", 9),
            away: DurationMs(240),
            killed: false,
        };
        let gateway = GatewayUpgrade { before: Some(41), after: 42, draining: 3 };
        let both = Upgraded { daemon: Some(replaced), gateway: Some(gateway) };
        insta::assert_snapshot!(both.text(Paint(false)), @"
        ● daemon   0.1.0 (process 7) → 0.2.0 (process 9), away for 240 ms
        ● gateway  process 41 → process 42, 3 connections end with the one before
        ");
        let first = GatewayUpgrade { before: None, after: 42, draining: 0 };
        let only = Upgraded { daemon: None, gateway: Some(first) };
        insta::assert_snapshot!(only.text(Paint(false)), @"● gateway  none ran → process 42, no connection was left to the one before");
    }

    #[test]
    fn nothing_to_upgrade_is_said() {
        let report = not_running(ClientError::NotRunning);
        assert_eq!(report.error, "the daemon is not running: there is nothing to upgrade");
        assert!(report.hints[0].contains("juchu up"));
    }

    #[test]
    fn a_process_is_asked_before_it_is_killed() {
        let started = |script: &str| {
            let mut child = std::process::Command::new("/bin/sh")
                .args(["-c", script])
                .stdout(std::process::Stdio::piped())
                .spawn()
                .expect("a shell");
            // Its first line says that its traps stand.
            let mut out = io::BufReader::new(child.stdout.take().expect("piped"));
            io::BufRead::read_line(&mut out, &mut String::new()).expect("a line");
            let pid = Pid::from_child(&child);
            (child, pidfd_open(pid, PidfdFlags::empty()).expect("it runs"))
        };
        let (mut child, process) = started("echo; exec sleep 60");
        assert_eq!(end(&process, child.id()), Ok(true));
        child.wait().expect("it ended");
        assert!(end(&process, child.id()).is_ok(), "one that is gone is no failure");
        assert!(is_this_program(std::process::id()) && !is_this_program(1));
    }
}
