//! A person's terminal on one side, the one inside the instance on the other.

use crate::sys::{self, Ending};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The caller's terminal passes every key on; put back when dropped.
struct Raw<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Raw<'a> {
    fn enter(terminal: BorrowedFd<'a>) -> Option<Self> {
        let before = isatty(terminal).then(|| tcgetattr(terminal).ok())??;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(terminal, OptionalActions::Now, &raw).ok()?;
        Some(Self { terminal, before })
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        // The terminal has gone if this fails.
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Relays until the command has ended and its output was passed on.
pub fn relay(pid: i32, inside: &OwnedFd) -> io::Result<i32> {
    let (input, output) = (io::stdin(), io::stdout());
    let signals = sys::signal_fd(&[libc::SIGCHLD, libc::SIGWINCH, libc::SIGTERM, libc::SIGHUP])?;
    let raw = Raw::enter(input.as_fd());
    pass_size(input.as_fd(), inside);
    let mut ending = None;
    let mut input_is_open = true;
    let mut buffer = [0; 16 << 10];
    loop {
        while let Some((ended, how)) = sys::reap() {
            if ended == pid {
                ending = Some(how);
            }
        }
        let mut fds = vec![PollFd::new(inside, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
        if input_is_open {
            fds.push(PollFd::new(&input, PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready[1] {
            let _ = rustix::io::read(&signals, &mut buffer);
            pass_size(input.as_fd(), inside);
        }
        if ready[0] {
            match rustix::io::read(inside, &mut buffer) {
                // The last process inside has closed it.
                Ok(0) | Err(rustix::io::Errno::IO) => break,
                Ok(length) => write_all(output.as_fd(), &buffer[..length])?,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        } else if ending.is_some() {
            break;
        }
        if ready.get(2) == Some(&true) {
            match rustix::io::read(&input, &mut buffer) {
                Ok(0) | Err(_) => {
                    input_is_open = false;
                    // End of input, as a person would type it.
                    write_all(inside.as_fd(), &[4])?;
                }
                Ok(length) => write_all(inside.as_fd(), &buffer[..length])?,
            }
        }
    }
    drop(raw);
    let ending: Ending = match ending {
        Some(ending) => ending,
        None => sys::wait_for(pid)?,
    };
    Ok(ending.code())
}

fn pass_size(from: BorrowedFd<'_>, to: &OwnedFd) {
    if let Ok(size) = tcgetwinsize(from) {
        // A terminal inside that has just closed needs no size.
        let _ = tcsetwinsize(to, size);
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
