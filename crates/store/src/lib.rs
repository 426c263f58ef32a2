//! The journal of everything that changed, and the views that follow from it.
//!
//! Every change is one entry of a hash chain, written in the same transaction as the view it
//! changes; the views can be thrown away and rebuilt from the journal alone.

pub mod ledger;
pub mod record;
pub mod view;

pub mod concern;
pub mod fold;
pub mod sqlite;

/// The actor of what nobody asked for.
pub const BY_ITSELF: &str = "juchu";

pub use ledger::{Draft, Entry, HistoryQuery, Ledger, StoreError, VerifyReport};
pub use record::v1::{Event, Intent, Outcome};
pub use sqlite::{PruneReport, SqliteLedger};
pub use view::{GoingBack, Pending, ReleaseResult, StackView};
