//! A minimal init: process 1 passes signals on and reaps orphans, its child runs the program.
//!
//! It is this program's own memory after a fork, so that the image needs to hold nothing for it;
//! being non-dumpable it cannot be inspected or altered from inside.

use crate::sys;
use std::io;

/// Splits the process. Returns in the child, which is to run the program; the parent stays as init
/// and ends with the child's exit code.
pub fn split() -> io::Result<()> {
    sys::block_signals();
    match sys::fork()? {
        Some(child) => serve(child),
        None => {
            sys::reset_signals();
            Ok(())
        }
    }
}

fn serve(child: i32) -> ! {
    sys::set_process_name(c"init");
    sys::close_from(3);
    loop {
        let signal = sys::next_signal();
        if signal != libc::SIGCHLD {
            pass_on(child, signal);
            continue;
        }
        while let Some((pid, ending)) = sys::reap() {
            if pid == child {
                sys::exit_now(ending.code());
            }
        }
    }
}

fn pass_on(child: i32, signal: i32) {
    let pid = rustix::process::Pid::from_raw(child).expect("fork returned a positive number");
    if let Some(signal) = rustix::process::Signal::from_named_raw(signal) {
        // The child may have ended a moment ago; the next SIGCHLD tells.
        let _ = rustix::process::kill_process(pid, signal);
    }
}
