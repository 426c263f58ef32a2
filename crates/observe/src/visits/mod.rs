//! Pages and visitors, from the gateway's access records: counted by the day, without cookies and
//! without keeping an address. Bounded, whatever visitors send.
//!
//! [`Hit`] is one request, [`Visits`] counts them, `v1` is how it is kept between two starts.

mod day;
mod distinct;
mod frequent;
mod hit;
mod tally;
pub mod v1;

pub use day::{Day, Totals};
pub use distinct::Distinct;
pub use frequent::{Frequent, Page};
pub use hit::{Hit, Sort, is_bot, sort};
pub use tally::{PRESENT_MINUTES, Salt, Visits};
