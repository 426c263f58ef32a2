//! The port to the journal. The embedded default is SQLite.

use crate::record::v1::Event;
use crate::view::StackView;
use model::{Digest, ServiceName, StackName, Timestamp};
use serde::{Deserialize, Serialize};

/// Something to be written down.
#[derive(Debug, Clone)]
pub struct Draft {
    pub stack: Option<StackName>,
    /// Who: a login name and how they came in, such as `root (cli)`, or `juchu`.
    pub actor: String,
    pub event: Event,
    /// Content the event refers to by digest, stored beside the journal in the same transaction.
    /// Hand over all of it each time; what is there already costs nothing.
    pub blobs: Vec<Vec<u8>>,
}

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// From 1, without gaps.
    pub seq: u64,
    pub at: Timestamp,
    pub stack: Option<StackName>,
    pub actor: String,
    pub event: Event,
    /// Hash over this entry and the hash of the one before.
    pub hash: Digest,
}

#[derive(Debug, Clone, Default)]
pub struct HistoryQuery {
    pub stack: Option<StackName>,
    /// Entries that concern this service, or the whole stack.
    pub service: Option<ServiceName>,
    /// Only entries after this number.
    pub after: Option<u64>,
    /// Only the types of event people want to read (changes, releases, outcomes, crashes).
    pub changes_only: bool,
    /// The newest so many, returned oldest first.
    pub limit: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    pub entries: u64,
    /// Hash of the last entry.
    pub head: Digest,
    /// First entry whose hash does not follow, if any.
    pub broken_at: Option<u64>,
    /// Blobs that are altered, or missing although a view's releases or pending change need them.
    pub bad_blobs: Vec<Digest>,
    /// Views that differ from what the journal says, by stack.
    pub bad_views: Vec<StackName>,
}

impl VerifyReport {
    pub fn is_whole(&self) -> bool {
        self.broken_at.is_none() && self.bad_blobs.is_empty() && self.bad_views.is_empty()
    }
}

/// Durable when a call returns; safe to share between threads; calls block.
pub trait Ledger: Send + Sync {
    /// Appends all drafts in one transaction, in order. Waits until they are on disk.
    fn append(&self, at: Timestamp, drafts: Vec<Draft>) -> Result<Vec<Entry>, StoreError>;
    fn stacks(&self) -> Result<Vec<StackView>, StoreError>;
    fn stack(&self, name: &StackName) -> Result<Option<StackView>, StoreError>;
    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError>;
    fn history(&self, query: &HistoryQuery) -> Result<Vec<Entry>, StoreError>;
    /// Recomputes the chain and the views from the journal and compares.
    fn verify(&self) -> Result<VerifyReport, StoreError>;
    /// Throws the views away and makes them again from the journal.
    fn rebuild_views(&self) -> Result<(), StoreError>;
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("open the journal {path}")]
    Open {
        path: std::path::PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("{path} was written by a newer version (form {found}, this one knows {known})")]
    Newer { path: std::path::PathBuf, found: u32, known: u32 },
    #[error("{0}")]
    Sql(&'static str, #[source] rusqlite::Error),
    /// No space left; nothing of the call was written.
    #[error("the disk of the journal is full")]
    Full,
    #[error("entry {seq} of the journal cannot be read")]
    Corrupt {
        seq: u64,
        #[source]
        source: serde_json::Error,
    },
    #[error("another daemon holds the journal {0}")]
    Locked(std::path::PathBuf),
    #[error("the journal is closed")]
    Closed,
    /// Nothing of the call was written.
    #[error("{what} of {size} bytes is over the limit of {limit}")]
    TooLarge { what: &'static str, size: usize, limit: usize },
    #[error("the stored content {0} is damaged")]
    DamagedBlob(Digest),
    /// Views are rebuilt from the journal when it is opened, or by `rebuild_views`.
    #[error("the view of stack {stack} cannot be read")]
    DamagedView {
        stack: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("{what} {path}")]
    File {
        what: &'static str,
        path: std::path::PathBuf,
        #[source]
        source: std::io::Error,
    },
}
