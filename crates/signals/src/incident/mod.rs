//! Incidents: what belongs together of all that is outside its range, told once.
//!
//! ```text
//! findings ─▶ grouped by service and release, under the dependency that failed ─▶ opened, worse,
//!             again, over ─▶ unless silenced: told
//! ```

mod book;
mod calls;
mod finding;
mod open;
mod silence;

pub use book::{Book, CLOSED_KEPT, Context, OPEN_MAX};
pub use calls::Calls;
pub use finding::{BEYOND_BOUNDS, Finding, Subject};
pub use open::{Affected, Incident, News, NewsKind, Note, SIGNALS_MAX};
pub use silence::{SILENCES_MAX, Silence};
