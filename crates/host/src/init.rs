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
    sys::close_all();
    sys::exit_now(sys::wait_passing_signals(child))
}
