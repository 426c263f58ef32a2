//! Sending what is kept here to programs of others: a queue on disk for each destination, and a thread
//! that empties it.
//!
//! The adapters are beside this, one folder each: [`crate::remote_write`], [`crate::elasticsearch`],
//! [`crate::otlp`].

mod deliver;
mod http;
mod queue;

pub use deliver::{Deliverer, Status};
pub use http::{Client, HttpError, Place};
pub use queue::{Batch, Queue, QueueError};

use std::time::Duration;

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivered {
    All,
    /// So many items were refused for ever; the others are there.
    Lost {
        items: u64,
        why: String,
    },
    /// The same once more, not before so long where the destination says so.
    Again {
        why: String,
        after: Option<Duration>,
    },
    /// The others are there, or lost: this is left to be tried again.
    Rest {
        payload: Vec<u8>,
        items: u64,
        lost: u64,
        why: String,
    },
}

/// Where batches go. The payload is what the adapter itself made.
pub trait Destination: Send {
    fn deliver(&self, payload: &[u8], items: u64) -> Delivered;
}
