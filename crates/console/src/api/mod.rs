//! The API: its versions, and how a failure crosses the wire.

pub mod v1;

mod ranges;
mod reply;
mod routes;
mod stream;
mod tokens;

pub(crate) use reply::Failure;
pub(crate) use routes::routes;
pub(crate) use stream::{event, event_stream};
