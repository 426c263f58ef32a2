//! Creating a container in a process apart, while this one makes the groups for it.
//!
//! What the preparation needs of memory ends with its process. The container becomes the child of
//! the caller, if that is a subreaper, when the other process has ended.

use crate::sys;
use rustix::pipe::{PipeFlags, pipe_with};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

/// Longest answer: what a pipe holds without a reader.
const MAX_ANSWER: usize = 64 << 10;

/// Waits until the groups are made.
pub struct Turn {
    told: File,
    /// Whether the process was born in its group of the v2 tree.
    pub is_placed: bool,
}

impl Turn {
    /// False when the other side has given up; then nothing is to be made.
    pub fn wait(mut self) -> bool {
        matches!(self.told.read(&mut [0]), Ok(1))
    }
}

/// Runs `work` in a child, born in the `home` group where the kernel can do that, and `make` here;
/// answers what the child had to say. The inner error is that of `make`, upon which the child ends
/// without having made anything.
pub fn create<E>(
    home: Option<&OwnedFd>,
    make: impl FnOnce() -> Result<(), E>,
    work: impl FnOnce(Turn) -> Vec<u8>,
) -> io::Result<Result<Vec<u8>, E>> {
    let (turn, give_turn) = pipe_with(PipeFlags::CLOEXEC)?;
    let (answer, say) = pipe_with(PipeFlags::CLOEXEC)?;
    let own = rustix::process::getpid();
    let mut is_placed = home.is_some();
    let forked = match home.map(|home| sys::fork_into(home.as_fd())) {
        Some(Ok(forked)) => forked,
        // An older kernel, or a filter that does not know the call.
        Some(Err(_)) | None => {
            is_placed = false;
            sys::fork()?
        }
    };
    let Some(child) = forked else {
        // Without its caller nobody would end what it makes.
        let bound = sys::die_with_parent();
        if bound.is_err() || rustix::process::getppid() != Some(own) {
            sys::exit_now(1);
        }
        drop((give_turn, answer));
        let mut text = work(Turn { told: turn.into(), is_placed });
        text.truncate(MAX_ANSWER);
        let told = File::from(say).write_all(&text);
        sys::exit_now(i32::from(told.is_err()));
    };
    drop((turn, say));
    let made = make();
    if made.is_ok() {
        // A child that has failed already does not wait for its turn; its answer tells.
        let _ = File::from(give_turn).write_all(b"1");
    } else {
        drop(give_turn);
    }
    // The container holds the pipe, too, so its end says nothing; the child's end does.
    sys::wait_for(child)?;
    rustix::io::ioctl_fionbio(&answer, true)?;
    let mut text = Vec::new();
    match File::from(answer).read_to_end(&mut text) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(made.map(|()| text)),
    }
}
