//! The process from which shims are forked, so that all share the memory that loading and
//! relocating this program makes, and none waits for it. It ends when the engine does; shims stay.

use super::supervise;
use super::under_way::UnderWay;
use crate::sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::ffi::OsStr;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Longest directory name in a request; the kernel's own limit on paths.
pub const MAX_REQUEST: usize = 4096;

/// Serves requests on standard input, a socket of packets: a directory, and with it the pipe for
/// the one report. `lock` tells the next engine that starts are under way.
pub fn serve(lock: &Path) -> ExitCode {
    // Ended shims need nobody to wait for them.
    sys::ignore_children();
    sys::set_process_name(c"juchu-shims");
    let Ok(under_way) = UnderWay::announce(lock) else { return ExitCode::FAILURE };
    loop {
        match receive() {
            // Whoever asked has died, and another engine may already have looked what runs.
            Ok(Some(_)) if engine_has_gone() => return ExitCode::SUCCESS,
            Ok(Some((dir, report))) => match sys::fork() {
                Ok(Some(_)) => {}
                Ok(None) => return become_shim(&dir, &report, under_way),
                // The pipe closes without a report, which the engine understands.
                Err(_) => {}
            },
            // The engine has gone.
            Ok(None) => return ExitCode::SUCCESS,
            Err(_) => return ExitCode::FAILURE,
        }
    }
}

fn engine_has_gone() -> bool {
    let input = io::stdin();
    let mut fds = [PollFd::new(&input, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&at_once)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
}

fn become_shim(dir: &Path, report: &OwnedFd, under_way: UnderWay) -> ExitCode {
    sys::reset_signals();
    sys::set_process_name(c"juchu-shim");
    let replaced = std::fs::File::open("/dev/null")
        .and_then(|null| sys::replace_fd(null.as_fd(), 0))
        .and_then(|()| sys::replace_fd(report.as_fd(), 1));
    if replaced.is_err() {
        return ExitCode::FAILURE;
    }
    sys::close_all_but(under_way.as_fd());
    supervise(dir, Some(under_way))
}

fn receive() -> io::Result<Option<(PathBuf, OwnedFd)>> {
    let mut text = [0; MAX_REQUEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let socket = io::stdin();
    let received = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(&mut text)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    if received.bytes == 0 {
        return Ok(None);
    }
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message
            && let Some(fd) = fds.next()
        {
            return Ok(Some((OsStr::from_bytes(&text[..received.bytes]).into(), fd)));
        }
    }
    Err(io::Error::other("a request without a pipe"))
}
