//! OTLP, version 1: what a request holds, piece by piece, from protocol buffers or JSON.
//! <https://opentelemetry.io/docs/specs/otlp/>

mod answer;
mod any;
mod log;
mod metric;
pub mod names;
pub mod put;
mod request;
mod schema;
mod span;

pub use answer::{Form, failed, partial};
pub use any::{Any, Attributes, TEXT_BYTES_MAX, put_json_text};
pub use log::Log;
pub use metric::{Buckets, Data, Metric, Number, Quantiles};
pub use request::{Resource, each_item};
pub use schema::Signal;
pub use span::{Event, Kind, Link, Span, Status};

/// Bytes as hexadecimal digits, as identifiers of traces are written.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
