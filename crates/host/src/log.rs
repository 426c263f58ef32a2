//! Output of instances on disk: one line per line in the form of Kubernetes' container runtimes,
//! `2026-11-22T10:00:00.000000000Z stdout F text`, rotated by size, capped in number and in all.

mod changes;
mod follow;
mod read;
mod write;

pub use changes::OutputChanges;
pub use follow::{OutputLine, OutputReader};
pub use read::Tail;
pub use write::{Limits, Writer};

use std::path::{Path, PathBuf};

/// Longest text of one record; longer lines are cut into partial (`P`) records.
pub const MAX_RECORD: usize = 16 << 10;

/// The file being written; `log.1` is the one before it, and so on.
fn current(dir: &Path) -> PathBuf {
    dir.join("log")
}

fn rotated(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("log.{number}"))
}

/// The number of a rotated file.
fn rotation(name: &str) -> Option<u32> {
    name.strip_prefix("log.")?.parse().ok()
}

#[cfg(test)]
fn texts(dir: &Path, query: &run::engine::LogQuery) -> Vec<String> {
    let mut texts = Vec::new();
    Tail::open(dir, query, &mut |line| {
        texts.push(line.text);
        true
    })
    .expect("the files can be read");
    texts
}
