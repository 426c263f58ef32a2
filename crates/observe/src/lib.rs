//! What was measured: kept on this host's disk, and asked for by PromQL.
//!
//! [`collect`] measures, [`keep`] is the storage, [`promql`] asks any [`Samples`], the storage or
//! data of a test alike, and [`api`] answers the clients of Prometheus.

mod labels;
mod samples;

pub mod api;
pub mod collect;
pub mod keep;
pub mod logs;
pub mod promql;

pub use labels::{LabelError, Labels, Matcher, NAME};
pub use samples::{Points, Samples, SamplesError, Series, Want};
pub use values::{ABSENT, STALE, is_stale};

mod values;
