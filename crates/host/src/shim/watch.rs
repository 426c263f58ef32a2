//! While the instance runs: its output to disk, its end to the record. No allocation per line,
//! no thread, nothing but one poll.

use super::Remaining;
use super::start::{Output, Started};
use crate::log::Writer;
use crate::sys::{self, Ending};
use crate::{clock, durable};
use model::Timestamp;
use model::instance::Exit;
use run::engine::LogStream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// What a pipe holds.
const READ_BYTES: usize = 64 << 10;
/// How long output may still come after the program has ended, from what it left running.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// Returns when the instance has ended; `started` in the answer is for the caller to fill in.
pub fn watch(job: &Remaining, started: Started) -> Exit {
    let mut writer = Writer::open(&job.layout.logs(), job.log_limits.clone());
    let mut streams = match started.output {
        Output::Pipes { stdout, stderr } => vec![(LogStream::Stdout, stdout), (LogStream::Stderr, stderr)],
        Output::Terminal(terminal) => vec![(LogStream::Stdout, terminal)],
    };
    // Keyboard and hang-up signals are for people's processes; this one ends with its instance.
    let ignored = [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGPIPE];
    let signals = sys::signal_fd(&ignored).ok();
    let ending = run_until_end(&mut streams, signals.as_ref(), &mut writer, started.pid);
    let finished = clock::now();
    // Counted before the group goes; what the program left running ends with it.
    let oom = job.group.oom_kills() > 0;
    let killed = job.group.kill();
    drain(&mut streams, &mut writer);
    writer.close();
    while sys::reap().is_some() {}
    if killed.is_ok() {
        // A group that stays is removed by the next start or by the engine.
        let _ = job.group.remove();
    }
    let _ = durable::remove_tree(&job.layout.container_root());
    Exit {
        code: ending.code(),
        signal: ending.signal(),
        oom: oom && ending != Ending::Exited(0),
        requested: stop_was_requested(job),
        start_error: None,
        started: Timestamp(0),
        finished,
    }
}

fn run_until_end(
    streams: &mut Vec<(LogStream, OwnedFd)>,
    signals: Option<&OwnedFd>,
    writer: &mut Writer,
    pid: i32,
) -> Ending {
    let mut buffer = [0; READ_BYTES];
    loop {
        while let Some((ended, ending)) = sys::reap() {
            if ended == pid {
                return ending;
            }
        }
        let mut fds: Vec<PollFd<'_>> = streams
            .iter()
            .map(|(_, fd)| fd)
            .chain(signals)
            .map(|fd| PollFd::new(fd, PollFlags::IN))
            .collect();
        // Without the signal descriptor the end is looked for four times a second.
        let pause = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
        let waited = poll(&mut fds, if signals.is_some() { None } else { Some(&pause) });
        if waited.is_err() {
            continue;
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        if let Some(signals) = signals
            && ready.last() == Some(&true)
        {
            let _ = rustix::io::read(signals, &mut buffer);
        }
        read_ready(streams, &ready, writer, &mut buffer);
    }
}

/// Reads once from each stream that is ready, and lets go of those that have ended.
fn read_ready(
    streams: &mut Vec<(LogStream, OwnedFd)>,
    ready: &[bool],
    writer: &mut Writer,
    buffer: &mut [u8],
) {
    let mut index = 0;
    streams.retain(|(stream, fd)| {
        index += 1;
        if !ready[index - 1] {
            return true;
        }
        match rustix::io::read(fd, &mut *buffer) {
            Ok(0) => false,
            Ok(length) => {
                writer.take(*stream, &buffer[..length]);
                true
            }
            Err(errno) => errno == rustix::io::Errno::INTR || errno == rustix::io::Errno::AGAIN,
        }
    });
}

/// What is still in the pipes.
fn drain(streams: &mut Vec<(LogStream, OwnedFd)>, writer: &mut Writer) {
    let deadline = Instant::now() + DRAIN_LIMIT;
    let mut buffer = [0; READ_BYTES];
    while !streams.is_empty() && Instant::now() < deadline {
        let mut fds: Vec<PollFd<'_>> = streams.iter().map(|(_, fd)| PollFd::new(fd, PollFlags::IN)).collect();
        let pause = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        if poll(&mut fds, Some(&pause)).is_err() {
            continue;
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        read_ready(streams, &ready, writer, &mut buffer);
    }
}

/// The engine leaves the number of the run that it stops.
fn stop_was_requested(job: &Remaining) -> bool {
    std::fs::read_to_string(job.layout.stop()).is_ok_and(|text| text.trim().parse() == Ok(job.run))
}
