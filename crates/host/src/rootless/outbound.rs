//! The way out: `pasta` connects the network of the name spaces with the host's, as this user.
//!
//! Nothing is forwarded inwards: published ports are the gateway's, and the host's own loopback is
//! not to be reached from inside.

use super::record::Kept;
use super::{RootlessError, find_program, run};
use crate::process;
use std::fs;
use std::path::Path;

/// Of the package `passt`; what is seen of the process may be the name of a variant for the processor.
pub const PROGRAMS: [&str; 1] = ["pasta"];

/// Starts it when there is none; without the program there is no way out, which `doctor` tells.
pub fn ensure(runtime: &Path, kept: Kept) -> Kept {
    let is_there = kept.outbound.is_some_and(process::is_alive);
    if is_there || find_program("pasta").is_none() {
        return kept;
    }
    match start(runtime, kept.keeper.pid) {
        Ok(carrier) => {
            let kept = Kept { outbound: Some(carrier), ..kept };
            // Not written down it is started once more, which the next one notices and ends.
            let _ = kept.write(runtime);
            kept
        }
        Err(error) => {
            eprintln!("without a way out of the stacks' networks: {error}");
            kept
        }
    }
}

/// It goes into the background when the way is open.
fn start(runtime: &Path, keeper: i32) -> Result<crate::record::ProcessId, RootlessError> {
    let pid_file = runtime.join("pasta.pid");
    let arguments = ["--config-net", "--no-map-gw", "--quiet"].map(str::to_owned);
    let closed = ["-t", "none", "-u", "none", "-T", "none", "-U", "none"].map(str::to_owned);
    let place = ["--pid".to_owned(), pid_file.display().to_string(), keeper.to_string()];
    run("pasta", &[arguments.to_vec(), closed.to_vec(), place.to_vec()].concat())?;
    let read =
        fs::read_to_string(&pid_file).map_err(RootlessError::io(format!("read {}", pid_file.display())))?;
    let pid = read.trim().parse().ok().and_then(process::identify);
    pid.ok_or_else(|| RootlessError::Map { program: "pasta", said: "it ended at once".to_owned() })
}
