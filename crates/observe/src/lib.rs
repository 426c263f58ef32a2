//! What was measured: kept on this host's disk, and asked for by PromQL.
//!
//! [`collect`] measures, [`keep`] is the storage, [`promql`] asks any [`Samples`], the storage or
//! data of a test alike, [`api`] answers the clients of Prometheus, and
//! [`scrape`] reads the metrics that services offer, [`receive`] takes what others send; [`logs`] keeps
//! rows of text, [`traces`] spans.

mod labels;
mod samples;

pub mod api;
pub mod collect;
pub mod keep;
pub mod logs;
pub mod probe;
pub mod promql;
pub mod receive;
pub mod scrape;
pub mod traces;
pub mod visits;

pub use labels::{LabelError, Labels, Matcher, NAME};
pub use samples::{Points, Samples, SamplesError, Series, Want};
pub use values::{ABSENT, STALE, is_stale};

mod values;
