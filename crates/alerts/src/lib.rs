//! Tells people that something is wrong, and that it is over.
//!
//! ```text
//! message ─▶ queue on disk, one file for each receiver ─▶ a thread for each receiver ─▶ sent, or again later
//! ```

mod message;
mod receiver;

mod form;
mod mail;

mod pace;
mod queue;
mod send;

mod deliver;

pub use deliver::{Alerts, ReceiverStatus, try_out};
pub use message::{Message, What};
pub use queue::{QUEUE_MAX, QueueError};
pub use receiver::{Kind, RECEIVERS_MAX, Receiver, ReceiverError, Receivers};
pub use send::SendError;
