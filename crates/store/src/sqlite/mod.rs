//! The embedded ledger: one SQLite file in WAL mode, `synchronous=FULL`.
//!
//! ```text
//! append ─┐ bounded queue            ┌─ one transaction per group: entries, blobs, views
//! append ─┼──────────────▶ writer ───┤  one fsync, then every caller of the group is released
//! append ─┘                thread    └─ a failed group is tried again caller by caller
//! readers: own read-only connections on the last commit; the writer never waits for them
//! ```

mod blobs;
mod open;
mod read;
mod rows;
mod verify;
mod writer;

pub use blobs::PruneReport;
pub use writer::Stats;

use crate::ledger::{Draft, Entry, HistoryQuery, Ledger, StoreError, VerifyReport};
use crate::view::StackView;
use model::{Digest, StackName, Timestamp};
use std::path::{Path, PathBuf};

/// Size of one event as JSON.
pub const EVENT_BYTES_MAX: usize = 4 << 20;
/// Size of one piece of content.
pub const BLOB_BYTES_MAX: usize = 64 << 20;
/// Drafts of one call of `append`.
pub const DRAFTS_MAX: usize = 10_000;
/// Entries that one history query returns at most.
pub const HISTORY_MAX: usize = 100_000;

/// The journal in one file. Dropping it waits until everything handed in is on disk.
pub struct SqliteLedger {
    path: PathBuf,
    /// Closed before the writer, which then puts the log back into the file.
    readers: read::Readers,
    writer: writer::Writer,
    /// Held locked for as long as the ledger is open; released last.
    _lock: std::fs::File,
}

impl SqliteLedger {
    /// Opens the journal at `path` or makes a new one, mode 0600, its directory mode 0700.
    ///
    /// `Locked` when another process or ledger has it open, `Newer` when a newer version wrote it;
    /// nothing is changed then.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        open::prepare_directory(path)?;
        let lock = open::lock(path)?;
        let connection = open::open_for_writing(path)?;
        let writer = writer::Writer::start(path, connection)?;
        Ok(Self { path: path.to_owned(), readers: read::Readers::new(path), writer, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes content that nothing needs any more. The newest `keep` releases of each stack, those
    /// its view remembers and its pending change keep theirs; the journal itself stays whole.
    pub fn prune(&self, keep: usize) -> Result<PruneReport, StoreError> {
        self.writer.prune(keep)
    }

    /// How many calls and transactions there were since the journal was opened.
    pub fn stats(&self) -> Stats {
        self.writer.stats()
    }
}

impl Ledger for SqliteLedger {
    fn append(&self, at: Timestamp, drafts: Vec<Draft>) -> Result<Vec<Entry>, StoreError> {
        self.writer.append(at, drafts)
    }

    fn stacks(&self) -> Result<Vec<StackView>, StoreError> {
        self.readers.with(read::stacks)
    }

    fn stack(&self, name: &StackName) -> Result<Option<StackView>, StoreError> {
        self.readers.with(|c| Ok(rows::read_state(c, name)?.view))
    }

    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        self.readers.with(|c| blobs::read(c, digest))
    }

    fn history(&self, query: &HistoryQuery) -> Result<Vec<Entry>, StoreError> {
        self.readers.with(|c| read::history(c, query))
    }

    fn verify(&self) -> Result<VerifyReport, StoreError> {
        self.readers.with(verify::verify)
    }

    fn rebuild_views(&self) -> Result<(), StoreError> {
        self.writer.rebuild()
    }
}

/// For `map_err`: names what was done, and knows a full disk from other failures.
fn sql(what: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |error| if is_full(&error) { StoreError::Full } else { StoreError::Sql(what, error) }
}

/// SQLite says `SQLITE_FULL` when a write finds no space, but an I/O error when the shared index of
/// the log cannot grow.
fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|e| {
        e.code == rusqlite::ErrorCode::DiskFull || e.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
    })
}
