//! Creating a container in a process apart, while this one places that process in its groups.
//!
//! A change of control groups waits for the whole machine (some 10–20 ms), so it goes on beside
//! the preparation; and what the preparation needs of memory ends with its process. The container
//! becomes the child of the caller, if that is a subreaper, when the other process has ended.

use crate::sys;
use rustix::pipe::{PipeFlags, pipe_with};
use std::fs::File;
use std::io::{self, Read, Write};

/// Longest answer: what a pipe holds without a reader.
const MAX_ANSWER: usize = 64 << 10;

/// Waits until the process is where it should be.
pub struct Turn(File);

impl Turn {
    /// False when the other side has given up; then nothing is to be made.
    pub fn wait(mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(1))
    }
}

/// Runs `work` in a child and `place` with its number here; answers what the child had to say.
/// The inner error is that of `place`, upon which the child ends without having made anything.
pub fn create<E>(
    place: impl FnOnce(i32) -> Result<(), E>,
    work: impl FnOnce(Turn) -> Vec<u8>,
) -> io::Result<Result<Vec<u8>, E>> {
    let (turn, give_turn) = pipe_with(PipeFlags::CLOEXEC)?;
    let (answer, say) = pipe_with(PipeFlags::CLOEXEC)?;
    let own = rustix::process::getpid();
    let Some(child) = sys::fork()? else {
        // Without its caller nobody would end what it makes.
        let bound = sys::die_with_parent();
        if bound.is_err() || rustix::process::getppid() != Some(own) {
            sys::exit_now(1);
        }
        drop((give_turn, answer));
        let mut text = work(Turn(turn.into()));
        text.truncate(MAX_ANSWER);
        let told = File::from(say).write_all(&text);
        sys::exit_now(i32::from(told.is_err()));
    };
    drop((turn, say));
    let placed = place(child);
    if placed.is_ok() {
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
        _ => Ok(placed.map(|()| text)),
    }
}
